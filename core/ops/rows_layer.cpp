// Layers: convolutions, linear maps, embeddings, normalisation, attention, resampling.
#include "ops/op_table.h"

namespace modulize {

namespace {

#define MODULIZE_CONV(dims, aimet_, sample_)                                                               \
  {                                                                                                        \
    .call = "F.conv" #dims "d", .module = "torch.nn.Conv" #dims "d",                                       \
    .signature = "input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1",                    \
    .ctor =                                                                                                \
        "in_channels=weight.shape[1]*groups, out_channels=weight.shape[0], kernel_size=weight.shape[2:], " \
        "stride, padding, dilation, groups, bias=has(bias)|True",                                          \
    .also = "torch.conv" #dims "d", .aimet = aimet_, .adopt = "weight, bias?", .sample = sample_           \
  }

#define MODULIZE_CONV_TRANSPOSE(dims, sample_)                                                             \
  {                                                                                                        \
    .call = "F.conv_transpose" #dims "d", .module = "torch.nn.ConvTranspose" #dims "d",                    \
    .signature = "input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1",  \
    .ctor =                                                                                                \
        "in_channels=weight.shape[0], out_channels=weight.shape[1]*groups, kernel_size=weight.shape[2:], " \
        "stride, padding, output_padding, groups, bias=has(bias)|True, dilation",                          \
    .also = "torch.conv_transpose" #dims "d", .adopt = "weight, bias?", .sample = sample_                  \
  }

constexpr OpRow kRows[] = {
    MODULIZE_CONV(1, "", "f32[2,4,8], f32[6,2,3], f32[6], stride=2, groups=2"),
    MODULIZE_CONV(2, "", "f32[2,4,8,8], f32[6,2,3,3], f32[6], padding=1, groups=2"),
    MODULIZE_CONV(3, "", "f32[2,4,5,5,5], f32[6,2,3,3,3], f32[6], groups=2"),
    MODULIZE_CONV_TRANSPOSE(1, "f32[2,4,8], f32[4,3,3], f32[6], stride=2, groups=2"),
    MODULIZE_CONV_TRANSPOSE(2, "f32[2,4,8,8], f32[4,3,3,3], f32[6], stride=2, output_padding=1, groups=2"),
    MODULIZE_CONV_TRANSPOSE(3, "f32[2,4,4,4,4], f32[4,3,3,3,3], f32[6], stride=2, groups=2"),
    {.call = "F.linear",
     .module = "torch.nn.Linear",
     .signature = "input, weight, bias=None",
     .ctor = "in_features=weight.shape[1], out_features=weight.shape[0], bias=has(bias)|True",
     .adopt = "weight, bias?",
     .sample = "f32[2,3], f32[4,3], f32[4]"},
    {.call = "F.bilinear",
     .module = "torch.nn.Bilinear",
     .signature = "input1, input2, weight, bias=None",
     .ctor = "in1_features=weight.shape[1], in2_features=weight.shape[2], out_features=weight.shape[0], "
             "bias=has(bias)|True",
     .also = "torch.bilinear",
     .adopt = "weight, bias?",
     .sample = "f32[2,3], f32[2,4], f32[5,3,4], f32[5]"},
    {.call = "F.embedding",
     .module = "torch.nn.Embedding",
     .signature =
         "input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False",
     .ctor = "num_embeddings=weight.shape[0], embedding_dim=weight.shape[1], padding_idx, max_norm, norm_type, "
             "scale_grad_by_freq, sparse",
     .adopt = "weight",
     .sample = "i64[2,3]<5, f32[5,4], padding_idx=1",
     .effect = true,
     .raises = Raises::by_values},
    // Normalisation.
    {.call = "F.layer_norm",
     .module = "torch.nn.LayerNorm",
     .signature = "input, normalized_shape, weight=None, bias=None, eps=1e-05",
     .ctor = "normalized_shape, eps, elementwise_affine=has(weight)|True, bias=has(bias)|has(weight)",
     .adopt = "weight?, bias?weight",
     .sample = "f32[2,3,4], (4,), f32[4], f32[4]"},
    {.call = "F.group_norm",
     .module = "torch.nn.GroupNorm",
     .signature = "input, num_groups, weight=None, bias=None, eps=1e-05",
     .ctor = "num_groups, num_channels=weight.shape[0], eps",
     .aimet = "GroupNorm",
     .adopt = "weight, bias",
     .sample = "f32[2,4,3], 2, f32[4], f32[4]"},
    {.call = "torch.conv_tbc",
     .module = "modulize.nn.ConvTBC",
     .signature = "input, weight, bias, pad=0",
     .also = "F.conv_tbc",
     .doc = "A convolution over (time, batch, channels)",
     .sample = "f32[5,2,3], f32[2,3,4], f32[4], 1"},
    {.call = "F.rms_norm",
     .module = "torch.nn.RMSNorm",
     .signature = "input, normalized_shape, weight=None, eps=None",
     .ctor = "normalized_shape, eps, elementwise_affine=has(weight)|True",
     .also = "torch.rms_norm",
     .adopt = "weight?",
     .sample = "f32[2,3,4], (4,), f32[4]"},
    // The rank of the input decides between BatchNorm1d, 2d and 3d, and the statistics are the caller's: all at run
    // time. The statistics are updated in training.
    {.call = "F.batch_norm",
     .module = "modulize.nn.BatchNorm",
     .signature = "input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05",
     .aimet = "BatchNorm",
     .mode = "training",
     .doc = "Batch normalisation",
     .sample = "f32[4,3,5], f32[3], pos[3], f32[3], f32[3]",
     .effect = true},
    {.call = "F.instance_norm",
     .module = "modulize.nn.InstanceNorm",
     .signature = "input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, "
                  "momentum=0.1, eps=1e-05",
     .doc = "Instance normalisation",
     .sample = "f32[2,3,5]",
     .effect = true},
    {.call = "F.local_response_norm",
     .module = "torch.nn.LocalResponseNorm",
     .signature = "input, size, alpha=0.0001, beta=0.75, k=1.0",
     .ctor = "size, alpha, beta, k",
     .sample = "f32[2,6,4], 3"},
    // Attention.
    {.call = "F.scaled_dot_product_attention",
     .module = "modulize.nn.ScaledDotProductAttention",
     .signature = "query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, **kwargs",
     .aimet = "ScaledDotProductAttention",
     .brevitas = "ScaledDotProductAttention",
     .doc = "`softmax(query @ key.T * scale + attn_mask) @ value`",
     .sample = "f32[2,4,3], f32[2,4,3], f32[2,4,3], is_causal=True",
     .random = true},
    {.call = "modulize.nn.functional.attention_mask",
     .module = "modulize.nn.AttentionMask",
     .signature = "scores, attn_mask=None, is_causal=False",
     .doc = "`scores` of scaled dot-product attention, `-inf` where a query may not attend to a key",
     .sample = "f32[2,4,4], is_causal=True"},
    {.call = "modulize.nn.functional.zero_masked_rows",
     .module = "modulize.nn.ZeroMaskedRows",
     .signature = "weights, attn_mask=None",
     .doc = "Attention `weights`, 0 for queries that may attend to no key",
     .sample = "f32[2,4,4], None"},
    {.call = "F.multi_head_attention_forward",
     .module = "modulize.nn.MultiHeadAttentionForward",
     .signature = "query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, "
                  "add_zero_attn, dropout_p, out_proj_weight, out_proj_bias, training=True, key_padding_mask=None, "
                  "need_weights=True, attn_mask=None, use_separate_proj_weight=False, q_proj_weight=None, "
                  "k_proj_weight=None, v_proj_weight=None, static_k=None, static_v=None, average_attn_weights=True, "
                  "is_causal=False",
     .mode = "training",
     .doc = "Multi-head attention with all weights given in the call",
     .sample = "f32[4,2,6], f32[4,2,6], f32[4,2,6], 6, 2, f32[18,6], f32[18], None, None, False, 0.0, f32[6,6], f32[6]",
     .result = ValueType::other,
     .random = true},
    // Resampling.
    {.call = "F.interpolate",
     .module = "torch.nn.Upsample",
     .signature = "input, size=None, scale_factor=None, mode='nearest', align_corners=None, "
                  "recompute_scale_factor=None, antialias=False",
     .ctor = "size, scale_factor, mode, align_corners, recompute_scale_factor",
     .also = "F.upsample(input, size=None, scale_factor=None, mode='nearest', align_corners=None)",
     .aimet = "Interpolate",
     .only = "antialias=False",
     .dynamic = "modulize.nn.Interpolate",
     .sample = "f32[2,3,4,4], scale_factor=2.0",
     .may_alias = true},
    {.call = "F.upsample_nearest",
     .module = "torch.nn.UpsamplingNearest2d",
     .signature = "input, size=None, scale_factor=None",
     .ctor = "size, scale_factor",
     .sample = "f32[2,3,4,4], scale_factor=2",
     .may_alias = true},
    {.call = "F.upsample_bilinear",
     .module = "torch.nn.UpsamplingBilinear2d",
     .signature = "input, size=None, scale_factor=None",
     .ctor = "size, scale_factor",
     .sample = "f32[2,3,4,4], scale_factor=2",
     .may_alias = true},
    {.call = "F.grid_sample",
     .module = "modulize.nn.GridSample",
     .signature = "input, grid, mode='bilinear', padding_mode='zeros', align_corners=None",
     .aimet = "GridSample",
     .doc = "`input` sampled at the points of `grid`",
     .sample = "f32[2,3,4,4], f32[2,5,5,2], align_corners=False"},
    {.call = "F.affine_grid",
     .module = "modulize.nn.AffineGrid",
     .signature = "theta, size, align_corners=None",
     .doc = "The sampling grid of affine maps",
     .sample = "f32[2,2,3], (2, 3, 4, 4), align_corners=False"},
    {.call = "F.pixel_shuffle",
     .module = "torch.nn.PixelShuffle",
     .signature = "input, upscale_factor",
     .ctor = "upscale_factor",
     .also = "torch.pixel_shuffle",
     .sample = "f32[2,4,3,3], 2",
     .may_alias = true},
    {.call = "F.pixel_unshuffle",
     .module = "torch.nn.PixelUnshuffle",
     .signature = "input, downscale_factor",
     .ctor = "downscale_factor",
     .also = "torch.pixel_unshuffle",
     .sample = "f32[2,1,4,4], 2",
     .may_alias = true},
    {.call = "F.channel_shuffle",
     .module = "torch.nn.ChannelShuffle",
     .signature = "input, groups",
     .ctor = "groups",
     .also = "torch.channel_shuffle, F.native_channel_shuffle, torch.native_channel_shuffle",
     .sample = "f32[2,4,3,3], 2",
     .may_alias = true},
    {.call = "F.fold",
     .module = "torch.nn.Fold",
     .signature = "input, output_size, kernel_size, dilation=1, padding=0, stride=1",
     .ctor = "output_size, kernel_size, dilation, padding, stride",
     .sample = "f32[2,12,9], (4, 4), 2"},
    {.call = "F.unfold",
     .module = "torch.nn.Unfold",
     .signature = "input, kernel_size, dilation=1, padding=0, stride=1",
     .ctor = "kernel_size, dilation, padding, stride",
     .sample = "f32[2,3,4,4], 2"},
};

#undef MODULIZE_CONV
#undef MODULIZE_CONV_TRANSPOSE

}  // namespace

std::span<const OpRow> layer_rows() { return kRows; }

}  // namespace modulize
