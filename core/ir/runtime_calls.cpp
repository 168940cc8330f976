#include "ir/runtime_calls.h"

#include <unordered_map>

namespace modulize {

namespace {

constexpr Effects kReads{};
constexpr Effects kPasses{.yields = Yields::may_alias};
constexpr Effects kDecides{.yields = Yields::decides};
constexpr Effects kRaises{.raises = Raises::by_values};
constexpr Effects kRaisesOrPasses{.yields = Yields::may_alias, .raises = Raises::by_values};
constexpr Effects kWrites{.objects = Access::writes, .raises = Raises::by_values};
constexpr Effects kSetsModes{.globals = Access::writes};

constexpr RuntimeCall kCalls[] = {
#define RUNTIME_CALL(constant, spelling, form, role, effects) {spelling, RuntimeForm::form, RuntimeRole::role, effects},
#include "ir/runtime_calls.def"
#undef RUNTIME_CALL
};

}  // namespace

std::span<const RuntimeCall> runtime_calls() { return kCalls; }

const RuntimeCall* find_runtime_call(std::string_view name) {
  static const auto by_name = [] {
    std::unordered_map<std::string_view, const RuntimeCall*> out;
    for (const RuntimeCall& call : kCalls) out.emplace(call.name, &call);
    return out;
  }();
  const auto it = by_name.find(name);
  return it == by_name.end() ? nullptr : it->second;
}

}  // namespace modulize
