"""Convolution over its whole argument space, an algorithm at a time, against PyTorch: values, two orders of derivatives, refusals."""

import dataclasses
import tracemalloc

import numpy
import pytest
import torch
import torch.nn.functional as T
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch_judge import agree

import minivgg
import minivgg.nn.functional as F
from minivgg.errors import OperationError
from minivgg.kernels.common.simd import STREAM_BYTES
from minivgg.kernels.conv2d import _winograd_input, _winograd_weight
from minivgg.registry import algorithms, select
from minivgg.spec import Conv2dSpec
from minivgg.testing import kernel_checks
from minivgg.testing.layouts import channels_last, read_only, reversed_memory, strided
from minivgg.testing.problems import problems as known_problems

ANY_PROBLEM = ["reference", "im2col", "kn2row", "fft", "loops", "direct", "implicit_gemm"]
"""The algorithms that refuse no problem as small as these."""

each_algorithm = pytest.mark.parametrize("algorithm", ANY_PROBLEM)
seeds = st.integers(0, 2**32 - 1)
layouts = st.sampled_from([numpy.copy, channels_last, reversed_memory, strided, read_only])
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # PyTorch's remark on its own speed


def one_or_pair(low, high):
    return st.integers(low, high) | st.tuples(st.integers(low, high), st.integers(low, high))


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


@st.composite
def problems(draw):
    """Shapes of input and weight, whether there is a bias, and arguments that fit them; PyTorch's defaults are left out half of the time."""
    options = {}
    if draw(st.booleans()):
        options["dilation"] = draw(one_or_pair(1, 3))
    if draw(st.booleans()):
        options["padding"] = draw(st.sampled_from(["same", "valid"]) | one_or_pair(0, 3))
    if options.get("padding") != "same" and draw(st.booleans()):
        options["stride"] = draw(one_or_pair(1, 3))
    groups = draw(st.integers(1, 3))
    if groups > 1:
        options["groups"] = groups
    padding = options.get("padding", 0)
    taps = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    spans = [d * (r - 1) + 1 for r, d in zip(taps, pair(options.get("dilation", 1)), strict=True)]
    free = spans if padding == "same" else [0, 0] if isinstance(padding, str) else [2 * sides for sides in pair(padding)]
    sizes = [max(1, span - sides) + draw(st.integers(0, 4)) for span, sides in zip(spans, free, strict=True)]
    channels, filters = draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    batch = draw(st.sampled_from([(), (0,), (1,), (2,), (3,)]))
    return (*batch, groups * channels, *sizes), (filters, channels, *taps), draw(st.booleans()), options


def normal(seed, *shapes):
    rng = numpy.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


# Against PyTorch ------------------------------------------------------------------------------------------------------


@each_algorithm
@given(problem=problems(), seed=seeds)
@example(problem=((2, 4, 9, 8), (6, 2, 3, 2), True, {"stride": (2, 3), "padding": (2, 1), "dilation": (1, 2), "groups": 2}), seed=0)
@example(problem=((3, 6, 5), (4, 3, 4, 2), True, {"padding": "same", "dilation": (1, 3)}), seed=0)
@example(problem=((2, 3, 2, 2), (3, 3, 2, 2), False, {"padding": 4, "stride": 3}), seed=0)  # windows that see padding alone
def test_value_and_both_orders_of_derivatives(algorithm, problem, seed):
    x, w, bias, options = problem
    arrays = normal(seed, x, w, *[w[:1]] * bias)
    agree(lambda *tensors: F.conv2d(*tensors, **options, algorithm=algorithm), lambda *tensors: T.conv2d(*tensors, **options), arrays)


