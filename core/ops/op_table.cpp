#include "ops/op_table.h"

namespace modulize {

std::string_view passive_reason_name(PassiveReason reason) {
  switch (reason) {
    case PassiveReason::view:
      return "view";
    case PassiveReason::shape:
      return "shape";
    case PassiveReason::metadata:
      return "metadata";
    case PassiveReason::constructor:
      return "constructor";
    case PassiveReason::random_constructor:
      return "random constructor";
    case PassiveReason::moves_data:
      return "moves data";
    case PassiveReason::converts:
      return "converts";
    case PassiveReason::boolean:
      return "boolean result";
    case PassiveReason::integer:
      return "integer result";
    case PassiveReason::in_place_write:
      return "in-place write";
    case PassiveReason::number:
      return "Python number";
    case PassiveReason::protocol:
      return "Python protocol";
    case PassiveReason::autograd:
      return "gradients";
    case PassiveReason::recurrent:
      return "recurrent: kept as a call, `nn.LSTM` and its like are leaves";
    case PassiveReason::quantized:
      return "quantized: kept as a call";
    case PassiveReason::sparse:
      return "sparse layout: kept as a call";
    case PassiveReason::internal:
      return "internal part of torch: kept as a call";
    case PassiveReason::communication:
      return "between processes: kept as a call";
  }
  return "";
}

namespace {

template <class Row>
std::vector<Row> join(std::initializer_list<std::span<const Row>> families) {
  std::vector<Row> out;
  for (const auto& family : families) out.insert(out.end(), family.begin(), family.end());
  return out;
}

}  // namespace

const std::vector<OpRow>& op_rows() {
  static const std::vector<OpRow> rows =
      join<OpRow>({activation_rows(), arithmetic_rows(), math_rows(), reduction_rows(), layer_rows(), pooling_rows(),
                   loss_rows(), linalg_rows(), special_rows(), layout_module_rows()});
  return rows;
}

const std::vector<PassiveRow>& passive_rows() {
  static const std::vector<PassiveRow> rows =
      join<PassiveRow>({layout_rows(), moving_rows(), logic_rows(), constructor_rows(), kept_rows()});
  return rows;
}

}  // namespace modulize
