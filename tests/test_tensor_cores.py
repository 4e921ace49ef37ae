"""Matrix products on tensor cores (kernels/common/product.cu), on the emulator and on a GPU: every way that factors may lie, each precision."""

import contextlib

import devices
import emulator
import numpy
import pytest
import strict_arrays

import minivgg
from minivgg.kernels.common import product_cuda
from minivgg.precision import BF16, FLOAT32, TF32, significant_bits
from minivgg.registry import algorithms, select
from minivgg.spec import Conv2dSpec, LinearSpec

UNIT = {FLOAT32: 2**-22, TF32: 2**-10, BF16: 2**-7}
"""A relative error of one product that no precision exceeds: two roundings of the factors, and of float32 the part left out."""


def multiply(left, right, out, bias=None, precision=FLOAT32):
    """On the GPU if there is one, else on the emulator, in the arrays' own memory."""
    cupy = devices.gpu()
    if cupy is None:
        with devices.emulated():
            product_cuda.multiply(*(None if x is None else strict_arrays.ndarray(x) for x in (left, right, out, bias)), precision)
    else:
        result = cupy.asarray(out)
        product_cuda.multiply(*(None if x is None else cupy.asarray(x) for x in (left, right)), result, None if bias is None else cupy.asarray(bias), precision)
        out[...] = result.get()


needs_machine = pytest.mark.skipif(emulator.missing() is not None and devices.gpu() is None, reason=str(emulator.missing()))


def lying(rng, shape, turned, aside=0):
    """Normally distributed numbers whose last two axes lie either way round, and begin so many elements beside a multiple of 16 bytes."""
    products, rows, columns = shape
    memory = rng.standard_normal(products * rows * columns + 8).astype("float32")
    first = -memory.ctypes.data // 4 % 4 + aside
    flat = memory[first : first + products * rows * columns]
    return flat.reshape(products, columns, rows).transpose(0, 2, 1) if turned else flat.reshape(shape)


def check(left, right, precision=FLOAT32, bias=None):
    """Each element within what rounding its products could do at the most, and all of them together within less."""
    out = numpy.full((left.shape[0], left.shape[1], right.shape[2]), numpy.nan, "float32")
    multiply(left, right, out, bias, precision)
    a, b = left.astype("float64"), right.astype("float64")
    truth, size = a @ b, numpy.abs(a) @ numpy.abs(b)
    if bias is not None:
        truth, size = truth + bias, size + numpy.abs(bias)
    assert (numpy.abs(out - truth) <= (UNIT[precision] + 2**-20) * size).all()
    error = numpy.linalg.norm(out - truth) / numpy.linalg.norm(truth)
    assert error <= {FLOAT32: 4e-7, TF32: 2**-11, BF16: 2**-8}[precision]
    assert precision == FLOAT32 or error > UNIT[precision] / 16  # or the numbers were not rounded


def test_rows_too_far_apart_for_the_kernels(monkeypatch):
    """The array library multiplies them."""
    rng, cupy = numpy.random.default_rng(0), devices.gpu()
    left, right, bias = (rng.standard_normal(shape).astype("float32") for shape in ((2, 5, 12), (2, 12, 7), (7,)))
    arrays = [strict_arrays.ndarray(each) if cupy is None else cupy.asarray(each) for each in (left, right, bias, numpy.empty((2, 5, 7), "float32"))]
    monkeypatch.setattr(product_cuda, "MOST_PITCH", 8)
    with devices.emulated() if cupy is None else contextlib.nullcontext():
        product_cuda.multiply(arrays[0], arrays[1], arrays[3], arrays[2])
    numpy.testing.assert_allclose(arrays[3].get(), left @ right + bias, rtol=1e-5, atol=1e-5)


@needs_machine
@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize("shape", [(2, 70, 40, 72), (1, 130, 100, 65), (1, 3, 5, 7), (1, 20, 300, 200), (3, 65, 9, 64)], ids=str)
def test_factors_lie_either_way(shape, turned):
    products, rows, length, columns = shape
    rng = numpy.random.default_rng(0)
    bias = rng.standard_normal(columns).astype("float32")
    check(lying(rng, (products, rows, length), turned[0]), lying(rng, (products, length, columns), turned[1]), bias=bias)


@needs_machine
@pytest.mark.parametrize("precision", [TF32, BF16])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(1, 132, 100, 132), (1, 132, 100, 64), (2, 32, 64, 132)], ids=str)
def test_rounded_factors(shape, turned, precision):
    products, rows, length, columns = shape
    rng = numpy.random.default_rng(0)
    check(lying(rng, (products, rows, length), turned), lying(rng, (products, length, columns), not turned), precision)


@needs_machine
def test_what_begins_elsewhere_and_what_overlaps():
    rng = numpy.random.default_rng(0)
    check(lying(rng, (2, 65, 9), False, aside=1), lying(rng, (2, 9, 65), True, aside=3))
    one = numpy.broadcast_to(rng.standard_normal((1, 33, 20)).astype("float32"), (3, 33, 20))  # the same matrix three times
    check(one, lying(rng, (3, 20, 12), True))


