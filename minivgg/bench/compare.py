"""Compare whole networks: every competitor builds its own from one description, is judged, and then takes turns.

Forward is judged by ‖found - truth‖ / ‖truth‖ of the scores, truth being the same network in float64 by im2col. A training step
(forward, cross entropy, backward, SGD with momentum and weight decay) is judged after the second one, by the worst array:
‖its change - the true change‖ / ‖the true change‖. Dropout is off in both, or results could not be compared.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivgg.bench.measure import relative_error
from minivgg.bench.rivals import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Rival
from minivgg.bench.turns import Competitor, quartiles, take_turns
from minivgg.bench.worker import TRUTH, Worker
from minivgg.errors import ArgumentError, OperationError

DIRECTIONS = ("forward", "step")

ALLOWED = {"forward": 1e-3, "step": 2e-2}
"""Errors that still count as right: MNN's Winograd is 1.5e-4 off after VGG-16. ReLU and max pooling pass a gradient on or do not,
so scores that differ by 1e-6 move a few of them."""

CONVENTIONS = {
    "dtype": "float32",
    "forward": "scores of the network in evaluation mode",
    "step": f"forward, cross entropy, backward, SGD with rate {LEARNING_RATE}, momentum {MOMENTUM}, weight decay {WEIGHT_DECAY}; dropout off",
    "error": "forward: ‖found - truth‖ / ‖truth‖ of the scores; step: the same of the change that two steps make to each array, of the worst; in float64",
    "seconds": "one number a turn, competitors in turns, each in a process of its own",
    "memory": "bytes resident at the most during the turns, less what was resident after the library's import",
}


@dataclass(frozen=True)
class Case:
    """What is computed: a network by its name, the side of its square images, how many at once, in which direction, with how many threads."""

    network: str
    image: int
    batch: int
    direction: str
    threads: int

    def __str__(self) -> str:
        return f"{self.network} {self.direction}, batch {self.batch}, {self.image}x{self.image}, {self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(slots=True)
class NetworkResult:
    """One competitor on one case. ``seconds`` is empty if it was not timed, and ``refusal`` then says why."""

    case: Case
    competitor: str
    settings: str
    error: float | None = None
    refusal: str = ""
    memory: int | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return quartiles(self.seconds)[1]


def compare(
    case: Case, competitors: Sequence[Rival], replicates: int = 7, budget: float = 20.0, progress: Callable[[str], None] = lambda text: None
) -> list[NetworkResult]:
    """Judge, then time. The first competitor is minivgg itself by convention; one that is missing, fails or is wrong says so in its result."""
    if case.direction not in DIRECTIONS:
        raise ArgumentError("bench", f"there is no direction {case.direction!r} of a network; there are {', '.join(DIRECTIONS)}")
    work = (case.direction, case.network, case.image, case.batch)
    progress(f"{case}: computing the truth in float64")
    with Worker(TRUTH, case.threads) as worker:
        truth = worker(*work)
    results = [NetworkResult(case, rival.name, rival.settings) for rival in competitors]
    ready: list[Competitor] = []
    workers: dict[str, Worker] = {}
    with contextlib.ExitStack() as stack:
        for rival, result in zip(competitors, results, strict=True):
            missing = rival.missing() or ("it does not train here" if case.direction == "step" and rival.step is None else None)
            if missing:
                result.refusal = missing
                continue
            progress(f"{case}: building and validating {rival.name}")
            worker = stack.enter_context(Worker(rival.name, case.threads))
            try:
                result.error = judge(case.direction, worker(*work), truth)
                worker("forget_peak")
            except OperationError as error:
                result.refusal = str(error)
                worker.close()
                continue
            if not result.error <= ALLOWED[case.direction]:
                result.refusal = f"wrong: error {result.error:.1e}, allowed {ALLOWED[case.direction]:.0e}"
                worker.close()
                continue
            workers[rival.name] = worker
            ready.append(Competitor(rival.name, worker.calls, result.seconds))
        progress(f"{case}: timing {', '.join(competitor.name for competitor in ready)}")
        take_turns(ready, replicates, budget)
        for result in results:
            if result.competitor in workers:
                peak, baseline = workers[result.competitor]("peak")
                result.memory = max(peak - baseline, 0)
    return results


def judge(direction: str, found: Any, truth: Any) -> float:
    """How far a competitor's first result is from the truth; infinity for another shape."""
    if direction == "forward":
        return relative_error(found, truth) if found.shape == truth.shape else math.inf
    (losses, changes), (true_losses, true_changes) = found, truth
    off = max(abs(loss - true) / max(abs(true), 1.0) for loss, true in zip(losses, true_losses, strict=True))
    return max(off, *(relative_error(change, true) for change, true in zip(changes, true_changes, strict=True)))


def linear_fit(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Intercept, slope and R² of the line through the points by least squares.

    >>> intercept, slope, r2 = linear_fit([(1, 3.0), (2, 5.0), (4, 9.0)])
    >>> round(intercept, 6), round(slope, 6), round(r2, 6)
    (1.0, 2.0, 1.0)
    """
    x, y = numpy.array(points, dtype=float).T
    slope, intercept = numpy.polyfit(x, y, 1)
    spread = ((y - y.mean()) ** 2).sum()
    rest = ((y - intercept - slope * x) ** 2).sum()
    return float(intercept), float(slope), 1.0 if spread == 0 else float(1 - rest / spread)
