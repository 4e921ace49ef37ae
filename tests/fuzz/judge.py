"""One call in both libraries: the same refusal, or the same numbers and gradients.

What PyTorch refuses, minivgg must refuse, with an error of its own that names the operation. What PyTorch takes, minivgg
must take. A call that both take must give PyTorch's numbers, and its gradients must be PyTorch's, in the same precision;
inputs must be left as they are. What is meant to be otherwise stands in ``differences.py``, and counts as "declared".
"""

from __future__ import annotations

import dataclasses

from fuzz.compare import compare
from fuzz.differences import DIFFERENCES, not_asked
from fuzz.example import Example
from fuzz.libraries import ours, theirs
from minivgg.errors import OperationError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """``what`` is "agree", "both refuse", "declared" (``detail`` says why), or a fault in words."""

    what: str
    detail: str = ""

    @property
    def fault(self) -> bool:
        return self.what not in ("agree", "both refuse", "declared")


def judge(example: Example) -> Outcome:
    """Make the call in both libraries."""
    given = [array.tobytes() for array in example.arrays()]
    got = ours(example)
    if [array.tobytes() for array in example.arrays()] != given:
        return Outcome("an input was changed")
    refused = isinstance(got, Exception)
    if refused and not_asked(example, got):
        return Outcome("declared", not_asked(example, got))
    expected = theirs(example)
    if refused and not _well_formed(got, isinstance(expected, Exception)):
        return Outcome("an error that is not of our form", f"{type(got).__name__}: {got}")
    if refused and isinstance(expected, Exception):
        return Outcome("both refuse")
    if refused:
        fault = Outcome("refused, PyTorch takes it", f"{type(got).__name__}: {got}")
    elif isinstance(expected, Exception):
        fault = Outcome("taken, PyTorch refuses it", f"{type(expected).__name__}: {str(expected)[:200]}")
    else:
        what, detail = compare(example, got, expected)
        fault = Outcome(what, detail)
    if not fault.what:
        return Outcome("agree")
    why = next((difference.why for difference in DIFFERENCES if difference.explains(example, fault.what, fault.detail)), None)
    return Outcome("declared", why) if why else fault


def _well_formed(error: Exception, refused_there: bool) -> bool:
    """An error of our own; if PyTorch refuses the call, too, Python's of a signature, NumPy's of an index, and of memory that there is not."""
    if isinstance(error, OperationError):
        return True
    return refused_there and (type(error) is IndexError or isinstance(error, MemoryError) or (type(error) is TypeError and "argument" in str(error)))
