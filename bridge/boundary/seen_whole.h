// What a call whose inside is not recorded may have seen and changed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bridge/record/recorder.h"

namespace modulize {

/// Around a call whose inside is not recorded: before it, what forward changed on known objects is written; while it
/// is recorded, they are referred to by their nodes. Containers that it is given have nodes then, as it may change
/// them; those that it does not change now must stay unchanged in the prepared model.
class SeenWhole {
 public:
  SeenWhole(Recorder& recorder, bool applies, PyObject* args, PyObject* kwargs, std::string callee);
  /// After the call.
  void reread() const;

 private:
  struct Given {
    nb::object container, contents;
    NodeId node, contents_node;
  };
  void watch(nb::handle value);

  Recorder& recorder_;
  KnownObjects& objects_;
  const bool applies_;
  const std::string callee_;
  std::optional<KnownObjects::KeepIdentity> keep_;
  std::vector<Given> given_;
};

}  // namespace modulize
