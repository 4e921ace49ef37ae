"""StepLR and MultiStepLR: the learning rate falls in steps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from minivgg.errors import ArgumentError
from minivgg.optim.lr_scheduler.base import LRScheduler
from minivgg.optim.optimizer import Optimizer


class StepLR(LRScheduler):
    """lr = base · gamma^⌊epoch / step_size⌋.

    >>> import minivgg
    >>> optimizer = minivgg.optim.SGD([minivgg.zeros(1)], lr=1.0)
    >>> schedule = minivgg.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for epoch in range(5):
    ...     print(schedule.get_last_lr()[0], end=" ")
    ...     schedule.step()
    1.0 1.0 0.5 0.5 0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise ArgumentError("StepLR", f"step_size must be at least 1, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def lr_at(self, base: float, epoch: int) -> float:
        return base * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """lr = base · gamma^(number of milestones that the epoch has reached).

    >>> import minivgg
    >>> optimizer = minivgg.optim.SGD([minivgg.zeros(1)], lr=1.0)
    >>> schedule = minivgg.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 4], gamma=0.5)
    >>> for epoch in range(5):
    ...     print(schedule.get_last_lr()[0], end=" ")
    ...     schedule.step()
    1.0 0.5 0.5 0.5 0.25
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def lr_at(self, base: float, epoch: int) -> float:
        return base * self.gamma ** bisect_right(self.milestones, epoch)
