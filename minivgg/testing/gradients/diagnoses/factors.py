"""A factor of the chain rule is missing or wrong: the quotient of both sides is the same whatever comes in from above."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy

from minivgg.testing.gradients.case import Case, Leaf, alike
from minivgg.testing.gradients.coordinates import describe, letters_of
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.diagnoses.masks import zero_patterns
from minivgg.testing.gradients.report import Diagnosis


def _quotient(a: numpy.ndarray, n: numpy.ndarray) -> numpy.ndarray | None:
    """n / a for each column, nan where both are 0; None if it differs between the rows."""
    with numpy.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usable = numpy.where(numpy.abs(a) > 1e-7 * max(float(numpy.abs(a).max()), 1e-300), n / a, numpy.nan)
        ratio = numpy.nanmedian(usable, axis=0)
    ratio = numpy.where(numpy.isnan(ratio) & (numpy.abs(n).max(axis=0) <= 1e-9), 0.0, ratio)
    filled = numpy.where(numpy.isnan(ratio), 0.0, ratio)
    return ratio if alike(a * filled, n) and numpy.isfinite(ratio).any() else None


@rule
def other_mask(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Zeros at other places than they should be, and the same factor everywhere else: a mask, but not the right one."""
    a, n = leaf.analytic[: case.random], leaf.numeric[: case.random]
    zero_a, zero_n = zero_patterns(case, leaf)
    both = ~zero_a & ~zero_n
    if not (zero_a & ~zero_n).any() or not (zero_n & ~zero_a).any() or both.sum() < 2:
        return None
    with numpy.errstate(all="ignore"):
        ratio = float((a[:, both] * n[:, both]).sum() / (n[:, both] ** 2).sum())
    if not alike(a[:, both], ratio * n[:, both]):
        return None
    sentence = "The gradient is masked, but not by the mask of the forward pass: it was drawn or computed a second time."
    counts = (
        f"{int((zero_n & ~zero_a).sum())} elements that the forward pass dropped get a gradient, "
        f"{int((zero_a & ~zero_n).sum())} that it kept get none; where both are kept they agree"
    )
    return Diagnosis("second mask drawn in backward", leaf.label, sentence, f"{counts} (factor {ratio:.6g})")


