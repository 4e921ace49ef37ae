"""The gradient check: what backward computes, against differences of what forward computes.

Each element of each input is moved by ±eps: one column of the Jacobian J, all outputs by that element. ``backward`` turns an
upstream gradient v into v·J. Both are compared for random v (a uniform one, such as that of ``f(x).sum()``, would not notice
gradients that arrive at the wrong place) and for every unit vector, so that every element of J is seen by itself.

Where the two part, the verdict is not spoken before a closer look: differences over nine steps, from the left and from the
right, tell a wrong gradient from a step that was too large, from rounding, and from a kink.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy

from minivgg.errors import ArgumentError
from minivgg.testing.gradients import health
from minivgg.testing.gradients.case import Case, Leaf
from minivgg.testing.gradients.coordinates import name_of, sample
from minivgg.testing.gradients.diagnoses import diagnose
from minivgg.testing.gradients.differences import central, complex_step, computes_in, curve, derivative
from minivgg.testing.gradients.points import Look, at_kinks
from minivgg.testing.gradients.projection import DIRECTIONS, Projection, project
from minivgg.testing.gradients.report import Diagnosis, GradcheckError, GradcheckReport, InputReport
from minivgg.testing.gradients.subject import Index, Subject, subject_of

UPSTREAM = 3
"""Random upstream gradients for each check."""

FULL = 1 << 20
"""Elements of the Jacobian up to which each is compared by itself; beyond, the products with random upstream gradients."""

MANY = 20_000
"""Input elements from which only a sample is moved, unless the user says how many."""

SAMPLE = 60
"""So many of each input then: a third from corners, borders and interior each."""

HUGE = 1_000_000
"""Input elements from which three of each must do, and three random directions of all of them: a forward pass takes its time."""

MEMORY = 1 << 24
"""Elements of all gradients of all outputs together, up to which each element of the Jacobian is compared."""

LOOKS = 24
"""Suspicious elements of one input looked at closely at a time: one that is wrong for good ends the search."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to check: the arguments of ``gradcheck``."""

    eps: float = 1e-6
    atol: float = 1e-5
    rtol: float = 1e-3
    mode: str | None = None
    samples: int | None = None

    def __post_init__(self) -> None:
        if self.eps <= 0 or self.atol < 0 or self.rtol <= 0:
            problem = f"eps and rtol must be greater than 0, atol at least 0, got eps {self.eps}, rtol {self.rtol}, atol {self.atol}"
            raise ArgumentError("gradcheck", problem)
        if self.mode not in (None, "full", "vectors", "projected"):
            raise ArgumentError("gradcheck", f"mode must be full, vectors or projected, got {self.mode!r}")
        if self.samples is not None and self.samples < 1:
            raise ArgumentError("gradcheck", f"samples must be at least 1, got {self.samples}")


def gradcheck(
    func: Any, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, mode: str | None = None,
    samples: int | None = None, loss: Callable[[Any], Any] | None = None, raise_exception: bool = True,
) -> GradcheckReport:  # fmt: skip
    """Compare the gradients of ``func`` with differences, at ``inputs``, and say what is wrong.

    ``func``     a function of tensors, a ``Function``, a ``Module`` (its parameters are checked, too, and floating buffers that
                 backward reaches; it is left as it is, and draws the same dropout masks at every call); or a pair
                 ``(forward, backward)`` of NumPy functions, where ``backward(upstream, *inputs)`` returns a gradient for each
                 floating input (``backward(upstream, cache)`` if forward returns ``(output, cache)``); or a function or module
                 of PyTorch, if the inputs are its tensors
    ``inputs``   one or a tuple; tensors that require a gradient are checked. float32 ones are checked on copies in float64,
                 and then float32 against float64
    ``mode``     ``"full"``: every element of the Jacobian; ``"vectors"``: its products with random upstream gradients;
                 ``"projected"``: random directions of all inputs at once, for large ones, with the chance of missing stated.
                 By itself ``"full"`` up to a million elements, then ``"vectors"``; both move every element of the inputs, or a
                 sample of each with corners, borders and interiors, and random directions, where there are more than 20,000
                 (60 of each and 8 directions; 3 of each and 3 directions beyond a million)
    ``samples``  so many elements of each input, in place of that rule
    ``loss``     a function of what ``func`` returns: ``gradcheck(model, images, loss=lambda scores: cross_entropy(scores, labels))``
    A gradient a passes against the difference n if |a - n| <= atol + rtol · |n|, or if a closer look shows that the step was
    too coarse, or that a lies between the derivatives from the left and from the right of a kink. Outputs that are not
    floating do not count; a floating output that requires no gradient counts as one whose gradient is 0.

    The report is true if everything passed; otherwise it is the text of the GradcheckError that is raised. Costs two calls
    for every element of every input, and in full mode one backward for every element of the output; a sample of m elements and
    d directions cost 2 m + 13 d calls. Takes memory for five times the inputs and parameters, in float64.

    >>> import minivgg
    >>> x = minivgg.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    >>> report = gradcheck(lambda x: x.exp() * 3, x)
    >>> bool(report), report.elements, report.max_error < 1e-8
    (True, 2, True)
    >>> pair = (numpy.tanh, lambda upstream, x: upstream * (1 - numpy.tanh(x)))  # the square is forgotten
    >>> gradcheck(pair, numpy.array([0.3, -1.0]), raise_exception=False).diagnoses[0].kind
    'missing factor'
    """
    return _verdict(raise_exception, check(subject_of(func, inputs, loss), 1, Settings(eps, atol, rtol, mode, samples)))


