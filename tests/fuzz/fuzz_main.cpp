// The entry point that libFuzzer calls. A Failure gets out: libFuzzer takes it for a crash and keeps the input.
#include "checks.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  modulize::fuzz::run_input(data, size);
  return 0;
}
