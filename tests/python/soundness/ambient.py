"""Contexts, modes and settings around and inside forward."""

import contextlib
import warnings

import torch
import torch.nn.functional as F

from soundness.rule import COLUMNS, Net, trap


def _one(g):
    return (torch.randn(2, COLUMNS, generator=g),), {}


def _cpu_autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


@trap()
def autocast_inside(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = self.fc(x)
    return y.float() + self.fc2(x)


@trap()
class autocast_decorator(Net):
    @torch.autocast("cpu", dtype=torch.bfloat16)
    def forward(self, x):
        return self.fc(x) @ self.fc2(x).t()


@trap(extra=[(_one, _cpu_autocast)])
def autocast_disabled_inside(self, x):
    with torch.autocast("cpu", enabled=False):
        return self.fc(x.float())


@trap(extra=[(_one, _cpu_autocast)])
def autocast_around(self, x):
    return F.softmax(self.fc(x), -1) @ self.fc2(x).t()


@trap(extra=[(_one, _cpu_autocast)])
def autocast_asked(self, x):
    return self.fc(x) * (2 if torch.is_autocast_enabled("cpu") else 3)


@trap(extra=[(_one, torch.enable_grad)])
def no_grad_for_a_part(self, x):
    with torch.no_grad():
        target = self.fc(x)
    return self.fc2(x) * target


@trap(extra=[(_one, torch.enable_grad)])
class no_grad_decorator(Net):
    @torch.no_grad()
    def target(self, x):
        return self.fc(x).softmax(-1)

    def forward(self, x):
        return self.fc2(x) * self.target(x)


@trap()
def set_grad_enabled_by_a_flag(self, x):
    with torch.set_grad_enabled(self.training):
        y = self.fc(x)
    return self.fc2(y)


@trap()
def enable_grad_inside(self, x):
    with torch.enable_grad():
        return self.fc(x)


@trap()
def inference_mode_inside(self, x):
    with torch.inference_mode():
        y = self.fc(x)
    return y.clone() * 2


@trap()
def detach_stops_gradients(self, x):
    y = self.fc(x)
    return y.detach() * self.fc2(x) + y.data


@trap()
def stack_of_contexts(self, x):
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        y = self.fc(x)
    return y + self.fc2(x)


@contextlib.contextmanager
def scaled(module, factor):
    saved = module.factor
    module.factor = factor
    try:
        yield
    finally:
        module.factor = saved


@trap()
class users_own_context(Net):
    factor = 1.0

    def forward(self, x):
        with scaled(self, 3.0):
            y = self.fc(x) * self.factor
        return y * self.factor


@trap()
def default_dtype_changed_inside(self, x):
    saved = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        bias = torch.zeros(3) + 0.1
    finally:
        torch.set_default_dtype(saved)
    return x.double().sum() + bias


@contextlib.contextmanager
def _double_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@trap(extra=[(_one, _double_by_default)])
def default_dtype_around(self, x):
    return x * torch.tensor(0.1) + torch.ones(COLUMNS)


@trap(extra=[(_one, _double_by_default)])
def default_dtype_asked(self, x):
    return x.to(torch.get_default_dtype()) * 2


@trap()
def warning_inside(self, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("careful", stacklevel=1)
        return self.fc(x)


@trap()
def attention_kernel_chosen(self, x):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = x[None, None]
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, q, q)


@trap(double=True)
def dtype_and_device_passed_on(self, x):
    return x + torch.arange(COLUMNS, device=x.device, dtype=x.dtype) + torch.zeros(1, dtype=self.fc.weight.dtype)


@trap(double=True)
def literal_dtype(self, x):
    return (x.to(torch.float32) * 2).to(x.dtype)


@trap(double=True)
def type_as_and_to_another_tensor(self, x):
    return torch.ones(COLUMNS).type_as(x) + torch.ones(COLUMNS).to(x) + x.new_ones(COLUMNS)


@trap()
def number_of_threads_asked(self, x):
    return x * (1 if torch.get_num_threads() > 0 else 2)


@trap(train=True)
def mode_switched_inside(self, x):
    was = self.fc.training
    self.fc.eval()
    y = self.fc(x)
    self.fc.train(was)
    return F.dropout(y, 0.5, training=self.training)


@trap(train=True)
class frozen_norm(Net):
    def __init__(self):
        super().__init__()
        self.bn = torch.nn.BatchNorm1d(COLUMNS)

    def train(self, mode=True):
        super().train(mode)
        self.bn.eval()
        return self

    def forward(self, x):
        return self.bn(self.fc(x))


@trap(train=True)
class norm_momentum_by_hand(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(COLUMNS))
        self.register_buffer("var", torch.ones(COLUMNS))

    def forward(self, x):
        return F.batch_norm(x, self.mean, self.var, training=self.training, momentum=0.3)
