"""Losses as modules: CrossEntropyLoss, NLLLoss, MSELoss, with the arguments of their functions."""

from __future__ import annotations

from minivgg.autograd import Tensor
from minivgg.nn import functional as F
from minivgg.nn.module import Module


class CrossEntropyLoss(Module):
    """-Σ target · log_softmax(input); targets are class indices or probabilities. See ``functional.cross_entropy``.

    >>> import minivgg
    >>> CrossEntropyLoss()(minivgg.zeros(2, 10), minivgg.tensor([3, 7]))
    tensor(2.3026)
    """

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction, label_smoothing=self.label_smoothing
        )  # fmt: skip


class NLLLoss(Module):
    """-input[target], for log-probabilities. See ``functional.nll_loss``."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(Module):
    """(input - target)², its mean, its sum or as it is. See ``functional.mse_loss``."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)