@rule
def elementwise(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Right = backward times a factor that belongs to the element, not to the upstream gradient."""
    a, n = leaf.analytic[: case.random], leaf.numeric[: case.random]
    if leaf.array.size < 2 or len(leaf.indices) < 2:
        return None
    ratio = _quotient(a, n)
    if ratio is None:
        return None
    known = numpy.isfinite(ratio)
    shown = (
        f"the factor runs from {float(numpy.nanmin(ratio)):.4g} to {float(numpy.nanmax(ratio)):.4g}, and is the same for all {case.random} upstream gradients"
    )
    for words, values in _candidates(case, leaf):
        picked = numpy.array([values[index] for index in leaf.indices])
        if alike(picked[known], ratio[known], 1e-3):
            return Diagnosis("missing factor", leaf.label, f"Backward lacks the factor {words}.", f"{shown}; {words} gives these numbers")
    if leaf.whole:
        shaped = leaf.shaped(ratio)
        for axis, letter in enumerate(letters_of(leaf.label, leaf.array.shape)):
            others = tuple(other for other in range(shaped.ndim) if other != axis)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                profile = numpy.nanmedian(shaped, axis=others, keepdims=True)
            if others and alike((numpy.broadcast_to(profile, shaped.shape))[~numpy.isnan(shaped)], shaped[~numpy.isnan(shaped)], 1e-3):
                listed = ", ".join(f"{value:.4g}" for value in profile.ravel()[:6])
                return Diagnosis(
                    "missing factor", leaf.label, f"Backward lacks a factor that depends on {letter} only.", f"{shown}; for {letter}=0, 1, ...: {listed}"
                )
    if not leaf.wrong.all() or sum(part.size for part in case.vectors[0]) < 2:
        return None  # where it is wrong says more; and with a single output the factor is no finding: any gradient has one
    return Diagnosis("missing factor", leaf.label, "Backward lacks a factor of the chain rule, a number for each element.", shown)


def _candidates(case: Case, leaf: Leaf) -> Iterator[tuple[str, numpy.ndarray]]:
    """Arrays of the input's shape that the missing factor may be: of the input, of the output, of the other inputs."""
    x, name = leaf.array.astype(numpy.float64), leaf.label
    outputs = [out.astype(numpy.float64) for out in case.subject.outputs() if out.shape == x.shape]
    with numpy.errstate(all="ignore"):
        yield f"{name} > 0 (what is below 0 passes nothing)", (x > 0).astype(float)
        for y in outputs[:1]:
            yield "1 - output²", 1 - y * y
            yield "1 + output (where a square of it was taken for itself)", 1 + y
            yield "output · (1 - output)", y * (1 - y)
            yield "1 - output", 1 - y
            yield "the output itself", y
            yield "1 / output", 1 / y
            yield "2 · output", 2 * y
            yield "1 / (2 · output)", 0.5 / y
            yield "the mask output ≠ 0", (y != 0).astype(float)
        yield name, x
        yield f"{name}²", x * x
        yield f"2 · {name}", 2 * x
        yield f"1 / {name}", 1 / x
        yield f"1 / {name}²", 1 / x**2
        yield f"-1 / {name}²", -1 / x**2
        yield f"the sign of {name}", numpy.sign(x)
        yield f"cos {name}", numpy.cos(x)
        yield f"exp {name}", numpy.exp(x)
        for label, other in case.subject.leaves.items():
            if label == name or (other.ndim > x.ndim and other.size > 1):
                continue
            for shape in {other.shape, (1, *other.shape, *(1,) * (x.ndim - other.ndim - 1))} if other.ndim == 1 else {other.shape}:
                try:
                    wide = numpy.broadcast_to(other.reshape(shape), x.shape).astype(numpy.float64)
                except ValueError:
                    continue
                yield label, wide
                yield f"1 / {label}", 1 / wide
                yield f"-1 / {label}²", -1 / wide**2
                yield f"{label}²", wide**2


@rule
def of_the_output(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Right = backward of the upstream gradient times a factor that belongs to the output's element: rows of the Jacobian."""
    rows = len(leaf.analytic) - case.random
    if rows < 2:
        return None
    a, n = leaf.analytic[case.random :], leaf.numeric[case.random :]
    with numpy.errstate(all="ignore"):
        weights = (a * n).sum(axis=1) / (a * a).sum(axis=1)
    weights = numpy.where(numpy.isfinite(weights), weights, 0.0)
    if not alike(weights[:, None] * a, n):
        return None
    numbers = (
        f"each row of the Jacobian is the right one divided by a number, from {float(weights.min()):.4g} to {float(weights.max()):.4g} for the {rows} outputs"
    )
    flat = case.subject.flat()
    used = a.any(axis=1)
    with numpy.errstate(all="ignore"):
        for words, values in (
            ("1 - output²", 1 - flat**2),
            ("output · (1 - output)", flat * (1 - flat)),
            ("the output", flat),
            ("output > 0", flat > 0),
            ("1 / output", 1 / flat),
        ):
            if alike(numpy.asarray(values, float)[used], weights[used], 1e-3):
                return Diagnosis(
                    "missing factor", leaf.label, f"Backward lacks the factor {words}, by which the upstream gradient must be multiplied first.", numbers
                )
    border = _only_at_the_border(case, numpy.abs(weights - 1) > 1e-3)
    if border:
        sentence = f"What comes back from the outputs {border} lacks a factor, that from the others is right: how the border or the padding is treated."
        return Diagnosis("wrong at the border", leaf.label, sentence, numbers)
    if not leaf.wrong.all():
        return None
    return Diagnosis(
        "missing factor", leaf.label, "Backward lacks a factor by which the upstream gradient must be multiplied first, a number for each output.", numbers
    )


def _only_at_the_border(case: Case, wrong: numpy.ndarray) -> str | None:
    """Where these elements of the one output lie, if all of them lie at the border of maps."""
    shapes = case.output_shapes()
    if len(shapes) != 1 or len(shapes[0]) < 3 or min(shapes[0][-2:]) < 3:
        return None
    where = wrong.reshape(shapes[0])
    return describe("grad_output", where) if where.any() and not where[..., 1:-1, 1:-1].any() else None
