"""What a gradient check found: a line an input, the diagnoses with their evidence, what was covered; as text and as plain data."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from minivgg.errors import ArgumentError
from minivgg.files import written_whole
from minivgg.testing.gradients.heat import heat_text


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What is wrong, or worth knowing, in one sentence, with the numbers that show it.

    ``kind``      a short name; docs/gradcheck.md lists them all
    ``input``     the input whose gradient it concerns; None for the function as a whole
    ``sentence``  what it is
    ``evidence``  what was computed to find out, and what came out
    ``fault``     False for a remark (a kink that was stepped around) that does not fail the check
    """

    kind: str
    input: str | None
    sentence: str
    evidence: str
    fault: bool = True

    def __str__(self) -> str:
        of = f" ({self.input})" if self.input else ""
        return f"{'diagnosis' if self.fault else 'remark'}{of}: {self.kind}. {self.sentence}\n    evidence: {self.evidence}"


@dataclasses.dataclass(frozen=True)
class InputReport:
    """One input: how far the gradient (``analytic``) lies from the differences (``numeric``), and where farthest.

    ``error`` is the largest |analytic - numeric| / (|numeric| + atol / rtol): relative, and absolute for small gradients.
    ``worst`` is the index of that element, ``where`` its name, ``wrong`` how many elements fail, ``kinks`` how many lie where
    the derivatives from the left and from the right differ, ``stepped`` how many needed smaller steps.
    """

    name: str
    shape: tuple[int, ...]
    elements: int
    error: float
    worst: tuple[int, ...] | None
    where: str
    analytic: float | None
    numeric: float | None
    ok: bool
    wrong: int = 0
    kinks: int = 0
    stepped: int = 0
    errors: numpy.ndarray | None = None
    """The error of every element, in the input's shape; nan where it was not checked."""
    curve: tuple[tuple[float, float, float, float], ...] = ()
    """At the worst element: (step, |analytic - numeric| with that step, what rounding may contribute, what it would be for a right gradient)."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data; the error of every element where they are at most 4096, None where one was not checked."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.errors is not None:
            known = numpy.where(numpy.isnan(self.errors), None, self.errors)  # type: ignore[call-overload]
            data["errors"] = known.tolist() if self.errors.size <= 4096 else None
        return plain(data)


def plain(value: Any) -> Any:
    """For JSON, which has lists only and no infinite numbers: those become the strings "inf", "-inf" and "nan".

    >>> plain({"shape": (2, 3), "error": float("inf")})
    {'shape': [2, 3], 'error': 'inf'}
    """
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@dataclasses.dataclass(frozen=True)
class GradcheckReport:
    """The check of one function at one point. True if every gradient checked is right and no diagnosis is a fault."""

    function: str
    order: int
    eps: float
    atol: float
    rtol: float
    inputs: tuple[InputReport, ...]
    diagnoses: tuple[Diagnosis, ...]
    coverage: str
    seconds: float

    @property
    def ok(self) -> bool:
        return all(line.ok for line in self.inputs) and not any(diagnosis.fault for diagnosis in self.diagnoses)

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
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in ("inputs", "diagnoses")}
        lines, diagnoses = [line.as_dict() for line in self.inputs], [dataclasses.asdict(one) for one in self.diagnoses]
        return plain({**own, "inputs": lines, "diagnoses": diagnoses, "ok": self.ok, "elements": self.elements, "max_error": self.max_error})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report, whole or not at all: ``.txt`` as text, ``.json`` as data, ``.html`` as one page that needs no other file.

        The page shows where each wrong gradient is wrong, and how its error depends on the step.
        """
        place = Path(path)
        content = self.content_for(place)(self)
        with written_whole(place) as beside:
            beside.write_text(content, encoding="utf-8")

    @staticmethod
    def content_for(path: Path) -> Callable[[GradcheckReport], str]:
        """What writes the contents of a file of this name. Raises ArgumentError where its ending says nothing."""
        if path.suffix == ".html":
            from minivgg.testing.gradients.page import page_of  # it reads reports, and is needed only here

            return page_of
        if path.suffix == ".json":
            return lambda report: json.dumps(report.as_dict(), indent=1) + "\n"
        if path.suffix == ".txt":
            return lambda report: f"{report}\n"
        raise ArgumentError("GradcheckReport.save", f"the name must end in .html, .json or .txt, got {path}")

    def __str__(self) -> str:
        verdict = "passed" if self.ok else "FAILED"
        numbers = f"{self.elements} elements, largest error {self.max_error:.2e} (at most {self.rtol:.0e})"
        title = f"gradcheck of {self.function}, order {self.order}: {verdict}, {numbers}"
        rows = [("", "input", "shape", "elements", "error", "worst at", "analytic", "numeric"), *map(_row, self.inputs)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        curves = [_curve(line) for line in self.inputs if not line.ok and line.curve]
        maps = [heat_text(line.name, line.errors, self.rtol) for line in self.inputs if not line.ok and line.errors is not None]
        return "\n".join([title, self.coverage, *(table if self.inputs else []), *curves, *map(str, self.diagnoses), *filter(None, maps)])


def _row(line: InputReport) -> tuple[str, ...]:
    numbers = ("", "", "") if line.worst is None else (line.where, f"{line.analytic:.9g}", f"{line.numeric:.9g}")
    return ("ok" if line.ok else "FAIL", line.name, str(line.shape), str(line.elements), f"{line.error:.2e}", *numbers)


def _curve(line: InputReport) -> str:
    """The error against the step: flat if the gradient is wrong, a valley if it is right."""
    steps = "".join(f"{step:10.0e}" for step, _, _, _ in line.curve)
    errors = "".join(f"{error:10.1e}" for _, error, _, _ in line.curve)
    return f"at {line.where}:\n    step              {steps}\n    |analytic-numeric|{errors}"


class GradcheckError(RuntimeError):
    """A gradient is wrong; the text is the report, which ``report`` holds as data."""

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report
