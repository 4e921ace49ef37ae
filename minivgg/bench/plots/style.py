"""How a plot looks: a title that states the finding, a line below it that says of what, few lines, colours that stay apart."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INK, PALE, GRID = "#1d2733", "#66707c", "#dfe3e8"
COLOURS = ["#2a78d6", "#d9822b", "#1a9e77", "#8257c9", "#d0528a", "#a3851c", "#5bb5c9", "#b04a3a", "#77808c"]

DIRECTION_COLOURS = {
    "forward": "#2a78d6", "input gradient": "#1a9e77", "weight gradient": "#d9822b", "rest of backward": "#9aa5b1", "update": "#8257c9",
}  # fmt: skip


def algorithm_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each algorithm."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def figure(title: str, subtitle: str, width: float = 9.6, height: float = 5.6, columns: int = 1) -> tuple[Any, Any]:
    """A figure with its title and one or several axes side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made, axes = pyplot.subplots(1, columns, figsize=(width, height), dpi=160, squeeze=False)
    lines = textwrap.wrap(title, int(8.8 * width))
    below = 0.24 * (len(lines) - 1)  # inches that a second line takes
    made.suptitle("\n".join(lines), x=0.02, y=1 - 0.16 / height, ha="left", va="top", fontsize=12, fontweight="bold", color=INK)
    made.text(0.02, 1 - (0.46 + below) / height, subtitle, ha="left", va="top", fontsize=9, color=PALE)
    made.subplots_adjust(top=1 - (0.95 + below) / height, left=0.09, right=0.97, bottom=0.95 / height)
    for each in axes[0]:
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(PALE)
        each.tick_params(colors=INK, labelsize=8.5)
        each.grid(color=GRID, linewidth=0.6)
        each.set_axisbelow(True)
        each.xaxis.label.set_color(INK)
        each.yaxis.label.set_color(INK)
    return made, axes[0] if columns > 1 else axes[0][0]


def legend(made: Any, handles: Sequence[Any]) -> None:
    """One row of names below everything."""
    made.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8.5, labelcolor=INK, handlelength=1.4, columnspacing=1.6)


def save(made: Any, path: Path) -> None:
    """Write the picture in the form that its name asks for."""
    from matplotlib import pyplot

    made.savefig(path)
    pyplot.close(made)


def spread(places: Sequence[float], distance: float) -> list[float]:
    """The places moved apart, in their order, so that neighbours are at least so far from each other.

    >>> spread([0.0, 0.1, 5.0], 1.0)
    [-0.45, 0.55, 5.0]
    """
    groups: list[list[float]] = []  # (places in it): each group is laid out around its mean
    for place in sorted(places):
        groups.append([place])
        while len(groups) > 1 and _first(groups[-1], distance) - _last(groups[-2], distance) < distance:
            last = groups.pop()
            groups[-1] += last
    laid = [round(_first(group, distance) + i * distance, 9) for group in groups for i in range(len(group))]
    order = sorted(range(len(places)), key=lambda i: places[i])
    result = [0.0] * len(places)
    for position, i in zip(laid, order, strict=True):
        result[i] = position
    return result


def _first(group: Sequence[float], distance: float) -> float:
    return sum(group) / len(group) - (len(group) - 1) * distance / 2


def _last(group: Sequence[float], distance: float) -> float:
    return _first(group, distance) + (len(group) - 1) * distance
