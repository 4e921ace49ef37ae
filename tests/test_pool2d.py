"""Max, average and adaptive pooling over their whole argument space, against PyTorch: values, indices, derivatives, refusals."""

import numpy
import pytest
import torch
import torch.nn.functional as T
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_judge import agree

import minivgg
import minivgg.nn.functional as F
from minivgg.errors import OperationError
from minivgg.spec import Pool2dSpec

few = settings(max_examples=100, deadline=None)
algorithms = st.sampled_from(["auto", "direct", "strided", "reference"])
seeds = st.integers(0, 2**32 - 1)
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError)


def one_or_pair(low, high):
    return st.integers(low, high) | st.tuples(st.integers(low, high), st.integers(low, high))


shapes = st.tuples(st.integers(0, 2), st.integers(1, 3) | st.just(18), st.integers(1, 9), st.integers(1, 9)) | st.tuples(*[st.integers(1, 7)] * 3)
windows = st.fixed_dictionaries(
    {"kernel_size": one_or_pair(1, 4)}, optional={"stride": one_or_pair(1, 4), "padding": one_or_pair(0, 2), "ceil_mode": st.booleans()}
)


@st.composite
def problems_that_fit(draw, most_dilation=1):
    """A shape and the arguments of a window that fits into it."""
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, dilation = draw(pairs), draw(st.tuples(*[st.integers(1, most_dilation)] * 2))
    sizes = [d * (k - 1) + 1 + draw(st.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True)]
    window = {"kernel_size": kernel, "stride": draw(pairs), "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel), "ceil_mode": draw(st.booleans())}
    return (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *sizes), window if dilation == (1, 1) else window | {"dilation": dilation}


def images(shape, seed, dtype="float64", special=True, layout="rows"):
    """Small integers, which tie often, with nan and both infinities among them."""
    rng = numpy.random.default_rng(seed)
    x = rng.integers(-2, 3, shape).astype(dtype)
    if special:
        for value in (numpy.nan, numpy.inf, -numpy.inf):
            x[rng.random(shape) < rng.choice([0, 0, 0.1, 0.5])] = value
    if layout == "channels last":
        return numpy.moveaxis(numpy.ascontiguousarray(numpy.moveaxis(x, -3, -1)), -1, -3)
    return x[..., ::-1].copy()[..., ::-1] if layout == "reversed" else x


layouts = st.sampled_from(["rows", "channels last", "reversed"])


def outcome(call):
    """What a call returns, or None if it refuses."""
    try:
        return call()
    except REFUSALS:
        return None


def compare_maxima(ours, theirs, x, seed):
    """Values, indices and gradients agree to the bit: integer gradients make every order of adding up exact."""
    a, b = minivgg.Tensor(x, requires_grad=True), torch.from_numpy(x.copy()).requires_grad_()
    (values, indices), (expected_values, expected_indices) = ours(a), theirs(b)
    numpy.testing.assert_array_equal(values.detach().numpy(), expected_values.detach().numpy())
    numpy.testing.assert_array_equal(indices.numpy(), expected_indices.numpy())
    assert indices.dtype == "int64"
    assert not indices.requires_grad
    incoming = numpy.random.default_rng(seed).integers(-9, 9, values.shape).astype(x.dtype)
    values.backward(minivgg.tensor(incoming))
    expected_values.backward(torch.from_numpy(incoming))
    numpy.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())


# Max pooling ----------------------------------------------------------------------------------------------------------


