"""What speed costs in accuracy: every algorithm's error against its time, a panel a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from minivgg.bench.measure import Result, measure
from minivgg.bench.plots.style import INK, algorithm_colours, figure, save, spread
from minivgg.bench.problems import Problem
from minivgg.bench.report import by_problem

MOST = 4
"""Panels that a page has room for."""


def finding(results: Sequence[Result]) -> str:
    """The sentence above the plot: what the fastest gains and loses against the fastest of the most accurate half."""
    gains, losses = [], []
    for group in by_problem(results):
        timed = [result for result in group if result.seconds and result.error]
        fastest = min(timed, key=lambda result: result.median)
        exact = min((result for result in timed if result.algorithm == "direct"), key=lambda result: result.median, default=fastest)
        gains.append(exact.median / fastest.median)
        losses.append((fastest.error or 0) / (exact.error or 1))
    return (
        f"The fastest is {min(gains):.1f} to {max(gains):.1f} times as fast as direct convolution, and its error "
        f"{min(losses):.1f} to {max(losses):.1f} times as large"
    )  # fmt: skip


def draw(results: Sequence[Result], what: str, path: Path) -> None:
    """A dot an algorithm with its name beside it; lower left is better."""
    groups = by_problem(results)[:MOST]
    made, panels = figure(finding(results), what, width=max(3.2 * len(groups), 6.4), height=4.8, columns=len(groups))
    panels = panels if len(groups) > 1 else [panels]
    timed = [result for group in groups for result in group if result.seconds and result.error]
    colours = algorithm_colours(list(dict.fromkeys(result.algorithm for result in timed)))
    errors = [result.error or 1 for result in timed]
    low, high = min(errors) / 2, max(errors) * 2
    made.subplots_adjust(left=0.08, right=0.985, wspace=0.14, bottom=0.14)
    for axes, group in zip(panels, groups, strict=True):
        shown = [result for result in group if result.seconds and result.error]
        times = [1e3 * result.median for result in shown]
        left, right = min(times) / 1.5, max(times) * 4.2
        axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, high))
        room = 0.047 * math.log10(high / low)
        heights = [10**place for place in spread([math.log10(result.error or 1) for result in shown], room)]
        for result, height in zip(shown, heights, strict=True):
            x, y, colour = 1e3 * result.median, result.error or 1, colours[result.algorithm]
            axes.plot(x, y, "o", markersize=8, color=colour, markeredgecolor="white")
            label = x * (right / left) ** 0.05
            axes.plot([x, label], [y, height], color=colour, linewidth=0.6, alpha=0.7)
            axes.text(label, height, f" {result.algorithm}", va="center", ha="left", fontsize=8.5, color=INK)
        axes.set_title(f"{group[0].problem.label}   {group[0].problem.spec}", fontsize=8.5, loc="left", color=INK)
        axes.set_xlabel("ms")
        if axes is not panels[0]:
            axes.tick_params(labelleft=False)
    panels[0].set_ylabel("relative error (L2), against float64")
    save(made, path)


def plot(problems: Sequence[Problem], names: Sequence[str], replicates: int, where: str, path: Path) -> None:
    """Measure every algorithm on the problems and draw them."""
    results = [result for problem in problems[:MOST] for result in measure(problem, "output", names, replicates=replicates)]
    draw(results, f"convolution forward, float32, normally distributed numbers; {where}", path)
