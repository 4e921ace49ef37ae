"""pad, local_response_norm and batch_norm over their whole argument space, against PyTorch: values, derivatives, refusals."""

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

few = settings(max_examples=100, deadline=None)
seeds = st.integers(0, 2**32 - 1)
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError)


def outcome(call):
    """What a call returns, or None if it refuses."""
    try:
        return call()
    except REFUSALS:
        return None


# pad ------------------------------------------------------------------------------------------------------------------


@given(shape=st.lists(st.integers(0, 5), max_size=4), data=st.data(), value=st.none() | st.sampled_from([0.0, -1.5, numpy.inf]), seed=seeds)
@few
def test_constant_padding_and_cropping_are_pytorch_s(shape, data, value, seed):
    amounts = data.draw(st.lists(st.integers(-3, 3), max_size=2 * len(shape) + 1))
    if outcome(lambda: T.pad(torch.zeros(shape), amounts, value=value)) is None:
        with pytest.raises(OperationError, match=r"^pad: "):
            F.pad(minivgg.zeros(shape), amounts, value=value)
        return
    x = numpy.asarray(numpy.random.default_rng(seed).standard_normal(shape))
    agree(lambda t: F.pad(t, amounts, value=value), lambda t: T.pad(t, amounts, value=value), [x])


@given(
    shape=st.tuples(st.integers(0, 2), *[st.integers(1, 5)] * 3), amounts=st.lists(st.integers(0, 5), min_size=2, max_size=4).filter(lambda a: len(a) != 3),
    mode=st.sampled_from(["reflect", "replicate", "circular"]), seed=seeds,
)  # fmt: skip
@few
def test_the_other_modes_are_pytorch_s(shape, amounts, mode, seed):
    shape = shape if len(amounts) == 4 else shape[1:]
    if outcome(lambda: T.pad(torch.zeros(shape), amounts, mode)) is None:
        with pytest.raises(OperationError, match=rf"^pad: mode '{mode}' takes amounts from 0 to"):
            F.pad(minivgg.zeros(shape), amounts, mode)
        return
    x = numpy.random.default_rng(seed).standard_normal(shape)
    agree(lambda t: F.pad(t, amounts, mode), lambda t: T.pad(t, amounts, mode), [x])


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_nothing_to_pad_is_a_copy(mode):
    x = minivgg.ones(1, 2, 3)
    out = F.pad(x, (0, 0), mode)
    assert out.tolist() == x.tolist()
    assert not numpy.may_share_memory(out.array, x.array)


def test_integers_are_padded_too():
    assert F.pad(minivgg.tensor([1, 2]), (1, 2), value=7).tolist() == T.pad(torch.tensor([1, 2]), (1, 2), value=7).tolist() == [7, 1, 2, 7, 7]


@pytest.mark.parametrize("call", [((1.0, 1),), ((1, 1), "wrap"), ((1, 1), "reflect", 3.0), (3,), ((1,),), ((1,) * 8,), ((-2, -2),)])
def test_what_pad_refuses_in_pytorch_is_refused(call):
    with pytest.raises(REFUSALS):
        T.pad(torch.zeros(1, 2, 3), *call)
    with pytest.raises(OperationError, match=r"^pad: "):
        F.pad(minivgg.zeros(1, 2, 3), *call)


# local_response_norm --------------------------------------------------------------------------------------------------


@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 6), st.lists(st.integers(1, 3), min_size=1, max_size=3)).map(lambda nc: (*nc[:2], *nc[2])),
    size=st.integers(1, 9), alpha=st.sampled_from([1e-4, 5e-4, 0.5, 3.0]), beta=st.sampled_from([0.5, 0.75, 1.0, 2.0]), k=st.sampled_from([0.5, 1.0, 2.0]),
    seed=seeds,
)  # fmt: skip
@few
def test_local_response_norm_is_pytorch_s(shape, size, alpha, beta, k, seed):
    x = numpy.random.default_rng(seed).standard_normal(shape)
    agree(lambda t: F.local_response_norm(t, size, alpha, beta, k), lambda t: T.local_response_norm(t, size, alpha, beta, k), [x])


