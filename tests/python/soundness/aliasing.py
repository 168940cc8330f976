"""Views, in-place operations and who else sees them."""

import torch
import torch.nn.functional as F

from soundness.rule import COLUMNS, Net, plain, trap, two


@trap()
def view_changed_later(self, x):
    y = x * 2
    v = y[:, :2]
    v.add_(1)
    return y + v.sum()


@trap()
def base_changed_after_the_view(self, x):
    y = x * 2
    v = y.view(-1)
    y.mul_(3)
    return v


@trap()
def relu_in_place_before_a_residual(self, x):
    y = self.fc(x)
    z = F.relu(y, inplace=True)
    return y + z


@trap()
def relu_in_place_method_of_an_old_view(self, x):
    y = self.fc(x)
    first = y[0]
    y.relu_()
    return first + y


@trap()
def chunks_in_place(self, x):
    y = self.fc(x)
    a, b = y.chunk(2, dim=1)
    a *= 2
    b.sigmoid_()
    return y


@trap()
def transposed_in_place(self, x):
    y = self.fc(x)
    y.t().add_(torch.arange(COLUMNS, dtype=x.dtype)[:, None])
    return y


@trap()
def slices_assigned(self, x):
    out = torch.zeros_like(x)
    out[:, ::2] = x[:, 1::2]
    out[:, 1::2] = -x[:, ::2]
    return out


@trap()
def rows_assigned_in_a_loop(self, x):
    out = torch.empty_like(x)
    for i, row in enumerate(x):
        out[i] = row.flip(0)
    return out


@trap()
def mask_assigned(self, x):
    y = self.fc(x)
    y[y < 0] = 0
    y[x > 1] = -1.0
    return y


@trap()
def mask_assigned_to_a_view(self, x):
    y = self.fc(x)
    v = y[:, 1:]
    v[v < 0] *= 0.1
    return y


def strided(g, rows, columns):
    whole = torch.randn(rows, 2 * columns, generator=g)
    return (whole[:, ::2] if rows % 2 else whole[:, :columns].contiguous(),)


@trap(inputs=strided)
def contiguous_copies_or_not(self, x):
    y = x.contiguous()
    y.mul_(2)
    return x + y


@trap(inputs=strided)
def reshape_views_or_copies(self, x):
    y = x.reshape(-1)
    y.add_(1)
    return x * 2 + y.view_as(x)


@trap(inputs=strided)
def contiguity_asked(self, x):
    return x.view(-1) * 2 if x.is_contiguous() else x.reshape(-1) * 3


@trap()
def reshape_of_a_transposed(self, x):
    y = self.fc(x)
    z = y.t().reshape(-1)
    z.zero_()
    return y


@trap()
def to_returns_itself(self, x):
    y = x * 1
    z = y.to(torch.float32)
    z += 1
    return y


@trap(double=True)
def to_returns_itself_or_not(self, x):
    y = x * 1
    z = y.to(torch.float32)
    z += 1
    return y


@trap()
def detached_shares_storage(self, x):
    y = self.fc(x)
    y.detach().clamp_(min=0)
    return y + 1


@trap()
def data_shares_storage(self, x):
    y = self.fc(x)
    y.data.mul_(2)
    return y


@trap()
def out_argument(self, x):
    y = torch.empty_like(x)
    torch.add(x, 1, out=y)
    torch.mul(y, y, out=y)
    return y


@trap()
def copied_over_an_old_value(self, x):
    y = x * 2
    z = y + 1
    y.copy_(x.flip(0))
    return y * z


@trap()
def input_changed(self, x):
    x += 1
    return self.fc(x)


@trap()
def input_changed_through_a_view(self, x):
    x[:, 0].zero_()
    x.view(-1)[1:3] = 5.0
    return x * 2


@trap(inputs=two, extra=[(lambda g: ((lambda t: (t, t))(torch.randn(2, COLUMNS, generator=g)), {}), torch.no_grad)])
def one_tensor_for_both_inputs(self, x, y):
    x.add_(1)
    return x * y


@trap()
def names_swapped_in_a_loop(self, x):
    a, b = x * 1, x * 2
    for _ in range(3):
        a, b = b, a
        a.add_(b)
    return a - b


@trap()
def expanded_then_cloned(self, x):
    y = x[:, :1].expand_as(x).clone()
    y[:, 2] += 1
    return y


@trap()
def unbound_rows_in_place(self, x):
    y = x * 1
    for i, row in enumerate(y.unbind(0)):
        row.detach().mul_(i)
    return y


@trap()
def augmented_item(self, x):
    y = [x * 1, x * 2]
    first = y[0]
    y[0] += 1
    return first + y[1]


@trap()
def augmented_name_after_a_return_value(self, x):
    def shift(t):
        t -= t.mean()
        return t

    y = self.fc(x)
    return shift(y) + y


@trap()
def accumulator(self, x):
    total = torch.zeros(COLUMNS)
    for layer in (self.fc, self.fc2):
        total += layer(x).sum(0)
    return total


@trap()
def index_add_and_scatter(self, x):
    y = torch.zeros(3, COLUMNS, dtype=x.dtype)
    index = (x[:, 0] > 0).long()
    y.index_add_(0, index, x)
    y.scatter_(0, index[:, None], 7.0)
    return y


@trap()
def swapped_data(self, x):
    y, z = x * 2, x * 3
    y.data = z
    z.add_(1)
    return y


@trap()
def same_object_twice_in_the_output(self, x):
    y = self.fc(x)
    out = {"a": y, "b": y}
    out["b"] = out["b"].add_(1)
    return out


@trap()
def integer_division_in_place(self, x):
    y = x * 10
    y //= 3
    y %= 2
    y **= 2
    return y


@trap(inputs=lambda g, rows, columns: (torch.randint(0, 9, (rows, columns), generator=g),), gradients=False)
def in_place_keeps_the_dtype(self, x):
    y = x.clone()
    y += 2
    y *= 3
    return y


@trap(gradients=False)
def half_plus_float_in_place(self, x):
    y = x.half()
    y += x
    return y


@trap()
def fill_diagonal(self, x):
    y = x @ x.t()
    y.fill_diagonal_(0)
    return y @ x


@trap()
class buffer_view_in_place(Net):
    def forward(self, x):
        bias = self.offset.view(1, -1)
        return x + bias.clone().mul_(2) + bias


@trap(inputs=plain)
def resize_by_set(self, x):
    y = x.clone()
    z = y
    y = y.unsqueeze_(0)
    return z.sum(-1) + y.shape[0]
