"""A capture that leaves kernels out records what one with all kernels does, and reads no value that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modulize import _core, prepare_model


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    _core.set_stand_ins("on")


def graphs(make: Any, mode: str, *inputs: Any, **options: Any) -> tuple[Any, str]:
    _core.set_stand_ins(mode)
    torch.manual_seed(0)
    prepared = prepare_model(make(), example_inputs=inputs, **options)
    return prepared, prepared._modulize.shipped


def require_equal(make: Any, *inputs: Any, **options: Any) -> dict[str, Any]:
    """The kernels of the preparation with stand-ins for all that can be left out."""
    expected, text = graphs(make, "off", *inputs, **options)
    assert expected._modulize.kernels["left_out"] == 0
    for mode in ("on", "all", "all_invalid"):
        prepared, other = graphs(make, mode, *inputs, **options)
        assert other == text, mode
        assert prepared._modulize.assumptions == expected._modulize.assumptions
        assert set(prepared._modulize.written_state) == set(expected._modulize.written_state)
        assert len(prepared._modulize.captures) == len(expected._modulize.captures)
    return prepared._modulize.kernels


class Block(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Stack(nn.Module):
    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def test_layers_that_are_alike_run_once() -> None:
    kernels = require_equal(lambda: Stack().eval(), torch.randn(2, 3, 8), verify=False)
    assert kernels["run"] == 5  # of the first block
    assert kernels["left_out"] == 25
    assert kernels["with_values"] == {}


def test_further_captures_run_no_kernel() -> None:
    class Net(Stack):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            if mask.all():
                x = x * 2
            return super().forward(x)

    kernels = require_equal(lambda: Net().eval(), torch.randn(2, 3, 8), torch.ones(2, dtype=torch.bool), verify=False)
    assert kernels["run"] < 12 < 50 < kernels["left_out"]


# --- what reads values ------------------------------------------------------------------------------------------------


def truth(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if x.sum() > 1000 else x - 1


def item(x: torch.Tensor) -> torch.Tensor:
    return x * x.max().item()


def as_size(x: torch.Tensor) -> torch.Tensor:
    return x.new_zeros(x.argmax() + 1).sum() + x


def as_index(x: torch.Tensor) -> torch.Tensor:
    return x[x.argmax(0)] + x[x[:, 0].argmax()]


def mask(x: torch.Tensor) -> torch.Tensor:
    return x[x > 0].sum() + x


def nonzero(x: torch.Tensor) -> torch.Tensor:
    return x + (x > 0).nonzero().shape[0]


def where(x: torch.Tensor) -> torch.Tensor:
    return x + torch.where(x > 0)[0].sum()


def equal(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if torch.equal(x, x.abs()) else x


def gathered(x: torch.Tensor) -> torch.Tensor:
    return torch.gather(x, 1, x.argmax(1, keepdim=True)) + torch.embedding(x, x.argmax(1))


def constant(x: torch.Tensor) -> torch.Tensor:
    return x + torch.full((2, 1), x.max().item()) + torch.tensor([float(x.min())] * 2)[:, None]


def arange(x: torch.Tensor) -> torch.Tensor:
    return x + torch.arange(x.argmax()).sum()


def sampled(x: torch.Tensor) -> torch.Tensor:
    return x + torch.bernoulli(torch.sigmoid(x)) + F.dropout(x, 0.5, training=True)


def unique(x: torch.Tensor) -> torch.Tensor:
    return x + torch.unique(x.round()).shape[0]


def number(x: torch.Tensor) -> torch.Tensor:
    count = int((x > 0).sum())
    return x * count


def one_hot(x: torch.Tensor) -> torch.Tensor:
    return F.one_hot(x.argmax(1)).sum() + x


READERS = [
    truth, item, as_size, as_index, mask, nonzero, where, equal, gathered, constant, arange, sampled, unique, number,
    one_hot,
]  # fmt: skip


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("verify", [False, True])
def test_values_are_there_where_they_are_read(reader: Any, verify: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return reader(self.second(self.first(x)))

    torch.manual_seed(1)
    require_equal(lambda: Net().eval(), torch.randn(2, 5), verify=verify)


# --- what writes ------------------------------------------------------------------------------------------------------


def in_place(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y.add_(1).mul_(x)
    y[0] = 3
    y[:, 1:].relu_()
    return y + x


def through_a_view(x: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y.view(-1).sub_(2)
    return y.t() @ x


def out(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    torch.add(x, x, out=y)
    return y


def reshaped_in_place(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    y.unsqueeze_(0).squeeze_(0).t_()
    return y


def to_a_constant(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros(2, 5)
    y.copy_(x)
    y += x
    return y


def as_view(x: torch.Tensor) -> torch.Tensor:
    return x.view(5, 2) + x.reshape(-1).view(5, 2) + x.expand(3, 2, 5)[0].contiguous().view(5, 2)


WRITERS = [in_place, through_a_view, out, reshaped_in_place, to_a_constant, as_view]


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_writes(writer: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return writer(self.second(self.first(x)))

    require_equal(lambda: Net().eval(), torch.randn(2, 5))


def test_the_model_is_as_before() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(3))
            self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(3))
            self.register_buffer("steps", torch.zeros(()))
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for conv, norm in zip(self.convs, self.norms):
                x = F.dropout(norm(conv(x)), 0.5, self.training)
            if self.training:
                self.steps += 1
                self.mean.mul_(0.9).add_(x.mean((0, 2, 3)))
            return x - self.mean[:, None, None]

    for training in (True, False):
        net = Net().train(training)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        torch.manual_seed(3)
        state = torch.get_rng_state()
        for mode in ("on", "all", "all_invalid"):
            _core.set_stand_ins(mode)
            prepare_model(net, example_inputs=torch.randn(2, 3, 4, 4))
            for name, value in net.state_dict().items():
                assert torch.equal(value, before[name]), (mode, name)
            torch.set_rng_state(state)
        require_equal(lambda: Net().train(training), torch.randn(2, 3, 4, 4))


def test_kept_code_gets_values() -> None:
    def kept(x: torch.Tensor) -> torch.Tensor:
        return x * float(x.detach().numpy().max())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return kept(self.second(self.first(x)))

    kernels = require_equal(lambda: Net().eval(), torch.randn(2, 5))
    assert kernels["with_values"]


def test_layers_that_differ_are_told_apart() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(
                [nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 3, stride=2), nn.Conv1d(4, 4, 3)]
            )
            self.pool = nn.ModuleList([nn.AdaptiveAvgPool1d(3), nn.AdaptiveAvgPool1d(2)])

        def forward(self, x: torch.Tensor) -> Any:
            return [conv(x).shape[-1] * pool(x) for conv, pool in zip(self.convs, [*self.pool, *self.pool])]

    require_equal(lambda: Net().eval(), torch.randn(2, 4, 16))


def test_forward_that_catches_the_demand() -> None:
    class Net(Stack):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = super().forward(x)
            try:
                scale = x.max().item()
            except Exception:
                return x
            return x * scale

    require_equal(lambda: Net().eval(), torch.randn(2, 3, 8))


def test_only_known_words_turn_them_on() -> None:
    with pytest.raises(_core.ArgumentError, match="MODULIZE_STAND_INS is on, off, all or all_invalid, not 'yes'"):
        _core.set_stand_ins("yes")


def test_a_single_element_with_a_stride_of_its_own() -> None:
    """It is contiguous whatever its stride is."""

    class Net(Stack):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * x.flatten()[:8].view(2, 4)[:, 0][:1]

    require_equal(lambda: Net().eval(), torch.randn(2, 3, 8))


def test_at_another_size_kernels_are_told_by_their_shapes() -> None:
    class Net(Stack):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = F.silu(self.conv(x)).flatten(2).transpose(1, 2)
            y = torch.cat([super().forward(y), y * 2], 1)
            return self.head(y.softmax(1).mean(1))

    kernels = require_equal(lambda: Net().eval(), torch.randn(2, 1, 96, 96))
    assert kernels["with_values"] == {}
    _core.set_stand_ins("on")
    torch.manual_seed(0)
    alone = prepare_model(Net().eval(), example_inputs=torch.randn(2, 1, 96, 96), verify=False)._modulize.kernels
    verified = prepare_model(Net().eval(), example_inputs=torch.randn(2, 1, 96, 96))._modulize.kernels
    # The other sizes run next to nothing.
    assert verified["run"] <= alone["run"] + 4
