"""linear, dropout, softmax and log_softmax: over their whole argument space, against PyTorch or their own definition."""

import itertools

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_judge import agree

import minivgg
import minivgg.nn.functional as F
from minivgg.errors import ArgumentError, GraphError
from minivgg.ops.dropout import dropout_mask

few = settings(max_examples=80, deadline=None)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(0, 4)


# linear ---------------------------------------------------------------------------------------------------------------


@few
@given(leading=st.lists(sizes, max_size=3), c=sizes, k=sizes, bias=st.booleans(), seed=seeds)
def test_linear_is_pytorch_s(leading, c, k, bias, seed):
    rng = numpy.random.default_rng(seed)
    arrays = [rng.standard_normal((*leading, c)), rng.standard_normal((k, c))] + [rng.standard_normal(k)] * bias
    agree(F.linear, torch.nn.functional.linear, arrays)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_linear_computes_only_the_gradients_that_are_wanted(wanted):
    rng = numpy.random.default_rng(0)
    arrays = [rng.standard_normal((3, 4)), rng.standard_normal((2, 4)), rng.standard_normal(2)]
    ours = [minivgg.tensor(array, requires_grad=i in wanted) for i, array in enumerate(arrays)]
    theirs = [torch.tensor(array, requires_grad=i in wanted) for i, array in enumerate(arrays)]
    F.linear(*ours).exp().sum().backward()
    torch.nn.functional.linear(*theirs).exp().sum().backward()
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if i in wanted:
            numpy.testing.assert_allclose(a.grad.array, b.grad.numpy(), rtol=1e-12)
        else:
            assert a.grad is None


def test_linear_keeps_float32_and_leaves_its_inputs_alone():
    rng = numpy.random.default_rng(0)
    arrays = [rng.standard_normal((5, 6))[::-2, ::2], rng.standard_normal((3, 4)).T[:2, ::-1].T, rng.standard_normal(6)[::3]]
    for dtype in ("float32", "float64"):
        strided = [array.astype(dtype, order="K") for array in arrays]
        tensors = [minivgg.from_numpy(array).requires_grad_() for array in strided]
        copies = [array.copy() for array in strided]
        out = F.linear(tensors[0], tensors[1].transpose(0, 1)[:, :3] if tensors[1].shape[1] != 3 else tensors[1], tensors[2])
        out.sum().backward()
        assert out.dtype == dtype
        assert all(tensor.grad.dtype == dtype for tensor in tensors)
        for array, copy in zip(strided, copies, strict=True):
            numpy.testing.assert_array_equal(array, copy)


# softmax --------------------------------------------------------------------------------------------------------------


@few
@given(shape=st.lists(st.integers(0, 4), max_size=4), data=st.data(), scale=st.sampled_from([1.0, 30.0]), seed=seeds)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_pytorch_s(name, shape, data, scale, seed):
    dim = data.draw(st.integers(-max(len(shape), 1), max(len(shape), 1) - 1))
    x = numpy.asarray(scale * numpy.random.default_rng(seed).standard_normal(shape))
    agree(lambda t: getattr(minivgg, name)(t, dim), lambda t: getattr(torch, name)(t, dim), [x])


