"""Sums for the references: rounded once, whatever the order."""

import math
from collections.abc import Iterable


def exact_sum(terms: Iterable[float]) -> float:
    """The sum, rounded once at its end; where it holds infinities that cancel, or overflows on its way, what plain additions give.

    >>> exact_sum([1e300, 1.0, -1e300]), exact_sum([math.inf, -math.inf]), exact_sum([1e308, 1e308])
    (1.0, nan, inf)
    """
    terms = list(terms)
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return sum(terms)
