#include "ops/attributes.h"

#include <algorithm>
#include <iterator>

#include "ir/runtime_calls.h"

namespace modulize {

namespace {

constexpr ValueType kTensor = ValueType::tensor, kNumber = ValueType::number, kOther = ValueType::other;

constexpr AttributeRow kRows[] = {
    {"shape", ValueType::size, true},
    {"ndim", kNumber, true},
    {"dtype", kOther, true},
    {"device", kOther, true},
    {"layout", kOther, true},
    {"itemsize", kNumber, true},
    {"nbytes", kNumber, true},
    {"is_cuda", kNumber, true, Tells::answer},
    {"is_sparse", kNumber, true, Tells::kind},
    {"is_quantized", kNumber, true, Tells::kind},
    {"is_meta", kNumber, true, Tells::answer},
    {"is_nested", kNumber, true, Tells::kind},
    {"requires_grad", kNumber, false, Tells::answer},
    {"is_leaf", kNumber, false, Tells::answer},
    {"output_nr", kNumber},
    {"grad_fn", kOther, false, Tells::answer},
    {"names", kOther},
    // Views.
    {"T", kTensor},
    {"mT", kTensor},
    {"H", kTensor},
    {"mH", kTensor},
    {"real", kTensor},
    {"imag", kTensor},
    {"data", kTensor},
};

}  // namespace

const AttributeRow* find_attribute(std::string_view name) {
  const auto it =
      std::find_if(std::begin(kRows), std::end(kRows), [&](const AttributeRow& r) { return r.name == name; });
  return it == std::end(kRows) ? nullptr : it;
}

const AttributeRow* find_attribute(const Node& node) {
  if (!is_call_of(node, "builtins.getattr") || node.args.size() != 2 || !node.args[1].is(ValueKind::string))
    return nullptr;
  return find_attribute(std::string_view(node.args[1].text()));
}

}  // namespace modulize
