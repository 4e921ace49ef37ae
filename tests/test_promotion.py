"""Which dtype a result has, and which combinations are refused: every pair of operands against PyTorch."""

import itertools
import operator

import numpy
import pytest
import torch

import minivgg
from minivgg.errors import OperationError

DTYPES = ["bool", "uint8", "int32", "int64", "float32", "float64"]
OPERATORS = ["add", "sub", "mul", "truediv", "pow", "lt", "le", "gt", "ge", "eq", "ne", "and_", "or_", "xor"]
IN_PLACE = ["iadd", "isub", "imul", "itruediv"]
NUMBERS = [True, 2, 2.5]


def operands(library):
    """Name and maker of every kind of operand: numbers, tensors without dimensions, tensors with one."""
    yield from ((repr(number), lambda number=number: number) for number in NUMBERS)
    for name in DTYPES:
        dtype = getattr(library, name) if library is torch else name
        yield f"{name} scalar", lambda dtype=dtype: library.tensor(2, dtype=dtype)
        yield f"{name} vector", lambda dtype=dtype: library.tensor([1, 3], dtype=dtype)


def attempt(function):
    """The result, or None if it is refused."""
    try:
        return function()
    except (OperationError, RuntimeError, TypeError, NotImplementedError):
        return None


def assert_same(got, expected, case):
    assert (got is None) == (expected is None), f"{case}: {got} instead of {expected}"
    if expected is not None:
        assert got.dtype == str(expected.dtype).removeprefix("torch."), f"{case}: {got} instead of {expected}"
        numpy.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-6, err_msg=case)


def pairs():
    ours, theirs = list(operands(minivgg)), list(operands(torch))
    for (i, (left, _)), (j, (right, _)) in itertools.product(enumerate(ours), repeat=2):
        if i >= len(NUMBERS) or j >= len(NUMBERS):
            yield f"{left}, {right}", (ours[i][1], ours[j][1]), (theirs[i][1], theirs[j][1])


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name):
    apply = getattr(operator, name)
    for case, (a, b), (c, d) in pairs():
        if name != "pow" or case not in ("bool scalar, True", "bool vector, True"):  # PyTorch returns the tensor here, and refuses the rest
            assert_same(attempt(lambda: apply(a(), b())), attempt(lambda: apply(c(), d())), f"{name}: {case}")  # noqa: B023


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name):
    apply = getattr(operator, name)
    for case, (a, b), (c, d) in pairs():
        if isinstance(a(), minivgg.Tensor):
            assert_same(attempt(lambda: apply(a(), b())), attempt(lambda: apply(c(), d())), f"{name}: {case}")  # noqa: B023


@pytest.mark.parametrize("name", ["maximum", "minimum", "cat", "stack", "where"])
def test_functions_of_two_tensors(name):
    def call(library, x, y):
        if name in ("cat", "stack"):
            return getattr(library, name)([x, y])
        return library.where(library.tensor([True, False]), x, y) if name == "where" else getattr(library, name)(x, y)

    for case, (a, b), (c, d) in pairs():
        if isinstance(a(), minivgg.Tensor) and isinstance(b(), minivgg.Tensor):
            assert_same(attempt(lambda: call(minivgg, a(), b())), attempt(lambda: call(torch, c(), d())), f"{name}: {case}")  # noqa: B023


ONE_OPERAND = {
    "neg": lambda x: -x, "exp": lambda x: x.exp(), "log": lambda x: x.log(), "sqrt": lambda x: x.sqrt(), "abs": lambda x: x.abs(),

    "sum": lambda x: x.sum(), "mean": lambda x: x.mean(), "var": lambda x: x.var(), "std": lambda x: x.std(),
    "max": lambda x: x.max(), "min": lambda x: x.min(),
    "clamp 1": lambda x: x.clamp(1), "clamp 1.5": lambda x: x.clamp(max=1.5), "clamp True": lambda x: x.clamp(min=0, max=1),
    "fill": lambda x: x.fill_(2.5), "masked_fill": lambda x: x.masked_fill(x == 1, 2.5), "invert": lambda x: ~(x > 1), "not": lambda x: ~x,
    "item": lambda x: x[:1].exp(),
    "float": lambda x: x.float(), "double": lambda x: x.double(), "long": lambda x: x.long(), "int": lambda x: x.int(), "bool": lambda x: x.bool(),
    "any": lambda x: x.any(), "all": lambda x: x.all(), "isnan": lambda x: x.isnan(), "isfinite": lambda x: x.isfinite(), "matmul": lambda x: x @ x,
    "clamp_": lambda x: x.clamp_(0, 2), "clamp_ 1.5": lambda x: x.clamp_(min=1.5), "zero_": lambda x: x.zero_(),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_OPERAND)
