"""Results of measurements for a machine (JSON) and for a page (bars); what tables are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minivgg.bench import compare
from minivgg.bench.compare import NetworkResult, linear_fit
from minivgg.bench.machine import machine
from minivgg.bench.measure import Result
from minivgg.bench.turns import quartiles

CONVENTIONS = {
    "dtype": "float32",
    "flops": "2 n k p q (c/groups) r s, the definition's, whatever the algorithm does",
    "error": "‖found - truth‖ / ‖truth‖, truth by im2col in float64",
    "seconds": "one number a turn, competitors in turns",
    "workspace": "bytes of scratch memory beyond input and output; null: not known",
}


def as_data(results: Sequence[Result]) -> dict[str, Any]:
    """Everything that was measured, and on what machine, as plain data."""
    rows = []
    for result in results:
        first, median, third = result.quartiles
        figures = {"median": median, "first_quartile": first, "third_quartile": third, "gflops": result.gflops} if result.seconds else {}
        rows.append({
            "problem": str(result.problem.spec), "name": result.problem.name, "count": result.problem.count, "macs": result.problem.spec.macs,
            "direction": result.direction, "algorithm": result.algorithm, "backend": result.backend,
            "error": result.error if result.error is not None and math.isfinite(result.error) else None,
            "allowed_error": result.allowed, "workspace": result.workspace, "refusal": result.refusal or None, "seconds": result.seconds, **figures,
        })  # fmt: skip
    return {"machine": machine(), "conventions": CONVENTIONS, "results": rows}


def networks_as_data(results: Sequence[NetworkResult]) -> dict[str, Any]:
    """The same for whole networks."""
    rows = []
    for result in results:
        case, finite = result.case, result.error is not None and math.isfinite(result.error)
        first, median, third = quartiles(result.seconds)
        figures = {"median": median, "first_quartile": first, "third_quartile": third} if result.seconds else {}
        rows.append({
            "network": case.network, "image": case.image, "batch": case.batch, "direction": case.direction, "threads": case.threads,
            "competitor": result.competitor, "settings": result.settings, "error": result.error if finite else None,
            "memory": result.memory, "refusal": result.refusal or None, "seconds": result.seconds, **figures,
        })  # fmt: skip
    return {"machine": machine(), "conventions": compare.CONVENTIONS, "results": rows}


UNITS = {"batch": "an image", "image": "a thousand pixels"}
"""Of a line's slope, by what grows along it."""


def curves(results: Sequence[NetworkResult], what: str) -> dict[tuple[str, str, str], list[tuple[float, float]]]:
    """Median times over batch size, or over thousands of pixels ("image"), for each (competitor, kind of work, size that stays) in order."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for result in results:
        case = result.case
        if result.seconds:
            size, stays = (case.batch, f"{case.image}x{case.image}") if what == "batch" else (case.image**2 / 1e3, f"batch {case.batch}")
            key = result.competitor, f"{case.network} {case.direction}, threads {case.threads}", stays
            found.setdefault(key, []).append((size, result.median))
    return {key: sorted(points) for key, points in found.items()}


def fits(results: Sequence[NetworkResult]) -> list[str]:
    """A sentence a competitor: its median time as a line over batch size, and over pixels, where at least three of them were measured."""
    sentences = []
    for what, unit in UNITS.items():
        for (name, work, stays), points in curves(results, what).items():
            if len({x for x, _ in points}) >= 3:
                start, slope, r2 = linear_fit(points)
                sentences.append(f"{name}, {work}, {stays}: {1e3 * start:.1f} ms + {1e3 * slope:.1f} ms {unit}, R² {r2:.4f} over {len(points)} sizes")
    return sentences


def by_problem(results: Sequence[Result]) -> list[list[Result]]:
    """The results in groups of competitors."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((str(result.problem), result.direction), []).append(result)
    return list(groups.values())


def totals(results: Sequence[Result]) -> dict[str, float]:
    """Seconds that each algorithm takes for all problems, each as often as its ``count`` says; of those that did all."""
    groups = by_problem(results)
    names = dict.fromkeys(result.algorithm for result in results)
    times = {name: [r.median * r.problem.count for group in groups for r in group if r.algorithm == name and r.seconds] for name in names}
    return {name: sum(found) for name, found in times.items() if len(found) == len(groups)}


def plot(results: Sequence[Result], path: Path, title: str) -> None:
    """Bars of the medians with quartiles, a group a layer, on a logarithmic axis, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = by_problem(results)
    names = list(dict.fromkeys(result.algorithm for result in results if result.seconds))
    figure, axes = pyplot.subplots(figsize=(max(6.4, 0.28 * len(groups) * (len(names) + 1) + 2.2), 4.2), dpi=160, layout="constrained")
    colours = ["#2a78d6", "#d9822b", "#1a9e77", "#8257c9", "#d0528a", "#a3851c", "#5bb5c9", "#b04a3a", "#77808c", "#222222"]
    width = 0.86 / max(len(names), 1)
    for i, name in enumerate(names):
        found = [(place, result) for place, group in enumerate(groups) for result in group if result.algorithm == name and result.seconds]
        middles = [result.median * 1e3 for _, result in found]
        below = [(result.median - result.quartiles[0]) * 1e3 for _, result in found]
        above = [(result.quartiles[2] - result.median) * 1e3 for _, result in found]
        places = [place + (i - (len(names) - 1) / 2) * width for place, _ in found]
        axes.bar(places, middles, width * 0.9, yerr=[below, above], label=name, color=colours[i % len(colours)], error_kw={"elinewidth": 1, "ecolor": "#333"})
    axes.set_yscale("log")
    axes.set_ylabel("median time, quartiles (ms)")
    axes.set_xticks(range(len(groups)), [group[0].problem.label for group in groups], rotation=30 if len(groups) > 6 else 0)
    axes.set_xlabel(f"layer (direction: {', '.join(dict.fromkeys(result.direction for result in results))})")
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(axis="y", which="major", linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(names), fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2 if len(groups) <= 6 else -0.28))
    figure.savefig(path)
    pyplot.close(figure)
