"""Modules for what code that is kept whole computes."""

from __future__ import annotations

import os
import sys
import threading
from types import CodeType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from modulize import _core
from modulize._runtime.checks import _is_compiling

# None where no code runs between two graphs of torch.compile; of torch 2.1 and later.
_compiled_frames = getattr(
    getattr(getattr(torch._C, "_dynamo", None), "eval_frame", None), "get_eval_frame_callback", lambda: None
)


class Sites(TorchFunctionMode):
    """Hands the calls of torch that stand at known places in the code over to modules.

    Parameters
    ----------
    root : torch.nn.Module
        The prepared model, whose modules these are.
    entries : tuple
        One for each place: file, function, its first line, the instruction; the name of what is called there, the
        number of positional arguments and the keywords; the path of the module, what positions and keywords of the call
        its arguments come from, whether the result is copied into the first argument, and whether it is computed on a
        copy of that, which the backward pass needs as it was.
    """

    def __init__(self, root: torch.nn.Module, entries: Any) -> None:
        super().__init__()
        self._root = root
        self._entries: dict[Any, Any] = {}
        for file, function, line, instruction, name, count, keywords, *rest in entries:
            form = (instruction, name, count, frozenset(keywords))
            self._entries.setdefault((file, function, line), {})[form] = rest
        self._names = {entry[4] for entry in entries}
        self._is_entered = False

    def __enter__(self) -> Any:
        # Compilers trace the code as it is: what runs is the same.
        self._is_entered = not (_is_compiling() or _compiled_frames() is not None)
        return super().__enter__() if self._is_entered else self

    def __exit__(self, *error: Any) -> None:
        if self._is_entered:
            super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", None) not in self._names or _inside.site:
            return func(*args, **kwargs)
        entry = self._find(func.__name__, len(args), frozenset(kwargs))
        if entry is None:
            return func(*args, **kwargs)
        path, positional, keywords, writes_back, on_copy = entry
        try:
            module = self._root.get_submodule(path)
        except AttributeError:  # taken away
            return func(*args, **kwargs)
        target: Any = args[0] if writes_back else None
        if on_copy:
            args = (args[0].clone(), *args[1:])
        given = [args[i] if isinstance(i, int) else kwargs[i] for i in positional]
        named = {key: args[i] if isinstance(i, int) else kwargs[i] for key, i in keywords.items()}
        _inside.site = True
        try:
            result = module(*given, **named)
        finally:
            _inside.site = False
        return target.copy_(result) if writes_back else result

    def _find(self, *form: Any) -> Any:
        frame: Any = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            known = _of_code(code)
            if known is not None:
                entries = self._entries.get(known)
                return None if entries is None else entries.get((_instruction(frame), *form))
            frame = frame.f_back
        return None


def _instruction(frame: Any) -> int:
    return frame.f_lasti if sys.version_info >= (3, 11) else frame.f_lineno


class _Inside(threading.local):
    """Whether a site's module runs: what it calls is its own."""

    site = False


_inside = _Inside()
_known_codes: dict[int, tuple[CodeType, Any]] = {}


def _of_code(code: CodeType) -> Any:
    """What entries call a function; None for torch's own and ours."""
    known = _known_codes.get(id(code))
    if known is None or known[0] is not code:
        name = (os.path.basename(code.co_filename), code.co_name, code.co_firstlineno)
        known = _known_codes[id(code)] = (code, name if _core.is_user_code(code) else None)
    return known[1]
