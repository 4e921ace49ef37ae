"""What a gradient check found: a line an input, true if all of them passed, printable, and as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class InputReport:
    """One input: how far the gradient (``analytic``) lies from the differences (``numeric``), and where farthest.

    ``error`` is the largest |analytic - numeric| / (|numeric| + atol / rtol): relative, and absolute for small gradients.
    """

    name: str
    shape: tuple[int, ...]
    elements: int
    error: float
    worst: tuple[int, ...] | None
    analytic: float | None
    numeric: float | None
    ok: bool


@dataclasses.dataclass(frozen=True)
class GradcheckReport:
    """The check of one function at one point; ``problem`` is a failure that no single element shows."""

    function: str
    order: int
    eps: float
    atol: float
    rtol: float
    inputs: tuple[InputReport, ...]
    problem: str | None
    seconds: float

    @property
    def ok(self) -> bool:
        return self.problem is None and all(line.ok for line in self.inputs)

    @property
    def elements(self) -> int:
        return sum(line.elements for line in self.inputs)

    @property
    def max_error(self) -> float:
        return max((line.error for line in self.inputs), default=0.0)

    def __bool__(self) -> bool:
        return self.ok

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with the results that are computed from it."""
        return {**dataclasses.asdict(self), "ok": self.ok, "elements": self.elements, "max_error": self.max_error}

    def __str__(self) -> str:
        verdict = "passed" if self.ok else "FAILED"
        numbers = f"{self.elements} elements, largest error {self.max_error:.2e} (at most {self.rtol:.0e})"
        title = f"gradcheck of {self.function}, order {self.order}: {verdict}, {numbers}"
        rows = [("", "input", "shape", "elements", "error", "worst at", "analytic", "numeric"), *map(_row, self.inputs)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([title, *([self.problem] if self.problem else []), *table])


def _row(line: InputReport) -> tuple[str, ...]:
    numbers = ("", "", "") if line.worst is None else (str(line.worst), f"{line.analytic:.9g}", f"{line.numeric:.9g}")
    return ("ok" if line.ok else "FAIL", line.name, str(line.shape), str(line.elements), f"{line.error:.2e}", *numbers)


class GradcheckError(RuntimeError):
    """A gradient is wrong; the text is the report, which ``report`` holds as data."""

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report
