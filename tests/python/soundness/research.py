"""What research code does: detection, decoding, routing, graphs, ragged batches, schedules, memories, masks."""

import dataclasses
import math
from typing import Any

import numpy
import torch
import torch.nn.functional as F
from torch import nn

from soundness.rule import COLUMNS, Net, trap, two


def boxes_of(raw):
    centre, size = raw[:, :2], raw[:, 2:4].abs() + 0.1
    return torch.cat([centre - size, centre + size], 1)


def overlap(box, others):
    low = torch.maximum(box[:2], others[:, :2])
    high = torch.minimum(box[2:], others[:, 2:])
    inter = (high - low).clamp(min=0).prod(1)
    area = (others[:, 2:] - others[:, :2]).prod(1)
    return inter / ((box[2:] - box[:2]).prod() + area - inter)


@trap()
def detections_of_each_class(self, x):
    scores, labels = self.fc2(x).softmax(1).max(1)
    boxes = boxes_of(self.fc(x))
    found = []
    for label in labels.unique().tolist():
        mine = labels == label
        if mine.sum() > 1:
            best = scores[mine].argmax()
            found.append((label, boxes[mine][best] * self.scale))
        else:
            found.append((label, boxes[mine][0]))
    return [box for _, box in sorted(found, key=lambda pair: -pair[0])]


@trap()
def soft_suppression(self, x):
    boxes, scores = boxes_of(self.fc(x)), self.fc2(x)[:, 0].sigmoid()
    kept = []
    alive = list(range(len(boxes)))
    while alive:
        best = max(alive, key=lambda i: scores[i].item())
        alive.remove(best)
        kept.append(best)
        for other in alive:
            decay = torch.exp(-(overlap(boxes[best], boxes[other : other + 1])[0] ** 2))
            scores = scores.clone()
            scores[other] = scores[other] * decay
    return boxes[kept], scores[torch.tensor(kept)]


@trap()
def detections_padded_to_a_number(self, x):
    boxes, scores = boxes_of(self.fc(x)), self.fc2(x)[:, 0].sigmoid()
    keep = scores > 0.5
    boxes, scores = boxes[keep][:3], scores[keep][:3]
    missing = 3 - boxes.shape[0]
    if missing > 0:
        boxes = torch.cat([boxes, boxes.new_zeros(missing, 4)])
        scores = F.pad(scores, (0, missing), value=-1.0)
    return {"boxes": boxes * self.scale, "scores": scores, "n": int(keep.sum())}


@trap()
def no_detections_at_all(self, x):
    h = self.fc(x)
    keep = torch.where(h[:, 0] > 0.2)[0]
    if keep.numel() == 0:
        return {"boxes": torch.empty(0, 4), "labels": []}
    return {"boxes": h[keep, :4] * self.scale, "labels": [("even", "odd")[int(i) % 2] for i in keep]}


@trap()
def threshold_of_a_quantile(self, x):
    h = self.fc(x)
    level = torch.quantile(h, 0.5).item()
    return [row[row > level] for row in h]


@trap()
def beam_search(self, x):
    beams = [([], 0.0, x[0])]
    for _ in range(3):
        grown = []
        for tokens, total, state in beams:
            logits = self.fc(state).log_softmax(0)
            value, index = logits.topk(2)
            for v, i in zip(value.tolist(), index.tolist(), strict=True):
                grown.append(([*tokens, i], total + v, torch.tanh(self.fc2(state) + i)))
        beams = sorted(grown, key=lambda beam: beam[1], reverse=True)[:2]
    return torch.tensor(beams[0][0]), beams[0][2]


@trap()
def beam_search_of_tensors(self, x):
    batch = x.shape[0]
    state = x.unsqueeze(1).expand(batch, 2, COLUMNS).reshape(batch * 2, COLUMNS)
    total = torch.tensor([0.0, -1e9]).repeat(batch).view(batch, 2)
    tokens = torch.zeros(batch * 2, 0, dtype=torch.long)
    for _ in range(3):
        logits = self.fc(state).log_softmax(-1).view(batch, 2, -1) + total[:, :, None]
        total, index = logits.view(batch, -1).topk(2)
        beam = torch.div(index, COLUMNS, rounding_mode="floor") + torch.arange(batch)[:, None] * 2
        tokens = torch.cat([tokens[beam.view(-1)], (index % COLUMNS).view(-1, 1)], 1)
        state = torch.tanh(self.fc2(state[beam.view(-1)]))
    return tokens.view(batch, 2, -1)[:, 0], total


