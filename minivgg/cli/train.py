"""``minivgg train``: the small VGG on the handwritten digits that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RUN = Path("runs/digits")
"""Where a run is kept if nobody says otherwise."""


def train(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where checkpoint, metrics and settings are kept.")] = RUN,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training digits.", show_default="50")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step.", show_default="64")] = None,
    lr: Annotated[float | None, typer.Option(min=0.0, help="Learning rate at the beginning; it falls along a cosine.", show_default="0.02")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Determines initial weights, order, augmentation and dropout.", show_default="0")] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
) -> None:
    """Train MiniVGG on 1,437 handwritten digits of 8x8 pixels, and test it on 360 others after each epoch.

    A checkpoint is written after each epoch, and when Ctrl-C ends the run; `--resume` goes on to the same bits as if nothing
    had happened. `metrics.jsonl` has one JSON object a step and one an epoch.

        minivgg train
        minivgg train --epochs 10 --seed 3 --out runs/short
        minivgg train --resume
        minivgg train --device cuda
    """
    from minivgg.cli.console import INTERRUPTED, console, duration
    from minivgg.cli.run_folder import CHECKPOINT, METRICS, settings_of, train_in

    settings = settings_of(out, {"seed": seed, "epochs": epochs, "batch_size": batch_size, "lr": lr}, resume)
    _, history = train_in(out, settings, device)
    place = "" if out == RUN else f" --out {out}"
    print_line = console().print
    if history.interrupted:
        print_line(f"stopped after {history.steps:,} steps; go on with: minivgg train --resume{place}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    last = history.epochs[-1]
    print_line(f"{last.test_accuracy:.2%} of the held-out digits right, after {len(history.epochs)} epochs in {duration(history.seconds)}")
    print_line(f"weights in {out / CHECKPOINT}, metrics in {out / METRICS}", soft_wrap=True)
    print_line(f"see what it reads: minivgg predict{'' if out == RUN else f' --weights {out}'}", soft_wrap=True)
