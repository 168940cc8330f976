#include "bridge/intercept/all.h"

#include <utility>

#include "bridge/intercept/attention.h"
#include "bridge/intercept/autograd_functions.h"
#include "bridge/intercept/checkpoint.h"
#include "bridge/intercept/contexts.h"
#include "bridge/intercept/device_types.h"
#include "bridge/intercept/dtypes.h"
#include "bridge/intercept/environment.h"
#include "bridge/intercept/given_modules.h"
#include "bridge/intercept/gradients.h"
#include "bridge/intercept/imports.h"
#include "bridge/intercept/kept_functions.h"
#include "bridge/intercept/modules.h"
#include "bridge/intercept/numbers.h"
#include "bridge/intercept/parameters.h"
#include "bridge/intercept/script.h"
#include "bridge/intercept/torch_functions.h"
#include "bridge/intercept/training_flag.h"
#include "bridge/intercept/transforms.h"
#include "bridge/intercept/type_of.h"
#include "bridge/intercept/wrapped.h"

namespace modulize {

void patch_all(Patches& patches, Recorder& recorder, const Interceptions& what) {
  const CaptureMode mode = recorder.mode();
  // First, so that what the others import finds everything as it is.
  patch_imports(patches);
  patch_torch_functions(patches);
  patch_modules(patches, mode);
  patch_training_flag(patches);
  if (what.with_given_modules) patch_given_modules(patches);
  patch_contexts(patches);
  patch_device_type(patches);
  patch_dtype_properties(patches);
  patch_settings(patches);
  patch_autograd_functions(patches);
  patch_script_functions(patches);
  patch_transforms(patches);
  patch_checkpoint(patches);
  patch_backward(patches);
  patch_parameter(patches);
  // What the user's globals may hold by name is replaced there too, once all of it is known.
  std::vector<std::pair<nb::object, nb::object>> replaced = patch_environment(patches, what.gradients_were_enabled);
  for (auto& limits : patch_dtype_limits(patches)) replaced.push_back(std::move(limits));
  patch_numbers(patches, recorder, replaced);
  if (mode == CaptureMode::symbolic) {
    patch_wrapped(patches);
    patch_type(patches, what.globals_naming_type);
  }
  if (what.decompose_attention) open_attention(patches, recorder);
  // Last: what the user excludes, or a capture before this one had to keep, wins.
  patch_registered(patches, what.excluded_functions);
  patch_excluded(patches, what.excluded_functions);
  if (what.kept)
    for (const KeptFunction& kept : what.kept->functions) patch_kept(patches, kept.function);
}

}  // namespace modulize
