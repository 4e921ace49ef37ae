"""Where formulas end: ties, zeros, infinities, nan, empty tensors. Values and first gradients against PyTorch, without a warning."""

import itertools
import math
import warnings

import numpy
import pytest
import torch

import minivgg

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -2.5, math.inf, -math.inf, math.nan]
FIRST, SECOND = (numpy.array(side) for side in zip(*itertools.product(SPECIAL, repeat=2), strict=True))


def derivatives(library, function, arrays, upstream=None):
    """The output, and each input's gradient."""
    inputs = [library.tensor(array, requires_grad=True) for array in arrays]
    out = function(library, *inputs)
    weight = library.ones_like(out) if upstream is None else library.tensor(upstream)
    return [t.detach().numpy() for t in (out, *library.autograd.grad(out, inputs, weight))]


def check(function, *arrays, upstream=None):
    names = ["value", *(f"gradient {i}" for i in range(len(arrays)))]
    for name, got, expected in zip(names, derivatives(minivgg, function, arrays, upstream), derivatives(torch, function, arrays, upstream), strict=True):
        numpy.testing.assert_allclose(got, expected, rtol=1e-12, atol=0, err_msg=f"{name} at {numpy.stack(arrays)}")


TWO = {
    "add": lambda library, x, y: x + y,
    "sub": lambda library, x, y: x - y,
    "mul": lambda library, x, y: x * y,
    "div": lambda library, x, y: x / y,
    "pow": lambda library, x, y: x**y,
    "maximum": lambda library, x, y: library.maximum(x, y),
    "minimum": lambda library, x, y: library.minimum(x, y),
    "where": lambda library, x, y: library.where(x > y, x, y),
}


@pytest.mark.parametrize("name", TWO)
def test_two_operands(name):
    check(TWO[name], FIRST, SECOND)


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
def test_comparisons(name):
    got, expected = (getattr(library, name)(library.tensor(FIRST), library.tensor(SECOND)) for library in (minivgg, torch))
    assert got.tolist() == expected.tolist()


NAMES = ["exp", "log", "sqrt", "abs", "relu", "neg", "max", "min", "sum", "mean", "std", "var"]
ONE = {
    **{name: lambda library, x, name=name: getattr(x, name)() for name in NAMES},
    **{f"to the {number}": lambda library, x, number=number: x**number for number in (0, 1, 2, 3, -1, 2.5, -2.5, 0.0)},
    **{f"{number} to it": lambda library, x, number=number: number**x for number in (0, 1, 2, 0.5, -2.0)},
    **{f"clamp {bounds}": lambda library, x, bounds=bounds: x.clamp(*bounds) for bounds in ((-1.0, 1.0), (0.0, None), (None, 0.5), (1.0, -1.0))},
    "number / it": lambda library, x: 2 / x,
    "it / number": lambda library, x: x / 0,
    "masked_fill": lambda library, x: x.masked_fill(x != x, 3.0),
    "max along": lambda library, x: x.reshape(2, 5).max(1).values,
    "min along": lambda library, x: x.reshape(2, 5).min(0).values,
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_one_operand(name):
    check(ONE[name], numpy.array(SPECIAL))
    check(ONE[name], numpy.array([0.0, 1.0, -1.0, 2.0, 2.0, -2.0, -2.0, 0.5, 1.0, 0.0]))


@pytest.mark.parametrize("name", ["clamp", "relu", "maximum", "where"])
def test_what_is_masked_stays_out_even_if_the_upstream_gradient_is_infinite(name):
    functions = {
        "clamp": lambda library, x: x.clamp(-1, 1), "relu": lambda library, x: x.relu(), "maximum": lambda library, x: library.maximum(x, x * 0 + 1),
        "where": lambda library, x: library.where(x > 0, x, x * 2),
    }  # fmt: skip
    check(functions[name], numpy.array([-2.0, 0.5, 2.0]), upstream=numpy.array([math.inf, -math.inf, math.nan]))


@pytest.mark.parametrize("ties", [[1.0, 1.0], [2.0, 1.0, 2.0, 2.0], [math.nan, 1.0, math.nan], [math.inf, math.inf], [0.0, -0.0], [3.0]])
def test_ties(ties):
    x = numpy.array(ties)
    check(lambda library, x: x.max(), x)
    check(lambda library, x: x.min(), x)
    check(lambda library, x: library.maximum(x, x.flatten()), x)
    got, expected = minivgg.tensor(x), torch.tensor(x)
    assert (got.argmax().item(), got.argmin().item()) == (expected.argmax().item(), expected.argmin().item())
    assert (got.max(0).indices.item(), got.min(0).indices.item()) == (expected.max(0).indices.item(), expected.min(0).indices.item())


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [5.0], [1e8, 1e8 + 1]])
def test_spreads_of_equal_and_lonely_numbers(values):
    def run(library):
        x = library.tensor(values, dtype=library.float64, requires_grad=True)
        outs = [x.var(), x.std(), x.var(correction=0), x.std(correction=0), x.std(0, keepdim=True).sum()]
        return [number for out in outs for number in (out.item(), *library.autograd.grad(out, x)[0].tolist())]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*degrees of freedom")
        expected = run(torch)
    numpy.testing.assert_allclose(run(minivgg), expected, rtol=1e-12, atol=1e-300)


