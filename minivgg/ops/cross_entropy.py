"""cross_entropy: the loss of classification, from the scores of the classes (logits)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy

from minivgg.autograd import Function, Tensor, is_grad_enabled
from minivgg.backend import FLOATING, empty, empty_like, namespace
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.arguments import check_numbers, read_int
from minivgg.ops.loss_reduction import check_loss_arguments, reduce_loss
from minivgg.ops.nll_loss import ClassTargets, class_axis, class_errors, class_samples, class_weights, nll_oracle, read_class_targets
from minivgg.ops.promotion import as_tensor
from minivgg.ops.softmax import log_softmax, softmax
from minivgg.registry import ErrorSample, Operation, Sample, formula, kernel


class Problem(NamedTuple):
    """What the kernels are told: (rows, classes), and how much of each target is spread over all classes."""

    shape: tuple[int, int]
    label_smoothing: float


@formula("cross_entropy")
def _cross_entropy(spec, x, target, losses, tops, logs):
    xp = namespace(x)
    tops[...] = x.max(1)
    shifted = x - tops[:, None]
    logs[...] = xp.log(xp.exp(shifted).sum(1))
    losses[...] = logs - xp.take_along_axis(shifted, xp.maximum(target, 0)[:, None], 1)[:, 0]
    if spec.label_smoothing:
        losses *= 1 - spec.label_smoothing
        losses += spec.label_smoothing * (logs - shifted.mean(1))
    xp.copyto(losses, 0, where=target < 0)


@formula("cross_entropy_grad")
def _cross_entropy_grad(spec, x, target, tops, logs, scale, dx):
    xp = namespace(x)
    dx[...] = xp.exp((x - tops[:, None]) - logs[:, None])
    dx -= _shares(spec, target, dx)
    dx *= scale[:, None]
    xp.copyto(dx, 0, where=(target < 0)[:, None])


def _shares(spec, target, like):
    """q: what each target says of the classes."""
    xp, (rows, classes) = namespace(like), spec.shape
    q = xp.full_like(like, spec.label_smoothing / classes)
    q[xp.arange(rows), xp.maximum(target, 0)] += 1 - spec.label_smoothing
    return q


class CrossEntropy(Function):
    """The losses of the rows of x, or their sum over ``divisor``. A negative target is ignored.

    Saves the input and two numbers a row. A recorded backward computes the probabilities anew, to be differentiated.
    """

    def forward(self, x, target, smoothing, divisor):
        self.spec, self.divisor = Problem(x.shape, smoothing), None
        if divisor is not None:  # 0: all rows are ignored, and have no gradient
            self.divisor = max(divisor, 1) if isinstance(divisor, int) else namespace(x).maximum(divisor, 1)
        losses, tops, logs = (empty((x.shape[0],), x.dtype, x) for _ in range(3))
        kernel("cross_entropy", self.spec, x)(self.spec, x, target, losses, tops, logs)
        self.save_for_backward(x, target, tops, logs)
        return losses if divisor is None else namespace(x).asarray(losses.sum() / divisor)

    def backward(self, grad):
        x, target, tops, logs = self.saved_tensors
        if is_grad_enabled():
            dx = softmax(x, 1) - Tensor(_shares(self.spec, target.array, x.array))
            scale = grad.unsqueeze(1) if self.divisor is None else grad / self.divisor
            return dx.masked_fill(Tensor(target.array < 0).unsqueeze(1), 0.0) * scale, None, None, None
        dx, scale = empty_like(x.array), empty(tops.shape, x.dtype, x.array)
        scale[...] = grad.array if self.divisor is None else grad.array / self.divisor
        kernel("cross_entropy_grad", self.spec, dx)(self.spec, x.array, target.array, tops.array, logs.array, scale, dx)
        return Tensor(dx), None, None, None


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
) -> Tensor:  # fmt: skip
    """loss_n = -Σ_c weight[c] · q[n, c] · log_softmax(input)[n, c], where q is what the target says of the classes.

    ``input`` (C,), (N, C) or (N, C, d1, ...). ``target`` is either class indices (integers: (), (N,) or (N, d1, ...)),
    so that q is 1 for that class and 0 for the others, or the probabilities q themselves (floating, in the input's shape;
    differentiable). ``label_smoothing`` ε replaces q by (1 - ε) · q + ε / C (Szegedy et al. 2016, arXiv:1512.00567,
    section 7).

    ``"mean"`` divides the sum of the losses by Σ weight[t_n] over the targets that are not ``ignore_index`` (nan if there
    are none); with probabilities, which cannot be ignored, by the number of losses.

    Before training, C equally likely classes cost ln C: 6.908 for 1000.

    >>> import minivgg
    >>> scores = minivgg.zeros(2, 1000)
    >>> minivgg.nn.functional.cross_entropy(scores, minivgg.tensor([3, 999]))
    tensor(6.9078)
    """
    check_loss_arguments("cross_entropy", input, reduction)
    check_numbers("cross_entropy", label_smoothing=label_smoothing)
    ignore_index = read_int("cross_entropy", "ignore_index", ignore_index)
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError("cross_entropy", f"label_smoothing must lie in [0, 1], got {label_smoothing}")
    axis, target = class_axis("cross_entropy", input), as_tensor(target)
    if target.shape == input.shape:
        return _with_probabilities(input, target, weight, ignore_index, reduction, label_smoothing)
    targets = read_class_targets("cross_entropy", input, target, weight, ignore_index)
    if targets.weights is None and input.numel():
        return _without_weights(input, axis, targets, reduction, label_smoothing)
    log_p = log_softmax(input, axis)
    loss = reduce_loss(targets.pick(log_p), reduction, targets.count)
    if not label_smoothing:
        return loss
    spread = reduce_loss(targets.mask(-_weighted(log_p, weight).sum(axis)), reduction, targets.count)
    return loss * (1 - label_smoothing) + spread * (label_smoothing / max(input.shape[axis], 1))


def _without_weights(input: Tensor, axis: int, targets: ClassTargets, reduction: str, label_smoothing: float) -> Tensor:
    """In one pass over rows of scores, one class each."""
    index = targets.index if targets.ignored is None else namespace(targets.index).where(targets.ignored, -1, targets.index.squeeze(axis))
    others = [dim for dim in range(input.ndim) if dim != axis]
    rows = input if input.ndim == 2 else input.permute(*others, axis).reshape(-1, input.shape[axis])
    count = targets.count.array if isinstance(targets.count, Tensor) else targets.count
    divisor = {"none": None, "sum": 1, "mean": count}[reduction]
    loss = CrossEntropy.apply(rows, index.reshape(-1), label_smoothing, divisor)
    return loss if divisor is not None else loss.reshape(input.shape[:axis] + input.shape[axis + 1 :])


def _with_probabilities(input: Tensor, target: Tensor, weight: Any, ignore_index: int, reduction: str, label_smoothing: float) -> Tensor:
    if target.dtype not in FLOATING:
        raise DtypeError("cross_entropy", f"a target in the shape of the input, {input.shape}, holds probabilities and must be floating, got {target.dtype}")
    if ignore_index >= 0:
        raise ArgumentError("cross_entropy", f"ignore_index {ignore_index} needs class indices, the target holds probabilities")
    axis = class_axis("cross_entropy", input)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / max(input.shape[axis], 1)
    losses = -(_weighted(log_softmax(input, axis), weight) * target).sum(axis)
    return reduce_loss(losses, reduction, losses.numel())


def _weighted(log_p: Tensor, weight: Any) -> Tensor:
    """Each class times its weight."""
    weights = class_weights("cross_entropy", log_p, weight)
    if weights is None:
        return log_p
    return log_p * weights.reshape(-1, *(1,) * (log_p.ndim - class_axis("cross_entropy", log_p) - 1))


def _oracle(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The definition: log-probabilities with exact sums, q written out in full, one loss at a time."""
    axis = 0 if x.ndim == 1 else 1
    rows, classes = numpy.moveaxis(x, axis, -1), x.shape[axis]
    log_p = numpy.zeros(rows.shape)
    for place in numpy.ndindex(*rows.shape[:-1]):
        log_p[place] = rows[place] - max(rows[place]) - math.log(math.fsum(math.exp(v - max(rows[place])) for v in rows[place]))
    weight = numpy.ones(classes) if weight is None else weight
    if target.shape != x.shape and not label_smoothing:
        return nll_oracle(numpy.moveaxis(log_p, -1, axis), target, weight, ignore_index, reduction)
    losses, total = numpy.zeros(rows.shape[:-1]), 0.0
    for place in numpy.ndindex(*rows.shape[:-1]):
        if target.shape == x.shape:
            q = numpy.moveaxis(target, axis, -1)[place]
            total += 1
        elif target[place] == ignore_index:
            continue
        else:
            q = numpy.eye(classes)[target[place]]
            total += weight[target[place]]
        q = (1 - label_smoothing) * q + label_smoothing / classes
        losses[place] = -math.fsum(weight * q * log_p[place])
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / total if total else math.nan


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    yield from class_samples(rng)
    for sample in class_samples(rng):
        yield Sample(sample.args, {**sample.kwargs, "label_smoothing": 0.2})
    for shape in ((4, 3), (3,), (2, 3, 2)):
        axis = 0 if len(shape) == 1 else 1
        probabilities = rng.uniform(0.1, 1.0, shape)
        probabilities /= probabilities.sum(axis, keepdims=True)
        for options in ({}, {"reduction": "none", "label_smoothing": 0.1}, {"weight": rng.uniform(0.5, 2.0, 3)}):
            yield Sample((rng.standard_normal(shape), probabilities), options)


def _errors() -> Iterable[ErrorSample]:
    yield from class_errors("cross_entropy")
    x, t = numpy.zeros((2, 3)), numpy.array([0, 2])
    yield ErrorSample((x, t), {"label_smoothing": 1.5}, ArgumentError, "cross_entropy: label_smoothing must lie in [0, 1], got 1.5")
    text = "cross_entropy: a target in the shape of the input, (2, 3), holds probabilities and must be floating, got int64"
    yield ErrorSample((x, numpy.zeros((2, 3), "int64")), {}, DtypeError, text)
    text = "cross_entropy: ignore_index 1 needs class indices, the target holds probabilities"
    yield ErrorSample((x, numpy.zeros((2, 3))), {"ignore_index": 1}, ArgumentError, text)


OPERATION = Operation(
    cross_entropy,
    shapes="N C ..., N ... -> N ... | N C ..., N ... -> () | C, () -> () | N C ..., N C ... -> N ... | *, * -> ()",
    samples=_samples,
    oracle=_oracle,
    errors=_errors,
    torch="nn.functional.cross_entropy",
)
