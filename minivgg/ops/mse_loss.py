"""mse_loss: the mean squared error, the loss of regression."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy

from minivgg.autograd import Tensor
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.arithmetic import sub
from minivgg.ops.loss_reduction import check_loss_arguments, reduce_loss
from minivgg.ops.promotion import as_tensor
from minivgg.registry import ErrorSample, Operation, Sample


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """(input - target)², elementwise; then their mean, their sum, or (``"none"``) all of them.

    Both have one shape; other shapes are broadcast with a warning, because (N, 1) against (N,) makes N · N errors.
    Both are differentiable.

    >>> import minivgg
    >>> minivgg.nn.functional.mse_loss(minivgg.tensor([1.0, 5.0]), minivgg.tensor([1.0, 2.0]))
    tensor(4.5000)
    """
    check_loss_arguments("mse_loss", input, reduction)
    target = as_tensor(target, input, "mse_loss")
    if target.dtype.kind == "b":
        raise DtypeError("mse_loss", "target must hold numbers, got bool")
    if target.shape != input.shape:
        warnings.warn(f"mse_loss: target of shape {target.shape} is broadcast with input of shape {input.shape}; give both one shape", stacklevel=2)
    error = sub(input, target)
    squares = error * error
    return reduce_loss(squares, reduction, squares.numel())


def _oracle(x, t, reduction="mean"):
    """The definition, one element at a time."""
    squares = numpy.array([(float(a) - float(b)) ** 2 for a, b in zip(x.flat, t.flat, strict=True)]).reshape(x.shape)
    return squares if reduction == "none" else squares.sum() if reduction == "sum" else squares.sum() / squares.size


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape in ((3,), (2, 3), (), (2, 1, 2, 2)):
        for reduction in ("none", "mean", "sum"):
            yield Sample((rng.standard_normal(shape), rng.standard_normal(shape)), {"reduction": reduction})
    yield Sample((rng.standard_normal((2, 3)), rng.standard_normal((2, 3))))


def _errors() -> Iterable[ErrorSample]:
    x = numpy.zeros((2, 3))
    yield ErrorSample((x, x), {"reduction": "avg"}, ArgumentError, "mse_loss: reduction must be 'none', 'mean' or 'sum', got 'avg'")
    yield ErrorSample((x.astype("int64"), x), {}, DtypeError, "mse_loss: input must be float32 or float64, got int64")
    yield ErrorSample((x, x.astype("bool")), {}, DtypeError, "mse_loss: target must hold numbers, got bool")


OPERATION = Operation(mse_loss, shapes="*, * -> * | *, * -> ()", samples=_samples, oracle=_oracle, errors=_errors, torch="nn.functional.mse_loss")
