// What code that is kept whole calls of torch, and where.
#pragma once

#include <string>

#include "bridge/record/recorder.h"

namespace modulize {

/// Opens a region of sites around code that is kept whole; the text names it in Capture::sites.
NodeId enter_sites(Recorder& recorder, const std::string& region);
void leave_sites(Recorder& recorder, NodeId enter);
/// A call of torch by code that is observed.
void note_site(Recorder& recorder, PyObject* function, PyObject* args, PyObject* kwargs);

}  // namespace modulize
