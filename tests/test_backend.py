"""Array-namespace code: every operation runs on another array library, to the second order, without touching NumPy by name."""

import sys

import numpy
import pytest
import strict_arrays

import minivgg
from minivgg.errors import UnsupportedError
from minivgg.ops.scatter import scatter_add
from minivgg.registry import OPERATIONS, Sample, algorithms


@pytest.fixture
def device(monkeypatch):
    cupy = strict_arrays.module()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


def own_choice(sample):
    """The sample without its algorithm: one compiled for the CPU refuses here."""
    return Sample(sample.args, {key: value for key, value in sample.kwargs.items() if key != "algorithm"})


def cases():
    for name, operation in OPERATIONS.items():
        for i, sample in enumerate(operation.samples(numpy.random.default_rng(0))):
            yield pytest.param(operation, own_choice(sample), id=f"{name}-{i}")


def place(value, make):
    """The sample's arrays as tensors of ``make``'s arrays; lists are walked."""
    if isinstance(value, numpy.ndarray):
        return minivgg.Tensor(make(value.copy()), requires_grad=value.dtype.kind == "f")
    if isinstance(value, list | tuple):
        return type(value)(place(item, make) for item in value)
    return value


def run(operation, sample, make):
    """Outputs, gradients and gradients of a random projection of those, as NumPy arrays, with what kind of arrays came out."""
    args = [place(value, make) for value in sample.args]
    kwargs = {key: place(value, make) for key, value in sample.kwargs.items()}
    result = operation.function(*args, **kwargs)
    found = [out for out in (result if isinstance(result, tuple | list) else [result]) if isinstance(out, minivgg.Tensor)]
    generator = numpy.random.default_rng(1)

    def random(like):
        return minivgg.Tensor(make(numpy.asarray(generator.standard_normal(like.shape), like.dtype)))

    roots = [out for out in found if out.requires_grad]
    leaves = [leaf for value in args for leaf in (value if isinstance(value, list | tuple) else [value])]
    leaves = [leaf for leaf in leaves if isinstance(leaf, minivgg.Tensor) and leaf.requires_grad]
    if roots:
        first = minivgg.autograd.grad(roots, leaves, [random(out) for out in roots], create_graph=operation.order > 1, allow_unused=True)
        found += (first := [gradient for gradient in first if gradient is not None])
        if operation.order > 1:
            projected = [(gradient * random(gradient)).sum() for gradient in first]
            second = minivgg.autograd.grad([one for one in projected if one.requires_grad] or [], leaves, allow_unused=True)
            found += [gradient for gradient in second if gradient is not None]
    return [minivgg.backend.to_numpy(tensor.array) for tensor in found], {type(tensor.array) for tensor in found}


@pytest.mark.parametrize(("operation", "sample"), list(cases()))
def test_operation_runs_on_another_array_library(operation, sample, device):
    expected, _ = run(operation, sample, lambda array: array)
    got, kinds = run(operation, sample, device.asarray)
    assert kinds <= {strict_arrays.ndarray}, "part of the result came back as NumPy arrays"
    for a, b in zip(expected, got, strict=True):
        numpy.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)  # on the host, other algorithms may be chosen


@pytest.mark.parametrize(("name", "algorithm"), [
    (name, algorithm) for name in ("conv2d", "max_pool2d", "avg_pool2d") for algorithm, record in algorithms(name, "cuda").items() if record.backend == "numpy"
])  # fmt: skip
def test_array_code_gives_on_the_device_what_it_gives_on_the_host(name, algorithm, device):
    """Each algorithm against itself, to the second order, on every problem of the record that it applies to."""
    tried = 0
    for sample in OPERATIONS[name].samples(numpy.random.default_rng(0)):
        with minivgg.use_algorithm(**{name: algorithm}):
            try:
                expected, _ = run(OPERATIONS[name], own_choice(sample), lambda array: array)
            except UnsupportedError:
                continue
            got, kinds = run(OPERATIONS[name], own_choice(sample), device.asarray)
        assert kinds == {strict_arrays.ndarray}
        for a, b in zip(expected, got, strict=True):
            numpy.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)
        tried += 1
    assert tried >= 5


def test_what_is_added_up_at_one_place_is_always_added_in_the_same_order(device):
    """Against NumPy, which adds one after the other; many values for one place, none for another, views, broadcasting."""
    rng = numpy.random.default_rng(0)
    for index, shape in (
        (rng.integers(0, 5, 200), (5, 3)),
        (numpy.zeros(65, int), (1, 3)),
        ((rng.integers(0, 4, (7, 1)), rng.integers(0, 3, (1, 9))), (4, 3)),
        (numpy.zeros(0, int), (2, 3)),
        (rng.random((4, 3)) < 0.5, (4, 3)),
    ):
        expected = numpy.ones(shape)
        values = rng.standard_normal(expected[index].shape)
        numpy.add.at(expected, index, values)
        out = device.ones(shape)
        scatter_add(out, on_device(index, device), device.asarray(values))
        numpy.testing.assert_allclose(out.get(), expected, rtol=1e-12, atol=1e-12)


def on_device(index, device):
    return tuple(map(device.asarray, index)) if isinstance(index, tuple) else device.asarray(index)


@pytest.mark.parametrize(("index", "text"), [
    (numpy.array([0, 2]), "index 2 is out of bounds for axis 0 with size 2"),
    ((slice(None), numpy.array([-4])), "index -4 is out of bounds for axis 1 with size 3"),
    ((..., numpy.array([[3, 0]])), "index 3 is out of bounds for axis 1 with size 3"),
    ((None, numpy.array([5])), "index 5 is out of bounds for axis 1 with size 2"),
])  # fmt: skip
def test_an_index_beyond_the_end_is_refused_where_cupy_would_count_on(index, text, device):
    x = minivgg.zeros(2, 3, device="cuda")
    for there in (index, place(index, device.asarray)):
        with pytest.raises(IndexError, match=f"getitem: {text}"):
            x[there]
        with pytest.raises(IndexError, match=f"setitem: {text}"):
            x[there] = 1.0


def test_strict_arrays_are_strict(device):
    """The stand-in itself: it refuses what CuPy refuses."""
    x = device.asarray(numpy.ones(3))
    with pytest.raises(TypeError, match="implicit conversion"):
        numpy.asarray(x)
    with pytest.raises(TypeError, match=r"numpy\.ndarray"):
        x + numpy.ones(3)
    with pytest.raises(TypeError):
        numpy.exp(x)
    assert isinstance(x.sum(), strict_arrays.ndarray)


def test_namespace_of_other_things_is_refused():
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array, got list"):
        minivgg.backend.namespace([1.0])
