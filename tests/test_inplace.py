"""In-place operations against PyTorch: how they enter the graph, which changes are noticed, and which are refused."""

import numpy
import pytest
from same_program import Programs, check_refusal, check_result, leaf

import minivgg
from minivgg.errors import GraphError

programs = Programs()
CHANGED = "an array of shape (2,) that it saved for backward was changed in place afterwards (version 1, expected 0); clone() the tensor before changing it"


@programs.returns
def in_place_changes_enter_the_graph(library):
    x, w = leaf(library, 1.0, -2.0, 3.0), leaf(library, 2.0)
    y = x * 2
    y.mul_(3)
    y.add_(x).sub_(w, alpha=2).div_(4)
    y[1] = w * w
    y[library.tensor([True, False, False])] = 7.0
    y += x
    y *= w.detach()
    y.relu_()
    z = y * 2
    z.clamp_(max=20)
    z.sum().backward()
    return [y, z, x.grad, w.grad]


@programs.returns
def a_factor_that_requires_a_gradient(library):
    x, w, v = leaf(library, 1.0, -2.0, 3.0), leaf(library, 2.0), leaf(library, 4.0, 0.5, 2.0)
    y = x * 1
    y.mul_(w).div_(v)
    y *= v
    constant = library.tensor([1.0, 2.0, 3.0], dtype=library.float64)
    constant.mul_(w)
    (y * y + constant).sum().backward()
    return [y, x.grad, w.grad, v.grad]


@programs.returns
def filled_with_a_tensor(library):
    x, w = leaf(library, 1.0, 2.0), library.tensor(3.0, dtype=library.float64, requires_grad=True)
    y = x * 1
    y.fill_(w)
    (y * y).sum().backward()
    return [y, x.grad, w.grad]


@programs.returns
def a_constant_becomes_part_of_the_graph(library):
    x = leaf(library, 1.0, 2.0)
    out = library.zeros(2, 2, dtype=library.float64)
    before = out.requires_grad
    out[0] = x
    out[1] = x * x
    (out * out).sum().backward()
    return [before, out.requires_grad, out.is_leaf, x.grad]


@programs.returns
def overwritten_values_get_no_gradient(library):
    x, y = leaf(library, 1.0, 2.0), leaf(library, 3.0)
    z = x * 2
    z.copy_(y)
    z.sum().backward()
    w = x * 2
    w.fill_(5.0)
    (w * x).sum().backward()
    v = x * 2
    v.zero_()
    v.sum().backward()
    return [x.grad, y.grad]


@programs.returns
def second_order_through_in_place(library):
    x = leaf(library, 1.0, 2.0)
    y = x * x
    y.add_(x)
    y.mul_(3)
    y[0] = x[1] ** 3
    (g,) = library.autograd.grad((y * y).sum(), x, create_graph=True)
    return library.autograd.grad(g.sum(), x)


@programs.returns
def hooks_stay_with_the_value_they_were_registered_for(library):
    x = leaf(library, 1.0, 2.0)
    seen = []
    y = x * 2
    y.register_hook(seen.append)
    y.retain_grad()
    y.mul_(5)
    y.sum().backward()
    return [seen, y.grad, x.grad]


@programs.returns
def what_was_not_saved_may_change(library):
    x = leaf(library, 1.0, 2.0)
    y = x + 1
    z = y + 2
    y.mul_(10)
    z.sum().backward()
    return x.grad


@programs.returns
def leaves_may_change_under_no_grad(library):
    x = leaf(library, 1.0, 2.0)
    with library.no_grad():
        x.mul_(3)
        x[0] = 5.0
        x -= 1
    (x * x).sum().backward()
    return [x, x.grad, x.is_leaf]


@programs.returns
def data_changes_are_not_noticed(library):
    x = leaf(library, 1.0, 2.0)
    x.data.mul_(2)
    x.data = x.data + 1
    (x * x).sum().backward()
    return [x, x.grad, x.is_leaf]


@programs.returns
def views_of_a_changed_tensor(library):
    x = leaf(library, 1.0, 2.0, 3.0, 4.0)
    y = x * 1
    y[0] = 9.0
    view = y.reshape(2, 2)[1]
    (view * view).sum().backward()
    z = x.detach().clone()
    row = z.reshape(2, 2)[0]
    row.mul_(10)
    return [x.grad, z]


@programs.returns
def a_view_seen_before_a_silent_change_is_still_good(library):
    x = leaf(library, 1.0, 2.0)
    y = x * 1
    view = y[0]
    with library.no_grad():
        y.mul_(5)
    (view * 3).backward()
    return [view, x.grad]


@programs.returns
def detached_cuts_the_graph(library):
    x = leaf(library, 1.0, 2.0)
    y = x * 2
    y.detach_()
    (y * x).sum().backward()
    return [y.is_leaf, y.requires_grad, x.grad]


@programs.refused(GraphError, f"Mul: {CHANGED}")
def saved_input_changed(library):
    x = leaf(library, 1.0, 2.0)
    y = x * 2
    z = y * y
    y.add_(1)
    z.sum().backward()


@programs.refused(GraphError, f"Exp: {CHANGED}")
def saved_output_changed(library):
    y = leaf(library, 1.0, 2.0).exp()
    y.add_(1)
    y.sum().backward()


@programs.refused(GraphError, f"Mul: {CHANGED}")
def saved_input_changed_through_a_view(library):
    x = leaf(library, 1.0, 2.0)
    factor = library.ones(2, dtype=library.float64)
    y = x * factor
    factor[1:].mul_(3)
    y.sum().backward()


