"""The report of a gradient check as one HTML page: verdict, coverage, every input, every diagnosis, and where and how it is wrong."""

from __future__ import annotations

import math
from html import escape

from minivgg.page import Page
from minivgg.page.charts import decades, dots, power, svg, text
from minivgg.page.parts import card, key, rows, section
from minivgg.testing.gradients.heat import Heat, heat_map, legend
from minivgg.testing.gradients.report import Diagnosis, GradcheckReport, InputReport
from minivgg.version import __version__

STYLE = """<style>
:root { --p3: #dfe9e6; --p2: #c3ddd4; --p1: #a3cfc0; --p0: #7fbfaa; --w0: #f4c58c; --w1: #ec9150; --w2: #d9502f; --w3: #9c1730; }
@media (prefers-color-scheme: dark) {
  :root { --p3: #1f2e2c; --p2: #25403a; --p1: #2c564c; --p0: #347061; --w0: #80561f; --w1: #b8642a; --w2: #e0603c; --w3: #ff9b8f; }
}
.p0 { fill: var(--p0); background: var(--p0); } .p1 { fill: var(--p1); background: var(--p1); } .p2 { fill: var(--p2); background: var(--p2); }
.p3 { fill: var(--p3); background: var(--p3); } .w0 { fill: var(--w0); background: var(--w0); } .w1 { fill: var(--w1); background: var(--w1); }
.w2 { fill: var(--w2); background: var(--w2); } .w3 { fill: var(--w3); background: var(--w3); }
.heat.none { fill: none; stroke: var(--rule); } i.none { border: 1px solid var(--rule); }
svg.square, svg.tall { margin: 0; max-width: 640px; } .heatmap { display: block; max-width: 100%; height: auto; }
.card.fault { border-left: 4px solid var(--bad); } .card.remark { border-left: 4px solid var(--s7); }
.card.fault h3 span, .card.remark h3 span { color: var(--faint); font-weight: 400; }
.evidence { margin: 10px 0 0; color: var(--soft); font-size: 14.5px; overflow-wrap: anywhere; }
.right-gradient { stroke: var(--good); stroke-dasharray: 5 5; } text.right-gradient { fill: var(--good); }
.this { stroke: var(--bad); } circle.this, text.this { fill: var(--bad); stroke: none; } text.right-gradient { stroke: none; }
.rounding { stroke: var(--faint); stroke-dasharray: 2 4; stroke-width: 1.5; } text.rounding { fill: var(--faint); stroke: none; }
</style>"""

LIST = 60
"""Rows of the chart of errors; more inputs than that are in the table alone."""


def page_of(report: GradcheckReport) -> str:
    """The whole page; it needs no network and no script."""
    wrong = [line.name for line in report.inputs if not line.ok]
    faults = [one for one in report.diagnoses if one.fault]
    page = Page(
        f"The gradient of {report.function} is {'right' if report.ok else 'wrong'}",
        lead(report, wrong, faults),
        f"Written by minivgg {__version__}. A gradient a passes against the difference n if |a - n| ≤ {report.atol:g} + {report.rtol:g} · |n|, or if a closer "
        "look over nine steps shows a kink or too coarse a step.",
    )
    page.tile("right" if report.ok else "WRONG", f"derivatives of order {report.order}", "good" if report.ok else "bad")
    if report.inputs:
        page.tile(f"{len(report.inputs) - len(wrong)} of {len(report.inputs)}", "inputs with right gradients", "" if not wrong else "bad")
        page.tile(f"{report.elements:,}", "elements compared")
        page.tile(f"{report.max_error:.1e}", f"largest error, at most {report.rtol:g} allowed", "good" if report.max_error <= report.rtol else "bad")
    page.tile(f"{report.seconds:.3g} s", "of checking")
    if report.diagnoses:
        page.add("diagnoses", "Diagnoses", diagnoses(report))
    for line in report.inputs:
        if not line.ok:
            page.add(f"input-{len(page.sections)}", line.name, failed(line, report, f"input-{len(page.sections)}"))
    if report.inputs:
        page.add("inputs", "Inputs", inputs(report))
    page.add("coverage", "Coverage", section("coverage", "What was checked", escape(sentence(report.coverage))))
    return page.html().replace("</head>", f"{STYLE}\n</head>", 1)


def sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."


def lead(report: GradcheckReport, wrong: list[str], faults: list[Diagnosis]) -> str:
    """The first diagnosis in a sentence, or that all is well."""
    if faults:
        return (f"{faults[0].input}: " if faults[0].input else "") + faults[0].sentence
    if wrong:
        return f"What backward computes is not what differences say: {', '.join(wrong)}."
    return "What backward computes agrees with differences of what forward computes."


def diagnoses(report: GradcheckReport) -> str:
    cards = []
    for one in sorted(report.diagnoses, key=lambda each: not each.fault):
        of = f" <span>{escape(one.input)}</span>" if one.input else ""
        body = f"<h3>{escape(one.kind)}{of}</h3><div>{escape(one.sentence)}</div>" + f'<p class="evidence"><b>Evidence:</b> {escape(one.evidence)}</p>'
        cards.append(f'<div class="card {"fault" if one.fault else "remark"}">{body}</div>')
    words = "What is wrong" if any(one.fault for one in report.diagnoses) else "Worth knowing"
    return section("diagnoses", words, "Each was tried: the numbers under it are what came out.", *cards)


