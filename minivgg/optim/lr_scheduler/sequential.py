"""SequentialLR: one schedule after another, such as a warm-up and then a cosine."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from minivgg.errors import ArgumentError
from minivgg.optim.lr_scheduler.base import LRScheduler
from minivgg.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """Schedule i begins, at its own epoch 0 and with the optimiser's first learning rate, at epoch milestones[i - 1].

    >>> import minivgg
    >>> optimizer = minivgg.optim.SGD([minivgg.zeros(1)], lr=1.0)
    >>> warm_up = minivgg.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> decay = minivgg.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> schedule = minivgg.optim.lr_scheduler.SequentialLR(optimizer, [warm_up, decay], milestones=[2])
    >>> for epoch in range(5):
    ...     print(schedule.get_last_lr()[0], end=" ")
    ...     schedule.step()
    0.5 0.75 1.0 0.5 0.25
    """

    def __init__(self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int]) -> None:
        if len(milestones) != len(schedulers) - 1 or sorted(milestones) != list(milestones):
            raise ArgumentError("SequentialLR", f"{len(schedulers)} schedules need one ascending milestone between any two, got {milestones}")
        for i, scheduler in enumerate(schedulers):
            if type(scheduler).lr_at is LRScheduler.lr_at:
                raise ArgumentError("SequentialLR", f"schedule {i}, {type(scheduler).__name__}, is not a function of the epoch")
            if scheduler.optimizer is not optimizer:
                raise ArgumentError("SequentialLR", f"schedule {i}, {type(scheduler).__name__}, belongs to another optimiser")
        self.optimizer, self.schedulers, self.milestones = optimizer, schedulers, list(milestones)
        self.restart()

    def _current(self) -> int:
        return bisect_right(self.milestones, self.last_epoch)

    def restart(self) -> None:
        self.last_epoch = 0
        self.schedulers[self._current()].restart()
        self._last_lr = self.schedulers[self._current()].get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        scheduler = self.schedulers[self._current()]
        if self.last_epoch in self.milestones:
            scheduler.restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "schedulers"})
        for scheduler, state in zip(self.schedulers, state_dict["schedulers"], strict=True):
            scheduler.load_state_dict(state)
