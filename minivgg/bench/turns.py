"""Who is faster: the competitors take turns, so that a machine that slows down for a while slows all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy

SHORTEST = 0.02
"""Seconds that a turn lasts at least: faster calls are repeated within it and averaged."""

FEWEST = 3
"""Turns that a competitor has at least, unless a single one exceeds the budget."""

PAUSE = 0.2
"""Seconds before each turn. OpenBLAS's idle threads spin for a tenth of a second before they sleep, and whoever computes
meanwhile shares the cores with them: without the pause the one after it seems up to ten times slower than it is."""


@dataclass(slots=True)
class Competitor:
    """Somebody whose calls are timed: ``calls(n)`` makes n of them, one after the other, and returns the seconds of all."""

    name: str
    calls: Callable[[int], float]
    seconds: list[float] = field(default_factory=list)
    """What a call took, one number a turn."""
    call_seconds: float = 0.0
    """What a call takes, roughly; 0 until it is known."""


def timed(run: Callable[[], object]) -> Callable[[int], float]:
    """``Competitor.calls`` of a function in this process."""

    def calls(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            run()
        return time.perf_counter() - start

    return calls


def take_turns(competitors: Sequence[Competitor], replicates: int, budget: float, pause: float | None = None) -> None:
    """Let all run in turns; every second round goes backwards, so that nobody always follows the same one.

    A slow one has fewer than ``replicates`` turns, as many as fit into ``budget`` seconds, but at least three; one of which
    a single call takes longer than that has one turn. ``pause`` is that before each turn, PAUSE if it is not given.
    """
    for competitor in competitors:
        competitor.call_seconds = turn(competitor, pause)
    for competitor in [competitor for competitor in competitors if competitor.call_seconds > budget]:
        competitor.seconds.append(competitor.call_seconds)
    competitors = [competitor for competitor in competitors if not competitor.seconds]
    for number in range(replicates):
        for competitor in competitors if number % 2 == 0 else reversed(competitors):
            if number < FEWEST or competitor.call_seconds * number < budget:
                competitor.seconds.append(turn(competitor, pause))


def turn(competitor: Competitor, pause: float | None = None) -> float:
    """Seconds of one call, averaged over as many as a turn has, after a pause and a call that wakes threads and caches."""
    time.sleep(PAUSE if pause is None else pause)
    if 0 < competitor.call_seconds < PAUSE:
        competitor.calls(1)
    count = math.ceil(SHORTEST / competitor.call_seconds) if competitor.call_seconds else 1
    return competitor.calls(count) / count


def quartiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile; nan of nothing.

    >>> quartiles([1.0, 2.0, 3.0])
    (1.5, 2.0, 2.5)
    """
    if not seconds:
        return math.nan, math.nan, math.nan
    first, median, third = numpy.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return first, median, third