def test_softmax_of_extreme_numbers():
    inf = numpy.inf
    for row in ([1e30, 1e30, 0], [-1e30, 0, -inf], [-inf, 3, 3], [-inf, -inf, -inf], [inf, 0, 1], [numpy.nan, 0, 1], [88, 89, -104]):
        x = numpy.array([row], "float32")
        for name in ("softmax", "log_softmax"):
            ours, theirs = minivgg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
            got, expected = getattr(F, name)(ours, 1), getattr(torch.nn.functional, name)(theirs, 1)
            numpy.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-6)
            weights = numpy.array([[1, 2, 3]], "float32")
            got.backward(minivgg.tensor(weights))
            expected.backward(torch.tensor(weights))
            assert got.dtype == ours.grad.dtype == numpy.float32
            numpy.testing.assert_allclose(ours.grad.array, theirs.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_softmax_casts_where_it_is_told_to():
    assert F.softmax(minivgg.tensor([1, 1]), 0, dtype=minivgg.float64).tolist() == [0.5, 0.5]
    assert minivgg.zeros(2, 3).log_softmax(-1, dtype="float64").dtype == numpy.float64
    assert minivgg.zeros(2, 3).softmax(1).dtype == numpy.float32


# dropout --------------------------------------------------------------------------------------------------------------


@few
@given(shape=st.lists(st.integers(0, 5), max_size=4), p=st.floats(0, 1), seed=st.integers(0, 2**64 - 1), numbers=seeds)
def test_dropout_multiplies_by_a_constant_mask(shape, p, seed, numbers):
    """Its derivatives are those of PyTorch's ``x · mask``, where the mask is what it makes of ones."""
    x = numpy.asarray(numpy.random.default_rng(numbers).standard_normal(shape))
    factor = F.dropout(minivgg.ones(shape, dtype="float64"), p, seed=seed).array
    allowed = [1.0] if p == 0 else [0.0, 1 / (1 - p)] if p < 1 else [0.0]
    assert numpy.isin(factor, allowed).all()
    if p:
        agree(lambda t: F.dropout(t, p, seed=seed), lambda t: t * torch.tensor(factor), [x])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_dropout_drops_as_often_as_it_says(p):
    """Kept elements are binomial: within five standard deviations, and not more alike between seeds than chance allows."""
    n = 200_000
    masks = [dropout_mask(seed, (n,), p) for seed in (0, 1, 2, 2**63)]
    deviation = numpy.sqrt(n * p * (1 - p))
    for mask in masks:
        assert abs(mask.sum() - n * (1 - p)) < 5 * deviation
        neighbours = mask[1:] & mask[:-1]
        assert abs(neighbours.sum() - n * (1 - p) ** 2) < 5 * numpy.sqrt(3 * n) / 2
    for one, other in itertools.pairwise(masks):
        both = (1 - p) ** 2
        assert abs((one & other).sum() - n * both) < 5 * numpy.sqrt(n * both * (1 - both))


def test_dropout_does_nothing_outside_training():
    x = minivgg.ones(3)
    before = minivgg.default_generator.get_state()
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 0.5, training=False, inplace=True) is x
    assert minivgg.default_generator.get_state() == before


def test_dropout_follows_the_seed():
    x = minivgg.ones(1000)
    minivgg.manual_seed(3)
    first, second = F.dropout(x), F.dropout(x)
    minivgg.manual_seed(3)
    again = F.dropout(x)
    assert minivgg.equal(first, again)
    assert not minivgg.equal(first, second)
    wide = F.dropout(minivgg.ones(20, 50).transpose(0, 1), seed=5)
    assert minivgg.equal(wide, F.dropout(minivgg.ones(50, 20), seed=5)), "the mask depends on the memory order"
    longer = F.dropout(minivgg.ones(1001), seed=5)
    assert minivgg.equal(longer[:1000], F.dropout(x, seed=5)), "a longer mask does not begin like a shorter one"


def test_dropout_of_everything_and_of_infinities():
    x = numpy.array([1.0, numpy.inf, numpy.nan], "float32")
    numpy.testing.assert_array_equal(F.dropout(minivgg.tensor(x), 1.0).array, [0, numpy.nan, numpy.nan])
    infinities = F.dropout(minivgg.full((64,), numpy.inf), 0.5, seed=1).array
    assert (numpy.isnan(infinities) | (infinities == numpy.inf)).all()
    assert numpy.isnan(infinities).any()


def test_dropout_in_place_and_what_it_saves():
    x = minivgg.ones(4, 8, requires_grad=True)
    y = x * 1
    memory = y.array
    out = F.dropout(y, 0.5, inplace=True, seed=9)
    assert out is y
    assert out.array is memory
    assert sum(tensor.nbytes for tensor in out.grad_fn.saved_tensors) == 32, "one byte an element"
    out.sum().backward()
    assert minivgg.equal(x.grad, F.dropout(minivgg.ones(4, 8), 0.5, seed=9))
    assert x.grad.dtype == out.dtype == numpy.float32
    with pytest.raises(GraphError, match="a leaf that requires a gradient cannot be changed in place"):
        F.dropout(x, 0.5, inplace=True)
    with pytest.raises(ArgumentError, match="p must lie in"):
        F.dropout(x, -0.1)
