// The arguments that forward gets during a capture: copies of the example's, with a node for every tensor.
#pragma once

#include <string>

#include "bridge/record/recorder.h"

namespace modulize {

class ArgumentBuilder {
 public:
  /// `placeholder_class`: torch.fx's PHBase, or none.
  ArgumentBuilder(Recorder& recorder, nb::handle placeholder_class)
      : recorder_(recorder), placeholder_class_(nb::borrow(placeholder_class)), objects_(copy_leaf_of(recorder)) {}

  /// The object that forward gets for `value`, the argument that `node` yields: a copy, so that the user's is never
  /// written. Plain containers are opened part by part; of other objects the structure is checked as a whole when the
  /// prepared model is called. What is neither tensor nor container nor object is checked to be the same.
  /// `is_variadic`: it is what Python gathers in `*args` or `**kwargs`, always a tuple or dict.
  /// A module is an opaque handle: any module of its class will do (GivenModules).
  nb::object build(nb::handle value, NodeId node, const std::string& text, bool is_variadic = false);
  /// The same for an argument that is fixed by concrete_args: a module must be this one.
  nb::object build_fixed(nb::handle value, NodeId node, const std::string& text);

  /// Copies tensors, unrecorded; any other leaf is itself.
  static StructureCopy::Leaf copy_leaf_of(Recorder& recorder);

 private:
  bool is_handle(nb::handle value) const;
  void give_modules_in(nb::handle object, NodeId node, const std::string& text, int depth = 0);
  nb::object build_object(nb::handle value, NodeId node, const std::string& text);
  bool is_free(nb::handle value) const;
  NodeId element(NodeId node, Value key, nb::handle item);

  Recorder& recorder_;
  nb::object placeholder_class_;
  StructureCopy objects_;  // one memo for all arguments: an object that stands in two of them stays one
  int depth_ = 0;
  bool is_fixed_ = false;
};

}  // namespace modulize
