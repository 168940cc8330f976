// Losses. `size_average` and `reduce` are torch's deprecated spellings of `reduction`.
#include "ops/op_table.h"

namespace modulize {

namespace {

constexpr OpRow kRows[] = {
    {.call = "F.l1_loss", .module = "torch.nn.L1Loss",
     .signature = "input, target, size_average=None, reduce=None, reduction='mean', weight=None",
     .ctor = "size_average, reduce, reduction", .only = "weight=None",
     .sample = "f32[2,3], f32[2,3], reduction='sum'"},
    {.call = "F.mse_loss", .module = "torch.nn.MSELoss",
     .signature = "input, target, size_average=None, reduce=None, reduction='mean', weight=None",
     .ctor = "size_average, reduce, reduction", .only = "weight=None",
     .sample = "f32[2,3], f32[2,3], reduction='sum'"},
    {.call = "F.smooth_l1_loss", .module = "torch.nn.SmoothL1Loss",
     .signature = "input, target, size_average=None, reduce=None, reduction='mean', beta=1.0",
     .ctor = "size_average, reduce, reduction, beta", .sample = "f32[2,3], f32[2,3], beta=0.5"},
    {.call = "F.huber_loss", .module = "torch.nn.HuberLoss",
     .signature = "input, target, reduction='mean', delta=1.0, weight=None", .ctor = "reduction, delta",
     .only = "weight=None", .sample = "f32[2,3], f32[2,3], delta=0.5"},
    {.call = "F.binary_cross_entropy", .module = "torch.nn.BCELoss",
     .signature = "input, target, weight=None, size_average=None, reduce=None, reduction='mean'",
     .ctor = "size_average, reduce, reduction", .only = "weight=None", .sample = "prob[2,3], prob[2,3]"},
    {.call = "F.binary_cross_entropy_with_logits", .module = "torch.nn.BCEWithLogitsLoss",
     .signature = "input, target, weight=None, size_average=None, reduce=None, reduction='mean', pos_weight=None",
     .ctor = "size_average, reduce, reduction", .only = "weight=None, pos_weight=None",
     .sample = "f32[2,3], prob[2,3]"},
    {.call = "F.cross_entropy", .module = "torch.nn.CrossEntropyLoss",
     .signature = "input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean', "
                  "label_smoothing=0.0",
     .ctor = "size_average, ignore_index, reduce, reduction, label_smoothing", .only = "weight=None",
     .sample = "f32[4,3], i64[4]<3, label_smoothing=0.1"},
    {.call = "F.nll_loss", .module = "torch.nn.NLLLoss",
     .signature = "input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean'",
     .ctor = "size_average, ignore_index, reduce, reduction", .only = "weight=None", .sample = "f32[4,3], i64[4]<3"},
    {.call = "F.kl_div", .module = "torch.nn.KLDivLoss",
     .signature = "input, target, size_average=None, reduce=None, reduction='mean', log_target=False",
     .ctor = "size_average, reduce, reduction, log_target", .sample = "f32[2,3], prob[2,3], reduction='batchmean'"},
};

}  // namespace

std::span<const OpRow> loss_rows() { return kRows; }

}  // namespace modulize
