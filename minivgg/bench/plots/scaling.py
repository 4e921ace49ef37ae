"""How time grows with the work: a network's time over batch size and over pixels, with the line that fits it best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy

from minivgg.bench.compare import NetworkResult, linear_fit
from minivgg.bench.plots.style import COLOURS, INK, figure, save, spread
from minivgg.bench.report import UNITS, curves

AXES = {"batch": "images at once", "image": "thousand pixels of an image"}


def finding(results: Sequence[NetworkResult]) -> str:
    """The sentence above the plot: that of the longest times, over batch size if that varies."""
    what, found = next((what, found) for what in UNITS if (found := [points for points in curves(results, what).values() if len(points) > 1]))
    start, slope, r2 = linear_fit(max(found, key=lambda points: points[-1][1]))
    return f"Time is a line: {1e3 * start:.3g} ms, and {1e3 * slope:.3g} ms {UNITS[what]} (R² {r2:.4f})"


def draw(results: Sequence[NetworkResult], where: str, path: Path) -> None:
    """A panel for each size that varies; a dot a measurement, a line a competitor and other size."""
    panels = {what: found for what in UNITS if (found := {key: points for key, points in curves(results, what).items() if len(points) > 1})}
    works = dict.fromkeys(work for found in panels.values() for _, work, _ in found)
    made, axes = figure(finding(results), f"{'; '.join(works)}; float32, {where}", width=5.6 * max(len(panels), 1.4), columns=len(panels))
    made.subplots_adjust(left=0.08, right=0.97, wspace=0.2, bottom=0.13)
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(result.competitor for result in results))}
    for (what, found), panel in zip(panels.items(), axes if len(panels) > 1 else [axes], strict=True):
        end = max(x for points in found.values() for x, _ in points)
        top = 1e3 * max(y for points in found.values() for _, y in points)
        panel.set(xlim=(0, 1.4 * end), ylim=(0, 1.1 * top), xlabel=AXES[what])
        lines = {key: linear_fit(points) for key, points in found.items()}
        heights = spread([1e3 * (start + slope * end) for start, slope, _ in lines.values()], 0.05 * top)
        for (key, points), (start, slope, r2), height in zip(found.items(), lines.values(), heights, strict=True):
            name, _, stays = key
            x, y = numpy.array(points).T
            panel.plot([0, end], [1e3 * start, 1e3 * (start + slope * end)], color=colours[name], linewidth=1)
            panel.plot(x, 1e3 * y, "o", markersize=6, color=colours[name], markeredgecolor="white")
            panel.text(1.02 * end, height, f"{name}, {stays}\nR² {r2:.4f}" if len(lines) < 8 else f"{name}, {stays}", va="center", fontsize=8, color=INK)
    (axes[0] if len(panels) > 1 else axes).set_ylabel("ms")
    save(made, path)