def gradgradcheck(
    func: Any, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, mode: str | None = None,
    samples: int | None = None, loss: Callable[[Any], Any] | None = None, raise_exception: bool = True,
) -> GradcheckReport:  # fmt: skip
    """The same for the second derivative: check the gradient of ``func`` as a function of the inputs and its upstream gradient.

    >>> import minivgg
    >>> x = minivgg.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    >>> [line.name for line in gradgradcheck(lambda x: x**3, x).inputs]
    ['x', 'grad_output 0']
    """
    return _verdict(raise_exception, check(subject_of(func, inputs, loss), 2, Settings(eps, atol, rtol, mode, samples)))


def check(subject: Subject, order: int, settings: Settings) -> GradcheckReport:
    """Check the derivative of the given order; the leaves are moved and moved back in place."""
    start = time.perf_counter()
    diagnoses: list[Diagnosis] = []
    if subject.precise is not None:
        diagnoses, subject = _in_float64(subject, order, settings)
    for _ in range(order - 1):
        if subject.differentiated is None:
            raise ArgumentError("gradgradcheck", f"{subject.name} is a pair of NumPy functions: there is nothing that differentiates its backward")
        subject = subject.differentiated()
    faults, sound = health.examine(subject)
    lines: list[InputReport] = []
    coverage = "not compared"
    if sound:
        lines, found, coverage = _compare(subject, order, settings)
        faults += found
    return GradcheckReport(
        subject.name, order, settings.eps, settings.atol, settings.rtol, tuple(lines), (*diagnoses, *faults), coverage, time.perf_counter() - start
    )


def _in_float64(subject: Subject, order: int, settings: Settings) -> tuple[list[Diagnosis], Subject]:
    """The same function on float64 copies, and whether float32 agrees with it; as it is, where float64 does not work."""
    assert subject.precise is not None
    try:
        precise = subject.precise()
        precise.flat()
    except Exception as error:
        sentence = "The inputs are float32 and the function does not take float64, so differences are coarse."
        return [Diagnosis("float32 too coarse", None, sentence, f"in float64 it raised {type(error).__name__}: {error}", fault=False)], subject
    return health.against_float64(subject, precise) if order == 1 else [], precise


# Comparing -------------------------------------------------------------------------------------------------------------


