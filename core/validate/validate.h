// What a quantization tool would stumble over in a model: findings, never exceptions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace modulize {

/// What the graph does not know of the model.
struct ModelFacts {
  struct Module {
    std::string path, type;  // by its first path; the qualified class name
  };
  /// Every module without children, in order.
  std::vector<Module> leaves;
  /// Parameters and buffers that several modules hold: the names of each, the first being its own.
  std::vector<std::vector<std::string>> shared_tensors;
};

enum class FindingKind {
  reused_module,      // one module, several calls
  functional,         // a call that computes and is no module
  opaque_module,      // a module that is called as one and computes inside, where nobody looks
  control_flow,       // a decision on values
  non_tensor_input,   // a module takes something that is no tensor
  non_tensor_output,  // a module gives something that is no tensor
  unused_module,      // a module that is never called
  shared_parameter,   // one tensor, several modules
};

std::string_view finding_name(FindingKind kind);

/// True where a quantizer cannot place itself right; false where it needs attention only.
bool is_error(FindingKind kind);

struct Finding {
  FindingKind kind;
  std::string path;   // of the module, or of the scope of a call
  std::string where;  // file:line of the user's code, or empty
  std::string message;
  std::string remedy;
};

/// All findings, rule by rule; in a rule in order of execution. Takes captured graphs and prepared ones.
std::vector<Finding> validate(const Graph& graph, const ModelFacts& facts);

}  // namespace modulize
