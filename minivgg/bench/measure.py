"""Measure algorithms on a problem: first whether they are right, then how long they take.

An algorithm is timed only if its result, written into an ``out`` full of nan, lies within the error it declares of the
result that an exact algorithm computes in float64. Then all competitors take turns (``turns.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy

from minivgg.autograd import no_grad
from minivgg.bench.machine import cores, set_threads
from minivgg.bench.problems import Problem
from minivgg.bench.turns import Competitor, quartiles, take_turns, timed
from minivgg.errors import ArgumentError, OperationError
from minivgg.registry import Algorithm, algorithms
from minivgg.spec import Conv2dSpec

if TYPE_CHECKING:
    from minivgg.bench.worker import Worker

DIRECTIONS = {"output": "conv2d", "input": "conv2d_grad_input", "weight": "conv2d_grad_weight"}
"""What is computed, and the operation that computes it."""

RIVALS_MAY_BE_OFF = 1e-4
"""The error at which a rival still counts as right: MNN's and ncnn's Winograd take larger tiles than ours."""


@dataclass(slots=True)
class Result:
    """One algorithm on one problem. ``seconds`` is empty if it was not timed, and ``refusal`` then says why."""

    problem: Problem
    direction: str
    algorithm: str
    backend: str
    workspace: int | None
    error: float | None = None
    allowed: float | None = None
    refusal: str = ""
    seconds: list[float] = field(default_factory=list)

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median, third quartile, in seconds; nan if it was not timed."""
        return quartiles(self.seconds)

    @property
    def median(self) -> float:
        return self.quartiles[1]

    @property
    def gflops(self) -> float:
        """Operations of the definition (two a multiply-add) in 10⁹ a second; a fast algorithm can exceed what the machine executes."""
        return 2 * self.problem.spec.macs / self.median / 1e9


def measure(
    problem: Problem, direction: str = "output", names: Sequence[str] = (), rivals: Sequence[Worker] = (), replicates: int = 9, budget: float = 10.0,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Result]:  # fmt: skip
    """Validate and time ``names`` (all that "auto" may choose, if empty) on one problem in float32, and rivals in their processes.

    A slow one has fewer than ``replicates`` turns: see ``take_turns``.
    ``progress`` is called with what happens next. Raises ArgumentError for a name or a direction that does not exist.
    """
    if direction not in DIRECTIONS:
        raise ArgumentError("bench", f"there is no direction {direction!r} of a convolution; there are {', '.join(DIRECTIONS)}")
    operation = DIRECTIONS[direction]
    known = algorithms(operation)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ArgumentError("bench", f"{operation} has no algorithm {unknown[0]!r}; there are {', '.join(known)}")
    chosen = [known[name] for name in names] if names else [algorithm for algorithm in known.values() if algorithm.automatic]

    progress(f"{problem.label}: computing the truth in float64")
    inputs = draw_inputs(problem.spec, direction)
    truth = exact(problem.spec, direction, inputs)
    results, ready = [], []
    for algorithm in chosen:
        progress(f"{problem.label}: validating {algorithm.name}")
        result, run = validate(problem, direction, algorithm, inputs, truth)
        results.append(result)
        if run is not None:
            ready.append(Competitor(algorithm.name, timed(run), result.seconds))
    for worker in rivals:
        progress(f"{problem.label}: validating {worker.name}")
        result = Result(problem, direction, worker.name, "rival", None, allowed=RIVALS_MAY_BE_OFF)
        results.append(result)
        try:
            right = _judge(result, worker("convolution", str(problem.spec), direction), truth)
        except OperationError as error:
            result.refusal, right = str(error), False
        if right:
            ready.append(Competitor(worker.name, worker.calls, result.seconds))
    progress(f"{problem.label}: timing {', '.join(competitor.name for competitor in ready)}")
    take_turns(ready, replicates, budget)
    return results


