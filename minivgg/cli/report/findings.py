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
"""The share of held-out digits that the recipe reads rightly, on average over seeds."""


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
        """What is wrong, in a sentence each: gradients and algorithms."""
        found = [f"the gradient of {report.name} is wrong" for report in self.gradients if not report.ok]
        return found + [f"{r.algorithm} at {r.problem.label} is {r.refusal}" for r in self.results if r.refusal.startswith("wrong")]

    def shortfall(self) -> str:
        """A sentence if a complete training missed the goal. Rounding differs between machines, and one digit more or less decides."""
        if self.accuracy is None or self.accuracy >= GOAL or self.interrupted or self.settings["epochs"] < 30:
            return ""
        return f"{self.accuracy:.2%} is less than the {GOAL:.0%} that this recipe reaches on average; `minivgg train --seed 1 --out runs/other` may do better"
