"""Gradients that are no numbers, points without a derivative, functions too coarse for differences."""

from __future__ import annotations

import numpy

from minivgg.testing.gradients.case import Case, Leaf
from minivgg.testing.gradients.coordinates import name_of
from minivgg.testing.gradients.diagnoses import rule
from minivgg.testing.gradients.report import Diagnosis


@rule
def not_finite(case: Case, leaf: Leaf) -> Diagnosis | None:
    bad = ~numpy.isfinite(leaf.analytic)
    if not bad.any():
        if numpy.isfinite(leaf.numeric).all():
            return None
        row, j = numpy.argwhere(~numpy.isfinite(leaf.numeric))[0]
        where = name_of(leaf.label, leaf.indices[j], leaf.array.shape)
        sentence = "The function itself is not finite here, or right beside it, so there is nothing to compare with."
        return Diagnosis("not finite", leaf.label, sentence, f"at {where} = {leaf.array[leaf.indices[j]]:.6g} differences give {leaf.numeric[row, j]}")
    row, j = numpy.argwhere(bad)[0]
    where = name_of(leaf.label, leaf.indices[j], leaf.array.shape)
    sentence = "The gradient is not finite where the function is smooth: a division by 0, an overflow, or 0 · inf on the way back."
    numbers = (
        f"{int(bad.any(axis=0).sum())} of {len(leaf.indices)} elements; at {where} = {leaf.array[leaf.indices[j]]:.6g} "
        f"backward gives {leaf.analytic[row, j]}, differences {leaf.numeric[row, j]:.6g}"
    )
    return Diagnosis("not finite", leaf.label, sentence, numbers)


@rule
def tie(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Each element is right at its kink, all of them moved together are not."""
    if leaf.together is None:
        return None
    met = leaf.together
    values = {float(case.leaves[label].array[index]) for label, index in met.elements}
    kind = "tie in a maximum" if len(values) == 1 and 0.0 not in values else "kink"
    what = "equal numbers compete" if kind.startswith("tie") else "the function has a kink"
    bounds = f"{met.low:.6g}" if abs(met.high - met.low) < 1e-6 * (1 + abs(met.high)) else f"between {met.low:.6g} and {met.high:.6g}"
    sentence = f"Where {what}, the gradients of the elements are possible one by one, but not together: their sum must be {bounds}."
    names = ", ".join(name_of(label, index, case.leaves[label].array.shape) for label, index in met.elements[:4])
    return Diagnosis(kind, leaf.label, sentence, f"{names} moved together: output {met.output} changes at the rate {bounds}, backward says {met.along:.6g}")


@rule
def at_the_kink_itself(case: Case, leaf: Leaf) -> Diagnosis | None:
    """Only elements at kinks are wrong: what backward gives lies outside both one-sided derivatives."""
    wrong = [leaf.looks[j] for j in numpy.flatnonzero(leaf.wrong).tolist() if j in leaf.looks]
    if not wrong or len(wrong) < leaf.wrong.sum() or not all(look.found.kink.any() for look in wrong):
        return None
    j = int(numpy.flatnonzero(leaf.wrong)[0])
    look = leaf.looks[j]
    row = int(numpy.maximum(look.low - look.analytic, look.analytic - look.high).argmax())
    values = [float(leaf.array[index]) for index in leaf.indices]
    kind = "tie in a maximum" if values.count(values[j]) > 1 and values[j] != 0 else "kink"
    sentence = "Wrong only where the function has a kink: backward must give a value between the derivatives from the left and from the right."
    where = name_of(leaf.label, leaf.indices[j], leaf.array.shape)
    numbers = (
        f"at {where} = {values[j]:.6g}: from {look.low[row]:.6g} to {look.high[row]:.6g}, "
        f"backward gives {look.analytic[row]:.6g}; {int(leaf.wrong.sum())} elements like this"
    )
    return Diagnosis(kind, leaf.label, sentence, numbers)


@rule
def too_coarse(case: Case, leaf: Leaf) -> Diagnosis | None:
    """The valley of the curve does not go deep enough to judge, because the function rounds to float32."""
    wrong = [leaf.looks[j] for j in numpy.flatnonzero(leaf.wrong).tolist() if j in leaf.looks]
    if case.precision != numpy.float32 or not wrong:
        return None
    look = wrong[0]
    with numpy.errstate(all="ignore"):
        gap = numpy.maximum(numpy.maximum(look.low - look.analytic, look.analytic - look.high), 0)
    if not (gap <= 3 * look.doubt).all():
        return None
    step = look.curve.steps[int(look.curve.noise.sum(axis=1).argmin())]
    sentence = (
        "The function computes in float32, so differences see only about three digits; "
        f"they need a step of about {step:.0e}. Make it compute in the dtype of its inputs."
    )
    return Diagnosis(
        "float32 too coarse",
        leaf.label,
        sentence,
        f"every output is a float32 number; at the best step the difference may be off by {float(look.doubt.max()):.2g}",
    )
