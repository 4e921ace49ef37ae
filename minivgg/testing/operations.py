"""The gradient check of whole operations, read from their records: one operation, one after the other, all of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy

from minivgg.registry import OPERATIONS, Operation, Sample
from minivgg.testing.gradients.check import Settings, check
from minivgg.testing.gradients.report import Diagnosis, GradcheckReport
from minivgg.testing.gradients.subject import of_calls
from minivgg.testing.samples import as_function, leaves_of, map_arrays, names_of

EPS, ATOL, RTOL = 1e-6, 1e-7, 1e-5
"""Samples are well scaled, so the check can be a hundred times stricter than the default."""


@dataclasses.dataclass(frozen=True)
class OperationReport:
    """One row of the table of all operations: largest errors of the first and second derivative over all samples.

    An error is None where the operation is not differentiable so often (indices, comparisons).
    """

    name: str
    samples: int
    elements: int
    first: float | None
    second: float | None
    seconds: float
    ok: bool
    failures: tuple[GradcheckReport, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data; failures as their texts."""
        return {**dataclasses.asdict(self), "failures": [str(report) for report in self.failures]}


def samples_of(operation: Operation) -> list[Sample]:
    """The samples of an operation, the same ones every time."""
    return list(operation.samples(numpy.random.default_rng(0)))


def check_sample(operation: Operation, sample: Sample, order: int, most: int | None = None) -> GradcheckReport:
    """Gradient-check one call of an operation, or ``most`` elements of each of its inputs."""
    sample = Sample(*(map_arrays(part, numpy.array) for part in (sample.args, sample.kwargs)))  # copies: elements are moved in place
    function, leaves = as_function(operation.function, sample), leaves_of(sample)
    named = dict(zip(names_of(operation, sample), leaves, strict=True))
    return check(of_calls(operation.name, lambda: function(*leaves), named), order, Settings(EPS, ATOL, RTOL, "vectors", most))


def _attempt(operation: Operation, sample: Sample, order: int, most: int | None) -> GradcheckReport:
    """The check of a sample, where an operation that raises is a failed one: the table of all goes on."""
    try:
        return check_sample(operation, sample, order, most)
    except Exception as error:
        raised = Diagnosis("raised", None, "The operation does not run through.", f"{type(error).__name__}: {error}")
        return GradcheckReport(operation.name, order, EPS, ATOL, RTOL, (), (raised,), "not compared", 0.0)


def check_operation(operation: Operation, order: int | None = None, most: int | None = None) -> OperationReport:
    """Gradient-check an operation on all of its samples, up to ``order`` (by itself as far as it declares, at most 2).

    >>> from minivgg.ops.relu import OPERATION
    >>> report = check_operation(OPERATION, order=1)
    >>> report.ok, report.samples, report.elements, report.second
    (True, 4, 100, None)
    """
    start = time.perf_counter()
    order = min(operation.order, 2) if order is None else order
    samples = samples_of(operation)
    reports = [[_attempt(operation, sample, n, most) for sample in samples] for n in range(1, order + 1)]
    errors = [max((report.max_error for report in of_order), default=0.0) for of_order in reports]
    first, second, *_ = [*errors, None, None]
    every = [report for of_order in reports for report in of_order]
    return OperationReport(
        operation.name, len(samples), sum(report.elements for report in every), first, second,
        time.perf_counter() - start, all(every), tuple(report for report in every if not report),
    )  # fmt: skip


def gradcheck_all(most: int | None = None) -> Iterator[OperationReport]:
    """A row for every operation, as soon as it is known (all of them: about 10 s); ``most`` elements of each input if given."""
    for operation in list(OPERATIONS.values()):
        yield check_operation(operation, most=most)
