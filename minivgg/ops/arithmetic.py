"""Arithmetic with broadcasting: add, sub, mul, div, neg, pow; the operators of Tensor and their in-place forms.

Two rules hold for all of them. Dtypes follow PyTorch: a Python number takes on the tensor's dtype, and an integer
tensor that meets a floating one becomes floating. And what broadcasting copied in forward, backward adds up again
(``sum_to``): if one value was used m times, its derivative is the sum of m derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, method
from minivgg.backend import FLOATING, is_array, namespace
from minivgg.errors import DtypeError, ShapeError
from minivgg.ops.cast import to
from minivgg.ops.reduce import sum_to
from minivgg.registry import ErrorSample, Operation, Sample

Operand = Any
"""A Tensor, an array, a NumPy scalar or a Python number."""


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
    def forward(self, a, b):
        self.save_for_backward(a, b)
        return a * b

    def backward(self, grad):
        a, b = self.saved_tensors
        need_a, need_b = self.needs_input_grad
        return sum_to(grad * b, a.shape) if need_a else None, sum_to(grad * a, b.shape) if need_b else None


class Div(Function):
    def forward(self, a, b):
        self.save_for_backward(a, b)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            return a / b

    def backward(self, grad):
        a, b = self.saved_tensors
        need_a, need_b = self.needs_input_grad
        return sum_to(grad / b, a.shape) if need_a else None, sum_to(-grad * (a / b) / b, b.shape) if need_b else None


class Neg(Function):
    def forward(self, x):
        return -x

    def backward(self, grad):
        return -grad


class Power(Function):
    """x ** number: d/dx = number · x^(number - 1)."""

    def forward(self, x, exponent):
        self.exponent = exponent
        self.save_for_backward(x)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            return x**exponent

    def backward(self, grad):
        (x,) = self.saved_tensors
        if self.exponent == 0:
            return grad * 0, None
        return grad * (self.exponent * x ** (self.exponent - 1)), None


class Pow(Function):
    """a ** b: d/da = b · a^(b - 1), d/db = a^b · ln a (0 where a is 0 and b is not negative)."""

    def forward(self, a, b):
        self.save_for_backward(a, b)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            return a**b

    def backward(self, grad):
        a, b = self.saved_tensors
        need_a, need_b = self.needs_input_grad
        grad_a = grad_b = None
        if need_a:
            zero = b.array == 0
            grad_a = sum_to(grad * (b * a ** (b - 1)).masked_fill(Tensor(zero), 0.0), a.shape)
        if need_b:
            vanishes = (a.array == 0) & (b.array >= 0)
            grad_b = sum_to(grad * (a**b * a.log()).masked_fill(Tensor(vanishes), 0.0), b.shape)
        return grad_a, grad_b


# Operands -------------------------------------------------------------------------------------------------------------


def operands(operation: str, a: Operand, b: Operand, floating: bool = False) -> tuple[Tensor, Tensor]:
    """Both sides as tensors of one dtype that broadcast; with ``floating``, integers become float32.

    >>> a, b = operands("add", Tensor(numpy.ones(2, "float32")), 2.5)
    >>> b
    tensor(2.5)
    """
    a = a if isinstance(a, Tensor) else _wrap(operation, a, b)
    b = b if isinstance(b, Tensor) else _wrap(operation, b, a)
    x, y = a.array, b.array
    if x.dtype != y.dtype or (floating and x.dtype not in FLOATING):
        dtype = _common_dtype(x, y)
        if floating and dtype not in FLOATING:
            dtype = numpy.dtype("float32")
        a, b = to(a, dtype), to(b, dtype)
    if x.shape != y.shape and x.shape and y.shape:
        try:
            numpy.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            raise ShapeError(operation, f"shapes {x.shape} and {y.shape} do not broadcast: counted from the last, two dimensions must be equal or one of them 1") from None
    return a, b


def _wrap(operation: str, value: Any, other: Any) -> Tensor:
    """An array as a tensor; a number as a tensor without dimensions, in the dtype of the other side if it is of its kind."""
    if is_array(value):
        return Tensor(value)
    if isinstance(value, numpy.generic):
        value = value.item()
    if not isinstance(value, bool | int | float):
        raise DtypeError(operation, f"takes tensors, arrays and numbers, got {type(value).__name__}")
    like = other.array if isinstance(other, Tensor) else numpy.asarray(other)
    dtype = like.dtype
    if isinstance(value, float) and dtype not in FLOATING:
        dtype = numpy.dtype("float32")
    elif dtype.kind == "b" and not isinstance(value, bool):
        dtype = numpy.dtype("int64")
    return Tensor(namespace(like).asarray(value, dtype=dtype))


def _common_dtype(x: Any, y: Any) -> numpy.dtype:
    """PyTorch's promotion: floats before integers before booleans; within a kind, tensors without dimensions give way."""
    rank = {"b": 0, "u": 1, "i": 1, "f": 2}
    kind_x, kind_y = rank.get(x.dtype.kind, 3), rank.get(y.dtype.kind, 3)
    if kind_x != kind_y:
        return x.dtype if kind_x > kind_y else y.dtype
    if bool(x.ndim) != bool(y.ndim):
        return x.dtype if x.ndim else y.dtype
    return numpy.promote_types(x.dtype, y.dtype)


