#include "bridge/materialise/python_value.h"

#include "bridge/materialise/module_types.h"
#include "bridge/python/names.h"
#include "support/error.h"

namespace modulize {

nb::object to_python(const Value& value, const ValueContext& context) {
  switch (value.kind()) {
    case ValueKind::none:
      return nb::none();
    case ValueKind::boolean:
      return nb::borrow(value.as_boolean() ? Py_True : Py_False);
    case ValueKind::integer:
      return checked(PyLong_FromLongLong(value.as_integer()));
    case ValueKind::floating:
      return checked(PyFloat_FromDouble(value.as_floating()));
    case ValueKind::ellipsis:
      return nb::borrow(Py_Ellipsis);
    case ValueKind::node:
      if (!context.node) throw Error(ErrorCode::ModulizeError, "a node stands where only constants can be");
      return context.node(value.as_node());
    case ValueKind::object: {
      const ObjectId id = value.as_object().id;
      if (id >= context.objects.size())
        throw Error(ErrorCode::ModulizeError, "the graph names object @" + std::to_string(id) + ", but only " +
                                                  std::to_string(context.objects.size()) + " objects are given");
      return context.objects[id];
    }
    case ValueKind::string:
      return make_text(value.text());
    case ValueKind::name:
      return resolve_name(value.text());
    case ValueKind::tuple:
      return to_python_args(value.items(), context);
    case ValueKind::list:
      return checked(PySequence_List(to_python_args(value.items(), context).ptr()));
    case ValueKind::slice: {
      const ValueList& parts = value.items();
      const nb::object start = to_python(parts[0], context), stop = to_python(parts[1], context),
                       step = to_python(parts[2], context);
      return checked(PySlice_New(start.ptr(), stop.ptr(), step.ptr()));
    }
    case ValueKind::dict: {
      nb::object dict = checked(PyDict_New());
      for (const auto& [key, item] : value.dict_items())
        check(PyDict_SetItem(dict.ptr(), to_python(key, context).ptr(), to_python(item, context).ptr()));
      return dict;
    }
  }
  return {};
}

nb::object to_python_args(const ValueList& args, const ValueContext& context) {
  nb::object tuple = checked(PyTuple_New(static_cast<Py_ssize_t>(args.size())));
  for (std::size_t i = 0; i < args.size(); ++i)
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), to_python(args[i], context).release().ptr());
  return tuple;
}

nb::object to_python_kwargs(const std::vector<std::pair<std::string, Value>>& kwargs, const ValueContext& context) {
  nb::object dict = checked(PyDict_New());
  for (const auto& [key, value] : kwargs)
    check(PyDict_SetItem(dict.ptr(), make_text(key).ptr(), to_python(value, context).ptr()));
  return dict;
}

}  // namespace modulize
