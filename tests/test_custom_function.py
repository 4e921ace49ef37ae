"""Functions that a user writes: both styles, several outputs, what is saved, and the words for what is wrong."""

import numpy
import pytest
import torch

import minivgg
from minivgg import Function, Tensor
from minivgg.errors import GraphError, ShapeError


def leaf(*values):
    return minivgg.tensor(values if len(values) > 1 else values[0], dtype="float64", requires_grad=True)


class Cube(Function):
    """Plain methods."""

    def forward(self, x, factor):
        self.factor = factor
        self.save_for_backward(x)
        return factor * x**3

    def backward(self, grad):
        (x,) = self.saved_tensors
        return 3 * self.factor * x * x * grad, None


class StaticCube(Function):
    """PyTorch's form."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        ctx.save_for_backward(x)
        return factor * x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * ctx.factor * x * x * grad, None


@pytest.mark.parametrize("function", [Cube, StaticCube])
def test_both_styles_to_the_third_order(function):
    x = leaf(2.0, -1.0)
    y = function.apply(x, 0.5)
    (first,) = minivgg.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = minivgg.autograd.grad(first.sum(), x, create_graph=True)
    (third,) = minivgg.autograd.grad(second.sum(), x)
    assert [t.tolist() for t in (y, first, second, third)] == [[4.0, -0.5], [6.0, 1.5], [6.0, -3.0], [3.0, 3.0]]
    assert repr(y.grad_fn) == f"<{function.__name__}>"


class SineAndCosine(Function):
    """Two outputs, both saved, each the other's derivative."""

    def forward(self, x):
        sine, cosine = numpy.sin(x), numpy.cos(x)
        self.save_for_backward(sine, cosine)
        return sine, cosine

    def backward(self, grad_sine, grad_cosine):
        sine, cosine = self.saved_tensors
        return grad_sine * cosine - grad_cosine * sine


def both(x):
    return SineAndCosine.apply(x) if isinstance(x, Tensor) else (x.sin(), x.cos())


@pytest.mark.parametrize(
    "use", [lambda s, c: s * c, lambda s, c: s * 2, lambda s, c: c * c, lambda s, c: s * s + c * c], ids=["both", "first", "second", "one"]
)
def test_several_outputs_some_of_them_unused(use):
    derivatives = []
    for library in (minivgg, torch):
        x = library.tensor([0.3, -2.0], dtype=library.float64, requires_grad=True)
        found, y = [], use(*both(x)).sum()
        for _ in range(3):
            (g,) = library.autograd.grad(y, x, create_graph=True)
            found.append(g.detach().tolist())
            y = (g * g).sum()
        derivatives.append(found)
    numpy.testing.assert_allclose(*derivatives, rtol=1e-10, atol=1e-12)


class SortedWithOrder(Function):
    """An output of integers, and one that is marked."""

    def forward(self, x):
        order = numpy.argsort(x)
        self.save_for_backward(order)
        rank = numpy.argsort(order).astype(x.dtype)
        self.mark_non_differentiable(rank)
        return x[order], order, rank

    def backward(self, grad, *others):
        assert all((other.array == 0).all() for other in others)
        (order,) = self.saved_tensors
        return minivgg.zeros(*grad.shape, dtype=grad.dtype) + grad[order.argsort(0)] if hasattr(order, "argsort") else grad[Tensor(numpy.argsort(order.array))]


def test_outputs_without_gradient():
    x = leaf(3.0, 1.0, 2.0)
    values, order, rank = SortedWithOrder.apply(x)
    assert [t.requires_grad for t in (values, order, rank)] == [True, False, False]
    (values * minivgg.tensor([1.0, 10.0, 100.0], dtype="float64")).sum().backward()
    assert x.grad.tolist() == [100.0, 1.0, 10.0]


def test_needs_input_grad_says_what_is_wanted():
    asked = []

    class Product(Function):
        def forward(self, a, b, c):
            asked.append(self.needs_input_grad)
            self.save_for_backward(a, b)
            return a * b

        def backward(self, grad):
            asked.append(self.needs_input_grad)
            a, b = self.saved_tensors
            return grad * b, grad * a, None

    x, y = leaf(2.0), leaf(3.0)
    out = Product.apply(x, y, 7)
    minivgg.autograd.grad(out, x, retain_graph=True)
    minivgg.autograd.grad(out, y, retain_graph=True)
    out.backward()
    with minivgg.no_grad():
        Product.apply(x, y, 7)
    Product.apply(x.detach(), y, 7)
    assert asked == [(True, True, False), (True, False, False), (False, True, False), (True, True, False), (False,) * 3, (False, True, False)]
    assert (x.grad.item(), y.grad.item()) == (3.0, 2.0)


