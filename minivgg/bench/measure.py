"""Measure algorithms on a problem: first whether they are right, then how long they take.

An algorithm is timed only if its result, written into an ``out`` full of nan, lies within the error it declares of the
result that an exact algorithm computes in float64. Then all competitors take turns, so that a machine that slows
down for a while slows all of them; what is reported is the median and the quartiles of the turns.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivgg.bench.machine import cores, set_threads
from minivgg.bench.problems import Problem
from minivgg.errors import ArgumentError
from minivgg.registry import Algorithm, algorithms
from minivgg.spec import Conv2dSpec

DIRECTIONS = {"output": "conv2d", "input": "conv2d_grad_input", "weight": "conv2d_grad_weight"}
"""What is computed, and the operation that computes it."""

SHORTEST = 0.02
"""Seconds that a turn lasts at least: faster calls are repeated within it and averaged."""

FEWEST = 3
"""Turns that a competitor has at least, unless a single one exceeds the budget."""

PAUSE = 0.2
"""Seconds before each turn. OpenBLAS's idle threads spin for a tenth of a second before they sleep, and whoever computes
meanwhile shares the cores with them: without the pause the one after it seems up to ten times slower than it is."""


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
        if not self.seconds:
            return math.nan, math.nan, math.nan
        first, median, third = numpy.quantile(self.seconds, [0.25, 0.5, 0.75]).tolist()
        return first, median, third

    @property
    def median(self) -> float:
        return self.quartiles[1]

    @property
    def gflops(self) -> float:
        """Operations of the definition (two a multiply-add) in 10⁹ a second; a fast algorithm can exceed what the machine executes."""
        return 2 * self.problem.spec.macs / self.median / 1e9


@dataclass(slots=True)
class _Competitor:
    result: Result
    run: Callable[[], Any]
    call_seconds: float = 0.0
    """What a call takes, roughly; 0 until it is known."""


def measure(
    problem: Problem, direction: str = "output", names: Sequence[str] = (), torch: bool = False, replicates: int = 9, budget: float = 10.0,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Result]:  # fmt: skip
    """Validate and time ``names`` (all that "auto" may choose, if empty) on one problem in float32, PyTorch beside them if asked.

    A slow one has fewer than ``replicates`` turns, as many as fit into ``budget`` seconds, but at least three; one of which
    a single call takes longer than that has one turn.
    ``progress`` is called with what happens next. Raises ArgumentError for a name or a direction that does not exist.
    """
    if direction not in DIRECTIONS:
        raise ArgumentError("bench", f"there is no direction {direction!r}; there are {', '.join(DIRECTIONS)}")
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
        result, run = _validate(problem, direction, algorithm, inputs, truth)
        results.append(result)
        if run is not None:
            ready.append(_Competitor(result, run))
    if torch:
        progress(f"{problem.label}: validating PyTorch")
        result, run = _validate_torch(problem, direction, inputs, truth)
        results.append(result)
        if run is not None:
            ready.append(_Competitor(result, run))
    progress(f"{problem.label}: timing {', '.join(competitor.result.algorithm for competitor in ready)}")
    _take_turns(ready, replicates, budget)
    return results


def draw_inputs(spec: Conv2dSpec, direction: str, seed: int = 0) -> tuple[numpy.ndarray, ...]:
    """What the kernels of a direction take after the spec, normally distributed in float32: x w b, or ȳ w, or ȳ x."""
    rng = numpy.random.default_rng(seed)
    x, w, b, dy = (rng.standard_normal(shape, dtype=numpy.float32) for shape in (spec.input_shape, spec.weight_shape, (spec.k,), spec.output_shape))
    return {"output": (x, w, b), "input": (dy, w), "weight": (dy, x)}[direction]


def _empty(spec: Conv2dSpec, direction: str, dtype: str) -> numpy.ndarray:
    """An ``out`` in which every element that a kernel forgets to write shows."""
    shape = {"output": spec.output_shape, "input": spec.input_shape, "weight": spec.weight_shape}[direction]
    return numpy.full(shape, numpy.nan, dtype)


def exact(spec: Conv2dSpec, direction: str, inputs: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """The result in float64 by im2col, which the tests hold to the definition; its plain loops would take minutes."""
    out = _empty(spec, direction, "float64")
    algorithms(DIRECTIONS[direction])["im2col"].run(spec, *(array.astype(numpy.float64) for array in inputs), out)
    return out


def relative_error(found: numpy.ndarray, truth: numpy.ndarray) -> float:
    """‖found - truth‖ / ‖truth‖ in the Euclidean norm; nan if an element was never written.

    >>> relative_error(numpy.array([3.0, 4.5]), numpy.array([3.0, 4.0]))
    0.1
    """
    norm = float(numpy.linalg.norm(truth))
    return float(numpy.linalg.norm(found - truth)) / norm if norm else float(numpy.abs(found).max(initial=0.0))


def _validate(
    problem: Problem, direction: str, algorithm: Algorithm, inputs: Sequence[numpy.ndarray], truth: numpy.ndarray
) -> tuple[Result, Callable[[], Any] | None]:  # fmt: skip
    """Run once (which compiles, too) and judge; returns what to time, or None."""
    spec, dtype = problem.spec, numpy.dtype("float32")
    refusal = algorithm.supports(spec, dtype)
    workspace = 0 if refusal else algorithm.workspace(spec, dtype)
    result = Result(problem, direction, algorithm.name, algorithm.backend, workspace, allowed=algorithm.max_error, refusal=refusal or "")
    if refusal:
        return result, None
    out = _empty(spec, direction, "float32")
    algorithm.run(spec, *inputs, out)
    return result, (lambda: algorithm.run(spec, *inputs, out)) if _judge(result, out, truth) else None


def _judge(result: Result, found: numpy.ndarray, truth: numpy.ndarray) -> bool:
    result.error = relative_error(found, truth)
    assert result.allowed is not None
    if not math.isfinite(result.error):
        unwritten = int(numpy.count_nonzero(~numpy.isfinite(found)))
        result.refusal = f"wrong: {unwritten} of {found.size} elements were not written or are not finite"
    elif result.error > result.allowed:
        result.refusal = f"wrong: relative error {result.error:.1e}, allowed {result.allowed:.1e}"
    return not result.refusal


def prepare(threads: int | None, torch: bool) -> None:
    """Load what will compete, and let each library compute with ``threads`` threads (all cores, if None)."""
    algorithms("conv2d")
    if torch:
        if not torch_installed():
            raise ArgumentError("bench", "PyTorch is not installed here: pip install torch")
        importlib.import_module("torch")
    set_threads(threads or cores())


def torch_installed() -> bool:
    """Whether PyTorch can stand beside ours; it is imported only when it does."""
    return importlib.util.find_spec("torch") is not None


def _validate_torch(problem: Problem, direction: str, inputs: Sequence[numpy.ndarray], truth: numpy.ndarray) -> tuple[Result, Callable[[], Any] | None]:
    """PyTorch on the same problem; how much scratch memory it takes is not known."""
    import torch

    spec = problem.spec
    result = Result(problem, direction, "PyTorch", "torch", None, allowed=2e-6)
    top, bottom, left, right = spec.padding
    if (top, left) != (bottom, right):
        result.refusal = "its kernels pad both sides alike"
        return result, None
    first, second, *bias = map(torch.from_numpy, inputs)
    settings = (list(spec.stride), [top, left], list(spec.dilation))
    if direction == "output":

        def run() -> Any:
            with torch.no_grad():
                return torch.nn.functional.conv2d(first, second, bias[0], *settings, spec.groups)
    else:
        missing = torch.empty(spec.input_shape if direction == "input" else spec.weight_shape)
        x, w = (missing, second) if direction == "input" else (second, missing)
        mask = [direction == "input", direction == "weight", False]

        def run() -> Any:
            return torch.ops.aten.convolution_backward(first, x, w, None, *settings, False, [0, 0], spec.groups, mask)[mask.index(True)]

    return result, run if _judge(result, run().numpy(), truth) else None


def _take_turns(competitors: Sequence[_Competitor], replicates: int, budget: float) -> None:
    """Let all run in turns; every second round goes backwards, so that nobody always follows the same one."""
    for competitor in competitors:
        competitor.call_seconds = _turn(competitor)
    for competitor in [competitor for competitor in competitors if competitor.call_seconds > budget]:
        competitor.result.seconds.append(competitor.call_seconds)
    competitors = [competitor for competitor in competitors if not competitor.result.seconds]
    for number in range(replicates):
        for competitor in competitors if number % 2 == 0 else reversed(competitors):
            if number < FEWEST or competitor.call_seconds * number < budget:
                competitor.result.seconds.append(_turn(competitor))


def _turn(competitor: _Competitor) -> float:
    """Seconds of one call, averaged over as many as a turn has, after a pause and a call that wakes threads and caches."""
    time.sleep(PAUSE)
    if 0 < competitor.call_seconds < PAUSE:
        competitor.run()
    calls = math.ceil(SHORTEST / competitor.call_seconds) if competitor.call_seconds else 1
    start = time.perf_counter()
    for _ in range(calls):
        competitor.run()
    return (time.perf_counter() - start) / calls
