"""nll_loss, cross_entropy and mse_loss: values and derivatives over the whole argument space, against PyTorch."""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_judge import agree

import minivgg
import minivgg.nn.functional as F

few = settings(max_examples=100, deadline=None)
reductions = st.sampled_from(["none", "mean", "sum"])


@st.composite
def problems(draw, batches=4):
    """An input of any form with its class axis, the number of classes, class weights or None, and a source of numbers."""
    classes = draw(st.integers(1, 5))
    form = draw(st.sampled_from(["unbatched", "batch", "map"]))
    shape = [classes] if form == "unbatched" else [draw(st.integers(0, batches)), classes]
    if form == "map":
        shape += draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    rng = numpy.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = draw(st.sampled_from([None, rng.uniform(0.1, 2, classes), numpy.round(rng.uniform(0, 2, classes))]))
    return draw(st.sampled_from([1.0, 20.0])) * rng.standard_normal(shape), 0 if form == "unbatched" else 1, classes, weight, rng


def indices(draw, x, axis, classes, rng):
    """Class indices, some of them ignored, and the ``ignore_index``."""
    ignore_index = draw(st.sampled_from([-100, 0, classes - 1, classes + 7]))
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    target = rng.integers(0, classes, shape)
    return numpy.where(rng.random(shape) < draw(st.sampled_from([0.0, 0.4, 1.0])), ignore_index, target), ignore_index


def as_kind(library, array):
    return None if array is None else library.tensor(array)


@few
@given(problem=problems(), reduction=reductions, data=st.data())
def test_nll_loss_is_pytorch_s(problem, reduction, data):
    x, axis, classes, weight, rng = problem
    target, ignore_index = indices(data.draw, x, axis, classes, rng)

    def loss(library, function):
        return lambda t: function(t, library.tensor(target), as_kind(library, weight), ignore_index=ignore_index, reduction=reduction)

    agree(loss(minivgg, F.nll_loss), loss(torch, torch.nn.functional.nll_loss), [x])


@few
@given(problem=problems(), reduction=reductions, smoothing=st.sampled_from([0.0, 0.1, 0.7, 1.0]), data=st.data())
def test_cross_entropy_of_class_indices_is_pytorch_s(problem, reduction, smoothing, data):
    x, axis, classes, weight, rng = problem
    target, ignore_index = indices(data.draw, x, axis, classes, rng)

    def loss(library, function):
        options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": smoothing}
        return lambda t: function(t, library.tensor(target), as_kind(library, weight), **options)

    agree(loss(minivgg, F.cross_entropy), loss(torch, torch.nn.functional.cross_entropy), [x])


@few
@given(problem=problems(), reduction=reductions, smoothing=st.sampled_from([0.0, 0.1, 0.7, 1.0]))
def test_cross_entropy_of_probabilities_is_pytorch_s(problem, reduction, smoothing):
    """The target and the weights are differentiated too."""
    x, _, _, weight, rng = problem
    arrays = [x, rng.random(x.shape)] + [weight] * (weight is not None)

    def loss(function):
        return lambda t, target, weight=None: function(t, target, weight, reduction=reduction, label_smoothing=smoothing)

    agree(loss(F.cross_entropy), loss(torch.nn.functional.cross_entropy), arrays)


@few
@given(shape=st.lists(st.integers(0, 4), max_size=4), reduction=reductions, seed=st.integers(0, 2**32 - 1))
def test_mse_loss_is_pytorch_s(shape, reduction, seed):
    rng = numpy.random.default_rng(seed)
    arrays = [numpy.asarray(rng.standard_normal(shape)), numpy.asarray(rng.standard_normal(shape))]
    agree(lambda x, t: F.mse_loss(x, t, reduction=reduction), lambda x, t: torch.nn.functional.mse_loss(x, t, reduction=reduction), arrays)


def test_mse_loss_warns_before_it_broadcasts():
    x, t = minivgg.tensor([[1.0], [2.0]]), minivgg.tensor([1.0, 2.0])
    with pytest.warns(UserWarning, match=r"target of shape \(2,\) is broadcast with input of shape \(2, 1\)"):
        assert F.mse_loss(x, t).item() == 0.5