def test_local_response_norm_of_the_paper():
    """AlexNet's constants, straight from its formula: b = a / (2 + 1e-4 · Σ a²)^0.75 over j from max(0, i - 2) to min(N - 1, i + 2)."""
    a = numpy.random.default_rng(0).standard_normal((2, 8, 3, 3)) * 20
    expected = numpy.stack([a[:, i] / (2 + 1e-4 * (a[:, max(0, i - 2) : min(7, i + 2) + 1] ** 2).sum(1)) ** 0.75 for i in range(8)], axis=1)
    numpy.testing.assert_allclose(F.local_response_norm(minivgg.tensor(a), 5, alpha=5e-4, beta=0.75, k=2).numpy(), expected, rtol=1e-12)


def test_local_response_norm_keeps_float32_and_pytorch_s_defaults():
    x = numpy.random.default_rng(0).standard_normal((2, 7, 4, 4)).astype("float32") * 30
    out = F.local_response_norm(minivgg.tensor(x), 5)
    assert out.dtype == "float32"
    numpy.testing.assert_allclose(out.numpy(), T.local_response_norm(torch.from_numpy(x), 5).numpy(), rtol=2e-6)


@pytest.mark.parametrize(("shape", "size"), [((4,), 2), ((3, 4), 2), ((1, 3, 2, 2), 0), ((1, 3, 2, 2), -1), ((1, 3, 2, 2), 2.0)])
def test_what_local_response_norm_refuses_in_pytorch_is_refused(shape, size):
    with pytest.raises(REFUSALS):
        T.local_response_norm(torch.zeros(shape), size)
    with pytest.raises(OperationError, match=r"^local_response_norm: "):
        F.local_response_norm(minivgg.zeros(shape), size)


# batch_norm -----------------------------------------------------------------------------------------------------------

batches = st.tuples(st.integers(1, 5), st.integers(1, 4), st.lists(st.integers(1, 4), max_size=3)).map(lambda nc: (*nc[:2], *nc[2]))
affines = st.sampled_from([(), ("weight",), ("bias",), ("weight", "bias")])


def norm(library, function, affine, mean=None, var=None, **options):
    """``function`` of an input and the parameters named in ``affine``. PyTorch cannot derive twice with a bias but no weight: it gets ones."""

    def call(x, *parameters):
        given = dict(zip(affine, parameters, strict=True))
        if affine == ("bias",) and library is torch:
            given["weight"] = torch.ones_like(given["bias"])
        running = [None if values is None else library.tensor(values) for values in (mean, var)]
        return function(x, *running, **given, **options)

    return call


@given(shape=batches, affine=affines, eps=st.sampled_from([1e-5, 1e-3, 0.5]), seed=seeds)
@few
def test_batch_norm_in_training_is_pytorch_s(shape, affine, eps, seed):
    shape = (shape[0] + 1, *shape[1:])  # at least two values a channel
    rng = numpy.random.default_rng(seed)
    arrays = [rng.standard_normal(shape) * 3 + 5, *(rng.standard_normal(shape[1]) for _ in affine)]
    options = {"training": True, "eps": eps}
    # Two values a channel lie at ±1 whatever they are: derivatives that cancel to almost 0, of numbers as large as eps^-1.5.
    agree(norm(minivgg, F.batch_norm, affine, **options), norm(torch, T.batch_norm, affine, **options), arrays, rtol=1e-7, atol=1e-7)


@given(shape=batches | st.just((0, 3, 2, 2)), affine=affines, seed=seeds)
@few
def test_batch_norm_in_evaluation_is_pytorch_s(shape, affine, seed):
    rng = numpy.random.default_rng(seed)
    mean, var = rng.standard_normal(shape[1]), rng.uniform(0.1, 2, shape[1])
    arrays = [rng.standard_normal(shape), *(rng.standard_normal(shape[1]) for _ in affine)]
    agree(norm(minivgg, F.batch_norm, affine, mean, var), norm(torch, T.batch_norm, affine, mean, var), arrays)


@given(shape=batches, momentum=st.sampled_from([0.0, 0.1, 0.5, 1.0]), dtype=st.sampled_from(["float32", "float64"]), seed=seeds)
@few
def test_running_statistics_move_as_in_pytorch(shape, momentum, dtype, seed):
    shape = (shape[0] + 1, *shape[1:])  # at least two values a channel
    rng = numpy.random.default_rng(seed)
    x, mean, var = (rng.uniform(0.5, 2, size).astype(dtype) for size in (shape, shape[1], shape[1]))
    ours, theirs = [minivgg.tensor(mean), minivgg.tensor(var)], [torch.tensor(mean), torch.tensor(var)]
    memory = [tensor.array for tensor in ours]
    for _ in range(2):
        got = F.batch_norm(minivgg.tensor(x), *ours, training=True, momentum=momentum)
        expected = T.batch_norm(torch.tensor(x), *theirs, training=True, momentum=momentum)
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    numpy.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=tolerance, atol=tolerance)
    for tensor, array, other in zip(ours, memory, theirs, strict=True):
        assert tensor.array is array
        assert not tensor.requires_grad
        numpy.testing.assert_allclose(array, other.numpy(), rtol=1e-12 if dtype == "float64" else 1e-6)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (4, 3, 0, 2)])