@trap()
def greedy_until_the_end_token(self, x):
    tokens, state = [], x
    while len(tokens) < 6:
        token = self.fc(state).sum(0).argmax()
        tokens.append(token)
        if token == 2:
            break
        state = torch.tanh(self.fc2(state) + token)
    return torch.stack(tokens), state


@trap()
def unfinished_rows(self, x):
    done = torch.zeros(x.shape[0], dtype=torch.bool)
    out, state = [], x
    for step in range(5):
        token = self.fc(state).argmax(-1).masked_fill(done, -1)
        out.append(token)
        done |= token == 1
        if done.all():
            break
        state = torch.tanh(self.fc2(state)) * (step + 1)
    return torch.stack(out, 1)


@trap()
def speculative_decoding(self, x):
    draft = self.fc(x).argmax(-1)
    target = self.fc2(x).argmax(-1)
    agreed = int((draft == target).long().cumprod(0).sum())
    accepted = draft[:agreed]
    if agreed < draft.shape[0]:
        accepted = torch.cat([accepted, target[agreed : agreed + 1]])
    return accepted, x[:agreed].sum(0) * self.scale


@trap()
def rejection_sampling(self, x):
    p, q = self.fc(x).softmax(-1), self.fc2(x).softmax(-1)
    out = []
    for row_p, row_q in zip(p, q, strict=True):
        token = torch.multinomial(row_q, 1)
        while torch.rand(()) > (row_p / row_q)[token]:
            token = torch.multinomial((row_p - row_q).clamp(min=0) + 1e-6, 1)
        out.append(token)
    return torch.cat(out), p


@trap()
def nucleus_of_probabilities(self, x):
    value, index = self.fc(x).softmax(-1).sort(-1, descending=True)
    beyond = value.cumsum(-1) - value > 0.7
    value[beyond] = 0.0
    return torch.zeros_like(value).scatter(1, index, value), value.sum(-1)


@trap()
def no_repeated_pairs(self, x):
    ids = self.fc(x).argmax(-1).tolist()
    seen: dict[int, set[int]] = {}
    for a, b in zip(ids, ids[1:], strict=False):
        seen.setdefault(a, set()).add(b)
    logits = self.fc2(x)
    for row, token in enumerate(ids):
        for banned in seen.get(token, ()):
            logits[row, banned] = -torch.inf
    return logits


@trap()
def experts_that_may_be_empty(self, x):
    gate = self.fc(x).softmax(-1)
    weight, chosen = gate.topk(2, -1)
    out = torch.zeros_like(x)
    for number, expert in enumerate((self.fc2, self.norm, torch.tanh)):
        row, slot = torch.where(chosen == number)
        if row.shape[0] == 0:
            continue
        out.index_add_(0, row, expert(x[row]) * weight[row, slot, None])
    return out


@trap()
def experts_by_one_hot(self, x):
    weight, chosen = self.fc(x).softmax(-1).topk(1, -1)
    mask = F.one_hot(chosen, COLUMNS).permute(2, 1, 0)
    out = torch.zeros_like(x)
    for number in mask.sum((1, 2)).nonzero()[:, 0]:
        slot, row = torch.where(mask[number])
        out[row] += self.fc2(x[row]) * weight[row, slot, None] + number
    return out


@trap()
def experts_with_a_capacity(self, x):
    capacity = math.ceil(x.shape[0] / 2 * 1.25)
    chosen = self.fc(x).argmax(-1)
    out = x.clone()
    for expert in range(2):
        rows = (chosen % 2 == expert).nonzero().squeeze(1)[:capacity]
        out[rows] = (self.fc2 if expert else self.norm)(x[rows])
    return out


@trap()
def experts_sorted_and_split(self, x):
    chosen = self.fc(x).argmax(-1) % 3
    order = chosen.argsort(stable=True)
    counts = torch.bincount(chosen, minlength=3).tolist()
    parts = x[order].split(counts)
    done = [f(part) for f, part in zip((self.fc2, self.norm, torch.sin), parts, strict=True)]
    back = torch.empty_like(x)
    back[order] = torch.cat(done)
    return back


def edges(g, rows, columns):
    return torch.randn(rows, columns, generator=g), torch.randint(0, rows, (2, rows * 2), generator=g)


