"""CosineAnnealingLR: the learning rate falls along half a cosine."""

from __future__ import annotations

import math

from minivgg.errors import ArgumentError
from minivgg.optim.lr_scheduler.base import LRScheduler
from minivgg.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base - eta_min) · (1 + cos(π · epoch / T_max)) / 2; Loshchilov and Hutter 2017, arXiv:1608.03983.

    After ``T_max`` epochs the rate is ``eta_min``; stepping further, it rises again.

    >>> import minivgg
    >>> optimizer = minivgg.optim.SGD([minivgg.zeros(1)], lr=1.0)
    >>> schedule = minivgg.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    >>> for epoch in range(5):
    ...     print(f"{schedule.get_last_lr()[0]:.3f}", end=" ")
    ...     schedule.step()
    1.000 0.854 0.500 0.146 0.000
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        if T_max < 1:
            raise ArgumentError("CosineAnnealingLR", f"T_max must be at least 1, got {T_max}")
        self.T_max, self.floor = T_max, eta_min
        super().__init__(optimizer)

    def lr_at(self, base: float, epoch: int) -> float:
        return self.floor + (base - self.floor) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2
