"""The gradient check: what backward computes, against differences of what forward computes.

Each element of each input is moved by ±eps, and (f(x + eps) - f(x - eps)) / 2 eps is one column of the Jacobian J, with an
error of O(eps²) and of about 1e-16/eps · |f|. ``backward`` computes v·J for an upstream gradient v; the check compares
that with v times the columns, for random v. (A uniform v, such as that of ``f(x).sum()``, would not notice gradients
that arrive at the wrong place.) The second derivative is checked by checking the gradient itself, as a function of the
inputs and of v.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, enable_grad, grad, is_grad_enabled, no_grad
from minivgg.backend import FLOATING
from minivgg.errors import ArgumentError, DtypeError
from minivgg.nn.module import Module
from minivgg.testing.report import GradcheckError, GradcheckReport, InputReport
from minivgg.testing.samples import tensors_of

UPSTREAM = 2
"""Random upstream gradients for each check: two, because one cannot tell a backward that is not linear."""

Index = tuple[int, ...]
Leaves = dict[str, Tensor]
"""The tensors to differentiate by, under the names that the report gives them."""


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True
) -> GradcheckReport:  # fmt: skip
    """Compare the gradients of ``func`` with central differences, at ``inputs``.

    ``func``    a function of tensors, a ``Module`` (its parameters are checked too) or a ``Function``
    ``inputs``  a tensor or a tuple of them; those that require a gradient are checked, and must be float64
    A gradient a passes against the difference n if |a - n| <= atol + rtol · |n|. Outputs that are not floating do not
    count; a floating output that requires no gradient counts as one whose gradient is 0.

    The report is true if everything passed; otherwise it is the text of the GradcheckError that is raised.
    Costs two calls of ``func`` for every element of every input.

    >>> import minivgg
    >>> x = minivgg.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    >>> report = gradcheck(lambda x: x.exp() * 3, x)
    >>> bool(report), report.elements, report.max_error < 1e-8
    (True, 2, True)
    """
    return _verdict(raise_exception, check_leaves(*_read(func, inputs), 1, eps, atol, rtol, _name(func)))


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True
) -> GradcheckReport:  # fmt: skip
    """The same for the second derivative: check the gradient of ``func`` as a function of the inputs and its upstream gradient.

    >>> import minivgg
    >>> x = minivgg.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    >>> [line.name for line in gradgradcheck(lambda x: x**3, x).inputs]
    ['input 0', 'grad_output 0']
    """
    return _verdict(raise_exception, check_leaves(*_read(func, inputs), 2, eps, atol, rtol, _name(func)))


def check_leaves(
    function: Callable[[], Any], leaves: Leaves, order: int, eps: float, atol: float, rtol: float, name: str, most: int | None = None
) -> GradcheckReport:  # fmt: skip
    """Check the derivative of the given order of ``function()``, which reads ``leaves``; they are moved and moved back in place.

    ``most`` limits the check to so many elements of each leaf, chosen at random.
    """
    if eps <= 0 or atol < 0 or rtol <= 0:
        raise ArgumentError("gradcheck", f"eps and rtol must be greater than 0, atol at least 0, got eps {eps}, rtol {rtol}, atol {atol}")
    start = time.perf_counter()
    for _ in range(order - 1):
        function, leaves = differentiated(function, leaves)
    problem = None if numpy.array_equal(_values(function), _values(function), equal_nan=True) else "two calls with the same inputs gave different results"
    upstream, analytic = [], []
    for seed in range(UPSTREAM):
        vectors, gradients = _vector_times_jacobian(function, leaves, seed)
        upstream.append(numpy.concatenate([vector.ravel() for vector in vectors]))
        analytic.append(gradients)
    lines = []
    for i, (label, leaf) in enumerate(leaves.items()):
        indices = _some_indices(leaf.shape, most)
        columns = jacobian_columns(function, leaf, indices, eps)
        pairs = [[(gradients[i][index], vector @ column) for gradients, vector in zip(analytic, upstream, strict=True)] for index, column in columns]
        lines.append(_compare(label, leaf.shape, indices, numpy.array(pairs), atol, rtol))
    return GradcheckReport(name, order, eps, atol, rtol, tuple(lines), problem, time.perf_counter() - start)


def jacobian_columns(function: Callable[[], Any], leaf: Tensor, indices: Iterable[Index], eps: float) -> Iterator[tuple[Index, numpy.ndarray]]:
    """For these elements of the leaf: the index, and the derivative of all outputs (one after the other, flat) with respect to it."""
    array = leaf.array
    for index in indices:
        value = array[index]
        try:
            array[index] = value + eps
            above, after = array[index], _values(function)
            array[index] = value - eps
            below, before = array[index], _values(function)
        finally:
            array[index] = value
        yield index, (after - before) / (above - below)  # the step that was really made, after rounding


def differentiated(function: Callable[[], Any], leaves: Leaves) -> tuple[Callable[[], Any], Leaves]:
    """The gradient of a function as a function, with its upstream gradient among the leaves."""
    rng = numpy.random.default_rng(UPSTREAM)
    outputs = _floating(function())
    upstream = {f"grad_output {i}": Tensor(numpy.asarray(rng.standard_normal(out.shape)), requires_grad=True) for i, out in enumerate(outputs)}
    inputs = list(leaves.values())

    def gradient() -> list[Tensor]:
        create_graph = is_grad_enabled()
        with enable_grad():
            return _gradients(_floating(function()), inputs, list(upstream.values()), create_graph)

    return gradient, {**leaves, **upstream}


def _gradients(outputs: list[Tensor], inputs: list[Tensor], vectors: list[Tensor], create_graph: bool = False) -> list[Tensor]:
    roots = [(out, vector) for out, vector in zip(outputs, vectors, strict=True) if out.requires_grad]
    if not roots:
        return [Tensor(numpy.zeros_like(leaf.array)) for leaf in inputs]
    return list(grad([out for out, _ in roots], inputs, [vector for _, vector in roots], create_graph=create_graph, materialize_grads=True))  # type: ignore[arg-type]


def _vector_times_jacobian(function: Callable[[], Any], leaves: Leaves, seed: int) -> tuple[list[numpy.ndarray], list[numpy.ndarray]]:
    """A random upstream gradient, and what backward makes of it."""
    rng = numpy.random.default_rng(seed)
    outputs = _floating(function())
    vectors = [numpy.asarray(rng.standard_normal(out.shape)) for out in outputs]
    gradients = _gradients(outputs, list(leaves.values()), [Tensor(vector) for vector in vectors])
    return vectors, [gradient.array for gradient in gradients]


def _floating(result: Any) -> list[Tensor]:
    return [out for out in tensors_of(result) if out.dtype in FLOATING]


def _values(function: Callable[[], Any]) -> numpy.ndarray:
    """All floating outputs in one flat copy (outputs may be views of the leaf that is about to move)."""
    with no_grad():
        return numpy.concatenate([out.array.ravel() for out in _floating(function())])


def _some_indices(shape: Index, most: int | None) -> list[Index]:
    """All indices, or ``most`` of them at random."""
    indices = list(numpy.ndindex(shape))
    if most is None or len(indices) <= most:
        return indices
    return [indices[i] for i in numpy.random.default_rng(0).choice(len(indices), most, replace=False)]


def _compare(name: str, shape: Index, indices: list[Index], pairs: numpy.ndarray, atol: float, rtol: float) -> InputReport:
    """The line of one input, from ``pairs[element, upstream gradient] = analytic, numeric``.

    The error |a - n| / (|n| + atol / rtol) is at most rtol exactly where |a - n| <= atol + rtol · |n|.
    """
    if not indices:
        return InputReport(name, shape, 0, 0.0, None, None, None, True)
    analytic, numeric = pairs[..., 0], pairs[..., 1]
    with numpy.errstate(all="ignore"):
        difference = numpy.abs(analytic - numeric)
        error = numpy.where(difference == 0, 0.0, difference / (numpy.abs(numeric) + atol / rtol))
    error = numpy.where(numpy.isnan(error), numpy.inf, error)
    worst = numpy.unravel_index(int(error.argmax()), error.shape)
    largest = float(error[worst])
    return InputReport(name, shape, len(indices), largest, indices[worst[0]], float(analytic[worst]), float(numeric[worst]), largest <= rtol)


def _read(func: Any, inputs: Any) -> tuple[Callable[[], Any], Leaves]:
    """The call, on copies of the inputs, and what to differentiate by."""
    copies, leaves = [], {}
    for i, value in enumerate(inputs if isinstance(inputs, tuple | list) else (inputs,)):
        if isinstance(value, Tensor) and value.requires_grad:
            value = leaves[f"input {i}"] = Tensor(value.array.copy(order="K"), requires_grad=True)
        copies.append(value)
    if isinstance(func, Module):
        leaves |= {name: parameter for name, parameter in func.named_parameters() if parameter.requires_grad}
    if isinstance(func, type) and issubclass(func, Function):
        func = func.apply
    if not leaves:
        raise ArgumentError("gradcheck", "at least one input must require a gradient; pass tensors with requires_grad=True")
    for name, leaf in leaves.items():
        if leaf.dtype != numpy.float64:
            raise DtypeError("gradcheck", f"{name} is {leaf.dtype}; differences need the digits of float64")
    return lambda: func(*copies), leaves


def _name(func: Any) -> str:
    owner = getattr(func, "__self__", None)
    if isinstance(owner, type):  # MyFunction.apply
        return owner.__name__
    return getattr(func, "__name__", type(func).__name__)


def _verdict(raise_exception: bool, report: GradcheckReport) -> GradcheckReport:
    if raise_exception and not report:
        raise GradcheckError(report)
    return report
