"""Arithmetic with broadcasting: add, sub, mul, div, neg; the operators of Tensor and their in-place forms.

What broadcasting copied in forward, backward adds up again (``sum_to``): if one value was used m times, its derivative
is the sum of m derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy

from minivgg.autograd import Function, Tensor, is_grad_enabled, method
from minivgg.errors import DtypeError, ShapeError
from minivgg.ops.arguments import check_tensors
from minivgg.ops.cast import clone
from minivgg.ops.inplace import copy_, in_place
from minivgg.ops.promotion import KINDS, Operand, operands
from minivgg.ops.reduce import sum_to
from minivgg.registry import ErrorSample, Operation, Sample


class Add(Function):
    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a + b

    def backward(self, grad):
        need_a, need_b = self.needs_input_grad
        return sum_to(grad, self.shapes[0]) if need_a else None, sum_to(grad, self.shapes[1]) if need_b else None


class Sub(Function):
    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a - b

    def backward(self, grad):
        need_a, need_b = self.needs_input_grad
        return sum_to(grad, self.shapes[0]) if need_a else None, sum_to(-grad, self.shapes[1]) if need_b else None


class Mul(Function):
    """Each side waits for the other's gradient only, so that ``x.mul_(2)`` may overwrite x."""

    def forward(self, a, b):
        need_a, need_b = self.needs_input_grad
        self.shapes = a.shape, b.shape
        self.save_for_backward(a if need_b else None, b if need_a else None)
        return a * b

    def backward(self, grad):
        a, b = self.saved_tensors
        need_a, need_b = self.needs_input_grad
        return sum_to(grad * b, self.shapes[0]) if need_a else None, sum_to(grad * a, self.shapes[1]) if need_b else None


class Div(Function):
    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        self.save_for_backward(a if self.needs_input_grad[1] else None, b)
        return a / b

    def backward(self, grad):
        a, b = self.saved_tensors
        need_a, need_b = self.needs_input_grad
        return sum_to(grad / b, self.shapes[0]) if need_a else None, sum_to(-grad * (a / b) / b, self.shapes[1]) if need_b else None


class Neg(Function):
    def forward(self, x):
        return -x

    def backward(self, grad):
        return -grad


def add(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input + alpha · other.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0]) + 1
    tensor([2., 3.])
    """
    return Add.apply(*operands("add", input, other if alpha == 1 else mul(other, alpha)))


def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input - alpha · other.

    >>> import minivgg
    >>> 3 - minivgg.tensor([1.0, 2.0])
    tensor([2., 1.])
    """
    _no_booleans("sub", input, other)
    return Sub.apply(*operands("sub", input, other if alpha == 1 else mul(other, alpha)))


def mul(input: Operand, other: Operand) -> Tensor:
    """input · other, elementwise.

    >>> import minivgg
    >>> minivgg.tensor([[1.0], [2.0]]) * minivgg.tensor([3.0, 4.0])
    tensor([[3., 4.],
            [6., 8.]])
    """
    return Mul.apply(*operands("mul", input, other))


def div(input: Operand, other: Operand) -> Tensor:
    """input / other, elementwise; integers become float32, a division by zero gives inf or nan.

    >>> import minivgg
    >>> minivgg.tensor([1, 2]) / 4
    tensor([0.2500, 0.5000])
    """
    return Div.apply(*operands("div", input, other, floating=True))


@method("neg", "__neg__")
def neg(input: Tensor) -> Tensor:
    """-input.

    >>> import minivgg
    >>> -minivgg.tensor([1.0, -2.0])
    tensor([-1.,  2.])
    """
    check_tensors("neg", input=input)
    _no_booleans("neg", input)
    return Neg.apply(input)


def _no_booleans(operation: str, *values: Operand) -> None:
    for value in values:
        if isinstance(value, bool) or getattr(value, "dtype", None) == "bool":
            raise DtypeError(operation, "takes numbers, got a boolean; use ~x, or x.to(minivgg.int64)")


