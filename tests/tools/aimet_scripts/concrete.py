"""Arguments of forward that are fixed, functions under torch.fx.wrap, and a tensor made in forward."""

import math

import torch
from aimet_torch.model_preparer import prepare_model

torch.fx.wrap("len")


@torch.fx.wrap
def positions(x):
    return torch.arange(x.shape[0], device=x.device).to(x.dtype)[:, None]


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)
        self.act = torch.nn.SiLU()

    def forward(self, x, flag=None, factor=2.0):
        x = self.act(self.fc(x))
        x = x / math.sqrt(factor)
        x = x + positions(x) if flag else x - 1
        return torch.softmax(x * factor, dim=-1) * len(x)


model = Net().eval()
x = torch.randn(3, 4)
prepared_model = prepare_model(model, concrete_args={"flag": True, "factor": 3.0})
outputs = prepared_model(x, True, 3.0)
