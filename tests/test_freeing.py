"""Long graphs and their end: 100,000 operations run, and whatever was recorded is freed at once, without the garbage collector."""

import gc
import weakref

import numpy
import pytest

import minivgg
from minivgg import Function, nn

LENGTH = 100_000


@pytest.fixture(autouse=True)
def _no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def chain(x, length):
    for _ in range(length):
        x = x * 1.00001
    return x


def test_a_chain_of_100000_operations():
    x = minivgg.ones(4, dtype="float64", requires_grad=True)
    y = chain(x, LENGTH)
    nodes = [weakref.ref(y.grad_fn), weakref.ref(y.grad_fn.edges[0][0])]
    y.sum().backward()
    numpy.testing.assert_allclose(x.grad.numpy(), numpy.full(4, 1.00001**LENGTH), rtol=1e-9)
    del y
    assert [node() for node in nodes] == [None, None]


def test_a_chain_is_freed_without_ever_going_backward():
    x = minivgg.ones(4, requires_grad=True)
    first = x * 2
    node = weakref.ref(first.grad_fn)
    y = chain(first, 20_000)
    del first
    assert node() is not None
    del y
    assert node() is None


def test_grad_walks_a_long_chain_to_an_inner_result():
    x = minivgg.ones(2, dtype="float64", requires_grad=True)
    inner = x * 3
    (g,) = minivgg.autograd.grad(chain(inner, 20_000).sum(), inner)
    numpy.testing.assert_allclose(g.numpy(), numpy.full(2, 1.00001**20_000), rtol=1e-9)


def test_a_wide_sum_of_100000_terms():
    x = minivgg.ones(1, dtype="float64", requires_grad=True)
    total = x
    for _ in range(LENGTH):
        total = total + x
    total.backward()
    assert x.grad.item() == LENGTH + 1


# Freed at once --------------------------------------------------------------------------------------------------------


class Halves(Function):
    """Saves inputs, outputs and a number, and returns two outputs."""

    def forward(self, x):
        left, right = x / 2, x - x / 2
        self.save_for_backward(x, left, right, numpy.float64(0.5))
        return left, right

    def backward(self, grad_left, grad_right):
        _, _, _, half = self.saved_tensors
        return (grad_left + grad_right) * half


def arithmetic(x):
    return ((x * x + x).exp() / x).sum()


def saved_outputs(x):
    return x.exp().sqrt().exp().sum()


def views(x):
    return (x.reshape(2, 2).t()[0] * x.reshape(2, 2)[1].expand(3, 2)).sum()


def in_place(x):
    y = x * 2
    y.mul_(3)
    y[0] = x[1]
    y.relu_()
    return y.sum()


def in_place_into_a_constant(x):
    out = minivgg.zeros(2, 4, dtype="float64")
    out[0] = x
    out[1] = x * 2
    return (out * 1.5).sum()


def hooks(x):
    y = x * 2
    y.register_hook(lambda grad: grad * 2)
    z = y * y
    z.retain_grad()
    return z.sum()


def several_outputs(x):
    left, right = Halves.apply(x)
    return (left * right).sum()


def indexing(x):
    mask = minivgg.tensor([True, False, True, False])
    return x[mask].sum() + x[[0, 0, 1]].sum() + x.max() + x.max(dim=0).values + minivgg.where(mask, x, 0.0).sum()


def recorded_twice(x):
    (g,) = minivgg.autograd.grad(arithmetic(x), x, create_graph=True)
    return (g * g).sum()


def layers(x):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(2, 2)).double()
    return nn.functional.cross_entropy(model(x.reshape(1, 1, 2, 2).expand(2, 1, 2, 2)), minivgg.tensor([0, 1]))


def nothing(loss, x):
    pass


def backward(loss, x):
    loss.backward()


def backward_retained(loss, x):
    loss.backward(retain_graph=True)


def grad_recorded(loss, x):
    minivgg.autograd.grad(loss, x, create_graph=True)


def everything_reachable(tensor):
    """Weak references to every node behind a tensor."""
    found, stack = {}, [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found[id(node)] = weakref.ref(node)
            stack.extend(edge[0] for edge in node.edges if edge is not None and isinstance(edge[0], Function))
    return list(found.values())


FORMS = [arithmetic, saved_outputs, views, in_place, in_place_into_a_constant, hooks, several_outputs, indexing, recorded_twice, layers]


@pytest.mark.parametrize("use", [nothing, backward, backward_retained, grad_recorded], ids=lambda use: use.__name__)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_dropping_the_loss_frees_the_graph(form, use):
    x = minivgg.tensor([0.5, 1.0, 1.5, 2.0], dtype="float64", requires_grad=True)
    loss = form(x)
    nodes = everything_reachable(loss)
    assert len(nodes) >= 3
    use(loss, x)
    assert any(node() is not None for node in nodes)
    del loss
    assert [node() for node in nodes if node() is not None] == []


def test_backward_frees_saved_arrays_while_the_loss_lives():
    x = minivgg.ones(4, requires_grad=True)
    y = x.exp()
    saved = weakref.ref(y.array)
    loss = (y * 2).sum()
    del y
    assert saved() is not None
    loss.backward()
    assert saved() is None


def test_a_recorded_gradient_keeps_the_graph_and_lets_it_go():
    x = minivgg.ones(4, requires_grad=True)
    y = x.exp()
    node = weakref.ref(y.grad_fn)
    (g,) = minivgg.autograd.grad(y.sum(), x, create_graph=True)
    del y
    assert node() is not None
    del g
    assert node() is None


def test_a_refused_backward_leaves_nothing_behind():
    x = minivgg.ones(4, requires_grad=True)
    y = x.exp()
    loss = (y * y).sum()
    nodes = everything_reachable(loss)
    y.detach().add_(1)
    try:
        loss.backward()
    except RuntimeError as error:
        assert "changed in place" in str(error)  # noqa: PT017 pytest.raises would keep the frames alive
    del loss, y
    assert [node() for node in nodes if node() is not None] == []
