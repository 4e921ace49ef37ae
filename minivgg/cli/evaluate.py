"""``minivgg eval``: how many digits trained weights read rightly, and which they confuse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minivgg.cli.train import RUN


def evaluate(
    weights: Annotated[Path, typer.Argument(help="A run's folder, a checkpoint, or a file of weights.")] = RUN,
    training_part: Annotated[bool, typer.Option("--train", help="On the digits that it was trained with.")] = False,
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Evaluate trained weights on the 360 held-out digits: accuracy and loss, digit by digit, and what is taken for what.

        minivgg eval
        minivgg eval runs/short --json
    """  # fmt: skip
    from minivgg.cli.console import console, print_json, table
    from minivgg.cli.report.sections import confusion
    from minivgg.cli.run_folder import trained_model
    from minivgg.data import DataLoader, digits
    from minivgg.training import evaluate as run

    found = run(trained_model(weights, device), DataLoader(digits(train=training_part), batch_size=256, device=device))
    counts = confusion(found.labels, found.predicted)
    if json:
        print_json({
            "weights": str(weights), "part": "train" if training_part else "test", "images": len(found.labels),
            "accuracy": found.accuracy, "loss": found.loss, "confusion": counts,
        })  # fmt: skip
        return
    shown = table("", "digit", "images", "right", "", "taken for", left=1)
    shown.columns[-1].justify = "left"
    for label, row in enumerate(counts):
        wrong = sorted(((n, other) for other, n in enumerate(row) if n and other != label), reverse=True)
        taken = ", ".join(f"{other} ({n}×)" for n, other in wrong)
        shown.add_row(str(label), str(sum(row)), str(row[label]), f"{row[label] / max(sum(row), 1):.1%}", taken)
    out = console()
    out.print(shown)
    right = sum(counts[i][i] for i in range(len(counts)))
    out.print(f"{right} of {len(found.labels)} right: {found.accuracy:.2%}; cross entropy {found.loss:.4f}")
