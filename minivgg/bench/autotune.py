"""Find out which algorithm is the fastest for each convolution of a model on this machine, and keep it for ``auto``.

The policy in ``kernels/conv2d/__init__.py`` knows rules; this knows one machine. The model runs once, and each different
convolution that it really calls is noted, gradients too, with what follows it in one pass. Then all algorithms that "auto" may
take are judged on one image (``measure.validate``), the slow ones are sorted out, and the others take turns (``turns.py``).
"""

from __future__ import annotations

import contextlib
import datetime
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy

from minivgg import tuning
from minivgg.autograd import Function, Tensor, enable_grad, grad, no_grad
from minivgg.backend import device_of
from minivgg.bench.measure import DIRECTIONS, channels_last, draw_inputs, exact, validate
from minivgg.bench.problems import Problem, find
from minivgg.bench.turns import Competitor, take_turns, timed, turn
from minivgg.errors import ArgumentError, UnsupportedError
from minivgg.nn import Module
from minivgg.ops import conv2d_relu
from minivgg.ops.conv2d import Conv2d, Conv2dGradInput, Conv2dGradWeight
from minivgg.ops.conv2d_relu import Conv2dReLU
from minivgg.registry import Algorithm, algorithms, by_policy, passed_over
from minivgg.spec import Conv2dSpec
from minivgg.threads import get_num_threads

HOPELESS = 3.0
"""Times as slow as the best one on one image: such an algorithm is not measured any further."""

BUDGET = 10.0
"""Seconds for one algorithm on one problem; a slow one has fewer turns."""

ALONE, RELU, RELU_POOL = "alone", "with ReLU", "with ReLU and 2x2 max pooling"

FUNCTIONS: dict[type[Function], str] = {Conv2d: "output", Conv2dReLU: "output", Conv2dGradInput: "input", Conv2dGradWeight: "weight"}
"""The nodes that compute a convolution, and its direction."""


@dataclass
class Case:
    """A convolution or a gradient that a model calls ``count`` times, each time in one of these ``forms``."""

    direction: str
    spec: Conv2dSpec
    dtype: numpy.dtype
    channels_last: tuple[bool, bool]
    """The memory order of the two arrays that it takes, as the model hands them over."""
    training: bool = False
    """Gradients are wanted afterwards: the pass notes what they need, and transforms the filters anew each time."""
    forms: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def operation(self) -> str:
        return DIRECTIONS[self.direction]


@dataclass(frozen=True)
class Row:
    """What was measured for one case: the mean over its forms."""

    measurement: tuning.Measurement
    policy: str
    count: int
    forms: tuple[str, ...]
    wrong: dict[str, str]
    """Algorithms that were not timed because their result was wrong, and how wrong."""

    @property
    def chosen(self) -> str:
        """The fastest."""
        return next(iter(self.measurement.seconds))

    @property
    def ratio(self) -> float:
        """How many times as long the policy's choice takes; nan if that was wrong."""
        return self.measurement.seconds.get(self.policy, math.nan) / self.measurement.seconds[self.chosen]

    def as_dict(self) -> dict[str, Any]:
        facts = {"policy": self.policy, "chosen": self.chosen, "ratio": None if math.isnan(self.ratio) else self.ratio}
        return {**self.measurement.as_dict(), **facts, "count": self.count, "forms": list(self.forms), "wrong": self.wrong}


@dataclass(frozen=True, repr=False)
class Tuning:
    """What ``autotune`` returns: prints as a table; ``as_dict()`` for machines."""

    rows: tuple[Row, ...]
    file: Path | None
    """Where it is kept; None if that could not be written."""

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        file = None if self.file is None else str(self.file)
        return {"circumstances": tuning.circumstances(), "file": file, "used": not tuning.switched_off(), "rows": [row.as_dict() for row in self.rows]}

    def __repr__(self) -> str:
        lines = [("problem", "direction", "calls", "policy", "", "measured", "", "ratio")]
        for row in self.rows:
            seconds, each = row.measurement.seconds, row.measurement
            policy = tuning.milliseconds(seconds[row.policy]) if row.policy in seconds else "wrong"
            names = f"{each.problem}{'' if each.dtype == 'float32' else f' {each.dtype}'}", each.operation, str(row.count)
            lines.append((*names, row.policy, policy, row.chosen, tuning.milliseconds(seconds[row.chosen]), f"{row.ratio:.2f}"))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        words = (True, True, False, True, False, True, False, False)
        aligned = [[f"{cell:{'<' if word else '>'}{width}}" for cell, width, word in zip(line, widths, words, strict=True)] for line in lines]
        return "\n".join(["  ".join(line).rstrip() for line in aligned] + self._remarks())

    def _remarks(self) -> list[str]:
        comparable = [row for row in self.rows if not math.isnan(row.ratio)]
        before, after = (sum(row.count * row.measurement.seconds[name(row)] for row in comparable) for name in (lambda r: r.policy, lambda r: r.chosen))
        remarks = [f"{name} is wrong on {row.measurement.problem}: {how}" for row in self.rows for name, how in row.wrong.items()]
        if comparable:
            calls, threads = sum(row.count for row in comparable), self.rows[0].measurement.threads
            sums = f"{tuning.milliseconds(before)} by the policy, {tuning.milliseconds(after)} as measured: {before / after:.2f}"
            remarks.append(f"{calls} call{'s' * (calls > 1)}, {threads} thread{'s' * (threads > 1)}: {sums}")
        if self.file is not None:
            remarks.append(f"kept in {self.file}")
        if tuning.switched_off():
            remarks.append(f"not used in this process: {tuning.VARIABLE} is off")
        return remarks


