#include "bridge/record/regions.h"

#include <algorithm>

#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"
#include "bridge/record/training_flag.h"
#include "ir/environment_queries.h"
#include "ir/regions.h"

namespace modulize {

Regions::~Regions() {
  for (const Open& open : open_) Py_DECREF(open.context);
  for (const auto& [context, made] : made_) Py_DECREF(context);
}

void Regions::made(PyObject* context, Maker maker, NodeId acted) {
  const NodeId limit = static_cast<NodeId>(recorder_.graph().id_limit());
  const auto [it, fresh] = made_.insert_or_assign(context, Made{std::move(maker), acted, limit});
  if (fresh) Py_INCREF(context);  // its address may not become another's
}

const Regions::Maker* Regions::maker_of(PyObject* context) const {
  const auto it = made_.find(context);
  return it == made_.end() ? nullptr : &it->second.maker;
}

void Regions::enter(PyObject* context, Maker maker) {
  settle_training_read(recorder_);
  Open open{context, kNoNode, kRootScope, maker.name, true, recorder_.places().in_words()};
  for (const Value& v : maker.args) open.fixed &= !v.has_node();
  for (const auto& [key, v] : maker.kwargs) open.fixed &= !v.has_node();
  Node node;
  node.target = kEnter;
  node.type = ValueType::other;
  node.args = std::move(maker.args);
  node.args.insert(node.args.begin(), Value::string(std::move(maker.name)));
  node.kwargs = std::move(maker.kwargs);
  open.node = recorder_.add_node(std::move(node));
  open.scope = recorder_.graph()[open.node].scope;
  Py_INCREF(context);
  open_.push_back(std::move(open));
}

void Regions::leave(PyObject* context) {
  const auto it = std::find_if(open_.rbegin(), open_.rend(), [&](const Open& o) { return o.context == context; });
  if (it == open_.rend())
    throw Error(ErrorCode::CaptureError, "forward leaves a context" + recorder_.places().in_words() +
                                             " that it did not enter: exclude the module (modules_to_exclude) that "
                                             "does it");
  if (it != open_.rbegin())
    throw Error(ErrorCode::CaptureError, "forward leaves " + it->name + ", entered" + it->where + ", before " +
                                             open_.back().name + ", which it entered after it" + open_.back().where +
                                             ": such regions cannot be captured; exclude the module "
                                             "(modules_to_exclude) that does it");
  settle_training_read(recorder_);
  const Open open = std::move(open_.back());
  open_.pop_back();
  nb::object owned = nb::steal(open.context);
  const NodeId node = recorder_.add_function(std::string(kLeave), {Value::node(open.node)}, ValueType::other);
  if (recorder_.graph()[node].scope != open.scope)
    throw Error(ErrorCode::CaptureError, open.name + ", entered" + open.where + ", is left in another module call" +
                                             recorder_.places().in_words() +
                                             ": such regions cannot be captured; exclude the module "
                                             "(modules_to_exclude) that does it");
}

void Regions::finish() {
  if (open_.empty()) return;
  // The state that it leaves behind would be everybody's: not even running it as it is does.
  throw Error(ErrorCode::UnsupportedError,
              "forward enters " + open_.back().name + open_.back().where +
                  " and returns without leaving it: exclude the module (modules_to_exclude) "
                  "that does it");
}

void Regions::rollback(NodeId first) {
  while (!open_.empty() && open_.back().node >= first) {
    Py_DECREF(open_.back().context);
    open_.pop_back();
  }
  while (!sticky_.empty() && sticky_.back() >= first) sticky_.pop_back();
}

NodeId Regions::set_gradients(Value mode) {
  const NodeId node = recorder_.add_function(std::string(kSetGradients), {std::move(mode)}, ValueType::other);
  sticky_.push_back(node);
  return node;
}

void Regions::unset_gradients(PyObject* context) {
  const auto it = made_.find(context);
  if (it == made_.end() || it->second.acted == kNoNode) return;
  if (it->second.limit != recorder_.graph().id_limit())
    throw Error(ErrorCode::CaptureError,
                "torch.set_grad_enabled is called" + recorder_.places().in_words() +
                    " and entered only later, so that it acts on what is between: write it into the with statement");
  // A `with` statement: what the call did is part of the region.
  recorder_.rollback(it->second.acted);
  it->second.acted = kNoNode;
}

bool Regions::gradients_are_set() const {
  if (!sticky_.empty()) return true;
  for (const Open& o : open_)
    if (o.name != "torch.autocast" && (o.name.ends_with("_grad") || o.name.ends_with("_mode") ||
                                       o.name.ends_with("grad_enabled") || o.name.starts_with("modulize.")))
      return true;
  return false;
}

bool Regions::answers(const std::string& question) const {
  const EnvironmentQuery* const query = find_environment_query(question);
  const QueryRegion region = query ? query->region : kNoRegion;
  const bool gradients = region == kGradients, inference = region == kInference;
  for (auto o = open_.rbegin(); o != open_.rend(); ++o) {
    if (gradients && !sticky_.empty() && sticky_.back() > o->node) return false;
    if (gradients && (o->name == "torch.no_grad" || o->name == "torch.enable_grad")) return true;
    if ((gradients && o->name == "torch.set_grad_enabled") || o->name == "torch.inference_mode")
      if (gradients || inference) return o->fixed;
    if (region == kAutocast && o->name == "torch.autocast") return false;
  }
  return false;
}

bool Regions::is_open(PyObject* context) const {
  return std::any_of(open_.begin(), open_.end(), [&](const Open& o) { return o.context == context; });
}

}  // namespace modulize
