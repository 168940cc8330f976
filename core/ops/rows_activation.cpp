// Activations, softmax and dropout.
#include "ops/op_table.h"

namespace modulize {

namespace {

constexpr OpRow kRows[] = {
    {.call = "F.relu", .module = "torch.nn.ReLU", .signature = "input, inplace=False", .ctor = "inplace",
     .also = "torch.relu, Tensor.relu, F.relu_[inplace=True], torch.relu_[inplace=True], Tensor.relu_[inplace=True]",
     .doc = "`max(input, 0)`", .sample = "f32[2,3]"},
    {.call = "F.relu6", .module = "torch.nn.ReLU6", .signature = "input, inplace=False", .ctor = "inplace",
     .doc = "`min(max(input, 0), 6)`", .sample = "f32[2,3]"},
    {.call = "F.leaky_relu", .module = "torch.nn.LeakyReLU",
     .signature = "input, negative_slope=0.01, inplace=False", .ctor = "negative_slope, inplace",
     .also = "F.leaky_relu_[inplace=True]", .sample = "f32[2,3], negative_slope=0.2"},
    {.call = "F.elu", .module = "torch.nn.ELU", .signature = "input, alpha=1.0, inplace=False",
     .ctor = "alpha, inplace", .also = "F.elu_[inplace=True]", .sample = "f32[2,3], alpha=0.5"},
    {.call = "F.selu", .module = "torch.nn.SELU", .signature = "input, inplace=False", .ctor = "inplace",
     .also = "torch.selu(input), F.selu_[inplace=True], torch.selu_[inplace=True]", .sample = "f32[2,3]"},
    {.call = "F.celu", .module = "torch.nn.CELU", .signature = "input, alpha=1.0, inplace=False",
     .ctor = "alpha, inplace",
     .also = "torch.celu(input, alpha=1.0), F.celu_[inplace=True], torch.celu_(input, alpha=1.0)[inplace=True]",
     .sample = "f32[2,3], alpha=0.5"},
    {.call = "F.gelu", .module = "torch.nn.GELU", .signature = "input, *, approximate='none'", .ctor = "approximate",
     .sample = "f32[2,3], approximate='tanh'"},
    {.call = "F.silu", .module = "torch.nn.SiLU", .signature = "input, inplace=False", .ctor = "inplace", .aimet = "CustomSiLU(input)", .sample = "f32[2,3]"},
    {.call = "F.mish", .module = "torch.nn.Mish", .signature = "input, inplace=False", .ctor = "inplace", .sample = "f32[2,3]"},
    {.call = "F.hardswish", .module = "torch.nn.Hardswish", .signature = "input, inplace=False", .ctor = "inplace", .sample = "f32[2,3]"},
    {.call = "F.hardsigmoid", .module = "torch.nn.Hardsigmoid", .signature = "input, inplace=False",
     .ctor = "inplace", .sample = "f32[2,3]"},
    {.call = "F.hardtanh", .module = "torch.nn.Hardtanh", .signature = "input, min_val=-1.0, max_val=1.0, inplace=False",
     .ctor = "min_val, max_val, inplace", .also = "F.hardtanh_[inplace=True]", .sample = "f32[2,3], min_val=-0.5"},
    {.call = "F.threshold", .module = "torch.nn.Threshold", .signature = "input, threshold, value, inplace=False",
     .ctor = "threshold, value, inplace",
     .also = "torch.threshold(input, threshold, value), F._threshold, F.threshold_[inplace=True], "
             "torch.threshold_(input, threshold, value)[inplace=True]",
     .sample = "f32[2,3], 0.1, 20.0"},
    {.call = "torch.sigmoid", .module = "torch.nn.Sigmoid", .signature = "input",
     .also = "Tensor.sigmoid, F.sigmoid, torch.special.expit", .inplace = "Tensor.sigmoid_, torch.sigmoid_",
     .sample = "f32[2,3]"},
    {.call = "torch.tanh", .module = "torch.nn.Tanh", .signature = "input", .also = "Tensor.tanh, F.tanh",
     .inplace = "Tensor.tanh_, torch.tanh_", .sample = "f32[2,3]"},
    {.call = "F.logsigmoid", .module = "torch.nn.LogSigmoid", .signature = "input", .sample = "f32[2,3]"},
    {.call = "F.softplus", .module = "torch.nn.Softplus", .signature = "input, beta=1, threshold=20",
     .ctor = "beta, threshold", .sample = "f32[2,3], 2.0, threshold=10"},
    {.call = "F.softsign", .module = "torch.nn.Softsign", .signature = "input", .sample = "f32[2,3]"},
    {.call = "F.tanhshrink", .module = "torch.nn.Tanhshrink", .signature = "input", .sample = "f32[2,3]"},
    {.call = "F.hardshrink", .module = "torch.nn.Hardshrink", .signature = "input, lambd=0.5", .ctor = "lambd",
     .also = "torch.hardshrink, Tensor.hardshrink", .sample = "f32[2,3], lambd=0.1"},
    {.call = "F.softshrink", .module = "torch.nn.Softshrink", .signature = "input, lambd=0.5", .ctor = "lambd",
     .sample = "f32[2,3], lambd=0.1"},
    {.call = "F.rrelu", .module = "torch.nn.RReLU",
     .signature = "input, lower=0.125, upper=0.3333333333333333, training=False, inplace=False",
     .ctor = "lower, upper, inplace",
     .also = "torch.rrelu(input, lower=0.125, upper=0.3333333333333333, training=False), F.rrelu_[inplace=True], "
             "torch.rrelu_(input, lower=0.125, upper=0.3333333333333333, training=False)[inplace=True]",
     .mode = "training", .sample = "f32[2,3]", .random = true},
    {.call = "F.glu", .module = "torch.nn.GLU", .signature = "input, dim=-1", .ctor = "dim", .sample = "f32[2,4], dim=1"},
    {.call = "F.prelu", .module = "torch.nn.PReLU", .signature = "input, weight",
     .ctor = "num_parameters=weight.shape[0]|1", .also = "torch.prelu, Tensor.prelu", .adopt = "weight",
     .sample = "f32[2,3,4], f32[3]"},
    // Softmax family. `_stacklevel` only places a warning.
    {.call = "F.softmax", .module = "torch.nn.Softmax", .signature = "input, dim=None, _stacklevel=3, dtype=None",
     .ctor = "dim",
     .also = "torch.softmax(input, dim, dtype=None), Tensor.softmax(input, dim, dtype=None), "
             "torch.special.softmax(input, dim, dtype=None)",
     .only = "dtype=None", .ignore = "_stacklevel", .sample = "f32[2,3], dim=-1"},
    {.call = "F.log_softmax", .module = "torch.nn.LogSoftmax",
     .signature = "input, dim=None, _stacklevel=3, dtype=None", .ctor = "dim",
     .also = "torch.log_softmax(input, dim, dtype=None), Tensor.log_softmax(input, dim, dtype=None), "
             "torch.special.log_softmax(input, dim, *, dtype=None)",
     .only = "dtype=None", .ignore = "_stacklevel", .sample = "f32[2,3], dim=-1"},
    {.call = "F.softmin", .module = "torch.nn.Softmin", .signature = "input, dim=None, _stacklevel=3, dtype=None",
     .ctor = "dim", .only = "dtype=None", .ignore = "_stacklevel", .sample = "f32[2,3], dim=-1"},
    {.call = "F.gumbel_softmax", .module = "modulize.nn.GumbelSoftmax",
     .signature = "logits, tau=1, hard=False, eps=1e-10, dim=-1",
     .doc = "A sample of the Gumbel-softmax distribution along `dim`", .sample = "f32[2,3], tau=0.5", .random = true},
    // Dropout. Outside of training the input itself comes back.
    {.call = "F.dropout", .module = "torch.nn.Dropout", .signature = "input, p=0.5, training=True, inplace=False",
     .ctor = "p, inplace",
     .also = "torch.dropout(input, p, train:training), torch.dropout_(input, p, train:training)[inplace=True]", .mode = "training",
     .sample = "f32[2,3], p=0.2", .random = true, .may_alias = true},
    {.call = "F.dropout1d", .module = "torch.nn.Dropout1d", .signature = "input, p=0.5, training=True, inplace=False",
     .ctor = "p, inplace", .mode = "training", .sample = "f32[2,3,4], p=0.2", .random = true, .may_alias = true},
    {.call = "F.dropout2d", .module = "torch.nn.Dropout2d", .signature = "input, p=0.5, training=True, inplace=False",
     .ctor = "p, inplace",
     .also = "torch.feature_dropout(input, p, train:training), torch.feature_dropout_(input, p, train:training)[inplace=True]",
     .mode = "training", .sample = "f32[2,3,4,4], p=0.2", .random = true, .may_alias = true},
    {.call = "F.dropout3d", .module = "torch.nn.Dropout3d", .signature = "input, p=0.5, training=True, inplace=False",
     .ctor = "p, inplace", .mode = "training", .sample = "f32[2,3,2,4,4], p=0.2", .random = true, .may_alias = true},
    // torch's modules of these two take `inplace` and do not heed it.
    {.call = "F.alpha_dropout", .module = "torch.nn.AlphaDropout",
     .signature = "input, p=0.5, training=False, inplace=False", .ctor = "p",
     .also = "torch.alpha_dropout(input, p, train:training), torch.alpha_dropout_(input, p, train:training)[inplace=True]",
     .only = "inplace=False", .mode = "training", .sample = "f32[2,3], p=0.2", .random = true, .may_alias = true},
    {.call = "F.feature_alpha_dropout", .module = "torch.nn.FeatureAlphaDropout",
     .signature = "input, p=0.5, training=False, inplace=False", .ctor = "p",
     .also = "torch.feature_alpha_dropout(input, p, train:training), "
             "torch.feature_alpha_dropout_(input, p, train:training)[inplace=True]",
     .only = "inplace=False", .mode = "training", .sample = "f32[2,3,4], p=0.2", .random = true, .may_alias = true},
};

}  // namespace

std::span<const OpRow> activation_rows() { return kRows; }

}  // namespace modulize