@each_algorithm
@settings(max_examples=20)
@given(problem=problems(), seed=seeds, layout=layouts)
def test_float32_in_any_memory_is_as_exact_as_declared(algorithm, problem, seed, layout):
    """Against PyTorch in float64 on the same rounded numbers; errors are measured against the sum of the products' sizes."""
    x, w, bias, options = problem
    rounded = [array.astype("float32") for array in normal(seed, x, w, *[w[:1]] * bias)]
    ours = [minivgg.Tensor(layout(array), requires_grad=True) for array in rounded]
    out = F.conv2d(*ours, **options, algorithm=algorithm)
    (incoming,) = (array.astype("float32") for array in normal(seed, out.shape))
    out.backward(minivgg.Tensor(layout(incoming)))

    def exact(change):
        theirs = [torch.tensor(change(array).astype("float64"), requires_grad=True) for array in rounded]
        result = T.conv2d(*theirs, **options)
        result.backward(torch.tensor(change(incoming).astype("float64")))
        return [result.detach(), *(leaf.grad for leaf in theirs)]

    bound = algorithms("conv2d")[algorithm].max_error
    for got, expected, size in zip([out, *(leaf.grad for leaf in ours)], exact(numpy.asarray), exact(numpy.abs), strict=True):
        assert got.dtype == numpy.float32
        assert got.shape == tuple(expected.shape)
        assert numpy.linalg.norm((got.detach().numpy() - expected.numpy()).ravel()) <= bound * numpy.linalg.norm(size.numpy().ravel())


def outcome(call):
    """The shape of what a call returns, or None if it refuses."""
    try:
        return tuple(call().shape)
    except (OperationError, RuntimeError, TypeError):
        return None


small = st.integers(1, 4)


@settings(max_examples=300)
@given(
    x=st.tuples(st.integers(0, 2), small, small, small) | st.tuples(small, small, small) | st.tuples(small, small),
    w=st.tuples(small, small, small, small) | st.tuples(small, small, small),
    bias=st.none() | st.tuples(small) | st.tuples(small, st.just(1)),
    options=st.fixed_dictionaries(
        {},
        optional={
            "stride": one_or_pair(0, 2) | st.tuples(st.just(2)) | st.just((1, 1, 1)) | st.just(1.5),
            "padding": one_or_pair(-1, 2) | st.sampled_from(["same", "valid", "full"]),
            "dilation": one_or_pair(0, 2),
            "groups": st.integers(-1, 3),
        },
    ),
)
def test_refuses_what_pytorch_refuses(x, w, bias, options):
    def call(library, function):
        return lambda: function(library.ones(x), library.ones(w), None if bias is None else library.ones(bias), **options)

    assert outcome(call(minivgg, F.conv2d)) == outcome(call(torch, T.conv2d))


@pytest.mark.parametrize("dtypes", [("float32", "float64", "float32"), ("float64", "float64", "float32"), ("float32", "float64", None)])
def test_dtypes_are_not_mixed(dtypes):
    x, w, b = dtypes
    tensors = [minivgg.ones(1, 2, 3, 3, dtype=x), minivgg.ones(4, 2, 3, 3, dtype=w), None if b is None else minivgg.ones(4, dtype=b)]
    with pytest.raises(minivgg.errors.DtypeError, match=f"got input {x}, weight {w}"):
        F.conv2d(*tensors)


@pytest.mark.parametrize("size", [(2, 3, 6, 5), (0, 3, 6, 5)])
def test_gradients_under_pytorchs_names(size):
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": 2}
    x, w, dy = normal(0, size, (4, 3, 2, 3), (size[0], 4, 3, 5))
    for ours, theirs in ((minivgg.nn.grad.conv2d_input, torch.nn.grad.conv2d_input), (minivgg.nn.grad.conv2d_weight, torch.nn.grad.conv2d_weight)):
        fixed = (size, w, dy) if "input" in ours.__name__ else (x, w.shape, dy)
        args = [[make(arg) if isinstance(arg, numpy.ndarray) else arg for arg in fixed] for make in (minivgg.tensor, torch.tensor)]
        numpy.testing.assert_allclose(ours(*args[0], **options).numpy(), theirs(*args[1], **options).numpy(), rtol=1e-12, atol=1e-12)


# Known answers --------------------------------------------------------------------------------------------------------

image = numpy.arange(1.0, 10.0).reshape(1, 1, 3, 3)


def convolve(x, w, algorithm, **options):
    return F.conv2d(minivgg.tensor(x), minivgg.tensor(numpy.asarray(w, "float64")[None, None]), **options, algorithm=algorithm).numpy()[0, 0]


