"""nll_loss: the negative log-likelihood of the right classes, from logarithms of probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.backend import Array, namespace
from minivgg.device import may_look
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import read_int
from minivgg.ops.gather import Gather
from minivgg.ops.loss_reduction import check_loss_arguments, reduce_loss
from minivgg.ops.promotion import as_tensor
from minivgg.registry import ErrorSample, Operation, Sample


@dataclass(frozen=True)
class ClassTargets:
    """Class indices, checked against the input that they belong to.

    ``axis``     the input's dimension of classes
    ``index``    int64, the target with that dimension of size 1; class 0 stands where the target is ignored
    ``ignored``  boolean, in the target's shape; None if nothing is ignored
    ``weights``  the weight of each target's class, 0 where ignored; None without weights
    ``count``    what the mean divides by: the sum of those weights, or the number of targets that are not ignored
    """

    axis: int
    index: Array
    ignored: Array | None
    weights: Tensor | None
    count: int | Tensor

    def pick(self, log_probabilities: Tensor) -> Tensor:
        """-weight · log-probability of each target's class, in the target's shape."""
        losses = -Gather.apply(log_probabilities, self.axis, self.index).squeeze(self.axis)
        return self.mask(losses if self.weights is None else losses * self.weights)

    def mask(self, losses: Tensor) -> Tensor:
        """0 where the target is ignored, even if the loss there is infinite."""
        return losses if self.ignored is None else losses.masked_fill(Tensor(self.ignored), 0.0)


def class_axis(operation: str, input: Tensor) -> int:
    """Classes stand in dimension 1, and alone in an unbatched input."""
    if not input.ndim:
        raise ShapeError(operation, "input must be (C,), (N, C) or (N, C, d1, ...), got a single number")
    return 0 if input.ndim == 1 else 1


def class_weights(operation: str, input: Tensor, weight: Any) -> Tensor | None:
    """One weight a class, in the input's dtype."""
    if weight is None:
        return None
    weight, classes = as_tensor(weight), input.shape[class_axis(operation, input)]
    if weight.shape != (classes,):
        raise ShapeError(operation, f"weight must hold one number for each of the {classes} classes, got shape {weight.shape}", input=input.shape)
    return weight.to(input.dtype)


def read_class_targets(operation: str, input: Tensor, target: Any, weight: Any, ignore_index: int) -> ClassTargets:
    """Check that each target is a class of ``input`` or ignored, and look up its weight."""
    ignore_index = read_int(operation, "ignore_index", ignore_index)
    axis, target, weight = class_axis(operation, input), as_tensor(target), class_weights(operation, input, weight)
    classes, expected = input.shape[axis], input.shape[:axis] + input.shape[axis + 1 :]
    if target.dtype.kind not in "iu":
        raise DtypeError(operation, f"class indices must be integers, got {target.dtype}", input=input.shape, target=target.shape)
    if target.shape != expected:
        raise ShapeError(operation, f"an input of shape {input.shape} needs class indices of shape {expected}, got {target.shape}")
    xp = namespace(target.array)
    index = target.array.astype("int64")
    ignored = xp.asarray(index == ignore_index)
    if not classes and index.size:
        raise ShapeError(operation, f"an input of no classes has no class indices, not even ignored ones, got {index.size} (input {input.shape})")
    wrong = ((index < 0) | (index >= classes)) & ~ignored
    if may_look(wrong) and wrong.any():
        raise ArgumentError(operation, f"class indices must lie in [0, {classes - 1}] or be ignore_index {ignore_index}, got {int(index[wrong][0])}")
    count: int | Tensor
    if isinstance(index, numpy.ndarray):
        count = int(index.size - ignored.sum())
    else:  # the host does not wait for a number that only the device needs
        count = Tensor((~ignored).sum(dtype=input.dtype))
    if isinstance(count, int) and count == index.size:
        ignored = None
    else:
        index = xp.where(ignored, 0, index)
    weights = None
    if weight is not None:
        weights = weight[index]
        weights = weights if ignored is None else weights.masked_fill(Tensor(ignored), 0.0)
        count = weights.sum()
    return ClassTargets(axis, xp.expand_dims(index, axis), ignored, weights, count)


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """loss_n = -weight[t_n] · input[n, t_n], where t_n = target[n] is the class of sample n.

    ``input`` holds logarithms of probabilities (see ``log_softmax``): (C,), (N, C) or (N, C, d1, ...);
    ``target`` integers: (), (N,) or (N, d1, ...); ``weight`` (C,), 1 for all if left out. Targets equal to
    ``ignore_index`` count nothing. ``"mean"`` divides the sum by Σ weight[t_n] over the others (nan if there are none).

    >>> import minivgg
    >>> log_probabilities = minivgg.tensor([[0.5, 0.5], [0.25, 0.75]]).log()
    >>> minivgg.nn.functional.nll_loss(log_probabilities, minivgg.tensor([0, 0]), reduction="none")
    tensor([0.6931, 1.3863])
    """
    check_loss_arguments("nll_loss", input, reduction)
    targets = read_class_targets("nll_loss", input, target, weight, ignore_index)
    return reduce_loss(targets.pick(input), reduction, targets.count)


