"""Functions that make tensors: what they make beside PyTorch's, and what they refuse, in which words."""

import functools
import math
import pickle
import types

import numpy
import pytest
import torch

import minivgg
from minivgg.errors import ArgumentError, DtypeError, OperationError, OutOfMemoryError, ShapeError, UnsupportedError


def same(got, expected, tolerance=0.0):
    assert (got.dtype.name, got.shape) == (str(expected.dtype).removeprefix("torch."), tuple(expected.shape))
    numpy.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=tolerance, atol=tolerance)


# What both make -------------------------------------------------------------------------------------------------------

MADE = [
    lambda library: library.zeros(2, dtype=None), lambda library: library.rand(0, dtype=None), lambda library: library.eye(2, dtype=None),
    lambda library: library.linspace(0, 1, 3, dtype=None), lambda library: library.randint(1, (2,), dtype=None),
    lambda library: library.zeros(2, dtype=float), lambda library: library.ones(2, dtype=int), lambda library: library.eye(2, dtype=bool),
    lambda library: library.full((2,), numpy.float64(1.5)), lambda library: library.full((2,), numpy.int32(7)),
    lambda library: library.full((2,), library.tensor(3)), lambda library: library.full((), False), lambda library: library.full((2,), 2, dtype=bool),
    lambda library: library.full((2,), -1.9, dtype=library.int64), lambda library: library.full((2,), math.nan),
    lambda library: library.full_like(library.arange(3), 7.9), lambda library: library.full_like(library.ones(2), 7, dtype=library.int64),
    lambda library: library.zeros_like(library.ones(2), device="cpu"), lambda library: library.ones_like(library.arange(2), dtype=library.float64),
    lambda library: library.arange(library.tensor(3)), lambda library: library.arange(numpy.int64(3)), lambda library: library.arange(True),
    lambda library: library.arange(5.5, dtype=library.int64), lambda library: library.arange(-1.5, 3, dtype=library.int64),
    lambda library: library.arange(2**63 - 3, 2**63 - 1), lambda library: library.arange(-(2**63), -(2**63) + 2),
    lambda library: library.arange(0, -1, -0.25, dtype=library.float64), lambda library: library.arange(3.0, 3.0),
    lambda library: library.linspace(-1, 1, 4, dtype=library.int64), lambda library: library.linspace(9, 0, 4, dtype=library.int64),
    lambda library: library.linspace(0, 1, 0), lambda library: library.linspace(2, 1, 1), lambda library: library.linspace(library.tensor(0.0), 1, 3),
    lambda library: library.eye(0), lambda library: library.eye(3, 0), lambda library: library.eye(numpy.int64(2)),
    lambda library: library.randint(1, (2, 0)), lambda library: library.randint(2, size=(0,)), lambda library: library.randint(high=1, size=(3,)),
    lambda library: library.randint(0, 1, size=(2,), dtype=library.float32), lambda library: library.randint(256, (0,), dtype=library.uint8),
    lambda library: library.randint(2, (0,), dtype=bool), lambda library: library.randperm(0), lambda library: library.randperm(numpy.int64(1)),
    lambda library: library.tensor([1, 2**63 - 1]), lambda library: library.tensor([1.0, 2**63]), lambda library: library.tensor([255], dtype=library.uint8),
    lambda library: library.tensor([1.9, -0.5], dtype=library.int64), lambda library: library.tensor([2**53 + 1, 0.5], dtype=library.int64),
]  # fmt: skip


@pytest.mark.parametrize("make", MADE)
def test_made_as_pytorch_makes_it(make, monkeypatch):
    monkeypatch.setattr(minivgg, "uint8", numpy.uint8, raising=False)
    same(make(minivgg), make(torch))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
