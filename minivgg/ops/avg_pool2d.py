"""Average pooling: the mean of each window. Linear: its derivative is its transpose, and the derivative of that is itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import device_of, empty_like
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_flags, check_floating, read_int
from minivgg.registry import ErrorSample, Operation, Sample, forced, select
from minivgg.spec import Pool2dSpec


class AvgPool2d(Function):
    def forward(self, x, spec, algorithm):
        self.spec, self.algorithm = spec, algorithm
        out = empty_like(x, spec.output_shape)
        with numpy.errstate(invalid="ignore", over="ignore"):
            select("avg_pool2d", spec, x.dtype, algorithm, device_of(x)).run(spec, x, out)
        return out

    def backward(self, grad):
        return AvgPool2dGradInput.apply(grad, self.spec, self.algorithm), None, None


class AvgPool2dGradInput(Function):
    """Each cell gets its share of the windows that it lies in."""

    def forward(self, grad, spec, algorithm):
        self.spec, self.algorithm = spec, algorithm
        out = empty_like(grad, spec.input_shape)
        with numpy.errstate(invalid="ignore", over="ignore"):
            select("avg_pool2d_grad_input", spec, grad.dtype, algorithm, device_of(grad)).run(spec, grad, out)
        return out

    def backward(self, grad):
        return AvgPool2d.apply(grad, self.spec, self.algorithm), None, None


def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None, *, algorithm: str | None = None,
) -> Tensor:  # fmt: skip
    """out[n, c, p, q] = 1/divisor · Σ_rs input[n, c, p·stride + r - padding, q·stride + s - padding].

    ``input``              (N, C, H, W) or (C, H, W), float32 or float64
    ``stride``             the kernel's size if left out
    ``padding``            zeros on all four sides, at most half the kernel
    ``ceil_mode``          one more window where the last rows or columns would be left over
    ``count_include_pad``  the divisor is R·S; False: only the cells inside the input count
    ``divisor_override``   divide by this instead
    ``algorithm``          the name of a file in ``kernels/pool2d``; by itself the policy there chooses

    Returns (N, C, P, Q) with P = ⌊(H + 2·padding - R) / stride⌋ + 1 (⌈⌉ for ``ceil_mode``; what such a window has beyond
    the padding never counts). R + S additions an element, because a sum over a window is a sum over columns of sums over rows.

    >>> import minivgg
    >>> x = minivgg.tensor([[[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 8.0, 7.0]]]])
    >>> minivgg.nn.functional.avg_pool2d(x, 2)
    tensor([[[[3.2500, 4.2500]]]])
    >>> minivgg.nn.functional.avg_pool2d(x, 2, padding=1, count_include_pad=False)[0, 0, 0]
    tensor([1.0000, 3.5000, 0.0000])
    """
    check_floating("avg_pool2d", input)
    check_flags("avg_pool2d", ceil_mode=ceil_mode, count_include_pad=count_include_pad)
    divisor_override = None if divisor_override is None else read_int("avg_pool2d", "divisor_override", divisor_override)
    spec = Pool2dSpec.of(
        "avg_pool2d", input.shape, kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad, divisor_override=divisor_override
    )  # fmt: skip
    algorithm = forced("avg_pool2d", algorithm)
    if input.ndim == 3:
        return AvgPool2d.apply(input.unsqueeze(0), spec, algorithm).squeeze(0)
    return AvgPool2d.apply(input, spec, algorithm)


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    yield Sample((rng.standard_normal((2, 3, 6, 6)), 2))
    yield Sample((rng.standard_normal((2, 2, 7, 5)), 3), {"stride": 2, "padding": 1})
    yield Sample((rng.standard_normal((1, 2, 7, 8)), (3, 2)), {"stride": (1, 2), "padding": (1, 0), "count_include_pad": False})
    yield Sample((rng.standard_normal((1, 2, 6, 7)), 3), {"stride": 2, "padding": 1, "ceil_mode": True})
    yield Sample((rng.standard_normal((1, 2, 4, 5)), 2), {"divisor_override": 3})
    yield Sample((rng.standard_normal((3, 4, 4)), 2), {"stride": 1})
    yield Sample((rng.standard_normal((0, 3, 4, 4)), 2))


def _oracle(x: Any, *args: Any, **kwargs: Any) -> Any:
    """The definition as plain loops: ``kernels/pool2d/reference.py``."""
    return avg_pool2d(Tensor(x), *args, **kwargs, algorithm="reference").array


def _errors() -> Iterable[ErrorSample]:
    image = numpy.zeros((1, 2, 4, 4))

    def error(kind: type[Exception], problem: str, *args: Any, **kwargs: Any) -> ErrorSample:
        return ErrorSample(args, kwargs, kind, f"avg_pool2d: {problem}")

    facts = "(input (1, 2, 4, 4), kernel_size (5, 5), padding (0, 0))"
    yield error(ShapeError, f"the output would be 0x0: the window is larger than the padded input {facts}", image, 5)
    yield error(ArgumentError, "padding must be at most half the kernel, got padding (2, 2) for kernel (3, 3)", image, 3, padding=2)
    yield error(ArgumentError, "kernel_size must be at least 1, got 0", image, 0)
    yield error(ArgumentError, "stride must be at least 1, got (1, 0)", image, 2, stride=(1, 0))
    yield error(ArgumentError, "padding must be at least 0, got -1", image, 2, padding=-1)
    yield error(ArgumentError, "divisor_override must not be 0", image, 2, divisor_override=0)
    yield error(ArgumentError, "divisor_override must be an int, got 1.5", image, 2, divisor_override=1.5)
    yield error(ShapeError, "input must be (N, C, H, W) or (C, H, W), got 2 dimensions (input (4, 4))", image[0, 0], 2)
    yield error(DtypeError, "takes float32 or float64, got int64", image.astype("int64"), 2)


OPERATION = Operation(avg_pool2d, shapes="... H W -> ... P Q", samples=_samples, oracle=_oracle, errors=_errors, torch="nn.functional.avg_pool2d")