def test_gradients_that_nobody_asked_for_are_dropped():
    class Product(Function):
        def forward(self, a, b):
            self.save_for_backward(a, b)
            return a * b

        def backward(self, grad):
            a, b = self.saved_tensors
            return grad * b, grad * a

    x, y = leaf(2.0), leaf(3.0)
    visited = []
    y.register_hook(visited.append)
    inner = y * 1
    inner.register_hook(visited.append)
    for other in (y, inner):
        assert minivgg.autograd.grad(Product.apply(x, other), x)[0].item() == 3.0
    constant = minivgg.tensor(3.0, dtype="float64")
    Product.apply(x, constant).backward()
    assert (visited, x.grad.item(), constant.grad) == ([], 3.0, None)


def test_two_tensors_on_one_array_are_told_apart():
    x = leaf(2.0, 3.0)
    constant = Tensor(x.array)
    for product in (x * constant * x, constant * x * x):
        (g,) = minivgg.autograd.grad(product.sum(), x, create_graph=True)
        assert g.tolist() == [8.0, 18.0]
        assert minivgg.autograd.grad(g.sum(), x)[0].tolist() == [4.0, 6.0], "2 · constant, not 6 x"


class Passes(Function):
    """Returns the very array it was given."""

    def forward(self, x):
        return x

    def backward(self, grad):
        return grad


def test_an_input_handed_on_is_a_view():
    x = leaf(1.0, 2.0)
    y = Passes.apply(x)
    z = (x * y).sum()
    (g,) = minivgg.autograd.grad(z, x, create_graph=True)
    assert g.tolist() == [2.0, 4.0]
    assert minivgg.autograd.grad(g.sum(), x)[0].tolist() == [2.0, 2.0]
    base = minivgg.ones(2, dtype="float64")
    w = x * Passes.apply(base)
    base.add_(1)
    with pytest.raises(GraphError, match="changed in place"):
        w.sum().backward()


def test_saved_numbers_and_nothings():
    class Keeps(Function):
        def forward(self, x):
            self.save_for_backward(x, None, numpy.float64(3.0), x.sum())
            return x * 3

        def backward(self, grad):
            x, nothing, three, total = self.saved_tensors
            assert nothing is None
            assert (x.shape, three.shape, total.item()) == ((2,), (), 3.0)
            return grad * three

    x = leaf(1.0, 2.0)
    Keeps.apply(x).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_a_gradient_of_another_precision_is_cast():
    class Double(Function):
        def forward(self, x):
            return x * 2

        def backward(self, grad):
            return grad.double() * 2

    x = minivgg.ones(2, requires_grad=True)
    Double.apply(x).sum().backward()
    assert (x.grad.dtype, x.grad.tolist()) == (numpy.float32, [2.0, 2.0])


@pytest.mark.parametrize(
    ("returns", "error", "message"),
    [
        (lambda grad: (grad, grad), GraphError, "Bad: backward returned 2 gradients, forward took 1 arguments"),
        (lambda grad: grad.sum(), ShapeError, "Bad: backward must return a tensor of shape (2,) (or None) for argument 0, got a tensor of shape ()"),
        (lambda grad: 1.0, ShapeError, "Bad: backward must return a tensor of shape (2,) (or None) for argument 0, got a float"),
        (lambda grad: grad.numpy(), ShapeError, "Bad: backward must return a tensor of shape (2,) (or None) for argument 0, got a ndarray"),
    ],
)
def test_wrong_returns(returns, error, message):
    class Bad(Function):
        def forward(self, x):
            return x * 2

        def backward(self, grad):
            return returns(grad)

    with pytest.raises(error) as caught:
        Bad.apply(leaf(1.0, 2.0)).sum().backward()
    assert str(caught.value) == message


def test_no_gradient_at_all():
    class Stops(Function):
        def forward(self, x):
            return x * 2

        def backward(self, grad):
            return None

    x, y = leaf(1.0), leaf(2.0)
    (Stops.apply(x) * y).backward()
    assert x.grad is None
    assert y.grad.item() == 2.0
