// What calls may do: the table that passes, generated source and captures ask.
#include <gtest/gtest.h>

#include <set>

#include "ir/parser.h"
#include "ir/runtime_calls.h"
#include "ops/attributes.h"
#include "ops/effects_of.h"

namespace modulize {
namespace {

std::string access(std::string_view what, Access access) {
  static constexpr std::string_view kNames[] = {"", " reads ", " writes ", " unknown "};
  const std::string_view name = kNames[static_cast<std::size_t>(access)];
  return name.empty() ? "" : std::string(name) + std::string(what);
}

// "writes arguments; fresh; by shapes"; "reads arguments" is left out where it is all.
std::string shown(const Effects& e) {
  if (e == kAnything) return "anything";
  std::string out;
  for (const auto& [name, value] :
       {std::pair("arguments", e.arguments), std::pair("objects", e.objects), std::pair("modules", e.module_state),
        std::pair("parameters", e.parameters), std::pair("buffers", e.buffers), std::pair("gradients", e.gradients),
        std::pair("classes", e.classes), std::pair("globals", e.globals), std::pair("generators", e.generators)})
    if (!(value == Access::reads && std::string_view(name) == "arguments")) out += access(name, value);
  static constexpr std::string_view kYields[] = {"", " alias", " decides"}, kRaises[] = {" never", "", " by_values"};
  out += kYields[static_cast<std::size_t>(e.yields)];
  out += kRaises[static_cast<std::size_t>(e.raises)];
  return out.empty() ? out : out.substr(1);
}

Graph graph_of(std::string_view call) {
  return parse(
      "graph net {\n"
      "  module conv = existing torch.nn.Conv2d\n"
      "  module bn = existing torch.nn.BatchNorm2d\n"
      "  module lstm = existing torch.nn.LSTM\n"
      "  module drop = existing torch.nn.Dropout\n"
      "  module odd = existing torch.nn.Fold\n"
      "  module mine = existing net.Mine\n"
      "  module relu = torch.nn.ReLU() for relu\n"
      "  module relu_in_place = torch.nn.ReLU(inplace=True) for relu\n"
      "  module twin = copy conv for conv\n"
      "  parameter p: float32[3]\n"
      "  %x = placeholder x\n"
      "  %y = placeholder y\n"
      "  %n = " +
      std::string(call) +
      "\n"
      "  output %n\n"
      "}\n");
}

std::string effects(std::string_view call) {
  const Graph graph = graph_of(call);
  return shown(effects_of(graph[graph[graph.output()].prev], graph));
}

bool goes_unread(std::string_view call) {
  const Graph graph = graph_of(call);
  return may_go_unread(graph[graph[graph.output()].prev], graph);
}

struct Case {
  const char* call;
  const char* effects;
};

TEST(Effects, operations) {
  const Case cases[] = {
      {"call_function torch.add(%x, 1)", ""},
      {"call_method add_(%x, 1)", "writes arguments alias"},
      {"call_function operator.iadd(%x, 1)", "writes arguments alias"},
      {"call_function torch.add(%x, 1, out=%y)", "writes arguments alias"},
      {"call_function torch.nn.functional.relu(%x)", ""},
      {"call_function torch.nn.functional.relu(%x, True)", "writes arguments alias"},
      {"call_function torch.nn.functional.relu(%x, inplace=%y)", "writes arguments alias"},
      {"call_function torch.nn.functional.dropout(%x, 0.5)", "writes generators alias"},
      {"call_function torch.add(%x, 1, 2, 3, 4)", "unknown arguments alias"},
      {"call_function torch.nn.functional.embedding(%x, %y)", "writes arguments by_values"},
      {"call_function torch.nn.functional.cross_entropy(%x, %y)", "by_values"},
      {"call_function torch.index_add(%x, 0, %y, %x)", "by_values"},
      {"call_method index_add_(%x, 0, %y, %x)", "writes arguments alias by_values"},
      {"call_function torch.linalg.inv(%x)", "by_values"},
      {"call_function torch.linalg.cross(%x, %y)", ""},
  };
  for (const auto& [call, expected] : cases) EXPECT_EQ(effects(call), expected) << call;
}

TEST(Effects, calls_that_do_not_compute) {
  const Case cases[] = {
      {"call_method view(%x, -1)", "alias by_values"},  // whether the strides allow it
      {"call_method reshape(%x, -1)", "alias"},
      {"call_method is_complex(%x)", "decides"},
      {"call_method clone(%x)", ""},
      {"call_method size(%x, 0)", ""},
      {"call_method item(%x)", "decides"},
      {"call_method tolist(%x)", "decides"},
      {"call_function torch.equal(%x, %y)", "decides"},
      {"call_method isclose(%x, %y)", ""},
      {"call_function operator.getitem(%x, %y)", "alias by_values"},
      {"call_function operator.setitem(%x, %y, 1)", "writes arguments alias by_values"},
      {"call_method scatter_(%x, 0, %y, 1)", "writes arguments alias by_values"},
      {"call_function operator.iconcat(%x, %y)", "writes arguments alias"},
      {"call_function torch.rand(3)", "writes generators"},
      {"call_function torch.multinomial(%x, 1)", "writes generators by_values"},
      {"call_method uniform_(%x)", "writes arguments writes generators alias"},
      {"call_function torch.lstm(%x)", "unknown arguments unknown generators alias"},
      {"call_function builtins.getattr(%x, \"shape\")", ""},
      {"call_function builtins.getattr(%x, \"T\")", "alias"},
      {"call_function builtins.getattr(%x, \"requires_grad\")", "decides"},
      {"call_function builtins.getattr(%x, \"whatever\")", "alias"},
      {"call_method chunk(%x, 2)", "alias"},
  };
  for (const auto& [call, expected] : cases) EXPECT_EQ(effects(call), expected) << call;
}

TEST(Effects, modules) {
  const Case cases[] = {
      {"call_module conv(%x)", "unknown modules reads parameters reads buffers"},
      {"call_module twin(%x)", "unknown modules reads parameters reads buffers"},
      {"call_module bn(%x)", "unknown modules reads parameters writes buffers"},
      {"call_module lstm(%x)", "unknown modules reads parameters reads buffers writes generators"},
      {"call_module drop(%x)",
       "writes arguments unknown modules reads parameters reads buffers writes generators alias"},
      {"call_module relu(%x)", "unknown modules reads parameters reads buffers"},
      {"call_module relu_in_place(%x)", "writes arguments unknown modules reads parameters reads buffers alias"},
      {"call_module mine(%x)", "anything"},
  };
  for (const auto& [call, expected] : cases) EXPECT_EQ(effects(call), expected) << call;
}

TEST(Effects, the_world) {
  const Case cases[] = {
      {"get_attr p", "reads modules alias never"},
      {"call_function torch.compiler.is_compiling()", "reads globals decides never"},
      {"call_function torch.is_grad_enabled()", "reads globals decides never"},
      {"call_function torch._C._set_grad_enabled(False)", "writes globals never"},
      {"call_function mylib.f(%x)", "anything"},
      {"call_function @7:\"<function f>\"(%x)", "anything"},
      {"call_method whatever(%x)", "anything"},
  };
  for (const auto& [call, expected] : cases) EXPECT_EQ(effects(call).substr(0), expected) << call;
  EXPECT_FALSE(asks_about_world(graph_of("call_function torch.is_nonzero(%x)")[2]));
}

TEST(Effects, our_own_calls) {
  const Case cases[] = {
      {"call_function modulize._runtime.truth(%x)", "decides"},
      {"call_function modulize._runtime.select(%x, %y, 1)", "alias"},
      {"call_function modulize._runtime.check(%x, 1, \"x\")", "by_values"},
      {"call_function modulize._runtime.set_attribute(%x, \"a\", 1)", "writes objects by_values"},
      {"call_function modulize._runtime.vmap(%x, 0, 0, \"error\", None, %y)", "anything"},
      {"call_function modulize._runtime.no_such_function(%x)", "anything"},
  };
  for (const auto& [call, expected] : cases) EXPECT_EQ(effects(call), expected) << call;
}

TEST(Effects, what_may_go_unread) {
  for (const char* call :
       {"get_attr p", "call_method view(%x, -1)", "call_function torch.add(%x, 1)", "call_method item(%x)",
        "call_function torch.compiler.is_compiling()", "call_function modulize._runtime.truth(%x)",
        "call_function modulize._runtime.contents(%x)", "call_function modulize._runtime.plain_sizes(%x)",
        "call_function modulize._runtime.rebuild(%x, None, None)", "call_function modulize._runtime.closure(%x, {})"})
    EXPECT_TRUE(goes_unread(call)) << call;
  for (const char* call :
       {"call_method add_(%x, 1)", "call_function torch.rand(3)", "call_module relu(%x)", "call_module mine(%x)",
        "call_function mylib.f(%x)", "call_function operator.setitem(%x, 0, 1)",
        "call_function operator.iconcat(%x, %y)", "call_function builtins.setattr(%x, \"a\", 1)",
        "call_function modulize._runtime.check(%x, 1, \"x\")", "call_function modulize._runtime.leak(%x, 1, \"x\")",
        "call_function modulize._runtime.length(%x, \"list\", \"x\")",
        "call_function modulize._runtime.keys(%x, \"x\")", "call_function modulize._runtime.required(%x, \"x\")",
        "call_function modulize._runtime.vmap(%x, %y)", "call_function modulize._runtime.enter(\"torch.no_grad\")",
        "call_function modulize.control.begin_if(%x)"})
    EXPECT_FALSE(goes_unread(call)) << call;
}

TEST(Effects, draws_write_no_memory) {
  const auto writes = [](std::string_view call) {
    const Graph graph = graph_of(call);
    return may_write_memory(graph[graph[graph.output()].prev], graph);
  };
  EXPECT_FALSE(writes("call_function torch.rand(3)"));
  EXPECT_FALSE(writes("call_function torch.nn.functional.gumbel_softmax(%x)"));
  EXPECT_FALSE(writes("call_function modulize._runtime.check_unchanged(%x, %y, \"x\")"));
  EXPECT_TRUE(writes("call_method uniform_(%x)"));
  EXPECT_TRUE(writes("call_function mylib.f(%x)"));
}

TEST(Effects, what_python_is_told) {
  const auto method = [](std::string_view name) { return tells_of_call(Opcode::call_method, name); };
  for (const char* name : {"item", "tolist"}) EXPECT_EQ(method(name), Tells::value) << name;
  for (const char* name : {"__int__", "__float__", "__index__", "__complex__"})
    EXPECT_EQ(method(name), Tells::plain) << name;
  for (const char* name : {"__repr__", "__str__", "__format__", "__hash__", "__dir__", "__reduce_ex__", "is_shared"})
    EXPECT_EQ(method(name), Tells::object) << name;
  for (const char* name : {"equal", "is_nonzero", "is_contiguous", "__contains__"})
    EXPECT_EQ(method(name), Tells::answer) << name;
  for (const char* name : {"unbind", "chunk", "unsafe_split_with_sizes"})
    EXPECT_EQ(method(name), Tells::pieces) << name;
  for (const char* name : {"size", "add", "isclose", "no_such_method"}) EXPECT_EQ(method(name), Tells::nothing) << name;
  EXPECT_EQ(tells_of_call(Opcode::call_function, "torch.unbind"), Tells::pieces);
  EXPECT_EQ(find_attribute("is_cuda")->tells, Tells::answer);
  EXPECT_EQ(find_attribute("ndim")->tells, Tells::nothing);
}

TEST(Effects, what_raises_by_values) {
  for (const char* name :
       {"operator.getitem", "operator.setitem", "torch.index_select", "torch.nn.functional.embedding",
        "torch.nn.functional.cross_entropy", "torch.nn.functional.one_hot", "torch.scatter_add",
        "torch.linalg.cholesky", "torch.logdet", "torch.poisson", "mylib.f"})
    EXPECT_EQ(raises_of_call(Opcode::call_function, name), Raises::by_values) << name;
  for (const char* name : {"put_", "index_fill_", "scatter_reduce_", "masked_scatter_", "inverse", "bernoulli"})
    EXPECT_EQ(raises_of_call(Opcode::call_method, name), Raises::by_values) << name;
  for (const char* name : {"torch.add", "torch.matmul", "torch.linalg.vector_norm", "builtins.len"})
    EXPECT_EQ(raises_of_call(Opcode::call_function, name), Raises::by_shapes) << name;
}

TEST(RuntimeCalls, each_once) {
  std::set<std::string_view> names;
  for (const RuntimeCall& call : runtime_calls()) {
    EXPECT_TRUE(names.insert(call.name).second) << call.name;
    EXPECT_EQ(find_runtime_call(call.name), &call);
  }
  EXPECT_EQ(find_runtime_call("modulize._runtime.no_such_function"), nullptr);
}

TEST(RuntimeCalls, roles) {
  const auto node = [](std::string_view target) {
    Node out;
    out.target = target;
    return out;
  };
  for (const std::string_view name : {kCheck, kCheckStructure, kCheckMade}) EXPECT_TRUE(is_check(node(name))) << name;
  for (const std::string_view name : {kCheckUnchanged, kRequire, kLeak, kTruth}) EXPECT_FALSE(is_check(node(name)));
  for (const std::string_view name : {kCheckUnchanged, kRequire, kCheck}) EXPECT_TRUE(is_check_or_guard(node(name)));
  for (const std::string_view name : {kLeak, kLeakDtype}) EXPECT_TRUE(has_role(node(name), RuntimeRole::leak));
  Node method = node(kCheck);
  method.op = Opcode::call_method;
  EXPECT_FALSE(is_check(method));
}

}  // namespace
}  // namespace modulize
