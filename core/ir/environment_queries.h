// The questions that forward may ask about the world around it: torch.jit.is_tracing(), torch.is_grad_enabled(), ...
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace modulize {

enum class QueryAnswer : std::uint8_t { truth, flag, setting, dtype };

/// The worlds in which a prepared model may be called and that change several answers at once; bits of a set.
enum World : std::uint8_t {
  kTrace = 1,          // torch.jit.trace
  kOnnxByTrace = 2,    // torch.onnx.export, which traces
  kCompile = 4,        // torch.compile
  kExport = 8,         // torch.export.export
  kStrictExport = 16,  // the same by torch.compile's tracer
  kOnnxByExport = 32,  // torch.onnx.export, which exports
};
inline constexpr World kWorlds[] = {kTrace, kOnnxByTrace, kCompile, kExport, kStrictExport, kOnnxByExport};

/// What a context manager in forward decides, for the code inside.
enum QueryRegion : std::uint8_t { kNoRegion, kGradients, kInference, kAutocast };

struct EnvironmentQuery {
  static constexpr std::size_t kMaxHomes = 4;
  std::string_view question;
  QueryAnswer answer;
  std::uint8_t worlds;  // where the answer is the other one
  bool is_alone;        // the other answer is a world of its own
  QueryRegion region;
  std::string_view homes[kMaxHomes];  // empty behind the last

  /// The function's name in its module.
  constexpr std::string_view name() const { return question.substr(question.rfind('.') + 1); }
};

/// One a row of ir/environment_queries.def.
std::span<const EnvironmentQuery> environment_queries();
/// Null for any other function.
const EnvironmentQuery* find_environment_query(std::string_view function);

}  // namespace modulize