@each_algorithm
def test_by_hand(algorithm):
    answers = [
        (convolve(image, [[1, 0], [0, -1]], algorithm), [[-4, -4], [-4, -4]]),
        (convolve(image, numpy.ones((3, 3)), algorithm, padding=1), [[12, 21, 16], [27, 45, 33], [24, 39, 28]]),
        (convolve(image, [[1, 2], [3, 4]], algorithm, stride=2, padding=1), [[4, 18], [36, 77]]),
        (convolve(image, [[1, 10], [100, 1000]], algorithm, dilation=2), [[9731]]),
        (convolve(image, [[1, 10]], algorithm, padding="same"), [[21, 32, 3], [54, 65, 6], [87, 98, 9]]),
    ]
    for got, expected in answers:
        numpy.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@each_algorithm
def test_an_impulse_shows_the_filter_mirrored(algorithm):
    """A correlation: each output takes the tap that lies on the impulse."""
    impulse, taps = numpy.zeros((1, 1, 5, 5)), numpy.arange(9.0).reshape(3, 3)
    impulse[0, 0, 2, 2] = 1
    got = convolve(impulse, taps, algorithm, padding=1)
    numpy.testing.assert_allclose(got[1:4, 1:4], taps[::-1, ::-1], atol=1e-12)
    assert numpy.abs(numpy.delete(numpy.delete(got, [1, 2, 3], 0), [1, 2, 3], 1)).max() < 1e-12


@each_algorithm
def test_gradient_of_a_sum_counts_the_windows(algorithm):
    """What flows back is a single 1, repeated with strides of 0."""
    x, w = minivgg.zeros(1, 1, 3, 3, requires_grad=True), minivgg.ones(1, 1, 3, 3, requires_grad=True)
    F.conv2d(x + minivgg.ones(3, 3), w, padding=1, algorithm=algorithm).sum().backward()
    for leaf in (x, w):
        numpy.testing.assert_allclose(leaf.grad.numpy()[0, 0], [[4, 6, 4], [6, 9, 6], [4, 6, 4]], rtol=1e-6)


@each_algorithm
def test_one_tap_is_a_matrix_product_and_groups_are_separate(algorithm):
    x, w = normal(1, (2, 6, 4, 5), (4, 6, 1, 1))
    got = F.conv2d(minivgg.tensor(x), minivgg.tensor(w), algorithm=algorithm).numpy()
    numpy.testing.assert_allclose(got, numpy.einsum("kc,nchw->nkhw", w[..., 0, 0], x), rtol=1e-12, atol=1e-12)
    grouped = F.conv2d(minivgg.tensor(x), minivgg.tensor(w[:, :3]), groups=2, algorithm=algorithm).numpy()
    halves = [numpy.einsum("kc,nchw->nkhw", w[2 * g : 2 * g + 2, :3, 0, 0], x[:, 3 * g : 3 * g + 3]) for g in range(2)]
    numpy.testing.assert_allclose(grouped, numpy.concatenate(halves, axis=1), rtol=1e-12, atol=1e-12)


# What it keeps and computes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("needed", ["input", "weight", "bias", "none"])
def test_only_wanted_gradients_are_computed(needed, monkeypatch):
    calls = []

    def watched(operation, *args):
        calls.append(operation)
        return select(operation, *args)

    monkeypatch.setattr("minivgg.ops.conv2d.select", watched)
    tensors = {"input": minivgg.randn(1, 2, 4, 4), "weight": minivgg.randn(3, 2, 3, 3), "bias": minivgg.randn(3)}
    if needed == "none":
        assert F.conv2d(*tensors.values()).grad_fn is None
        assert calls == ["conv2d"]
        return
    tensors[needed].requires_grad_()
    F.conv2d(*tensors.values()).sum().backward()
    assert calls == ["conv2d"] + {"input": ["conv2d_grad_input"], "weight": ["conv2d_grad_weight"], "bias": []}[needed]


