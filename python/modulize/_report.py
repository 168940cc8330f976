"""What a preparation did: the data behind ``prepared.report``."""

from __future__ import annotations

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
        Calls that are no module and may compute, with the keys ``call``, ``known``, ``scope`` and ``where``.
    kept : list of dict
        Modules and functions kept whole, with the keys ``what``, ``scope``, ``reason`` and ``where``.
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
    """

    capture: str
    target: str
    leftovers: list[dict[str, Any]]
    kept: list[dict[str, str]]
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
        self.__dict__.update(data)

    @property
    def conversions(self) -> list[dict[str, str]]:
        """One entry a conversion, with the keys ``pass``, ``from``, ``to``, ``path``, ``scope`` and ``where``."""
        if not isinstance(self._conversions, list):
            self._conversions = self._conversions.entries()
        return self._conversions

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

    def __str__(self) -> str:
        lines = [
            f"captured by {'running' if self.capture == 'running' else 'symbols'}, {len(self._shipped)} nodes, "
            f"{len(self.conversions)} conversions"
        ]
        lines += [f"  {c['path']}: {c['from']} -> {c['to']}  {c['where']}".rstrip() for c in self.conversions]
        for title, entries in (
            ("kept whole", [f"{k['what']}: {k['reason']}  {k['where']}".rstrip() for k in self.kept]),
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
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<modulize report: {len(self._conversions)} conversions, {len(self.leftovers)} leftovers>"
