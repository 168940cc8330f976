// The tables of the engine, and what is added to them, for Python.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <set>
#include <string>

#include "bridge/bind/init.h"
#include "bridge/intercept/kept_functions.h"
#include "bridge/python/errors.h"
#include "bridge/python/log.h"
#include "bridge/python/names.h"
#include "bridge/python/typed.h"
#include "bridge/record/function_names.h"
#include "bridge/record/journal.h"
#include "bridge/values/torch_types.h"
#include "ir/environment_queries.h"
#include "ir/runtime_calls.h"
#include "ops/effects_of.h"
#include "ops/op_match.h"
#include "ops/op_table.h"
#include "ops/target.h"
#include "passes/idiom_table.h"

namespace modulize {

namespace {

// Nothing for callables that the captures have no name for, and for methods.
std::optional<std::string> function_name(nb::handle callable) {
  const CallName& name = FunctionNames::instance().find(callable.ptr());
  return name.form == CallForm::function ? std::optional(name.name) : std::nullopt;
}

bool is_known_operation(const std::string& call) {
  Node node;
  node.op = Opcode::call_function;
  node.target = call;
  const OpSpelling* spelling = find_op(node);
  return spelling && !spelling->op->is_registered;
}

void register_operation(nb::handle function, const std::string& call, const std::string& type,
                        const std::string& base) {
  register_op(call, type, base);
  if (!PyFunction_Check(function.ptr())) return;
  FunctionNames::instance().give(function.ptr(), call);
  add_registered_function(function);
}

}  // namespace

void init_tables(nb::module_& m) {
  m.def("function_name", &function_name, nb::arg("callable"),
        "The name under which calls of a function stand in a graph, or None.");
  m.def(
      "resolve_name", [](const std::string& name) { return Any(resolve_name(name)); }, nb::arg("name"),
      "The object of a qualified name; imports what it must.");
  m.def(
      "is_user_code", [](nb::handle code) { return is_user_code(reinterpret_cast<PyCodeObject*>(code.ptr())); },
      nb::arg("code"), "Whether it is code of neither torch, Python's own import system nor this package.");
  m.def(
      "passive_operations",
      []() -> ListOf<nb::str> {
        std::set<std::string> names;
        for (const PassiveRow& row : passive_rows())
          if (!is_kept_computation(row.reason)) {
            std::string_view name = row.call.substr(row.call.rfind('.') + 1);
            while (name.starts_with("_")) name.remove_prefix(1);
            while (name.ends_with("_")) name.remove_suffix(1);
            names.emplace(name);
          }
        nb::list out;
        for (const std::string& name : names) out.append(name);
        return out;
      },
      "The names of operations that compute no floating-point values, without their homes: \"view\", \"arange\".");
  m.def(
      "runtime_calls",
      []() -> ListOf<TupleOf<nb::str, nb::bool_>> {
        nb::list out;
        for (const RuntimeCall& call : runtime_calls())
          out.append(nb::make_tuple(std::string(call.name), call.form != RuntimeForm::capture));
        return out;
      },
      "The functions of modulize that graphs and generated source name, and whether Python has them.");
  m.def(
      "functions_that_act", [] { return functions_that_act(); },
      "The qualified names of functions that are called for what they do: nothing reads what they yield.");
  m.def(
      "gradient_questions",
      [] {
        std::vector<std::string> out;
        for (const EnvironmentQuery& query : environment_queries())
          if (query.region == kGradients) out.emplace_back(query.question);
        return out;
      },
      "The questions about the world whose answer is another one where gradients are on.");
  m.def("is_known_operation", &is_known_operation, nb::arg("call"), "Whether the op table itself maps the call.");
  m.def("register_operation", &register_operation, nb::arg("function").none(), nb::arg("call"), nb::arg("module"),
        nb::arg("base"), "Makes later calls of `function`, recorded as `call`, calls of a new `module()`.");
  m.def(
      "register_target",
      [](std::string name, bool names_as_torch_fx, const std::vector<std::pair<std::string, std::string>>& classes) {
        register_target(std::move(name), names_as_torch_fx ? NamingRule::torch_fx : NamingRule::local, classes);
      },
      nb::arg("name"), nb::arg("names_as_torch_fx"), nb::arg("classes"),
      "Adds or replaces a target: pairs of an operation of the table and a class (core/ops/target.h has the form).");
  m.def(
      "idioms",
      []() -> ListOf<TupleOf<nb::str, nb::str>> {
        nb::list out;
        for (const Idiom& idiom : idioms())
          out.append(nb::make_tuple(nb::str(idiom.name.data(), idiom.name.size()),
                                    nb::str(idiom.text.data(), idiom.text.size())));
        return out;
      },
      "The compositions that idioms=True recognises: a list of (name, graph in .mzir text).");
  m.def(
      "log_categories",
      []() -> ListOf<TupleOf<nb::str, nb::str>> {
        nb::list out;
        for (const LogCategoryRow& row : kLogCategories)
          out.append(nb::make_tuple(std::string(row.name), std::string(row.text)));
        return out;
      },
      "What MODULIZE_LOG can name: a list of (category, what it tells).");
  m.def(
      "capture_reasons",
      []() -> ListOf<TupleOf<nb::str, nb::str>> {
        nb::list out;
        for (const CaptureReasonRow& row : kCaptureReasons)
          out.append(nb::make_tuple(std::string(row.said), std::string(row.text)));
        return out;
      },
      "Why preparations capture: a list of (reason, what it means).");
}

}  // namespace modulize
