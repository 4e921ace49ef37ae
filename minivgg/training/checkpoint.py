"""Checkpoints: everything a run needs to go on with the same bits, in one safetensors file.

The file holds the model's parameters and buffers, the state of the optimiser and of the schedule, the states of the
random generators, and the Position. It is replaced whole (``files.written_whole``): a run that is killed while it saves
still has the checkpoint before.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minivgg.data import DataLoader
from minivgg.errors import FileError
from minivgg.nn.module import Module
from minivgg.optim import Optimizer
from minivgg.optim.lr_scheduler import LRScheduler
from minivgg.random import default_generator
from minivgg.training.files import read_arrays, write_arrays
from minivgg.training.tree import join, split
from minivgg.training.weights import load_arrays


@dataclass
class Position:
    """How far a run has come, and what the epoch it stands in has added up so far."""

    epoch: int = 0
    """Epochs completed."""
    batch: int = 0
    """Batches of the current epoch completed."""
    step: int = 0
    seed: int | None = None
    """The seed of the current pass over the data; None between two epochs."""
    loss_sum: float = 0.0
    correct: int = 0
    images: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    metrics_bytes: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """What was reported of each epoch completed."""

    def count(self, loss: float, correct: int, images: int, seconds: float) -> None:
        """A batch was done."""
        self.batch += 1
        self.step += 1
        self.loss_sum += loss * images
        self.correct += correct
        self.images += images
        self.epoch_seconds += seconds
        self.seconds += seconds

    def next_epoch(self) -> None:
        """An epoch was done: another begins at 0."""
        self.epoch += 1
        self.batch, self.seed = 0, None
        self.loss_sum, self.correct, self.images, self.epoch_seconds = 0.0, 0, 0, 0.0


@dataclass(frozen=True)
class Run:
    """The parts of a training run that have state."""

    model: Module
    optimizer: Optimizer
    scheduler: LRScheduler | None
    train_loader: DataLoader

    def save(self, path: str | Path, position: Position) -> None:
        """Write a checkpoint."""
        state = {**self._state(), "position": asdict(position), "kinds": self._kinds()}
        arrays, metadata = split(state)
        write_arrays(Path(path), arrays, metadata)

    def restore(self, path: str | Path) -> Position:
        """Bring all parts to the state in a checkpoint and return the position. FileError says what does not fit; nothing is changed then."""
        path = Path(path)
        state = join(*read_arrays(path), path)
        if not isinstance(state, dict) or not {"model", "optimizer", "scheduler", "random", "position", "kinds"} <= state.keys():
            raise FileError("load", f"{path} is no checkpoint of a training run")
        for name, value in self._kinds().items():
            if state["kinds"].get(name) != value:
                raise FileError("load", f"{path} belongs to a run with {name} {state['kinds'].get(name)}, this one has {value}")
        before = self._state()
        before["model"] = {name: tensor.clone() for name, tensor in before["model"].items()}
        try:
            load_arrays(self.model, {name: tensor.array for name, tensor in state["model"].items()}, path)
            self._load(state)
            return Position(**state["position"])
        except Exception as error:  # half of a state is worse than none
            self.model.load_state_dict(before["model"])
            self._load(before)
            if isinstance(error, FileError):
                raise
            raise FileError("load", f"{path} does not fit this run: {error}") from error

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None,
            "random": {name: generator.get_state() for name, generator in self._generators().items()},
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        for name, generator in self._generators().items():
            generator.set_state(state["random"][name])

    def _generators(self) -> dict[str, Any]:
        own = self.train_loader.generator
        return {"default": default_generator} if own is None else {"default": default_generator, "loader": own}

    def _kinds(self) -> dict[str, Any]:
        """What must be the same for the state to have a meaning."""
        loader = self.train_loader
        return {
            "optimizer": type(self.optimizer).__name__,
            "scheduler": type(self.scheduler).__name__,
            "training images": len(loader.dataset),
            "batch size": loader.batch_size,
            "shuffle": loader.shuffle,
            "drop_last": loader.drop_last,
            "random generators": len(self._generators()),
        }