def test_the_loss_of_a_network_that_knows_nothing():
    """ln 1000 = 6.908 for ImageNet's classes."""
    assert F.cross_entropy(minivgg.zeros(8, 1000), minivgg.arange(8)).item() == pytest.approx(6.907755, abs=1e-6)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_mean_over_ignored_targets_is_nan_and_teaches_nothing(weight, smoothing):
    for library, function in ((minivgg, F.cross_entropy), (torch, torch.nn.functional.cross_entropy)):
        x = library.zeros(2, 3, requires_grad=True)
        loss = function(x, library.tensor([-100, -100]), as_kind(library, weight), label_smoothing=smoothing)
        loss.backward()
        assert numpy.isnan(loss.item())
        assert x.grad.tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_a_mean_over_an_empty_batch_is_nan():
    x = minivgg.zeros(0, 3)
    losses = [F.nll_loss(x, minivgg.zeros(0, dtype="int64")), F.cross_entropy(x, x), F.mse_loss(x, x)]
    assert all(numpy.isnan(loss.item()) for loss in losses)
    assert F.cross_entropy(x, x, reduction="sum").item() == 0


def test_ignored_targets_hide_infinite_losses():
    """Class 0 is impossible in the first row, but nobody asks for it; the second row's loss is infinite."""
    x = numpy.array([[-numpy.inf, 0.0, 1.0], [-numpy.inf, 2.0, 0.0]], "float32")
    for target in ([-100, 1], [1, 0]):
        ours, theirs = minivgg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        got = F.cross_entropy(ours, minivgg.tensor(target), reduction="sum")
        expected = torch.nn.functional.cross_entropy(theirs, torch.tensor(target), reduction="sum")
        assert got.item() == pytest.approx(expected.item(), rel=1e-6)
        got.backward()
        expected.backward()
        numpy.testing.assert_allclose(ours.grad.array, theirs.grad.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_cross_entropy_of_huge_scores_is_finite(size):
    x = minivgg.tensor([[size, 0.0, -size], [-size, size, 0.0]], requires_grad=True)
    loss = F.cross_entropy(x, minivgg.tensor([0, 2]))
    loss.backward()
    assert loss.item() == pytest.approx(size / 2)
    assert x.grad.tolist() == [[0.0, 0.0, 0.0], [0.0, 0.5, -0.5]]


def test_float32_stays_float32_whatever_the_target_and_weight():
    """Small integers are class indices too; weights take on the input's dtype."""
    x = numpy.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    target, weight = numpy.array([0, 2, 1, 1]), numpy.array([1.0, 0.5, 2.0])
    expected = torch.nn.functional.cross_entropy(torch.tensor(x), torch.tensor(target), torch.tensor(weight).float(), label_smoothing=0.1)
    for dtype in ("uint8", "int32", "int64"):
        ours = minivgg.tensor(x, requires_grad=True)
        loss = F.cross_entropy(ours, minivgg.tensor(target.astype(dtype)), minivgg.tensor(weight), label_smoothing=0.1)
        loss.backward()
        assert loss.dtype == ours.grad.dtype == numpy.float32
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("name", ["fused", "reference", None])
def test_a_class_that_is_ruled_out_costs_nothing_where_it_is_not_the_target(name):
    scores, target = numpy.array([[0.5, -numpy.inf, 2.0], [1.0, 0.0, -numpy.inf]]), numpy.array([2, 0])
    with minivgg.use_algorithm(**({"cross_entropy": name} if name else {})):
        agree(lambda t: F.cross_entropy(t, minivgg.tensor(target)), lambda t: torch.nn.functional.cross_entropy(t, torch.tensor(target)), [scores])


@pytest.mark.parametrize("reduction", ["none", "mean"])  # PyTorch's sum of no losses is nan
def test_labels_are_smoothed_over_no_classes_too(reduction):
    options = {"reduction": reduction, "label_smoothing": 0.3}
    ours = F.cross_entropy(minivgg.zeros(0, 0, 4), minivgg.zeros(0, 4, dtype="int64"), **options)
    theirs = torch.nn.functional.cross_entropy(torch.zeros(0, 0, 4), torch.zeros(0, 4, dtype=torch.int64), **options)
    numpy.testing.assert_array_equal(ours.numpy(), theirs.numpy())
