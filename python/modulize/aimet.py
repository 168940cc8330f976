"""``prepare_model`` with AIMET's module classes and names preset.

Scripts that import AIMET's Model Preparer change one line::

    from modulize.aimet import prepare_model
"""

import functools

from modulize._api import prepare_model as _prepare_model

__all__ = ["prepare_model"]

prepare_model = functools.wraps(_prepare_model)(functools.partial(_prepare_model, target="aimet"))
