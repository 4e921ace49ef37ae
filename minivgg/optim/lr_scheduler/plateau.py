"""ReduceLROnPlateau: the learning rate falls when a metric stops improving. How the VGG paper trained."""

from __future__ import annotations

import math
from typing import Any, Literal

from minivgg.errors import ArgumentError
from minivgg.optim.lr_scheduler.base import LRScheduler
from minivgg.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """lr ← max(lr · factor, min_lr) after more than ``patience`` epochs without improvement.

    An improvement is a metric below best · (1 - threshold) for mode "min", above best · (1 + threshold) for "max";
    with ``threshold_mode="abs"``, below best - threshold or above best + threshold. For ``cooldown`` epochs after a
    reduction nothing is counted. Reductions by no more than ``eps`` are not made.

    VGG's rule (section 3.1), "divided by 10 when the validation accuracy stopped improving", is
    ``ReduceLROnPlateau(optimizer, mode="max")``.

    >>> import minivgg
    >>> optimizer = minivgg.optim.SGD([minivgg.zeros(1)], lr=1.0)
    >>> schedule = minivgg.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0, 1.0):
    ...     schedule.step(loss)
    ...     print(schedule.get_last_lr()[0], end=" ")
    1.0 1.0 1.0 0.5 0.5
    """

    def __init__(
        self, optimizer: Optimizer, mode: Literal["min", "max"] = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel", cooldown: int = 0, min_lr: list[float] | float = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError("ReduceLROnPlateau", f"expects an optimiser, got {type(optimizer).__name__}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ArgumentError("ReduceLROnPlateau", f"mode must be 'min' or 'max', threshold_mode 'rel' or 'abs', got {mode!r} and {threshold_mode!r}")
        if factor >= 1:
            raise ArgumentError("ReduceLROnPlateau", f"factor must be below 1, got {factor}")
        groups = len(optimizer.param_groups)
        if isinstance(min_lr, list | tuple) and len(min_lr) != groups:
            raise ArgumentError("ReduceLROnPlateau", f"min_lr must be one number, or one for each of the {groups} groups, got {min_lr}")
        self.optimizer = optimizer
        self.mode, self.factor, self.patience, self.threshold, self.threshold_mode = mode, factor, patience, threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = list(min_lr) if isinstance(min_lr, list | tuple) else [min_lr] * groups
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0
        self.best = math.inf if mode == "min" else -math.inf
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def is_better(self, metric: float) -> bool:
        """Whether ``metric`` improves on the best one so far."""
        sign = -1 if self.mode == "min" else 1
        bound = self.best * (1 + sign * self.threshold) if self.threshold_mode == "rel" else self.best + sign * self.threshold
        return metric < bound if self.mode == "min" else metric > bound

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Count an epoch that ended with this metric, a number or a tensor of one element."""
        metric = float(metrics)
        self.last_epoch += 1
        if self.is_better(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                reduced = max(group["lr"] * self.factor, least)
                if group["lr"] - reduced > self.eps:
                    group["lr"] = reduced
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