def test_a_large_mean_does_not_cancel_a_small_spread():
    x = minivgg.tensor([10001.0, 10002.0, 10003.0])
    assert (x.var().item(), x.std().item()) == (1.0, 1.0)


def test_the_spread_of_numbers_whose_squares_are_too_large_is_infinite():
    x = minivgg.tensor([1e300, 1.0, -2e6, 1e19], dtype="float64")
    assert (x.var().item(), x.std().item()) == (math.inf, math.inf)


def test_nothing_to_reduce():
    def run(library):
        x = library.ones(0, 3, requires_grad=True)
        outs = [x.sum(), x.sum(0), x.sum(1), x.mean(), x.mean(0), x.max(1).values, x.any(), x.all(), x.any(0)]
        (outs[0] + outs[1].sum() + outs[3] + outs[4].sum()).backward()
        return [*(out.detach().tolist() for out in outs), tuple(x.grad.shape), library.ones(3, 0).argmax(0).tolist()]

    assert str(run(minivgg)) == str(run(torch))  # text, because nan is not nan


def test_overflow_is_a_result_not_a_warning():
    x = minivgg.tensor([3e38, -3e38], requires_grad=True)
    y = x + x
    z = (y * 2 - y).exp() @ minivgg.ones(2) + (x * x).sum() + (minivgg.tensor([math.nan, math.inf]).long() * 0).sum()
    z.backward()
    assert math.isnan(z.item())


@pytest.mark.parametrize("row", [[math.inf, -math.inf, 1.0], [1e308, 1e308, 1.0], [math.nan, 1.0, 2.0]])
def test_references_add_up_what_has_no_exact_sum(row):
    def run(library, functional):
        x = library.tensor([row], dtype=library.float64, requires_grad=True)
        w = library.tensor([[1.0, 1.0, 0.5]], dtype=library.float64, requires_grad=True)
        outs = functional.linear(x, w), functional.softmax(x, 1), functional.log_softmax(x, 1), functional.cross_entropy(x, library.tensor([0]))
        return [out.tolist() for out in outs] + [grad.tolist() for grad in library.autograd.grad(outs[0].sum() + outs[3], (x, w))]

    expected = run(torch, torch.nn.functional)
    for algorithm in ("reference", "formula"):
        with minivgg.use_algorithm(linear=algorithm, softmax=algorithm, log_softmax=algorithm, cross_entropy=algorithm):
            assert str(run(minivgg, minivgg.nn.functional)) == str(expected), algorithm


def test_running_statistics_beside_infinity_are_moved_without_a_warning():
    def run(library):
        x, mean, var = library.tensor([[1.0, math.inf], [3.0, 2.0]]), library.tensor([math.inf, 0.0]), library.ones(2)
        library.nn.functional.batch_norm(x, mean, var, training=True, momentum=1.0)
        return mean.tolist(), var.tolist()

    assert str(run(minivgg)) == str(run(torch))
