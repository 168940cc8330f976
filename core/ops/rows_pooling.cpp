// Pooling.
#include "ops/op_table.h"

namespace modulize {

namespace {

constexpr ValueType kVaries = ValueType::unknown;  // with indices: two tensors

#define MODULIZE_MAX_POOL(dims, aimet_, sample_)                                                                  \
  {                                                                                                               \
    .call = "F.max_pool" #dims "d", .module = "torch.nn.MaxPool" #dims "d",                                       \
    .signature = "input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False", \
    .ctor = "kernel_size, stride, padding, dilation, return_indices, ceil_mode",                                  \
    .also = "torch.max_pool" #dims                                                                                \
            "d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False), "                        \
            "F.max_pool" #dims                                                                                    \
            "d_with_indices(input, kernel_size, stride=None, padding=0, dilation=1, "                             \
            "ceil_mode=False)[return_indices=True], "                                                             \
            "F._max_pool" #dims "d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)",     \
    .aimet = aimet_, .sample = sample_, .result = kVaries                                                         \
  }

#define MODULIZE_MAX_UNPOOL(dims, sample_)                                                \
  {                                                                                       \
    .call = "F.max_unpool" #dims "d", .module = "modulize.nn.MaxUnpool" #dims "d",        \
    .signature = "input, indices, kernel_size, stride=None, padding=0, output_size=None", \
    .doc = "The inverse of max pooling, zero where no maximum was", .sample = sample_     \
  }

#define MODULIZE_ADAPTIVE_AVG(dims, also_, aimet_, sample_)                                                     \
  {                                                                                                             \
    .call = "F.adaptive_avg_pool" #dims "d", .module = "torch.nn.AdaptiveAvgPool" #dims "d",                    \
    .signature = "input, output_size", .ctor = "output_size", .also = also_, .aimet = aimet_, .sample = sample_ \
  }

#define MODULIZE_ADAPTIVE_MAX(dims, sample_)                                                        \
  {                                                                                                 \
    .call = "F.adaptive_max_pool" #dims "d", .module = "torch.nn.AdaptiveMaxPool" #dims "d",        \
    .signature = "input, output_size, return_indices=False", .ctor = "output_size, return_indices", \
    .also = "F.adaptive_max_pool" #dims                                                             \
            "d_with_indices(input, output_size)[return_indices=True], "                             \
            "F._adaptive_max_pool" #dims "d(input, output_size)",                                   \
    .sample = sample_, .result = kVaries                                                            \
  }

constexpr OpRow kRows[] = {
    MODULIZE_MAX_POOL(1, "", "f32[2,3,8], 2"),
    MODULIZE_MAX_POOL(2, "MaxPool2d", "f32[2,3,8,8], 3, stride=2, padding=1"),
    MODULIZE_MAX_POOL(3, "", "f32[2,3,4,4,4], 2"),
    MODULIZE_MAX_UNPOOL(1, "f32[1,2,2], i64[1,2,2]<4, 2"),
    MODULIZE_MAX_UNPOOL(2, "f32[1,2,2,2], i64[1,2,2,2]<16, 2"),
    MODULIZE_MAX_UNPOOL(3, "f32[1,2,2,2,2], i64[1,2,2,2,2]<64, 2"),
    {.call = "F.avg_pool1d",
     .module = "torch.nn.AvgPool1d",
     .signature = "input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True",
     .ctor = "kernel_size, stride, padding, ceil_mode, count_include_pad",
     .also = "torch.avg_pool1d",
     .sample = "f32[2,3,8], 3, stride=2, padding=1"},
    {.call = "F.avg_pool2d",
     .module = "torch.nn.AvgPool2d",
     .signature = "input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, "
                  "divisor_override=None",
     .ctor = "kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override",
     .aimet = "AvgPool2d",
     .sample = "f32[2,3,8,8], 3, stride=2, padding=1"},
    {.call = "F.avg_pool3d",
     .module = "torch.nn.AvgPool3d",
     .signature = "input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, "
                  "divisor_override=None",
     .ctor = "kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override",
     .sample = "f32[2,3,4,4,4], 2"},
    {.call = "F.lp_pool1d",
     .module = "torch.nn.LPPool1d",
     .signature = "input, norm_type, kernel_size, stride=None, ceil_mode=False",
     .ctor = "norm_type, kernel_size, stride, ceil_mode",
     .sample = "f32[2,3,8], 2.0, 3"},
    {.call = "F.lp_pool2d",
     .module = "torch.nn.LPPool2d",
     .signature = "input, norm_type, kernel_size, stride=None, ceil_mode=False",
     .ctor = "norm_type, kernel_size, stride, ceil_mode",
     .sample = "f32[2,3,8,8], 2.0, 3"},
    {.call = "F.lp_pool3d",
     .module = "torch.nn.LPPool3d",
     .signature = "input, norm_type, kernel_size, stride=None, ceil_mode=False",
     .ctor = "norm_type, kernel_size, stride, ceil_mode",
     .sample = "f32[2,3,4,4,4], 2.0, 2"},
    MODULIZE_ADAPTIVE_AVG(1, "torch.adaptive_avg_pool1d", "", "f32[2,3,8], 2"),
    MODULIZE_ADAPTIVE_AVG(2, "", "AdaptiveAvgPool2d", "f32[2,3,8,8], (2, 1)"),
    MODULIZE_ADAPTIVE_AVG(3, "", "", "f32[2,3,4,4,4], 2"),
    MODULIZE_ADAPTIVE_MAX(1, "f32[2,3,8], 2"),
    MODULIZE_ADAPTIVE_MAX(2, "f32[2,3,8,8], (2, 1)"),
    MODULIZE_ADAPTIVE_MAX(3, "f32[2,3,4,4,4], 2"),
};

#undef MODULIZE_MAX_POOL
#undef MODULIZE_MAX_UNPOOL
#undef MODULIZE_ADAPTIVE_AVG
#undef MODULIZE_ADAPTIVE_MAX

}  // namespace

std::span<const OpRow> pooling_rows() { return kRows; }

}  // namespace modulize
