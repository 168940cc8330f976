// What Python decides while a capture runs, and what a graph cannot have of it.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "bridge/record/capture.h"

namespace modulize {

class Recorder;

/// Of one capture. Needs the GIL; methods throw nb::python_error or Error.
class Decisions {
 public:
  explicit Decisions(Recorder& recorder) : recorder_(recorder) {}

  /// Python asks for the truth of what `value` yields, which is `natural` here: a decision. `question`: what it asks
  /// about the world around forward, empty for a value. Returns the outcome to go on with.
  bool decide(NodeId value, bool natural, const std::string& question = {});
  /// The same where nobody can know: the value is one of a tensor on the meta device. Both sides are captured.
  bool decide_unknown(NodeId value);
  /// How the decision that is about to be made comes out, whatever the value; nothing where the value tells.
  std::optional<bool> known_outcome();

  /// Throws KeepRequest: `what` needs a value.
  [[noreturn]] void refuse_control_flow(const std::string& what);
  /// Throws UnsupportedError: `what` needs values of tensors on the meta device, which has none. `error`: of torch, may
  /// be empty.
  [[noreturn]] void refuse_without_values(const std::string& what, const std::string& error = {});
  /// Throws likewise where a number that is not there is an argument of the call.
  void require_known(const Node& call);
  /// Throws KeepRequest where forward would catch what a call raises, and go on. `surely`: not where a context manager
  /// of the user's might.
  void require_uncaught(const char* what, bool surely);
  /// Throws where the code that a symbol's node comes from would catch what it raises: without values nobody knows.
  void require_uncaught_symbols(SourceId source);

  /// What runs now and could be kept whole, innermost first.
  std::vector<KeepCandidate> candidates();
  /// Throws the request to keep one of `candidates` because of `why`; `advice` follows it and the place in the message.
  /// The capture's first one is noted. `generator`: see KeepRequest.
  [[noreturn]] void ask_to_keep(const std::string& why, const std::string& advice,
                                std::vector<KeepCandidate> candidates, std::string generator = {});

  /// The first request of the capture, and the first refusal: forward may have caught the exception that it arrived as.
  const std::optional<KeepRequest>& request() const { return request_; }
  const std::optional<Error>& refusal() const { return refusal_; }
  void note_refusal(const Error& error) {
    if (!refusal_) refusal_ = error;
  }

 private:
  std::string place_of_decision();
  bool branch(NodeId value, bool natural, const std::string& question, bool is_unknown);

  Recorder& recorder_;
  std::optional<KeepRequest> request_;
  std::optional<Error> refusal_;
  std::unordered_map<std::string, std::uint32_t> times_decided_;
  std::unordered_set<std::uint64_t> not_caught_;  // scopes and places whose exceptions leave forward
};

/// Like may_raise_by_value, of a call whose values nobody knows.
bool may_raise_symbolically(const Node& node);

/// Throws CaptureError if a function transform (torch.func) is active that nothing recorded as a whole.
void refuse_function_transforms(Recorder& recorder);

}  // namespace modulize
