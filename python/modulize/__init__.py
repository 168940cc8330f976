"""An equal model in which every computation is a module of its own, used once.

``prepare_model`` takes any :class:`torch.nn.Module` and returns a :class:`torch.fx.GraphModule` that quantization tools
can work on.
"""

from modulize import _former_names
from modulize import nn as nn  # not in __all__: `from modulize import *` must not hide torch.nn
from modulize._api import prepare_model
from modulize._core import (
    ArgumentError,
    AssumptionError,
    CaptureError,
    ModulizeError,
    ParseError,
    UnsupportedError,
    VerificationError,
    VerifierError,
)
from modulize._prepare.calls import prepare_for
from modulize._prepare.operations import register_operation
from modulize._prepare.targets import register_target
from modulize._report import Report
from modulize.export import load_source, save_source
from modulize.report import compare_models
from modulize.validate import Finding, Validation, validate_model

_former_names.install()

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "AssumptionError",
    "CaptureError",
    "Finding",
    "ModulizeError",
    "ParseError",
    "Report",
    "UnsupportedError",
    "Validation",
    "VerificationError",
    "VerifierError",
    "compare_models",
    "load_source",
    "prepare_for",
    "prepare_model",
    "register_operation",
    "register_target",
    "save_source",
    "validate_model",
]
