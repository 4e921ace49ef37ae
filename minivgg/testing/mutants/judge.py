"""Each mutant before the judges: this gradient check, and PyTorch's in both modes; and the table of their verdicts."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable

from minivgg.testing.gradients.check import gradcheck, gradgradcheck
from minivgg.testing.gradients.report import GradcheckReport
from minivgg.testing.mutants import convolution, forward, losses, normalisation, pointwise, pooling, second_order, shapes, students, torch_judge
from minivgg.testing.mutants.mechanism import Mutant, applied

MUTANTS: tuple[Mutant, ...] = tuple(
    mutant for family in (pointwise, convolution, pooling, normalisation, losses, shapes, second_order, forward, students) for mutant in family.MUTANTS
)
"""Every planted mistake, family by family."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the judges say of one mutant.

    ``slow``, ``fast``  PyTorch's word: "caught", "missed", or "alarm either way" if it rejects the right code, too, as it does at
                        ties and kinks; "" where it is not installed
    """

    mutant: Mutant
    report: GradcheckReport
    slow: str
    fast: str
    seconds: float

    @property
    def caught(self) -> bool:
        return not self.report.ok

    @property
    def kinds(self) -> list[str]:
        """The kinds of the faults found, each once, in the order of the report."""
        return list(dict.fromkeys(diagnosis.kind for diagnosis in self.report.diagnoses if diagnosis.fault))

    @property
    def diagnosed(self) -> bool:
        """Whether the expected diagnosis was given, and no other."""
        return self.kinds == [self.mutant.expects]


def judge(mutant: Mutant, torch: bool = True) -> Verdict:
    """Plant the mistake, ask the judges, take it out again."""
    start = time.perf_counter()
    with applied(mutant.edits):
        made = mutant.at()
        report = (gradcheck if mutant.order == 1 else gradgradcheck)(made.function, made.inputs, raise_exception=False)
        seconds = time.perf_counter() - start
    slow, fast = (_of_pytorch(mutant, fast) if torch and torch_judge.available() else "" for fast in (False, True))
    return Verdict(mutant, report, slow, fast, seconds)


def _of_pytorch(mutant: Mutant, fast: bool) -> str:
    with applied(mutant.edits):
        caught = torch_judge.catches(mutant.at(), mutant.order, fast)
    return "missed" if not caught else "alarm either way" if torch_judge.catches(mutant.at(), mutant.order, fast) else "caught"


def correct(mutant: Mutant) -> GradcheckReport:
    """The same call without the mistake, which must pass."""
    made = mutant.at()
    return (gradcheck if mutant.order == 1 else gradgradcheck)(made.function, made.inputs, raise_exception=False)


HEAD = ("", "operation", "mistake", "in the source of", "it says", "diagnosis", "torch slow", "torch fast")


def row(number: int, verdict: Verdict) -> tuple[str, ...]:
    """The table's line of one mutant."""
    mutant = verdict.mutant
    text = "; ".join(f"`{_short(edit.old)}` → `{_short(edit.new) or ' '}`" for edit in mutant.edits)
    said = ", ".join(verdict.kinds) if verdict.caught else "**missed**"
    found = said if verdict.diagnosed else f"{said} (expected: {mutant.expects})"
    return (
        str(number),
        mutant.operation + (", 2nd" if mutant.order == 2 else ""),
        mutant.name,
        mutant.where,
        text,
        found,
        verdict.slow,
        verdict.fast,
    )


def _short(text: str) -> str:
    """One line that a table takes."""
    return " ⏎ ".join(line.strip() for line in text.strip().splitlines()).replace("|", "\\|")


def summary(verdicts: Iterable[Verdict]) -> str:
    """The counts, in one sentence."""
    found = list(verdicts)
    count = len(found)
    caught, diagnosed = sum(one.caught for one in found), sum(one.diagnosed for one in found)
    text = f"{count} planted mistakes: caught {caught} ({caught / count:.0%}), diagnosed right {diagnosed} ({diagnosed / count:.0%})"
    if all(one.slow for one in found):
        slow, fast = sum(one.slow == "caught" for one in found), sum(one.fast == "caught" for one in found)
        text += f"; PyTorch's gradcheck catches {slow} ({slow / count:.0%}), in its fast mode {fast} ({fast / count:.0%})"
    return text + "."
