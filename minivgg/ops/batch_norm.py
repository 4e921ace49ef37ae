"""Batch normalisation: each channel shifted and scaled to mean 0 and variance 1 (Ioffe and Szegedy 2015)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy

from minivgg.autograd import Function, Tensor, is_grad_enabled
from minivgg.backend import Array, empty, empty_like, is_writeable
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_flags, check_floating, check_numbers, check_tensors
from minivgg.registry import ErrorSample, Operation, Sample, formula, kernel


class Standardize(Function):
    """(y, r, mean, variance) with y = (x - mean) · r and r = 1 / √(variance + eps), over ``axes``.

    With averages ⟨ ⟩ over the m elements of a channel, dL/dx = r · (ȳ - ⟨ȳ⟩ - y · (⟨ȳ·y⟩ + r·r̄/m)). That takes y and r
    alone; r is an output so that the formula itself, which contains r, can be differentiated: r̄ is 0 in a first derivative.
    Mean and variance, for the running statistics, carry no gradient.
    """

    def forward(self, x, axes, eps):
        self.axes = axes
        # Adding up in float64 costs little; subtracting the mean before squaring is what saves the digits of a small variance.
        mean = x.mean(axes, keepdims=True, dtype="float64").astype(x.dtype)
        y = x - mean
        variance = (y * y).mean(axes, keepdims=True, dtype="float64").astype(x.dtype)
        r = (variance + eps) ** -0.5
        y *= r
        self.save_for_backward(y, r)
        self.mark_non_differentiable(mean, variance)
        return y, r, mean, variance

    def backward(self, grad, grad_r, *_):
        y, r = self.saved_tensors
        count = y.numel() // r.numel()
        projection = (grad * y).mean(self.axes, keepdim=True) + r * grad_r / count
        return (grad - grad.mean(self.axes, keepdim=True) - y * projection) * r, None, None


class Problem(NamedTuple):
    """What the kernels are told."""

    shape: tuple[int, ...]
    eps: float


@formula("batch_norm")
def _batch_norm(spec, x, w, b, out, mean, variance):
    numbers = (1, -1) + (1,) * (len(spec.shape) - 2)
    axes = (0, *range(2, len(spec.shape)))
    # Adding up in float64 costs little; subtracting the mean before squaring is what saves the digits of a small variance.
    mean[...] = x.mean(axes, dtype="float64")
    out[...] = x - mean.reshape(numbers)
    variance[...] = (out * out).mean(axes, dtype="float64")
    out *= ((variance + spec.eps) ** -0.5 if w is None else (variance + spec.eps) ** -0.5 * w).reshape(numbers)
    if b is not None:
        out += b.reshape(numbers)


@formula("batch_norm_grad")
def _batch_norm_grad(spec, grad, x, w, mean, variance, dx, dw, db):
    numbers = (1, -1) + (1,) * (len(spec.shape) - 2)
    axes, root = (0, *range(2, len(spec.shape))), (variance + spec.eps) ** -0.5
    y = (x - mean.reshape(numbers)) * root.reshape(numbers)
    db[...] = grad.sum(axes)
    dw[...] = (grad * y).sum(axes)
    scale, count = root if w is None else root * w, x.size // x.shape[1]
    dx[...] = (grad - (db / count).reshape(numbers) - y * (dw / count).reshape(numbers)) * scale.reshape(numbers)


class BatchNorm(Function):
    """(out, mean, variance) of a batch. Saves the input; a recorded backward computes ``Standardize`` again, to be differentiated."""

    def forward(self, x, w, b, eps):
        self.spec = Problem(x.shape, eps)
        out, mean, variance = empty_like(x), empty((x.shape[1],), x.dtype, x), empty((x.shape[1],), x.dtype, x)
        _of("batch_norm", self.spec, x)(self.spec, x, w, b, out, mean, variance)
        self.save_for_backward(x, w, mean, variance)
        self.mark_non_differentiable(mean, variance)
        return out, mean, variance

    def backward(self, grad, *_):
        x, w, mean, variance = self.saved_tensors
        return *(self.recorded(grad, x, w) if is_grad_enabled() else self.at_once(grad, x, w, mean, variance)), None

    def at_once(self, grad, x, w, mean, variance, **behind):
        """The gradients of x, w and b by the kernel; ``behind``: what it has to know of what it fuses."""
        dx, dw, db = empty_like(x.array), empty(mean.shape, x.dtype, x.array), empty(mean.shape, x.dtype, x.array)
        weight = None if w is None else w.array
        _of("batch_norm_grad", self.spec, x.array)(self.spec, grad.array, x.array, weight, mean.array, variance.array, dx, dw, db, **behind)
        need_w, need_b = self.needs_input_grad[1:3]
        return Tensor(dx), Tensor(dw) if need_w else None, Tensor(db) if need_b else None

    def recorded(self, grad, x, w):
        """The same by operations that can be differentiated."""
        axes = (0, *range(2, x.ndim))
        y, r, _, _ = Standardize.apply(x, axes, self.spec.eps)
        numbers = (1, x.shape[1]) + (1,) * (x.ndim - 2)
        g = grad if w is None else grad * w.reshape(numbers)
        dx = (g - g.mean(axes, keepdim=True) - y * (g * y).mean(axes, keepdim=True)) * r
        need_w, need_b = self.needs_input_grad[1:3]
        return dx, (grad * y).sum(axes) if need_w else None, grad.sum(axes) if need_b else None


def _of(operation: str, spec: Any, x: Any) -> Any:
    """The compiled kernel is for images."""
    if x.ndim == 4:
        return kernel(operation, spec, x)
    return {"batch_norm": _batch_norm, "batch_norm_grad": _batch_norm_grad, "scale_and_shift": _scale_and_shift}[operation]


@formula("scale_and_shift")
def _scale_and_shift(shape, x, slope, offset, out):
    numbers = (1, -1) + (1,) * (len(shape) - 2)
    out[...] = x if slope is None else x * slope.reshape(numbers)
    if offset is not None:
        out += offset.reshape(numbers)


class ScaleAndShift(Function):
    """x · slope + offset, each (C,) or None. Its own transpose without the offset."""

    def forward(self, x, slope, offset):
        self.save_for_backward(x if self.needs_input_grad[1] else None, slope)
        out = empty_like(x)
        _of("scale_and_shift", x.shape, x)(x.shape, x, slope, offset, out)
        return out

    def backward(self, grad):
        x, slope = self.saved_tensors
        need_x, need_slope, need_offset = self.needs_input_grad
        axes = (0, *range(2, grad.ndim))
        grad_x = (grad if slope is None else ScaleAndShift.apply(grad, slope, None)) if need_x else None
        return grad_x, (grad * x).sum(axes) if need_slope else None, grad.sum(axes) if need_offset else None


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None, bias: Tensor | None = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """out[:, c] = (input[:, c] - mean[c]) / √(variance[c] + eps) · weight[c] + bias[c].

    ``input``     (N, C) or (N, C, ...), float32 or float64
    ``training``  True: mean and variance are those of the batch, over all dimensions but C (the variance divided by their
                  number m), and the running ones move: running = (1 - momentum) · running + momentum · batch, in place,
                  where the running variance takes the unbiased batch variance (divided by m - 1). False: the running ones are used
    others        (C,) in the input's dtype, or None

    Source: arXiv:1502.03167. Cost: 2 passes over the input in training and 2 for its
    gradients, 1 in evaluation.

    >>> import minivgg
    >>> x, mean, var = minivgg.tensor([[1.0], [3.0]]), minivgg.zeros(1), minivgg.ones(1)
    >>> minivgg.nn.functional.batch_norm(x, mean, var, training=True, momentum=0.5, eps=1e-7)
    tensor([[-1.0000],
            [ 1.0000]])
    >>> mean, var
    (tensor([1.]), tensor([1.5000]))
    """
    check_batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    count = math.prod(input.shape) // max(input.shape[1], 1)
    out, scale, shift = input, weight, bias
    if training and count:
        out, mean, variance = BatchNorm.apply(input, weight, bias, eps)
        scale = shift = None
        move_statistics(running_mean, running_var, momentum, mean.array, variance.array * (count / (count - 1)))
    elif not training and running_mean is not None and running_var is not None:
        scale = (running_var + eps) ** -0.5 if weight is None else (running_var + eps) ** -0.5 * weight
        shift = -running_mean * scale if bias is None else bias - running_mean * scale
    if scale is None and shift is None:
        return out
    return ScaleAndShift.apply(out, scale, shift)


@numpy.errstate(over="ignore", invalid="ignore")  # inf and nan are results, as everywhere
def move_statistics(running_mean: Tensor | None, running_var: Tensor | None, momentum: float, mean: Array, variance: Array) -> None:
    """running = (1 - momentum) · running + momentum · batch, in place and not recorded."""
    for running, batch in ((running_mean, mean), (running_var, variance)):
        if running is not None:
            running.array[...] = (1 - momentum) * running.array + momentum * batch
            running._version[0] += 1  # a graph that saved the old values must notice


def check_batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None, bias: Tensor | None,
    training: bool, momentum: float, eps: float,
) -> None:  # fmt: skip
    check_floating("batch_norm", input)
    check_flags("batch_norm", training=training)
    check_numbers("batch_norm", momentum=momentum, eps=eps)
    if input.ndim < 2:
        raise ShapeError("batch_norm", f"input must be (N, C) or (N, C, ...), got {input.ndim} dimensions", input=input.shape)
    for name, tensor in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if tensor is not None:
            check_tensors("batch_norm", input=input, **{name: tensor})
        if tensor is not None and tensor.shape != (input.shape[1],):
            raise ShapeError("batch_norm", f"{name} expects {input.shape[1]} numbers, one a channel, got shape {tensor.shape}", input=input.shape)
        if tensor is not None and training and name.startswith("running") and not is_writeable(tensor.array):
            raise ArgumentError("batch_norm", f"{name} is moved in training, but its memory is read-only")
        if tensor is not None and tensor.dtype != input.dtype:
            raise DtypeError("batch_norm", f"takes tensors of one dtype, got input {input.dtype}, {name} {tensor.dtype}")
    if not training and (running_mean is None or running_var is None):
        raise ArgumentError("batch_norm", "needs running_mean and running_var outside training")
    if (running_mean is None) != (running_var is None):
        raise ArgumentError("batch_norm", "takes both running_mean and running_var, or neither")
    if eps < 0:
        raise ArgumentError("batch_norm", f"eps must be at least 0, got {eps}")
    if training and eps <= 0:
        raise ArgumentError("batch_norm", f"eps must be positive in training, got {eps}")
    if training and math.prod(input.shape) == input.shape[1] > 0:
        raise ShapeError("batch_norm", "needs more than one value a channel in training: the variance of a single one says nothing", input=input.shape)


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    def vectors(c: int, count: int) -> list[numpy.ndarray]:
        return [rng.uniform(0.5, 1.5, c) for _ in range(count)]

    for shape in ((4, 3), (2, 3, 4, 2), (3, 2, 5)):
        x = rng.standard_normal(shape) * 2 + 1
        yield Sample((x, None, None, *vectors(shape[1], 2)), {"training": True})
        yield Sample((x, *vectors(shape[1], 4)))
    yield Sample((rng.standard_normal((3, 2, 2, 2)), None, None), {"training": True, "eps": 0.1})
    yield Sample((numpy.zeros((0, 2, 3, 3)), *vectors(2, 3)), {"training": False})


def _oracle(
    x: numpy.ndarray, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> numpy.ndarray:  # fmt: skip
    """The definition, one channel after the other."""
    out = numpy.empty_like(x)
    for c in range(x.shape[1]):
        mean, variance = (x[:, c].mean(), x[:, c].var()) if training else (running_mean[c], running_var[c])
        out[:, c] = (x[:, c] - mean) / numpy.sqrt(variance + eps)
        out[:, c] = out[:, c] * (1 if weight is None else weight[c]) + (0 if bias is None else bias[c])
    return out


def _errors() -> Iterable[ErrorSample]:
    x, ones = numpy.zeros((4, 3, 2, 2)), numpy.ones(3)

    def error(kind: type[Exception], problem: str, *args: Any, **kwargs: Any) -> ErrorSample:
        return ErrorSample(args, kwargs, kind, f"batch_norm: {problem}")

    single = "needs more than one value a channel in training: the variance of a single one says nothing (input (1, 3, 1, 1))"
    yield error(ShapeError, single, x[:1, :, :1, :1], ones, ones, training=True)
    yield error(ShapeError, "input must be (N, C) or (N, C, ...), got 1 dimensions (input (3,))", ones, ones, ones)
    yield error(ShapeError, "weight expects 3 numbers, one a channel, got shape (4,) (input (4, 3, 2, 2))", x, ones, ones, numpy.ones(4))
    yield error(ArgumentError, "needs running_mean and running_var outside training", x, None, None)
    yield error(ArgumentError, "takes both running_mean and running_var, or neither", x, ones, None, training=True)
    yield error(ArgumentError, "momentum must be a finite number, got inf", x, ones, ones, training=True, momentum=math.inf)
    yield error(ArgumentError, "eps must be at least 0, got -2", x, ones, ones, eps=-2)
    yield error(ArgumentError, "eps must be positive in training, got 0.0", x, ones, ones, training=True, eps=0.0)
    yield error(DtypeError, "takes float32 or float64, got int64", x.astype("int64"), ones, ones)
    yield error(DtypeError, "takes tensors of one dtype, got input float64, running_mean float32", x, ones.astype("float32"), ones)


OPERATION = Operation(
    batch_norm, shapes="N C ..., C?, C?, C?, C? -> N C ...", samples=_samples, oracle=_oracle, errors=_errors, torch="nn.functional.batch_norm"
)  # fmt: skip
