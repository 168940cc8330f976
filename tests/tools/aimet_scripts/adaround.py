"""AdaRound and sequential MSE before the simulation."""

import tempfile

import torch
from aimet_torch.adaround.adaround_weight import Adaround, AdaroundParameters
from aimet_torch.batch_norm_fold import fold_all_batch_norms
from aimet_torch.model_preparer import prepare_model
from aimet_torch.quantsim import QuantizationSimModel
from aimet_torch.seq_mse import apply_seq_mse


class Block(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = torch.nn.BatchNorm2d(channels)

    def forward(self, x):
        x = torch.relu(x + self.bn(self.conv(x)))
        return x


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.blocks = torch.nn.Sequential(Block(8), Block(8))
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


batches = [torch.randn(4, 3, 16, 16) for _ in range(2)]


def run(model, batch):
    return model(batch)


prepared_model = prepare_model(Net().eval())
fold_all_batch_norms(prepared_model, batches[0].shape)
parameters = AdaroundParameters(batches, num_batches=2, default_num_iterations=5, forward_fn=run)
with tempfile.TemporaryDirectory() as folder:
    rounded = Adaround.apply_adaround(prepared_model, batches[0], parameters, folder, "weights", default_param_bw=4)
    sim = QuantizationSimModel(rounded, dummy_input=batches[0], default_param_bw=4)
    sim.set_and_freeze_param_encodings(f"{folder}/weights.encodings")
apply_seq_mse(sim, batches, num_candidates=4, forward_fn=run)
sim.compute_encodings(lambda model, _: run(model, batches[0]), None)
outputs = sim.model(batches[1])
