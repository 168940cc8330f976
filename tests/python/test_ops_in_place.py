"""What in-place arithmetic becomes where the out-of-place module is not the same: docs/limitations.md."""

import torch

import modulize
import modulize.nn


class MixedTypes(torch.nn.Module):
    def forward(self, x, y):
        z = x * 2
        z += y
        return z


def test_the_dtype_of_the_tensor_that_is_written_stays():
    half, single = torch.randn(2, 3).half(), torch.randn(2, 3)
    prepared = modulize.prepare_model(MixedTypes(), example_inputs=(half, single))
    assert prepared(half, single).dtype is torch.float16
    assert torch.equal(prepared(half, single), MixedTypes()(half, single))
    assert isinstance(prepared.module_add, modulize.nn.Add)
    # Wider is no other: nothing to write back.
    prepared = modulize.prepare_model(MixedTypes(), example_inputs=(single, half))
    assert prepared(single, half).dtype is torch.float32
    assert "copy_" not in prepared.code


class ManyMixedTypes(torch.nn.Module):
    def forward(self, x, y):
        z = x.clone()
        for name in ("add_", "sub_", "mul_", "div_", "pow_", "remainder_", "floor_divide_", "clamp_min_", "hypot_"):
            getattr(z, name)(y)
        z.bernoulli_(torch.sigmoid(y)).mul_(y)
        return z.add_(y, alpha=2)


def test_other_operations_of_mixed_dtypes():
    half, single = torch.rand(2, 3).half() + 1, torch.rand(2, 3) + 1
    model = ManyMixedTypes()
    prepared = modulize.prepare_model(model, example_inputs=(half, single))
    torch.manual_seed(0)
    expected = model(half, single)
    torch.manual_seed(0)
    assert torch.equal(prepared(half, single), expected)


def test_without_inputs_nobody_knows_the_dtypes():
    half, single = torch.randn(2, 3).half(), torch.randn(2, 3)
    assert modulize.prepare_model(MixedTypes())(half, single).dtype is torch.float32


def test_equal_dtypes_are_equal():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.int64):
        x, y = torch.ones(2, 3, dtype=dtype), torch.ones(2, 3, dtype=dtype)
        prepared = modulize.prepare_model(MixedTypes(), example_inputs=(x, y))
        assert prepared(x, y).dtype is dtype


class WrittenOver(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)

    def forward(self, x):
        y = self.fc(x).abs() + 1
        y[:, :2].log_()
        return y


def test_a_gradient_whose_input_was_written_over():
    model, x = WrittenOver(), torch.randn(2, 3)
    prepared = modulize.prepare_model(model, example_inputs=x)
    gradients = []
    for one in (model, prepared):
        one.zero_grad()
        one(x).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in one.parameters()])
    assert all(torch.equal(got, expected) for got, expected in zip(*gradients))