def _compare(subject: Subject, order: int, settings: Settings) -> tuple[list[InputReport], list[Diagnosis], str]:
    here = subject.outputs()
    count = sum(out.size for out in here)
    elements = sum(leaf.size for leaf in subject.leaves.values())
    if settings.mode == "projected":
        projection = project(subject)
        return [], _projected(projection), projection.coverage
    most = settings.samples if settings.samples is not None else SAMPLE // 20 if elements > HUGE else SAMPLE if elements > MANY else None
    chosen = {label: sample(label, leaf.shape, most) for label, leaf in subject.leaves.items()}
    moved = sum(map(len, chosen.values()))
    full = settings.mode == "full" or (settings.mode is None and count * moved <= FULL and count * elements <= MEMORY)
    rng = numpy.random.default_rng(0)
    vectors = [[numpy.asarray(rng.standard_normal(out.shape), out.dtype) for out in here] for _ in range(UPSTREAM)]
    places = [tuple(numpy.array(indices, int).reshape(len(indices), subject.leaves[label].ndim).T) for label, indices in chosen.items()]
    analytic = [_picked(places, gradients) for vector in vectors for gradients in subject.gradients([vector])]
    units = [_picked(places, gradients) for gradients in subject.gradients(_unit_vectors(here))] if full and count else []
    case = Case(subject, order, computes_in(subject), vectors, {})
    exact = subject.complex_step is not None and _complex_works(subject, here)
    for i, label in enumerate(subject.leaves):
        case.leaves[label] = _leaf(case, label, chosen[label], [g[i] for g in analytic], [g[i] for g in units], settings, exact)
    at_kinks(case, settings.atol, settings.rtol)
    lines = [_line(leaf, settings) for leaf in case.leaves.values()]
    found = diagnose(case)
    coverage = _coverage(elements, moved, count, full, exact)
    if most is not None and moved < elements:
        projection = project(subject, DIRECTIONS if elements <= HUGE else 3)
        coverage, found = f"{coverage}; {projection.coverage}", found + (_projected(projection) if all(line.ok for line in lines) else [])
    return lines, found, coverage


def _coverage(elements: int, moved: int, count: int, full: bool, exact: bool) -> str:
    of = f"all {elements:,}" if moved == elements else f"{moved:,} of {elements:,} (corners, borders, interiors)"
    rows = f"every one of {count:,} outputs and " if full else f"{count:,} outputs by "
    return f"checked: {of} input elements, {rows}{UPSTREAM} random upstream gradients" + (", by the complex step" if exact else "")


def _projected(projection: Projection) -> list[Diagnosis]:
    if projection.ok:
        return []
    sentence = "Along random directions the gradient does not give the change of the function; a check of single elements (mode 'full', or samples) says which."
    return [Diagnosis("wrong along a direction", None, sentence, projection.evidence)]


def _unit_vectors(here: list[numpy.ndarray]) -> list[list[numpy.ndarray]]:
    found = []
    for i, out in enumerate(here):
        for flat in range(out.size):
            vector = [numpy.zeros(other.shape, other.dtype) for other in here]
            vector[i].reshape(-1)[flat] = 1
            found.append(vector)
    return found


def _complex_works(subject: Subject, here: list[numpy.ndarray]) -> bool:
    """Whether the complex step agrees with differences at the first element of every leaf (``abs`` and comparisons lose it)."""
    for label, leaf in subject.leaves.items():
        if leaf.size == 0:
            continue
        index: Index = tuple(0 for _ in leaf.shape)
        by_step = complex_step(subject, label, index)
        if by_step is None or by_step.size != sum(out.size for out in here):
            return False
        look = derivative(curve(subject, label, index, subject.flat(), numpy.dtype("float64")), 1e-6)
        if not numpy.allclose(by_step, look.low, rtol=1e-5, atol=1e-7 + 4 * float(numpy.nanmax(look.doubt, initial=0.0))):
            return False
    return True


def _picked(places: list[tuple[numpy.ndarray, ...]], gradients: list[Any]) -> list[numpy.ndarray | None]:
    """The elements of gradients that are compared: of a large model, a few of each are kept instead of all."""
    return [None if gradient is None else gradient[where].astype(numpy.float64).reshape(-1) for where, gradient in zip(places, gradients, strict=True)]


