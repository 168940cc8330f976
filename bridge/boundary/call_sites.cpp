// What code that is kept whole calls of torch, and where.
#include <algorithm>
#include <utility>

#include "bridge/boundary/written_memory.h"
#include "bridge/python/errors.h"
#include "bridge/record/recorder.h"
#include "ir/regions.h"
#include "ir/runtime_calls.h"

namespace modulize {

NodeId Recorder::enter_sites(const std::string& region) {
  return add_function(std::string(kEnter),
                      {Value::string(std::string(kSitesContext)), Value::node(root_module()), Value::string(region)},
                      ValueType::other);
}

void Recorder::leave_sites(NodeId enter) { add_function(std::string(kLeave), {Value::node(enter)}, ValueType::other); }

void Recorder::before_unrecorded_call(PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName& name = FunctionNames::instance().find(function);
  if (name.form == CallForm::function || name.form == CallForm::method) before_write(*this, name, args, kwargs, false);
}

void Recorder::note_site(PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName& name = FunctionNames::instance().find(function);
  if (name.form != CallForm::function && name.form != CallForm::method) return;
  const SourceId source = current_source();
  if (source == kNoSource) return;
  const Site& at = sites_[source - 1];
  nb::object code = nb::borrow(reinterpret_cast<PyObject*>(at.code));
  KeptSite site;
  const std::string file = nb::cast<std::string>(code.attr("co_filename"));
  site.file = file.substr(file.rfind('/') + 1);
  site.function = nb::cast<std::string>(code.attr("co_name"));
  site.first_line = nb::cast<int>(code.attr("co_firstlineno"));
  site.instruction = at.lasti;
  site.name = text_of(nb::getattr(function, "__name__", nb::none()));
  site.is_method = name.form == CallForm::method;
  site.target = name.name;
  site.positional = static_cast<std::size_t>(PyTuple_GET_SIZE(args));
  PyObject *key, *value;
  if (kwargs)
    for (Py_ssize_t i = 0; PyDict_Next(kwargs, &i, &key, &value);)
      site.keywords.push_back(nb::cast<std::string>(nb::handle(key)));
  site.where = file + ":" + std::to_string(line_of(at.code, at.lasti));
  std::vector<KeptSite>& known = capture_.sites[*observed_];
  if (std::find(known.begin(), known.end(), site) == known.end()) known.push_back(std::move(site));
}

}  // namespace modulize
