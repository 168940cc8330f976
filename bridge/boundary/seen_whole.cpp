#include "bridge/boundary/seen_whole.h"

#include "bridge/boundary/module_state.h"
#include "bridge/record/checks.h"
#include "bridge/values/structure.h"
#include "ir/control.h"

namespace modulize {

SeenWhole::SeenWhole(Recorder& recorder, bool applies, PyObject* args, PyObject* kwargs, std::string callee)
    : recorder_(recorder), objects_(recorder.objects()), applies_(applies), callee_(std::move(callee)) {
  if (!applies_) return;
  objects_.write_back_all();
  if (recorder_.settings.state) recorder_.settings.state->record();
  keep_.emplace(objects_);
  if (recorder_.mode() == CaptureMode::symbolic) return;
  watch(args);
  if (kwargs)
    for (auto [key, value] : nb::borrow<nb::dict>(kwargs)) watch(value);
}

void SeenWhole::watch(nb::handle value) {
  if (PyTuple_Check(value.ptr())) {
    for (nb::handle item : value) watch(item);
    return;
  }
  if (!has_parts(value.ptr())) return;
  const Value given = recorder_.to_value(value.ptr());
  if (!given.is_node()) return;
  objects_.know(value.ptr(), given.as_node(), parts_of(value.ptr()));
  given_.push_back({nb::borrow(value), contents_of(value), given.as_node(),
                    recorder_.add_function(std::string(kContents), {given}, ValueType::other)});
}

void SeenWhole::reread() const {
  if (!applies_) return;
  for (const Given& given : given_) {
    if (same_contents(given.contents, contents_of(given.container))) {
      recorder_.add_function(std::string(kCheckUnchanged),
                             {Value::node(given.contents_node), Value::node(given.node),
                              Value::string("what " + callee_ + " is given and leaves as it is")},
                             ValueType::other);
    } else {
      recorder_.graph().erase(given.contents_node);
      check_made(recorder_, given.container, given.node, "what " + callee_ + " leaves in what it is given", false);
    }
  }
  objects_.reread_all();
  if (recorder_.settings.state) recorder_.settings.state->reread();
}

}  // namespace modulize