def nll_oracle(x, target, weight=None, ignore_index=-100, reduction="mean"):
    """The definition, one target at a time."""
    axis = 0 if x.ndim == 1 else 1
    losses, total = numpy.zeros(target.shape), 0.0
    for place in numpy.ndindex(*target.shape):
        t = int(target[place])
        if t != ignore_index:
            w = 1.0 if weight is None else float(weight[t])
            losses[place] = -w * x[(*place[:axis], t, *place[axis:])]
            total += w
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / total if total else math.nan


def class_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    """Every form of input and target; also the samples of ``cross_entropy``."""
    for shape in ((4, 3), (3,), (2, 3, 2, 2), (2, 1)):
        axis = 0 if len(shape) == 1 else 1
        target = rng.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
        for reduction in ("none", "mean", "sum"):
            yield Sample((rng.standard_normal(shape), numpy.asarray(target)), {"reduction": reduction})
        yield Sample((rng.standard_normal(shape), numpy.asarray(target)), {"weight": rng.uniform(0.5, 2.0, shape[axis])})
    yield Sample((rng.standard_normal((4, 3)), numpy.array([2, -100, 0, -100])))
    yield Sample((rng.standard_normal((4, 3)), numpy.array([2, 1, 0, 1])), {"weight": rng.uniform(0.5, 2.0, 3), "ignore_index": 1})
    yield Sample((rng.standard_normal((4, 3)), numpy.array([2, 1, 0, 1])), {"ignore_index": 0, "reduction": "none"})


def class_errors(name: str) -> Iterable[ErrorSample]:
    """The refusals that ``nll_loss`` and ``cross_entropy`` share."""
    x, t = numpy.zeros((2, 3)), numpy.array([0, 2])
    yield ErrorSample((x, t), {"reduction": "avg"}, ArgumentError, f"{name}: reduction must be 'none', 'mean' or 'sum', got 'avg'")
    yield ErrorSample((x.astype("int64"), t), {}, DtypeError, f"{name}: input must be float32 or float64, got int64")
    yield ErrorSample((x, t.astype("float64")), {}, DtypeError, f"{name}: class indices must be integers, got float64 (input (2, 3), target (2,))")
    yield ErrorSample((x, numpy.array([0, 1, 2])), {}, ShapeError, f"{name}: an input of shape (2, 3) needs class indices of shape (2,), got (3,)")
    yield ErrorSample((numpy.zeros(()), t), {}, ShapeError, f"{name}: input must be (C,), (N, C) or (N, C, d1, ...), got a single number")
    yield ErrorSample((x, numpy.array([0, 3])), {}, ArgumentError, f"{name}: class indices must lie in [0, 2] or be ignore_index -100, got 3")
    yield ErrorSample((x, numpy.array([-1, 0])), {}, ArgumentError, f"{name}: class indices must lie in [0, 2] or be ignore_index -100, got -1")
    text = f"{name}: weight must hold one number for each of the 3 classes, got shape (2,) (input (2, 3))"
    yield ErrorSample((x, t), {"weight": numpy.ones(2)}, ShapeError, text)


OPERATION = Operation(
    nll_loss,
    shapes="N C ..., N ... -> N ... | N C ..., N ... -> () | C, () -> ()",
    samples=class_samples,
    oracle=nll_oracle,
    errors=lambda: class_errors("nll_loss"),
    torch="nn.functional.nll_loss",
)
