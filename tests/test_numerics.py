"""Errors of float32, counted in roundings of 2⁻²⁴: every operation on its samples, and the cases where a naive formula fails."""

import numpy
import pytest
import torch

import minivgg
import minivgg.nn.functional as F
from minivgg.registry import OPERATIONS
from minivgg.testing.numerics import LIMIT, ROUNDING, error_of, measure


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_outputs_and_gradients_within_the_stated_roundings(operation):
    row = measure(operation)
    assert row.samples
    assert (row.forward or 0) <= LIMIT
    assert (row.gradient or 0) <= LIMIT


def roundings(got, exact):
    return abs(got - exact) / (ROUNDING * abs(exact))


@pytest.mark.parametrize("size", [10**3, 10**5, 10**7])
def test_the_error_of_a_sum_does_not_grow_with_the_image(size):
    x = numpy.random.default_rng(0).random(size, "float32")
    assert roundings(minivgg.Tensor(x).sum().item(), x.sum(dtype="float64")) < 4
    assert roundings(minivgg.Tensor(x).mean().item(), x.mean(dtype="float64")) < 4


def test_sums_over_a_large_image_in_either_memory_order():
    x = numpy.random.default_rng(0).random((2, 20, 224, 224), "float32")
    exact = x.sum((0, 2, 3), dtype="float64")
    for memory in (x, numpy.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
        assert roundings(minivgg.Tensor(memory).sum((0, 2, 3)).numpy(), exact).max() < 4
        assert roundings(F.adaptive_avg_pool2d(minivgg.Tensor(memory), 1).numpy()[:, :, 0, 0], x.mean((2, 3), dtype="float64")).max() < 16


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e5, 1e6])
def test_a_variance_keeps_its_digits_beside_a_large_mean(mean):
    """E(x²) - E(x)² in float32 would be off by 2⁻²⁴ · mean² roundings: by half of the variance at 1e3, by all digits at 1e5."""
    x = (numpy.random.default_rng(0).standard_normal(10**5) + mean).astype("float32")
    assert roundings(minivgg.Tensor(x).var().item(), x.var(ddof=1, dtype="float64")) < 16


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e5])
def test_batch_norm_beside_a_large_mean_errs_no_more_than_pytorch(mean):
    """The mean is rounded to float32, which costs 2⁻²⁴ · mean / σ; nothing else may be lost."""
    x = (numpy.random.default_rng(0).standard_normal((4, 8, 32, 32)) + mean).astype("float32")
    exact = x.astype("float64")
    exact = (exact - exact.mean((0, 2, 3), keepdims=True)) / numpy.sqrt(exact.var((0, 2, 3), keepdims=True) + 1e-5)
    error = numpy.abs(F.batch_norm(minivgg.Tensor(x), None, None, training=True).numpy() - exact).max()
    theirs = numpy.abs(torch.nn.functional.batch_norm(torch.tensor(x), None, None, training=True).numpy() - exact).max()
    assert error <= max(16 * ROUNDING, 2 * ROUNDING * mean)
    assert error <= 2 * theirs


def test_huge_scores_neither_overflow_nor_lose_the_loss():
    scores = (numpy.random.default_rng(0).standard_normal((50, 1000)) * 1e4).astype("float32")
    shifted = scores.astype("float64") - scores.max(1, keepdims=True)
    exact = shifted - numpy.log(numpy.exp(shifted).sum(1, keepdims=True))
    got = F.log_softmax(minivgg.Tensor(scores), 1).numpy()
    assert (numpy.abs(got - exact) <= 4 * ROUNDING * (1 + numpy.abs(exact))).all()
    extreme = F.softmax(minivgg.tensor([[3e38, -3e38, 1.0]]), 1).numpy()
    numpy.testing.assert_array_equal(extreme, [[1, 0, 0]])


def test_the_loss_of_a_huge_batch():
    rng = numpy.random.default_rng(0)
    scores, target = rng.standard_normal((10**6, 10), "float32"), rng.integers(0, 10, 10**6)
    wide = scores.astype("float64")
    exact = (numpy.log(numpy.exp(wide).sum(1)) - wide[numpy.arange(10**6), target]).mean()
    assert roundings(F.cross_entropy(minivgg.Tensor(scores), minivgg.Tensor(target)).item(), exact) < 8
    assert roundings(F.mse_loss(minivgg.Tensor(scores), minivgg.zeros(10**6, 10)).item(), (wide**2).mean()) < 8


def test_errors_are_counted_right():
    one = numpy.array([1.0])
    assert error_of(one + 3 * ROUNDING, one) == pytest.approx(3)
    assert error_of(numpy.array([numpy.inf]), one) == numpy.inf
    assert error_of(numpy.array([1e-20]), numpy.array([0.0]), 1.0) < 1e-10