@needs_machine
def test_a_result_that_is_a_view():
    rng = numpy.random.default_rng(0)
    left, right = lying(rng, (1, 40, 24), False), lying(rng, (1, 24, 10), True)
    for out in (numpy.full((1, 40, 20), 7, "float32")[:, :, :10], numpy.full((1, 10, 40), 7, "float32").transpose(0, 2, 1)):
        multiply(left, right, out)
        numpy.testing.assert_allclose(out, left @ right, rtol=1e-5, atol=1e-5)
        assert out.base is None or out.shape[2] != 10 or out.base.shape[2] != 20 or (out.base[:, :, 10:] == 7).all()


@needs_machine
def test_long_sums_are_cut_and_do_not_err_more():
    rng = numpy.random.default_rng(0)
    check(lying(rng, (1, 4, 20_000), False), lying(rng, (1, 20_000, 4), True))


@needs_machine
def test_no_products_and_no_numbers():
    out = numpy.full((1, 3, 4), numpy.nan, "float32")
    multiply(numpy.empty((1, 3, 0), "float32"), numpy.empty((1, 0, 4), "float32"), out, numpy.arange(4, dtype="float32"))
    numpy.testing.assert_array_equal(out, numpy.broadcast_to(numpy.arange(4), (1, 3, 4)))
    multiply(numpy.empty((0, 3, 2), "float32"), numpy.empty((0, 2, 4), "float32"), numpy.empty((0, 3, 4), "float32"))


@needs_machine
@pytest.mark.parametrize("precision", [FLOAT32, TF32, BF16])
def test_infinities_nan_and_huge_numbers_are_those_of_float32(precision):
    rng = numpy.random.default_rng(0)
    left, right = numpy.ones((1, 40, 20), "float32"), rng.choice(numpy.array([1, -2, 0.5, 0], "float32"), (1, 20, 12))
    left[0, 3, 4], left[0, 7, 5], left[0, 9, 6], left[0, 11, 2] = numpy.inf, -numpy.inf, numpy.nan, 2.0**120
    right[0, 8, 2] = numpy.inf
    out = numpy.empty((1, 40, 12), "float32")
    multiply(left, right, out, None, precision)
    with numpy.errstate(invalid="ignore"):
        truth = (left[:, :, :, None].astype("float64") * right[:, None].astype("float64")).sum(2)
    numpy.testing.assert_array_equal(numpy.isnan(out), numpy.isnan(truth))
    numpy.testing.assert_array_equal(out, truth.astype("float32"))


# The precision that the user allows ----------------------------------------------------------------------------------------


def test_allowing_holds_for_the_block_or_from_now_on():
    assert significant_bits() == 24
    with minivgg.allow_tf32():
        assert significant_bits() == 11
        with minivgg.allow_bf16():
            assert significant_bits() == 8
        with minivgg.allow_bf16(False):
            assert significant_bits() == 24
        assert significant_bits() == 11
    setting = minivgg.allow_tf32()
    try:
        assert significant_bits() == 11
    finally:
        setting.__exit__(None, None, None)
    assert significant_bits() == 24
    with pytest.raises(TypeError, match="allow_tf32: expected True or False, got 'yes'"):
        minivgg.allow_tf32("yes")


def test_the_cpu_computes_in_float32_whatever_is_allowed():
    x, w = minivgg.randn(1, 8, 9, 9), minivgg.randn(4, 8, 3, 3)
    before = minivgg.conv2d(x, w).numpy()
    with minivgg.allow_bf16():
        numpy.testing.assert_array_equal(minivgg.conv2d(x, w).numpy(), before)


@needs_machine
def test_allowed_bits_reach_convolutions_and_linear_layers():
    """The error says how many bits were multiplied; Winograd's transforms would multiply it, so products are direct then."""
    rng, conv, linear = numpy.random.default_rng(0), Conv2dSpec.parse("n4 c16 h24 w24 k32 r3 p1"), LinearSpec(40, 64, 24)
    large = Conv2dSpec.parse("n64 c64 h56 w56 k64 r3 p1")
    x, w = (rng.standard_normal(shape).astype("float32") for shape in (conv.input_shape, conv.weight_shape))
    a, b = (rng.standard_normal(shape).astype("float32") for shape in ((40, 64), (24, 64)))
    truth = numpy.empty(conv.output_shape, "float64")
    algorithms("conv2d")["im2col"].run(conv, x.astype("float64"), w.astype("float64"), None, truth)
    with devices.emulated():
        assert select("conv2d", conv, x.dtype, device="cuda:0").name == "winograd_f4"
    for allow, low, high in ((minivgg.allow_tf32, 1e-4, 5e-4), (minivgg.allow_bf16, 8e-4, 4e-3)):
        with allow():
            with devices.emulated():
                assert select("conv2d", conv, x.dtype, device="cuda:0").name == "tensor_cores"
                assert select("conv2d", large, x.dtype, device="cuda:0").name == "patches"
            y, y2 = (numpy.empty((4, 24, 24, 32), "float32").transpose(0, 3, 1, 2) for _ in range(2))
            z = numpy.empty((40, 24), "float32")
            devices.on_emulator(algorithms("conv2d", "cuda")["tensor_cores"]).run(conv, x, w, None, y)
            devices.on_emulator(algorithms("conv2d", "cuda")["patches"]).run(conv, x, w, None, y2)
            devices.on_emulator(algorithms("linear", "cuda")["fused"]).run(linear, a, b, None, z)
        for found, true in ((y, truth), (y2, truth), (z, a.astype("float64") @ b.T)):
            assert low < numpy.linalg.norm(found - true) / numpy.linalg.norm(true) < high
