"""The problems that every algorithm must solve, an operation at a time: what goes in and what comes out.

They cover what kernels get wrong: strides that skip inputs, padding on one side alone or wider than the filter, dilation,
groups, sizes that are no multiple of anything, outputs of one place, no images, ties, and one problem of several tiles.
An operation that gets kernels gets its line in ``PROBLEMS``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from minivgg.errors import ArgumentError
from minivgg.nn import utils
from minivgg.ops import adaptive_avg_pool2d, batch_norm, cross_entropy, dropout, local_response_norm
from minivgg.optim import adam, rmsprop, sgd
from minivgg.registry import algorithms
from minivgg.spec import Conv2dSpec, LinearSpec, Pool2dSpec

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Problem:
    """One call of a kernel: ``run(spec, *inputs, *outputs)``.

    ``inputs`` and ``outputs`` are shapes; None where the kernel gets None (no bias, no numbers asked for).
    ``kinds`` are the outputs' dtypes, None for that of the inputs. Integer data are multiples of ``multiple``, so that
    averages of them are whole numbers. ``prepare`` replaces inputs that may not be just any numbers.
    """

    operation: str
    spec: Any
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...]
    kinds: tuple[Any, ...] = ()
    multiple: int = 1
    prepare: Callable[[Any, list[Any]], None] = lambda spec, inputs: None

    def __str__(self) -> str:
        if not isinstance(self.spec, Conv2dSpec | Pool2dSpec):
            return str(self.spec)
        left_out = [text for shapes, text in ((self.inputs, "no bias"), (self.outputs, "no numbers")) if None in shapes]
        return ", ".join([str(self.spec), *left_out])


CONV2D = (
    "n2 c3 h7 w6 k4 r3 p1",
    "n1 c4 h8 w9 k4 r3 s2 p1",
    "n2 c4 h9 w7 k6 r3x2 s2x1 p1x0 g2",
    "n1 c3 h9 w8 k5 r3 p2 d2",
    "n1 c2 h6 w7 k3 r4x2 p1:2x0:1",
    "n1 c3 h5 w6 k2 r3 p0:2x1:0",
    "n2 c5 h5 w5 k3 r1",
    "n1 c4 h7 w6 k4 r1 s2",
    "n1 c6 h6 w5 k6 r3 p1 g6",
    "n1 c3 h5 w5 k2 r5",
    "n1 c2 h3 w4 k2 r3 p4",
    "n2 c3 h8 w8 k4 r2 s3",
    "n1 c3 h11 w12 k4 r7 s2 p3",
    "n1 c17 h9 w10 k19 r3 p1",
    "n2 c16 h13 w14 k32 r3 p1",
    "n0 c3 h6 w6 k4 r3 p1",
    "n1 c304 h28 w28 k32 r3 p1",
    "n2 c24 h5 w6 k80 r3 p1",
    "n1 c5 h6 w7 k70 r3 p1",
    "n1 c40 h6 w5 k60 r3 p1 g20",
    "n1 c40 h5 w2 k64 r3 p1",  # rows shorter than any tile, panels that are full
)

POOL2D = (
    "n2 c3 h8 w8 r2",
    "n1 c2 h9 w7 r3 s2",
    "n1 c2 h8 w9 r3 s2 p1",
    "n2 c1 h7 w8 r3x2 s1x2 p1x0",
    "n1 c2 h8 w7 r3 s2 p1 ceil",
    "n1 c3 h5 w6 r2 s3 ceil",
    "n1 c2 h6 w6 r1",
    "n1 c2 h5 w4 r5x4",
    "n1 c17 h7 w9 r2",
    "n1 c16 h4 w6 r2",  # windows that tile the image, and channels enough for any vector
    "n2 c35 h9 w8 r3 s2 p1",
    "n0 c3 h6 w6 r2",
    "n2 c24 h40 w42 r2",
)

ONLY_MAX = ("n1 c2 h9 w9 r3 s1 d2", "n1 c2 h9 w8 r3x2 s2 p1 d2x3")
ONLY_AVERAGE = ("n1 c2 h7 w8 r3 s2 p1 nopad", "n1 c2 h7 w8 r3 s2 p1 ceil nopad", "n1 c2 h6 w7 r3x2 s2 divisor5")

WHOLE_AVERAGES = 2520
"""A multiple of all numbers up to 10, of 12, 15 and 20."""


def _conv2d() -> Iterator[Problem]:
    for i, text in enumerate(CONV2D):
        spec = Conv2dSpec.parse(text)
        yield Problem("conv2d", spec, (spec.input_shape, spec.weight_shape, (spec.k,) if i % 3 else None), (spec.output_shape,))


def _conv2d_grad_input() -> Iterator[Problem]:
    for spec in map(Conv2dSpec.parse, CONV2D):
        yield Problem("conv2d_grad_input", spec, (spec.output_shape, spec.weight_shape), (spec.input_shape,))


def _conv2d_grad_weight() -> Iterator[Problem]:
    for spec in map(Conv2dSpec.parse, CONV2D):
        yield Problem("conv2d_grad_weight", spec, (spec.output_shape, spec.input_shape), (spec.weight_shape,))


def _max_pool2d() -> Iterator[Problem]:
    for i, text in enumerate((*POOL2D, *ONLY_MAX)):
        spec = Pool2dSpec.parse(text, "max_pool2d")
        yield Problem("max_pool2d", spec, (spec.input_shape,), (spec.output_shape, spec.output_shape), kinds=(None, spec.number_dtype))
        if i % 3 == 0:
            yield Problem("max_pool2d", spec, (spec.input_shape,), (spec.output_shape, None))


def _numbers_of_largest_cells(spec: Pool2dSpec, inputs: list[Any]) -> None:
    """Numbers that max pooling may have, of cells inside the input."""
    x = numpy.random.default_rng(1).standard_normal(spec.input_shape)
    inputs[1] = numpy.empty(spec.output_shape, spec.number_dtype)
    algorithms("max_pool2d")["reference"].run(spec, x, numpy.empty(spec.output_shape), inputs[1])


def _max_pool2d_grad_input() -> Iterator[Problem]:
    for text in (*POOL2D, *ONLY_MAX):
        spec = Pool2dSpec.parse(text, "max_pool2d")
        yield Problem("max_pool2d_grad_input", spec, (spec.output_shape,) * 2, (spec.input_shape,), prepare=_numbers_of_largest_cells)


def _avg_pool2d() -> Iterator[Problem]:
    for text in (*POOL2D, *ONLY_AVERAGE):
        spec = Pool2dSpec.parse(text, "avg_pool2d")
        yield Problem("avg_pool2d", spec, (spec.input_shape,), (spec.output_shape,), multiple=WHOLE_AVERAGES)


def _avg_pool2d_grad_input() -> Iterator[Problem]:
    for text in (*POOL2D, *ONLY_AVERAGE):
        spec = Pool2dSpec.parse(text, "avg_pool2d")
        yield Problem("avg_pool2d_grad_input", spec, (spec.output_shape,), (spec.input_shape,), multiple=WHOLE_AVERAGES)


SHAPES = ((2, 3, 4, 5), (7,), (3, 1, 2), (0, 2), (1, 17, 5, 3), (2, 24, 40, 42))


def _elementwise(operation: str, inputs: int) -> Callable[[], Iterator[Problem]]:
    """So many inputs of any one shape, and an output in it."""
    return lambda: (Problem(operation, shape, (shape,) * inputs, (shape,)) for shape in SHAPES)


def _sgd() -> Iterator[Problem]:
    for shape in SHAPES:
        for momentum, fresh, decay, nesterov, maximize in ((0.0, 1.0, 0.0, False, True), (0.9, 1.0, 0.01, False, False), (0.5, 0.7, 0.0, True, False)):
            v = shape if momentum else None
            yield Problem("sgd", sgd.Step(shape, 0.1, momentum, fresh, decay, nesterov, maximize), (shape, shape, v), (shape, v))


def _not_negative(*places: int) -> Callable[[Any, list[Any]], None]:
    """Mean squares among the state."""

    def prepare(spec: Any, inputs: list[Any]) -> None:
        for i in places:
            inputs[i] = None if inputs[i] is None else abs(inputs[i]) + 1

    return prepare


def _adam() -> Iterator[Problem]:
    for shape in SHAPES:
        for decay, count, decoupled, maximize, amsgrad in ((0.0, 1, False, True, False), (0.1, 3, True, False, True), (0.1, 2, False, False, False)):
            w = shape if amsgrad else None
            step = adam.Step(shape, 0.1, 0.9, 0.99, 1e-3, decay, count, decoupled, maximize)
            yield Problem("adam", step, (*(shape,) * 4, w), (*(shape,) * 3, w), prepare=_not_negative(3, 4))


def _rmsprop() -> Iterator[Problem]:
    for shape in SHAPES:
        for decay, momentum, maximize, centered in ((0.0, 0.0, True, False), (0.1, 0.9, False, True), (0.1, 0.5, False, False)):
            a, b = shape if centered else None, shape if momentum else None
            step = rmsprop.Step(shape, 0.1, 0.9, 1e-3, decay, momentum, maximize)
            yield Problem("rmsprop", step, (shape, shape, shape, a, b), (shape, shape, a, b), prepare=_not_negative(2))


LINEAR = ((1, 7, 3), (2, 33, 6), (5, 64, 9), (0, 4, 2), (3, 1, 1), (16, 40, 5), (20, 6, 4), (9, 700, 66), (4, 2100, 70))


def _linear(direction: str) -> Callable[[], Iterator[Problem]]:
    def each() -> Iterator[Problem]:
        for i, sizes in enumerate(LINEAR):
            spec = LinearSpec(*sizes)
            x, w, y = (spec.n, spec.c), (spec.k, spec.c), (spec.n, spec.k)
            shapes = {"": ((x, w, (spec.k,) if i % 2 else None), y), "_grad_input": ((y, w), x), "_grad_weight": ((y, x), w)}
            inputs, output = shapes[direction]
            yield Problem(f"linear{direction}", spec, inputs, (output,))

    return each


IMAGES = ((2, 3, 4, 5), (3, 1, 7, 9), (1, 17, 5, 3), (2, 24, 40, 42))


def _channel_sums() -> Iterator[Problem]:
    return (Problem("channel_sums", shape, (shape,), ((shape[1],),)) for shape in IMAGES)


def _batch_norm() -> Iterator[Problem]:
    for i, shape in enumerate(IMAGES):
        w, b = ((shape[1],) if i % 2 == wanted else None for wanted in (0, 1))
        yield Problem("batch_norm", batch_norm.Problem(shape, 1e-3), (shape, w, b), (shape, (shape[1],), (shape[1],)))


def _its_moments(spec: Any, inputs: list[Any]) -> None:
    x = inputs[1].astype("float64")
    inputs[3], inputs[4] = (numbers.astype(inputs[1].dtype) for numbers in (x.mean((0, 2, 3)), x.var((0, 2, 3))))


def _batch_norm_grad() -> Iterator[Problem]:
    for i, shape in enumerate(IMAGES):
        numbers = (shape[1],)
        inputs = shape, shape, numbers if i % 2 else None, numbers, numbers
        yield Problem("batch_norm_grad", batch_norm.Problem(shape, 1e-3), inputs, (shape, numbers, numbers), prepare=_its_moments)


def _scale_and_shift() -> Iterator[Problem]:
    for i, shape in enumerate(IMAGES):
        for wanted in (i % 3, 2):
            slope, offset = ((shape[1],) if other != wanted else None for other in (0, 1))
            yield Problem("scale_and_shift", shape, (shape, slope, offset), (shape,))


def _scaled() -> Iterator[Problem]:
    return (Problem("scaled", utils.Scaling(shape, 0.3), (shape,), (shape,)) for shape in SHAPES)


MATRICES = ((3, 5), (1, 70), (2, 1), (0, 3), (5, 64), (90, 500))


def _rows(operation: str, inputs: int, prepare: Callable[[Any, list[Any]], None] = lambda spec, inputs: None) -> Callable[[], Iterator[Problem]]:
    return lambda: (Problem(operation, shape, (shape,) * inputs, (shape,), prepare=prepare) for shape in MATRICES)


def _logarithms(spec: Any, inputs: list[Any]) -> None:
    """Of probabilities: none is above 0."""
    inputs[1] = -abs(inputs[1])


def _cross_entropy(direction: str) -> Callable[[], Iterator[Problem]]:
    def prepare(spec: Any, inputs: list[Any]) -> None:
        """Classes, some of them ignored; and what the losses' kernel found of the rows."""
        rows, classes = spec.shape
        target = numpy.random.default_rng(1).integers(0, classes, rows)
        target[::5] = -1
        inputs[1] = target
        if direction:
            x = inputs[0].astype(float)
            tops = x.max(1)
            inputs[2:4] = tops.astype(inputs[0].dtype), numpy.log(numpy.exp(x - tops[:, None]).sum(1)).astype(inputs[0].dtype)

    def each() -> Iterator[Problem]:
        for shape in MATRICES:
            for smoothing in (0.0, 0.1):
                row, spec = shape[:1], cross_entropy.Problem(shape, smoothing)
                if direction:
                    yield Problem("cross_entropy_grad", spec, (shape, *(row,) * 4), (shape,), prepare=prepare)
                else:
                    yield Problem("cross_entropy", spec, (shape, row), (row,) * 3, prepare=prepare)

    return each


