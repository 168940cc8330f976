// Functions of single elements, and choices between elements.
#include "ops/op_table.h"

namespace modulize {

namespace {

// A function torch.<fn> of one tensor, with its method and their in-place forms.
#define MODULIZE_UNARY(fn, cls, aimet_, doc_, ...)                                                          \
  {.call = "torch." #fn, .module = "modulize.nn." #cls, .signature = "input", .also = "Tensor." #fn __VA_ARGS__, \
   .inplace = "Tensor." #fn "_, torch." #fn "_", .aimet = aimet_, .doc = doc_, .sample = "f32[2,3]"}

constexpr OpRow kRows[] = {
    MODULIZE_UNARY(exp, Exp, "Exponential", "e to the power of each element"),
    MODULIZE_UNARY(exp2, Exp2, "", "2 to the power of each element", ", torch.special.exp2"),
    MODULIZE_UNARY(expm1, Expm1, "", "`exp(input) - 1`", ", torch.special.expm1"),
    MODULIZE_UNARY(log, Log, "Log", "The natural logarithm"),
    MODULIZE_UNARY(log2, Log2, "", "The logarithm to base 2"),
    MODULIZE_UNARY(log10, Log10, "", "The logarithm to base 10"),
    MODULIZE_UNARY(log1p, Log1p, "", "`log(1 + input)`", ", torch.special.log1p"),
    MODULIZE_UNARY(sqrt, Sqrt, "Sqrt", "The square root"),
    MODULIZE_UNARY(rsqrt, RSqrt, "RSqrt", "`1 / sqrt(input)`"),
    MODULIZE_UNARY(square, Square, "Square", "`input * input`"),
    MODULIZE_UNARY(reciprocal, Reciprocal, "", "`1 / input`"),
    MODULIZE_UNARY(sin, Sin, "Sin", "The sine"),
    MODULIZE_UNARY(cos, Cos, "Cos", "The cosine"),
    MODULIZE_UNARY(tan, Tan, "", "The tangent"),
    MODULIZE_UNARY(sinh, Sinh, "", "The hyperbolic sine"),
    MODULIZE_UNARY(cosh, Cosh, "", "The hyperbolic cosine"),
    MODULIZE_UNARY(asin, Asin, "Asin", "The inverse sine", ", torch.arcsin, Tensor.arcsin"),
    MODULIZE_UNARY(acos, Acos, "", "The inverse cosine", ", torch.arccos, Tensor.arccos"),
    MODULIZE_UNARY(atan, Atan, "Atan", "The inverse tangent", ", torch.arctan, Tensor.arctan"),
    MODULIZE_UNARY(asinh, Asinh, "", "The inverse hyperbolic sine", ", torch.arcsinh, Tensor.arcsinh"),
    MODULIZE_UNARY(acosh, Acosh, "", "The inverse hyperbolic cosine", ", torch.arccosh, Tensor.arccosh"),
    MODULIZE_UNARY(atanh, Atanh, "", "The inverse hyperbolic tangent", ", torch.arctanh, Tensor.arctanh"),
    MODULIZE_UNARY(erf, Erf, "Erf", "The error function", ", torch.special.erf"),
    MODULIZE_UNARY(erfc, Erfc, "", "`1 - erf(input)`", ", torch.special.erfc"),
    MODULIZE_UNARY(floor, Floor, "ElementwiseFloor", "The largest integer not above"),
    MODULIZE_UNARY(ceil, Ceil, "ElementwiseCeil", "The smallest integer not below"),
    MODULIZE_UNARY(trunc, Trunc, "", "The integer part", ", torch.fix, Tensor.fix"),
    MODULIZE_UNARY(frac, Frac, "", "`input - trunc(input)`"),
    MODULIZE_UNARY(sinc, Sinc, "", "`sin(pi * input) / (pi * input)`", ", torch.special.sinc"),
    MODULIZE_UNARY(deg2rad, Deg2rad, "", "Degrees to radians"),
    MODULIZE_UNARY(rad2deg, Rad2deg, "", "Radians to degrees"),
    {.call = "torch.sign", .module = "modulize.nn.Sign", .signature = "input", .also = "Tensor.sign",
     .inplace = "Tensor.sign_", .aimet = "ElementwiseUnarySign", .doc = "-1, 0 or 1", .sample = "f32[2,3]"},
    {.call = "torch.sgn", .module = "modulize.nn.Sgn", .signature = "input", .also = "Tensor.sgn",
     .inplace = "Tensor.sgn_", .doc = "The sign, for complex numbers too", .sample = "f32[2,3]"},
    {.call = "torch.round", .module = "modulize.nn.Round", .signature = "input, *, decimals=0", .also = "Tensor.round",
     .inplace = "Tensor.round_, torch.round_", .aimet = "Round",
     .body = "return torch.round(input) if decimals == 0 else torch.round(input, decimals=decimals)",
     .doc = "The nearest number with `decimals` digits, halves to even", .sample = "f32[2,3], decimals=1"},
    {.call = "torch.erfinv", .module = "modulize.nn.Erfinv", .signature = "input",
     .also = "Tensor.erfinv, torch.special.erfinv", .inplace = "Tensor.erfinv_", .doc = "The inverse of erf",
     .sample = "f32[2,3]"},
    {.call = "torch.lgamma", .module = "modulize.nn.Lgamma", .signature = "input",
     .also = "Tensor.lgamma, torch.special.gammaln", .inplace = "Tensor.lgamma_",
     .doc = "The logarithm of the gamma function", .sample = "f32[2,3]"},
    {.call = "torch.digamma", .module = "modulize.nn.Digamma", .signature = "input",
     .also = "Tensor.digamma, torch.special.digamma, torch.special.psi", .inplace = "Tensor.digamma_",
     .doc = "The derivative of lgamma", .sample = "f32[2,3]"},
    {.call = "torch.logit", .module = "modulize.nn.Logit", .signature = "input, eps=None",
     .also = "Tensor.logit, torch.special.logit(input, eps=None)", .inplace = "Tensor.logit_, torch.logit_",
     .doc = "`log(input / (1 - input))`", .sample = "f32[2,3], eps=0.1"},
    {.call = "torch.nan_to_num", .module = "modulize.nn.NanToNum", .signature = "input, nan=None, posinf=None, neginf=None",
     .also = "Tensor.nan_to_num", .inplace = "Tensor.nan_to_num_, torch.nan_to_num_",
     .doc = "NaN and infinities replaced by numbers", .sample = "f32[2,3], nan=1.0"},
    // Functions of two tensors.
    {.call = "torch.atan2", .module = "modulize.nn.Atan2", .signature = "input, other",
     .also = "Tensor.atan2, torch.arctan2, Tensor.arctan2", .inplace = "Tensor.atan2_, Tensor.arctan2_",
     .doc = "The angle of the point (other, input)", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.hypot", .module = "modulize.nn.Hypot", .signature = "input, other", .also = "Tensor.hypot",
     .inplace = "Tensor.hypot_", .doc = "`sqrt(input**2 + other**2)`", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.logaddexp", .module = "modulize.nn.LogAddExp", .signature = "input, other",
     .also = "Tensor.logaddexp", .doc = "`log(exp(input) + exp(other))`", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.logaddexp2", .module = "modulize.nn.LogAddExp2", .signature = "input, other",
     .also = "Tensor.logaddexp2", .doc = "`log2(2**input + 2**other)`", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.xlogy", .module = "modulize.nn.Xlogy", .signature = "input, other",
     .also = "Tensor.xlogy, torch.special.xlogy", .inplace = "Tensor.xlogy_", .doc = "`input * log(other)`",
     .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.copysign", .module = "modulize.nn.Copysign", .signature = "input, other", .also = "Tensor.copysign",
     .inplace = "Tensor.copysign_", .doc = "`abs(input)` with the sign of `other`", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.heaviside", .module = "modulize.nn.Heaviside", .signature = "input, values",
     .also = "Tensor.heaviside", .inplace = "Tensor.heaviside_", .doc = "0, `values` or 1 by the sign of `input`",
     .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.maximum", .module = "modulize.nn.Maximum", .signature = "input, other", .also = "Tensor.maximum",
     .aimet = "Maximum", .doc = "The greater of two elements", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.minimum", .module = "modulize.nn.Minimum", .signature = "input, other", .also = "Tensor.minimum",
     .aimet = "Minimum", .doc = "The lesser of two elements", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.fmax", .module = "modulize.nn.FMax", .signature = "input, other", .also = "Tensor.fmax",
     .doc = "The greater of two elements, NaN aside", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.fmin", .module = "modulize.nn.FMin", .signature = "input, other", .also = "Tensor.fmin",
     .doc = "The lesser of two elements, NaN aside", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.dist", .module = "modulize.nn.Dist", .signature = "input, other, p=2", .also = "Tensor.dist",
     .doc = "The p-norm of `input - other`", .sample = "f32[2,3], f32[2,3], p=1"},
    // Limits and choices: the results' range is another than the inputs'.
    {.call = "torch.clamp", .module = "modulize.nn.Clamp", .signature = "input, min=None, max=None",
     .also = "Tensor.clamp, torch.clip, Tensor.clip, torch.clamp_min(input, min), Tensor.clamp_min(input, min), "
             "torch.clamp_max(input, max), Tensor.clamp_max(input, max)",
     .inplace = "Tensor.clamp_, torch.clamp_, Tensor.clip_, torch.clip_, Tensor.clamp_min_(input, min), "
                "Tensor.clamp_max_(input, max), torch.clamp_min_(input, min), torch.clamp_max_(input, max)",
     .doc = "`input` held between `min` and `max`", .sample = "f32[2,3], min=-0.5, max=0.5"},
    {.call = "torch.where", .module = "modulize.nn.Where", .signature = "condition, input, other",
     .also = "Tensor.where(input, condition, other)", .aimet = "Where",
     .doc = "`input` where `condition` holds, else `other`", .sample = "bool[2,3], f32[2,3], f32[2,3]"},
    {.call = "torch.masked_fill", .module = "modulize.nn.MaskedFill", .signature = "input, mask, value",
     .also = "Tensor.masked_fill", .inplace = "Tensor.masked_fill_", .doc = "`value` where `mask` holds, else `input`",
     .sample = "f32[2,3], bool[2,3], 0.5"},
    // Padding brings in values that were not there, like masked_fill.
    {.call = "F.pad", .module = "modulize.nn.Pad", .signature = "input, pad, mode='constant', value=None",
     .aimet = "Pad", .doc = "`input` with a border", .sample = "f32[2,3], (1, 2), value=0.5"},
    {.call = "torch.constant_pad_nd", .module = "modulize.nn.ConstantPad", .signature = "input, pad, value=0",
     .doc = "`input` with a border of one value", .sample = "f32[2,3], (1, 2), value=0.5"},
    {.call = "F.normalize", .module = "modulize.nn.Normalize", .signature = "input, p=2.0, dim=1, eps=1e-12, out=None",
     .aimet = "Normalize", .only = "out=None", .doc = "`input` divided by its p-norm along `dim`",
     .sample = "f32[2,3], dim=0"},
    {.call = "torch.renorm", .module = "modulize.nn.Renorm", .signature = "input, p, dim, maxnorm",
     .also = "Tensor.renorm", .inplace = "Tensor.renorm_", .doc = "Sub-tensors with their p-norm held below `maxnorm`",
     .sample = "f32[2,3], 2, 0, 0.5"},
};

#undef MODULIZE_UNARY

}  // namespace

std::span<const OpRow> math_rows() { return kRows; }

}  // namespace modulize
