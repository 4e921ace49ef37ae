"""Max pooling: the largest cell of each window. Forward gathers elements, backward hands each gradient to the cell that it came from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import Array, device_of, empty_like, namespace
from minivgg.device import table
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_flags, check_floating
from minivgg.registry import ErrorSample, Operation, Sample, forced, select
from minivgg.spec import Pool2dSpec


class MaxPool2d(Function):
    """The largest cells. Saved for the gradient: the number of each within its window, mostly one byte an output element."""

    def forward(self, x, spec, algorithm, return_indices):
        self.spec, self.algorithm = spec, algorithm
        out = empty_like(x, spec.output_shape)
        numbers = empty_like(out, dtype=spec.number_dtype) if return_indices or self.needs_input_grad[0] else None
        select("max_pool2d", spec, x.dtype, algorithm, device_of(x)).run(spec, x, out, numbers)
        self.save_for_backward(numbers)
        return (out, positions(spec, numbers)) if return_indices else out

    def backward(self, grad, *_):
        (numbers,) = self.saved_tensors
        return MaxPool2dGradInput.apply(grad, numbers.array, self.spec, self.algorithm), None, None, None


class MaxPool2dGradInput(Function):
    """Each gradient goes to the cell that it came from: linear, and the transpose of ``PickCells``."""

    def forward(self, grad, numbers, spec, algorithm):
        self.spec, self.algorithm = spec, algorithm
        self.save_for_backward(numbers)
        out = empty_like(numbers, spec.input_shape, grad.dtype)  # in the memory order of the input, whatever that of the gradient
        select("max_pool2d_grad_input", spec, grad.dtype, algorithm, device_of(grad)).run(spec, grad, numbers, out)
        return out

    def backward(self, grad):
        (numbers,) = self.saved_tensors
        return PickCells.apply(grad, numbers.array, self.spec, self.algorithm), None, None, None


class PickCells(Function):
    """From each window the cell of this number: what max pooling is while the largest cells stay the largest."""

    def forward(self, x, numbers, spec, algorithm):
        self.spec, self.algorithm = spec, algorithm
        self.save_for_backward(numbers)
        cells = positions(spec, numbers).reshape(spec.n, spec.c, spec.p * spec.q)
        return namespace(x).take_along_axis(x.reshape(spec.n, spec.c, spec.h * spec.w), cells, 2).reshape(spec.output_shape)

    def backward(self, grad):
        (numbers,) = self.saved_tensors
        return MaxPool2dGradInput.apply(grad, numbers.array, self.spec, self.algorithm), None, None, None


def positions(spec: Pool2dSpec, numbers: Array) -> Array:
    """h·W + w, int64, of each window's cell of that number."""
    begin, reach = [], []
    for axis, outputs in enumerate((spec.p, spec.q)):
        begin.append(numpy.arange(outputs) * spec.stride[axis] - spec.padding[axis])
        reach.append(numpy.arange(spec.kernel[axis]) * spec.dilation[axis])
    windows = table(begin[0][:, None] * spec.w + begin[1], numbers)
    cells = table((reach[0][:, None] * spec.w + reach[1]).ravel(), numbers)
    return cells[numbers] + windows


