// Value -> Python object.
#pragma once

#include <functional>

#include "bridge/python/python.h"
#include "ir/value.h"

namespace modulize {

/// What the values of one graph stand for.
struct ValueContext {
  const std::vector<nb::object>& objects;
  /// The Python object for a node reference; may be empty where no node can occur.
  std::function<nb::object(NodeId)> node;
};

/// A new reference. Throws Error(ModulizeError) for an object number out of range or a name that cannot be imported.
nb::object to_python(const Value& value, const ValueContext& context);

/// A tuple of the values, and a dict of the keyword values.
nb::object to_python_args(const ValueList& args, const ValueContext& context);
nb::object to_python_kwargs(const std::vector<std::pair<std::string, Value>>& kwargs, const ValueContext& context);

}  // namespace modulize
