"""Operations that AIMET leaves as functions, among others."""

import torch
import torch.nn.functional as F
from aimet_torch.model_preparer import prepare_model


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(8, 8)
        self.weight = torch.nn.Parameter(torch.randn(8, 8))

    def forward(self, x):
        q = F.linear(F.hardswish(self.fc(x)), self.weight)
        k = torch.abs(q) + torch.sqrt(q * q + 1)
        return F.scaled_dot_product_attention(q, k, -k).clamp(-3, 3).transpose(1, 2)


prepared_model = prepare_model(Net().eval())
outputs = prepared_model(torch.randn(2, 3, 8))
