"""What the demo has found so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

    from minivgg.bench.measure import Result
    from minivgg.inspect import Inspection
    from minivgg.nn import Module
    from minivgg.testing import OperationReport
    from minivgg.training import History

GOAL = 0.99
"""The share of held-out digits that a complete run is expected to read rightly."""


@dataclass
class Findings:
    """The results of the parts; None or empty for those that were not reached."""

    folder: Path
    settings: dict[str, Any]
    quick: bool = False
    inspection: Inspection | None = None
    gradients: list[OperationReport] = field(default_factory=list)
    model: Module | None = None
    history: History | None = None
    results: list[Result] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def accuracy(self) -> float | None:
        """On the held-out digits, after the last epoch."""
        return self.history.epochs[-1].test_accuracy if self.history and self.history.epochs else None

    def answers(self) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """The held-out images (N, 1, 8, 8), their labels, and the probabilities that the network gives."""
        from minivgg.cli.answers import probabilities
        from minivgg.data import digits

        images, labels = (tensor.numpy() for tensor in digits(train=False).tensors)
        assert self.model is not None
        return images, labels, probabilities(self.model, images)

    def problems(self) -> list[str]:
        """What went wrong, in a sentence each: wrong gradients, wrong algorithms, too many misread digits after a full training."""
        found = [f"the gradient of {report.name} is wrong" for report in self.gradients if not report.ok]
        found += [f"{r.algorithm} at {r.problem.label} is {r.refusal}" for r in self.results if r.refusal.startswith("wrong")]
        if self.accuracy is not None and self.accuracy < GOAL and self.settings["epochs"] >= 30 and not self.interrupted:
            found.append(f"only {self.accuracy:.2%} of the held-out digits were read rightly, expected at least {GOAL:.0%}")
        return found
