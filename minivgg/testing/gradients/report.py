"""What a gradient check found: a line an input, the diagnoses with their evidence, what was covered; as text and as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What is wrong, or worth knowing, in one sentence, with the numbers that show it.

    ``kind``      a short name out of ``KINDS``
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
    curve: tuple[tuple[float, float, float], ...] = ()
    """At the worst element: (step, |analytic - numeric| with that step, what rounding may contribute)."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data; the error of every element where they are few enough to read, -1 where there is none."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        few = self.errors is not None and self.errors.size <= 4096
        data["errors"] = numpy.where(numpy.isfinite(self.errors), self.errors, -1.0).tolist() if few and self.errors is not None else None
        return data


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
        return {**own, "inputs": lines, "diagnoses": diagnoses, "ok": self.ok, "elements": self.elements, "max_error": self.max_error}

    def __str__(self) -> str:
        verdict = "passed" if self.ok else "FAILED"
        numbers = f"{self.elements} elements, largest error {self.max_error:.2e} (at most {self.rtol:.0e})"
        title = f"gradcheck of {self.function}, order {self.order}: {verdict}, {numbers}"
        rows = [("", "input", "shape", "elements", "error", "worst at", "analytic", "numeric"), *map(_row, self.inputs)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        curves = [_curve(line) for line in self.inputs if not line.ok and line.curve]
        return "\n".join([title, self.coverage, *(table if self.inputs else []), *curves, *map(str, self.diagnoses)])


def _row(line: InputReport) -> tuple[str, ...]:
    numbers = ("", "", "") if line.worst is None else (line.where, f"{line.analytic:.9g}", f"{line.numeric:.9g}")
    return ("ok" if line.ok else "FAIL", line.name, str(line.shape), str(line.elements), f"{line.error:.2e}", *numbers)


def _curve(line: InputReport) -> str:
    """The error against the step: flat if the gradient is wrong, a valley if it is right."""
    steps = "".join(f"{step:10.0e}" for step, _, _ in line.curve)
    errors = "".join(f"{error:10.1e}" for _, error, _ in line.curve)
    return f"at {line.where}:\n    step              {steps}\n    |analytic-numeric|{errors}"


class GradcheckError(RuntimeError):
    """A gradient is wrong; the text is the report, which ``report`` holds as data."""

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report
