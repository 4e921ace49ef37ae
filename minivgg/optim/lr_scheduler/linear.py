"""LinearLR: warm-up. The learning rate changes linearly during the first epochs."""

from __future__ import annotations

from minivgg.errors import ArgumentError
from minivgg.optim.lr_scheduler.base import LRScheduler
from minivgg.optim.optimizer import Optimizer


class LinearLR(LRScheduler):
    """lr = base · f, where f goes from start_factor to end_factor in ``total_iters`` steps and stays there.

    >>> import minivgg
    >>> optimizer = minivgg.optim.SGD([minivgg.zeros(1)], lr=1.0)
    >>> schedule = minivgg.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> for epoch in range(5):
    ...     print(schedule.get_last_lr()[0], end=" ")
    ...     schedule.step()
    0.25 0.5 0.75 1.0 1.0
    """

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ArgumentError("LinearLR", f"start_factor must lie in (0, 1], end_factor in [0, 1], got {start_factor} and {end_factor}")
        if total_iters < 1:
            raise ArgumentError("LinearLR", f"total_iters must be at least 1, got {total_iters}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def lr_at(self, base: float, epoch: int) -> float:
        done = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)