def _in_place(function: Callable[..., Tensor], node: type[Function]) -> Callable[..., Tensor]:
    name = f"{function.__name__}_"

    def overwrite(input: Tensor, other: Operand, *, alpha: float = 1) -> Tensor:
        if node is Sub:
            _no_booleans(name, input, other)
        a, b = operands(name, input, other if alpha == 1 else mul(other, alpha), floating=node is Div)
        if KINDS[a.dtype.kind] > KINDS[input.dtype.kind]:
            raise DtypeError(name, f"the result would be {a.dtype}, which does not fit in a tensor of {input.dtype}")
        if a is input and node in (Mul, Div) and b.requires_grad and is_grad_enabled():
            a = clone(input)  # whose derivative is the old value
        return in_place(node, input, b) if a is input else copy_(input, node.apply(a, b))

    overwrite.__name__ = overwrite.__qualname__ = name
    overwrite.__doc__ = f"``{function.__name__}`` in place: the result takes on this tensor's dtype and must have its shape."
    return overwrite


for _operator, _function, _node in (("add", add, Add), ("sub", sub, Sub), ("mul", mul, Mul), ("truediv", div, Div)):
    _inplace = _in_place(_function, _node)
    method(_function.__name__, f"__{_operator}__")(_function)
    method(f"__r{_operator}__")(lambda self, other, function=_function: function(other, self))
    method(_inplace.__name__, f"__i{_operator}__")(_inplace)


def broadcasting_pairs(rng: numpy.random.Generator) -> Iterable[Sample]:
    """Equal shapes, every kind of broadcasting, no dimensions, no elements; positive, so that / and ** may use them."""
    for left, right in (((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (3,)), ((3, 1, 2), (4, 1)), ((), (2,)), ((), ()), ((0, 3), (1, 3))):
        yield Sample((rng.uniform(0.5, 2.0, left), rng.uniform(0.5, 2.0, right)))
    yield Sample((rng.uniform(0.5, 2.0, (2, 3)), 3))


def pair_errors(name: str) -> Callable[[], Iterable[ErrorSample]]:
    """What every function of two operands refuses."""

    def errors() -> Iterable[ErrorSample]:
        text = "shapes (2, 3) and (4,) do not broadcast: counted from the last, two dimensions must be equal or one of them 1"
        yield ErrorSample((numpy.zeros((2, 3)), numpy.zeros(4)), {}, ShapeError, f"{name}: {text}")
        yield ErrorSample((numpy.zeros(2), "3"), {}, DtypeError, f"{name}: takes tensors, arrays and numbers, got str")

    return errors


def _scaled(samples: Iterable[Sample]) -> Iterable[Sample]:
    yield from samples
    yield Sample((numpy.array([1.0, 2.0]), numpy.array([[0.5], [3.0]])), {"alpha": -2.5})


def _neg_errors() -> Iterable[ErrorSample]:
    yield ErrorSample((numpy.ones(2, bool),), {}, DtypeError, "neg: takes numbers, got a boolean; use ~x, or x.to(minivgg.int64)")


Operation(
    add,
    shapes="..., ... -> ...",
    samples=lambda rng: _scaled(broadcasting_pairs(rng)),
    oracle=lambda a, b, alpha=1: numpy.add(a, numpy.multiply(alpha, b)),
    errors=pair_errors("add"),
    torch="add",
)
Operation(
    sub,
    shapes="..., ... -> ...",
    samples=lambda rng: _scaled(broadcasting_pairs(rng)),
    oracle=lambda a, b, alpha=1: numpy.subtract(a, numpy.multiply(alpha, b)),
    errors=pair_errors("sub"),
    torch="sub",
)
Operation(mul, shapes="..., ... -> ...", samples=broadcasting_pairs, oracle=numpy.multiply, errors=pair_errors("mul"), torch="mul")
Operation(div, shapes="..., ... -> ...", samples=broadcasting_pairs, oracle=numpy.divide, errors=pair_errors("div"), torch="div")
Operation(
    neg,
    shapes="* -> *",
    samples=lambda rng: [Sample((rng.standard_normal(shape),)) for shape in ((2, 3), (), (0, 2))],
    oracle=numpy.negative,
    errors=_neg_errors,
    torch="neg",
)