def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False, *, algorithm: str | None = None,
) -> Any:  # fmt: skip
    """out[n, c, p, q] = max over (r, s) of input[n, c, p·stride + r·dilation - padding, q·stride + s·dilation - padding].

    ``input``           (N, C, H, W) or (C, H, W), float32 or float64
    ``stride``          the kernel's size if left out
    ``padding``         -inf on all four sides, at most half the kernel
    ``ceil_mode``       one more window where the last rows or columns would be left over
    ``return_indices``  also return h·W + w of each maximum, int64
    ``algorithm``       the name of a file in ``kernels/pool2d``; by itself the policy there chooses

    Returns (N, C, P, Q) with P = ⌊(H + 2·padding - dilation·(R - 1) - 1) / stride⌋ + 1 (⌈⌉ for ``ceil_mode``). Of equal
    cells the first one counts, and the whole gradient goes to it; nan is greater than any number. R·S comparisons an element.

    >>> import minivgg
    >>> x = minivgg.tensor([[[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 8.0, 7.0]]]])
    >>> minivgg.nn.functional.max_pool2d(x, 2)
    tensor([[[[5., 8.]]]])
    >>> minivgg.nn.functional.max_pool2d(x, 2, return_indices=True)[1]
    tensor([[[[1, 6]]]])
    """
    check_floating("max_pool2d", input)
    check_flags("max_pool2d", ceil_mode=ceil_mode, return_indices=return_indices)
    spec = Pool2dSpec.of("max_pool2d", input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    batch = input if input.ndim == 4 else input.unsqueeze(0)
    result = MaxPool2d.apply(batch, spec, forced("max_pool2d", algorithm), return_indices)
    outputs = [out if input.ndim == 4 else out.squeeze(0) for out in (result if isinstance(result, tuple) else (result,))]
    return tuple(outputs) if return_indices else outputs[0]


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    def distinct(*shape: int) -> numpy.ndarray:
        """No two elements nearer than 1/4: nothing ties, and a small step changes no maximum."""
        return rng.permutation(math.prod(shape)).reshape(shape) / 4.0

    yield Sample((distinct(2, 3, 6, 6), 2))
    yield Sample((distinct(2, 2, 7, 5), 3), {"stride": 2, "padding": 1})
    yield Sample((distinct(1, 2, 7, 8), (3, 2)), {"stride": (1, 2), "padding": (1, 0), "dilation": (2, 1)})
    yield Sample((distinct(1, 2, 6, 7), 3), {"stride": 2, "ceil_mode": True})
    yield Sample((distinct(3, 4, 4), 2), {"stride": 1})
    yield Sample((distinct(0, 3, 4, 4), 2))


def _oracle(x: Any, *args: Any, **kwargs: Any) -> Any:
    return max_pool2d(Tensor(x), *args, **kwargs, algorithm="reference").array


def _errors() -> Iterable[ErrorSample]:
    image = numpy.zeros((1, 2, 4, 4))
    text = "the output would be 0x0: the window is larger than the padded input (input (1, 2, 4, 4), kernel_size (5, 5), padding (0, 0))"
    yield ErrorSample((image, 5), {}, ShapeError, f"max_pool2d: {text}")
    yield ErrorSample((image, 2), {"padding": 2}, ArgumentError, "max_pool2d: padding must be at most half the kernel, got padding (2, 2) for kernel (2, 2)")
    yield ErrorSample((image, 0), {}, ArgumentError, "max_pool2d: kernel_size must be at least 1, got 0")
    yield ErrorSample((image, (2, 2, 2)), {}, ArgumentError, "max_pool2d: kernel_size must be an int or a pair of ints, got (2, 2, 2)")
    yield ErrorSample((image, 2), {"stride": 0}, ArgumentError, "max_pool2d: stride must be at least 1, got 0")
    yield ErrorSample((image, 2), {"padding": -1}, ArgumentError, "max_pool2d: padding must be at least 0, got -1")
    yield ErrorSample((image, 2), {"dilation": 0}, ArgumentError, "max_pool2d: dilation must be at least 1, got 0")
    yield ErrorSample((numpy.zeros((4, 4)), 2), {}, ShapeError, "max_pool2d: input must be (N, C, H, W) or (C, H, W), got 2 dimensions (input (4, 4))")
    yield ErrorSample((numpy.zeros((2, 0, 4, 4)), 2), {}, ShapeError, "max_pool2d: only the batch may be empty, got input (2, 0, 4, 4)")
    yield ErrorSample((numpy.zeros((1, 2, 4, 4), "int64"), 2), {}, DtypeError, "max_pool2d: takes float32 or float64, got int64")


OPERATION = Operation(
    max_pool2d, shapes="... H W -> ... P Q", samples=_samples, oracle=_oracle, errors=_errors, torch="nn.functional.max_pool2d"
)  # fmt: skip
