"""A run's folder: its settings, its metrics, its checkpoint; and how ``train`` and ``demo`` begin it or go on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivgg.errors import ArgumentError

if TYPE_CHECKING:
    from minivgg.nn import Module
    from minivgg.training import History, Recipe

CHECKPOINT, METRICS, SETTINGS = "checkpoint.safetensors", "metrics.jsonl", "settings.json"
DEFAULTS: dict[str, Any] = {"seed": 0, "epochs": 50, "batch_size": 64, "lr": 0.02}
"""The settings of a run that names none: those that ``digits_recipe`` was measured with."""


def settings_of(folder: Path, wanted: dict[str, Any], resume: bool) -> dict[str, Any]:
    """The settings to train with; None in ``wanted`` means: not named. Raises ArgumentError if the folder holds another run."""
    begun = (folder / CHECKPOINT).exists()
    named = {name: value for name, value in wanted.items() if value is not None}
    if not begun:
        return {**DEFAULTS, **named}
    if not resume:
        raise ArgumentError("train", f"{folder} holds a run already: add --resume to go on with it, or --out for another folder")
    try:
        kept = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArgumentError("train", f"{folder / SETTINGS} cannot be read ({error}); begin anew in another folder") from None
    changed = [f"{name} {kept[name]}, not {value}" for name, value in named.items() if kept[name] != value]
    if changed:
        raise ArgumentError("train", f"the run in {folder} was begun with {'; '.join(changed)}")
    return kept


def train_in(folder: Path, settings: dict[str, Any], device: str = "cpu") -> tuple[Recipe, History]:
    """Train on the digits, with progress, from the folder's checkpoint on if there is one. Ctrl-C ends it after a step."""
    from minivgg.bench.machine import set_threads
    from minivgg.cli.progress import TrainingProgress
    from minivgg.training import digits_recipe

    recipe = digits_recipe(**settings, device=device)  # what cannot be made leaves no folder behind
    set_threads(1)  # layers of 8x8 pixels leave a second thread nothing but waiting, which costs several times the work where cores are shared
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    with TrainingProgress(recipe.epochs) as progress:
        history = recipe.fit(
            metrics_path=folder / METRICS, checkpoint_path=folder / CHECKPOINT, resume=True, on_step=progress.step, on_epoch=progress.epoch
        )  # fmt: skip
    return recipe, history


def trained_model(path: Path, device: str = "cpu") -> Module:
    """The network for digits on ``device``, with the weights of a run's folder, or of a file. Raises FileNotFoundError if there is none."""
    from minivgg.models import MiniVGG
    from minivgg.training import load

    file = path / CHECKPOINT if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(f"there are no weights at {path}: train first with `minivgg train --out {path}`, or name another place")
    model = MiniVGG().to(device=device)
    load(model, file)
    return model
