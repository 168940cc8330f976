#include "bridge/intercept/attention.h"

#include "bridge/intercept/kept_functions.h"
#include "bridge/python/errors.h"

namespace modulize {

void open_attention(Patches& patches, Recorder& recorder) {
  const nb::object torch_nn = nb::module_::import_("torch.nn");
  for (const char* name : {"MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer",
                           "TransformerEncoder", "TransformerDecoder", "Transformer"})
    recorder.settings.opened_classes.insert(nb::object(torch_nn.attr(name)).ptr());  // torch holds it

  const nb::object ours = nb::module_::import_("modulize.nn._attention");
  const nb::object function = nb::module_::import_("torch.nn.functional").attr("multi_head_attention_forward");
  recorder.settings.opened_functions.emplace(function.ptr(), ours.attr("multi_head_attention_forward"));
  patches.set_attribute(torch_nn.attr("MultiheadAttention"), "forward", ours.attr("module_forward"));
  patch_one_node(patches, ours.attr("additive_mask"));

  const nb::object backends = nb::module_::import_("torch.backends");
  if (nb::hasattr(backends, "mha"))  // torch 2.1 and later
    patches.set_attribute(backends.attr("mha"), "_is_fastpath_enabled", nb::bool_(false));
}

}  // namespace modulize
