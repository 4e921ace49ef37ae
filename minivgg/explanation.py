"""Why the registry chooses as it does: every candidate of a problem, and what speaks for or against it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy

from minivgg import registry
from minivgg.errors import ArgumentError
from minivgg.registry import EXACT, algorithms, forced, passed_over
from minivgg.spec import Conv2dSpec, Pool2dSpec
from minivgg.tuning import lookup


@dataclass(frozen=True)
class Candidate:
    """One line of ``explain``: an algorithm, whether it is chosen, and why or why not."""

    name: str
    chosen: bool
    applies: bool
    reason: str
    workspace: int
    """Bytes of scratch memory, 0 where it does not apply."""


def candidates(operation: str, spec: Any, dtype: numpy.dtype, name: str | None = None, device: str = "cpu") -> list[Candidate]:
    """Every algorithm with the sentence that speaks for it or refuses it on ``device``, the preferred ones first.

    The chosen one is ``name`` if that is given, else the first that applies and is not passed over (for its scratch memory,
    or because only an exact one is wanted) of those that ``autotune`` measured and of the policy's list; none may be.
    """
    known = algorithms(operation, device)
    measured = lookup(operation, spec, dtype) if device == "cpu" else None
    ranked = {each: reason for each, reason in measured.ranked if each in known and known[each].automatic} if measured else {}
    ranked |= {each: reason for each, reason in registry.ranked(operation, spec, dtype, device) if each in known and each not in ranked}
    result: list[Candidate] = []
    for each in [*ranked, *(other for other in known if other not in ranked)]:
        refusal = known[each].supports(spec, dtype)
        left_out = None if refusal or each not in ranked else passed_over(known[each], spec, dtype, name)
        if refusal:
            reason = f"asked for, but {refusal}" if each == name else refusal
        elif each == name:
            reason = "asked for"
        elif not known[each].automatic:
            reason = "never chosen by itself: for reading and testing"
        elif left_out:
            reason = f"passed over: {left_out}"
        else:
            reason = ranked.get(each, "only on request")
        by_itself = each in ranked and not left_out and not any(better.chosen for better in result)
        wanted = by_itself if name in (None, EXACT) else each == name
        result.append(Candidate(each, wanted and not refusal, not refusal, reason, 0 if refusal else known[each].workspace(spec, dtype)))
    return result


@dataclass(frozen=True, repr=False)
class Explanation:
    """What ``explain`` returns: prints as a table, the chosen algorithm marked with ``>``; ``as_dict()`` for machines."""

    operation: str
    problem: Any
    dtype: numpy.dtype
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> str | None:
        """The name of the algorithm that would run; None if what was asked for does not apply."""
        return next((candidate.name for candidate in self.candidates if candidate.chosen), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {
            "operation": self.operation,
            "problem": str(self.problem),
            "dtype": str(self.dtype),
            "macs": getattr(self.problem, "macs", None),
            "chosen": self.chosen,
            "candidates": [asdict(candidate) for candidate in self.candidates],
        }

    def __repr__(self) -> str:
        macs = getattr(self.problem, "macs", None)
        width = max(len(candidate.name) for candidate in self.candidates)
        lines = [f"{self.operation}, {self.problem}, {self.dtype}" + (f": {macs:,} multiply-adds" if macs is not None else "")]
        for candidate in self.candidates:
            scratch = f"{candidate.workspace / 2**20:8.2f} MiB" if candidate.applies else f"{'-':>12}"
            lines.append(f"{'>' if candidate.chosen else ' '} {candidate.name:{width}} {scratch}  {candidate.reason}")
        return "\n".join(lines)


def explain(spec: Any, operation: str = "conv2d", dtype: Any = "float32", device: str = "cpu") -> Explanation:
    """Which algorithm would compute a problem here and now, and what speaks for or against each, with its scratch memory.

    ``spec`` is a Conv2dSpec, a Pool2dSpec or a problem string, ``device`` where the arrays lie (``Tensor.device``). An
    algorithm forced by ``use_algorithm`` or by the environment counts.

    >>> explain("n1 c64 h112 w112 k64 r3 p1").chosen
    'winograd_f4'
    >>> with registry.use_algorithm(conv2d="fft"):
    ...     explain("n1 c64 h112 w112 k64 r3 p1", "conv2d_grad_weight").chosen
    'fft'
    """
    choices = registry.choices(device)
    if operation not in choices:
        raise ArgumentError("explain", f"there is no choice to be made for {operation!r}; there is for {', '.join(choices)}")
    if isinstance(spec, str):
        spec = Conv2dSpec.parse(spec) if operation.startswith("conv2d") else Pool2dSpec.parse(spec, operation)
    dtype = numpy.dtype(dtype)
    return Explanation(operation, spec, dtype, tuple(candidates(operation, spec, dtype, forced(operation.partition("_grad_")[0]), device)))
