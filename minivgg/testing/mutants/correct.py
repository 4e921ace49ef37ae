"""The other half of the proof: correct cases at random, kinks and ties among them, none of which may raise an alarm.

In turn: samples of every operation with new numbers; the same on a coarse grid, where zeros and equal numbers are frequent;
small networks; compositions of operations; networks in float32; pairs of NumPy functions as in a homework.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from minivgg import nn
from minivgg.autograd import Tensor
from minivgg.nn import functional as F
from minivgg.random import manual_seed
from minivgg.registry import OPERATIONS, Operation, Sample
from minivgg.testing.gradients.check import Settings, check, gradcheck, gradgradcheck
from minivgg.testing.gradients.report import GradcheckReport
from minivgg.testing.gradients.subject import of_calls
from minivgg.testing.mutants.homework import PAIRS
from minivgg.testing.samples import arrays_of, as_function, changed, is_floating, leaves_of, names_of

MOST = 60
"""Elements of one input that are moved, at most."""

GRID = ("relu", "abs", "clamp", "max", "min", "maximum", "minimum", "max_pool2d", "adaptive_max_pool2d", "sum", "mean", "mul", "add", "sub", "neg",
        "matmul", "linear", "conv2d", "avg_pool2d", "adaptive_avg_pool2d", "where", "masked_fill", "getitem", "gather", "cat", "pad", "permute",
        "reshape", "expand", "dropout", "mse_loss", "cross_entropy", "softmax", "log_softmax", "exp", "conv2d_relu")  # fmt: skip
"""The operations that take any numbers, so that they can be tried on multiples of 1/2."""


@dataclasses.dataclass(frozen=True)
class Count:
    """What was tried: cases, elements moved, kinks met, and the texts of the alarms."""

    cases: int
    elements: int
    kinks: int
    alarms: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.cases:,} correct cases, {self.elements:,} elements, {self.kinks:,} of them at kinks and ties: {len(self.alarms)} alarms."


Case = tuple[str, Callable[[], GradcheckReport]]


def cases(count: int, seed: int = 0) -> Iterator[Case]:
    """So many cases, the kinds in turn, each a name and the check to run."""
    kinds = [
        kind(numpy.random.default_rng((seed, number))) for number, kind in enumerate((_samples, _on_a_grid, _networks, _compositions, _in_float32, _pairs))
    ]
    weights = itertools.cycle((0, 1, 0, 1, 3, 0, 1, 5, 0, 1, 2, 4))
    return itertools.islice((next(kinds[kind]) for kind in weights), count)


def count(found: Iterator[Case], progress: Callable[[int], None] = lambda done: None) -> Count:
    """Run all of them."""
    number, elements, kinks, alarms = 0, 0, 0, []
    for name, run in found:
        number += 1
        try:
            report = run()
            elements, kinks = elements + report.elements, kinks + sum(line.kinks for line in report.inputs)
            if not report:
                alarms.append(f"{name}\n{report}")
        except Exception as error:
            alarms.append(f"{name}\nraised {type(error).__name__}: {error}")
        progress(number)
    return Count(number, elements, kinks, tuple(alarms))


def _operation(operation: Operation, sample: Sample, order: int) -> GradcheckReport:
    """As a user checks it: by the defaults, in full where that is affordable."""
    sample = changed(sample, numpy.array)
    function, leaves = as_function(operation.function, sample), leaves_of(sample)
    named = dict(zip(names_of(operation, sample), leaves, strict=True))
    big = sum(leaf.array.size for leaf in leaves) > MOST * len(leaves)
    return check(of_calls(operation.name, lambda: function(*leaves), named), order, Settings(samples=MOST if big else None))


def _differentiable(names: tuple[str, ...] | None = None) -> list[Operation]:
    return [operation for operation in OPERATIONS.values() if operation.order >= 1 and (names is None or operation.name in names)]


def _samples(rng: numpy.random.Generator) -> Iterator[Case]:
    """Every sample of every operation, again and again with other numbers; every third time the second derivative."""
    for turn in itertools.count():
        for operation in _differentiable():
            for number, sample in enumerate(operation.samples(numpy.random.default_rng(int(rng.integers(2**31))))):
                if any(map(is_floating, arrays_of(sample))):
                    order = 2 if operation.order >= 2 and (turn + number) % 3 == 0 else 1
                    yield f"{operation.name}, sample {number}, order {order}", functools.partial(_operation, operation, sample, order)


def _on_a_grid(rng: numpy.random.Generator) -> Iterator[Case]:
    """Multiples of 1/2 between -1 and 1: a fifth of them 0, and nearly every window has a tie."""
    while True:
        for operation in _differentiable(GRID):
            for number, sample in enumerate(operation.samples(rng)):
                if any(map(is_floating, arrays_of(sample))):
                    rough = changed(sample, lambda array: numpy.asarray(rng.integers(-2, 3, array.shape) / 2) if is_floating(array) else array)
                    if operation.name == "cross_entropy" and sum(map(is_floating, arrays_of(sample))) > 1:
                        continue  # probabilities and weights are no such numbers
                    yield f"{operation.name} on a grid, sample {number}", functools.partial(_operation, operation, rough, 1)


def _networks(rng: numpy.random.Generator, dtype: str = "float64") -> Iterator[Case]:
    """Small networks with random layers, at inputs and at every parameter."""
    while True:
        yield "network", _network(int(rng.integers(2**31)), dtype, 2 if dtype == "float64" and rng.random() < 0.1 else 1)


def _network(seed: int, dtype: str, order: int) -> Callable[[], GradcheckReport]:
    def run() -> GradcheckReport:
        rng = numpy.random.default_rng(seed)
        manual_seed(seed)
        channels, classes, size = (int(rng.integers(low, high)) for low, high in ((1, 3), (2, 4), (4, 6)))
        width = int(rng.integers(1, 4))
        layers: list[Any] = [nn.Conv2d(channels, width, 3, padding=1)]
        if rng.random() < 0.5:
            layers.append(nn.BatchNorm2d(width))
        layers += [nn.ReLU(), [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2)][int(rng.integers(3))], nn.Flatten()]
        made = nn.Sequential(*layers)
        x = rng.standard_normal((2, channels, size, size))
        features = made.to(dtype)(Tensor(x.astype(dtype))).shape[1]
        if rng.random() < 0.3:
            layers.append(nn.Dropout(0.3))
        network = nn.Sequential(*layers, nn.Linear(features, classes)).to(dtype)
        inputs = Tensor(x.astype(dtype), requires_grad=True)
        return (gradcheck if order == 1 else gradgradcheck)(network, inputs, samples=8, raise_exception=False)

    return run


def _in_float32(rng: numpy.random.Generator) -> Iterator[Case]:
    return (("float32 network", run) for _, run in _networks(rng, "float32"))


_STEPS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("relu", lambda x: F.relu(x)),
    ("exp", lambda x: (0.3 * x).exp()),
    ("square", lambda x: x * x),
    ("abs", lambda x: x.abs()),
    ("softmax", lambda x: F.softmax(x, -1)),
    ("centre", lambda x: x - x.mean(-1, keepdim=True)),
    ("standardise", lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 0.1).sqrt()),
    ("cumulate", lambda x: x + x[..., :1]),
    ("transpose", lambda x: x.transpose(0, 1)),
    ("turn", lambda x: x.flip(0) if hasattr(x, "flip") else x[[1, 0, *range(2, x.shape[0])]]),
    ("clamp", lambda x: x.clamp(-1.0, 1.5)),
    ("maximum", lambda x: x.maximum(0.3 * x)),
    ("product", lambda x: x @ x.transpose(0, 1)),
    ("reciprocal", lambda x: 1 / (x * x + 1)),
    ("log", lambda x: (x.abs() + 0.5).log()),
)


def _compositions(rng: numpy.random.Generator) -> Iterator[Case]:
    """Three or four operations after one another, on a matrix."""
    while True:
        chosen = [_STEPS[int(i)] for i in rng.integers(0, len(_STEPS), int(rng.integers(3, 5)))]
        shape = tuple(int(size) for size in rng.integers(2, 5, 2))
        x = rng.standard_normal(shape)
        order = 2 if rng.random() < 0.2 else 1
        yield f"{' then '.join(name for name, _ in chosen)}, order {order}", _composition([step for _, step in chosen], x, order)


def _composition(steps: list[Callable[[Any], Any]], x: numpy.ndarray, order: int) -> Callable[[], GradcheckReport]:
    def function(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return lambda: (gradcheck if order == 1 else gradgradcheck)(function, Tensor(x, requires_grad=True), raise_exception=False)


def _pairs(rng: numpy.random.Generator) -> Iterator[Case]:
    """The homework, every second time on a grid where it takes one."""
    for turn in itertools.count():
        n, c, k = (int(size) for size in rng.integers(2, 5, 3))

        def draw(*shape: int, turn: int = turn) -> numpy.ndarray:
            return rng.standard_normal(shape) if turn % 2 else rng.integers(-2, 3, shape) / 2

        targets = rng.integers(0, c, n)
        inputs: dict[str, tuple[Any, ...]] = {
            "affine": (draw(n, c), draw(c, k), draw(k)), "relu": (draw(n, c),), "sigmoid": (draw(n, c),), "tanh": (draw(n, c),),
            "leaky relu": (draw(n, c),), "softplus": (draw(n, c),), "dropout": (draw(n, c),),
            "batchnorm": (rng.standard_normal((n + 2, c)), draw(c), draw(c)), "layernorm": (rng.standard_normal((n, c + 1)), draw(c + 1), draw(c + 1)),
            "softmax loss": (draw(n, c), targets), "hinge loss": (rng.standard_normal((n, c)), targets), "mse": (draw(n, c), draw(n, c)),
            "nll": (draw(n, c), targets), "embedding": (draw(c, k), rng.integers(0, c, n)),
            "conv": (draw(2, 2, 4, 4), draw(2, 2, 3, 3), draw(2)), "maxpool": (draw(1, 2, 4, 4),), "avgpool": (draw(1, 2, 5, 5),),
            "rnn step": (draw(n, c), draw(n, k), draw(c, k), draw(k, k), draw(k)), "attention": (draw(n, c), draw(k, c), draw(k, c)),
        }  # fmt: skip
        for name, values in inputs.items():
            yield f"pair {name}", functools.partial(gradcheck, PAIRS[name], values, raise_exception=False)
