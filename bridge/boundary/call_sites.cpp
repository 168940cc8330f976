#include "bridge/boundary/call_sites.h"

#include <algorithm>
#include <utility>

#include "bridge/python/errors.h"
#include "bridge/record/function_names.h"
#include "bridge/record/modules.h"
#include "ir/regions.h"
#include "ir/runtime_calls.h"

namespace modulize {

NodeId enter_sites(Recorder& recorder, const std::string& region) {
  return recorder.add_function(
      std::string(kEnter),
      {Value::string(std::string(kSitesContext)), Value::node(root_module(recorder)), Value::string(region)},
      ValueType::other);
}

void leave_sites(Recorder& recorder, NodeId enter) {
  recorder.add_function(std::string(kLeave), {Value::node(enter)}, ValueType::other);
}

void note_site(Recorder& recorder, PyObject* function, PyObject* args, PyObject* kwargs) {
  const CallName& name = FunctionNames::instance().find(function);
  if (name.form != CallForm::function && name.form != CallForm::method) return;
  const SourceId source = recorder.places().current();
  if (source == kNoSource) return;
  const CodeSite& at = recorder.places().site(source);
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
  site.where = file + ":" + std::to_string(at.line());
  std::vector<KeptSite>& known = recorder.capture().sites[*recorder.attention().observed];
  if (std::find(known.begin(), known.end(), site) == known.end()) known.push_back(std::move(site));
}

}  // namespace modulize
