"""A trained network's usual way: prepare, validate, fold the batch norms, equalize the layers, simulate, train."""

import torch
import torchvision
from aimet_torch.batch_norm_fold import fold_all_batch_norms
from aimet_torch.cross_layer_equalization import equalize_model
from aimet_torch.model_preparer import prepare_model
from aimet_torch.model_validator.model_validator import ModelValidator
from aimet_torch.quantsim import QuantizationSimModel

model = torchvision.models.resnet18(weights=None).eval()
x = torch.randn(2, 3, 64, 64)
prepared_model = prepare_model(model)
assert ModelValidator.validate_model(prepared_model, model_input=x)
fold_all_batch_norms(prepared_model, input_shapes=x.shape)
equalize_model(prepared_model, x.shape)

sim = QuantizationSimModel(prepared_model, dummy_input=x)
sim.compute_encodings(lambda sim_model, _: sim_model(x), None)
optimizer = torch.optim.SGD(sim.model.parameters(), 1e-3)
sim.model.train()
for _ in range(2):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(sim.model(x), torch.tensor([1, 2])).backward()
    optimizer.step()
sim.model.eval()
outputs = sim.model(x)
