"""Tensor as a citizen: made from data, printed, copied, pickled, indexed, converted, shared with NumPy and PyTorch."""

import copy
import io
import math
import operator
import pickle

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import minivgg
from minivgg import Tensor
from minivgg.errors import ArgumentError, DtypeError, GraphError, OperationError, ShapeError, UnsupportedError

NAMES = {"bool": torch.bool, "uint8": torch.uint8, "int32": torch.int32, "int64": torch.int64, "float32": torch.float32, "float64": torch.float64}


def same(got, expected):
    assert (got.dtype.name, got.shape) == (str(expected.dtype).removeprefix("torch."), tuple(expected.shape))
    assert got.requires_grad == expected.requires_grad
    numpy.testing.assert_array_equal(got.detach().numpy(), expected.detach().numpy())


# Made from data -------------------------------------------------------------------------------------------------------

DATA = [
    3, 2.5, True, [1, 2], [1, 2.5], [True, 2], [[1.0], [2.0]], [], [[], []], (1, (2, 3)[1]), range(3), 2**62, -(2**63),
    numpy.float64(1), numpy.float32(1), numpy.int32(7), numpy.bool_(True), [numpy.float64(1)], [numpy.uint8(1)],
    numpy.zeros((2, 0), "float32"), numpy.arange(3, dtype="uint8"), numpy.array(1.5),
]  # fmt: skip


@pytest.mark.parametrize("data", DATA, ids=repr)
def test_tensor_of(data):
    same(minivgg.tensor(data), torch.tensor(data))
    for name, dtype in NAMES.items() if not isinstance(data, numpy.generic) else ():  # PyTorch casts no NumPy scalars
        if numpy.all(numpy.abs(numpy.asarray(data, "float64")) < 100):
            same(minivgg.tensor(data, dtype=name), torch.tensor(data, dtype=dtype))


def test_tensor_of_tensors():
    parts = [[library.tensor(1.0), library.tensor(2.0)] for library in (minivgg, torch)]
    same(minivgg.tensor(parts[0]), torch.tensor(parts[1]))
    same(minivgg.tensor([minivgg.tensor(1.0, dtype="float64")]), torch.tensor([torch.tensor(1.0, dtype=torch.float64)]))
    x = minivgg.ones(2, requires_grad=True)
    assert not minivgg.tensor(x).requires_grad


def test_tensor_copies_and_from_numpy_shares():
    array = numpy.zeros(2)
    copied, shared, also_shared = minivgg.tensor(array), minivgg.from_numpy(array), minivgg.as_tensor(array)
    array[0] = 5
    assert [t.tolist() for t in (copied, shared, also_shared)] == [[0.0, 0.0], [5.0, 0.0], [5.0, 0.0]]
    assert minivgg.as_tensor(shared) is shared
    assert minivgg.as_tensor(array, dtype="float32").dtype == numpy.float32
    assert minivgg.tensor(numpy.arange(3, dtype=">f8")).tolist() == [0.0, 1.0, 2.0]


CREATION = [
    lambda library: library.zeros(2, 3), lambda library: library.ones((2, 3)), lambda library: library.zeros([2]), lambda library: library.ones(()),
    lambda library: library.zeros(2, 0, dtype=library.int64), lambda library: library.full((2,), 1), lambda library: library.full([2], 1.5),
    lambda library: library.full((), True), lambda library: library.full((2,), 3, dtype=library.float64), lambda library: library.arange(4),
    lambda library: library.arange(2.0), lambda library: library.arange(1, 4), lambda library: library.arange(5, 0, -2),
    lambda library: library.arange(3, 3),
    lambda library: library.arange(0, 1, 0.3), lambda library: library.arange(3, dtype=library.float64), lambda library: library.linspace(0, 1, 5),
    lambda library: library.linspace(0, 1, 1),
    lambda library: library.eye(3), lambda library: library.eye(2, 3),
    lambda library: library.ones(2, requires_grad=True),
    lambda library: library.zeros_like(library.arange(3)), lambda library: library.ones_like(library.arange(3), dtype=library.float32),
    lambda library: library.full_like(library.ones(2), 7), lambda library: library.tensor([1.0], requires_grad=True),
    lambda library: library.ones(2, device="cpu"),
]  # fmt: skip


@pytest.mark.parametrize("create", CREATION)
def test_constants(create):
    same(create(minivgg), create(torch))


