"""Max pooling: the largest cell of each window. Forward gathers elements, backward scatters gradients to where they lay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import FLOATING, namespace
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.registry import ErrorSample, Operation, Sample, forced, select
from minivgg.spec import Pool2dSpec


class MaxPool2d(Function):
    """(values, indices). The indices are left out (None) where neither the caller nor a gradient needs them."""

    def forward(self, x, spec, algorithm, return_indices):
        self.spec = spec
        xp = namespace(x)
        out = xp.empty_like(x, shape=spec.output_shape)
        indices = xp.empty_like(out, dtype="int64") if return_indices or self.needs_input_grad[0] else None
        select("max_pool2d", spec, x.dtype, algorithm).run(spec, x, out, indices)
        if indices is None:
            return out
        self.size = spec.h, spec.w
        self.save_for_backward(indices)
        return out, indices

    def backward(self, grad, _):
        (indices,) = self.saved_tensors
        return ScatterPlanes.apply(grad, indices.array, self.size), None, None, None


class ScatterPlanes(Function):
    """Zeros (N, C, H, W) with each element of x (N, C, P, Q) added to its plane (n, c) at its index h·W + w."""

    def forward(self, x, indices, size):
        self.save_for_backward(indices)
        n, c = x.shape[:2]
        area = size[0] * size[1]
        # Windows that overlap share cells, so gradients are added up; positions in memory keep that one-dimensional, which is fast.
        channels_last = not x.flags.c_contiguous and x.transpose(0, 2, 3, 1).flags.c_contiguous
        axes, image, plane, element = ((0, 2, 3, 1), area * c, 1, c) if channels_last else ((0, 1, 2, 3), area * c, area, 1)
        xp = namespace(x)
        start = xp.arange(n).reshape(n, 1, 1, 1) * image + xp.arange(c).reshape(1, c, 1, 1) * plane
        positions = start + (indices if element == 1 else indices * element)
        memory = xp.zeros(n * c * area, x.dtype)
        xp.add.at(memory, positions.transpose(axes).reshape(-1), x.transpose(axes).reshape(-1))
        return memory.reshape(n, *size, c).transpose(0, 3, 1, 2) if channels_last else memory.reshape(n, c, *size)

    def backward(self, grad):
        (indices,) = self.saved_tensors
        return GatherPlanes.apply(grad, indices.array), None, None


class GatherPlanes(Function):
    """From each plane (n, c) of x the elements at these indices h·W + w: the transpose of ``ScatterPlanes``."""

    def forward(self, x, indices):
        self.save_for_backward(indices)
        n, c, h, w = x.shape
        self.size = h, w
        p, q = indices.shape[2:]
        return namespace(x).take_along_axis(x.reshape(n, c, h * w), indices.reshape(n, c, p * q), 2).reshape(n, c, p, q)

    def backward(self, grad):
        (indices,) = self.saved_tensors
        return ScatterPlanes.apply(grad, indices.array, self.size), None


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
    spec = Pool2dSpec.of("max_pool2d", input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    if input.dtype not in FLOATING:
        raise DtypeError("max_pool2d", f"takes float32 or float64, got {input.dtype}")
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
