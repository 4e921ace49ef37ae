"""The checks that every operation is put through: each takes a record and one of its samples, and raises AssertionError.

They judge the public function as a user calls it, on tensors. The kernels below it are judged in ``kernel_checks.py``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy

from minivgg.autograd import Tensor, grad
from minivgg.registry import ErrorSample, Operation, Sample
from minivgg.testing.layouts import LAYOUTS
from minivgg.testing.operations import check_sample
from minivgg.testing.samples import arrays_of, as_function, changed, is_floating, leaves_of, map_arrays, names_of, tensors_of
from minivgg.testing.shapes import bind

TOLERANCE = {numpy.dtype("float64"): 1e-12, numpy.dtype("float32"): 1e-5}
"""Largest |got - expected| / (1 + |expected|); about 5000 and 100 roundings."""

TORCH_TOLERANCE = 1e-10
"""The same against PyTorch's float64, whose derivatives are computed by other formulas."""


def in_dtype(sample: Sample, dtype: Any) -> Sample:
    """The sample with its floating arrays rounded to ``dtype``."""
    return changed(sample, lambda array: array.astype(dtype) if is_floating(array) else array)


def run(operation: Operation, sample: Sample) -> tuple[list[numpy.ndarray], list[numpy.ndarray]]:
    """The outputs, and the gradients of the floating inputs for a random upstream gradient (none if nothing requires one)."""
    leaves = leaves_of(sample)
    outputs = tensors_of(as_function(operation.function, sample)(*leaves))
    return [out.array for out in outputs], _first_gradients(outputs, leaves)


