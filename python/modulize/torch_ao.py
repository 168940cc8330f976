"""``prepare_model`` for the eager quantization of ``torch.ao.quantization``.

Sums, products and concatenations become ``FloatFunctional``\\ s, and stubs stand at the borders, so that
``prepare``, calibration and ``convert`` of ``torch.ao.quantization`` give a model of int8 kernels.
"""

from __future__ import annotations

import functools

from modulize._api import prepare_model as _prepare_model
from modulize._tools.torch_ao import fusable_modules, observe_floats_alone, unobservable_modules

__all__ = ["fusable_modules", "observe_floats_alone", "prepare_model", "unobservable_modules"]

prepare_model = functools.wraps(_prepare_model)(functools.partial(_prepare_model, target="torch.ao"))
