// The modules of the model in the graph: nodes that yield them, entries of the tree, notes of what is kept whole.
#pragma once

#include <string>

#include "bridge/record/recorder.h"

namespace modulize {

/// A node for the prepared model itself.
NodeId root_module(Recorder& recorder);
/// A node for a module of the model.
NodeId module_node(Recorder& recorder, const std::string& path, PyObject* module);
/// Declares an existing module, called or traced through, in the graph's module tree.
void use_module(Recorder& recorder, const std::string& path, PyObject* module);
/// For the report: `what` is called as a whole here.
void note_kept(Recorder& recorder, const std::string& what, const char* reason);

}  // namespace modulize