def inputs(report: GradcheckReport) -> str:
    head = ["input", "shape", "", "worst at", "error", "analytic", "numeric", "checked", "wrong", "kinks"]
    body = []
    for line in report.inputs:
        verdict = "<span class=ok>right</span>" if line.ok else "<span class=ko>WRONG</span>"
        numbers = ["", ""] if line.worst is None else [f"{line.analytic:.6g}", f"{line.numeric:.6g}"]
        size = math.prod(line.shape)
        checked = f"all {size:,}" if line.elements == size else f"{line.elements:,} of {size:,}"
        counts = [checked, f"{line.wrong:,}" if line.wrong else "", f"{line.kinks:,}" if line.kinks else ""]
        where = escape(line.where.removeprefix(line.name)) if line.worst else ""
        body.append([f"<b>{escape(line.name)}</b>", "×".join(map(str, line.shape)), verdict, where, f"{line.error:.2e}", *numbers, *counts])
    chart = ""
    if 0 < len(report.inputs) <= LIST:
        errors = [(line.name, [(1 if line.ok else 5, "error", line.error if math.isfinite(line.error) else 1e30)]) for line in report.inputs]
        chart = card(dots(errors, report.rtol, "largest error (relative; absolute where small)"))
    return section("inputs", "Every input", "The element of each that is farthest off.", card(rows(head, body, words=4)), chart)


def failed(line: InputReport, report: GradcheckReport, anchor: str) -> str:
    """The heat map and the curve of one input."""
    cards = []
    if line.errors is not None and line.errors.size:
        heat = Heat.of(line.name, line.errors)
        cards.append(card(key(legend(report.rtol)), heat_map(heat, report.rtol), title="Where", note=escape(sentence(heat.caption))))
    if line.curve:
        note = (
            "The difference is taken with nine steps. Beside a right gradient the error falls with the step, until rounding makes it rise: a valley. "
            "Beside a wrong one it stays where it is: flat."
        )
        cards.append(card(error_by_step(line), title=f"Error against step, at {line.where}", note=note))
    words = f"{line.wrong:,} of {line.elements:,} elements checked are wrong; the worst is {escape(line.where)}: "
    words += f"backward says {line.analytic:.9g}, differences {line.numeric:.9g}."
    return section(anchor, f"The gradient of {line.name}", words, *cards)


def error_by_step(line: InputReport) -> str:
    """Both axes logarithmic; what cannot be drawn (an error of 0, nan) is left out."""
    width, height, left, right, top, bottom = 640.0, 320.0, 62.0, 150.0, 30.0, 46.0
    series = {
        "this gradient": ("this", [(step, error) for step, error, _, _ in line.curve]),
        "a right one": ("right-gradient", [(step, error) for step, _, _, error in line.curve]),
        "rounding": ("rounding", [(step, error) for step, _, error, _ in line.curve]),
    }
    drawn = {name: (style, [(x, y) for x, y in curve if math.isfinite(y) and y > 0]) for name, (style, curve) in series.items()}
    values = [y for _, curve in drawn.values() for _, y in curve]
    if not values:
        return f'<p class="note">No difference is finite at {escape(line.where)}.</p>'
    marks, steps = decades(max(min(values), 1e-18), max(values)), decades(line.curve[-1][0], line.curve[0][0])
    low, high, first, last = math.log10(marks[0]), math.log10(marks[-1]), math.log10(steps[0]), math.log10(steps[-1])
    high += high == low

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - first) / (last - first)
        return left + across * (width - left - right), height - bottom - (math.log10(max(y, 1e-18)) - low) / (high - low) * (height - top - bottom)

    body = [text(0, 14, "|analytic - numeric|", "axis"), text((left + width - right) / 2, height - 6, "step", "axis", "middle")]
    for mark in marks[:: -(-len(marks) // 8)]:
        y = at(steps[0], mark)[1]
        body += [f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>', text(left - 8, y + 4, power(mark), "tick", "end")]
    body += [text(at(step, marks[0])[0], height - bottom + 20, power(step), "tick", "middle") for step in steps]
    ends: list[float] = []
    for name, (style, curve) in drawn.items():
        if not curve:
            continue
        places = [at(*point) for point in curve]
        body.append(f'<polyline class="line {style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
        if style == "this":
            body += [
                f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>step {step:.0e}: {error:.3g}</title></circle>'
                for (x, y), (step, error) in zip(places, curve, strict=True)
            ]
        end = places[0][1]
        while any(abs(end - other) < 16 for other in ends):
            end -= 1 if end > top + 8 else -1
        ends.append(end)
        body.append(text(places[0][0] + 10, end + 4, name, f"name {style}"))
    return svg(width, height, body, "error against step", "chart square")
