#include "bridge/record/checks.h"

#include "bridge/values/structure.h"
#include "ir/control.h"

namespace modulize {

namespace {

void check_structure_made(Recorder& recorder, nb::handle structure, NodeId value, const std::string& text) {
  recorder.add_function(std::string(kCheckMade),
                        {Value::node(value), recorder.capture().objects.value(structure), Value::string(text)},
                        ValueType::other);
}

}  // namespace

void add_check(Recorder& recorder, NodeId value, Value expected, const std::string& text) {
  recorder.add_function(std::string(kCheck), {Value::node(value), std::move(expected), Value::string(text)},
                        ValueType::other);
}

void add_check_here(Recorder& recorder, NodeId value, Value expected, const std::string& text) {
  ValueList args = {Value::node(value), std::move(expected), Value::string(text)};
  if (std::string line = recorder.places().here(); !line.empty()) args.push_back(Value::string(std::move(line)));
  recorder.add_function(std::string(kCheck), std::move(args), ValueType::other);
}

void add_structure_check(Recorder& recorder, NodeId value, nb::handle structure, const std::string& text) {
  recorder.add_function(std::string(kCheckStructure),
                        {Value::node(value), recorder.capture().objects.value(structure), Value::string(text)},
                        ValueType::other);
}

void check_made(Recorder& recorder, nb::handle value, NodeId node, const std::string& text, bool follows_numbers) {
  const MadeStructure made = structure_of_made(value, follows_numbers);
  if (!made.hidden.empty())
    recorder.decisions().refuse_control_flow("what Python does with the " + made.hidden + " in " + text);
  check_structure_made(recorder, made.structure, node, text);
  const auto node_at = [&](const std::vector<Part>& path) {
    NodeId at = node;
    for (const Part& part : path) at = recorder.objects().part_node(at, part);
    return at;
  };
  for (const auto& [path, object] : made.with_plain_numbers)
    recorder.add_function(
        std::string(kLeak),
        {Value::node(node_at(path)), recorder.capture().objects.value(structure_of(object)), Value::string(text)},
        ValueType::other);
  for (const auto& [path, list] : made.lists)
    check_structure_made(recorder, structure_of(nb::int_(nb::len(list))),
                         recorder.add_function("builtins.len", {Value::node(node_at(path))}, ValueType::number),
                         "the length of " + text);
}

}  // namespace modulize
