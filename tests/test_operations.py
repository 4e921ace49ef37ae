"""Every operation, on every sample of its record, through every generic check of minivgg/testing/checks.py."""

import numpy
import pytest
import torch

import minivgg  # noqa: F401 completes the records
from minivgg.registry import OPERATIONS
from minivgg.testing import checks
from minivgg.testing.layouts import LAYOUTS
from minivgg.testing.operations import samples_of

DTYPES = [numpy.dtype("float64"), numpy.dtype("float32")]
SAMPLES = [(operation, i, sample) for operation in OPERATIONS.values() for i, sample in enumerate(samples_of(operation))]
ERRORS = [(operation, i, sample) for operation in OPERATIONS.values() for i, sample in enumerate(operation.errors())]


def each(cases):
    return pytest.mark.parametrize(("operation", "sample"), [pytest.param(operation, sample, id=f"{operation.name}-{i}") for operation, i, sample in cases])


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_has_samples_and_a_docstring(operation):
    assert samples_of(operation)
    assert operation.function.__doc__


@each(SAMPLES)
def test_shapes(operation, sample):
    checks.check_shapes(operation, sample)


@each(SAMPLES)
def test_forward_is_the_oracles(operation, sample):
    for dtype in DTYPES:
        checks.check_forward(operation, sample, dtype)


@each(case for case in SAMPLES if not checks.names_dtype(case[2]))
def test_dtype_is_kept(operation, sample):
    for dtype in DTYPES:
        checks.check_dtype(operation, sample, dtype)


@each(case for case in SAMPLES if case[0].order >= 1)
def test_first_derivative(operation, sample):
    checks.check_gradient(operation, sample, 1)


@each(case for case in SAMPLES if case[0].order >= 2)
def test_second_derivative(operation, sample):
    checks.check_gradient(operation, sample, 2)


@each(SAMPLES)
def test_memory_layout_does_not_matter(operation, sample):
    for layout in LAYOUTS:
        checks.check_layout(operation, sample, layout)


@each(SAMPLES)
def test_inputs_are_left_alone(operation, sample):
    checks.check_inputs_unchanged(operation, sample)


@each(SAMPLES)
def test_second_run_gives_the_same_bits(operation, sample):
    checks.check_repeatable(operation, sample)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@each(case for case in SAMPLES if case[0].torch is not None)
def test_agrees_with_torch(operation, sample):
    checks.check_against_torch(operation, sample, torch)


@each(ERRORS)
def test_refusal(operation, sample):
    checks.check_error(operation, sample)
