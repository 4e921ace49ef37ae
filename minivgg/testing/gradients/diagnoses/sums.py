"""What flows back through a sum, a mean or a norm: elements of the output that depend on all the others, and a backward that gets that wrong."""

from __future__ import annotations

import numpy

from minivgg.testing.gradients.case import Case, Leaf, alike
from minivgg.testing.gradients.coordinates import letters_of
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.report import Diagnosis


@rule
def too_much(case: Case, leaf: Leaf) -> Diagnosis | None:
    """All elements along an axis get what belongs to them together."""
    if not leaf.whole:
        return None
    a, n = (leaf.shaped(rows[: case.random]) for rows in (leaf.analytic, leaf.numeric))
    for axes in [(axis,) for axis in range(1, a.ndim)] + [tuple(range(1, a.ndim))] * (a.ndim > 2):
        total, count = n.sum(axes, keepdims=True), int(numpy.prod([a.shape[axis] for axis in axes]))
        for word, part in (("sum", total), ("mean", total / count)):
            if count > 1 and alike(a, numpy.broadcast_to(part, a.shape)):
                letters = ", ".join(letters_of(leaf.label, leaf.array.shape)[axis - 1] for axis in axes)
                sentence = f"Each element along {letters} of this input gets the {word} of what belongs to all {count}: its own axis was added up, too."
                return Diagnosis("summed over too much", leaf.label, sentence, f"backward is the right gradient's {word} over {letters}, at every element")
    return None


@rule
def at_some_elements(case: Case, leaf: Leaf) -> Diagnosis | None:
    """The same number, times what came in, is missing at each of the wrong elements."""
    if leaf.wrong.all() or leaf.wrong.sum() < 2:
        return None
    gap = (leaf.numeric - leaf.analytic)[: case.random, leaf.wrong]
    if not alike(gap, numpy.broadcast_to(gap.mean(axis=1, keepdims=True), gap.shape), 1e-3):
        return None
    sentence = f"At {int(leaf.wrong.sum())} of {leaf.wrong.size} elements a term is missing, the same at all of them; at the others the gradient is right."
    numbers = f"backward is {', '.join(f'{-value:.6g}' for value in gap[:, 0])} too large there, for {case.random} upstream gradients"
    return Diagnosis("missing term", leaf.label, sentence, numbers)


@rule
def few_numbers(case: Case, leaf: Leaf) -> Diagnosis | None:
    """What is missing depends on few numbers (its matrix has a low rank): sums over the upstream gradient, or over the input."""
    rows = leaf.rows(case)
    if rows is None:
        return None
    gap = rows[1] - rows[0]
    gap = gap[numpy.abs(gap).max(axis=1) > 1e-9][:, numpy.abs(gap).max(axis=0) > 1e-9]
    least = min(gap.shape)
    if least < 6:
        return None
    sizes = numpy.linalg.svd(gap, compute_uv=False)
    rank = int((sizes > 1e-6 * sizes[0]).sum())
    if 2 * rank > least:
        return None
    sentence = (
        "A term that flows back through a sum (a mean, a norm, a normalisation) is wrong: it is missing, or summed over "
        "another axis, or weighted with something else; the rest is right."
    )
    numbers = f"the difference of the Jacobians, {gap.shape[0]} by {gap.shape[1]}, has the rank {rank}: it goes through {rank} numbers"
    return Diagnosis("missing term", leaf.label, sentence, numbers)
