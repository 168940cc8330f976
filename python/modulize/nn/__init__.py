"""Modules for operations that ``torch.nn`` has none for, such as :class:`Add` or :class:`Concat`.

They hold no state and no settings: everything is given in the call. ``Dynamic...`` classes take in the call what the
``torch.nn`` module of that name takes in its constructor, for settings that are computed while the model runs.

>>> import torch, modulize.nn
>>> modulize.nn.Add()(torch.ones(2), 1, alpha=3)
tensor([4., 4.])
"""

from modulize.nn._generated import *  # noqa: F403
from modulize.nn._generated import __all__ as __all__
from modulize.nn._vision import DeformConv2d, PSRoIAlign, PSRoIPool, RoIAlign, RoIPool  # noqa: F401
