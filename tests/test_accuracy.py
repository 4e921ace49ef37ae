"""The error that each algorithm declares, on VGG's layers: all their channels, on a part of their image, against float64."""

import functools

import numpy
import pytest

from minivgg.registry import algorithms
from minivgg.spec import Conv2dSpec
from minivgg.testing.kernel_checks import relative_error

LAYERS = {"conv1_1": (3, 64), "conv1_2": (64, 64), "conv2_2": (128, 128), "conv3_1": (128, 256), "conv4_1": (256, 512), "conv5_1": (512, 512)}
DIRECTIONS = ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")


@functools.cache
def problem(layer):
    """The layer, its arrays in float32 as training has them, and each direction's result in float64."""
    c, k = LAYERS[layer]
    spec = Conv2dSpec.parse(f"n1 c{c} h14 w14 k{k} r3 p1")
    rng = numpy.random.default_rng(0)
    x, dy = (rng.standard_normal(shape, "float32") for shape in (spec.input_shape, spec.output_shape))
    x, w = numpy.maximum(x, 0), rng.standard_normal(spec.weight_shape, "float32") * numpy.float32((2 / (9 * k)) ** 0.5)
    inputs = {"conv2d": (x, w, None), "conv2d_grad_input": (dy, w), "conv2d_grad_weight": (dy, x)}
    shapes = {"conv2d": spec.output_shape, "conv2d_grad_input": spec.input_shape, "conv2d_grad_weight": spec.weight_shape}
    truths = {}
    for direction in DIRECTIONS:
        truths[direction] = numpy.empty(shapes[direction])
        exact = [None if array is None else array.astype("float64") for array in inputs[direction]]
        algorithms(direction)["im2col"].run(spec, *exact, truths[direction])
    return spec, inputs, truths


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layer", LAYERS)
def test_declared_error_holds(layer, direction):
    spec, inputs, truths = problem(layer)
    errors, declared = {}, {}
    for name, algorithm in algorithms(direction).items():
        if name == "reference" or algorithm.supports(spec, numpy.dtype("float32")) is not None:
            continue
        out = numpy.empty(truths[direction].shape, "float32")
        algorithm.run(spec, *inputs[direction], out)
        errors[name], declared[name] = relative_error(out, truths[direction]), algorithm.max_error
    assert {name: error for name, error in errors.items() if error > declared[name]} == {}
    assert {"direct", "implicit_gemm", "winograd_f2", "winograd_f4", "im2col", "fft"} <= set(errors)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_judge_agrees_with_the_definition(direction):
    spec, inputs, truths = problem("conv1_1")
    out = numpy.empty(truths[direction].shape)
    algorithms(direction)["loops"].run(spec, *(None if array is None else array.astype("float64") for array in inputs[direction]), out)
    assert relative_error(out, truths[direction]) < 1e-14
