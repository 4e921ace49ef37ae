"""Array-namespace code: every operation runs on another array library, forward and backward, without touching NumPy by name."""

import sys

import numpy
import pytest
import strict_arrays

import minivgg
from minivgg.registry import OPERATIONS, Sample

HOST_ONLY: dict[str, str] = {}
"""Operations that compute on the host by design, each with the reason."""


@pytest.fixture
def device(monkeypatch):
    cupy = strict_arrays.module()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return cupy


def cases():
    for name, operation in OPERATIONS.items():
        for i, sample in enumerate(operation.samples(numpy.random.default_rng(0))):
            own_choice = {key: value for key, value in sample.kwargs.items() if key != "algorithm"}  # one compiled for the CPU refuses here
            yield pytest.param(operation, Sample(sample.args, own_choice), id=f"{name}-{i}")


def place(value, make):
    """The sample's arrays as tensors of ``make``'s arrays; lists are walked."""
    if isinstance(value, numpy.ndarray):
        return minivgg.Tensor(make(value.copy()), requires_grad=value.dtype.kind == "f")
    if isinstance(value, list | tuple):
        return type(value)(place(item, make) for item in value)
    return value


def run(operation, sample, make):
    """Output and input gradients as NumPy arrays, with what kind of arrays came out."""
    args = [place(value, make) for value in sample.args]
    kwargs = {key: place(value, make) for key, value in sample.kwargs.items()}
    result = operation.function(*args, **kwargs)
    outputs = [out for out in (result if isinstance(result, tuple | list) else [result]) if isinstance(out, minivgg.Tensor)]
    kinds = {type(out.array) for out in outputs}
    roots = [out for out in outputs if out.requires_grad]
    if roots:
        generator = numpy.random.default_rng(1)
        gradients = [minivgg.Tensor(make(numpy.asarray(generator.standard_normal(out.shape), out.dtype))) for out in roots]
        minivgg.autograd.backward(roots, gradients)
    leaves = [leaf for value in args for leaf in (value if isinstance(value, list | tuple) else [value]) if isinstance(leaf, minivgg.Tensor)]
    grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
    kinds |= {type(grad.array) for grad in grads}
    host = [tensor.array if isinstance(tensor.array, numpy.ndarray) else tensor.array.get() for tensor in (*outputs, *grads)]
    return host, kinds


@pytest.mark.parametrize(("operation", "sample"), list(cases()))
def test_operation_runs_on_another_array_library(operation, sample, device):
    expected, _ = run(operation, sample, lambda array: array)
    got, kinds = run(operation, sample, device.asarray)
    assert kinds <= {strict_arrays.ndarray}, "part of the result came back as NumPy arrays"
    for a, b in zip(expected, got, strict=True):
        numpy.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)  # on the host, other algorithms may be chosen


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