def test_random_numbers():
    for seed in (0, 1):
        minivgg.manual_seed(seed)
        first = [minivgg.rand(3), minivgg.randn(3), minivgg.randint(10, (3,)), minivgg.randperm(5), minivgg.randn_like(minivgg.zeros(2, dtype="float64"))]
        minivgg.manual_seed(seed)
        second = [minivgg.rand(3), minivgg.randn(3), minivgg.randint(10, (3,)), minivgg.randperm(5), minivgg.randn_like(minivgg.zeros(2, dtype="float64"))]
        assert all(minivgg.equal(a, b) for a, b in zip(first, second, strict=True))
        assert [t.dtype.name for t in first] == ["float32", "float32", "int64", "int64", "float64"]
    generator = minivgg.Generator().manual_seed(7)
    before = minivgg.default_generator.get_state()
    x = minivgg.randn(50_000, generator=generator)
    assert minivgg.default_generator.get_state() == before, "a generator of one's own leaves the default one alone"
    assert (abs(x.mean().item()) < 0.02, abs(x.std().item() - 1) < 0.02) == (True, True)
    state = generator.get_state()
    y = minivgg.rand(1000, generator=generator)
    assert minivgg.equal(minivgg.rand(1000, generator=generator.set_state(state)), y)
    assert 0 <= y.min().item() < y.max().item() < 1
    assert set(minivgg.randint(-2, 2, (100,)).tolist()) == {-2, -1, 0, 1}
    assert sorted(minivgg.randperm(100).tolist()) == list(range(100))
    assert minivgg.randn(2, 3, requires_grad=True).requires_grad


