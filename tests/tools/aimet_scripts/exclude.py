"""One module and one class of modules that torch.fx cannot look into, left alone."""

import torch
import torch.nn.functional as F
from aimet_torch.model_preparer import prepare_model


class Softplus(torch.nn.Module):
    @staticmethod
    def forward(x):
        return x * F.softplus(x).sigmoid()


class Gate(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Linear(8, 8)

    def forward(self, x):
        return self.scale(x) if x.sum() > 0 else torch.relu(x)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 8)
        self.custom = Softplus()
        self.gates = torch.nn.ModuleList(Gate() for _ in range(2))

    def forward(self, x):
        x = F.relu(self.custom(self.fc(x)))
        for gate in self.gates:
            x = x + gate(x)
        return x


model = Net().eval()
prepared_model = prepare_model(model, modules_to_exclude=[model.custom], module_classes_to_exclude=[Gate])
outputs = prepared_model(torch.randn(3, 4))
