"""Every algorithm under kernels/, on every problem of its operation, through every check of minivgg/testing/kernel_checks.py."""

import numpy
import pytest

from minivgg.registry import algorithms, operations_with_algorithms
from minivgg.testing import kernel_checks
from minivgg.testing.problems import problems

DTYPES = [numpy.dtype("float64"), numpy.dtype("float32")]
CASES = [
    (algorithm, problem) for operation in operations_with_algorithms() for algorithm in algorithms(operation).values() for problem in problems(operation)
]  # fmt: skip


def each(cases):
    return pytest.mark.parametrize(("algorithm", "problem"), [pytest.param(a, p, id=f"{a.operation}-{a.name}-{p}") for a, p in cases])


def supported(algorithm, problem):
    return all(algorithm.supports(problem.spec, dtype) is None for dtype in DTYPES)


def large(problem):
    """Several tiles, and more scratch memory than Python and NumPy take for themselves."""
    return max(numpy.prod(shape) for shape in (*problem.inputs, *problem.outputs) if shape is not None) > 40_000


SMALL_ONES = [case for case in CASES if supported(*case) and not large(case[1])]
LARGE_ONES = [case for case in CASES if supported(*case) and large(case[1]) and case[0].name != "reference"]


@pytest.mark.parametrize("operation", operations_with_algorithms())
def test_operation_has_a_reference_that_is_never_chosen(operation):
    assert not algorithms(operation)["reference"].automatic


@each(SMALL_ONES)
def test_result(algorithm, problem):
    for dtype in DTYPES:
        for layout in kernel_checks.LAYOUTS:
            kernel_checks.check_result(algorithm, problem, dtype, layout)


@each(LARGE_ONES)
def test_result_of_several_tiles(algorithm, problem):
    kernel_checks.check_result(algorithm, problem, numpy.dtype("float32"), "channels_last")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@each(case for case in SMALL_ONES + LARGE_ONES if case[0].fuses)
def test_what_it_fuses(algorithm, problem, dtype):
    for layout in kernel_checks.LAYOUTS:
        kernel_checks.check_fused(algorithm, problem, dtype, layout)


@each(SMALL_ONES)
def test_inputs_are_left_alone(algorithm, problem):
    kernel_checks.check_inputs(algorithm, problem)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["row_major", "channels_last"])
@each(LARGE_ONES)
def test_scratch_memory_is_what_it_declares(algorithm, problem, layout, dtype):
    kernel_checks.check_workspace(algorithm, problem, dtype, layout)


@each([case for case in SMALL_ONES if case[0].backend == "numba"] + LARGE_ONES)
def test_any_number_of_threads_gives_the_same_bits(algorithm, problem):
    for dtype in DTYPES:
        kernel_checks.check_threads(algorithm, problem, dtype)


@each(case for case in CASES if not supported(*case))
def test_refusal_has_a_sentence(algorithm, problem):
    for dtype in DTYPES:
        kernel_checks.check_refusal(algorithm, problem, dtype)
