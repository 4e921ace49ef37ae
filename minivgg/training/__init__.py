"""Training: the loop, what it reports, and the files it leaves: metrics, checkpoints, weights."""

from minivgg.errors import FileError
from minivgg.training.checkpoint import Position, Run
from minivgg.training.divergence import DivergedError
from minivgg.training.loop import evaluate, fit
from minivgg.training.metrics import read_metrics
from minivgg.training.recipes import Recipe, digits_recipe
from minivgg.training.records import Epoch, Evaluation, History, Step
from minivgg.training.weights import load, save

__all__ = [
    "DivergedError", "Epoch", "Evaluation", "FileError", "History", "Position", "Recipe", "Run", "Step",
    "digits_recipe", "evaluate", "fit", "load", "read_metrics", "save",
]  # fmt: skip
