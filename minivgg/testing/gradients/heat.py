"""Where a gradient is wrong, as a picture: a bank of filters as small multiples of its taps, maps as their pixels, vectors as cells.

Colours are logarithmic: a step for each factor of ten that the error lies below or above what is allowed. An array of too many
elements is folded: a cell then stands for a block of elements and shows the largest of their errors, and the caption says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from html import escape

import numpy

from minivgg.page.charts import svg, text
from minivgg.testing.gradients.coordinates import kind_of, letters_of, name_of

CELLS = 4096
"""So many cells at most in one picture."""

SIDES = (16, 16, 48, 48)
"""And so many along each axis: rows of panels, panels in a row, rows and columns of a panel."""

WRAP = 32
"""A vector goes on in the next row after so many."""

STEPS = 4
"""Colours for right and for wrong, each standing for a factor of ten; the last of each for all beyond."""


@dataclasses.dataclass(frozen=True)
class Heat:
    """The errors of one input, folded: ``values`` is [row of panels, panel, row, column], nan where nothing was checked."""

    label: str
    shape: tuple[int, ...]
    values: numpy.ndarray
    folds: tuple[int, ...]
    wrapped: bool

    @classmethod
    def of(cls, label: str, errors: numpy.ndarray) -> Heat:
        """Bring any number of axes to four, and fold each to what a reader can still see."""
        shape, wrapped = errors.shape, False
        if errors.ndim <= 1:
            wide = min(errors.size, WRAP)
            wrapped = errors.size > WRAP
            padding = -errors.size % wide if wide else 0
            flat = numpy.concatenate([errors.reshape(-1), numpy.full(padding, -1.0)])
            four = flat.reshape(1, 1, -1, wide or 1)
        elif errors.ndim == 2:
            four = errors[None, None]
        else:
            four = errors.reshape(-1, *errors.shape[-3:])
        folds = [-(-size // most) for size, most in zip(four.shape, SIDES, strict=True)]
        while math.prod(-(-size // fold) for size, fold in zip(four.shape, folds, strict=True)) > CELLS:
            axis = max(range(4), key=lambda i: -(-four.shape[i] // folds[i]))
            folds[axis] += 1
        return cls(label, shape, _folded(four, folds), tuple(folds), wrapped)

    @property
    def caption(self) -> str:
        """What is an axis of the panels, and of how many elements a cell is the largest error."""
        letters = letters_of(self.label, self.shape)
        if len(self.shape) <= 1:
            what = f"{self.shape[0] if self.shape else 1} elements" + (f", {WRAP} in a row" if self.wrapped else "")
        elif len(self.shape) == 2:
            what = f"rows {letters[0]}, columns {letters[1]}"
        else:
            inside = "the taps of one filter" if kind_of(self.label) == "weight" else "one map"
            outer = " ".join(letters[:-3])
            what = (
                f"each panel is {inside}, {letters[-2]} down and {letters[-1]} across; panels: "
                + (f"{outer} down, " if outer else "")
                + f"{letters[-3]} across"
            )
        each = math.prod(self.folds)
        return f"{what}; folded: a cell is the largest error of up to {each:,} elements ({self._folding()})" if each > 1 else what

    def _folding(self) -> str:
        letters = letters_of(self.label, self.shape)
        names = (
            [" ".join(letters[:-3]), *letters[-3:]] if len(letters) >= 3 else ["", "", letters[0], letters[1]] if len(letters) == 2 else ["", "", "rows", ""]
        )
        return ", ".join(f"{fold} of {name}" for fold, name in zip(self.folds, names, strict=True) if fold > 1)

    def name(self, place: Sequence[int]) -> str:
        """The element that a cell shows, or the first of its block."""
        at = [i * fold for i, fold in zip(place, self.folds, strict=True)]
        if len(self.shape) <= 1:
            index: tuple[int, ...] = (at[2] * min(self.shape[0], WRAP) + at[3],) if self.shape else ()
        elif len(self.shape) == 2:
            index = (at[2], at[3])
        else:
            index = (*(int(i) for i in numpy.unravel_index(at[0], self.shape[:-3])), *at[1:]) if len(self.shape) > 3 else tuple(at[1:])
        return ("from " if math.prod(self.folds) > 1 else "") + name_of(self.label, index, self.shape)


def _folded(four: numpy.ndarray, folds: Sequence[int]) -> numpy.ndarray:
    """The largest of each block; nan only where nothing of it was checked."""
    known = numpy.where(numpy.isnan(four), -numpy.inf, four)
    for axis, fold in enumerate(folds):
        if fold > 1:
            known = numpy.maximum.reduceat(known, numpy.arange(0, known.shape[axis], fold), axis)
    return numpy.where(known == -numpy.inf, numpy.nan, known)


def level(error: float, rtol: float) -> str:
    """The class of a cell: ``w0`` to ``w3`` for 1, 10, 100, ... times what is allowed, ``p0`` to ``p3`` for 1, 1/10, ... of it.

    >>> level(1e-3, 1e-3), level(2e-3, 1e-3), level(0.5, 1e-3), level(1e9, 1e-3), level(0.0, 1e-3), level(float("nan"), 1e-3)
    ('p0', 'w0', 'w2', 'w3', 'p3', 'none')
    """
    if math.isnan(error):
        return "none"
    if error <= rtol:
        return f"p{min(int(-math.log10(error / rtol) + 1e-9), STEPS - 1)}" if error > 0 else f"p{STEPS - 1}"
    return f"w{min(int(math.log10(error / rtol)), STEPS - 1)}" if math.isfinite(error) else f"w{STEPS - 1}"


def legend(rtol: float) -> list[tuple[str, str]]:
    """(class, what it means) from the best to the worst."""
    right = [(f"p{i}", f"≤ {rtol * 10.0**-i:.0e}") for i in reversed(range(STEPS))]
    wrong = [(f"w{i}", f"> {rtol * 10.0**i:.0e}") for i in range(STEPS)]
    return [*right, *wrong, ("none", "not checked")]


def heat_map(heat: Heat, rtol: float) -> str:
    """The picture, each cell with its name and its error for the pointer."""
    rows, across, height, width = heat.values.shape
    single = rows * across == 1
    side = min(28.0, max(5.0, (720.0 / across - 6) / width)) if single else min(18.0, max(4.0, (720.0 / across - 8) / width))
    gap, left, top = 8.0, 40.0, 22.0
    letters = letters_of(heat.label, heat.shape)
    body = []
    for b in range(across if len(heat.shape) >= 3 else 0):
        body.append(
            text(left + b * (width * side + gap) + width * side / 2, 14, f"{letters[-3] if b == 0 else ''} {b * heat.folds[1]}".strip(), "tick", "middle")
        )
    for a in range(rows if len(heat.shape) >= 4 else 0):
        first = f"{letters[0]} " if a == 0 and len(heat.shape) == 4 else ""
        body.append(text(left - 8, top + a * (height * side + gap) + height * side / 2 + 4, f"{first}{a * heat.folds[0]}", "tick", "end"))
    for place in numpy.ndindex(rows, across, height, width):
        error = float(heat.values[place])
        if error < 0:  # beyond the end of a vector
            continue
        a, b, r, s = place
        x, y = left + b * (width * side + gap) + s * side, top + a * (height * side + gap) + r * side
        tip = escape(f"{heat.name(place)}: " + ("not checked" if math.isnan(error) else f"error {error:.2e}"))
        shape = f'x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}"'
        body.append(f'<rect class="heat {level(error, rtol)}" {shape}><title>{tip}</title></rect>')
    wide, high = left + across * (width * side + gap), top + rows * (height * side + gap)
    return svg(max(wide, 120), high, body, f"where the gradient of {heat.label} is wrong", "heatmap").replace("<svg ", f'<svg style="width:{wide:.0f}px" ', 1)


TEXT = (8, 16, 16)
"""Panels, rows and columns up to which a map is also printed as text."""


def heat_text(label: str, errors: numpy.ndarray, rtol: float) -> str:
    """A few lines of ``#`` (wrong), ``.`` (right) and ``?`` (not checked), where there is a pattern to see; else nothing.

    All panels that look alike are printed once.

    >>> errors = numpy.zeros((2, 3, 3, 3))
    >>> errors[..., 0, :] = 1
    >>> print(heat_text("weight", errors, 1e-3))
    where weight is wrong (#), r down, s across, the same for every k, c:
        ###
        ...
        ...
    """
    if errors.ndim < 2 or errors.shape[-2] > TEXT[1] or errors.shape[-1] > TEXT[2] or errors.size == 0:
        return ""
    wrong = errors > rtol
    checked = ~numpy.isnan(errors)
    if wrong.sum() < 2 or wrong[checked].all():  # one has a name
        return ""
    letters = letters_of(label, errors.shape)
    marks = numpy.where(checked, numpy.where(wrong, "#", "."), "?").reshape(-1, *errors.shape[-2:])
    title = f"where {label} is wrong (#), {letters[-2]} down, {letters[-1]} across"
    if (marks == marks[0]).all():
        every = f", the same for every {', '.join(letters[:-2])}" if len(marks) > 1 else ""
        return "\n".join([f"{title}{every}:", *("    " + "".join(row) for row in marks[0])])
    if len(marks) > TEXT[0] or len(marks) * (errors.shape[-1] + 2) > 100:
        return ""
    rows = ["    " + "  ".join("".join(panel[row]) for panel in marks) for row in range(errors.shape[-2])]
    return "\n".join([f"{title}; {', '.join(letters[:-2])} side by side:", *rows])