@given(
    shape=shapes, window=windows, dilation=one_or_pair(1, 3), algorithm=algorithms, seed=seeds, dtype=st.sampled_from(["float32", "float64"]), layout=layouts
)
@settings(max_examples=250, deadline=None)
def test_max_pool2d_is_pytorch_s_with_ties_nan_and_infinities(shape, window, dilation, algorithm, seed, dtype, layout):
    x = images(shape, seed, dtype, layout=layout)
    empty = outcome(lambda: T.max_pool2d(torch.zeros(shape), **window, dilation=dilation))
    if empty is None or numpy.isinf(empty.numpy()).any():  # a dilated window without any cell: PyTorch's index lies outside the plane
        with pytest.raises(OperationError, match="max_pool2d"):
            F.max_pool2d(minivgg.Tensor(x), **window, dilation=dilation)
        return
    options = {**window, "dilation": dilation, "return_indices": True}
    compare_maxima(lambda t: F.max_pool2d(t, **options, algorithm=algorithm), lambda t: T.max_pool2d(t, **options), x, seed)
    without_indices = F.max_pool2d(minivgg.Tensor(x), **window, dilation=dilation, algorithm=algorithm)
    numpy.testing.assert_array_equal(without_indices.numpy(), T.max_pool2d(torch.from_numpy(x.copy()), **window, dilation=dilation).numpy())


@given(problem=problems_that_fit(most_dilation=3), seed=seeds)
@few
def test_max_pool2d_has_pytorch_s_second_derivatives(problem, seed):
    shape, window = problem
    x = numpy.random.default_rng(seed).standard_normal(shape)
    agree(lambda t: F.max_pool2d(t, **window), lambda t: T.max_pool2d(t, **window), [x])


def test_ties_go_to_the_first_cell_and_nan_wins():
    nan = numpy.nan
    x = minivgg.tensor([[[1.0, 1.0, 5.0, nan], [1.0, 1.0, 7.0, 2.0]]], requires_grad=True)
    values, indices = F.max_pool2d(x, 2, return_indices=True)
    assert indices.tolist() == [[[0, 3]]]
    values.sum().backward()
    assert x.grad.tolist() == [[[1, 0, 0, 1], [0, 0, 0, 0]]]


def test_more_cells_than_a_byte_can_number():
    x = numpy.random.default_rng(0).standard_normal((1, 2, 40, 41))
    compare_maxima(lambda t: F.max_pool2d(t, 20, 7, 3, return_indices=True), lambda t: T.max_pool2d(t, 20, 7, 3, return_indices=True), x, 0)


def test_many_images_are_worked_on_in_blocks():
    """More elements than strided.py takes at a time, with a rest."""
    x = numpy.random.default_rng(0).standard_normal((7, 16, 140, 141)).astype("float32")
    compare_maxima(lambda t: F.max_pool2d(t, 2, return_indices=True), lambda t: T.max_pool2d(t, 2, return_indices=True), x, 0)
    numpy.testing.assert_allclose(F.avg_pool2d(minivgg.Tensor(x), 3, 2, 1).numpy(), T.avg_pool2d(torch.from_numpy(x), 3, 2, 1).numpy(), atol=1e-6)


@pytest.mark.parametrize("pool", [lambda t: F.max_pool2d(t, 2), lambda t: F.avg_pool2d(t, 2), lambda t: F.adaptive_avg_pool2d(t, 3)])
def test_channels_last_memory_stays_so(pool):
    x = minivgg.Tensor(images((2, 3, 6, 6), 0, special=False, layout="channels last"), requires_grad=True)
    out = pool(x)
    (grad,) = minivgg.autograd.grad(out, x, minivgg.Tensor(out.array.copy(order="K")))
    for tensor in (x, out, grad):
        assert tensor.permute(0, 2, 3, 1).is_contiguous()


# Average pooling ------------------------------------------------------------------------------------------------------

averages = st.sampled_from([{}, {"count_include_pad": False}, {"divisor_override": 3}, {"divisor_override": -2, "count_include_pad": False}])


@given(problem=problems_that_fit(), unbatched=st.booleans(), average=averages, algorithm=algorithms, seed=seeds)
@settings(max_examples=150, deadline=None)
def test_avg_pool2d_and_its_derivatives_are_pytorch_s(problem, unbatched, average, algorithm, seed):
    shape, options = problem[0][unbatched:], problem[1] | average
    x = numpy.random.default_rng(seed).standard_normal(shape)
    agree(lambda t: F.avg_pool2d(t, **options, algorithm=algorithm), lambda t: T.avg_pool2d(t, **options), [x])