@programs.refused(GraphError, f"Mul: {CHANGED}")
def saved_view_changed_through_its_base(library):
    x = leaf(library, 1.0, 2.0)
    base = library.ones(4, dtype=library.float64)
    y = x * base[:2]
    base.zero_()
    y.sum().backward()


@programs.refused(GraphError, f"Mul: {CHANGED}")
def saved_input_changed_through_detach(library):
    x = leaf(library, 1.0, 2.0)
    y = x * 2
    z = y.exp() * y
    y.detach().mul_(3)
    z.sum().backward()


@programs.refused(GraphError, f"Mul: {CHANGED}")
def saved_view_changed_through_the_array_it_was_made_of(library):
    x = leaf(library, 1.0, 2.0)
    base = library.from_numpy(numpy.ones(4))
    y = x * base[:2]
    base.zero_()
    y.sum().backward()


@programs.refused(GraphError, f"Mul: {CHANGED}")
def saved_for_a_second_derivative_and_changed(library):
    x = leaf(library, 1.0, 2.0)
    y = x.exp()
    (g,) = library.autograd.grad(y.sum(), x, library.tensor(1.0, dtype=library.float64, requires_grad=True), create_graph=True)
    y.detach().add_(1)
    g.sum().backward()


@programs.refused(GraphError, f"Mul: {CHANGED}")
def saved_leaf_changed_under_no_grad(library):
    x = leaf(library, 1.0, 2.0)
    y = (x * x).sum()
    with library.no_grad():
        x.add_(1)
    y.backward()


@programs.refused(GraphError, f"Mul: {CHANGED}")
def saved_factor_is_the_tensor_itself(library):
    x = leaf(library, 1.0, 2.0) * 1
    x.mul_(x)
    x.sum().backward()


@programs.refused(GraphError, f"Where: {CHANGED}")
def saved_mask_changed(library):
    x, mask = leaf(library, 1.0, 2.0), library.tensor([True, False])
    y = library.where(mask, x, x * 2)
    mask[0] = False
    y.sum().backward()


@programs.refused(
    GraphError, "Mul in place: a leaf that requires a gradient cannot be changed in place; use no_grad() or an operation that returns a new tensor (shape (2,))"
)
def leaf_in_place(library):
    leaf(library, 1.0, 2.0).mul_(2)


@programs.refused(
    GraphError, "Set in place: a leaf that requires a gradient cannot be changed in place; use no_grad() or an operation that returns a new tensor (shape (2,))"
)
def leaf_item_in_place(library):
    leaf(library, 1.0, 2.0)[0] = 3.0


@programs.refused(
    GraphError, "Mul in place: a view cannot be changed in place in a graph; index the tensor that it is a view of (x[i] = ...), or clone() it (shape (1,))"
)
def view_of_a_leaf_in_place(library):
    leaf(library, 1.0, 2.0)[:1].mul_(2)


@programs.refused(
    GraphError,
    "Mul in place: a view cannot be changed in place in a graph; index the tensor that it is a view of (x[i] = ...), or clone() it (shape (1,))",
)
def view_taken_under_no_grad_in_place(library):
    x = leaf(library, 1.0, 2.0) * 1
    with library.no_grad():
        view = x[:2][:1]
    view.mul_(2)


@programs.refused(GraphError, "Mul in place: the memory of this tensor is read-only (expanded or frozen); clone() it first (shape (3,))")
def expanded_in_place(library):
    library.ones(1).expand(3).mul_(2)


@pytest.mark.parametrize("program", programs.results)
def test_same_result(program):
    check_result(program)


@pytest.mark.parametrize(("program", "error", "message"), programs.refusals)
def test_same_refusal(program, error, message):
    check_refusal(program, error, message)


# Where minivgg is stricter than PyTorch, or more exact -----------------------------------------------------------------


def test_a_view_from_before_a_recorded_change_must_be_taken_again():
    x = leaf(minivgg, 1.0, 2.0)
    y = x * 1
    view = y[:1]
    y.mul_(5)
    with pytest.raises(GraphError, match=r"^Mul: this view was taken before its tensor was changed in place; take the view again \(shape \(1,\)\)$"):
        view * 3
    constant = minivgg.zeros(2, dtype="float64")
    view = constant[:1]
    constant[1:] = x[1:]
    with pytest.raises(GraphError, match=r"^Exp: this view was taken before"):
        view.exp()
    with minivgg.no_grad():
        assert view.exp().tolist() == [1.0]


def test_a_view_in_place_where_pytorch_would_rebuild_the_graph():
    y = leaf(minivgg, 1.0, 2.0) * 1
    with pytest.raises(GraphError, match=r"^Mul in place: a view cannot be changed in place in a graph"):
        y[:1].mul_(2)


def test_new_data_under_a_graph_is_noticed():
    x = leaf(minivgg, 1.0, 2.0)
    y = (x * x).sum()
    x.data = minivgg.ones(2, dtype="float64")
    with pytest.raises(GraphError, match="changed in place"):
        y.backward()


def test_an_index_may_change_after_it_was_used():
    x = leaf(minivgg, 1.0, 2.0)
    index, mask = minivgg.tensor([0]), minivgg.tensor([True, False])
    y = x[index].sum() + 10 * x[mask].sum()
    index.fill_(1)
    mask.fill_(True)
    y.backward()
    assert x.grad.tolist() == [11.0, 0.0]
