"""Shapes that depend on values, and sizes that travel through Python."""

# ruff: noqa: RUF005
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from soundness.rule import COLUMNS, trap


@trap()
def nonzero_rows(self, x):
    return x[x[:, 0].gt(0).nonzero().squeeze(1)] * 2


@trap()
def nonzero_as_tuple(self, x):
    rows, columns = torch.nonzero(x > 0.5, as_tuple=True)
    return x[rows, columns].sum() + rows.shape[0]


@trap()
def where_of_one_argument(self, x):
    rows, _ = torch.where(x > 0)
    return torch.bincount(rows, minlength=x.shape[0]).float()


@trap()
def boolean_index(self, x):
    return self.fc(x)[x > 0].sort().values


@trap()
def masked_select_count(self, x):
    kept = x.masked_select(x > 0)
    return kept.sum() / max(kept.numel(), 1)


@trap(inputs=lambda g, rows, columns: (torch.randint(0, 4, (rows, columns), generator=g),), gradients=False)
def unique_values(self, x):
    values, counts = torch.unique(x, return_counts=True)
    return values * counts, len(values)


@trap(wide=True)
def topk_with_a_clamped_k(self, x):
    return x.topk(min(4, x.shape[1]), dim=1).values


@trap()
def topk_with_k_of_the_batch(self, x):
    return x.flatten().topk(x.shape[0]).values


@trap()
def k_from_a_value(self, x):
    k = int((x[0] > 0).sum())
    return x.topk(k, dim=1).values


@trap()
def slice_by_a_value(self, x):
    n = (x[0] > 0).sum()
    return x[:, :n]


@trap()
def slice_by_an_item(self, x):
    n = (x[0] > 0).sum().item()
    return torch.cat([x[:, n:], x[:, :n] * 2], 1)


@trap(
    inputs=lambda g, rows, columns: (torch.randn(rows, columns, generator=g), torch.randint(1, 4, (rows,), generator=g))
)
def repeat_interleave_by_a_tensor(self, x, counts):
    return x.repeat_interleave(counts, dim=0)


def with_lengths(g, rows, columns):
    lengths = torch.randint(1, 5, (rows,), generator=g)
    return torch.randn(int(lengths.sum()), columns, generator=g), lengths


@trap(inputs=with_lengths)
def split_by_lengths(self, x, lengths):
    return torch.stack([part.mean(0) for part in x.split(lengths.tolist())])


@trap(inputs=with_lengths)
def pad_sequence_of_parts(self, x, lengths):
    return pad_sequence(x.split(lengths.tolist()), batch_first=True)


