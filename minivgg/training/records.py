"""What training reports: a Step, an Epoch, the History of a run, an Evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy


@dataclass(frozen=True)
class Step:
    """One update of the weights. Counts begin at 1; ``mean_`` is over the epoch so far, ``lr`` that of the first group."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    mean_loss: float
    mean_accuracy: float
    lr: float
    images_per_second: float
    seconds: float
    """Since the run began, interruptions not counted."""
    remaining: float
    """Seconds until the last epoch ends, at the pace so far."""

    def row(self) -> dict[str, Any]:
        """The line of the metrics file."""
        return {"kind": "step", **asdict(self)}


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data and, if there is held-out data, one over that."""

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    lr: float
    images_per_second: float
    """Of training alone."""
    train_seconds: float
    seconds: float
    test_loss: float | None = None
    test_accuracy: float | None = None

    def row(self) -> dict[str, Any]:
        """The line of the metrics file; what was not measured is left out."""
        return {"kind": "epoch", **{name: value for name, value in asdict(self).items() if value is not None}}


@dataclass
class History:
    """What a run has done, from its first beginning on, and whether it was asked to stop before the end."""

    epochs: list[Epoch] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    interrupted: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and accuracy over a data set, with the model's scores (logits) and the true class of each image."""

    loss: float
    accuracy: float
    seconds: float
    scores: numpy.ndarray
    labels: numpy.ndarray

    @property
    def predicted(self) -> numpy.ndarray:
        """The class with the highest score, for each image."""
        return self.scores.argmax(1)