def _first_gradients(outputs: list[Tensor], leaves: list[Tensor]) -> list[numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    roots = [out for out in outputs if out.requires_grad]
    upstream = [Tensor(numpy.asarray(rng.standard_normal(out.shape), out.dtype)) for out in roots]
    if not roots:
        return []
    return [gradient.array for gradient in grad(roots, leaves, upstream, materialize_grads=True) if gradient is not None]


def check_shapes(operation: Operation, sample: Sample) -> None:
    """The record's line of shapes describes this call."""
    call = changed(sample, Tensor)
    try:
        bind(operation.shapes, call.args, operation.function(*call.args, **call.kwargs), operation.name)
    except ValueError as error:
        raise AssertionError(str(error)) from error


def check_forward(operation: Operation, sample: Sample, dtype: Any) -> None:
    """The outputs are those of the oracle, which computes in float64 from the same (rounded) numbers."""
    rounded = in_dtype(sample, dtype)
    outputs = [out.array for out in tensors_of(as_function(operation.function, rounded)(*leaves_of(rounded)))]
    exact = in_dtype(rounded, "float64")
    expected = operation.oracle(*exact.args, **exact.kwargs)
    expected = list(expected) if isinstance(expected, tuple | list) else [expected]
    _agree(operation, outputs, [numpy.asarray(array) for array in expected], TOLERANCE[numpy.dtype(dtype)], f"the oracle, in {numpy.dtype(dtype)}")


def check_dtype(operation: Operation, sample: Sample, dtype: Any) -> None:
    """Floating inputs of one dtype give floating outputs and gradients of that dtype; for samples that do not ask for another."""
    sample = in_dtype(sample, dtype)
    outputs, gradients = run(operation, sample)
    for kind, arrays in (("output", outputs), ("gradient", gradients)):
        for i, array in enumerate(arrays):
            assert not is_floating(array) or array.dtype == dtype, f"{operation.name}: {kind} {i} is {array.dtype}, the inputs are {numpy.dtype(dtype)}"


def names_dtype(sample: Sample) -> bool:
    """Whether an argument is a dtype, so that the output need not have the input's."""
    return any(isinstance(value, type | numpy.dtype) for value in (*sample.args, *sample.kwargs.values())) or "dtype" in sample.kwargs


def check_gradient(operation: Operation, sample: Sample, order: int) -> None:
    """Every element of every derivative of this order agrees with differences."""
    report = check_sample(operation, sample, order)
    assert report, str(report)


def check_layout(operation: Operation, sample: Sample, layout: str) -> None:
    """The same numbers in other memory give the same outputs and gradients."""
    expected, got = run(operation, sample), run(operation, changed(sample, LAYOUTS[layout]))
    for what, before, after in zip(("output", "gradient"), expected, got, strict=True):
        _agree(operation, after, before, TOLERANCE[numpy.dtype("float64")], f"row-major memory, for {layout} inputs", what)


def check_inputs_unchanged(operation: Operation, sample: Sample) -> None:
    """Neither forward nor backward writes into what it was given."""
    sample = changed(sample, numpy.copy)
    before = [array.copy() for array in arrays_of(sample)]
    run(operation, sample)
    for i, (old, new) in enumerate(zip(before, arrays_of(sample), strict=True)):
        assert old.tobytes() == new.tobytes(), f"{operation.name}: array {i} among its inputs was changed, from\n{old}\nto\n{new}"


def check_repeatable(operation: Operation, sample: Sample) -> None:
    """A second run gives the same bits."""
    for what, first, second in zip(("output", "gradient"), run(operation, sample), run(operation, sample), strict=True):
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            assert a.tobytes() == b.tobytes(), f"{operation.name}: {what} {i} has other bits in a second run, from\n{a}\nto\n{b}"


def check_error(operation: Operation, sample: ErrorSample) -> None:
    """The call is refused with exactly this class and this text."""
    args, kwargs = map_arrays((sample.args, sample.kwargs), Tensor)
    refusal: Exception | None = None
    try:
        operation.function(*args, **kwargs)
    except Exception as error:
        refusal = error
    expected = f"{operation.name}: this call must be refused with\n{sample.error.__name__}: {sample.message}\n"
    assert refusal is not None, f"{expected}but it was not"
    got = f"{expected}but it was with\n{type(refusal).__name__}: {refusal}"
    assert isinstance(refusal, sample.error), got
    assert str(refusal) == sample.message, got


def check_against_torch(operation: Operation, sample: Sample, torch: Any) -> None:
    """Outputs, first and second gradients are PyTorch's; ``torch`` is the module, which only a test imports.

    What PyTorch refuses to differentiate by (running means, weights of classes) is held constant in both.
    """
    assert operation.torch is not None, f"{operation.name}: names no function of torch"
    named = functools.reduce(getattr, operation.torch.split("."), torch)

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return named(*(_torch_dtype(arg, torch) for arg in args), **{name: _torch_dtype(arg, torch) for name, arg in kwargs.items()})

    arrays, names = [array for array in arrays_of(sample) if is_floating(array)], names_of(operation, sample)
    constant: set[str] = set()
    while True:
        variable = [name not in constant for name in names]
        try:
            expected = derivatives(as_function(theirs, sample, torch.tensor), torch.tensor, torch.autograd.grad, arrays, variable, operation.order)
            break
        except RuntimeError as error:
            refused = re.search(r"(?:argument|derivative for) '(\w+)'", str(error))
            if refused is None or refused[1] in constant:
                raise
            constant.add(refused[1])
    got = derivatives(as_function(operation.function, sample), Tensor, grad, arrays, variable, operation.order)
    assert list(got) == list(expected), f"{operation.name}: has {', '.join(got)}; in PyTorch {', '.join(expected)}"
    for what in expected:
        _agree(operation, got[what], expected[what], TORCH_TOLERANCE, "PyTorch", what)


def _torch_dtype(value: Any, torch: Any) -> Any:
    return getattr(torch, numpy.dtype(value).name) if isinstance(value, type | numpy.dtype) else value


def derivatives(
    function: Callable[..., Any], tensor: Callable[..., Any], grad: Callable[..., Any], arrays: list[numpy.ndarray], variable: list[bool], order: int
) -> dict[str, list[numpy.ndarray]]:  # fmt: skip
    """In either library: outputs, first gradients for random upstream ones, and the gradients of their random projection.

    ``variable`` says which of the arrays to differentiate by.
    """
    rng = numpy.random.default_rng(0)

    def random(like: Any) -> Any:
        return tensor(numpy.asarray(rng.standard_normal(tuple(like.shape))), requires_grad=True)

    tensors = [tensor(array, requires_grad=wanted) for array, wanted in zip(arrays, variable, strict=True)]
    leaves = [leaf for leaf in tensors if leaf.requires_grad]
    result = function(*tensors)
    outputs = [out for out in (result if isinstance(result, tuple | list) else [result]) if hasattr(out, "detach")]
    found = {"output": outputs}
    roots = [out for out in outputs if out.requires_grad]
    if order >= 1 and roots:
        upstream = [random(out) for out in roots]
        found["gradient"] = first = list(grad(roots, leaves, upstream, create_graph=order >= 2, materialize_grads=True))
        if order >= 2:
            projected = [(gradient * random(gradient)).sum() for gradient in first]
            found["second gradient"] = list(grad(projected, [*leaves, *upstream], materialize_grads=True))
    return {what: [numpy.asarray(one.detach().clone()) for one in tensors] for what, tensors in found.items()}


def _agree(operation: Operation, got: list, expected: list, tolerance: float, judge: str, what: str = "output") -> None:
    assert len(got) == len(expected), f"{operation.name}: {len(got)} {what}s instead of {len(expected)}"
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.shape == b.shape, f"{operation.name}: {what} {i} has shape {a.shape}, by {judge} {b.shape}"
        numpy.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"{operation.name}: {what} {i} differs from {judge}")
