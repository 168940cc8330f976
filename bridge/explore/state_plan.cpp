#include "bridge/explore/state_plan.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bridge/explore/variation.h"
#include "bridge/python/errors.h"
#include "bridge/values/parts.h"
#include "bridge/values/torch_types.h"
#include "bridge/world/checkpoint.h"

namespace modulize {

namespace {

constexpr int kMaxDepth = 8;

/// Runs of the original that leave nothing behind but what they are asked to.
class Trials {
 public:
  Trials(nb::handle root, const CaptureOptions& options, const Capture& first)
      : root_(nb::borrow(root)), options_(options), first_(first), scan_(scan_modules(root)), random_(scan_, {}) {}

  /// The world is to be put back by `put_back`, or at the end.
  void save() {
    world_.emplace(scan_, Checkpoint::Options{.outside = options_.outside, .given = worlds_around(options_)});
    for (const nb::object& tensor : first_.overwritten) world_->before_write(tensor.ptr());
    world_->before_backward();  // nobody tells of one
  }
  void put_back() { world_.reset(); }

  /// What forward returns for the example (`varied`: with other values, and a row more if `more_rows`).
  nb::object run(bool varied, bool more_rows) {
    random_.restore();
    nb::object args = options_.example_inputs.is_none() ? nb::object(nb::tuple()) : options_.example_inputs;
    nb::dict keywords;
    if (!options_.example_kwargs.is_none()) keywords.update(nb::borrow<nb::dict>(options_.example_kwargs));
    if (!options_.concrete_args.is_none()) keywords.update(nb::borrow<nb::dict>(options_.concrete_args));
    nb::object both = nb::make_tuple(args, keywords);
    both = varied ? vary(both, {.more_rows = more_rows}) : copied(both);
    nb::object forward = root_.attr("forward");
    nb::object out = nb::steal(PyObject_Call(forward.ptr(), nb::object(both[0]).ptr(), nb::object(both[1]).ptr()));
    if (!out.is_valid()) nb::raise_python_error();
    // State may be among what is returned, and written by the next run.
    StructureCopy copies([](nb::handle leaf) {
      return TorchTypes::instance().is_tensor(leaf.ptr()) ? nb::object(leaf.attr("detach")().attr("clone")())
                                                          : nb::borrow(leaf);
    });
    return copies.copy(out);
  }

 private:
  nb::object root_;
  const CaptureOptions& options_;
  const Capture& first_;
  const ModuleScan scan_;
  Generators random_;
  std::optional<Checkpoint> world_;
};

/// The value of an attribute "path.name"; None where there is none.
nb::object attribute_value(nb::handle root, const std::string& name) {
  const std::size_t dot = name.rfind('.');
  nb::object module = nb::borrow(root);
  if (dot != name.npos) module = module.attr("get_submodule")(name.substr(0, dot));
  return nb::getattr(module, name.substr(dot == name.npos ? 0 : dot + 1).c_str(), nb::none());
}

/// True if the second value is the first one, but for what containers got in addition.
bool is_stable(const nb::object& same, nb::handle first, nb::handle second, int depth) {
  if (!has_parts(first.ptr())) return nb::cast<bool>(same(first, second));
  if (Py_TYPE(first.ptr()) != Py_TYPE(second.ptr())) return false;
  if (depth > kMaxDepth) return true;
  const std::vector<Part> now = parts_of(second.ptr());
  for (const Part& part : parts_of(first.ptr())) {
    const auto it = std::find_if(now.begin(), now.end(), [&](const Part& p) {
      return p.is_attribute == part.is_attribute && PyObject_RichCompareBool(p.key.ptr(), part.key.ptr(), Py_EQ) == 1;
    });
    if (it == now.end() || !is_stable(same, part.value, it->value, depth + 1)) return false;
  }
  return true;
}

/// Attributes that are another after a second call with the same inputs: counters, averages.
std::set<std::string> find_unstable(nb::handle root, const CaptureOptions& options, const Capture& first) {
  const nb::object same = nb::module_::import_("modulize._engine").attr("is_same");
  std::vector<nb::object> values[2];
  Trials trials(root, options, first);
  trials.save();
  try {
    for (std::vector<nb::object>& after : values) {
      trials.run(false, false);
      for (const std::string& name : first.state_writes) {
        StructureCopy copies([](nb::handle leaf) {
          return TorchTypes::instance().is_tensor(leaf.ptr()) ? nb::object(leaf.attr("detach")().attr("clone")())
                                                              : nb::borrow(leaf);
        });
        after.push_back(copies.copy(attribute_value(root, name)));
      }
    }
  } catch (nb::python_error& error) {
    if (is_fatal(error)) throw;
    return {first.state_writes.begin(), first.state_writes.end()};
  }
  std::set<std::string> out;
  for (std::size_t i = 0; i < first.state_writes.size(); ++i)
    if (!is_stable(same, values[0][i], values[1][i], 0)) out.insert(first.state_writes[i]);
  return out;
}

/// Does what a call leaves on the model change nothing for the next?
bool is_without_consequence(nb::handle root, const CaptureOptions& options, const Capture& first) {
  const nb::object same = nb::module_::import_("modulize._engine").attr("is_same");
  Trials trials(root, options, first);
  for (const bool more_rows : {true, false}) {
    try {
      nb::object fresh[2], after[2];  // of the example and of other inputs
      trials.save();
      fresh[1] = trials.run(true, more_rows);
      after[0] = trials.run(false, false);
      trials.put_back();
      trials.save();
      fresh[0] = trials.run(false, false);
      after[1] = trials.run(true, more_rows);
      trials.put_back();
      return nb::cast<bool>(same(fresh[0], after[0])) && nb::cast<bool>(same(fresh[1], after[1]));
    } catch (nb::python_error& error) {
      if (is_fatal(error)) throw;
      trials.put_back();  // the model refuses these inputs, or its own state
    }
  }
  return false;
}

}  // namespace

StatePlan plan_state(nb::handle root, const CaptureOptions& options, const Capture& first) {
  StatePlan plan;
  if (!is_without_consequence(root, options, first)) {
    plan.live.insert(first.state_writes.begin(), first.state_writes.end());
    return plan;
  }
  const auto module_of = [](const std::string& name) {
    const std::size_t dot = name.rfind('.');
    return dot == name.npos ? std::string() : name.substr(0, dot);
  };
  plan.live = find_unstable(root, options, first);
  // A table that was there before the first call and is read as it was then must stay so.
  std::set<std::string> modules, written;
  for (const std::string& name : first.state_writes)
    if (!plan.live.contains(name)) written.insert(name);
  for (const NodeId id : first.graph.order())
    if (first.graph[id].op == Opcode::get_attr && written.contains(first.graph[id].target))
      modules.insert(module_of(first.graph[id].target));
  for (const std::string& name : written)
    if (modules.contains(module_of(name))) plan.silent.insert(name);
  return plan;
}

}  // namespace modulize
