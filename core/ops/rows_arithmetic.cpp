// Arithmetic, in every spelling: operators, reflected operators, in-place forms, methods, torch functions.
// Bodies use Python's operators where the first operand may be a number: `torch.sub(1, x)` is an error, and `1 / x` is
// computed as `x.reciprocal() * 1`, which torch.div does not do.
#include "ops/op_table.h"

namespace modulize {

namespace {

constexpr OpRow kRows[] = {
    {.call = "torch.add", .module = "modulize.nn.Add", .signature = "input, other, *, alpha=1",
     .also = "Tensor.add, Tensor.__add__, Tensor.__radd__(self:other, other:input), op.add, op.__add__",
     .inplace = "Tensor.add_, Tensor.__iadd__, op.iadd, op.__iadd__", .aimet = "Add(input, other)",
     .body = "return input + other if alpha == 1 else torch.add(input, other, alpha=alpha)",
     .doc = "`input + alpha * other`", .sample = "f32[2,3], f32[2,3], alpha=2"},
    {.call = "torch.sub", .module = "modulize.nn.Subtract", .signature = "input, other, *, alpha=1",
     .also = "Tensor.sub, torch.subtract, Tensor.subtract, Tensor.__sub__, Tensor.__rsub__(self:other, other:input), "
             "torch.rsub(input:other, other:input, *, alpha=1), op.sub, op.__sub__",
     .inplace = "Tensor.sub_, Tensor.subtract_, Tensor.__isub__, op.isub, op.__isub__", .aimet = "Subtract",
     .body = "return input - other if alpha == 1 else torch.rsub(other, input, alpha=alpha)",
     .doc = "`input - alpha * other`", .sample = "f32[2,3], f32[2,3], alpha=2"},
    {.call = "torch.mul", .module = "modulize.nn.Multiply", .signature = "input, other",
     .also = "Tensor.mul, torch.multiply, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__(self:other, other:input), op.mul, "
             "op.__mul__",
     .inplace = "Tensor.mul_, Tensor.multiply_, Tensor.__imul__, op.imul, op.__imul__",
     .aimet = "Multiply(input, other)", .body = "return input * other", .doc = "`input * other`",
     .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.div", .module = "modulize.nn.Divide", .signature = "input, other, *, rounding_mode=None",
     .also = "Tensor.div, torch.divide, Tensor.divide, torch.true_divide(input, other), Tensor.true_divide(input, other), Tensor.__truediv__, "
             "Tensor.__div__, Tensor.__rtruediv__(self:other, other:input), Tensor.__rdiv__(self:other, other:input), op.truediv, "
             "op.__truediv__",
     .inplace = "Tensor.div_, Tensor.divide_, Tensor.true_divide_(input, other), Tensor.__itruediv__, Tensor.__idiv__, "
                "op.itruediv, op.__itruediv__",
     .aimet = "Divide",
     .body = "return input / other if rounding_mode is None else torch.div(input, other, rounding_mode=rounding_mode)",
     .doc = "`input / other`", .sample = "f32[2,3], f32[2,3], rounding_mode='floor'"},
    {.call = "torch.floor_divide", .module = "modulize.nn.FloorDivide", .signature = "input, other",
     .also = "Tensor.floor_divide, Tensor.__floordiv__, Tensor.__rfloordiv__(self:other, other:input), op.floordiv, "
             "op.__floordiv__",
     .inplace = "Tensor.floor_divide_, Tensor.__ifloordiv__, op.ifloordiv, op.__ifloordiv__", .aimet = "FloorDivide",
     .body = "return input // other", .doc = "`input // other`", .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.remainder", .module = "modulize.nn.Remainder", .signature = "input, other",
     .also = "Tensor.remainder, Tensor.__mod__, Tensor.__rmod__(self:other, other:input), op.mod, op.__mod__",
     .inplace = "Tensor.remainder_, Tensor.__imod__, op.imod, op.__imod__", .aimet = "Remainder",
     .body = "return input % other", .doc = "`input % other`, with the sign of `other`",
     .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.fmod", .module = "modulize.nn.Fmod", .signature = "input, other", .also = "Tensor.fmod",
     .inplace = "Tensor.fmod_", .aimet = "Fmod", .doc = "The remainder of `input / other`, with the sign of `input`",
     .sample = "f32[2,3], f32[2,3]"},
    {.call = "torch.pow", .module = "modulize.nn.Pow", .signature = "input, exponent",
     .also = "Tensor.pow, Tensor.__pow__, Tensor.__rpow__(self:exponent, other:input), op.pow, op.__pow__, builtins.pow",
     .inplace = "Tensor.pow_, Tensor.__ipow__, op.ipow, op.__ipow__", .aimet = "Pow(input, exponent)",
     .body = "return input**exponent", .doc = "`input ** exponent`", .sample = "f32[2,3], 2"},
    {.call = "torch.float_power", .module = "modulize.nn.FloatPower", .signature = "input, exponent",
     .also = "Tensor.float_power", .inplace = "Tensor.float_power_",
     .doc = "`input ** exponent` in double precision", .sample = "f64[2,3], 2"},
    {.call = "torch.neg", .module = "modulize.nn.Neg", .signature = "input",
     .also = "Tensor.neg, torch.negative, Tensor.negative, Tensor.__neg__, op.neg, op.__neg__",
     .inplace = "Tensor.neg_, Tensor.negative_, torch.neg_, torch.negative_", .aimet = "Neg", .body = "return -input",
     .doc = "`-input`", .sample = "f32[2,3]"},
    {.call = "torch.abs", .module = "modulize.nn.Abs", .signature = "input",
     .also = "Tensor.abs, torch.absolute, Tensor.absolute, Tensor.__abs__, op.abs, op.__abs__, builtins.abs",
     .inplace = "Tensor.abs_, Tensor.absolute_, torch.abs_", .aimet = "Abs", .body = "return abs(input)",
     .doc = "`abs(input)`", .sample = "f32[2,3]"},
    // Fused arithmetic.
    {.call = "torch.addcmul", .module = "modulize.nn.Addcmul", .signature = "input, tensor1, tensor2, *, value=1",
     .also = "Tensor.addcmul", .inplace = "Tensor.addcmul_", .doc = "`input + value * tensor1 * tensor2`",
     .sample = "f32[2,3], f32[2,3], f32[2,3], value=2"},
    {.call = "torch.addcdiv", .module = "modulize.nn.Addcdiv", .signature = "input, tensor1, tensor2, *, value=1",
     .also = "Tensor.addcdiv", .inplace = "Tensor.addcdiv_", .doc = "`input + value * tensor1 / tensor2`",
     .sample = "f32[2,3], f32[2,3], f32[2,3], value=2"},
    {.call = "torch.lerp", .module = "modulize.nn.Lerp", .signature = "input, end, weight", .also = "Tensor.lerp",
     .inplace = "Tensor.lerp_", .doc = "`input + weight * (end - input)`", .sample = "f32[2,3], f32[2,3], 0.3"},
    // Products of matrices.
    {.call = "torch.matmul", .module = "modulize.nn.MatMul", .signature = "input, other",
     .also = "Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__(self:other, other:input), op.matmul, op.__matmul__, "
             "op.imatmul, op.__imatmul__, torch.linalg.matmul",
     .aimet = "MatMul", .body = "return input @ other", .doc = "`input @ other`", .sample = "f32[2,3], f32[3,4]"},
    {.call = "torch.mm", .module = "modulize.nn.Mm", .signature = "input, mat2", .also = "Tensor.mm",
     .doc = "The product of two matrices", .sample = "f32[2,3], f32[3,4]"},
    {.call = "torch.bmm", .module = "modulize.nn.Bmm", .signature = "input, mat2", .also = "Tensor.bmm",
     .aimet = "Bmm", .doc = "The products of two batches of matrices", .sample = "f32[2,3,4], f32[2,4,3]"},
    {.call = "torch.mv", .module = "modulize.nn.Mv", .signature = "input, vec", .also = "Tensor.mv",
     .doc = "The product of a matrix and a vector", .sample = "f32[2,3], f32[3]"},
    {.call = "torch.dot", .module = "modulize.nn.Dot", .signature = "input, tensor", .also = "Tensor.dot",
     .doc = "The dot product of two vectors", .sample = "f32[3], f32[3]"},
    {.call = "torch.inner", .module = "modulize.nn.Inner", .signature = "input, other", .also = "Tensor.inner",
     .doc = "Dot products along the last dimensions", .sample = "f32[2,3], f32[4,3]"},
    {.call = "torch.outer", .module = "modulize.nn.Outer", .signature = "input, vec2",
     .also = "Tensor.outer, torch.ger, Tensor.ger", .aimet = "Outer", .doc = "The outer product of two vectors",
     .sample = "f32[2], f32[3]"},
    {.call = "torch.addmm", .module = "modulize.nn.Addmm", .signature = "input, mat1, mat2, *, beta=1, alpha=1",
     .also = "Tensor.addmm", .inplace = "Tensor.addmm_", .aimet = "Addmm",
     .doc = "`beta * input + alpha * (mat1 @ mat2)`", .sample = "f32[2,4], f32[2,3], f32[3,4], alpha=2"},
    {.call = "torch.baddbmm", .module = "modulize.nn.Baddbmm",
     .signature = "input, batch1, batch2, *, beta=1, alpha=1", .also = "Tensor.baddbmm", .inplace = "Tensor.baddbmm_",
     .aimet = "Baddbmm", .doc = "`beta * input + alpha * (batch1 @ batch2)`, batch by batch",
     .sample = "f32[2,3,3], f32[2,3,4], f32[2,4,3], alpha=2"},
    {.call = "torch.addbmm", .module = "modulize.nn.Addbmm", .signature = "input, batch1, batch2, *, beta=1, alpha=1",
     .also = "Tensor.addbmm", .inplace = "Tensor.addbmm_",
     .doc = "`beta * input + alpha * sum(batch1 @ batch2)`", .sample = "f32[3,3], f32[2,3,4], f32[2,4,3], alpha=2"},
    {.call = "torch.addmv", .module = "modulize.nn.Addmv", .signature = "input, mat, vec, *, beta=1, alpha=1",
     .also = "Tensor.addmv", .inplace = "Tensor.addmv_, torch.addmv_", .doc = "`beta * input + alpha * (mat @ vec)`",
     .sample = "f32[2], f32[2,3], f32[3], alpha=2"},
    {.call = "torch.addr", .module = "modulize.nn.Addr", .signature = "input, vec1, vec2, *, beta=1, alpha=1",
     .also = "Tensor.addr", .inplace = "Tensor.addr_", .doc = "`beta * input + alpha * outer(vec1, vec2)`",
     .sample = "f32[2,3], f32[2], f32[3], alpha=2"},
    {.call = "torch.einsum", .module = "modulize.nn.Einsum", .signature = "equation, *operands",
     .doc = "The Einstein sum `equation` over the operands", .sample = "'ij,jk->ik', f32[2,3], f32[3,4]",
     .may_alias = true},
    {.call = "torch.tensordot", .module = "modulize.nn.Tensordot", .signature = "a, b, dims=2, out=None",
     .only = "out=None", .doc = "The contraction of `a` and `b` over `dims`", .sample = "f32[2,3,4], f32[3,4,2]"},
    {.call = "torch.kron", .module = "modulize.nn.Kron", .signature = "input, other", .also = "Tensor.kron",
     .doc = "The Kronecker product", .sample = "f32[2,2], f32[2,3]"},
    {.call = "torch.cross", .module = "modulize.nn.Cross", .signature = "input, other, dim=None",
     .also = "Tensor.cross", .doc = "The cross product along `dim`", .sample = "f32[2,3], f32[2,3], dim=1"},
    // Joining: the result's range is that of all inputs together.
    {.call = "torch.cat", .module = "modulize.nn.Concat", .signature = "tensors, dim=0",
     .also = "torch.concat, torch.concatenate", .aimet = "Concat[axis=dim](*tensors)",
     .doc = "The tensors one after the other along `dim`", .sample = "[f32[2,3], f32[2,3]], dim=1"},
    {.call = "torch.stack", .module = "modulize.nn.Stack", .signature = "tensors, dim=0",
     .doc = "The tensors side by side along a new dimension", .sample = "[f32[2,3], f32[2,3]], dim=1"},
    {.call = "torch.hstack", .module = "modulize.nn.HStack", .signature = "tensors",
     .doc = "The tensors one after the other, column-wise", .sample = "[f32[2,3], f32[2,3]]"},
    {.call = "torch.vstack", .module = "modulize.nn.VStack", .signature = "tensors", .also = "torch.row_stack",
     .doc = "The tensors one after the other, row-wise", .sample = "[f32[2,3], f32[2,3]]"},
    {.call = "torch.dstack", .module = "modulize.nn.DStack", .signature = "tensors",
     .doc = "The tensors one after the other, depth-wise", .sample = "[f32[2,3], f32[2,3]]"},
    {.call = "torch.column_stack", .module = "modulize.nn.ColumnStack", .signature = "tensors",
     .doc = "The tensors side by side as columns", .sample = "[f32[2,3], f32[2,3]]"},
};

}  // namespace

std::span<const OpRow> arithmetic_rows() { return kRows; }

}  // namespace modulize
