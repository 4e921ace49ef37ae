"""The report of a demo: from its findings to headline, figures and sections."""

from __future__ import annotations

import time
from html import escape

import numpy

from minivgg.bench.machine import machine
from minivgg.bench.report import by_problem
from minivgg.cli.answers import activations, pixel_gradient
from minivgg.cli.console import duration
from minivgg.cli.report import sections
from minivgg.cli.report.findings import GOAL, Findings
from minivgg.page import Page, charts
from minivgg.page.parts import card, key, more, rows, section, two
from minivgg.version import __version__

SOURCE = "The digits: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, CC BY 4.0."


def compose(found: Findings) -> Page:
    """The page for whatever was found."""
    facts, date = machine(), time.strftime("%Y-%m-%d %H:%M")
    report = Page(headline(found), lead(found), f"Written by minivgg {__version__}, {date}, in {duration(found.seconds)}. {SOURCE}")
    tiles(found, report)
    if found.inspection is not None:
        report.add("network", "The network", network(found))
    if found.history is not None and found.history.epochs:
        images, labels, odds = found.answers()
        report.add("learning", "How it learned", learning(found))
        report.add("answers", "What it reads", sections.answers(images[:, 0], labels, odds))
        report.add("inside", "Looking inside", inside(found, images, labels, odds))
    if found.gradients:
        report.add("gradients", "Gradients", gradients(found))
    if any(result.seconds for result in found.results):
        report.add("speed", "Algorithms", speed(found))
    settings = ", ".join(f"{name} {value}" for name, value in found.settings.items())
    report.add("machine", "The machine", sections.environment(facts, {"date": date, "settings": settings}))
    return report


def headline(found: Findings) -> str:
    if found.accuracy is None:
        return "What was done before the demo was interrupted"
    return f"A small VGG learned to read digits: {found.accuracy * 100:.1f} % right"


def lead(found: Findings) -> str:
    words = []
    if found.inspection is not None:
        words.append(f"{found.inspection.parameters:,} weights, all random at the beginning.")
    if found.history is not None and found.history.epochs:
        words.append(f"{found.history.steps:,} steps of gradient descent later, the network reads digits that it has never seen.")
    words.append("Convolution, pooling, gradients and training are plain Python that one can read; this page shows what they did on this machine.")
    if found.interrupted:
        words.append("The run was interrupted: only the finished parts are here.")
    return " ".join(words)


def tiles(found: Findings, report: Page) -> None:
    """The figures to be seen at once."""
    if found.accuracy is not None and found.history is not None:
        speed = numpy.median([epoch.images_per_second for epoch in found.history.epochs])
        report.tile(f"{found.accuracy * 100:.2f} %", "of 360 held-out digits read rightly", "good" if found.accuracy >= GOAL else "")
        report.tile(duration(found.history.seconds), f"of training: {len(found.history.epochs)} epochs, {speed:,.0f} images a second")
    if found.gradients:
        checked = [report for report in found.gradients if report.first is not None]
        right, count, elements = sum(report.ok for report in checked), len(checked), sum(report.elements for report in checked)
        report.tile(f"{right} of {count}", f"operations with right gradients: {elements:,} derivatives checked", "good" if right == count else "bad")
    if any(result.seconds for result in found.results):
        name, ratio = widest(found)
        report.tile(f"{ratio:.0f}×", f"between the fastest and the slowest algorithm, at {name}")


def widest(found: Findings) -> tuple[str, float]:
    """The layer at which our algorithms differ most in time, and the ratio."""
    ratios = {}
    for group in by_problem(found.results):
        times = [result.median for result in group if result.seconds and result.backend != "rival"]
        if times:
            ratios[group[0].problem.label] = max(times) / min(times)
    return max(ratios.items(), key=lambda item: item[1])


def network(found: Findings) -> str:
    """Blocks of the shapes that flow through, and the table of layers."""
    assert found.inspection is not None
    kinds = {"Conv2d": "conv", "MaxPool2d": "pool", "Linear": "linear"}
    shapes = [("input", found.inspection.input_shapes[0], "input")]
    shapes += [(kinds[row.kind], row.output_shape, kinds[row.kind]) for row in found.inspection.rows if row.kind in kinds]
    stages = [(name, shape[1], shape[2] if len(shape) == 4 else 1, kind) for name, shape, kind in shapes]
    legend = key([("block0", "input"), ("block1", "convolution 3x3"), ("block2", "max pooling 2x2"), ("block3", "linear")])
    body = [
        [
            f"<b>{row.kind}</b> <span class=dim>{escape(row.name)}</span>",
            "×".join(map(str, row.output_shape[1:])),
            f"<code>{escape(row.size_formula)}</code>" if row.size_formula else "",
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.macs:,}" if row.macs else "",
            row.receptive_field,
            row.algorithm,
        ]
        for row in found.inspection.rows
    ]
    head = ["layer", "output", "size", "parameters", "multiply-adds", "sees", "algorithm"]
    words = (
        "VGG's recipe, scaled down: 3x3 convolutions in pairs, each followed by batch normalisation and ReLU, then pooling that halves the picture "
        "while the channels double. The numbers below a block are its channels and its size in pixels."
    )
    table = more("Every layer, its cost and its receptive field", rows(head, body, words=3))
    return section("network", "The network", words, card(legend, charts.cuboids(stages), table))