def test_a_frozen_weight_keeps_no_input_alive():
    """Fine-tuning the first layers' inputs must not hold every activation."""
    x = minivgg.randn(1, 2, 4, 4).requires_grad_()
    out = F.conv2d(x, minivgg.randn(3, 2, 3, 3))
    with minivgg.no_grad():
        x += 1  # not needed for the gradient of x, so no error
    out.sum().backward()
    assert x.grad.shape == x.shape


def peak_bytes(run):
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


VGG = [(3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56), (256, 512, 28), (512, 512, 28), (512, 512, 14)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 64])
def test_im2col_declares_less_than_64_mib_whatever_the_layer(n, dtype):
    layers = [f"n{n} c{c} h{h} w{h} k{k} r3 p1" for c, k, h in VGG]
    layers += [f"n{n} c512 h7 w7 k4096 r7", f"n{n} c512 h16 w16 k4096 r7", f"n{n} c4096 h1 w1 k1000 r1", f"n{n} c3 h2000 w3000 k64 r11 s4"]
    layers += [f"n{n} c1024 h30 w30 k1024 r3 g1024", f"n{n} c256 h200 w200 k1 r101", f"n{n} c1 h4000 w4000 k4096 r1", f"n{n} c3 h90 w90 k9000 r80"]
    for layer in map(Conv2dSpec.parse, layers):
        for operation in ("conv2d", "conv2d_grad_input", "conv2d_grad_weight"):
            im2col = algorithms(operation)["im2col"]
            refusal = im2col.supports(layer, numpy.dtype(dtype))
            assert refusal is None or "a single column takes" in refusal
            assert refusal or im2col.workspace(layer, numpy.dtype(dtype)) < 64 << 20, layer


@pytest.mark.parametrize("text", ["n1 c64 h160 w160 k64 r3 p1", "n1 c512 h7 w7 k500 r7"])  # columns of 56 MiB; filters of 48 MiB
def test_im2col_takes_less_than_64_mib_even_in_foreign_memory(text):
    spec = Conv2dSpec.parse(text)
    x, w, dy = (channels_last(array.astype("float32")) for array in normal(0, spec.input_shape, spec.weight_shape, spec.output_shape))
    for operation, inputs, shape in (
        ("conv2d", (x, w, None), spec.output_shape),
        ("conv2d_grad_input", (dy, w), spec.input_shape),
        ("conv2d_grad_weight", (dy, x), spec.weight_shape),
    ):
        out, im2col = channels_last(numpy.zeros(shape, "float32")), algorithms(operation)["im2col"]
        assert peak_bytes(lambda inputs=inputs, out=out, im2col=im2col: im2col.run(spec, *inputs, out)) < 64 << 20


FAR = [  # what a call asks for, and what reads the same with numbers that PyTorch computes with
    ({"stride": 2**62, "padding": 1}, {"stride": 100, "padding": 1}),
    ({"stride": 2**61, "padding": 2**62}, {"stride": 50, "padding": 100}),
    ({"stride": (2**39, 1), "padding": (2**40, 1)}, {"stride": (50, 1), "padding": (100, 1)}),
    ({"dilation": (9 * 10**18, 2), "padding": "same"}, {"dilation": (50, 2), "padding": "same"}),
    ({"dilation": 2**62, "padding": "same"}, {"dilation": 50, "padding": "same"}),
]


@pytest.mark.parametrize("algorithm", ["direct", "implicit_gemm", "im2col", "kn2row", "fft", "loops", "reference"])
@pytest.mark.parametrize(("far", "near"), FAR, ids=repr)
def test_what_leads_beyond_the_image_takes_no_memory(algorithm, far, near):
    x, w = numpy.random.default_rng(0).standard_normal((2, 3, 7, 6)), numpy.random.default_rng(1).standard_normal((4, 3, 3, 3))
    with minivgg.use_algorithm(conv2d=algorithm):
        ours = [minivgg.tensor(array, requires_grad=True) for array in (x, w)]
        y = minivgg.nn.functional.conv2d(*ours, **far)
        y.sum().backward()
    theirs = [torch.tensor(array, requires_grad=True) for array in (x, w)]
    truth = torch.nn.functional.conv2d(*theirs, **near)
    truth.sum().backward()
    for got, expected in zip((y.detach(), *(t.grad for t in ours)), (truth.detach(), *(t.grad for t in theirs)), strict=True):
        numpy.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)