def draw_inputs(spec: Conv2dSpec, direction: str, seed: int = 0, dtype: Any = numpy.float32) -> tuple[numpy.ndarray, ...]:
    """What the kernels of a direction take after the spec, normally distributed: x w b, or ȳ w, or ȳ x."""
    rng = numpy.random.default_rng(seed)
    x, w, b, dy = (rng.standard_normal(shape, dtype=dtype) for shape in (spec.input_shape, spec.weight_shape, (spec.k,), spec.output_shape))
    return {"output": (x, w, b), "input": (dy, w), "weight": (dy, x)}[direction]


def _empty(spec: Conv2dSpec, direction: str, dtype: Any) -> numpy.ndarray:
    """An ``out`` in which every element that a kernel forgets to write shows."""
    shape = {"output": spec.output_shape, "input": spec.input_shape, "weight": spec.weight_shape}[direction]
    return numpy.full(shape, numpy.nan, dtype)


def exact(spec: Conv2dSpec, direction: str, inputs: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """The result in float64 by im2col, which the tests hold to the definition; its plain loops would take minutes.

    By kn2row where a column is longer than im2col takes.
    """
    out, known = _empty(spec, direction, "float64"), algorithms(DIRECTIONS[direction])
    known["kn2row" if known["im2col"].supports(spec, out.dtype) else "im2col"].run(spec, *(array.astype(numpy.float64) for array in inputs), out)
    return out


def relative_error(found: numpy.ndarray, truth: numpy.ndarray) -> float:
    """‖found - truth‖ / ‖truth‖ in the Euclidean norm; nan if an element was never written.

    >>> relative_error(numpy.array([3.0, 4.5]), numpy.array([3.0, 4.0]))
    0.1
    """
    norm = float(numpy.linalg.norm(truth))
    return float(numpy.linalg.norm(found - truth)) / norm if norm else float(numpy.abs(found).max(initial=0.0))


def validate(
    problem: Problem, direction: str, algorithm: Algorithm, inputs: Sequence[numpy.ndarray], truth: numpy.ndarray
) -> tuple[Result, Callable[[], Any] | None]:  # fmt: skip
    """Run once in the inputs' dtype (which compiles, too) and judge; returns what to time, or None."""
    spec, dtype = problem.spec, inputs[0].dtype
    refusal = algorithm.supports(spec, dtype)
    workspace = 0 if refusal else algorithm.workspace(spec, dtype)
    result = Result(problem, direction, algorithm.name, algorithm.backend, workspace, allowed=algorithm.max_error, refusal=refusal or "")
    if refusal:
        return result, None
    if algorithm.channels_last:  # as in a network, where each layer hands such memory on to the next
        inputs = [channels_last(array) if array.ndim == 4 and array.shape != spec.weight_shape else array for array in inputs]
    out = _empty(spec, direction, dtype)
    if algorithm.channels_last and direction != "weight":
        out = channels_last(out)

    def run() -> None:
        with no_grad():  # as rivals run: what is derived from the filters of an output is kept, as in inference; gradients keep nothing
            algorithm(spec, *inputs, out)

    run()
    return result, run if _judge(result, out, truth) else None


def channels_last(array: numpy.ndarray) -> numpy.ndarray:
    """The same (N, C, H, W) numbers in (N, H, W, C) memory."""
    return numpy.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _judge(result: Result, found: numpy.ndarray, truth: numpy.ndarray) -> bool:
    result.error = relative_error(found, truth)
    assert result.allowed is not None
    if not math.isfinite(result.error):
        unwritten = int(numpy.count_nonzero(~numpy.isfinite(found)))
        result.refusal = f"wrong: {unwritten} of {found.size} elements were not written or are not finite"
    elif result.error > result.allowed:
        result.refusal = f"wrong: relative error {result.error:.1e}, allowed {result.allowed:.1e}"
    return not result.refusal


def prepare(threads: int | None) -> int:
    """Load the kernels and let them and NumPy compute with ``threads`` threads (all cores, if None), which is returned."""
    algorithms("conv2d")
    set_threads(threads or cores())
    return threads or cores()
