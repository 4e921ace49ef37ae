"""What a wrong gradient looks like, and what that says of the mistake: a rule a pattern, tried in order, the first that fits speaks.

A rule is a function of the ``Case`` and one of its inputs. It states a hypothesis ("the right gradient, turned around"),
computes what would then come out, compares, and returns a diagnosis with both numbers, or None. Each file holds a family;
their order is that of the imports below, the more specific first.
"""

from __future__ import annotations

from collections.abc import Callable

from minivgg.testing.gradients.case import Case, Leaf
from minivgg.testing.gradients.report import Diagnosis

Rule = Callable[[Case, Leaf], Diagnosis | None]

RULES: list[Rule] = []
"""Every rule, in the order in which they are tried."""


def rule(function: Rule) -> Rule:
    """Register a rule."""
    RULES.append(function)
    return function


from minivgg.testing.gradients.diagnoses import numbers, masks, coverage, connection, scale, arrangement, jacobian, factors, terms, sums, places  # noqa: E402, I001 the order of the rules
from minivgg.testing.gradients.diagnoses.remarks import remarks  # noqa: E402


def diagnose(case: Case) -> list[Diagnosis]:
    """One diagnosis for each input whose gradient is wrong, and remarks on the others."""
    found = []
    for leaf in case.leaves.values():
        if leaf.wrong.any():
            found.append(next(diagnosis for each in RULES if (diagnosis := each(case, leaf)) is not None))
        found += remarks(case, leaf)
    return found