@given(shape=shapes, window=windows, average=averages)
@few
def test_avg_pool2d_refuses_what_pytorch_refuses(shape, window, average):
    expected = outcome(lambda: T.avg_pool2d(torch.zeros(shape), **window, **average))
    if expected is None:
        with pytest.raises(OperationError, match="avg_pool2d"):
            F.avg_pool2d(minivgg.zeros(shape), **window, **average)
    else:
        assert F.avg_pool2d(minivgg.zeros(shape), **window, **average).shape == tuple(expected.shape)


@given(problem=problems_that_fit(), seed=seeds, layout=layouts)
@few
def test_avg_pool2d_of_nan_and_infinities_in_float32(problem, seed, layout):
    shape, window = problem
    x = images(shape, seed, "float32", layout=layout)
    got = F.avg_pool2d(minivgg.Tensor(x), **window)
    assert got.dtype == "float32"
    numpy.testing.assert_allclose(got.numpy(), T.avg_pool2d(torch.from_numpy(x.copy()), **window).numpy(), rtol=1e-6)


def test_a_forced_algorithm_computes_the_gradients_too(monkeypatch):
    chosen = []

    def spy(operation, spec, dtype, name, device):
        found = select(operation, spec, dtype, name, device)
        chosen.append((operation, found.name))
        return found

    import minivgg.ops.avg_pool2d as module

    select = module.select
    monkeypatch.setattr(module, "select", spy)
    x = minivgg.zeros(1, 1, 4, 4, requires_grad=True)
    with minivgg.use_algorithm(avg_pool2d="reference"):
        out = F.avg_pool2d(x, 2)
    minivgg.autograd.grad(out.sum(), x)
    F.avg_pool2d(x, 2)
    assert chosen == [("avg_pool2d", "reference"), ("avg_pool2d_grad_input", "reference"), ("avg_pool2d", "strided")]


# Adaptive pooling -----------------------------------------------------------------------------------------------------

output_sizes = st.integers(1, 11) | st.tuples(st.none() | st.integers(1, 11), st.none() | st.integers(1, 11))


@given(shape=shapes, size=output_sizes, seed=seeds)
@few
def test_adaptive_avg_pool2d_and_its_derivatives_are_pytorch_s(shape, size, seed):
    x = numpy.random.default_rng(seed).standard_normal(shape)
    agree(lambda t: F.adaptive_avg_pool2d(t, size), lambda t: T.adaptive_avg_pool2d(t, size), [x])


@given(shape=shapes, size=output_sizes, seed=seeds, layout=layouts)
@few
def test_adaptive_avg_pool2d_keeps_infinities_and_nan_in_their_bins(shape, size, seed, layout):
    x = images(shape, seed, "float32", layout=layout)
    got = F.adaptive_avg_pool2d(minivgg.Tensor(x), size)
    numpy.testing.assert_allclose(got.numpy(), T.adaptive_avg_pool2d(torch.from_numpy(x.copy()), size).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0, (0, 2), (None, 0)])
@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_an_output_without_elements(name, size):
    """PyTorch computes it, but has no gradient for it; here the gradient is 0."""
    x = minivgg.ones(2, 3, 4, 5, requires_grad=True)
    out = getattr(F, name)(x, size)
    assert out.shape == tuple(getattr(T, name)(torch.ones(2, 3, 4, 5), size).shape)
    out.sum().backward()
    assert not x.grad.numpy().any()


def test_adaptive_avg_pool2d_to_the_same_size_is_a_copy():
    x = minivgg.randn(2, 3, 7, 5)
    out = F.adaptive_avg_pool2d(x, (None, 5))
    numpy.testing.assert_array_equal(out.numpy(), x.numpy())
    assert not numpy.may_share_memory(out.array, x.array)