LOSES_GRADIENT = "numpy: this tensor requires a gradient, which NumPy would lose in silence; use tensor.detach().numpy()"
NOT_A_LEAF = "only leaves can be copied with what they are, this tensor was made by Mul; use detach()"
REFUSED = [
    (lambda: minivgg.tensor([[1], [2, 3]]), ArgumentError, "tensor: the nested lists are not rectangular"),
    (lambda: minivgg.tensor("3"), DtypeError, "tensor: takes numbers and lists of numbers that fit into int64, got str of <U1"),
    (lambda: minivgg.tensor(None), DtypeError, "tensor: takes numbers and lists of numbers that fit into int64, got NoneType of object"),
    (lambda: minivgg.tensor([2**63]), DtypeError, "tensor: takes numbers and lists of numbers that fit into int64, got list of uint64"),
    (lambda: minivgg.tensor([1.0], dtype="complex64"), DtypeError, "tensor: tensors hold float16, float32, float64, integers or booleans, not complex64"),
    (lambda: minivgg.tensor([1.0], device="tpu"), UnsupportedError, "tensor: there is no device 'tpu'; there are 'cpu', 'cuda' and 'cuda:0' with a number"),
    (lambda: minivgg.from_numpy([1.0]), DtypeError, "from_numpy: takes an array, got list"),
    (lambda: minivgg.from_numpy(numpy.ones(2, "c8")), DtypeError, "from_numpy: tensors hold float16, float32, float64, integers or booleans, not complex64"),
    (lambda: minivgg.from_numpy(numpy.zeros(2, ">f4")), DtypeError, "from_numpy: cannot share the memory of >f4 elements; use minivgg.tensor(), which copies"),
    (lambda: minivgg.zeros(-1), ArgumentError, "zeros: sizes must be whole numbers of at least 0, got (-1,)"),
    (lambda: minivgg.ones(2.5), ArgumentError, "ones: sizes must be whole numbers of at least 0, got (2.5,)"),
    (lambda: minivgg.arange(0, 1, 0), ArgumentError, "arange: step must not be 0"),
    (lambda: minivgg.arange(3, 0), ArgumentError, "arange: step 1 leads away from end 0, starting at 3"),
    (lambda: minivgg.randint(5, 5, (2,)), ArgumentError, "randint: low must be below high, got 5 and 5"),
    (lambda: minivgg.ones(2).item(), ShapeError, "item: needs exactly one element, this tensor has 2 (shape (2,))"),
    (lambda: bool(minivgg.ones(2)), ShapeError, "bool: the truth of 2 elements is ambiguous; use any() or all() (shape (2,))"),
    (lambda: len(minivgg.ones(())), DtypeError, "len: a tensor without dimensions has no length"),
    (lambda: iter(minivgg.ones(())), ShapeError, "iter: a tensor without dimensions has no rows"),
    (lambda: [1, 2][minivgg.tensor(0.0)], DtypeError, "index: only an integer tensor can be an index, this one is float32"),
    (lambda: minivgg.ones(2, requires_grad=True).numpy(), GraphError, LOSES_GRADIENT),
    (lambda: numpy.asarray(minivgg.ones(2, requires_grad=True)), GraphError, LOSES_GRADIENT),
    (lambda: torch.from_dlpack(minivgg.ones(2, requires_grad=True)), GraphError, "__dlpack__: this tensor requires a gradient; use tensor.detach()"),
    (lambda: copy.deepcopy(minivgg.ones(2, requires_grad=True) * 2), GraphError, f"deepcopy: {NOT_A_LEAF}"),
    (lambda: pickle.dumps(minivgg.ones(2, requires_grad=True) * 2), GraphError, f"pickle: {NOT_A_LEAF}"),
    (lambda: minivgg.ones(2) + "a", DtypeError, "add: takes tensors, arrays and numbers, got str"),
    (lambda: minivgg.ones(2) < None, DtypeError, "lt: takes tensors, arrays and numbers, got NoneType"),
    (lambda: minivgg.ones(2) * numpy.ones(2, complex), DtypeError, "mul: takes tensors, arrays and numbers, got ndarray of complex128"),
    (lambda: minivgg.ones(2).size(1), ShapeError, "size: there is no dimension 1 (shape (2,))"),
    (lambda: minivgg.arange(6).reshape(2, 3).t().view(6), ShapeError,
     "view: shape (6,) needs a copy, because the elements do not lie in row-major order; use reshape() (strides (1, 3))"),
    (lambda: minivgg.arange(3)[5], IndexError, "getitem: index 5 is out of bounds for axis 0 with size 3 (input (3,))"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, OperationError)
    assert str(caught.value).startswith(message)


# Looked at ------------------------------------------------------------------------------------------------------------


@given(st.data(), st.sampled_from(list(NAMES)), array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
def test_printed_as_pytorch_prints(data, name, shape):
    numbers = {"bool": st.booleans(), "uint8": st.integers(0, 255)}.get(name, st.integers(-2000, 2000))
    if name.startswith("float"):
        numbers = st.sampled_from([0.0, 1.0, -2.0, 0.5, 1e-5, 3e9, 1e5, 12345.678, math.nan, math.inf, -math.inf]) | st.floats(-10, 10, width=32)
    array = data.draw(arrays(name, shape, elements=numbers))
    assert repr(minivgg.tensor(array)) == repr(torch.tensor(array)).replace("torch.", "")


def test_long_and_differentiable_tensors_print_as_in_pytorch():
    for make in (lambda library: library.arange(2000), lambda library: library.arange(3000.0).reshape(2, 1500) / 7, lambda library: library.arange(30.0)):
        assert repr(make(minivgg)) == repr(make(torch))
    x = minivgg.ones(2, requires_grad=True)
    assert repr(x) == repr(torch.ones(2, requires_grad=True))
    assert repr(x * 2) == "tensor([2., 2.], grad_fn=<Mul>)"
    assert f"{minivgg.tensor(2.0):.3f} {minivgg.ones(1)}" == "2.000 tensor([1.])"


def test_sizes():
    x, y = (library.zeros(2, 3, 4).transpose(0, 2) for library in (minivgg, torch))
    assert (x.shape, x.size(), x.size(-1), x.ndim, x.dim(), x.numel()) == ((4, 3, 2), (4, 3, 2), 2, 3, 3, 24)
    assert (x.stride(), x.is_contiguous(), x.itemsize, x.nbytes) == (y.stride(), y.is_contiguous(), y.itemsize, y.nbytes)
    assert (x.T.shape, x.mT.shape, x.is_floating_point(), x.device) == ((2, 3, 4), (4, 2, 3), True, "cpu")
    assert [len(x), [row.shape for row in x]] == [4, [(3, 2)] * 4]


def test_numbers_truth_and_membership():
    x = minivgg.tensor(2)
    assert (float(x), int(x), bool(x), x.item(), list(range(5))[x], [1, 2, 3][minivgg.tensor([1])]) == (2.0, 2, True, 2, 2, 2)
    assert (3.0 in minivgg.tensor([1.0, 3.0]), minivgg.tensor(2) in minivgg.tensor([1, 3])) == (True, False)
    assert (minivgg.tensor([1, 2]) == minivgg.tensor([1, 3])).tolist() == [True, False]
    assert [x == None, x != None, x == "a"] == [False, True, False]  # noqa: E711
    assert {x: 1}[x] == 1, "hashed by identity"
    assert minivgg.tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]


# Copied ---------------------------------------------------------------------------------------------------------------


def test_deep_copies():
    x = minivgg.ones(2, requires_grad=True)
    (x * x).sum().backward()
    y = copy.deepcopy(x)
    with minivgg.no_grad():
        y.mul_(5)
        y.grad.mul_(5)
    assert (x.tolist(), x.grad.tolist(), y.tolist(), y.grad.tolist(), y.requires_grad) == ([1.0, 1.0], [2.0, 2.0], [5.0, 5.0], [10.0, 10.0], True)
    a, b = copy.deepcopy([x, x])
    assert a is b


def test_pickled():
    for x in (minivgg.ones(2, requires_grad=True), minivgg.arange(3), minivgg.zeros(2, 3).t()):
        y = pickle.loads(pickle.dumps(x))
        assert (minivgg.equal(x, y), x.dtype == y.dtype, x.requires_grad == y.requires_grad) == (True, True, True)


def test_to():
    x = minivgg.ones(2, requires_grad=True)
    y = x.to(minivgg.float64)
    (y * 3).sum().backward()
    assert (x.grad.dtype, x.grad.tolist()) == (numpy.float32, [3.0, 3.0])
    assert x.to("float32") is x
    assert x.to("cpu") is x
    assert x.to(minivgg.zeros(1, dtype="float64")).dtype == numpy.float64
    assert x.to("cpu", minivgg.float64).dtype == numpy.float64
    assert x.to(dtype="int64").requires_grad is False
    assert x.to(minivgg.float32, copy=True) is not x
    assert [getattr(x, name)().dtype.name for name in ("float", "double", "int", "long", "bool")] == ["float32", "float64", "int32", "int64", "bool"]
    assert (x.type_as(y).dtype, x.cpu() is x) == (numpy.float64, True)


# Shared with others ---------------------------------------------------------------------------------------------------


def test_numpy_sees_the_memory():
    x = minivgg.zeros(2, 3)
    view = x.numpy()
    view[0, 0] = 7
    assert x[0, 0].item() == 7
    assert numpy.shares_memory(numpy.asarray(x), view)
    assert numpy.asarray(x, dtype="float64").dtype == numpy.float64
    assert not numpy.shares_memory(numpy.array(x), view)
    numpy.testing.assert_array_equal(numpy.exp(minivgg.zeros(2)), [1.0, 1.0])
    assert numpy.stack([minivgg.zeros(2), minivgg.ones(2)]).shape == (2, 2)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "bool"])
