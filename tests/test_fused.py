"""Operations that have a formula and a compiled kernel: the kernel through every check of the operation, whatever its size."""

import numpy
import pytest
import torch

from minivgg import registry
from minivgg.registry import OPERATIONS, algorithms, kernel
from minivgg.testing import checks
from minivgg.testing.layouts import LAYOUTS
from minivgg.testing.operations import samples_of

FUSED = [operation for operation in OPERATIONS.values() if "formula" in algorithms(operation.name)]
SAMPLES = [pytest.param(operation, sample, id=f"{operation.name}-{i}") for operation in FUSED for i, sample in enumerate(samples_of(operation))]


@pytest.mark.parametrize(("operation", "sample"), SAMPLES)
def test_kernel_computes_the_operation(operation, sample, monkeypatch):
    monkeypatch.setattr(registry, "SMALL", 0)
    for dtype in ("float32", "float64"):
        checks.check_forward(operation, sample, dtype)
        checks.check_dtype(operation, sample, dtype)
    for layout in LAYOUTS:
        checks.check_layout(operation, sample, layout)
    checks.check_inputs_unchanged(operation, sample)
    checks.check_repeatable(operation, sample)
    for order in range(1, operation.order + 1):
        checks.check_gradient(operation, sample, order)
    if operation.torch is not None:
        checks.check_against_torch(operation, sample, torch)


def test_small_arrays_are_computed_by_the_formula():
    assert kernel("relu", (4,), numpy.zeros(4)) is algorithms("relu")["formula"].run
    assert kernel("relu", (registry.SMALL,), numpy.zeros(registry.SMALL)) is algorithms("relu")["fused"].run


def test_a_forced_algorithm_is_taken():
    with registry.use_algorithm(relu="reference"):
        for operation in ("relu", "relu_grad"):
            assert kernel(operation, (4,), numpy.zeros(4)) is algorithms(operation)["reference"].run


def test_relu_in_place_gives_the_same_bits():
    x = numpy.random.default_rng(0).standard_normal((2, 3, 40, 40)).astype("float32")
    x[0, 0, 0, :3] = numpy.nan, -numpy.inf, -0.0
    for array in (x, x.transpose(0, 3, 1, 2), x[:, ::2]):
        expected, changed = numpy.empty_like(array), array.copy("K")
        algorithms("relu")["reference"].run(array.shape, array, expected)
        algorithms("relu")["fused"].run(array.shape, changed, changed)
        numpy.testing.assert_array_equal(changed, expected)
