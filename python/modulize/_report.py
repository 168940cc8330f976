"""What a preparation did: the data behind ``prepared.report``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Report"]


class Report:
    """What was converted, kept and assumed when a model was prepared.

    Attributes
    ----------
    capture : str
        ``"running"`` or ``"symbolic"``.
    target : str
        The target whose module classes were used.
    leftovers : list of dict
        Calls that are no module and not known not to compute, with the keys ``call``, ``known`` (to the op table),
        ``computes`` (yields a tensor, or is known), ``scope`` and ``where``.
    kept : list of dict
        Modules and functions kept whole, with the keys ``what``, ``scope``, ``reason`` and ``where``.
    captures : list of dict
        How often the model was captured and why, in order, with the keys ``reason`` (``"first"``, ``"other size"``;
        docs/seeing_inside.md has them all), ``detail`` (the place of the decision, what was kept, how the inputs
        differed), ``module`` (path of the captured module; empty for the model), ``round`` (a new one begins where more
        is kept whole, or where only another side writes an attribute), ``nodes``, ``error`` (what ended the capture;
        empty if nothing did) and ``seconds``.
    kernels : dict
        How many calls with kernels the captures ran (``run``), how many they left out as it was known what they yield
        (``left_out``), and why captures ran with values, with how often (``with_values``).
    assumptions : list of str
        What the prepared model checks whenever it runs.
    questions : list of str
        What forward asks about the world around it where the answer matters: functions such as
        ``torch.is_grad_enabled``.
    ties : list of tuple of str
        Pairs ``(path, path of the module whose parameters it shares)``.
    copies : list of tuple of str
        Pairs ``(path, path of the module whose parameters it has copies of)``.
    shared : dict of str to str
        Modules that both models share because they cannot be cloned, by path, with the reason.
    written_state : list of str
        Module attributes that ``forward`` wrote during the capture.
    seconds : dict of str to float
        Time spent in ``capture``, ``passes``, ``materialise`` and ``report``, in seconds.
    largest_difference : float or None
        Largest absolute difference between the outputs of both models at verification; ``None`` if not verified.
    not_verified : str
        Why the outputs of both models were not compared; empty if they were. On the meta device there are no values to
        compare: sizes were varied all the same.
    comparisons : list of dict
        What :func:`modulize.compare_models` found, in both modes and on other inputs; empty if it was not called.
    """

    capture: str
    target: str
    leftovers: list[dict[str, Any]]
    kept: list[dict[str, str]]
    captures: list[dict[str, Any]]
    kernels: dict[str, Any]
    assumptions: list[str]
    questions: list[str]
    ties: list[tuple[str, str]]
    copies: list[tuple[str, str]]
    shared: dict[str, str]
    written_state: list[str]
    seconds: dict[str, float]

    def __init__(self, data: dict[str, Any]) -> None:
        self._captured = data.pop("captured")
        self._shipped = data.pop("shipped")
        self._conversions = data.pop("conversions")
        self.largest_difference: float | None = None
        self.not_verified = ""
        self.comparisons: list[dict[str, Any]] = []
        self.__dict__.update(data)

    @property
    def conversions(self) -> list[dict[str, str]]:
        """One entry a conversion, with the keys ``pass``, ``from``, ``to``, ``path``, ``scope`` and ``where``."""
        if not isinstance(self._conversions, list):
            self._conversions = self._conversions.entries()
        return self._conversions

    @property
    def fallbacks(self) -> list[dict[str, str]]:
        """The conversions for which the target has no class: modules of ``modulize.nn`` stand there."""
        if self.target == "torch":
            return []
        return [c for c in self.conversions if c["to"].startswith("modulize.nn.")]

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Reports were written without them.
        self.__dict__.update({"captures": [], "kernels": {}, "not_verified": "", **state})

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_conversions": self.conversions}

    @property
    def captured(self) -> str:
        """The graph as captured, before any pass, in the ``.mzir`` text form."""
        return str(self._captured)

    @property
    def shipped(self) -> str:
        """The graph that the prepared model runs, in the ``.mzir`` text form."""
        return str(self._shipped)

    @property
    def share(self) -> float:
        """Of the computing calls outside of what was kept whole, those that are modules of their own."""
        modules, others = self._shipped.computing_calls()
        return modules / (modules + others) if modules + others else 1.0

    @property
    def branches(self) -> list[dict[str, str]]:
        """The decisions that were kept, with the keys ``path``, ``condition`` and ``where``."""
        return [
            {"path": node["path"], "condition": node["condition"], "where": node["decided_at"]}
            for node in self._shipped.nodes()
            if node["kind"] == "branch"
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, for programs."""
        modules, others = self._shipped.computing_calls()
        return {
            "capture": self.capture,
            "target": self.target,
            "operations": len(self._shipped),
            "modules": modules,
            "computing_calls": modules + others,
            "share": self.share,
            "conversions": self.conversions,
            "fallbacks": self.fallbacks,
            "kept": self.kept,
            "branches": self.branches,
            "captures": self.captures,
            "kernels": self.kernels,
            "leftovers": self.leftovers,
            "assumptions": self.assumptions,
            "ties": [list(pair) for pair in self.ties],
            "copies": [list(pair) for pair in self.copies],
            "shared": self.shared,
            "written_state": self.written_state,
            "questions": self.questions,
            "seconds": self.seconds,
            "largest_difference": self.largest_difference,
            "not_verified": self.not_verified,
            "comparisons": self.comparisons,
        }

    def to_json(self) -> str:
        """:meth:`as_dict` as JSON text."""
        return json.dumps(self.as_dict(), indent=2)

    def save_html(self, file: str | Path, *, title: str | None = None) -> Path:
        """Write one page that works offline: the module tree, the graph, every operation with its line of source.

        Needs ``pip install 'modulize[report]'``.
        """
        from modulize.report.page import render

        file = Path(file)
        file.write_text(render(self, self._shipped.nodes(), title or file.stem), encoding="utf-8")
        return file

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from modulize.report.text import render

        yield from render(self.as_dict())

    def _repr_html_(self) -> str:
        from modulize.report.notebook import render

        return render(self.as_dict())

    def __str__(self) -> str:
        from modulize.report.text import captures_in_words, visible

        lines = [
            f"captured by {'running' if self.capture == 'running' else 'symbols'}, {len(self._shipped)} nodes, "
            f"{len(self.conversions)} conversions"
        ]
        if self.captures:
            lines.append(f"captured {captures_in_words(self.captures)}")
        lines += [f"  {c['path']}: {c['from']} -> {c['to']}  {c['where']}".rstrip() for c in self.conversions]
        for title, entries in (
            ("branches", [f"{b['path']}: {b['condition']}  {b['where']}".rstrip() for b in self.branches]),
            ("kept whole", [f"{k['what'] or 'forward'}: {k['reason']}  {k['where']}".rstrip() for k in self.kept]),
            (f"no class in target {self.target!r}", [f"{c['path']}: {c['to']}" for c in self.fallbacks]),
            ("left as calls", [f"{c['call']}  {c['where']}".rstrip() for c in self.leftovers]),
            ("assumptions", self.assumptions),
            ("tied parameters", [f"{new} = {old}" for new, old in self.ties]),
            ("copied parameters", [f"{new} from {old}" for new, old in self.copies]),
            ("shared with the original", [f"{path}: {reason}" for path, reason in self.shared.items()]),
            ("state written by forward", self.written_state),
        ):
            if entries:
                lines.append(title)
                lines += [f"  {entry}" for entry in entries]
        if self.largest_difference is not None:
            lines.append(f"largest difference to the original: {self.largest_difference}")
        elif self.not_verified:
            lines.append(f"not compared with the original: {self.not_verified}")
        for run in self.comparisons:
            found = f"{run['result']} {run['reason']}" if run["difference"] is None else f"{run['difference']}"
            lines.append(f"  {run['mode']}, {run['inputs']}: {found}".rstrip())
        return "\n".join(visible(line, 1000) for line in lines)

    def __repr__(self) -> str:
        return f"<modulize report: {len(self._conversions)} conversions, {len(self.leftovers)} leftovers>"