def test_rows_of_numbers(dtype):
    rng = numpy.random.default_rng(0)
    for _ in range(300):
        start, end = (float(v) for v in rng.integers(-20, 21, 2) / rng.choice([1, 4]))
        step = float(rng.integers(1, 9)) * (1 if end >= start else -1) / (rng.choice([1, 3]) if dtype.startswith("float") else 1)
        if dtype != "int32" or (start, end) == (int(start), int(end)):  # PyTorch counts int32 before it cuts off, and int64 behind
            same(minivgg.arange(start, end, step, dtype=dtype), torch.arange(start, end, step, dtype=getattr(torch, dtype)), 1e-5)
        steps = int(rng.integers(0, 12))
        got, expected = minivgg.linspace(start, end, steps, dtype=dtype), torch.linspace(start, end, steps, dtype=getattr(torch, dtype))
        if dtype.startswith("float"):
            same(got, expected, 1e-5)
        elif steps > 1:  # a float64 between two integers may be rounded to either side of one
            exact = [math.trunc(start) + (math.trunc(end) - math.trunc(start)) * i / (steps - 1) for i in range(steps)]
            assert all(abs(number - about) < 1 + 1e-9 for number, about in zip(got.tolist(), exact, strict=True))
            assert (got.tolist()[0], got.tolist()[-1]) == (expected.tolist()[0], expected.tolist()[-1])


def test_counting_at_the_ends_of_int64():
    assert minivgg.arange(-(2**63), 2**63 - 1, 2**62).tolist() == [-(2**63), -(2**62), 0, 2**62]
    assert minivgg.arange(2**63 - 1, -(2**63), -(2**62)).tolist() == [2**63 - 1 - i * 2**62 for i in range(4)]
    assert minivgg.arange(0, 1, 2**63 - 1).tolist() == [0]


def test_subclasses_of_arrays_count_as_arrays():
    x = minivgg.from_numpy(numpy.array([[1.0, 2.0], [3.0, 4.0]]).view(numpy.matrix))
    assert (x * x).tolist() == [[1.0, 4.0], [9.0, 16.0]], "of two matrices NumPy would make the matrix product"


# What is refused ------------------------------------------------------------------------------------------------------