def _local_response_norm(operation: str, inputs: int) -> Callable[[], Iterator[Problem]]:
    def each() -> Iterator[Problem]:
        for i, shape in enumerate((*IMAGES, (3, 5, 7), (0, 3, 2, 2), (1, 4, 2, 3, 2), (1, 40, 2, 3))):
            for size, beta in ((3 + i % 2, 0.75), (1 + 5 * i, (0.5, 1.0, 0.6)[i % 3])):
                yield Problem(operation, local_response_norm.Problem(shape, size, 0.5, beta, 2.0), (shape,) * inputs, (shape,))

    return each


def _dropout() -> Iterator[Problem]:
    for shape in SHAPES:
        for p, seed in ((0.5, 7), (0.1, 2**64 - 1), (1.0, 0)):
            yield Problem("dropout", dropout.Problem(shape, p, seed), (shape,), (shape, shape), kinds=(None, "uint8"))


def _mask(spec: Any, inputs: list[Any]) -> None:
    inputs[1] = (inputs[1] > 0).astype("uint8")


def _dropout_grad() -> Iterator[Problem]:
    return (Problem("dropout_grad", dropout.Problem(shape, 0.1, 7), (shape, shape), (shape,), prepare=_mask) for shape in SHAPES)


def _adaptive_avg_pool2d(direction: str) -> Callable[[], Iterator[Problem]]:
    def each() -> Iterator[Problem]:
        for shape in ((2, 3, 7, 5), (1, 35, 6, 9), (3, 1, 4, 4), (0, 2, 4, 4), (1, 17, 3, 2), (2, 24, 40, 42)):
            for outputs in ((1, 1), (3, 2), (5, 7), (2, 1)):
                spec = adaptive_avg_pool2d.Problem(shape, outputs)
                given, wanted = (spec.output_shape, shape) if direction else (shape, spec.output_shape)
                yield Problem(f"adaptive_avg_pool2d{direction}", spec, (given,), (wanted,))

    return each


