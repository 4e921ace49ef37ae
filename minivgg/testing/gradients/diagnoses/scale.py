"""The right gradient times a constant: a sign, a forgotten 2, a batch size, the 1 / (1 - p) of dropout."""

from __future__ import annotations

import math

import numpy

from minivgg.testing.gradients.case import Case, Leaf, alike
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.report import Diagnosis


@rule
def constant_ratio(case: Case, leaf: Leaf) -> Diagnosis | None:
    a, n = leaf.analytic, leaf.numeric
    with numpy.errstate(all="ignore"):
        ratio = float((a * n).sum() / (n * n).sum())
    if not math.isfinite(ratio) or ratio == 0 or not alike(a, ratio * n) or numpy.count_nonzero(numpy.abs(n) > 1e-9) < 2 <= n.size:
        return None
    numbers = f"backward / differences = {ratio:.6g} at every element, the same for all {case.random} upstream gradients"
    if abs(ratio + 1) < 1e-3:
        return Diagnosis("wrong sign", leaf.label, "The gradient has the wrong sign.", numbers)
    names = meanings(case, leaf, abs(ratio))
    sign = "the wrong sign, and is " if ratio < 0 else ""
    known = f" {abs(ratio):.6g} is {'; or '.join(names)}." if names else ""
    sentence = (
        f"The gradient has {sign}everywhere {abs(ratio):.6g} times what it should be.{known}"
        if ratio < 0
        else f"The gradient is everywhere {ratio:.6g} times what it should be.{known}"
    )
    return Diagnosis("missing scale", leaf.label, sentence, numbers)


def meanings(case: Case, leaf: Leaf, ratio: float) -> list[str]:
    """What a constant may stand for: sizes of this problem, and well-known factors."""
    outputs = case.output_shapes()
    sizes: dict[int, str] = {}
    for what, shapes in (("the output's", outputs), (f"{leaf.label}'s", [leaf.array.shape])):
        for shape in shapes:
            for axis, size in enumerate(shape):
                sizes.setdefault(size, f"{what} axis {axis}" + (", the batch size" if axis == 0 and len(shape) > 1 else ""))
            if len(shape) > 2:
                sizes.setdefault(math.prod(shape[-2:]), f"{what} rows times columns")
            sizes.setdefault(math.prod(shape), f"{what} number of elements")
    found = []
    for size, what in sizes.items():
        if size > 1:
            found += [f"{size}, {what}: a mean where a sum belongs, or the other way round"] * _close(ratio, size)
            found += [f"1/{size}, {size} being {what}: a mean where a sum belongs, or the other way round"] * _close(ratio, 1 / size)
    for p in (round(0.05 * k, 2) for k in range(1, 20)):
        found += [f"1 - p for p = {p:g}, the scale 1 / (1 - p) of dropout being forgotten"] * _close(ratio, 1 - p)
        found += [f"1 / (1 - p) for p = {p:g}, the scale of dropout taken twice"] * _close(ratio, 1 / (1 - p))
    found += ["1/2: a square's factor 2 forgotten, or one of two paths"] * _close(ratio, 0.5)
    found += ["2: counted twice, or a factor 1/2 forgotten"] * _close(ratio, 2)
    return found[:4]


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-4 * abs(b)
