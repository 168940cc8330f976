// Calls that make tensors out of nothing.
#include "ops/op_table.h"

namespace modulize {

namespace {

using enum PassiveReason;
constexpr ValueType kTensor = ValueType::tensor;

constexpr PassiveRow kRows[] = {
    {"torch.zeros", constructor},
    {"torch.ones", constructor},
    {"torch.full", constructor},
    {"torch.empty", constructor},
    {"modulize.nn.functional.additive_mask", constructor},
    {"torch.zeros_like", constructor},
    {"torch.ones_like", constructor},
    {"torch.full_like", constructor},
    {"torch.empty_like", constructor},
    {"torch.empty_strided", constructor},
    {"Tensor.new_zeros", constructor},
    {"Tensor.new_ones", constructor},
    {"Tensor.new_full", constructor},
    {"Tensor.new_empty", constructor},
    {"Tensor.new_tensor", constructor},
    {"Tensor.new", constructor},
    {"torch.arange", constructor},
    {"torch.range", constructor},
    {"torch.linspace", constructor},
    {"torch.logspace", constructor},
    {"torch.eye", constructor},
    {"torch.fft.fftfreq", constructor},
    {"torch.fft.rfftfreq", constructor},
    {"torch.tensor", constructor},
    {"torch.scalar_tensor", constructor},
    {"torch.tril_indices", constructor},
    {"torch.triu_indices", constructor},
    {"torch.hann_window", constructor},
    {"torch.hamming_window", constructor},
    {"torch.blackman_window", constructor},
    {"torch.bartlett_window", constructor},
    {"torch.kaiser_window", constructor},
    {"torch.as_tensor", constructor, kTensor, true},
    {"torch.asarray", constructor, kTensor, true},
    {"torch.from_numpy", constructor, kTensor, true},
    {"torch.rand", random_constructor},
    {"torch.randn", random_constructor},
    {"torch.randint", random_constructor},
    {"torch.randperm", random_constructor},
    {"torch.rand_like", random_constructor},
    {"torch.randn_like", random_constructor},
    {"torch.randint_like", random_constructor},
    {"torch.normal", random_constructor, ValueType::tensor, false, Raises::by_values},
    {"torch.bernoulli", random_constructor, ValueType::tensor, false, Raises::by_values},
    {"Tensor.bernoulli", random_constructor, ValueType::tensor, false, Raises::by_values},
    {"torch.multinomial", random_constructor, ValueType::tensor, false, Raises::by_values},
    {"Tensor.multinomial", random_constructor, ValueType::tensor, false, Raises::by_values},
    {"torch.poisson", random_constructor, ValueType::tensor, false, Raises::by_values},
    {"torch.binomial", random_constructor},
    {"torch.nn.init.normal_", random_constructor, kTensor, true},
    {"torch.nn.init.uniform_", random_constructor, kTensor, true},
    {"torch.nn.init.kaiming_uniform_", random_constructor, kTensor, true},
    {"Tensor.bernoulli_", random_constructor, kTensor, true},
    {"Tensor.normal_", random_constructor, kTensor, true},
    {"Tensor.uniform_", random_constructor, kTensor, true},
    {"Tensor.random_", random_constructor, kTensor, true},
    {"Tensor.exponential_", random_constructor, kTensor, true},
    {"Tensor.log_normal_", random_constructor, kTensor, true},
    {"Tensor.cauchy_", random_constructor, kTensor, true},
    {"Tensor.geometric_", random_constructor, kTensor, true},
};

}  // namespace

std::span<const PassiveRow> constructor_rows() { return kRows; }

}  // namespace modulize