@trap(
    inputs=lambda g, rows, columns: (
        torch.randn(rows, 4, columns, generator=g),
        torch.randint(1, 5, (rows,), generator=g),
    )
)
def packed_sequence(self, x, lengths):
    packed = pack_padded_sequence(self.fc(x), lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(packed, batch_first=True)[0]


@trap(
    inputs=lambda g, rows, columns: (
        torch.randn(rows, 4, columns, generator=g),
        torch.randint(1, 5, (rows,), generator=g),
    )
)
def length_mask(self, x, lengths):
    mask = torch.arange(x.shape[1])[None] < lengths[:, None]
    return (x * mask[..., None]).sum(1) / lengths[:, None]


@trap(inputs=lambda g, rows, columns: (torch.randint(0, 5, (rows, columns), generator=g),), gradients=False)
def arange_up_to_a_value(self, x):
    return torch.arange(int(x.max()) + 1).float() / (x.max() + 1)


@trap(inputs=lambda g, rows, columns: (torch.randint(0, 5, (rows, columns), generator=g),), gradients=False)
def one_hot_without_classes(self, x):
    return F.one_hot(x).sum(1)


@trap(inputs=lambda g, rows, columns: (torch.randint(0, 5, (rows, columns), generator=g),), gradients=False)
def bincount_of_values(self, x):
    return torch.bincount(x.flatten())


@trap(
    inputs=lambda g, rows, columns: (
        torch.randint(1, 9, (rows, columns), generator=g) * (torch.arange(columns) < 2 + rows),
    ),
    gradients=False,
)
def last_token_before_the_padding(self, ids):
    """Sequence classification on language models."""
    last = (ids != 0).int().argmin(-1) - 1
    return ids[torch.arange(ids.shape[0]), last % ids.shape[-1]] * 2


@trap(wide=True)
def linspace_of_a_size(self, x):
    return x * torch.linspace(-1, 1, x.size(-1))


@trap(wide=True)
def interpolate_to_twice_a_size(self, x):
    return F.interpolate(x[:, None], size=(x.shape[-1] * 2,), mode="linear")


@trap(wide=True)
def interpolate_by_a_ratio(self, x):
    return F.interpolate(x[:, None], scale_factor=12 / x.shape[-1], mode="nearest")


@trap(wide=True)
def view_by_sizes(self, x):
    b, c = x.shape
    return x.view(b, c // 1, 1).expand(b, c, 3).reshape(b, -1)


@trap(wide=True)
def shape_unpacked_with_a_star(self, x):
    b, *rest = x.shape
    return x.new_zeros(b, *rest, 2) + x.reshape(b, *rest, 1)


@trap(wide=True)
def shape_concatenated(self, x):
    return torch.ones(x.shape[:-1] + (3,)) * x.shape.numel()


@trap(wide=True)
def causal_mask(self, x):
    scores = x[:, :, None] * x[:, None, :]
    n = scores.size(-1)
    mask = torch.triu(torch.full((n, n), float("-inf")), diagonal=1)
    return (scores + mask).softmax(-1)


@trap(wide=True)
def table_cut_to_a_size(self, x):
    return x * torch.arange(20.0)[: x.shape[1]]


@trap()
def pad_to_a_multiple(self, x):
    rest = -x.shape[0] % 4
    return F.pad(x, (0, 0, 0, rest))


@trap()
def greedy_suppression(self, x):
    """Non-maximum suppression by hand."""
    order = x[:, 0].argsort(descending=True)
    kept = []
    while order.numel() > 0:
        first = order[0]
        kept.append(first)
        distance = (x[order] - x[first]).norm(dim=1)
        order = order[distance > 2.0]
    return x[torch.stack(kept)]


@trap(inputs=lambda g, rows, columns: ([torch.randn(3 + i, columns, generator=g) for i in range(rows)],))
def ragged_list(self, xs):
    longest = max(x.shape[0] for x in xs)
    return torch.stack([F.pad(self.fc(x), (0, 0, 0, longest - x.shape[0])) for x in xs])


@trap(
    inputs=lambda g, rows, columns: (
        torch.randn(rows, columns, generator=g),
        torch.randn(rows + 1, columns, generator=g),
    )
)
def sizes_of_two_inputs(self, x, y):
    return x.sum(0) * y.shape[0] + y.sum(0) / x.shape[0]


@trap()
def beam_of_best(self, x):
    scores, index = self.fc(x).flatten().topk(3)
    rows = torch.div(index, COLUMNS, rounding_mode="floor")
    return x[rows] * scores[:, None]


@trap()
def experts_by_loop(self, x):
    """Each expert sees the rows that were routed to it."""
    choice = self.fc(x).argmax(-1) % 2
    out = torch.zeros_like(x)
    for index, expert in enumerate((self.fc, self.fc2)):
        rows = torch.where(choice == index)[0]
        if rows.numel() == 0:
            continue
        out[rows] = expert(x[rows])
    return out


@trap()
def experts_that_were_hit(self, x):
    choice = self.fc(x).argmax(-1) % 2
    out = torch.zeros_like(x)
    for index in choice.unique().tolist():
        out[choice == index] = (self.fc, self.fc2)[index](x[choice == index])
    return out


@trap()
def cumulative_until(self, x):
    probabilities = x.softmax(-1).sort(-1, descending=True).values
    count = (probabilities.cumsum(-1) < 0.8).sum(-1).max() + 1
    return probabilities[:, :count]


@trap()
def empty_batch_possible(self, x):
    few = x[x[:, 0] > 0.3]
    return self.norm(self.fc(few)).sum(0)
