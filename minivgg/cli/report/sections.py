"""The sections of the report: each turns what one part of the demo found into HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy

from minivgg.bench.measure import Result
from minivgg.cli.console import duration, size
from minivgg.cli.report import pictures
from minivgg.page import charts
from minivgg.page.parts import card, more, section, two


def percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f} %"


# Predictions ----------------------------------------------------------------------------------------------------------


def confusion(labels: numpy.ndarray, guesses: numpy.ndarray, classes: int = 10) -> list[list[int]]:
    """counts[i][j]: how often an i was read as a j.

    >>> confusion(numpy.array([0, 1, 1]), numpy.array([0, 1, 0]), classes=2)
    [[1, 0], [1, 1]]
    """
    counts = numpy.zeros((classes, classes), int)
    numpy.add.at(counts, (labels, guesses), 1)
    return counts.tolist()


def odds(probabilities: numpy.ndarray, label: int, count: int = 3) -> str:
    """The likeliest classes as small bars."""
    lines = ""
    for guess in numpy.argsort(-probabilities)[:count].tolist():
        share = float(probabilities[guess])
        style = "right" if guess == label else "wrong" if guess == int(probabilities.argmax()) else ""
        lines += f'<span>{guess}</span><i class="{style}" style="width:{max(share, 0.01) * 100:.0f}%"></i><span>{share * 100:.0f} %</span>'
    return f'<div class="odds">{lines}</div>'


def digit(image: numpy.ndarray, probabilities: numpy.ndarray, label: int, caption: str) -> str:
    shown = pictures.png(pictures.grey(image).repeat(4, 0).repeat(4, 1))
    return f'<figure><img src="{shown}" alt="a handwritten {label}"><figcaption>{caption}{odds(probabilities, label)}</figcaption></figure>'


BESIDE = 6
"""Wrong digits that are shown beside the confusion matrix; the others unfold below."""


def answers(images: numpy.ndarray, labels: numpy.ndarray, probabilities: numpy.ndarray) -> str:
    """Confusion matrix, the wrong digits, and the right ones that it hesitated at. Images (N, H, W), probabilities (N, 10)."""
    guesses = probabilities.argmax(1)
    wrong = numpy.flatnonzero(guesses != labels)
    right = numpy.flatnonzero(guesses == labels)
    wrong = wrong[numpy.argsort(-probabilities[wrong, guesses[wrong]])]
    hesitant = right[numpy.argsort(probabilities[right, labels[right]])][:14]
    mistakes = [digit(images[i], probabilities[i], int(labels[i]), f"a <b>{labels[i]}</b>, read as <b>{guesses[i]}</b>") for i in wrong]
    doubts = [digit(images[i], probabilities[i], int(labels[i]), f"a <b>{labels[i]}</b>, rightly read") for i in hesitant]
    table = card(charts.matrix(confusion(labels, guesses), [str(i) for i in range(10)]), title="Confusion matrix")
    errors = card(
        gallery(mistakes[:BESIDE]),
        title="The digits that it gets wrong",
        note=f"{len(wrong)} of {len(labels)}, the most confident ones first. The bars are the probabilities that it gives; green is the right class.",
    )
    others = card(more(f"The other {len(mistakes) - BESIDE} that it gets wrong", gallery(mistakes[BESIDE:]))) if len(mistakes) > BESIDE else ""
    unsure = card(gallery(doubts), title="Right, but hesitating", note="The digits that it reads rightly with the least probability.")
    lead = (
        f"The {len(labels)} digits below were never shown to the network while it learned. It reads {len(right)} of them rightly: "
        f"{percent(len(right) / len(labels), 2)}. (The people who wrote them also wrote digits that it learned from.)"
    )
    return section("answers", "What it reads, and what it misreads", lead, two(table, errors), others, unsure)


def gallery(figures: Sequence[str], width: int = 112) -> str:
    """Figures side by side, each at least ``width`` pixels wide."""
    return f'<div class="gallery" style="grid-template-columns:repeat(auto-fill,minmax({width}px,1fr))">{"".join(figures)}</div>'


# Inside ---------------------------------------------------------------------------------------------------------------


def inside(
    filters: numpy.ndarray,
    image: numpy.ndarray,
    maps: Sequence[tuple[str, numpy.ndarray]],
    saliency: Sequence[tuple[int, numpy.ndarray, numpy.ndarray]],
) -> str:
    """First-layer filters (K, R, S), what each layer makes of one image (H, W) as (name, (C, P, Q)), and (digit, image, gradient) triples."""
    weights = card(
        picture(pictures.sheet([pictures.signed(one) for one in filters], columns=16, scale=14, gap=6), "the filters of the first layer"),
        title=f"The {len(filters)} filters of the first layer",
        note="3x3 weights each, random before training: orange is positive, blue negative. "
        "One that is orange on one side and blue on the other answers to an edge.",
    )
    sheets = ""
    for name, array in maps:
        c, p, q = array.shape
        high = float(numpy.quantile(array, 0.998)) or None
        channels = pictures.sheet([pictures.heat(channel, high) for channel in array], columns=16, scale=max(1, 40 // q), gap=4)
        sheets += f"<div><h3>{escape(name)}</h3><p class=note>{c} maps of {p}x{q}</p>{picture(channels, name)}</div>"
    shown = pictures.png(pictures.grey(image).repeat(8, 0).repeat(8, 1))
    flow = card(
        f'<div class="strip"><img src="{shown}" alt="the digit"><div class="maps">{sheets}</div></div>',
        title="What each layer makes of one digit",
        note="Every square is one channel after its ReLU: dark is 0, light is strong. Pooling halves the picture; deeper layers answer to larger parts of it.",
    )
    why = card(
        gallery([pair(*triple) for triple in saliency], width=78),
        title="Which pixels speak for the answer",
        note="Below each digit: the gradient of the winning class with respect to the pixels, by the same <code>backward</code> that trained the network. "
        "Ink at an orange pixel raises the score of the answer, at a blue one it lowers it.",
    )
    lead = "The weights that were learned, what flows through the layers, and what the answer depends on."
    return section("inside", "Looking inside", lead, weights, flow, why)


def picture(pixels: numpy.ndarray, name: str) -> str:
    return f'<img class="sheet" src="{pictures.png(pixels)}" alt="{escape(name)}">'


def pair(label: int, image: numpy.ndarray, gradient: numpy.ndarray) -> str:
    """A digit, and below it the gradient of its class with respect to the pixels."""
    both = [pictures.grey(image)[..., None].repeat(3, -1), pictures.signed(gradient)]
    shown = pictures.png(pictures.sheet(both, columns=1, scale=8, gap=4))
    return f'<figure><img src="{shown}" alt="a {label} and its gradient"><figcaption>why <b>{label}</b>?</figcaption></figure>'


# Learning -------------------------------------------------------------------------------------------------------------


def learning(epochs: Sequence[dict[str, float]], lead: str) -> str:
    """Curves from one dictionary an epoch: epoch, train_loss, test_loss, train_accuracy, test_accuracy."""

    def curve(name: str) -> list[tuple[float, float]]:
        return [(row["epoch"], row[name]) for row in epochs if name in row]

    loss = charts.lines({"training": curve("train_loss"), "held out": curve("test_loss")}, "epoch", "cross entropy", logarithmic=True)
    accuracy = charts.lines({"training": curve("train_accuracy"), "held out": curve("test_accuracy")}, "epoch", "accuracy", percent=True)
    return section("learning", "How it learned", lead, two(card(accuracy, title="Accuracy"), card(loss, title="Loss")))


# Speed ----------------------------------------------------------------------------------------------------------------


def speed(results: Sequence[Result], lead: str) -> str:
    """Dots of the medians with quartiles, and the table behind them."""
    from minivgg.bench.report import by_problem

    groups = by_problem(results)
    names = list(dict.fromkeys(result.algorithm for result in results if result.seconds))
    number = {name: 7 if name == "PyTorch" else 1 + i % 6 for i, name in enumerate(names)}
    timed = []
    for group in groups:
        ranked = sorted((result for result in group if result.seconds), key=lambda result: result.median)
        timed.append((group[0].problem.label, [(result.algorithm, _span(result, number[result.algorithm])) for result in ranked]))
    lines = "".join(_lines(group) for group in groups)
    head = "".join(f"<th{'' if i < 2 else ' class=n'}>{name}</th>" for i, name in enumerate(HEAD))
    chart = card(charts.spans(timed, "milliseconds on a logarithmic axis (dot: median, line: quartiles)"))
    return section("speed", "One layer, many algorithms", lead, chart, card(f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"))


HEAD = ["layer", "algorithm", "median", "quartiles", "GFLOP/s", "scratch memory", "relative error"]


def _lines(group: Sequence[Result]) -> str:
    """The rows of one layer, the fastest first and bold, the refused last with their sentences."""
    problem = group[0].problem
    times = f" ×{problem.count}" if problem.count > 1 else ""
    layer = f"<td rowspan={len(group)}><b>{escape(problem.label)}</b>{times}<small>{problem.spec}</small></td>"
    lines = ""
    for i, result in enumerate(sorted(group, key=lambda r: (not r.seconds, r.median))):
        low, median, high = result.quartiles
        if result.seconds:
            figures = [duration(median), f"{duration(low)} - {duration(high)}", f"{result.gflops:.1f}", size(result.workspace), f"{result.error:.1e}"]
            cells = "".join(f"<td class=n>{figure}</td>" for figure in figures)
        else:
            cells = f"<td colspan=5 class={'ko' if result.refusal.startswith('wrong') else 'dim'}>{escape(result.refusal)}</td>"
        name = f"<b>{escape(result.algorithm)}</b>" if i == 0 and result.seconds else escape(result.algorithm)
        lines += f"<tr class={'first' if i == 0 else 'next'}>{layer if i == 0 else ''}<td>{name}</td>{cells}</tr>"
    return lines


def _span(result: Result, number: int) -> charts.Span:
    low, median, high = (seconds * 1e3 for seconds in result.quartiles)
    note = f"{result.algorithm}: {median:.3g} ms, {result.gflops:.1f} GFLOP/s, scratch {size(result.workspace)}, error {result.error:.1e}"
    return charts.Span(number, low, median, high, note)


# The machine ----------------------------------------------------------------------------------------------------------


def environment(facts: dict[str, Any], extra: dict[str, str]) -> str:
    entries = {
        "processor": f"{facts['processor']}, {facts['cores']} cores, {size(facts['memory'])} memory",
        "caches": ", ".join(f"{name} {size(count)}" for name, count in facts["caches"].items()) or "unknown",
        "system": facts["system"],
        "BLAS": facts["blas"],
        "threads": ", ".join(f"{name} {count}" for name, count in facts["threads"].items()) or "unknown",
        "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
        "commit": facts["commit"] or "not a checkout",
        **extra,
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries.items())
    return section("machine", "Where this was measured", "Numbers of speed belong to a machine. This one:", card(f"<dl>{listed}</dl>"))
