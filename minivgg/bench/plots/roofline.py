"""The roofline: what each layer and algorithm reaches beside what the machine can compute and what its memory can deliver.

Williams, Waterman, Patterson: Roofline, Communications of the ACM 52 (2009). A filled dot counts the operations that are
executed in matrix products; the ring above it, on the same diagonal, those that the definition asks for in the same time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from minivgg.bench.ceilings import Ceilings, measure_ceilings
from minivgg.bench.measure import Result, measure
from minivgg.bench.plots.style import INK, PALE, algorithm_colours, figure, legend, save, spread
from minivgg.bench.problems import Problem
from minivgg.bench.work import executed_macs, least_bytes


def finding(results: Sequence[Result], ceilings: Ceilings) -> str:
    """The sentence above the plot: direct's best share of the peak, and how far the fastest algorithm goes beyond it in effect."""
    timed = [result for result in results if result.seconds]
    exact = [result for result in timed if executed_macs(result.problem.spec, result.algorithm) == result.problem.spec.macs]
    best = max(exact, key=lambda result: result.gflops)
    effective = max(timed, key=lambda result: result.gflops)
    first = f"{best.algorithm} reaches {best.gflops * 1e9 / ceilings.flops:.0%} of the peak at {best.problem.label}"
    if effective is best:
        return first
    return f"{first}; by multiplying less, {effective.algorithm} does the work of {effective.gflops * 1e9 / ceilings.flops:.1f} peaks"


def draw(results: Sequence[Result], ceilings: Ceilings, what: str, path: Path) -> None:
    """A dot a result; the layer's name below its lowest dot."""
    from matplotlib.lines import Line2D

    made, axes = figure(finding(results, ceilings), what, height=6.2)
    timed = [result for result in results if result.seconds]
    colours = algorithm_colours(list(dict.fromkeys(result.algorithm for result in timed)))
    layers: dict[str, list[tuple[float, float]]] = {}
    lowest = highest = ceilings.flops / 1e9
    left, right = 1e9, 0.0
    for result in timed:
        spec = result.problem.spec
        macs = executed_macs(spec, result.algorithm)
        if macs is None:
            continue
        x, y, more = 2 * macs / least_bytes(spec), 2 * macs / result.median / 1e9, spec.macs / macs
        colour = colours[result.algorithm]
        if more > 1.01:
            axes.plot([x, more * x], [y, more * y], color=colour, linewidth=0.8, alpha=0.6)
            axes.plot(more * x, more * y, "o", markersize=6, markerfacecolor="white", markeredgecolor=colour, markeredgewidth=1.3)
        axes.plot(x, y, "o", markersize=7, color=colour, markeredgecolor="white", markeredgewidth=0.6, zorder=3)
        layers.setdefault(result.problem.label, []).append((more * x, more * y))
        lowest, highest = min(lowest, y), max(highest, more * y)
        left, right = min(left, x), max(right, more * x)
    left, right, lowest, highest = left / 1.7, right * 1.7, lowest / 4.5, highest * 1.35
    ridge = ceilings.flops / ceilings.read
    axes.plot([left, max(ridge, left), right], [min(left * ceilings.read, ceilings.flops) / 1e9] + [ceilings.flops / 1e9] * 2, color=INK, linewidth=1.6)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(lowest, highest))
    many = f"{ceilings.threads} threads" if ceilings.threads > 1 else "1 thread"
    axes.text(left * 1.06, ceilings.flops / 1e9 * 1.03, f"peak: {ceilings.flops / 1e9:.0f} GFLOP/s, {many}", fontsize=8.5, color=INK, va="bottom")
    if left < ridge:
        middle, above = math.sqrt(left * ridge), math.sqrt(left * ridge) * ceilings.read / 1e9
        (x, y), (x2, y2) = axes.transData.transform([(middle, above), (ridge, ceilings.flops / 1e9)])
        slope = {"rotation": math.degrees(math.atan2(y2 - y, x2 - x)), "rotation_mode": "anchor", "ha": "center"}
        axes.text(middle, above / 1.08, f"memory: {ceilings.read / 1e9:.0f} GB/s", fontsize=8.5, color=INK, va="top", **slope)
    names = list(layers)
    columns = [layers[name][0][0] for name in names]
    width = math.log10(right / left)
    placed = [10**place for place in spread([math.log10(column) for column in columns], 0.028 * width)]
    for name, column, place in zip(names, columns, placed, strict=True):
        bottom = min(y for _, y in layers[name])
        floor = lowest * (highest / lowest) ** 0.13
        axes.plot([column, place], [bottom, floor], color=PALE, linewidth=0.5, alpha=0.5, zorder=0)
        axes.text(place, floor, name + " ", rotation=90, ha="center", va="top", fontsize=7.5, color=INK)
    axes.set_xlabel("operations for each byte that must be moved at least (input, weights and output once)")
    axes.set_ylabel("GFLOP/s")
    handles = [Line2D([], [], marker="o", linestyle="", color=colour, label=name) for name, colour in colours.items()]
    ring = Line2D([], [], marker="o", linestyle="", markerfacecolor="white", markeredgecolor=PALE, label="the definition's operations in the same time")
    legend(made, [*handles, ring])
    save(made, path)


def plot(problems: Sequence[Problem], names: Sequence[str], replicates: int, threads: int, where: str, path: Path) -> None:
    """Measure the ceilings and every problem, and draw both."""
    ceilings = measure_ceilings(threads)
    names = names or ["direct", "winograd_f2", "winograd_f4", "im2col"]
    results = [result for problem in problems for result in measure(problem, "output", names, replicates=replicates)]
    batch = ", ".join(str(n) for n in dict.fromkeys(problem.spec.n for problem in problems))
    draw(results, ceilings, f"convolutions forward, batch {batch}, float32; {where}", path)