@trap(inputs=edges)
def messages_scattered(self, x, edge):
    source, target = edge
    message = F.relu(self.fc(x[source]) - self.fc2(x[target]))
    total = torch.zeros(x.size(0), COLUMNS).scatter_add_(0, target[:, None].expand_as(message), message)
    degree = torch.bincount(target, minlength=x.size(0)).clamp(min=1)
    return total / degree[:, None]


@trap(inputs=edges)
def nodes_counted_by_the_edges(self, x, edge):
    n = int(edge.max()) + 1
    out = x.new_zeros(n, COLUMNS)
    return out.index_add(0, edge[1], self.fc(x)[edge[0]])


@trap(inputs=edges)
def softmax_over_neighbours(self, x, edge):
    source, target = edge.unbind()
    score = (self.fc(x)[source] * self.fc2(x)[target]).sum(-1)
    high = torch.full((x.shape[0],), -torch.inf).scatter_reduce(0, target, score, "amax", include_self=False)
    e = (score - high[target]).exp()
    norm = torch.zeros(x.shape[0]).index_put((target,), e, accumulate=True)
    return torch.zeros_like(x).index_add(0, target, x[source] * (e / norm[target])[:, None])


@trap(inputs=edges)
def neighbours_in_a_dict(self, x, edge):
    table: dict[int, list[int]] = {}
    for a, b in edge.t().tolist():
        table.setdefault(b, []).append(a)
    h = self.fc(x)
    return torch.stack([h[table[i]].mean(0) if i in table else self.fc2(h[i]) for i in range(len(x))])


def ragged(g, rows, columns):
    lengths = torch.randint(1, 4, (rows,), generator=g)
    return torch.randn(int(lengths.sum()), columns, generator=g), lengths


@trap(inputs=ragged)
def segments_of_a_flat_batch(self, x, lengths):
    ends = lengths.cumsum(0)
    starts = F.pad(ends, (1, 0))[:-1]
    return torch.stack([self.fc(x[s:e]).amax(0) for s, e in zip(starts.tolist(), ends.tolist(), strict=True)])


@trap(inputs=ragged)
def segment_ids(self, x, lengths):
    ids = torch.repeat_interleave(torch.arange(lengths.numel()), lengths)
    mask = ids[:, None] == ids[None, :]
    score = (self.fc(x) @ self.fc2(x).T).masked_fill(~mask, -torch.inf)
    return score.softmax(-1) @ x


@trap(inputs=ragged)
def padded_and_back(self, x, lengths):
    longest = lengths.max().item()
    padded = x.new_zeros(len(lengths), longest, COLUMNS)
    valid = torch.arange(longest) < lengths[:, None]
    padded[valid] = x
    return self.fc(padded)[valid] + self.fc2(padded.mean(1)).repeat_interleave(lengths, 0)


class packed_recurrence(Net):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(COLUMNS, COLUMNS, batch_first=True)

    def forward(self, x, lengths):
        parts = x.split(lengths.tolist())
        packed = nn.utils.rnn.pack_sequence(parts, enforce_sorted=False)
        out, last = self.gru(packed)
        padded, again = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, padding_value=-1.0)
        return padded, last[0], again


trap(inputs=ragged)(packed_recurrence)


class cell_until_still(Net):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(COLUMNS, COLUMNS)

    def forward(self, x):
        h = torch.zeros_like(x)
        steps = 0
        while steps < 8:
            new = self.cell(x, h)
            steps += 1
            if (new - h).abs().max() < 0.3:
                break
            h = new
        return h, steps


trap()(cell_until_still)


class halting(Net):
    """Adaptive computation time."""

    def forward(self, x):
        left = torch.ones(x.shape[0])
        out = torch.zeros_like(x)
        ponder = 0
        while (left > 0.1).any() and ponder < 6:
            x = torch.tanh(self.fc(x))
            p = self.fc2(x)[:, 0].sigmoid()
            use = torch.minimum(p, left)
            out = out + use[:, None] * x
            left = left - use
            ponder += 1
        return out, ponder


trap()(halting)


class scheduler(Net):
    def __init__(self):
        super().__init__()
        self.betas = torch.linspace(1e-3, 0.2, 10)
        self.alphas = (1 - self.betas).cumprod(0)
        self.timesteps = list(range(9, -1, -3))

    def forward(self, x):
        for i, t in enumerate(self.timesteps):
            noise = self.fc(x) + t / 10
            a = self.alphas[t]
            previous = self.alphas[self.timesteps[i + 1]] if i + 1 < len(self.timesteps) else torch.tensor(1.0)
            start = (x - (1 - a).sqrt() * noise) / a.sqrt()
            x = previous.sqrt() * start + (1 - previous).sqrt() * noise
            if t > 0:
                x = x + 0.01 * torch.randn_like(x)
        return x