WHOLE = "sizes must be whole numbers of at least 0, got"
REFUSED = [
    ("zeros(True)", ArgumentError, f"zeros: {WHOLE} (True,)"),
    ("zeros((2, None))", ArgumentError, f"zeros: {WHOLE} (2, None)"),
    ("zeros(((2, 3),))", ArgumentError, f"zeros: {WHOLE} ((2, 3),)"),
    ("ones(math.nan)", ArgumentError, f"ones: {WHOLE} (nan,)"),
    ("ones(math.inf)", ArgumentError, f"ones: {WHOLE} (inf,)"),
    ("ones('3')", ArgumentError, f"ones: {WHOLE} ('3',)"),
    ("zeros(numpy.array([2, 3]))", ArgumentError, f"zeros: {WHOLE} (array([2, 3]),)"),
    ("zeros(tensor([2, 3]))", ArgumentError, f"zeros: {WHOLE} (tensor([2, 3]),)"),
    ("zeros()", ArgumentError, "zeros: needs sizes; zeros(()) makes a single number"),
    ("rand()", ArgumentError, "rand: needs sizes; rand(()) makes a single number"),
    ("zeros((2**62, 4))", ShapeError, "zeros: the result of shape (4611686018427387904, 4) would have 1.8e+19 elements, more than any memory holds"),
    ("ones(2**64)", ShapeError, "ones: the result of shape (18446744073709551616,) would have 1.8e+19 elements, more than any memory holds"),
    ("rand((2**62, 4))", ShapeError, "rand: the result of shape (4611686018427387904, 4) would have 1.8e+19 elements, more than any memory holds"),
    ("zeros(10**400)", ShapeError, "zeros: the result of shape (1000"),
    ("ones(*[1] * 65)", ShapeError, "ones: a tensor has at most 64 dimensions, got 65"),
    ("zeros(2, dtype='x')", ArgumentError, "zeros: 'x' is no dtype; use minivgg.float32, 'float64', ..."),
    ("zeros(2, dtype={'a': 1})", ArgumentError, "zeros: {'a': 1} is no dtype; use minivgg.float32, 'float64', ..."),
    ("zeros(2, dtype='>i4')", DtypeError, "zeros: tensors hold float16, float32, float64, integers or booleans, not >i4"),
    ("zeros(2, device=3.5)", UnsupportedError, "zeros: there is no device '3.5'; there are 'cpu', 'cuda' and 'cuda:0' with a number"),
    ("zeros(2, requires_grad='x')", ArgumentError, "requires_grad: must be True or False, got 'x'"),
    ("rand(2, requires_grad=1)", ArgumentError, "requires_grad: must be True or False, got 1"),
    ("full((2,), 'x')", ArgumentError, "full: fill_value must be a number, got 'x'"),
    ("full((2,), None)", ArgumentError, "full: fill_value must be a number, got None"),
    ("full((2,), [1, 2])", ArgumentError, "full: fill_value must be a number, got [1, 2]"),
    ("full((2,), tensor([3]))", ArgumentError, "full: fill_value must be a number, got tensor([3])"),
    ("full((2,), 2**63)", ArgumentError, "full: 9223372036854775808 does not fit into int64"),
    ("full((2,), math.nan, dtype='int64')", ArgumentError, "full: nan does not fit into int64"),
    ("full((2,), -1, dtype='uint8')", ArgumentError, "full: -1 does not fit into uint8"),
    ("full(2, 1)", ArgumentError, "full: size must be a tuple of whole numbers, got 2"),
    ("full_like(3, 1)", DtypeError, "full_like: input must be a tensor, got int; minivgg.tensor(...) makes one"),
    ("full_like(ones(2), None)", ArgumentError, "full_like: fill_value must be a number, got None"),
    ("full_like(arange(2), math.inf)", ArgumentError, "full_like: inf does not fit into int64"),
    ("zeros_like([1])", DtypeError, "zeros_like: input must be a tensor, got list; minivgg.tensor(...) makes one"),
    ("ones_like(None)", DtypeError, "ones_like: input must be a tensor, got NoneType; minivgg.tensor(...) makes one"),
    ("randn_like(arange(2))", DtypeError, "randn_like: draws float16, float32 or float64, not int64"),
    ("arange(2**62)", ShapeError, "arange: from 0 to 4611686018427387904 in steps of 1 there are more numbers than any memory holds"),
    ("arange(0, 1, 5e-324)", ShapeError, "arange: from 0 to 1 in steps of 5e-324 there are more numbers than any memory holds"),
    ("arange(2**63)", ArgumentError, "arange: 9223372036854775808 does not fit into int64"),
    ("arange(math.nan)", ArgumentError, "arange: end must be finite, got nan"),
    ("arange(-math.inf, 0)", ArgumentError, "arange: start must be finite, got -inf"),
    ("arange(0, 1, math.inf)", ArgumentError, "arange: step must be finite, got inf"),
    ("arange('3')", ArgumentError, "arange: end must be a number, got '3'"),
    ("arange(None, 3)", ArgumentError, "arange: start must be a number, got None"),
    ("arange(0, 1, [1])", ArgumentError, "arange: step must be a number, got [1]"),
    ("arange(0, 1, 0.3, dtype='int64')", ArgumentError, "arange: step must not be 0, as 0.3 is in int64"),
    ("arange(300, dtype='uint8')", ArgumentError, "arange: 299 does not fit into uint8"),
    ("arange(2, dtype=bool)", DtypeError, "arange: makes numbers, not booleans"),
    ("arange(0, -1e-200, 1e-200)", ArgumentError, "arange: step 1e-200 leads away from end -1e-200, starting at 0"),
    ("linspace(0, 1, -1)", ArgumentError, "linspace: steps must be at least 0, got -1"),
    ("linspace(0, 1, 2.0)", ArgumentError, "linspace: steps must be an int, got 2.0"),
    ("linspace(0, 1, 2**62)", ShapeError, "linspace: the result of shape (4611686018427387904,) would have 4.6e+18 elements, more than any memory holds"),
    ("linspace(0, math.inf, 3)", ArgumentError, "linspace: end must be finite, got inf"),
    ("linspace([0], 1, 3)", ArgumentError, "linspace: start must be a number, got [0]"),
    ("linspace(-1e308, 1e308, 3)", ArgumentError, "linspace: from -1e+308 to 1e+308 it is farther than float64 holds"),
    ("linspace(0, 300, 3, dtype='uint8')", ArgumentError, "linspace: 300 does not fit into uint8"),
    ("linspace(0, 2**62, 3, dtype='int64')", ArgumentError, "linspace: float64 does not hold every integer beyond 2**53, got 0 to 4611686018427387904"),
    ("linspace(0, 1, 3, dtype=bool)", DtypeError, "linspace: makes numbers, not booleans"),
    ("eye(-1)", ArgumentError, "eye: n must be at least 0, got -1"),
    ("eye(3, -1)", ArgumentError, "eye: m must be at least 0, got -1"),
    ("eye(2.0)", ArgumentError, "eye: n must be an int, got 2.0"),
    ("eye((2, 3))", ArgumentError, "eye: n must be an int, got (2, 3)"),
    ("eye(2**31)", ShapeError, "eye: the result of shape (2147483648, 2147483648) would have 4.6e+18 elements, more than any memory holds"),
    ("rand(2, dtype=int)", DtypeError, "rand: draws float16, float32 or float64, not int64"),
    ("randn(2, dtype=bool)", DtypeError, "randn: draws float16, float32 or float64, not bool"),
    ("rand(2, generator=0)", DtypeError, "rand: generator must be a minivgg.Generator, got int"),
    ("randperm(2, generator='x')", DtypeError, "randperm: generator must be a minivgg.Generator, got str"),
    ("randint(2.5, (2,))", ArgumentError, "randint: high must be an int, got 2.5"),
    ("randint(None, (2,))", ArgumentError, "randint: high must be an int, got None"),
    ("randint('x', 3, (2,))", ArgumentError, "randint: low must be an int, got 'x'"),
    ("randint(5, 2)", ArgumentError, "randint: size must be a tuple of whole numbers, got 2"),
    ("randint(2**63, (2,))", ArgumentError, "randint: 9223372036854775808 does not fit into int64"),
    ("randint(257, (2,), dtype='uint8')", ArgumentError, "randint: uint8 does not hold every integer from 0 to 256"),
    ("randint(3, (2,), dtype=bool)", ArgumentError, "randint: bool does not hold every integer from 0 to 2"),
    ("randint(2**24 + 2, (2,), dtype='float32')", ArgumentError, "randint: float32 does not hold every integer from 0 to 16777217"),
    ("randint(-3000, 0, (2,), dtype='float16')", ArgumentError, "randint: float16 does not hold every integer from -3000 to -1"),
    ("randperm(-1)", ArgumentError, "randperm: n must be at least 0, got -1"),
    ("randperm([3])", ArgumentError, "randperm: n must be an int, got [3]"),
    ("randperm(2**63)", ShapeError, "randperm: the result of shape (9223372036854775808,) would have 9.2e+18 elements, more than any memory holds"),
    ("manual_seed(2.5)", ArgumentError, "manual_seed: seed must be an int from -2**63 to 2**64 - 1, got 2.5"),
    ("manual_seed(None)", ArgumentError, "manual_seed: seed must be an int from -2**63 to 2**64 - 1, got None"),
    ("manual_seed(2**64)", ArgumentError, "manual_seed: seed must be an int from -2**63 to 2**64 - 1, got 18446744073709551616"),
    ("Generator().set_state(3)", ArgumentError, "set_state: takes what get_state returned, got 3: "),
    ("Generator().set_state({})", ArgumentError, "set_state: takes what get_state returned, got {}: "),
    ("tensor([1, 2**63])", DtypeError, "tensor: takes numbers and lists of numbers that fit into int64, got list of float64"),
    ("tensor([300], dtype='uint8')", ArgumentError, "tensor: 300 does not fit into uint8"),
    ("tensor([0.0, math.nan], dtype=int)", ArgumentError, "tensor: nan does not fit into int64"),
    ("tensor(numpy.array([1e300]), dtype='int64')", ArgumentError, "tensor: 1e+300 does not fit into int64"),
    ("tensor([1.5, 2**63], dtype='int64')", ArgumentError, "tensor: 9.223372036854776e+18 does not fit into int64"),
    ("tensor([2**63], dtype='int64')", ArgumentError, "tensor: 9223372036854775808 does not fit into int64"),
    ("tensor(nested(65))", ArgumentError, "tensor: the lists are nested more than 64 deep"),
    ("from_dlpack(3)", DtypeError, "from_dlpack: takes what has __dlpack__, as other libraries' tensors do, got int"),
    ("from_dlpack(numpy.zeros(2, 'O'))", DtypeError, "from_dlpack: ndarray does not share its memory: "),
]  # fmt: skip


