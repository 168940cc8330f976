"""What earlier versions have written names modules that stand elsewhere now: pickles, graphs, exported packages."""

import importlib
import io
import pickle
import pickletools

import pytest
import torch
from torch import nn

from modulize import _core, _former_names, prepare_model

# Now -> as earlier versions wrote it.
FORMER = {
    "modulize._prepared.": "modulize._graph_module",
    "modulize._engine.statements": "modulize._statements",
    "modulize._runtime.plain_outputs": "modulize._plain_outputs",
    "modulize._runtime.Sites": "modulize._sites.Sites",
}


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.act = nn.Linear(3, 3), nn.ReLU()
        self.layers = nn.Sequential(nn.Linear(3, 3), nn.ReLU())

    def forward(self, x):
        x = self.act(self.act(self.fc(x)) + 1)
        if x.sum() > 0:
            x = torch.relu(x - 1)
        return {"y": torch.relu(self.layers(x))}


class Looping(nn.Module):
    def forward(self, x):
        rows = []
        for row in x:
            while row.abs().sum() > 1.0:
                row = row / 2
            rows.append(row)
        return torch.stack(rows).relu()


def as_earlier(data):
    """A pickle of protocol 2 with an earlier version's names; those it had, and the texts of graphs that changed."""
    out = io.BytesIO()
    known = {}
    strings = []
    raw = bytes(data)
    ends = [*[position for _, _, position in pickletools.genops(raw)][1:], len(raw)]
    for (opcode, argument, position), end in zip(pickletools.genops(raw), ends):
        piece = raw[position:end]
        if opcode.name == "GLOBAL":
            module, name = argument.split(" ")
            now = former(module)
            known[module] = now
            piece = f"c{now}\n{name}\n".encode()
        elif isinstance(argument, str) and "modulize._runtime.Sites" in argument:
            text = argument.replace("modulize._runtime.Sites", FORMER["modulize._runtime.Sites"]).encode()
            piece = b"X" + len(text).to_bytes(4, "little") + text
            strings.append(text)
        out.write(piece)
    return out.getvalue(), known, strings


def former(module):
    return next((then for now, then in FORMER.items() if module.startswith(now)), module)


def test_pickles_of_earlier_versions_load():
    x = torch.randn(2, 3)
    model = prepare_model(Deciding().eval(), example_inputs=x, plain_outputs=True)
    data, names, _ = as_earlier(pickle.dumps(model, protocol=2))
    assert "modulize._graph_module" in names.values()
    assert b"modulize._prepared" not in data
    assert torch.equal(pickle.loads(data)(x)["y"], model(x)["y"])
    loaded = torch.load(io.BytesIO(saved_as_earlier(model)), weights_only=False)
    assert torch.equal(loaded(x)["y"], model(x)["y"])


def saved_as_earlier(model):
    out = io.BytesIO()
    torch.save(model, out, pickle_protocol=2, _use_new_zipfile_serialization=False)
    head = out.getvalue()
    for now in parts():
        head = head.replace(f"c{now}\n".encode(), b"cmodulize._graph_module\n")
    assert b"cmodulize._graph_module\n" in head
    return head


def parts():
    return _former_names._MOVED["modulize._graph_module"]


def test_programs_of_earlier_versions_run():
    x = torch.randn(2, 3)
    model = prepare_model(Looping().eval(), example_inputs=x)
    data, _, texts = as_earlier(pickle.dumps(model, protocol=2))
    assert texts
    loaded = pickle.loads(data)
    assert torch.equal(loaded(x), model(x))
    assert torch.equal(loaded(2 * x), model(2 * x))


@pytest.mark.parametrize("name", sorted(_former_names._MOVED))
def test_every_former_module_is_found(name):
    module = importlib.import_module(name)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        _ = module.nothing
    for one in _former_names._MOVED[name]:
        importlib.import_module(one)


def test_names_in_graphs_and_exported_source_are_found():
    from modulize import _runtime
    from modulize._prepared.module import PreparedModule

    assert _core.resolve_name("modulize._sites.Sites") is _runtime.Sites
    assert _core.resolve_name("modulize._graph_module.PreparedModule") is PreparedModule
    for name in _runtime.__all__:
        assert _core.resolve_name(f"modulize._runtime.{name}") is getattr(_runtime, name)
        assert getattr(_runtime, name).__module__ == "modulize._runtime"


def test_other_modules_are_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("modulize._nothing")
