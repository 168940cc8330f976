// Reductions and running reductions. Overloaded functions take their arguments as they come.
#include "ops/op_table.h"

namespace modulize {

namespace {

constexpr ValueType kVaries = ValueType::unknown;

constexpr OpRow kRows[] = {
    {.call = "torch.mean", .module = "modulize.nn.Mean", .signature = "input, *args, **kwargs", .also = "Tensor.mean",
     .aimet = "Mean", .doc = "The mean of all elements, or along `dim`", .sample = "f32[2,3], dim=1"},
    {.call = "torch.sum", .module = "modulize.nn.Sum", .signature = "input, *args, **kwargs", .also = "Tensor.sum",
     .aimet = "Sum", .doc = "The sum of all elements, or along `dim`", .sample = "f32[2,3], dim=1"},
    {.call = "torch.prod", .module = "modulize.nn.Prod", .signature = "input, *args, **kwargs", .also = "Tensor.prod",
     .aimet = "Prod", .doc = "The product of all elements, or along `dim`", .sample = "f32[2,3], dim=1"},
    {.call = "torch.nanmean", .module = "modulize.nn.NanMean", .signature = "input, *args, **kwargs",
     .also = "Tensor.nanmean", .doc = "The mean without NaN", .sample = "f32[2,3], dim=1"},
    {.call = "torch.nansum", .module = "modulize.nn.NanSum", .signature = "input, *args, **kwargs",
     .also = "Tensor.nansum", .doc = "The sum without NaN", .sample = "f32[2,3], dim=1"},
    // One tensor, two tensors, or values and indices along a dimension.
    {.call = "torch.max", .module = "modulize.nn.Max", .signature = "input, *args, **kwargs", .also = "Tensor.max",
     .aimet = "Max", .doc = "The greatest element; along `dim` with indices; or of two tensors", .sample = "f32[2,3]",
     .result = kVaries},
    {.call = "torch.min", .module = "modulize.nn.Min", .signature = "input, *args, **kwargs", .also = "Tensor.min",
     .aimet = "Min", .doc = "The least element; along `dim` with indices; or of two tensors", .sample = "f32[2,3]",
     .result = kVaries},
    {.call = "torch.median", .module = "modulize.nn.Median", .signature = "input, *args, **kwargs",
     .also = "Tensor.median", .doc = "The median; along `dim` with indices", .sample = "f32[2,3]", .result = kVaries},
    {.call = "torch.nanmedian", .module = "modulize.nn.NanMedian", .signature = "input, *args, **kwargs",
     .also = "Tensor.nanmedian", .doc = "The median without NaN; along `dim` with indices", .sample = "f32[2,3]",
     .result = kVaries},
    {.call = "torch.amax", .module = "modulize.nn.AMax", .signature = "input, dim=(), keepdim=False",
     .also = "Tensor.amax", .aimet = "AMax", .doc = "The greatest elements along `dim`", .sample = "f32[2,3], dim=1"},
    {.call = "torch.amin", .module = "modulize.nn.AMin", .signature = "input, dim=(), keepdim=False",
     .also = "Tensor.amin", .aimet = "AMin", .doc = "The least elements along `dim`", .sample = "f32[2,3], dim=1"},
    {.call = "torch.aminmax", .module = "modulize.nn.AMinMax", .signature = "input, *, dim=None, keepdim=False",
     .also = "Tensor.aminmax", .doc = "The least and the greatest elements", .sample = "f32[2,3], dim=1",
     .result = ValueType::other},
    {.call = "torch.std", .module = "modulize.nn.Std", .signature = "input, *args, **kwargs", .also = "Tensor.std",
     .doc = "The standard deviation", .sample = "f32[2,3], dim=1"},
    {.call = "torch.var", .module = "modulize.nn.Var", .signature = "input, *args, **kwargs", .also = "Tensor.var",
     .doc = "The variance", .sample = "f32[2,3], dim=1"},
    {.call = "torch.std_mean", .module = "modulize.nn.StdMean", .signature = "input, *args, **kwargs",
     .doc = "The standard deviation and the mean", .sample = "f32[2,3], dim=1", .result = ValueType::other},
    {.call = "torch.var_mean", .module = "modulize.nn.VarMean", .signature = "input, *args, **kwargs",
     .doc = "The variance and the mean", .sample = "f32[2,3], dim=1", .result = ValueType::other},
    {.call = "torch.norm", .module = "modulize.nn.Norm",
     .signature = "input, p='fro', dim=None, keepdim=False, out=None, dtype=None",
     .also = "Tensor.norm(input, p='fro', dim=None, keepdim=False, dtype=None)", .aimet = "Norm", .only = "out=None",
     .doc = "The p-norm", .sample = "f32[2,3], dim=1"},
    {.call = "torch.linalg.norm", .module = "modulize.nn.LinalgNorm",
     .signature = "input, ord=None, dim=None, keepdim=False, *, dtype=None", .base = "norm",
     .doc = "The norm of a vector or matrix", .sample = "f32[2,3], dim=1"},
    {.call = "torch.linalg.vector_norm", .module = "modulize.nn.VectorNorm",
     .signature = "input, ord=2, dim=None, keepdim=False, *, dtype=None", .doc = "The norm of vectors",
     .sample = "f32[2,3], dim=1"},
    {.call = "torch.logsumexp", .module = "modulize.nn.LogSumExp", .signature = "input, dim, keepdim=False",
     .also = "Tensor.logsumexp, torch.special.logsumexp", .doc = "`log(sum(exp(input)))`", .sample = "f32[2,3], 1"},
    {.call = "torch.quantile", .module = "modulize.nn.Quantile",
     .signature = "input, q, dim=None, keepdim=False, *, interpolation='linear'", .also = "Tensor.quantile",
     .doc = "The q-th quantiles", .sample = "f32[2,3], 0.5, dim=1"},
    {.call = "torch.nanquantile", .module = "modulize.nn.NanQuantile",
     .signature = "input, q, dim=None, keepdim=False, *, interpolation='linear'", .also = "Tensor.nanquantile",
     .doc = "The q-th quantiles without NaN", .sample = "f32[2,3], 0.5, dim=1"},
    {.call = "torch.trace", .module = "modulize.nn.Trace", .signature = "input", .also = "Tensor.trace",
     .doc = "The sum of the diagonal", .sample = "f32[3,3]"},
    // Running reductions.
    {.call = "torch.cumsum", .module = "modulize.nn.CumSum", .signature = "input, dim, *, dtype=None",
     .also = "Tensor.cumsum", .inplace = "Tensor.cumsum_", .aimet = "CumSum", .doc = "The running sum along `dim`",
     .sample = "f32[2,3], 1"},
    {.call = "torch.cumprod", .module = "modulize.nn.CumProd", .signature = "input, dim, *, dtype=None",
     .also = "Tensor.cumprod", .inplace = "Tensor.cumprod_", .doc = "The running product along `dim`",
     .sample = "f32[2,3], 1"},
    {.call = "torch.logcumsumexp", .module = "modulize.nn.LogCumSumExp", .signature = "input, dim",
     .also = "Tensor.logcumsumexp", .doc = "`log(cumsum(exp(input)))`", .sample = "f32[2,3], 1"},
    {.call = "torch.cummax", .module = "modulize.nn.CumMax", .signature = "input, dim", .also = "Tensor.cummax",
     .doc = "The running maximum along `dim`, with indices", .sample = "f32[2,3], 1", .result = ValueType::other},
    {.call = "torch.cummin", .module = "modulize.nn.CumMin", .signature = "input, dim", .also = "Tensor.cummin",
     .doc = "The running minimum along `dim`, with indices", .sample = "f32[2,3], 1", .result = ValueType::other},
    {.call = "torch.diff", .module = "modulize.nn.Diff", .signature = "input, n=1, dim=-1, prepend=None, append=None",
     .also = "Tensor.diff", .doc = "The n-th differences along `dim`", .sample = "f32[2,3], dim=1"},
    // Distances.
    {.call = "F.cosine_similarity", .module = "torch.nn.CosineSimilarity", .signature = "x1, x2, dim=1, eps=1e-08",
     .ctor = "dim, eps", .also = "torch.cosine_similarity", .sample = "f32[2,3], f32[2,3], dim=0"},
    {.call = "F.pairwise_distance", .module = "torch.nn.PairwiseDistance",
     .signature = "x1, x2, p=2.0, eps=1e-06, keepdim=False", .ctor = "p, eps, keepdim",
     .also = "torch.pairwise_distance", .sample = "f32[2,3], f32[2,3], p=1.0"},
    {.call = "torch.cdist", .module = "modulize.nn.CDist",
     .signature = "x1, x2, p=2.0, compute_mode='use_mm_for_euclid_dist_if_necessary'",
     .doc = "The p-norm distances of all pairs of rows", .sample = "f32[2,3], f32[4,3]"},
    {.call = "F.pdist", .module = "modulize.nn.PDist", .signature = "input, p=2", .also = "torch.pdist",
     .doc = "The p-norm distances of all pairs of rows", .sample = "f32[3,4]"},
};

}  // namespace

std::span<const OpRow> reduction_rows() { return kRows; }

}  // namespace modulize
