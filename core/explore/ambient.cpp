#include "explore/ambient.h"

namespace modulize {

const std::vector<std::set<std::string>>& other_worlds() {
  static const std::string tracing = "torch.jit.is_tracing", compiling = "torch.compiler.is_compiling",
                           dynamo = "torch.compiler.is_dynamo_compiling", exporting = "torch.compiler.is_exporting",
                           onnx = "torch.onnx.is_in_onnx_export";
  static const std::vector<std::set<std::string>> worlds = {
      {tracing},
      {tracing, onnx},
      {compiling, dynamo},
      {compiling, exporting},
      {compiling, dynamo, exporting},
      {compiling, exporting, onnx},
      {"torch.is_grad_enabled"},
      {"torch.is_inference_mode_enabled"},
      {"torch.is_autocast_enabled"},
      {"torch.is_autocast_cpu_enabled"},
  };
  return worlds;
}

}  // namespace modulize
