"""What is worth knowing of inputs that passed: kinks, steps that had to be smaller, float32 inside."""

from __future__ import annotations

from minivgg.testing.gradients.case import Case, Leaf
from minivgg.testing.gradients.coordinates import name_of
from minivgg.testing.gradients.report import Diagnosis


def remarks(case: Case, leaf: Leaf) -> list[Diagnosis]:
    """Remarks on one input; rounding to float32 inside a function of float64 inputs is a fault, for its user asked for more."""
    found = []
    cleared = {j: look for j, look in leaf.looks.items() if look.cleared and not leaf.wrong[j]}
    kinks = {j: look for j, look in cleared.items() if look.at_kink}
    if kinks:
        j, look = next(iter(kinks.items()))
        where = name_of(leaf.label, leaf.indices[j], leaf.array.shape)
        values = [float(leaf.array[index]) for index in leaf.indices]
        kind = "tie in a maximum" if any(values.count(values[j]) > 1 and values[j] != 0 for j in kinks) else "kink"
        row = int((look.high - look.low).argmax())
        sides = (
            f"from {look.low[row]:.6g} to {look.high[row]:.6g}, backward gives {look.analytic[row]:.6g}"
            if not look.found.jump.any()
            else "no derivative at all: the function jumps"
        )
        sentence = (
            f"{len(kinks)} element{'s lie' if len(kinks) > 1 else ' lies'} where the derivatives "
            "from the left and from the right differ; backward gives a value between them."
        )
        found.append(Diagnosis(kind, leaf.label, sentence, f"at {where} = {values[j]:.6g}: {sides}", fault=False))
    coarse = case.precision.name == "float32"
    if coarse and not leaf.wrong.any():
        step = max(case_step(case), 1e-3)
        fault = leaf.array.dtype.name == "float64"
        doubt = max((float(look.doubt.max()) for look in cleared.values()), default=0.0)
        sentence = f"The function computes in float32: differences need a step of about {step:.0e}, and see three digits." + (
            " Its inputs are float64, so it should not." if fault else ""
        )
        found.append(
            Diagnosis(
                "float32 too coarse",
                leaf.label,
                sentence,
                f"every output near this point is a float32 number; the differences may be off by {doubt:.2g}",
                fault=fault,
            )
        )
    stepped = len(cleared) - len(kinks)
    if stepped and not coarse:
        sentence = (
            f"{stepped} element{'s were' if stepped > 1 else ' was'} judged with other steps "
            "than eps: a kink lies within eps, or the function bends too much for it."
        )
        j = next(j for j in cleared if j not in kinks)
        found.append(Diagnosis("stepped around", leaf.label, sentence, f"for one, at {name_of(leaf.label, leaf.indices[j], leaf.array.shape)}", fault=False))
    return found


def case_step(case: Case) -> float:
    """The step at which truncation and rounding balance in float32: the cube root of its rounding."""
    return (6e-8 * 3) ** (1 / 3)
