#include "bridge/materialise/own_objects.h"

#include <algorithm>

#include "bridge/python/errors.h"
#include "bridge/values/parts.h"
#include "bridge/values/torch_types.h"

namespace modulize {

void own_written_objects(nb::handle prepared, const Capture& capture) {
  if (capture.state_writes.empty()) return;
  const ModuleScan scan = scan_modules(prepared);
  for (const std::string& name : capture.state_writes) {
    const std::size_t dot = name.rfind('.');
    const std::string path = dot == name.npos ? "" : name.substr(0, dot), attribute = name.substr(dot + 1);
    for (const ModuleScan::Entry& entry : scan.modules) {
      if (entry.path != path) continue;
      PyObject* dict = attribute_dict(entry.module);
      PyObject* value = dict ? PyDict_GetItemString(dict, attribute.c_str()) : nullptr;
      if (!value || !has_parts(value)) continue;
      StructureCopy copies([&](nb::handle leaf) {
        if (!TorchTypes::instance().is_tensor(leaf.ptr()) || scan.tensors.contains(leaf.ptr())) return nb::borrow(leaf);
        return copy_tensor(leaf);
      });
      if (PyDict_SetItemString(dict, attribute.c_str(), copies.copy(value).ptr()) < 0) nb::raise_python_error();
    }
  }
}

}  // namespace modulize
