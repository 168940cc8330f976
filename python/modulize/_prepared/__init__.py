"""What a prepared model is. These names are those that the engine and the generated source use."""

from modulize._prepared.branch import Branch, install_branch
from modulize._prepared.containers import hide_additions
from modulize._prepared.module import PreparedModule, initialise, new_prepared, prepared_class
from modulize._prepared.program import install
from modulize._prepared.retrace import is_traced, replay
from modulize._prepared.ties import hide_tied, own_tensors

__all__ = [
    "Branch",
    "PreparedModule",
    "hide_additions",
    "hide_tied",
    "initialise",
    "install",
    "install_branch",
    "is_traced",
    "new_prepared",
    "own_tensors",
    "prepared_class",
    "replay",
]