def test_one_operand(name):
    for dtype in DTYPES if name not in ("any", "all") else [dtype for dtype in DTYPES if dtype != "uint8"]:  # PyTorch keeps uint8 there, for old times' sake
        ours, theirs = minivgg.tensor([1, 3], dtype=dtype), torch.tensor([1, 3], dtype=getattr(torch, dtype))
        assert_same(attempt(lambda: ONE_OPERAND[name](ours)), attempt(lambda: ONE_OPERAND[name](theirs)), f"{name}: {dtype}")  # noqa: B023


def test_numpy_scalars_count_as_numbers():
    x = minivgg.ones(2)
    for result in (numpy.float64(2) * x, x * numpy.float64(2), numpy.int64(2) + x, x / numpy.float64(3), numpy.float64(2) ** x, x ** numpy.float64(2)):
        assert (type(result), result.dtype) == (minivgg.Tensor, numpy.float32)
    assert (numpy.bool_(True) * minivgg.arange(2)).dtype == numpy.int64
    assert (minivgg.arange(2) * numpy.float32(2)).dtype == numpy.float32


def test_arrays_on_either_side():
    x = minivgg.ones(2, requires_grad=True)
    single, double, scalar = numpy.ones(2, "float32"), numpy.ones(2), numpy.array(2.0)
    for array, dtype in ((single, "float32"), (double, "float64"), (scalar, "float32"), (numpy.arange(2), "float32")):
        for result in (array + x, x + array, array * x, x - array, array - x, x / (array + 1), array**x, minivgg.maximum(x, array)):
            assert (type(result), result.dtype, result.requires_grad) == (minivgg.Tensor, dtype, True)
        for result in (array < x, x >= array, array == x, x != array):
            assert (type(result), result.dtype) == (minivgg.Tensor, bool)
    assert (numpy.ones((3, 2), "float32") @ x).shape == (3,)
    assert (x @ numpy.ones((2, 3), "float32")).shape == (3,)


def test_numbers_that_do_not_fit():
    with pytest.raises(OperationError, match=r"^add: 300 does not fit into uint8$"):
        minivgg.zeros(2, dtype="uint8") + 300
    with pytest.raises(OperationError, match=r"^iadd|^add_: the result would be float32, which does not fit in a tensor of int64$"):
        minivgg.zeros(2, dtype="int64").add_(1.5)


@pytest.mark.parametrize("number", [-2, 300])
def test_a_number_divides_integers_that_cannot_hold_it(number):
    for quotient in (lambda x: x / number, lambda x: number / x):
        ours, theirs = (quotient(x) for x in (minivgg.tensor([3, 5], dtype="uint8"), torch.tensor([3, 5], dtype=torch.uint8)))
        numpy.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
        assert ours.dtype == "float32"


def test_numbers_that_do_not_fit_are_refused_wherever_they_are_written():
    x = minivgg.zeros(2, dtype="uint8")
    with pytest.raises(OperationError, match=r"^setitem: 300 does not fit into uint8$"):
        x[0] = 300
    with pytest.raises(OperationError, match=r"^fill_: -1 does not fit into uint8$"):
        x.fill_(-1)
    with pytest.raises(OperationError, match=r"^clamp_: 256 does not fit into uint8$"):
        x.clamp_(256)
    assert x.clamp(min=0.5, max=300.0).dtype == "float32"


@pytest.mark.parametrize("index", [True, slice(None), ..., numpy.array([True, False])])
def test_values_that_do_not_fit_are_refused_whatever_the_index(index):
    x = minivgg.zeros(() if index is True else (2,))
    with pytest.raises(OperationError, match=r"^setitem: a value of shape \(1, 5\) does not fit: "):
        x[index] = minivgg.ones(1, 5)


def test_arrays_of_kinds_that_tensors_do_not_hold():
    odd, swapped = numpy.ones(2, "longdouble"), numpy.array([1.0, 2.0], ">f4")
    for name, call in (("add", lambda: minivgg.ones(2) + odd), ("setitem", lambda: minivgg.ones(2).__setitem__(slice(None), odd))):
        with pytest.raises(OperationError, match=f"^{name}: tensors hold float16, float32, float64, integers or booleans, not {odd.dtype}$"):
            call()
    result = minivgg.ones(2) + swapped
    assert (result.tolist(), result.dtype) == ([2.0, 3.0], "float32")
