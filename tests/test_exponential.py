"""The compiled exponential: its error in units of the last place, and what it does with what is no ordinary number."""

import numpy
import pytest

from minivgg.kernels.common.exponential import exp
from minivgg.kernels.common.jit import compiled


@compiled
def fill(x, out):
    for i in range(x.size):
        out[i] = exp(x[i])


@pytest.mark.parametrize(("dtype", "lowest", "units"), [("float32", -87, 1), ("float64", -708, 2)])
def test_error(dtype, lowest, units):
    x = numpy.concatenate([numpy.linspace(lowest, 0, 100_001), -numpy.geomspace(1e-12, 1, 10_001)]).astype(dtype)
    out = numpy.empty_like(x)
    fill(x, out)
    truth = numpy.exp(x.astype(numpy.longdouble))
    assert (abs(out - truth) / numpy.spacing(truth.astype(dtype))).max() <= units


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(dtype):
    x = numpy.array([0.0, -0.0, -numpy.inf, -1e9, numpy.nan], dtype)
    out = numpy.empty_like(x)
    fill(x, out)
    numpy.testing.assert_array_equal(out, numpy.array([1, 1, 0, 0, numpy.nan], dtype))
