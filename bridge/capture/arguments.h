// The arguments that forward gets during a capture: copies of the example's, with a node for every tensor.
#pragma once

#include <string>

#include "bridge/capture/recorder.h"

namespace modulize {

class ArgumentBuilder {
 public:
  /// `placeholder_class`: torch.fx's PHBase, or none.
  ArgumentBuilder(Recorder& recorder, nb::handle placeholder_class)
      : recorder_(recorder), placeholder_class_(nb::borrow(placeholder_class)) {}

  /// The object that forward gets for `value`, the argument that `node` yields. Tensors are copied, so that the user's are
  /// never written; what is neither tensor nor container is checked to be the same when the prepared model is called.
  nb::object build(nb::handle value, NodeId node, const std::string& text);

 private:
  bool is_free(nb::handle value) const;
  NodeId element(NodeId node, Value key, nb::handle item);

  Recorder& recorder_;
  nb::object placeholder_class_;
};

}  // namespace modulize