def autotune(
    what: Module | str | Sequence[str], example: Any = None, *, backward: bool = True, replicates: int = 5,
    progress: Callable[[str], None] = lambda text: None,
) -> Tuning:  # fmt: skip
    """Measure every algorithm on the convolutions of a model; from now on "auto" takes the fastest, in later processes, too.

    ``what``       a model, which is run on ``example`` (a tensor, or a tuple of them); or a problem string, a layer such as
                   "vgg-e:conv3_2", or a list of these, each then with both gradients
    ``backward``   measure the gradients that a training step of the model computes, too (with respect to the example only if
                   it requires a gradient)
    ``replicates`` turns that each algorithm has

    The forward pass is measured as training computes it, or with ``backward=False`` as inference does, which keeps the
    transformed filters; the last one measured counts for both. What is kept counts for this machine, these kernels, this
    problem (the batch belongs to it), dtype and number of threads. The model is run in evaluation mode and left as it was.
    Cost: 3 to 10 s for each different convolution in each direction.

    Results can differ in their last bits from those before, where another algorithm is taken than the policy's. Algorithms
    that are forced, also by ``exact()``, remain so; ``MINIVGG_AUTOTUNE=off`` ignores what is kept. Raises ArgumentError.

    >>> import minivgg
    >>> report = minivgg.autotune("n1 c4 h8 w8 k4 r3 p1", backward=False, replicates=1)  # doctest: +SKIP
    >>> report.rows[0].chosen  # doctest: +SKIP
    'direct'
    """
    if isinstance(what, Module):
        if example is None:
            raise ArgumentError("autotune", "a model needs an example to run on, a tensor or a tuple of them")
        cases = calls_of(what, example if isinstance(example, tuple) else (example,), backward)
        if not cases:
            raise ArgumentError("autotune", "the model computed no convolution on the CPU")
    elif example is not None:
        raise ArgumentError("autotune", f"takes an example only with a model, got {what!r}")
    else:
        problems = [find(text) for text in ([what] if isinstance(what, str) else what)]
        cases = [case for problem in problems for case in cases_of(problem, backward)]
    rows = []
    for number, case in enumerate(cases):
        progress(f"{case.operation}, {case.spec} ({number + 1} of {len(cases)})")
        rows.append(measure(case, replicates))
    return Tuning(tuple(rows), tuning.keep([row.measurement for row in rows]))


# What to measure ------------------------------------------------------------------------------------------------------


def cases_of(problem: Problem, backward: bool) -> list[Case]:
    """The directions of one problem, on channels-last memory, as one layer hands it on to the next."""
    if problem.spec.n == 0:
        raise ArgumentError("autotune", f"a batch of no images takes no time: {problem.spec}")
    directions = DIRECTIONS if backward else ("output",)
    float32 = numpy.dtype("float32")
    return [Case(each, problem.spec, float32, (True, each == "weight"), backward, [ALONE], problem.count) for each in directions]