def test_an_empty_batch_moves_nothing(shape):
    mean, var = minivgg.full((3,), 2.0), minivgg.full((3,), 5.0)
    weight = minivgg.ones(3, requires_grad=True)
    x = minivgg.zeros(shape, requires_grad=True)
    out = F.batch_norm(x, mean, var, weight, training=True)
    out.sum().backward()
    assert out.shape == x.grad.shape == shape
    assert weight.grad.tolist() == [0, 0, 0]
    assert (mean.tolist(), var.tolist()) == ([2, 2, 2], [5, 5, 5])


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_float32_statistics_do_not_cancel(offset):
    """Variance 1 around a mean whose square has no room for it in float32: judged by float64 on the same numbers."""
    x = (numpy.random.default_rng(0).standard_normal((16, 3, 32, 32)) + offset).astype("float32")
    exact = x.astype("float64")
    mean, var = exact.mean((0, 2, 3)), exact.var((0, 2, 3), ddof=1)
    running = minivgg.zeros(3), minivgg.zeros(3)
    out = F.batch_norm(minivgg.tensor(x), *running, training=True, momentum=1.0)
    assert out.dtype == "float32"
    numpy.testing.assert_allclose(running[0].numpy(), mean, rtol=1e-7, atol=1e-7)
    numpy.testing.assert_allclose(running[1].numpy(), var, rtol=1e-5)
    centred = exact - mean.reshape(1, 3, 1, 1)
    # The mean itself can only be kept to half a unit of its last place.
    numpy.testing.assert_allclose(out.numpy(), centred / numpy.sqrt(exact.var((0, 2, 3), keepdims=True) + 1e-5), atol=1e-5 + offset * 6e-8)


ones = {"running_mean": 3, "running_var": 3}


@pytest.mark.parametrize(
    ("shape", "sizes", "options"),
    [
        ((1, 3), ones, {"training": True}), ((1, 3, 1, 1), ones, {"training": True}), ((3,), ones, {}), ((4, 3), {}, {}),
        ((4, 3), {"running_mean": 3}, {}), ((4, 3), {"running_var": 3}, {"training": True}), ((4, 3), {**ones, "running_mean": 4}, {}),
        ((4, 3), {**ones, "weight": 4}, {}), ((4, 3), {**ones, "bias": 2}, {}), ((4, 3), ones, {"training": True, "eps": 0.0}),
    ],
)  # fmt: skip
def test_what_batch_norm_refuses_in_pytorch_is_refused(shape, sizes, options):
    def call(library, function):
        given = {"running_mean": None, "running_var": None} | {name: library.ones(size) for name, size in sizes.items()}
        return function(library.zeros(shape), **given, **options)

    with pytest.raises(REFUSALS):
        call(torch, T.batch_norm)
    with pytest.raises(OperationError, match=r"^batch_norm: "):
        call(minivgg, F.batch_norm)


def test_batch_norm_refuses_mixed_dtypes():
    x = minivgg.zeros(4, 3, dtype="float64")
    with pytest.raises(OperationError, match="takes tensors of one dtype, got input float64, running_mean float32"):
        F.batch_norm(x, minivgg.zeros(3), minivgg.ones(3))


def test_a_third_derivative_of_batch_norm():
    """Any order: what the derivative is made of knows where it came from. Judged by plain PyTorch operations: its own batch_norm
    takes the saved statistics for constants in the derivative of its second derivative.
    """

    def plain(x):
        return (x - x.mean(0)) / (x.var(0, correction=0) + 0.1).sqrt()

    def third(library, function):
        x = library.tensor(numpy.random.default_rng(0).standard_normal((4, 2)), requires_grad=True)
        value = (function(x) ** 3).sum()
        for _ in range(3):
            (gradient,) = library.autograd.grad(value, x, create_graph=True)
            value = (gradient * gradient).sum()
        return numpy.asarray(gradient.detach())

    numpy.testing.assert_allclose(third(minivgg, lambda x: F.batch_norm(x, None, None, training=True, eps=0.1)), third(torch, plain), rtol=1e-8)
