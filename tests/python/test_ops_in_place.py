"""What in-place arithmetic becomes where the out-of-place module is not the same: docs/limitations.md."""

import pytest
import torch

import modulize


class MixedTypes(torch.nn.Module):
    def forward(self, x, y):
        z = x * 2
        z += y
        return z


def test_a_result_of_another_dtype_is_found_by_verification():
    half, single = torch.randn(2, 3).half(), torch.randn(2, 3)
    assert MixedTypes()(half, single).dtype is torch.float16
    with pytest.raises(modulize.VerificationError):
        modulize.prepare_model(MixedTypes(), example_inputs=(half, single))
    prepared = modulize.prepare_model(MixedTypes(), example_inputs=(half, single), verify=False)
    assert prepared(half, single).dtype is torch.float32


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