PROBLEMS: dict[str, Callable[[], Iterator[Problem]]] = {
    "conv2d": _conv2d,
    "conv2d_grad_input": _conv2d_grad_input,
    "conv2d_grad_weight": _conv2d_grad_weight,
    "max_pool2d": _max_pool2d,
    "max_pool2d_grad_input": _max_pool2d_grad_input,
    "avg_pool2d": _avg_pool2d,
    "avg_pool2d_grad_input": _avg_pool2d_grad_input,
    "sgd": _sgd,
    "adam": _adam,
    "rmsprop": _rmsprop,
    "scaled": _scaled,
    "linear": _linear(""),
    "linear_grad_input": _linear("_grad_input"),
    "linear_grad_weight": _linear("_grad_weight"),
    "channel_sums": _channel_sums,
    "batch_norm": _batch_norm,
    "batch_norm_grad": _batch_norm_grad,
    "scale_and_shift": _scale_and_shift,
    "softmax": _rows("softmax", 1),
    "log_softmax": _rows("log_softmax", 1),
    "softmax_grad": _rows("softmax_grad", 2),
    "log_softmax_grad": _rows("log_softmax_grad", 2, _logarithms),
    "cross_entropy": _cross_entropy(""),
    "cross_entropy_grad": _cross_entropy("_grad"),
    "local_response_norm": _local_response_norm("local_response_norm", 1),
    "local_response_norm_grad": _local_response_norm("local_response_norm_grad", 2),
    "dropout": _dropout,
    "dropout_grad": _dropout_grad,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d(""),
    "adaptive_avg_pool2d_grad": _adaptive_avg_pool2d("_grad"),
    "relu": _elementwise("relu", 1),
    "relu_grad": _elementwise("relu_grad", 2),
}


def problems(operation: str) -> list[Problem]:
    """The problems of an operation that has kernels.

    >>> print(problems("conv2d")[0])
    n2 c3 h7 w6 k4 r3 p1, no bias
    """
    if operation not in PROBLEMS:
        raise ArgumentError("problems", f"the kernels of {operation} have no problems to be judged by; add them to minivgg/testing/problems.py")
    return list(PROBLEMS[operation]())
