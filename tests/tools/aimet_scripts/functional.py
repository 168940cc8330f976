"""Functions, a reused module and elementwise operations, as AIMET's documentation shows them; exported."""

import os
import tempfile

import torch
import torch.nn.functional as F
from aimet_torch.model_preparer import prepare_model
from aimet_torch.quantsim import QuantizationSimModel


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(8, 8, 3, padding=1)
        self.relu = torch.nn.ReLU()
        self.fc = torch.nn.Linear(8 * 16, 10)

    def forward(self, *inputs):
        x = self.relu(self.conv1(inputs[0]))
        y = self.relu(self.conv2(x))
        z = F.relu(F.max_pool2d(x + y, 2)) * torch.sigmoid(inputs[1])
        z = torch.cat((z, z - y[:, :, ::2, ::2]), dim=1).mean(dim=1)
        return self.fc(F.pad(z, (0, 0, 0, 0)).reshape(z.size(0), -1).repeat(1, 8)[:, :128])


model = Net().eval()
dummy_input = (torch.randn(2, 3, 8, 8), torch.randn(2, 8, 4, 4))
prepared_model = prepare_model(model)
assert torch.allclose(model(*dummy_input), prepared_model(*dummy_input))

sim = QuantizationSimModel(prepared_model, dummy_input=dummy_input, default_param_bw=8, default_output_bw=8)
sim.compute_encodings(lambda sim_model, _: sim_model(*dummy_input), None)
outputs = sim.model(*dummy_input)
with tempfile.TemporaryDirectory() as folder:
    sim.onnx.export(dummy_input, os.path.join(folder, "model.onnx"), dynamo=False)
    assert os.path.exists(os.path.join(folder, "model.encodings"))