@given(shape=shapes, size=output_sizes, seed=seeds, dtype=st.sampled_from(["float32", "float64"]), layout=layouts)
@few
def test_adaptive_max_pool2d_is_pytorch_s_with_ties_nan_and_infinities(shape, size, seed, dtype, layout):
    x = images(shape, seed, dtype, layout=layout)
    compare_maxima(lambda t: F.adaptive_max_pool2d(t, size, True), lambda t: T.adaptive_max_pool2d(t, size, True), x, seed)


@given(shape=shapes, size=output_sizes, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_adaptive_max_pool2d_has_pytorch_s_second_derivatives(shape, size, seed):
    x = numpy.random.default_rng(seed).standard_normal(shape)
    agree(lambda t: F.adaptive_max_pool2d(t, size), lambda t: T.adaptive_max_pool2d(t, size), [x])


# Refusals and problem strings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 1, 4, 4), {"kernel_size": 5}), ((1, 1, 4, 4), {"kernel_size": 0}), ((1, 1, 4, 4), {"kernel_size": (2, 2, 2)}),
        ((1, 1, 4, 4), {"kernel_size": 2.0}), ((1, 1, 4, 4), {"kernel_size": 2, "stride": 0}), ((1, 1, 4, 4), {"kernel_size": 2, "padding": 2}),
        ((1, 1, 4, 4), {"kernel_size": 3, "padding": (0, 2)}), ((1, 1, 4, 4), {"kernel_size": 2, "padding": -1}), ((4, 4), {"kernel_size": 2}),
        ((1, 1, 1, 4, 4), {"kernel_size": 2}), ((2, 0, 4, 4), {"kernel_size": 2}), ((2, 3, 0, 4), {"kernel_size": 2, "padding": 1}),
        ((0, 4, 4), {"kernel_size": 2}),
    ],
)  # fmt: skip
def test_what_pytorch_refuses_is_refused(name, shape, options):
    with pytest.raises(REFUSALS):
        getattr(T, name)(torch.zeros(shape), **options)
    with pytest.raises(OperationError, match=f"^{name}: "):
        getattr(F, name)(minivgg.zeros(shape), **options)


@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
@pytest.mark.parametrize(
    ("shape", "size"), [((1, 1, 4, 4), -1), ((1, 1, 4, 4), (2, 2, 2)), ((1, 1, 4, 4), 1.5), ((4, 4), 2), ((2, 3, 0, 4), 2), ((1, 1, 1, 4, 4), 2)]
)
def test_what_adaptive_pooling_refuses_in_pytorch_is_refused(name, shape, size):
    with pytest.raises(REFUSALS):
        getattr(T, name)(torch.zeros(shape), size)
    with pytest.raises(OperationError, match=f"^{name}: "):
        getattr(F, name)(minivgg.zeros(shape), size)


def test_an_empty_stride_is_the_kernel_as_in_pytorch():
    assert F.max_pool2d(minivgg.zeros(1, 1, 6, 6), 2, ()).shape == tuple(T.max_pool2d(torch.zeros(1, 1, 6, 6), 2, ()).shape) == (1, 1, 3, 3)


@given(shape=st.tuples(st.integers(0, 3), *[st.integers(1, 9)] * 3), window=windows, average=averages, dilation=one_or_pair(1, 3))
def test_problem_strings_are_read_back(shape, window, average, dilation):
    try:
        spec = Pool2dSpec.of("pool2d", shape, **window, dilation=dilation, **average)
    except OperationError:
        return
    assert Pool2dSpec.parse(str(spec)) == spec


@pytest.mark.parametrize("text", ["n1 c1 h4 w4", "n1 c1 h4 w4 r2 r2", "n1 c1 h4x4 w4 r2", "n1 c1 h4 w4 r2 q3", "n1 c1 h4 w4 r2 ceil ceil", "n1 c1 h4 w4 rx"])
def test_malformed_problem_strings_are_refused(text):
    with pytest.raises(OperationError, match=r"^parse: "):
        Pool2dSpec.parse(text)
