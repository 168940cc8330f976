#include "checks.h"

#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "codegen/codegen.h"
#include "ir/parser.h"
#include "ir/printer.h"
#include "ir/verifier.h"
#include "ops/op_match.h"
#include "report/leftovers.h"
#include "support/error.h"

namespace modulize::fuzz {

namespace {

std::string message(const Error& error) { return std::string(error_name(error.code())) + ": " + error.what(); }

// Runs `step`; an Error becomes a Failure that names the step and shows the graph it began with.
template <class Step>
void must(const std::string& what, const std::string& before, Step&& step) {
  try {
    step();
  } catch (const Error& error) {
    throw Failure(what + " throws " + message(error) + "\n" + before);
  }
}

void check_called_once(const Graph& graph, const std::string& before) {
  std::unordered_set<std::string_view> called;
  for (const NodeId id : graph.order()) {
    const Node& node = graph[id];
    if (node.op == Opcode::call_module && !called.insert(node.target).second)
      throw Failure("the module '" + node.target + "' is still called twice\n" + before);
  }
}

// The ids of `before` that `node` of `after` uses, directly or through nodes that a pass inserted.
void add_inputs(const Graph& before, const Graph& after, NodeId node, std::set<NodeId>& inputs) {
  after[node].for_each_input([&](NodeId in) {
    if (in < before.id_limit())
      inputs.insert(in);
    else
      add_inputs(before, after, in, inputs);
  });
}

bool is_known_call(const Node& node) {
  return (node.op == Opcode::call_function || node.op == Opcode::call_method) && (find_op(node) || find_passive(node));
}

// Nodes given for parameters that the row says have no meaning.
std::set<NodeId> meaningless_inputs(const Node& node) {
  std::set<NodeId> inputs;
  const OpSpelling* spelling = find_op(node);
  const auto bound = spelling ? bind_arguments(*spelling, node) : std::nullopt;
  if (bound)
    for (const std::size_t i : spelling->op->ignored)
      bound->values[i].for_each_node([&](NodeId in) { inputs.insert(in); });
  return inputs;
}

// Passes rewrite nodes in place, so that the program can be followed by ids: whatever may have an effect is still
// there, in the same order, and every call still gets what it was given. Only reads of the model's own tensors and mode
// flags may go: the new modules hold these.
void check_same_program(const Graph& before, const Graph& after, const std::string& start) {
  const auto fail = [&](const std::string& what, NodeId id) {
    throw Failure(what + ": `" + print_node(before, id) + "`\n" + start + "---\n" + print(after));
  };
  std::vector<NodeId> kept;
  for (const NodeId id : after.order())
    if (id < before.id_limit()) kept.push_back(id);
  std::size_t next = 0;
  for (const NodeId id : before.order()) {
    const Node& node = before[id];
    if (!after[id].alive) {
      if (node.op != Opcode::get_attr && !is_known_call(node)) fail("a node that may have an effect is gone", id);
      continue;
    }
    if (kept[next++] != id) fail("a node changed its place", id);
    if (after[id].scope != node.scope || after[id].source != node.source) fail("a node lost its scope or source", id);
    std::set<NodeId> inputs, given;
    add_inputs(before, after, id, inputs);
    add_inputs(before, before, id, given);
    for (const NodeId in : inputs)
      if (!given.contains(in)) fail("a node uses what it was not given", id);
    const std::set<NodeId> meaningless = meaningless_inputs(node);
    for (const NodeId in : given)
      if (!inputs.contains(in) && before[in].op != Opcode::get_attr && !meaningless.contains(in))
        fail("a node does not use what it was given", id);
  }
}

}  // namespace

void check_text_form(const Graph& graph) {
  const std::string text = print(graph);
  must("reading a printed graph back", text, [&] {
    const Graph again = parse(text);
    verify(again);
    if (print(again) != text) throw Failure("the text form is no fixed point:\n" + text + "---\n" + print(again));
  });
}

Graph check_pipeline(const Graph& graph, const PassOptions& options) {
  const std::string start = print(graph);
  PassContext context;
  context.options = options;
  std::vector<Conversion> conversions;
  context.conversions = &conversions;
  Graph out = graph;
  for (const std::string_view name : default_pipeline()) {
    const PassInfo* pass = find_pass(name);
    const std::string before = print(out);
    must("the pass " + std::string(name), before, [&] {
      const bool modified = pass->run(out, context).modified;
      verify(out);
      const std::string after = print(out);
      if (modified != (before != after))
        throw Failure("the pass " + std::string(name) + " says modified=" + std::to_string(modified) +
                      ", which is not so:\n" + before + "---\n" + after);
      if (pass->run(out, context).modified || print(out) != after)
        throw Failure("a second run of " + std::string(name) + " changes something:\n" + before + "---\n" + after +
                      "---\n" + print(out));
    });
    check_text_form(out);
  }
  check_called_once(out, start);
  check_same_program(graph, out, start);

  const std::string once = print(out);
  PipelineOptions again;
  static_cast<PassOptions&>(again) = options;
  again.verify_each = true;
  must("the second run of the pipeline", once, [&] {
    run_pipeline(out, again, nullptr);
    if (print(out) != once)
      throw Failure("the second run of the pipeline changes something:\n" + start + "---\n" + once + "---\n" +
                    print(out));
  });
  find_leftovers(out);
  find_assumptions(out);
  return out;
}

void check_codegen(const Graph& graph, bool must_succeed) {
  for (const ModuleAccess access : {ModuleAccess::attribute, ModuleAccess::lookup}) {
    for (const std::size_t lines : {std::size_t{2000}, std::size_t{2}}) {
      CodegenOptions options;
      options.access = access;
      options.chunk_lines = lines;
      try {
        const GeneratedSource source = generate(graph, options);
        if (source.pieces.empty() || source.pieces.back().find("def forward(self") != 0)
          throw Failure("the last piece of the source is not forward:\n" + source.text() + print(graph));
        if (generate(graph, options).text() != source.text())
          throw Failure("the source differs from run to run:\n" + print(graph));
      } catch (const Error& error) {
        if (must_succeed || error.code() != ErrorCode::ModulizeError)
          throw Failure("the generator throws " + message(error) + "\n" + print(graph));
      }
    }
  }
  for (const ModuleSpec& spec : graph.modules.modules())
    if (spec.graph) check_codegen(*spec.graph, must_succeed);
}

}  // namespace modulize::fuzz