# The functions --------------------------------------------------------------------------------------------------------


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
    tensor([0.25, 0.5 ])
    """
    return Div.apply(*operands("div", input, other, floating=True))


@method("neg", "__neg__")
def neg(input: Tensor) -> Tensor:
    """-input.

    >>> import minivgg
    >>> -minivgg.tensor([1.0, -2.0])
    tensor([-1.,  2.])
    """
    return Neg.apply(input)


@method("pow", "__pow__")
def pow(input: Operand, exponent: Operand) -> Tensor:
    """input ** exponent, elementwise.

    >>> import minivgg
    >>> minivgg.tensor([1.0, 2.0, 3.0]) ** 2
    tensor([1., 4., 9.])
    """
    if isinstance(input, Tensor) and isinstance(exponent, int | float):
        if isinstance(exponent, float) and input.dtype not in FLOATING:
            input = to(input, numpy.float32)
        return Power.apply(input, exponent)
    return Pow.apply(*operands("pow", input, exponent))


def _in_place(node: type[Function], name: str, floating: bool = False) -> Callable[..., Tensor]:
    def apply_(input: Tensor, other: Operand, *, alpha: float = 1) -> Tensor:
        a, b = operands(name, input, other if alpha == 1 else mul(other, alpha), floating)
        if a is not input:
            raise DtypeError(name, f"the result would be {a.dtype}, which does not fit in a tensor of {input.dtype}")
        return node.apply_(input, b)

    apply_.__name__ = apply_.__qualname__ = name
    apply_.__doc__ = f"``{name[:-1]}`` in place."
    return apply_


for _operator, _function, _node in (("add", add, Add), ("sub", sub, Sub), ("mul", mul, Mul), ("truediv", div, Div)):
    _inplace = _in_place(_node, f"{_function.__name__}_", floating=_function is div)
    method(_function.__name__, f"__{_operator}__")(_function)
    method(f"__r{_operator}__")(lambda self, other, function=_function: function(other, self))
    method(_inplace.__name__, f"__i{_operator}__")(_inplace)
method("__rpow__")(lambda self, other: pow(other, self))


# Records --------------------------------------------------------------------------------------------------------------


def _pairs(rng: numpy.random.Generator) -> Iterable[Sample]:
    """Equal shapes, every kind of broadcasting, no dimensions, no elements; away from 0, so that div may use them."""
    for left, right in (((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (3,)), ((), (2,)), ((), ()), ((0, 3), (1, 3))):
        yield Sample((rng.uniform(0.5, 2.0, left), rng.uniform(0.5, 2.0, right)))
    yield Sample((rng.uniform(0.5, 2.0, (2, 3)), 3))


def _unequal(name: str) -> Callable[[], Iterable[ErrorSample]]:
    def errors() -> Iterable[ErrorSample]:
        text = "shapes (2, 3) and (4,) do not broadcast: counted from the last, two dimensions must be equal or one of them 1"
        yield ErrorSample((numpy.zeros((2, 3)), numpy.zeros(4)), {}, ShapeError, f"{name}: {text}")
        yield ErrorSample((numpy.zeros(2), "3"), {}, DtypeError, f"{name}: takes tensors, arrays and numbers, got str")

    return errors


for _function, _oracle in ((add, numpy.add), (sub, numpy.subtract), (mul, numpy.multiply), (div, numpy.divide), (pow, numpy.power)):
    Operation(
        _function,
        shapes="..., ... -> ...",
        samples=_pairs,
        oracle=_oracle,
        errors=_unequal(_function.__name__),
        torch=_function.__name__,
    )
Operation(neg, shapes="* -> *", samples=lambda rng: [Sample((rng.standard_normal((2, 3)),))], oracle=numpy.negative, torch="neg")
