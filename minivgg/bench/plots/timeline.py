"""Where a training step goes: each layer a row, each computation a bar from its beginning to its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minivgg.bench.plots.style import DIRECTION_COLOURS, INK, PALE, figure, legend, save
from minivgg.bench.profile import Event, middle, profile_steps

OTHERS = "loss and others"


def rows_of(events: Sequence[Event]) -> list[str]:
    """The rows from top to bottom: the layers with weights in the order in which they compute, everything else, the update."""
    layers = dict.fromkeys(event.layer for event in events if event.layer.startswith(("conv", "linear")))
    return [*layers, OTHERS, "SGD"]


def row_of(event: Event, rows: Sequence[str]) -> str:
    return event.layer if event.layer in rows else OTHERS


def finding(events: Sequence[Event]) -> str:
    """The sentence above the plot: the three directions' shares of the step, and the layer that takes most of it."""
    total, rows = events[-1].end, rows_of(events)
    share = {name: sum(event.seconds for event in events if event.direction == name) / total for name in DIRECTION_COLOURS}
    layers = {row: sum(event.seconds for event in events if row_of(event, rows) == row) / total for row in rows}
    most = max(layers, key=layers.__getitem__)
    return (
        f"Forward takes {share['forward']:.0%} of a training step, the gradients {share['input gradient']:.0%} (input) and "
        f"{share['weight gradient']:.0%} (weight), {most} alone {layers[most]:.0%}"
    )  # fmt: skip


def draw(events: Sequence[Event], what: str, path: Path) -> None:
    """The events of one step as a picture."""
    rows = rows_of(events)
    made, axes = figure(finding(events), what, height=1.9 + 0.26 * len(rows))
    made.subplots_adjust(left=0.13, right=0.9)
    for event in events:
        axes.barh(rows.index(row_of(event, rows)), 1e3 * event.seconds, 0.72, 1e3 * event.start, color=DIRECTION_COLOURS[event.direction], linewidth=0)
    end = 1e3 * events[-1].end
    for i, row in enumerate(rows):
        own = sum(1e3 * event.seconds for event in events if row_of(event, rows) == row)
        axes.text(1.015, i, f"{own:.0f} ms", transform=axes.get_yaxis_transform(), va="center", ha="left", fontsize=8.5, color=INK)
    turn = next(1e3 * event.start for event in events if event.direction not in ("forward", "update"))
    axes.axvline(turn, color=PALE, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.text(turn, -0.7, "forward ◂ ▸ backward", ha="center", va="bottom", fontsize=8, color=PALE)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, end * 1.005)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("milliseconds since the step began")
    legend(made, [axes.barh([0], [0], color=colour, label=name) for name, colour in DIRECTION_COLOURS.items()])
    save(made, path)


def plot(network: str, image: int, batch: int, where: str, path: Path) -> None:
    """Measure some steps and draw the one of median length."""
    events = middle(profile_steps(network, image, batch))
    draw(events, f"{network}, batch {batch}, {image}x{image}, float32, SGD with momentum; {where}", path)
