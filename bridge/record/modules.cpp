#include "bridge/record/modules.h"

namespace modulize {

namespace {

NodeId attribute_node(Recorder& recorder, std::string target) {
  Node node;
  node.op = Opcode::get_attr;
  node.type = ValueType::other;
  node.target = std::move(target);
  return recorder.add_node(std::move(node));
}

bool is_training(PyObject* module) {
  // Past the descriptor that notes the reads of traced code.
  PyObject** slot = _PyObject_GetDictPtr(module);
  PyObject* flag = slot && *slot ? PyDict_GetItemString(*slot, "training") : nullptr;
  return flag == Py_True;
}

}  // namespace

NodeId root_module(Recorder& recorder) { return attribute_node(recorder, "_modulize_module"); }

NodeId module_node(Recorder& recorder, const std::string& path, PyObject* module) {
  use_module(recorder, path, module);
  return path.empty() ? root_module(recorder) : attribute_node(recorder, path);
}

void use_module(Recorder& recorder, const std::string& path, PyObject* module) {
  ModuleTree& modules = recorder.graph().modules;
  if (modules.find(path)) return;
  ModuleSpec spec;
  spec.path = path;
  spec.kind = ModuleKind::existing;
  spec.type = class_name(Py_TYPE(module));
  spec.training = is_training(module);
  modules.add(std::move(spec));
}

void note_kept(Recorder& recorder, const std::string& what, const char* reason) {
  const std::string scope = recorder.places().scope_path();
  std::vector<Kept>& kept = recorder.capture().kept;
  for (const Kept& k : kept)
    if (k.what == what && k.scope == scope) return;
  kept.push_back({what, scope, reason, recorder.places().here()});
}

}  // namespace modulize