def test_dlpack_shares_memory_both_ways(name):
    ours = minivgg.tensor([[1, 2, 3], [4, 5, 6]], dtype=name).t()
    theirs = torch.from_dlpack(ours)
    theirs[0, 1] = 9
    assert (ours.tolist(), theirs.dtype, theirs.stride()) == ([[1, 9], [2, 5], [3, 6]], NAMES[name], ours.stride())
    theirs = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=NAMES[name]).t()
    ours = minivgg.from_dlpack(theirs)
    theirs[0, 1] = 9
    assert (ours.tolist(), ours.dtype.name, ours.stride()) == ([[1, 9], [2, 5], [3, 6]], name, theirs.stride())
    ours.add_(1)
    assert theirs.tolist() == [[2, 10], [3, 6], [4, 7]]


def test_in_place_operators_keep_the_object():
    for name, expected in (("iadd", 5.0), ("isub", 1.0), ("imul", 6.0), ("itruediv", 1.5)):
        x = minivgg.tensor([3.0])
        memory = x.array
        y = getattr(operator, name)(x, 2)
        assert (y is x, x.array is memory, x.item()) == (True, True, expected)


def test_torch_can_read_a_saved_file():
    """What ``numpy.save`` wrote from a tensor is a NumPy file like any other."""
    buffer = io.BytesIO()
    numpy.save(buffer, minivgg.arange(3))
    buffer.seek(0)
    assert torch.from_numpy(numpy.load(buffer)).tolist() == [0, 1, 2]


def test_a_tensor_subclass_stays_one_where_it_is_copied():
    class Named(Tensor):
        pass

    x = Named(numpy.ones(2), requires_grad=True)
    assert type(copy.deepcopy(x)) is Named
    assert type(x * 2) is Tensor


def test_negative_steps_read_backwards():
    x = minivgg.arange(6, dtype="float64").reshape(2, 3).requires_grad_()
    y = x[::-1, ::-2]
    assert y.tolist() == [[5.0, 3.0], [2.0, 0.0]]
    (gradient,) = minivgg.autograd.grad(y, x, minivgg.tensor([[1.0, 2.0], [3.0, 4.0]], dtype="float64"))
    assert gradient.tolist() == [[4.0, 0.0, 3.0], [2.0, 0.0, 1.0]]