trap()(scheduler)


def timestep(g, rows, columns):
    return torch.randn(rows, columns, generator=g), int(torch.randint(0, 10, (), generator=g))


class scheduler_step(Net):
    def __init__(self):
        super().__init__()
        self.alphas = numpy.cumprod(1 - numpy.linspace(1e-3, 0.2, 10))

    def forward(self, x, t):
        a = self.alphas[t]
        b = self.alphas[t - 1] if t > 0 else 1.0
        return math.sqrt(b) * (x - math.sqrt(1 - a) * self.fc(x)) / math.sqrt(a)


trap(inputs=timestep)(scheduler_step)


def timestep_tensor(g, rows, columns):
    return torch.randn(rows, columns, generator=g), torch.randint(0, 10, (), generator=g)


class scheduler_step_of_a_tensor(scheduler_step):
    pass


trap(inputs=timestep_tensor)(scheduler_step_of_a_tensor)


class place_of_a_timestep(Net):
    def __init__(self):
        super().__init__()
        self.steps = torch.arange(9, -1, -1)
        self.sigmas = [math.exp(-i / 3) for i in range(10)]

    def forward(self, x, t):
        place = (self.steps == t).nonzero().item()
        return x + self.fc(x) * (self.sigmas[place] - self.sigmas[min(place + 1, 9)])


trap(inputs=timestep_tensor)(place_of_a_timestep)


@trap(inputs=timestep)
def sinusoids_of_a_timestep(self, x, t):
    t = torch.tensor([t]) if not torch.is_tensor(t) else t
    angle = t[:, None].float() * torch.exp(torch.arange(3) * -1.0)
    return self.fc(x + torch.cat([angle.sin(), angle.cos()], -1))


def guided(g, rows, columns):
    return torch.randn(rows, columns, generator=g), float(torch.rand((), generator=g) * 2)


@trap(inputs=guided)
def guidance(self, x, weight):
    if weight > 1.0:
        double = torch.cat([x, torch.zeros_like(x)])
        with_, without = self.fc(double).chunk(2)
        return without + weight * (with_ - without)
    return self.fc(x)