def nested(depth):
    return functools.reduce(lambda inner, _: [inner], range(depth), 1)


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[call for call, *_ in REFUSED])
def test_refused(call, error, message):
    with pytest.raises(error) as caught:
        eval(call, vars(minivgg) | {"math": math, "numpy": numpy, "nested": nested})
    assert isinstance(caught.value, OperationError)
    assert str(caught.value).startswith(message)


def test_memory_that_is_not_there_is_named(monkeypatch):
    def too_much(*args, **options):
        raise MemoryError("Unable to allocate 3.64 TiB for an array with shape (1000000000000,)")

    generator = minivgg.Generator()
    generator.numpy = types.SimpleNamespace(permutation=too_much)
    for name in ("zeros", "ones", "empty"):
        monkeypatch.setattr(numpy, name, too_much)
        with pytest.raises(OutOfMemoryError, match=rf"^{name}: the host's memory is exhausted: Unable to allocate 3.64 TiB for an array"):
            getattr(minivgg, name)(10**12)
    with pytest.raises(OutOfMemoryError, match=r"^randperm: the host's memory is exhausted: Unable to allocate"):
        minivgg.randperm(10**12, generator=generator)


# The random state -----------------------------------------------------------------------------------------------------


def test_seeds_of_both_signs():
    for seed in (-1, -(2**63), numpy.int64(-1), 2**64 - 1):
        first, second = (minivgg.rand(4, generator=minivgg.Generator().manual_seed(s)).tolist() for s in (seed, int(seed) % 2**64))
        assert first == second
    assert minivgg.rand(1, generator=minivgg.Generator().manual_seed(1)).tolist() != minivgg.rand(1, generator=minivgg.Generator().manual_seed(2)).tolist()


