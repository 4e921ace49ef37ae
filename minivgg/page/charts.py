"""Charts as inline SVG: curves, dots on a logarithmic axis, a confusion matrix, blocks. Colours come from the page's CSS.

Each function takes plain numbers and returns one ``<svg>`` element. Series ``i`` has the class ``s{i}``, for which the page
defines a colour in light and in dark; every mark carries a ``<title>``, which browsers show when the pointer rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

Point = tuple[float, float]


class Span(NamedTuple):
    """A median between its quartiles: the series, the three numbers, and what is said when the pointer rests on it."""

    series: int
    low: float
    value: float
    high: float
    note: str


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """One label."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(width: float, height: float, body: Sequence[str], name: str, style: str = "chart") -> str:
    """The element around the marks; ``name`` is what a screen reader says."""
    return f'<svg class="{style}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(name)}">{"".join(body)}</svg>'


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between ``low`` and ``high``, roughly ``about`` of them.

    >>> ticks(0.0, 1.0), ticks(3, 47)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [10, 20, 30, 40])
    """
    raw = (high - low) / about or 1.0
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m for m in (magnitude, 2 * magnitude, 5 * magnitude, 10 * magnitude) if m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [int(i * step) if step >= 1 else round(i * step, 10) for i in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """The powers of ten that enclose ``low`` to ``high``.

    >>> decades(3e-3, 20)
    [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]
    """
    return [10.0**e for e in range(math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9) + 1)]


def power(value: float) -> str:
    """A power of ten as an axis writes it: 10⁻⁸, but 0.1, 1 and 10 as they are."""
    exponent = round(math.log10(value))
    return f"{value:g}" if -2 <= exponent <= 3 else "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def lines(series: dict[str, list[Point]], x_label: str, y_label: str, logarithmic: bool = False, percent: bool = False) -> str:
    """Curves with their names at the ends; the highest and lowest points set the axis."""
    width, height, left, right, top, bottom = 500.0, 290.0, 52.0, 74.0, 30.0, 44.0
    points = [point for curve in series.values() for point in curve]
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    values = [max(y, 1e-12) if logarithmic else y for _, y in points]
    if logarithmic:
        marks = decades(min(values), max(values))
        low, high = math.log10(marks[0]), math.log10(marks[-1])
    else:
        spread = max(values) - min(values) or 1.0
        low, high = min(values) - 0.04 * spread, 1.0 if percent else max(values) + 0.04 * spread
        marks = ticks(low, high)
    high = high if high > low else low + 1

    def at(x: float, y: float) -> Point:
        level = math.log10(max(y, 1e-12)) if logarithmic else y
        across = (x - x_low) / ((x_high - x_low) or 1)
        return left + across * (width - left - right), height - bottom - (level - low) / (high - low) * (height - top - bottom)

    body = [text(0, 14, y_label, "axis")]
    for mark in marks:
        y = at(x_low, mark)[1]
        label = f"{mark * 100:g} %" if percent else power(mark) if logarithmic else f"{mark:g}"
        body += [f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>', text(left - 8, y + 4, label, "tick", "end")]
    for mark in (mark for mark in ticks(x_low, x_high, 6) if mark == int(mark)):
        x = at(mark, points[0][1])[0]
        body.append(text(x, height - bottom + 20, f"{mark:g}", "tick", "middle"))
    body.append(text((left + width - right) / 2, height - 6, x_label, "axis", "middle"))

    ends: list[float] = []
    for i, (name, curve) in enumerate(series.items(), start=1):
        places = [at(*point) for point in curve]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        body.append(f'<polyline class="line s{i}" points="{path}"/>')
        for (x, y), (number, value) in zip(places, curve, strict=True):
            shown = f"{value * 100:.2f} %" if percent else f"{value:.4g}"
            tip, radius = escape(f"{name}, {x_label} {number:g}: {shown}"), 2.5 if len(curve) <= 60 else 1
            body.append(f'<circle class="dot s{i}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{tip}</title></circle>')
        end = places[-1][1]
        while any(abs(end - other) < 15 for other in ends):
            end += 1 if end >= (ends[-1] if ends else 0) else -1
        ends.append(end)
        body.append(text(places[-1][0] + 9, end + 4, name, f"name s{i}"))
    return svg(width, height, body, f"{y_label} over {x_label}")


def spans(groups: Sequence[tuple[str, Sequence[tuple[str, Span]]]], x_label: str) -> str:
    """Groups of named rows on a logarithmic axis: a dot for each median, a line between its quartiles."""
    width, left, right, step, gap = 760.0, 196.0, 64.0, 22.0, 16.0
    every = [span for _, rows in groups for _, span in rows]
    marks = decades(min(span.low for span in every), max(span.high for span in every))
    low, high = math.log10(marks[0]), math.log10(marks[-1])
    high += not high > low
    height = 22 + sum(len(rows) * step + gap for _, rows in groups) + 42

    def at(value: float) -> float:
        return left + (math.log10(value) - low) / (high - low) * (width - left - right)

    body = []
    for mark in marks:
        body += [
            f'<line class="grid" x1="{at(mark):.1f}" x2="{at(mark):.1f}" y1="8" y2="{height - 50:.1f}"/>',
            text(at(mark), height - 30, power(mark), "tick", "middle"),
        ]
    body.append(text((left + width - right) / 2, height - 6, x_label, "axis", "middle"))
    y = 22.0
    for label, rows in groups:
        body.append(text(0, y + 4, label, "group"))
        for name, span in rows:
            body += [text(left - 14, y + 4, name, "row", "end"), f'<line class="rail" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>']
            whisker = f'<line class="whisker s{span.series}" x1="{at(span.low):.1f}" x2="{at(span.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            dot = f'<circle class="dot s{span.series}" cx="{at(span.value):.1f}" cy="{y:.1f}" r="5.5"/>'
            body.append(f"<g><title>{escape(span.note)}</title>{whisker}{dot}</g>")
            body.append(text(at(max(span.high, span.value)) + 12, y + 4, f"{span.value:,.0f}" if span.value >= 100 else f"{span.value:.3g}", "value"))
            y += step
        y += gap
    return svg(width, height, body, x_label, "chart wide")


def dots(rows: Sequence[tuple[str, Sequence[tuple[int, str, float]]]], limit: float, x_label: str) -> str:
    """One row a name with dots on a logarithmic axis, and the limit that they must stay left of."""
    width, left, right, step = 500.0, 150.0, 24.0, 18.0
    floor = 1e-16
    marks = decades(floor, limit * 100)
    low, high = math.log10(marks[0]), math.log10(marks[-1])
    height = 30 + len(rows) * step + 44

    def at(value: float) -> float:
        return left + (math.log10(min(max(value, floor), marks[-1])) - low) / (high - low) * (width - left - right)

    body = []
    for mark in marks[::3]:
        body += [
            f'<line class="grid" x1="{at(mark):.1f}" x2="{at(mark):.1f}" y1="22" y2="{height - 42:.1f}"/>',
            text(at(mark), height - 26, power(mark), "tick", "middle"),
        ]
    body.append(f'<line class="limit" x1="{at(limit):.1f}" x2="{at(limit):.1f}" y1="16" y2="{height - 42:.1f}"/>')
    body.append(text(at(limit), 12, f"allowed {power(limit)}", "tick", "middle"))
    body.append(text((left + width - right) / 2, height - 5, x_label, "axis", "middle"))
    for i, (label, marks_of_row) in enumerate(rows):
        y = 32 + i * step
        body += [text(left - 12, y + 4, label, "row", "end"), f'<line class="rail" x1="{left}" x2="{width - right}" y1="{y}" y2="{y}"/>']
        body += [
            f'<circle class="dot s{n}" cx="{at(value):.1f}" cy="{y}" r="4.5"><title>{escape(f"{label}, {name}: {value:.1e}")}</title></circle>'
            for n, name, value in marks_of_row
        ]
    return svg(width, height, body, x_label, "chart tall")


def matrix(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """The confusion matrix: rows are what it is, columns what the network says; errors stand out from the diagonal."""
    cell, left, top = 40.0, 62.0, 54.0
    size = len(labels) * cell
    most, worst = max(map(max, counts)), max([n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j], default=0)
    body = [text(left + size / 2, 16, "the network says", "axis", "middle")]
    body.append(f'<text class="axis" text-anchor="middle" transform="translate(14 {top + size / 2:.0f}) rotate(-90)">it is</text>')
    for i, row in enumerate(counts):
        body += [text(left - 14, top + (i + 0.5) * cell + 5, labels[i], "group", "end"), text(left + (i + 0.5) * cell, top - 12, labels[i], "group", "middle")]
        for j, count in enumerate(row):
            style, strength = ("right", count / most) if i == j else ("wrong", 0.35 + 0.65 * count / worst if count else 0.0)
            x, y, side = left + j * cell, top + i * cell, cell - 2
            tip = escape(f"{count} times {labels[i]} was read as {labels[j]}")
            shape = f'x="{x + 1:.0f}" y="{y + 1:.0f}" width="{side:.0f}" height="{side:.0f}" rx="5"'
            number = text(x + cell / 2, y + cell / 2 + 5, str(count), f"count {style}", "middle") if count else ""
            body.append(f'<g><title>{tip}</title><rect class="cell {style if count else "none"}" {shape} style="--strength:{strength:.2f}"/>{number}</g>')
    return svg(left + size + 4, top + size + 4, body, "confusion matrix", "chart square")


def cuboids(stages: Sequence[tuple[str, int, int, str]]) -> str:
    """The shapes that flow through a network: (name, channels, side in pixels, kind) as blocks that shrink and deepen."""
    tall = max(side for _, _, side, _ in stages)
    widths = [10 + 11 * math.log2(max(channels, 1)) / 2 for _, channels, _, _ in stages]
    heights = [14 + 106 * math.sqrt(side / tall) for _, _, side, _ in stages]
    gap, x, base = 30.0, 34.0, 176.0
    body = []
    for (name, channels, side, kind), wide, high in zip(stages, widths, heights, strict=True):
        lean = high * 0.28
        top = base - high
        front = f"{x:.1f},{top:.1f} {x + wide:.1f},{top:.1f} {x + wide:.1f},{base:.1f} {x:.1f},{base:.1f}"
        lid = f"{x:.1f},{top:.1f} {x + lean:.1f},{top - lean:.1f} {x + wide + lean:.1f},{top - lean:.1f} {x + wide:.1f},{top:.1f}"
        flank = f"{x + wide:.1f},{top:.1f} {x + wide + lean:.1f},{top - lean:.1f} {x + wide + lean:.1f},{base - lean:.1f} {x + wide:.1f},{base:.1f}"
        body.append(
            f'<g class="block {kind}"><title>{escape(f"{name}: {channels} channels of {side}x{side}")}</title>'
            f'<polygon class="lid" points="{lid}"/><polygon class="flank" points="{flank}"/><polygon class="front" points="{front}"/></g>'
        )
        middle, shape = x + (wide + lean) / 2, f"{channels} · {side}×{side}" if side > 1 else str(channels)
        body += [text(middle, base + 20, name, "group", "middle"), text(middle, base + 37, shape, "tick", "middle")]
        x += wide + lean + gap
    return svg(x - gap + 34, base + 46, body, "the shapes that flow through the network", "chart wide")
