"""A term of the gradient is missing or one too many: what it differs by has a simple form."""

from __future__ import annotations

import itertools

import numpy

from minivgg.testing.gradients.case import Case, Leaf, alike, upstream_of
from minivgg.testing.gradients.coordinates import letters_of
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.report import Diagnosis


@rule
def the_upstream_itself(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Backward hands on what came in."""
    given = upstream_of(case, leaf)
    if given is None or not alike(leaf.analytic[: case.random], given):
        return None
    sentence = "The gradient is the upstream gradient, handed on unchanged: the derivative is not multiplied in."
    return Diagnosis("missing factor", leaf.label, sentence, f"all {given.size} numbers are those that came in")


@rule
def difference_of_a_simple_form(case: Case, leaf: Leaf) -> Diagnosis | None:
    a, n = leaf.analytic[: case.random], leaf.numeric[: case.random]
    gap = n - a
    size = f"the norm of what is missing is {float(numpy.linalg.norm(gap)) / max(float(numpy.linalg.norm(n)), 1e-300):.2g} of the gradient's"
    given = upstream_of(case, leaf)
    if given is not None:
        factor = float((gap * given).sum() / max(float((given * given).sum()), 1e-300))
        if alike(gap, factor * given, 1e-3):
            sentence = (
                f"{abs(factor):.4g} times the upstream gradient is {'missing' if factor > 0 else 'too much'}: a path on which the input goes straight through."
            )
            return Diagnosis("missing term", leaf.label, sentence, size)
    constant = _constant_along(leaf, gap) if leaf.whole and leaf.array.size > 2 else None
    if constant is not None:
        letters = letters_of(leaf.label, leaf.array.shape)
        along = ", ".join(letters[axis] for axis in constant)
        sentence = f"A term is missing that is the same for all {along}: what flows back through a mean or a sum over {along}."
        return Diagnosis("missing term", leaf.label, sentence, size)
    basis = leaf.array.astype(numpy.float64)[tuple(numpy.array(leaf.indices, int).reshape(len(leaf.indices), leaf.array.ndim).T)].ravel()
    with numpy.errstate(all="ignore"):
        factors = (gap @ basis) / float(basis @ basis)
    if len(basis) > 2 and numpy.isfinite(factors).all() and alike(gap, factors[:, None] * basis, 1e-3):
        sentence = f"A term is missing that is {leaf.label} times a number: what flows back through a norm or a variance."
        return Diagnosis(
            "missing term",
            leaf.label,
            sentence,
            f"{size}; the number, for {case.random} upstream gradients: {', '.join(f'{factor:.4g}' for factor in factors)}",
        )
    return None


@rule
def same_form_along_axes(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Within each index of some axes the difference is a number plus a number times the input: normalisation."""
    if not leaf.whole or leaf.array.ndim < 2 or leaf.array.size < 8:
        return None
    gap = leaf.shaped(leaf.numeric[: case.random] - leaf.analytic[: case.random])
    x = leaf.array.astype(numpy.float64)
    for count in range(1, leaf.array.ndim):
        for kept in itertools.combinations(range(leaf.array.ndim), count):
            along = tuple(axis for axis in range(leaf.array.ndim) if axis not in kept)
            if numpy.prod([leaf.array.shape[axis] for axis in along]) < 4:
                continue
            moved = numpy.moveaxis(gap, [axis + 1 for axis in kept], range(1, count + 1)).reshape(case.random, *[leaf.array.shape[axis] for axis in kept], -1)
            basis = numpy.moveaxis(x, kept, range(count)).reshape(*[leaf.array.shape[axis] for axis in kept], -1)
            centred, level = basis - basis.mean(-1, keepdims=True), moved.mean(-1, keepdims=True)
            with numpy.errstate(all="ignore"):
                slope = ((moved - level) * centred).sum(-1, keepdims=True) / (centred**2).sum(-1, keepdims=True)
            if numpy.isfinite(slope).all() and alike(moved, level + slope * centred, 1e-3):
                letters = letters_of(leaf.label, leaf.array.shape)
                names = ", ".join(letters[axis] for axis in along)
                sentence = (
                    f"For each {', '.join(letters[axis] for axis in kept)} the missing part is a number plus a "
                    f"number times {leaf.label}: what flows back through the mean and the variance over {names}."
                )
                return Diagnosis(
                    "missing term",
                    leaf.label,
                    sentence,
                    f"fitted with a relative rest of {float(numpy.linalg.norm(moved - level - slope * centred) / numpy.linalg.norm(moved)):.1g}",
                )
    return None


def _constant_along(leaf: Leaf, gap: numpy.ndarray) -> tuple[int, ...] | None:
    """The axes along which a difference does not change, as many as possible."""
    shaped = leaf.shaped(gap)
    axes = tuple(axis for axis in range(leaf.array.ndim) if leaf.array.shape[axis] > 1)
    for count in range(len(axes), 0, -1):
        for along in itertools.combinations(axes, count):
            mean = shaped.mean(axis=tuple(axis + 1 for axis in along), keepdims=True)
            if alike(numpy.broadcast_to(mean, shaped.shape), shaped, 1e-3):
                return along
    return None
