"""Planted mistakes: the proof that the gradient check finds them, names them, and raises no alarm where nothing is wrong.

``python -m minivgg.testing.mutants`` prints the table of docs/gradcheck.md.
"""

from minivgg.testing.mutants.judge import MUTANTS, Verdict, judge
from minivgg.testing.mutants.mechanism import Call, Edit, Mutant, applied

__all__ = ["MUTANTS", "Call", "Edit", "Mutant", "Verdict", "applied", "judge"]