class memory_bank(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("bank", F.normalize(torch.randn(8, COLUMNS), dim=1))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    def forward(self, x):
        key = F.normalize(self.fc(x), dim=1)
        logits = key @ self.bank.T
        n, p = key.shape[0], int(self.pointer)
        if p + n <= 8:
            self.bank[p : p + n] = key.detach()
        else:
            first = 8 - p
            self.bank[p:] = key[:first].detach()
            self.bank[: n - first] = key[first:].detach()
        self.pointer[0] = (p + n) % 8
        return logits


trap(stateful=True, rows=(2, 2, 3, 5, 1))(memory_bank)


class momentum_teacher(Net):
    def forward(self, x):
        with torch.no_grad():
            for mine, theirs in zip(self.fc.parameters(), self.fc2.parameters(), strict=True):
                theirs.data = theirs.data * 0.9 + mine.data * 0.1
            target = self.fc2(x)
        return F.mse_loss(self.fc(x), target), target


trap(stateful=True)(momentum_teacher)


class moving_average_by_lerp(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(COLUMNS))
        self.register_buffer("ready", torch.tensor(False))

    def forward(self, x):
        if not self.ready:
            self.mean.copy_(x.mean(0))
            self.ready.fill_(True)
        else:
            self.mean.lerp_(x.mean(0), 0.1)
        return self.fc(x - self.mean)


trap(stateful=True)(moving_average_by_lerp)


class codebook(Net):
    """Vector quantisation with a straight-through estimate and counts."""

    def __init__(self):
        super().__init__()
        self.book = nn.Embedding(5, COLUMNS)
        self.register_buffer("uses", torch.zeros(5))

    def forward(self, x):
        h = self.fc(x)
        index = torch.cdist(h, self.book.weight).argmin(1)
        if self.training:
            self.uses.mul_(0.9).add_(F.one_hot(index, 5).sum(0), alpha=0.1)
        code = self.book(index)
        return h + (code - h).detach(), index, F.mse_loss(code.detach(), h)


trap(train=True, stateful=True)(codebook)


class dead_codes_restarted(codebook):
    def forward(self, x):
        out, index, loss = super().forward(x)
        dead = self.uses < 0.05
        if self.training and dead.any():
            with torch.no_grad():
                self.book.weight.data[dead] = x[torch.randint(0, len(x), (int(dead.sum()),))]
        return out, index, loss


trap(train=True, stateful=True)(dead_codes_restarted)


@trap(train=True)
def hard_gumbel(self, x):
    logits = self.fc(x)
    if self.training:
        return F.gumbel_softmax(logits, tau=0.5, hard=True) @ self.fc2.weight
    index = logits.max(-1, keepdim=True)[1]
    return torch.zeros_like(logits).scatter_(-1, index, 1.0) @ self.fc2.weight


@trap()
def top_fraction_masked(self, x):
    k = max(1, int(0.3 * x.numel()))
    h = self.fc(x)
    level = h.abs().flatten().kthvalue(x.numel() - k + 1).values
    return h * (h.abs() >= level), k


@trap()
def fake_quantised(self, x):
    low, high = x.min(), x.max()
    step = (high - low) / 15
    zero = torch.round(-low / step)
    q = torch.clamp(torch.round(x / step) + zero, 0, 15)
    x = x + ((q - zero) * step - x).detach()
    return F.linear(x, self.fc.weight + (self.fc.weight.sign() - self.fc.weight).detach())


@trap()
def quantised_per_channel_by_loop(self, x):
    w = self.fc.weight.clone()
    for i in range(w.shape[0]):
        s = w[i].abs().max() / 7
        w[i] = (w[i] / s).round().clamp(-8, 7) * s
    bits = {}
    for name, m in self.named_children():
        bits[name] = 8 if isinstance(m, nn.Linear) else 4
    return F.linear(x, w) * bits["fc"] / bits["norm"]


def rearrange(x, pattern, **sizes):
    left, right = (side.split() for side in pattern.split("->"))
    known = dict(zip(left, x.shape, strict=True)) | sizes
    order = [left.index(name) for name in right if name in left]
    y = x.permute(*order)
    return y.reshape([known[name] for name in right])


@trap(wide=True)
def names_of_axes(self, x):
    y = rearrange(x[:, None], "b one c -> c b one")
    return rearrange(y * 2, "c b one -> b c one").squeeze(-1) @ x.T


def rearrange_in_brackets(x, pattern, **sizes):
    left, right = pattern.split("->")
    out = []
    for group in right.replace("(", " ( ").replace(")", " ) ").split():
        out.append(group)
    names = left.split()
    known = dict(zip(names, x.shape, strict=True))
    x = x.permute([names.index(g) for g in out if g not in "()"])
    shape, inside, product = [], False, 1
    for g in out:
        if g == "(":
            inside, product = True, 1
        elif g == ")":
            inside = False
            shape.append(product)
        elif inside:
            product *= known[g]
        else:
            shape.append(known[g])
    return x.reshape(shape)


@trap(wide=True)
def axes_in_brackets(self, x):
    heads = x.unflatten(1, (-1, 1)) * self.scale
    return rearrange_in_brackets(heads, "b h d -> (b d) h"), rearrange_in_brackets(heads, "b h d -> h (b d)")


@trap()
def einsum_with_built_letters(self, x):
    letters = "abcdefgh"[: x.dim()]
    return torch.einsum(f"{letters},{letters[::-1][0]}z->{letters[:-1]}z", x, self.fc.weight)


KERNELS = {torch.float32: "single", torch.float64: "double", torch.int64: "whole"}


@trap(double=True)
def kernel_by_dtype(self, x):
    kind = KERNELS.get(x.dtype, "other")
    return x * {"single": 1, "double": 2, "whole": 3, "other": 4}[kind], kind


@trap()
def bias_by_distance(self, x):
    n = x.shape[0]
    distance = torch.arange(n)[:, None] - torch.arange(n)[None]
    bucket = torch.where(distance < 2, distance, 2 + torch.log(distance.clamp(min=1).float()).long()).clamp(0, 5)
    return (self.fc(x) @ x.T) + self.offset[bucket]


@trap()
def alternating_windows(self, x):
    n = x.shape[0]
    out = []
    for start in range(0, n, 2):
        window = x[start : start + 2]
        if window.shape[0] < 2:
            window = F.pad(window, (0, 0, 0, 1))
        out.append(self.fc(window))
    return torch.cat(out)[:n]


@trap()
def window_mask_from_slices(self, x):
    mask = torch.zeros(x.shape[0], x.shape[0])
    count = 0
    for rows in (slice(0, -1), slice(-1, None)):
        for columns in (slice(0, -1), slice(-1, None)):
            mask[rows, columns] = count
            count += 1
    return (self.fc(x) @ x.T).masked_fill(mask != 0, -100.0)


@trap(inputs=two)
def hungarian_by_numpy(self, x, y):
    cost = torch.cdist(self.fc(x), y).numpy(force=True)
    used, pairs = set(), []
    for row in range(cost.shape[0]):
        column = min((c for c in range(cost.shape[1]) if c not in used), key=lambda c: cost[row, c])
        used.add(column)
        pairs.append(column)
    return F.l1_loss(x, y[pairs]), torch.as_tensor(pairs)


@trap()
def mask_of_numpy(self, x):
    mask = x.detach().numpy() > 0
    mask[:, 0] = True
    return self.fc(x) * torch.from_numpy(mask), x[torch.from_numpy(numpy.flatnonzero(mask.any(1)))]


@trap()
def index_of_numpy(self, x):
    order = numpy.argsort(-x.detach().sum(1).numpy(), kind="stable")
    return self.fc(x)[order.copy()], x[order[0]]


@trap()
def seeds_that_do_not_depend(self, x):
    picks = numpy.random.RandomState(0).permutation(COLUMNS)[:3]
    return self.fc(x)[:, picks], x[:, torch.from_numpy(picks)]


@trap(train=True)
def mixup(self, x):
    if self.training:
        lam = numpy.random.beta(0.4, 0.4)
        x = lam * x + (1 - lam) * x[torch.randperm(x.size(0))]
    return self.fc(x)


@trap(train=True)
def masked_tokens(self, x):
    keep = max(1, int(x.shape[0] * 0.5))
    order = torch.rand(x.shape[0]).argsort()
    restore = order.argsort()
    shown = self.fc(x[order[:keep]])
    full = torch.cat([shown, self.offset.expand(x.shape[0] - keep, -1)])
    return full[restore]


@trap()
def sinkhorn(self, x):
    q = torch.exp(self.fc(x))
    for _ in range(50):
        previous = q
        q = q / q.sum(0, keepdim=True)
        q = q / q.sum(1, keepdim=True)
        if torch.allclose(previous, q, atol=1e-3):
            break
    return q


@trap()
def power_iteration(self, x):
    v = torch.ones(COLUMNS)
    for step in range(20):
        new = F.normalize(self.fc.weight.T @ (self.fc.weight @ v), dim=0)
        if torch.dist(new, v) < 1e-2:
            return x @ new, step
        v = new
    return x @ v, -1


@trap()
def fixed_point_by_anderson(self, x):
    z, norms = torch.zeros_like(x), []
    for _ in range(6):
        new = torch.tanh(self.fc(z) * 0.3 + x)
        norms.append((new - z).norm().item())
        if len(norms) > 1 and norms[-1] > 0.7 * norms[-2]:
            break
        z = new
    return z, norms[-1]


@trap()
def ctc_collapse(self, x):
    best = self.fc(x).argmax(-1)
    kept = torch.unique_consecutive(best)
    return kept[kept != 0], self.fc2(x)[kept != 0] if kept.numel() == x.shape[0] else self.fc2(x)


@trap()
def runs_of_labels(self, x):
    labels = self.fc(x).argmax(-1)
    values, inverse, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    pooled = torch.zeros(values.numel(), COLUMNS).index_add(0, inverse, x) / counts[:, None]
    return pooled[inverse], values


@trap()
def viterbi(self, x):
    score, back = x[0], []
    for row in x[1:]:
        both = score[:, None] + self.fc.weight
        score, index = both.max(0)
        score = score + row
        back.append(index)
    path = [int(score.argmax())]
    for index in reversed(back):
        path.append(int(index[path[-1]]))
    return torch.tensor(path[::-1]), score


@dataclasses.dataclass
class Prediction:
    logits: torch.Tensor
    loss: torch.Tensor | None = None
    names: tuple[str, ...] = ()
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


@trap()
def prediction_with_a_filled_field(self, x):
    out = Prediction(self.fc(x))
    if (out.logits > 1.5).any():
        out.loss = out.logits.square().mean()
        out.names += ("loss",)
    out.extra["rows"] = x.shape[0]
    return out
