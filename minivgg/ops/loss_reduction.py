"""What every loss does at its end: keep the losses of the elements, add them up, or take their mean."""

from __future__ import annotations

from minivgg.autograd import Tensor
from minivgg.backend import FLOATING
from minivgg.errors import ArgumentError, DtypeError
from minivgg.ops.arguments import check_tensors, hint

REDUCTIONS = ("none", "mean", "sum")


def check_loss_arguments(operation: str, input: Tensor, reduction: str) -> None:
    """Refuse an unknown reduction, and an input that is not floating."""
    if reduction not in REDUCTIONS:
        raise ArgumentError(operation, f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    check_tensors(operation, input=input)
    if input.dtype not in FLOATING:
        raise DtypeError(operation, f"input must be float32 or float64, got {input.dtype}{hint(input.dtype)}")


def reduce_loss(losses: Tensor, reduction: str, count: int | Tensor) -> Tensor:
    """``losses``, their sum, or their sum / ``count``: the mean over nothing is nan.

    >>> import minivgg
    >>> reduce_loss(minivgg.tensor([1.0, 2.0, 6.0]), "mean", 3)
    tensor(3.)
    """
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / count