# Results that are written past the caches -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [
        ("direct", "n1 c3 h230 w230 k64 r3 p1"),  # vectors that begin on cache lines
        ("direct", "n1 c2 h124 w124 k208 r1 g2"),  # the second group's do not
        ("winograd_f4", "n1 c16 h162 w158 k128 r3 p1"),  # tiles that end beyond the image
        ("winograd_f4", "n1 c16 h162 w158 k132 r3 p1"),  # pixels that begin between cache lines
        ("winograd_f2", "n1 c16 h161 w161 k128 r3 p1"),
    ],
)
@pytest.mark.parametrize("relu", [False, True])
def test_a_large_result_is_written_whole(algorithm, text, relu):
    spec = Conv2dSpec.parse(text)
    x, w, b = normal(0, spec.input_shape, spec.weight_shape, (spec.k,))
    expected = T.conv2d(torch.from_numpy(x), torch.from_numpy(w), torch.from_numpy(b), padding=spec.padding[0], groups=spec.groups).numpy()
    expected = numpy.maximum(expected, 0) if relu else expected
    out = channels_last(numpy.full(spec.output_shape, numpy.nan, numpy.float32))
    assert out.nbytes >= STREAM_BYTES
    run = select("conv2d", spec, out.dtype, algorithm)
    run(spec, channels_last(x.astype("float32")), w.astype("float32"), b.astype("float32"), out, relu=relu)
    assert numpy.linalg.norm(out - expected) <= run.max_error * numpy.linalg.norm(expected)


WAYS = {"at once": {}, "in blocks": {"AT_ONCE_BYTES": 0, "BLOCK_BYTES": 0, "DEPTH": 5}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("algorithm", ["winograd_f2", "winograd_f4"])
def test_winograds_weight_gradient_as_for_large_filters(algorithm, way, monkeypatch):
    """By sums that never leave the cache, and block by block of tiles: small filters are computed in a third way."""
    for name, value in {"SMALL_BYTES": 0, "_sizes": _winograd_weight._Sizes, **WAYS[way]}.items():
        monkeypatch.setattr(_winograd_weight, name, value)
    record, met = algorithms("conv2d_grad_weight")[algorithm], set()
    for problem in known_problems("conv2d_grad_weight"):
        if record.supports(problem.spec, numpy.dtype("float32")) is None:
            for dtype in ("float32", "float64"):
                spec, m = problem.spec, int(algorithm[-1])
                tiles = spec.n * -(-spec.p // m) * -(-spec.q // m)
                sizes = _winograd_weight._Sizes(spec.c, spec.k, tiles, m, numpy.dtype(dtype), False)
                met.add("at once" if sizes.at_once else "in blocks" if tiles > sizes.room else "in one block")
                kernel_checks.check_result(record, problem, dtype, "channels_last")
                kernel_checks.check_workspace(record, problem, dtype, "channels_last")
    assert way in met


@pytest.mark.parametrize("algorithm", ["winograd_f2", "winograd_f4"])
def test_winograds_input_gradient_as_for_large_filters(algorithm, monkeypatch):
    """With filters that are transformed where they are used, some channels after the others."""
    monkeypatch.setattr(_winograd_input, "OUTER_CACHE", 0)
    record, met = algorithms("conv2d_grad_input")[algorithm], 0
    deep = Conv2dSpec.parse("n1 c20 h9 w7 k150 r3 p1")
    known = known_problems("conv2d_grad_input")
    known.append(dataclasses.replace(known[0], spec=deep, inputs=(deep.output_shape, deep.weight_shape), outputs=(deep.input_shape,)))
    for problem in known:
        if record.supports(problem.spec, numpy.dtype("float32")) is None:
            for dtype in ("float32", "float64"):
                met += _winograd_input._Plan(problem.spec, int(algorithm[-1]), numpy.dtype(dtype)).pays
                kernel_checks.check_result(record, problem, dtype, "channels_last")
                kernel_checks.check_workspace(record, problem, dtype, "channels_last")
    assert met >= 10
