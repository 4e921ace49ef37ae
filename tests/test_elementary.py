"""The elementary operations against PyTorch, over their whole argument space: values, first and second gradients, refusals."""

import math

import numpy
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes
from torch_judge import agree

import minivgg
from minivgg.errors import OperationError

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def values(shape, seed, low=0.5, high=2.0):
    """Positive numbers with random signs left out: every operation here is smooth at them."""
    return numpy.asarray(numpy.random.default_rng(seed).uniform(low, high, shape))


def distinct(shape, seed):
    """Numbers that differ by at least 0.25, in random order."""
    return numpy.asarray(numpy.random.default_rng(seed).permutation(math.prod(shape)).reshape(shape) * 0.25 - 1.0)


def both(function, *arrays):
    """``function(library, *tensors)`` in both libraries; if PyTorch refuses, minivgg must refuse with words of its own."""
    try:
        expected = function(torch, *(torch.tensor(array) for array in arrays))
    except (RuntimeError, IndexError, TypeError, ValueError):
        with pytest.raises(OperationError, match=r"^[\w ]+: .{15}"):
            function(minivgg, *(minivgg.tensor(array) for array in arrays))
        return None
    return function(minivgg, *(minivgg.tensor(array) for array in arrays)), expected


def assert_equal(got, expected, rtol=1e-6):
    """The same numbers, dtype and shape."""
    got, expected = numpy.asarray(got), numpy.asarray(expected)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    numpy.testing.assert_allclose(got, expected, rtol=rtol)


# Derivatives over the argument space ----------------------------------------------------------------------------------


@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0), SEEDS)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow"])
def test_two_operands(name, shapes, seed):
    left, right = shapes.input_shapes
    agree(getattr(minivgg, name), getattr(torch, name), [values(left, seed), values(right, seed + 1)])


@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), SEEDS)
@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_extrema_of_two(name, shapes, seed):
    left, right = shapes.input_shapes
    agree(getattr(minivgg, name), getattr(torch, name), [distinct(left, seed), numpy.asarray(distinct(right, seed + 1) + 0.125)])


@given(SHAPES, SEEDS, st.sampled_from([-2, -1, 0, 1, 2, 3, 0.5, 2.5, -1.5]))
def test_a_number_beside_a_tensor(shape, seed, number):
    x = values(shape, seed)
    agree(lambda x: (x + number) * number - number / x, lambda x: (x + number) * number - number / x, [x])
    agree(lambda x: x**number * x, lambda x: x**number * x, [x])
    base = abs(number) + 0.5
    agree(lambda x: base**x / (base - 3 * x), lambda x: base**x / (base - 3 * x), [x])


@given(SHAPES, SEEDS)
@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "abs", "neg", "clone"])
def test_one_operand(name, shape, seed):
    agree(getattr(minivgg, name), getattr(torch, name), [values(shape, seed)])


@given(SHAPES, SEEDS, st.none() | st.floats(-1, 1), st.none() | st.floats(-1, 1))
def test_clamp(shape, seed, low, high):
    assume(low is not None or high is not None)
    x = distinct(shape, seed) + 0.125 * 0.7
    agree(lambda x: x.clamp(low, high), lambda x: x.clamp(low, high), [numpy.asarray(x)])


@st.composite
def reductions(draw, one=False, min_side=0):
    """A shape, and ``dim`` and ``keepdim`` for it."""
    shape = draw(array_shapes(min_dims=0, max_dims=4, min_side=min_side, max_side=4))
    single = st.integers(-max(len(shape), 1), max(len(shape), 1) - 1)
    if one:
        return shape, draw(single), draw(st.booleans())
    several = st.lists(single, min_size=1, unique_by=lambda d: d % max(len(shape), 1), max_size=max(len(shape), 1)).map(tuple)
    return shape, draw(st.none() | single | several), draw(st.booleans())


@given(reductions(), SEEDS)
@pytest.mark.parametrize("name", ["sum", "mean"])
def test_sums(name, case, seed):
    shape, dim, keepdim = case
    agree(lambda x: getattr(x, name)(dim, keepdim), lambda x: getattr(x, name)(dim, keepdim), [values(shape, seed)])


@given(reductions(min_side=2), SEEDS, st.sampled_from([0, 1, 0.5]))
@pytest.mark.parametrize("name", ["var", "std"])
def test_spreads(name, case, seed, correction):
    shape, dim, keepdim = case
    assume(shape)
    agree(*[lambda x: getattr(x, name)(dim, correction=correction, keepdim=keepdim)] * 2, [values(shape, seed)])


