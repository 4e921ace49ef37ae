"""docs/adding.md is executable: its operation, its algorithm and its layer run exactly as they stand on the page."""

import re
import sys
import types
from pathlib import Path

import numpy
import pytest
import torch

import minivgg
from minivgg import registry
from minivgg.nn import Module
from minivgg.testing import checks, kernel_checks
from minivgg.testing.operations import samples_of
from minivgg.testing.problems import problems

PAGE = (Path(__file__).parents[1] / "docs" / "adding.md").read_text(encoding="utf-8")
OPERATION, ALGORITHM, LAYER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def execute(name, code, **names):
    module = types.ModuleType(name)
    module.__dict__.update(names)
    sys.modules[name] = module
    exec(compile(code, name, "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def operation():
    yield execute("minivgg.ops.leaky_relu", OPERATION)
    del registry.OPERATIONS["leaky_relu"], sys.modules["minivgg.ops.leaky_relu"]


@pytest.fixture(scope="module")
def algorithms():
    directions = ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")
    for direction in directions:
        registry.algorithms(direction)  # all others register first
    execute("minivgg.kernels.conv2d.einsum", ALGORITHM)
    yield [registry.algorithms(direction)["einsum"] for direction in directions]
    for direction in directions:
        del registry.algorithms(direction)["einsum"]
    del sys.modules["minivgg.kernels.conv2d.einsum"]


def test_the_operation_passes_every_generic_check(operation):
    record = operation.OPERATION
    for sample in samples_of(record):
        checks.check_shapes(record, sample)
        for dtype in ("float32", "float64"):
            checks.check_forward(record, sample, numpy.dtype(dtype))
        checks.check_gradient(record, sample, 1)
        checks.check_gradient(record, sample, 2)
        checks.check_against_torch(record, sample, torch)
    for error in record.errors():
        checks.check_error(record, error)


def test_the_algorithm_passes_the_kernel_checks(algorithms):
    for algorithm in algorithms:
        for problem in problems(algorithm.operation):
            for dtype in (numpy.dtype("float32"), numpy.dtype("float64")):
                kernel_checks.check_result(algorithm, problem, dtype, "row_major")
            kernel_checks.check_inputs(algorithm, problem)
            kernel_checks.check_workspace(algorithm, problem, numpy.dtype("float32"), "row_major")


def test_the_layer_equals_pytorchs(operation):
    layer = execute("layer", LAYER, Module=Module, leaky_relu=operation.leaky_relu).LeakyReLU(0.2)
    theirs = torch.nn.LeakyReLU(0.2)
    x = numpy.random.default_rng(0).standard_normal((2, 3)).astype("float32")
    assert repr(layer) == repr(theirs)
    numpy.testing.assert_array_equal(layer(minivgg.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy())