def test_a_state_that_is_none_changes_nothing():
    generator = minivgg.Generator().manual_seed(5)
    state = generator.get_state()
    for change in (
        {"state": {"state": 1.5, "inc": 3}},
        {"state": {"state": -1, "inc": 3}},
        {"bit_generator": "MT19937"},
        {"uinteger": "x"},
        {"uinteger": 2**40},
    ):
        with pytest.raises(ArgumentError, match=r"^set_state: takes what get_state returned"):
            generator.set_state(state | change)
        assert generator.get_state() == state
    first = minivgg.rand(3, generator=generator).tolist()
    assert minivgg.rand(3, generator=minivgg.Generator().set_state(pickle.loads(pickle.dumps(state)))).tolist() == first


@pytest.mark.parametrize("dtype", ["bool", "float32", "float64"])
@pytest.mark.parametrize("numbers", [[2**63], [[1, 2**63]], [True, 2**64], [-(2**63) - 1, 0], 2**70, [0.5, 2**64]], ids=str)
def test_integers_of_any_size_become_what_is_asked_for(numbers, dtype):
    ours, theirs = minivgg.tensor(numbers, dtype=dtype), torch.tensor(numbers, dtype=getattr(torch, dtype))
    numpy.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    for asked in (None, "int64"):
        if isinstance(numbers, list) and isinstance(numbers[0], float):
            continue  # a float among them makes floats of all
        with pytest.raises((DtypeError, ArgumentError), match="int64"):
            minivgg.tensor(numbers, dtype=asked)


@pytest.mark.parametrize("data", [["3", 2**64], [None, 2**64], [1j, 2**64], [10**400]], ids=lambda data: str(data)[:12])
def test_what_is_no_number_of_a_float_is_refused_beside_large_integers(data):
    with pytest.raises(DtypeError, match=r"^tensor: takes numbers"):
        minivgg.tensor(data, dtype="float64")