@given(reductions(one=True, min_side=1), SEEDS)
@pytest.mark.parametrize("name", ["max", "min"])
def test_extrema_along_a_dimension(name, case, seed):
    shape, dim, keepdim = case
    x = distinct(shape, seed)
    agree(*[lambda x: getattr(x, name)(dim, keepdim).values] * 2, [x])
    agree(*[lambda x: getattr(x, name)()] * 2, [x])
    for function in (f"arg{name}", name):
        got, expected = both(lambda _, x: getattr(x, function)(dim=dim, keepdim=keepdim), x)  # noqa: B023
        got, expected = (got.indices, expected.indices) if function == name else (got, expected)
        assert_equal(got, expected)


@st.composite
def reshapes(draw):
    """A shape, and another one for the same elements, one size of it perhaps -1."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3]), max_size=4))

    def regroup():
        sizes = [1] * draw(st.integers(1, 4))
        for factor in factors:
            sizes[draw(st.integers(0, len(sizes) - 1))] *= factor
        return sizes

    before, after = regroup(), regroup()
    if draw(st.booleans()):
        after[draw(st.integers(0, len(after) - 1))] = -1
    return tuple(before), tuple(after)


@given(reshapes(), SEEDS)
def test_reshape(case, seed):
    before, after = case
    agree(*[lambda x: x.reshape(after) * x.reshape(*after)] * 2, [values(before, seed)])
    agree(*[lambda x: (x * x).view(after)] * 2, [values(before, seed)])


@given(SHAPES, SEEDS, st.data())
def test_moves_of_dimensions(shape, seed, data):
    ndim = len(shape)
    x, dim = values(shape, seed), st.integers(-max(ndim, 1), max(ndim, 1) - 1)
    order = tuple(data.draw(st.permutations(range(ndim))))
    signed = tuple(d - ndim if data.draw(st.booleans()) else d for d in order)
    first, second, new = data.draw(dim), data.draw(dim), data.draw(st.integers(-ndim - 1, ndim))
    agree(*[lambda x: x.permute(signed).exp()] * 2, [x])
    agree(*[lambda x: x.transpose(first, second).exp()] * 2, [x])
    agree(*[lambda x: x.unsqueeze(new).exp()] * 2, [x])
    agree(*[lambda x: x.squeeze().exp()] * 2, [x])
    agree(*[lambda x: x.squeeze(first).exp()] * 2, [x])
    start, end = sorted((first % max(ndim, 1), second % max(ndim, 1)))
    agree(*[lambda x: x.flatten(start, end - ndim if ndim else end).exp()] * 2, [x])
    agree(*[lambda x: x.permute(signed).contiguous().exp()] * 2, [x])
    if ndim >= 2:
        agree(*[lambda x: x.mT.exp()] * 2, [x])


@given(array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3), st.data(), SEEDS)
def test_expand(target, data, seed):
    shape = tuple(1 if data.draw(st.booleans()) else size for size in target)[data.draw(st.integers(0, len(target))) :]
    lead = len(target) - len(shape)
    kept = tuple(-1 if i >= lead and size == shape[i - lead] else size for i, size in enumerate(target))
    agree(*[lambda x: x.expand(kept) * x.expand(target)] * 2, [values(shape, seed)])


@given(array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3), st.lists(st.integers(0, 3), min_size=1, max_size=4), SEEDS, st.data())
def test_joining_and_cutting(shape, sizes, seed, data):
    assume(sum(sizes))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    shapes = [tuple(size if i == axis % len(shape) else n for i, n in enumerate(shape)) for size in sizes]
    parts = [values(part, seed + i) for i, part in enumerate(shapes)]
    agree(lambda *parts: minivgg.cat(parts, axis).exp(), lambda *parts: torch.cat(parts, axis).exp(), parts)
    new = data.draw(st.integers(-len(shape) - 1, len(shape)))
    same = [values(shape, seed + i) for i in range(len(sizes))]
    agree(lambda *parts: minivgg.stack(parts, new).exp(), lambda *parts: torch.stack(parts, new).exp(), same)
    whole, chunks = numpy.concatenate(parts, axis), data.draw(st.integers(1, 5))
    agree(*[lambda x: sum(((i + 1) * (piece * piece).sum() for i, piece in enumerate(x.split(sizes, axis))))] * 2, [whole])
    for cut in (lambda x: x.split(chunks, axis), lambda x: x.chunk(chunks, axis), lambda x: x.unbind(axis)):
        got, expected = both(lambda _, x: cut(x), whole)  # noqa: B023
        assert [piece.tolist() for piece in got] == [piece.tolist() for piece in expected]


@st.composite
def indices(draw):
    """A shape and an index for it: numbers, slices, None, ..., integer arrays that broadcast, boolean masks."""
    rng = numpy.random.default_rng(draw(SEEDS))
    shape = draw(array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    together = draw(array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=3))
    parts, axis, masks = [], 0, 0
    ellipsis = draw(st.booleans())
    while axis < len(shape):
        size = shape[axis]
        kind = draw(st.sampled_from(["number", "slice", "none", "array", "mask", "list", "end"]))
        if kind == "end":
            break
        if kind == "none":
            parts.append(None)
            continue
        if kind == "number":
            parts.append(draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            ends = st.none() | st.integers(-size - 1, size + 1)
            parts.append(slice(draw(ends), draw(ends), draw(st.none() | st.integers(1, 3))))
        elif kind == "list" and not masks:
            parts.append([draw(st.integers(-size, size - 1))] * together[-1])
        elif kind == "mask" and not masks and not any(isinstance(part, list | numpy.ndarray) for part in parts):
            dims = draw(st.integers(1, len(shape) - axis))
            parts.append(rng.random(shape[axis : axis + dims]) < 0.5)
            axis, masks = axis + dims - 1, 1
        elif kind == "array" and not masks:
            cut = tuple(1 if draw(st.booleans()) else n for n in together)
            parts.append(rng.integers(-size, size, cut))
        else:
            parts.append(slice(None))
        axis += 1
    if ellipsis:
        after = draw(st.integers(0, 1))
        taken = sum(part.ndim if isinstance(part, numpy.ndarray) and part.dtype == bool else part is not None for part in parts)
        if after and taken < len(shape):
            parts += [..., draw(st.integers(-shape[-1], shape[-1] - 1))]
        else:
            parts.append(...)
    return shape, tuple(parts)


def as_index(library, index):
    return tuple(library.tensor(part) if isinstance(part, numpy.ndarray) else part for part in index)


@given(indices(), SEEDS)
def test_reading_by_index(case, seed):
    shape, index = case
    agree(lambda x: x[as_index(minivgg, index)].exp(), lambda x: x[as_index(torch, index)].exp(), [values(shape, seed)])


@given(indices(), SEEDS, st.data())
def test_writing_by_index(case, seed, data):
    shape, index = case
    places = numpy.asarray(torch.arange(math.prod(shape)).reshape(shape)[as_index(torch, index)])
    assume(len(numpy.unique(places)) == places.size)  # which of several values for one place stays is not defined in PyTorch
    value = tuple(1 if data.draw(st.booleans()) else n for n in places.shape)[data.draw(st.integers(0, places.ndim)) :]
    assume(places.size or numpy.broadcast_shapes(value, places.shape) == places.shape)

    def write(library):
        def run(x, v):
            y = x * x
            y[as_index(library, index)] = v.exp()
            return y.exp()

        return run

    agree(write(minivgg), write(torch), [values(shape, seed), values(value, seed + 1)])


def test_of_several_values_for_one_place_the_last_one_counts():
    x, v = (minivgg.tensor(data, dtype="float64", requires_grad=True) for data in ([0.0, 0.0], [1.0, 2.0, 3.0]))
    y = x * 1
    y[[0, 1, 0]] = v
    (y * minivgg.tensor([10.0, 100.0], dtype="float64")).sum().backward()
    assert (y.tolist(), x.grad.tolist(), v.grad.tolist()) == ([3.0, 2.0], [0.0, 0.0], [0.0, 100.0, 10.0])


@given(array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4), SEEDS, st.data())
def test_gather(shape, seed, data):
    dim = data.draw(st.integers(-max(len(shape), 1), max(len(shape), 1) - 1))
    axis = dim % max(len(shape), 1)
    size = tuple(data.draw(st.integers(0, 5 if i == axis else n)) for i, n in enumerate(shape))
    index = numpy.asarray(numpy.random.default_rng(seed).integers(0, shape[axis] if shape else 1, size))
    agree(lambda x: x.gather(dim, minivgg.tensor(index)).exp(), lambda x: x.gather(dim, torch.tensor(index)).exp(), [values(shape, seed)])


@given(mutually_broadcastable_shapes(signature="(m?,k),(k,n?)->(m?,n?)", max_dims=2, max_side=3, min_side=0), SEEDS)
def test_matmul(shapes, seed):
    left, right = shapes.input_shapes
    agree(minivgg.matmul, torch.matmul, [values(left, seed), values(right, seed + 1)])


@given(mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3, min_side=0), SEEDS)
def test_choice_by_mask(shapes, seed):
    condition, left, right = shapes.input_shapes
    mask, x, y = numpy.asarray(values(condition, seed) > 1.2), values(left, seed + 1), values(right, seed + 2)
    agree(lambda x, y: minivgg.where(minivgg.tensor(mask), x, y).exp(), lambda x, y: torch.where(torch.tensor(mask), x, y).exp(), [x, y])
    agree(lambda x: x.masked_fill(minivgg.tensor(mask), 3.5), lambda x: x.masked_fill(torch.tensor(mask), 3.5), [x])


# Refusals -------------------------------------------------------------------------------------------------------------

ANY_SHAPE = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
DIM = st.integers(-4, 3)
SIZE = st.integers(-2, 4)
PART = st.integers(-3, 3) | st.sampled_from([None, ..., slice(1, 2), [0, 2]])

CALLS = {
    "add": (lambda library, x, y: x + y, ANY_SHAPE, ()),
    "where": (lambda library, x, y: library.where(x > 0, x, y), ANY_SHAPE, ()),
    "matmul": (lambda library, x, y: x @ y, ANY_SHAPE, ()),
    "cat": (lambda library, x, y, dim: library.cat([x, y], dim), ANY_SHAPE, (DIM,)),
    "stack": (lambda library, x, y, dim: library.stack([x, y], dim), ANY_SHAPE, (DIM,)),
    "copy_": (lambda library, x, y: x.copy_(y), ANY_SHAPE, ()),
    "add_": (lambda library, x, y: x.add_(y), ANY_SHAPE, ()),
    "setitem": (lambda library, x, y, i: x.__setitem__(i, y), ANY_SHAPE, (st.integers(-3, 3) | st.just(...),)),
    "gather": (lambda library, x, y, dim: x.gather(dim, y.long()), ANY_SHAPE, (DIM,)),
    "masked_fill": (lambda library, x, y: x.masked_fill(y > 0, 1.0), ANY_SHAPE, ()),
    "sum": (lambda library, x, dims: x.sum(dims), None, (st.lists(DIM, min_size=1, max_size=3).map(tuple),)),
    "max": (lambda library, x, dim: x.max(dim).values, None, (DIM,)),
    "argmin": (lambda library, x, dim: x.argmin(dim), None, (DIM,)),
    "reshape": (lambda library, x, sizes: x.reshape(sizes), None, (st.lists(SIZE, max_size=3).map(tuple),)),
    "view": (lambda library, x, sizes: x.view(sizes), None, (st.lists(SIZE, max_size=3).map(tuple),)),
    "expand": (lambda library, x, sizes: x.expand(sizes), None, (st.lists(SIZE, max_size=4).map(tuple),)),
    "permute": (lambda library, x, dims: x.permute(dims), None, (st.lists(DIM, max_size=3).map(tuple),)),
    "transpose": (lambda library, x, first, second: x.transpose(first, second), None, (DIM, DIM)),
    "t": (lambda library, x: x.t(), None, ()),
    "flatten": (lambda library, x, start, end: x.flatten(start, end), None, (DIM, DIM)),
    "squeeze": (lambda library, x, dim: x.squeeze(dim), None, (DIM,)),
    "unsqueeze": (lambda library, x, dim: x.unsqueeze(dim), None, (DIM,)),
    "split": (lambda library, x, size, dim: x.split(size, dim)[-1], None, (st.integers(-1, 3) | st.lists(st.integers(-1, 3), max_size=3), DIM)),
    "chunk": (lambda library, x, chunks, dim: x.chunk(chunks, dim)[-1], None, (st.integers(-1, 3), DIM)),
    "unbind": (lambda library, x, dim: library.stack(list(x.unbind(dim)) or [x]), None, (DIM,)),
    "getitem": (lambda library, x, index: x[index], None, (st.lists(PART, max_size=4).filter(lambda index: index.count(...) < 2).map(tuple),)),
    "iter": (lambda library, x: library.stack(list(x) or [x]), None, ()),
    "item": (lambda library, x: x.exp() * x.item(), None, ()),
    "bool": (lambda library, x: x if x else x + 1, None, ()),
}  # fmt: skip


@given(ANY_SHAPE, SEEDS, st.data())
@pytest.mark.parametrize("name", CALLS)
def test_what_pytorch_refuses_is_refused(name, shape, seed, data):
    """Arguments at random, good and bad: the same results, or two refusals."""
    function, second, arguments = CALLS[name]
    args = [data.draw(argument) for argument in arguments]
    arrays = [distinct(shape, seed)] + ([distinct(data.draw(second), seed + 1)] if second is not None else [])
    if name == "gather":  # PyTorch takes any index without elements, and any single one for a tensor without dimensions
        assume(arrays[0].ndim == arrays[1].ndim and arrays[1].size)
    if name == "cat":  # PyTorch takes any dimension for vectors without elements
        assume(arrays[0].size or arrays[1].size)
    if name == "getitem":  # PyTorch does not look at an index if there are no elements
        assume(arrays[0].size)
    if name == "expand":  # PyTorch takes a leading -1 if another size is 0
        assume(-1 not in args[0] or 0 not in args[0])
    result = both(lambda library, *tensors: function(library, *tensors, *args), *arrays)
    if result is not None and result[1] is not None:
        assert_equal(*result)
