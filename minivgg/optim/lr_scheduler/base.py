"""LRScheduler: a learning rate that is a function of the epoch."""

from __future__ import annotations

from typing import Any

from minivgg.errors import ArgumentError
from minivgg.optim.optimizer import Optimizer


class LRScheduler:
    """Base class: a subclass writes ``lr_at(base, epoch)``. Call ``step()`` once an epoch, after the optimiser's.

    ``base`` is the learning rate that the optimiser had at the start (``initial_lr`` in its groups). Schedules multiply:
    if something else changed the rate in the meantime, by hand or in another schedule, a step applies the ratio of the
    new value to the old one.
    """

    floor = 0.0
    """The value that ``lr_at`` decays to; the ratio is that of the distances to it."""

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(type(self).__name__, f"expects an optimiser, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.last_epoch = -1
        self.step()

    def lr_at(self, base: float, epoch: int) -> float:
        """The learning rate in this epoch, if ``base`` was the one to start with."""
        raise NotImplementedError(f"{type(self).__name__}.lr_at")

    def step(self) -> None:
        """Go on to the next epoch: set ``lr`` in every group of the optimiser."""
        self.last_epoch += 1
        for group in self.optimizer.param_groups:
            base, lr = group.setdefault("initial_lr", group["lr"]), group["lr"]
            before = self.lr_at(base, self.last_epoch - 1) if self.last_epoch else base
            now = self.lr_at(base, self.last_epoch)
            if lr == before:
                group["lr"] = now
            elif before == self.floor:
                group["lr"] = lr + now - before
            else:
                group["lr"] = self.floor + (lr - self.floor) * (now - self.floor) / (before - self.floor)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def restart(self) -> None:
        """Begin again at epoch 0 with the learning rate that the optimiser had at the start."""
        self.last_epoch = -1
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self.step()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group since the last step."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser, as plain data. The rate itself is in the optimiser's own state."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned. Load the optimiser's state too, after the schedule was made."""
        vars(self).update(state_dict)
