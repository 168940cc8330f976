#include "passes/idiom_table.h"

namespace modulize {

const std::vector<Idiom>& idioms() {
  static const std::vector<Idiom> table = {
      // --- activations ---------------------------------------------------------------------------------------------
      {"hard swish", R"(graph x_relu6_6 {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.add(%x, 3)
  %b: tensor = call_function torch.nn.functional.relu6(%a)
  %c: tensor = call_function torch.mul(%x, %b)
  %d: tensor = call_function torch.div(%c, 6)
  %z: tensor = call_function torch.nn.functional.hardswish(%x)
  output (%d, %z)
})"},
      {"hard swish", R"(graph x_relu6_sixth {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.add(%x, 3)
  %b: tensor = call_function torch.nn.functional.relu6(%a)
  %c: tensor = call_function torch.mul(%x, %b)
  %d: tensor = call_function torch.mul(%c, 0.16666666666666666)
  %z: tensor = call_function torch.nn.functional.hardswish(%x)
  output (%d, %z)
})"},
      {"hard swish", R"(graph x_hardtanh_6 {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.add(%x, 3)
  %b: tensor = call_function torch.clamp(%a, 0, 6)
  %c: tensor = call_function torch.mul(%x, %b)
  %d: tensor = call_function torch.div(%c, 6)
  %z: tensor = call_function torch.nn.functional.hardswish(%x)
  output (%d, %z)
})"},
      {"hard sigmoid", R"(graph relu6_6 {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.add(%x, 3)
  %b: tensor = call_function torch.nn.functional.relu6(%a)
  %c: tensor = call_function torch.div(%b, 6)
  %z: tensor = call_function torch.nn.functional.hardsigmoid(%x)
  output (%c, %z)
})"},
      {"hard sigmoid", R"(graph relu6_sixth {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.add(%x, 3)
  %b: tensor = call_function torch.nn.functional.relu6(%a)
  %c: tensor = call_function torch.mul(%b, 0.16666666666666666)
  %z: tensor = call_function torch.nn.functional.hardsigmoid(%x)
  output (%c, %z)
})"},
      {"hard swish", R"(graph x_hardsigmoid {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.nn.functional.hardsigmoid(%x)
  %b: tensor = call_function torch.mul(%x, %a)
  %z: tensor = call_function torch.nn.functional.hardswish(%x)
  output (%b, %z)
})"},
      {"GELU, by its sigmoid", R"(graph quick_gelu {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.mul(%x, 1.702)
  %b: tensor = call_function torch.sigmoid(%a)
  %c: tensor = call_function torch.mul(%x, %b)
  %z: tensor = call_function modulize.nn.functional.quick_gelu(%x)
  output (%c, %z)
})"},
      {"SiLU", R"(graph silu {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.sigmoid(%x)
  %b: tensor = call_function torch.mul(%x, %a)
  %z: tensor = call_function torch.nn.functional.silu(%x)
  output (%b, %z)
})"},
      {"GELU, by erf", R"(graph x_half_erf_div {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.div(%x, 1.4142135623730951)
  %b: tensor = call_function torch.erf(%a)
  %c: tensor = call_function torch.add(%b, 1)
  %d: tensor = call_function torch.mul(%x, 0.5)
  %e: tensor = call_function torch.mul(%d, %c)
  %z: tensor = call_function torch.nn.functional.gelu(%x)
  output (%e, %z)
})"},
      {"GELU, by erf", R"(graph x_half_erf_mul {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.mul(%x, 0.7071067811865476)
  %b: tensor = call_function torch.erf(%a)
  %c: tensor = call_function torch.add(%b, 1)
  %d: tensor = call_function torch.mul(%x, 0.5)
  %e: tensor = call_function torch.mul(%d, %c)
  %z: tensor = call_function torch.nn.functional.gelu(%x)
  output (%e, %z)
})"},
      {"GELU, by erf", R"(graph x_times_erf_half {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.div(%x, 1.4142135623730951)
  %b: tensor = call_function torch.erf(%a)
  %c: tensor = call_function torch.add(%b, 1)
  %d: tensor = call_function torch.mul(%x, %c)
  %e: tensor = call_function torch.mul(%d, 0.5)
  %z: tensor = call_function torch.nn.functional.gelu(%x)
  output (%e, %z)
})"},
      {"GELU, by tanh", R"(graph gelu_tanh_pow {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.pow(%x, 3)
  %b: tensor = call_function torch.mul(%a, 0.044715)
  %c: tensor = call_function torch.add(%x, %b)
  %d: tensor = call_function torch.mul(%c, 0.7978845608028654)
  %e: tensor = call_function torch.tanh(%d)
  %f: tensor = call_function torch.add(%e, 1)
  %g: tensor = call_function torch.mul(%x, 0.5)
  %h: tensor = call_function torch.mul(%g, %f)
  %z: tensor = call_function torch.nn.functional.gelu(%x, approximate='tanh')
  output (%h, %z)
})"},
      {"GELU, by tanh", R"(graph gelu_tanh_product {
  %x: tensor = placeholder x
  %a: tensor = call_function torch.mul(%x, 0.044715)
  %b: tensor = call_function torch.mul(%a, %x)
  %c: tensor = call_function torch.add(%b, 1)
  %d: tensor = call_function torch.mul(%x, 0.7978845608028654)
  %e: tensor = call_function torch.mul(%d, %c)
  %f: tensor = call_function torch.tanh(%e)
  %g: tensor = call_function torch.add(%f, 1)
  %h: tensor = call_function torch.mul(%x, 0.5)
  %i: tensor = call_function torch.mul(%h, %g)
  %z: tensor = call_function torch.nn.functional.gelu(%x, approximate='tanh')
  output (%i, %z)
})"},

      // --- norms -----------------------------------------------------------------------------------------------------
      {"RMS norm", R"(graph rms_norm_float32 {
  %x: tensor = placeholder x
  %w: tensor = placeholder w
  %eps: number = placeholder eps
  %dtype = placeholder dtype
  %shape = placeholder w.shape
  %a: tensor = call_method to(%x, torch.float32)
  %b: tensor = call_method pow(%a, 2)
  %c: tensor = call_method mean(%b, -1, keepdim=True)
  %d: tensor = call_method add(%c, %eps)
  %e: tensor = call_function torch.rsqrt(%d)
  %f: tensor = call_method mul(%a, %e)
  %g: tensor = call_method to(%f, %dtype)
  %h: tensor = call_method mul(%w, %g)
  %z: tensor = call_function torch.nn.functional.rms_norm(%x, %shape, %w, %eps)
  output (%h, %z)
})"},
      {"RMS norm", R"(graph rms_norm_variance_float32 {
  %x: tensor = placeholder x
  %w: tensor = placeholder w
  %eps: number = placeholder eps
  %shape = placeholder w.shape
  %a: tensor = call_method to(%x, torch.float32)
  %b: tensor = call_method pow(%a, 2)
  %c: tensor = call_method mean(%b, -1, keepdim=True)
  %d: tensor = call_method add(%c, %eps)
  %e: tensor = call_function torch.rsqrt(%d)
  %f: tensor = call_method mul(%x, %e)
  %g: tensor = call_method mul(%w, %f)
  %z: tensor = call_function torch.nn.functional.rms_norm(%x, %shape, %w, %eps)
  output (%g, %z)
})"},
      {"RMS norm", R"(graph rms_norm {
  %x: tensor = placeholder x
  %w: tensor = placeholder w
  %eps: number = placeholder eps
  %shape = placeholder w.shape
  %b: tensor = call_method pow(%x, 2)
  %c: tensor = call_method mean(%b, -1, keepdim=True)
  %d: tensor = call_method add(%c, %eps)
  %e: tensor = call_function torch.rsqrt(%d)
  %f: tensor = call_method mul(%x, %e)
  %g: tensor = call_method mul(%w, %f)
  %z: tensor = call_function torch.nn.functional.rms_norm(%x, %shape, %w, %eps)
  output (%g, %z)
})"},
      {"layer norm", R"(graph layer_norm_variance {
  %x: tensor = placeholder x
  %w: tensor = placeholder w
  %v: tensor = placeholder v
  %eps: number = placeholder eps
  %shape = placeholder w.shape
  %a: tensor = call_method mean(%x, -1, keepdim=True)
  %b: tensor = call_function torch.sub(%x, %a)
  %c: tensor = call_method pow(%b, 2)
  %d: tensor = call_method mean(%c, -1, keepdim=True)
  %e: tensor = call_function torch.add(%d, %eps)
  %f: tensor = call_function torch.sqrt(%e)
  %g: tensor = call_function torch.div(%b, %f)
  %h: tensor = call_function torch.mul(%w, %g)
  %i: tensor = call_function torch.add(%h, %v)
  %z: tensor = call_function torch.nn.functional.layer_norm(%x, %shape, %w, %v, %eps)
  output (%i, %z)
})"},
      {"layer norm", R"(graph layer_norm_two_differences {
  %x: tensor = placeholder x
  %w: tensor = placeholder w
  %v: tensor = placeholder v
  %eps: number = placeholder eps
  %shape = placeholder w.shape
  %a: tensor = call_method mean(%x, -1, keepdim=True)
  %b: tensor = call_function torch.sub(%x, %a)
  %c: tensor = call_method pow(%b, 2)
  %d: tensor = call_method mean(%c, -1, keepdim=True)
  %e: tensor = call_function torch.add(%d, %eps)
  %f: tensor = call_function torch.sqrt(%e)
  %y: tensor = call_function torch.sub(%x, %a)
  %g: tensor = call_function torch.div(%y, %f)
  %h: tensor = call_function torch.mul(%w, %g)
  %i: tensor = call_function torch.add(%h, %v)
  %z: tensor = call_function torch.nn.functional.layer_norm(%x, %shape, %w, %v, %eps)
  output (%i, %z)
})"},
      {"layer norm", R"(graph layer_norm_var {
  %x: tensor = placeholder x
  %w: tensor = placeholder w
  %v: tensor = placeholder v
  %eps: number = placeholder eps
  %shape = placeholder w.shape
  %a: tensor = call_method mean(%x, -1, keepdim=True)
  %b: tensor = call_method var(%x, -1, keepdim=True, unbiased=False)
  %c: tensor = call_function torch.sub(%x, %a)
  %d: tensor = call_function torch.add(%b, %eps)
  %e: tensor = call_function torch.sqrt(%d)
  %f: tensor = call_function torch.div(%c, %e)
  %g: tensor = call_function torch.mul(%w, %f)
  %h: tensor = call_function torch.add(%g, %v)
  %z: tensor = call_function torch.nn.functional.layer_norm(%x, %shape, %w, %v, %eps)
  output (%h, %z)
})"},
      {"normalisation", R"(graph normalize {
  %x: tensor = placeholder x
  %dim: number = placeholder dim
  %a: tensor = call_method norm(%x, dim=%dim, keepdim=True)
  %b: tensor = call_function torch.div(%x, %a)
  %z: tensor = call_function torch.nn.functional.normalize(%x, 2.0, %dim, 0.0)
  output (%b, %z)
})"},
      {"normalisation", R"(graph normalize_p {
  %x: tensor = placeholder x
  %dim: number = placeholder dim
  %a: tensor = call_method norm(%x, p=2, dim=%dim, keepdim=True)
  %b: tensor = call_function torch.div(%x, %a)
  %z: tensor = call_function torch.nn.functional.normalize(%x, 2.0, %dim, 0.0)
  output (%b, %z)
})"},
      {"normalisation", R"(graph normalize_clamped {
  %x: tensor = placeholder x
  %dim: number = placeholder dim
  %eps: number = placeholder eps
  %a: tensor = call_method norm(%x, p=2, dim=%dim, keepdim=True)
  %b: tensor = call_method clamp(%a, min=%eps)
  %c: tensor = call_function torch.div(%x, %b)
  %z: tensor = call_function torch.nn.functional.normalize(%x, 2.0, %dim, %eps)
  output (%c, %z)
})"},

      // --- attention -------------------------------------------------------------------------------------------------
      {"softmax", R"(graph softmax_amax {
  %x: tensor = placeholder x
  %dim: number = placeholder dim
  %a: tensor = call_function torch.amax(%x, %dim, keepdim=True)
  %b: tensor = call_function torch.sub(%x, %a)
  %c: tensor = call_function torch.exp(%b)
  %d: tensor = call_function torch.sum(%c, %dim, keepdim=True)
  %e: tensor = call_function torch.div(%c, %d)
  %z: tensor = call_function torch.nn.functional.softmax(%x, %dim)
  output (%e, %z)
})"},
      {"softmax", R"(graph softmax_max {
  %x: tensor = placeholder x
  %dim: number = placeholder dim
  %m = call_function torch.max(%x, %dim, keepdim=True)
  %a: tensor = call_function operator.getitem(%m, 0)
  %b: tensor = call_function torch.sub(%x, %a)
  %c: tensor = call_function torch.exp(%b)
  %d: tensor = call_function torch.sum(%c, %dim, keepdim=True)
  %e: tensor = call_function torch.div(%c, %d)
  %z: tensor = call_function torch.nn.functional.softmax(%x, %dim)
  output (%e, %z)
})"},
      {"softmax", R"(graph softmax_plain {
  %x: tensor = placeholder x
  %dim: number = placeholder dim
  %a: tensor = call_function torch.exp(%x)
  %b: tensor = call_function torch.sum(%a, %dim, keepdim=True)
  %c: tensor = call_function torch.div(%a, %b)
  %z: tensor = call_function torch.nn.functional.softmax(%x, %dim)
  output (%c, %z)
})"},
      {"attention", R"(graph attention_masked_scaled {
  %q: tensor = placeholder q
  %k: tensor = placeholder k
  %v: tensor = placeholder v
  %m: tensor = placeholder m
  %s: number = placeholder s
  %t: tensor = call_method transpose(%k, -2, -1)
  %a: tensor = call_function torch.matmul(%q, %t)
  %b: tensor = call_function torch.mul(%a, %s)
  %c: tensor = call_function torch.add(%b, %m)
  %d: tensor = call_function torch.nn.functional.softmax(%c, -1)
  %e: tensor = call_function torch.matmul(%d, %v)
  %z: tensor = call_function torch.nn.functional.scaled_dot_product_attention(%q, %k, %v, %m, scale=%s)
  output (%e, %z)
})"},
      {"attention", R"(graph attention_masked_divided {
  %q: tensor = placeholder q
  %k: tensor = placeholder k
  %v: tensor = placeholder v
  %m: tensor = placeholder m
  %s: number = placeholder s
  %scale = placeholder s.reciprocal
  %t: tensor = call_method transpose(%k, -2, -1)
  %a: tensor = call_function torch.matmul(%q, %t)
  %b: tensor = call_function torch.div(%a, %s)
  %c: tensor = call_function torch.add(%b, %m)
  %d: tensor = call_function torch.nn.functional.softmax(%c, -1)
  %e: tensor = call_function torch.matmul(%d, %v)
  %z: tensor = call_function torch.nn.functional.scaled_dot_product_attention(%q, %k, %v, %m, scale=%scale)
  output (%e, %z)
})"},
      {"attention", R"(graph attention_scaled {
  %q: tensor = placeholder q
  %k: tensor = placeholder k
  %v: tensor = placeholder v
  %s: number = placeholder s
  %t: tensor = call_method transpose(%k, -2, -1)
  %a: tensor = call_function torch.matmul(%q, %t)
  %b: tensor = call_function torch.mul(%a, %s)
  %c: tensor = call_function torch.nn.functional.softmax(%b, -1)
  %d: tensor = call_function torch.matmul(%c, %v)
  %z: tensor = call_function torch.nn.functional.scaled_dot_product_attention(%q, %k, %v, scale=%s)
  output (%d, %z)
})"},
      {"attention", R"(graph attention_divided {
  %q: tensor = placeholder q
  %k: tensor = placeholder k
  %v: tensor = placeholder v
  %s: number = placeholder s
  %scale = placeholder s.reciprocal
  %t: tensor = call_method transpose(%k, -2, -1)
  %a: tensor = call_function torch.matmul(%q, %t)
  %b: tensor = call_function torch.div(%a, %s)
  %c: tensor = call_function torch.nn.functional.softmax(%b, -1)
  %d: tensor = call_function torch.matmul(%c, %v)
  %z: tensor = call_function torch.nn.functional.scaled_dot_product_attention(%q, %k, %v, scale=%scale)
  output (%d, %z)
})"},
      {"attention", R"(graph attention_of_scaled_queries {
  %q: tensor = placeholder q
  %k: tensor = placeholder k
  %v: tensor = placeholder v
  %s: number = placeholder s
  %t: tensor = call_method transpose(%k, -2, -1)
  %a: tensor = call_function torch.mul(%q, %s)
  %b: tensor = call_function torch.matmul(%a, %t)
  %c: tensor = call_function torch.nn.functional.softmax(%b, -1)
  %d: tensor = call_function torch.matmul(%c, %v)
  %z: tensor = call_function torch.nn.functional.scaled_dot_product_attention(%q, %k, %v, scale=%s)
  output (%d, %z)
})"},
  };
  return table;
}

}  // namespace modulize