def calls_of(model: Module, inputs: Sequence[Tensor], backward: bool) -> list[Case]:
    """Run the model once, and note each different convolution that is computed, in the order in which they come."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()  # neither statistics nor random numbers are to change
    try:
        with noted(backward) as cases, enable_grad() if backward else no_grad():
            outputs = _tensors(model(*inputs))
            leaves = [tensor for tensor in (*model.parameters(), *inputs) if tensor.requires_grad]
            sums = [output.sum() for output in outputs if output.requires_grad]
            if sums and leaves:
                grad(sums, leaves, allow_unused=True)
    finally:
        for module, training in modes:
            module.training = training
    return cases


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, dict):
        value = list(value.values())
    return [value] if isinstance(value, Tensor) else [each for part in value for each in _tensors(part)] if isinstance(value, list | tuple) else []


@contextlib.contextmanager
def noted(training: bool) -> Iterator[list[Case]]:
    """A list that receives every convolution which the block computes, each different one once.

    What follows a convolution is noted where it is decided whether one pass computes it (``can_fuse``), because that depends
    on the algorithm of the moment.
    """
    run, can_fuse = vars(Function)["run"], conv2d_relu.can_fuse
    found: list[Case] = []
    known: dict[Any, Case] = {}
    following: list[str] = []

    def note_what_follows(spec: Conv2dSpec, input: Tensor, pool: bool, algorithm: str | None) -> bool:
        following.append(RELU_POOL if pool else RELU)
        return can_fuse(spec, input, pool, algorithm)

    def note(cls: type[Function], node: Function, arrays: list[Any]) -> Any:
        if cls in FUNCTIONS:
            first, second = arrays[:2]
            spec = next(each for each in arrays if isinstance(each, Conv2dSpec))
            form = following[0] if following else ALONE
            following.clear()
            if device_of(first) == "cpu" and spec.n:
                key = FUNCTIONS[cls], spec, first.dtype
                if key not in known:
                    known[key] = Case(*key, (_is_channels_last(first), _is_channels_last(second)), training)
                    found.append(known[key])
                case = known[key]
                case.count += 1
                if form not in case.forms:
                    case.forms.append(form)
        return run.__func__(cls, node, arrays)

    Function.run, conv2d_relu.can_fuse = classmethod(note), note_what_follows  # type: ignore[assignment,method-assign]
    try:
        yield found
    finally:
        Function.run, conv2d_relu.can_fuse = run, can_fuse  # type: ignore[method-assign]


def _is_channels_last(array: numpy.ndarray) -> bool:
    return array.strides[1] < array.strides[3]


# Measuring ------------------------------------------------------------------------------------------------------------


def measure(case: Case, replicates: int) -> Row:
    """Judge, sort out, and time. The policy's choice and the best exact algorithm are timed in any case."""
    operation, spec, dtype = case.operation, case.spec, case.dtype
    policy = by_policy(operation, spec, dtype)
    assert policy is not None  # im2col or kn2row computes everything
    everyone = algorithms(operation).values()
    able = [each for each in everyone if each.automatic and each.supports(spec, dtype) is None and passed_over(each, spec, dtype, None) is None]
    _judge(case, replace(spec, n=1, h=min(spec.h, spec.span[0] + 2), w=min(spec.w, spec.span[1] + 2)), able)  # compiles
    right, wrong = _judge(case, spec.with_batch(1), able)
    if not right:
        raise UnsupportedError("autotune", f"every algorithm is wrong: {'; '.join(f'{name}: {how}' for name, how in wrong.items())}", problem=spec)
    right = _in_reach(case, right, 4 * HOPELESS, policy)  # a first call is no measurement yet
    for competitor in right:
        competitor.call_seconds = turn(competitor)

    inputs = draw_inputs(spec, case.direction, dtype=dtype)
    names = [competitor.name for competitor in _in_reach(case, right, HOPELESS, policy)]
    finalists = [Competitor(name, timed(_call(case, name, inputs))) for name in names]
    take_turns(finalists, replicates, BUDGET)
    means = sorted((float(f"{median(each.seconds) / len(case.forms):.4g}"), each.name) for each in finalists)
    seconds = {name: mean for mean, name in means}
    measurement = tuning.Measurement(operation, spec, dtype, get_num_threads(), seconds, datetime.date.today().isoformat())
    return Row(measurement, policy.name, case.count, tuple(case.forms), wrong)


def _judge(case: Case, spec: Conv2dSpec, able: Sequence[Algorithm]) -> tuple[list[Competitor], dict[str, str]]:
    """Those that compute this problem right, each with the seconds that it took; and what is wrong with the others."""
    inputs = draw_inputs(spec, case.direction, dtype=case.dtype)
    truth = exact(spec, case.direction, inputs)
    right, wrong = [], {}
    for algorithm in able:
        start = time.perf_counter()
        result, run = validate(Problem(spec), case.direction, algorithm, inputs, truth)
        if run is not None:
            right.append(Competitor(algorithm.name, timed(run), call_seconds=time.perf_counter() - start))
        elif result.refusal.startswith("wrong"):
            wrong[algorithm.name] = result.refusal
    return right, wrong


def _in_reach(case: Case, competitors: Sequence[Competitor], times: float, policy: Algorithm) -> list[Competitor]:
    """Those that took at most so many times as long as the fastest; the policy's choice and the fastest exact one, too."""
    ordered = sorted(competitors, key=lambda competitor: competitor.call_seconds)
    known = algorithms(case.operation)
    welcome = {policy.name, *[each.name for each in ordered if known[each.name].exact][:1]}
    return [each for each in ordered if each.name in welcome or each.call_seconds <= times * ordered[0].call_seconds]


def _call(case: Case, name: str, inputs: Sequence[numpy.ndarray]) -> Callable[[], object]:
    """What the model does, by one algorithm: a call in each of the forms."""
    spec = case.spec
    ordered = [channels_last(array) if last else array for array, last in zip(inputs[:2], case.channels_last, strict=True)]
    first, second = map(Tensor, ordered)
    second.requires_grad_(case.training)
    bias = Tensor(inputs[2]) if case.direction == "output" else None

    def run() -> None:
        if case.direction != "output":
            function = Conv2dGradInput if case.direction == "input" else Conv2dGradWeight
            with no_grad():  # as in backward
                function.apply(first, second, spec, name)
            return
        with enable_grad() if case.training else no_grad():  # inference keeps what is derived from the filters
            for form in case.forms:
                if form == ALONE:
                    Conv2d.apply(first, second, bias, spec, name)
                else:
                    conv2d_relu.solve(spec, first, second, bias, form == RELU_POOL, name)

    return run
