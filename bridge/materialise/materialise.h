// Graph -> torch.fx.GraphModule.
#pragma once

#include <memory>

#include "bridge/record/capture.h"

namespace modulize {

/// The prepared model of `graph` (the captured graph after the passes) over a shallow clone of `capture.root`'s tree.
/// `capture.root` is not changed. The prepared model keeps `graph`. Throws Error or nb::python_error.
nb::object materialise(const Capture& capture, std::shared_ptr<const Graph> graph);

/// Defines `Program`, `materialise_text` and `generate_text` in `m`.
void bind_materialise(nb::module_& m);

}  // namespace modulize
