// The op table: which calls compute and become modules, and which calls do not.
#pragma once

#include <span>
#include <vector>

#include "ops/op_row.h"

namespace modulize {

/// All rows, family after family. Static storage.
const std::vector<OpRow>& op_rows();

/// All calls known not to compute. Static storage.
const std::vector<PassiveRow>& passive_rows();

// The families, each in a rows_*.cpp of its own.
std::span<const OpRow> activation_rows();
std::span<const OpRow> arithmetic_rows();
std::span<const OpRow> math_rows();
std::span<const OpRow> reduction_rows();
std::span<const OpRow> layer_rows();
std::span<const OpRow> pooling_rows();
std::span<const OpRow> loss_rows();
std::span<const OpRow> linalg_rows();
std::span<const OpRow> special_rows();
std::span<const OpRow> layout_module_rows();
std::span<const PassiveRow> layout_rows();
std::span<const PassiveRow> moving_rows();
std::span<const PassiveRow> logic_rows();
std::span<const PassiveRow> constructor_rows();
std::span<const PassiveRow> kept_rows();

}  // namespace modulize