def _leaf(case: Case, label: str, indices: list[Index], analytic: list[Any], units: list[Any], settings: Settings, exact: bool) -> Leaf:
    """Both sides of one input, compared; where they part, looked at closely."""
    subject, array = case.subject, case.subject.leaves[label]
    connected = analytic[0] is not None
    rows = [numpy.zeros(len(indices)) if gradient is None else gradient for gradient in (*analytic, *units)]
    got = numpy.array(rows).reshape(len(rows), len(indices))
    functionals = numpy.array([numpy.concatenate([part.ravel() for part in vector]) for vector in case.vectors]).astype(numpy.float64)
    columns = numpy.empty((functionals.shape[1], len(indices)))
    for j, index in enumerate(indices):
        by_step = complex_step(subject, label, index) if exact else None
        columns[:, j] = central(subject, label, index, settings.eps) if by_step is None else by_step
    expected = _functionals(functionals, columns, bool(units))
    leaf = Leaf(label, array, indices, connected, got, expected, columns, numpy.zeros(len(indices), bool), {})
    distance = _errors(got, expected, settings).max(axis=0, initial=0.0)
    here = subject.flat()
    queue = numpy.flatnonzero(distance > settings.rtol)
    queue = queue[numpy.random.default_rng(0).permutation(len(queue))]
    if len(queue):  # the worst is what the report shows
        worst = int(distance[queue].argmax())
        queue = numpy.concatenate([queue[worst : worst + 1], numpy.delete(queue, worst)])
    for first in range(0, len(queue), LOOKS):
        for j in queue[first : first + LOOKS]:
            look = Look.closely(case, leaf, int(j), here, functionals, settings.atol, settings.rtol)
            leaf.looks[int(j)] = look
            leaf.wrong[j] = not look.cleared
        if leaf.wrong.any():
            leaf.wrong[queue[first + LOOKS :]] = True
            break
    for j, look in leaf.looks.items():
        expected[:, j] = look.nearest(got[:, j])
        columns[:, j] = look.found.low
    return leaf


def _functionals(functionals: numpy.ndarray, columns: numpy.ndarray, units: bool) -> numpy.ndarray:
    with numpy.errstate(all="ignore"):
        products = numpy.where(functionals == 0, 0.0, functionals) @ columns
    return numpy.concatenate([products, columns]) if units else products


def _errors(analytic: numpy.ndarray, numeric: numpy.ndarray, settings: Settings) -> numpy.ndarray:
    """|a - n| / (|n| + atol / rtol): at most rtol exactly where |a - n| <= atol + rtol · |n|; infinite where one is nan."""
    with numpy.errstate(all="ignore"):
        difference = numpy.abs(analytic - numeric)
        error = numpy.where(difference == 0, 0.0, difference / (numpy.abs(numeric) + settings.atol / settings.rtol))
    return numpy.where(numpy.isnan(error), numpy.inf, error)


def _line(leaf: Leaf, settings: Settings) -> InputReport:
    """The line of one input. A leaf that passed is as far off as its worst element that the closer look did not have to clear."""
    shape = leaf.array.shape
    if not leaf.indices:
        return InputReport(leaf.label, shape, 0, 0.0, None, "", None, None, True)
    errors = _errors(leaf.analytic, leaf.numeric, settings)
    for j, look in leaf.looks.items():
        if look.cleared:
            errors[:, j] = numpy.minimum(errors[:, j], look.error)
    judged = numpy.where(leaf.wrong, errors, -1.0) if leaf.wrong.any() else errors
    if leaf.wrong.any():  # of those about as wrong, one that was looked at
        judged = numpy.where([j in leaf.looks for j in range(len(leaf.indices))], judged, 0.99 * judged)
    row, j = (int(i) for i in numpy.unravel_index(int(judged.argmax()), errors.shape))
    every = numpy.full(shape, numpy.nan)
    for index, error in zip(leaf.indices, errors.max(axis=0), strict=True):
        every[index] = error
    look = leaf.looks.get(j)
    return InputReport(
        leaf.label, shape, len(leaf.indices), float(errors[row, j]), leaf.indices[j], name_of(leaf.label, leaf.indices[j], shape),
        float(leaf.analytic[row, j]), float(leaf.numeric[row, j]), not leaf.wrong.any(), int(leaf.wrong.sum()),
        sum(look.at_kink for look in leaf.looks.values()), sum(look.cleared and not look.at_kink for look in leaf.looks.values()),
        every, () if look is None else look.error_by_step(row),
    )  # fmt: skip


def _verdict(raise_exception: bool, report: GradcheckReport) -> GradcheckReport:
    if raise_exception and not report:
        raise GradcheckError(report)
    return report
