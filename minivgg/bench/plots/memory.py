"""What a training step holds: bytes in use against time, with the layers' names where they take it and give it back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minivgg.bench.plots.style import DIRECTION_COLOURS, INK, figure, legend, save
from minivgg.bench.profile import Event, middle, profile_steps

MIB = 2**20


def finding(events: Sequence[Event]) -> str:
    """The sentence above the plot: the peak, and what of it is there before the step begins."""
    peak = max(events, key=lambda event: event.held)
    return f"A step begins with {events[0].held / MIB:,.0f} MiB of weights and momentum, and holds at most {peak.held / MIB:,.0f}, at {peak.layer}"


def spans(events: Sequence[Event]) -> list[tuple[str, float, float, int]]:
    """(layer, first second, last second, bytes at the most) of neighbouring events of one layer, of layers with weights and the update."""
    found: list[tuple[str, float, float, int]] = []
    for event in events:
        if not event.layer.startswith(("conv", "linear", "SGD")):
            continue
        same = found and found[-1][0] == event.layer
        layer, start, _, held = found.pop() if same else (event.layer, event.start, 0.0, 0)
        found.append((layer, start, event.end, max(held, event.reserved)))
    return found


def draw(events: Sequence[Event], what: str, path: Path) -> None:
    """The bytes after each event as steps, coloured by direction."""
    made, axes = figure(finding(events), what, width=10.4)
    made.subplots_adjust(left=0.075, right=0.985)
    top, end = max(event.reserved for event in events) / MIB, 1e3 * events[-1].end
    for before, event in zip([events[0], *events], events, strict=False):
        axes.fill_between(
            [1e3 * before.end * (event is not before), 1e3 * event.end], [event.held / MIB] * 2, color=DIRECTION_COLOURS[event.direction], linewidth=0
        )
    times = [1e3 * event.end for event in events]
    axes.plot(times, [event.held / MIB for event in events], color=INK, linewidth=1, drawstyle="steps-pre")
    axes.plot(times, [event.reserved / MIB for event in events], color=INK, linewidth=0.8, linestyle=(0, (3, 2)), label="and kept for the next array")
    last = -0.006 * end
    for layer, start, stop, held in spans(events):
        place = max(1e3 * (start + stop) / 2, last + 0.0165 * end)
        if place < 1e3 * stop + 0.0165 * end:  # what is too short has no room for its name
            axes.text(place, held / MIB + 0.02 * top, layer, rotation=90, ha="center", va="bottom", fontsize=7.5, color=INK)
            last = place
    axes.set_ylim(0, top * 1.16)
    axes.set_xlim(0, end)
    axes.set_xlabel("milliseconds since the step began (following every allocation slows it down)")
    axes.set_ylabel("MiB in use")
    bars = [axes.fill_between([0], [0], color=colour, label=name) for name, colour in DIRECTION_COLOURS.items()]
    legend(made, [*bars, axes.lines[-1]])
    save(made, path)


def plot(network: str, image: int, batch: int, where: str, path: Path) -> None:
    """Follow the memory of some steps and draw one."""
    events = middle(profile_steps(network, image, batch, steps=3, memory=True))
    draw(events, f"{network}, batch {batch}, {image}x{image}, float32, SGD with momentum; {where}", path)