def learning(found: Findings) -> str:
    assert found.history is not None
    first, last = found.history.epochs[0], found.history.epochs[-1]
    best = max(epoch.test_accuracy or 0.0 for epoch in found.history.epochs)
    words = (
        f"After one pass over the 1,437 training digits it read {sections.percent(first.test_accuracy or 0.0)} of those held out, "
        f"after {last.epoch} passes {sections.percent(last.test_accuracy or 0.0, 2)} (best on the way: {sections.percent(best, 2)}). "
        "The training curve is that of harder digits, turned, shifted and zoomed at random, with a part of the network silenced by dropout."
    )
    return sections.learning([vars(epoch) for epoch in found.history.epochs], words)


def inside(found: Findings, images: numpy.ndarray, labels: numpy.ndarray, odds: numpy.ndarray) -> str:
    """Filters, the maps of one digit, and the pixel gradients of the surest example of each class."""
    assert found.model is not None
    filters = next(parameter for parameter in found.model.parameters() if parameter.ndim == 4).detach().numpy()[:, 0]
    surest = [int(numpy.where(labels == label, odds[:, label], -1.0).argmax()) for label in range(10)]
    shown = surest[3]
    maps = [(f"after convolution {i}", array) for i, array in enumerate(activations(found.model, images[shown]), start=1)]
    saliency = [(label, images[i, 0], pixel_gradient(found.model, images[i], label)[0]) for label, i in enumerate(surest)]
    return sections.inside(filters, images[shown, 0], maps, saliency)


def gradients(found: Findings) -> str:
    """Errors as dots on a logarithmic axis, and the table behind them."""
    from minivgg.testing.operations import EPS, RTOL

    named = []
    differentiable = sorted((report for report in found.gradients if report.first is not None), key=lambda report: report.name)
    for report in differentiable:
        errors = ((1, "first derivative", report.first), (2, "second derivative", report.second))
        named.append((report.name, [(series, name, error) for series, name, error in errors if error is not None]))
    half = (len(named) + 1) // 2
    label = "largest error (relative; absolute where small)"
    plots = [card(charts.dots(part, RTOL, label)) for part in (named[:half], named[half:]) if part]
    body = [
        [
            escape(report.name),
            str(report.samples),
            f"{report.elements:,}",
            *("" if error is None else f"{error:.1e}" for error in (report.first, report.second)),
            "<span class=ok>right</span>" if report.ok else "<span class=ko>WRONG</span>",
        ]
        for report in differentiable
    ]
    wrong = [report.name for report in found.gradients if not report.ok]
    verdict = (
        f"<span class=ko>Wrong: {escape(', '.join(wrong))}.</span>"
        if wrong
        else "Errors near 10⁻⁹ are those of the differences, not of the gradients; a dot at the left edge is exactly 0."
    )
    words = (
        f"Each input of each operation was moved by ±{EPS:g}, and the change of the result compared with the gradient that <code>backward</code> computes, "
        f"in float64. The second derivative is the same check of the gradient itself: differentiating it again needs no further code. {verdict}"
    )
    table = card(more("The table", rows(["operation", "samples", "derivatives", "first", "second", ""], body)))
    legend = key([("s1", "first derivative"), ("s2", "second derivative")])
    return section("gradients", "Every gradient, checked", words, legend, two(*plots), table)


def speed(found: Findings) -> str:
    name, ratio = widest(found)
    beside = " PyTorch stands beside them." if any(result.backend == "rival" for result in found.results) else ""
    words = (
        "The same convolution layers of VGG-16 for one image, computed in different ways. Each result was first compared with "
        f"one in float64, and only then timed, all in turns. At {escape(name)} the fastest of them needs 1/{ratio:.0f} of the time of the slowest.{beside} "
        "GFLOP/s counts the operations of the definition, so an algorithm that gets by with fewer can exceed what the processor executes."
    )
    return sections.speed(found.results, words)
