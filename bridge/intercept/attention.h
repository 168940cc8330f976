// What decompose_attention asks of a capture; the rest is the pass of that name.
#pragma once

#include "bridge/python/patches.h"
#include "bridge/record/recorder.h"

namespace modulize {

/// Attention and transformer layers of torch.nn are traced through, F.multi_head_attention_forward too, and the
/// kernels that compute a whole layer are off.
void open_attention(Patches& patches, Recorder& recorder);

}  // namespace modulize
