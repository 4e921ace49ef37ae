"""The autograd core against PyTorch: leaves and accumulation, grad, modes, hooks, and what is refused."""

import threading

import pytest
from same_program import Programs, check_refusal, check_result, leaf

import minivgg
from minivgg import Function
from minivgg.errors import DtypeError, GraphError, ShapeError

programs = Programs()


# Leaves and accumulation ----------------------------------------------------------------------------------------------


@programs.returns
def leaves_and_results(library):
    x = leaf(library, 1.0, 2.0)
    constant = library.ones(2, dtype=library.float64)
    y = x * constant
    tensors = [x, constant, y, y.detach(), constant + 1, y > 1, y.clone(), x.detach().requires_grad_()]
    return [[t.is_leaf, t.requires_grad, t.grad_fn is None, t.grad is None] for t in tensors]


@programs.returns
def gradients_accumulate(library):
    x = leaf(library, 1.0, 2.0)
    results = []
    for _ in range(3):
        (x * x).sum().backward()
        results.append(x.grad.clone())
    x.grad = None
    (x * 3).sum().backward()
    return [*results, x.grad]


@programs.returns
def the_grad_tensor_stays_the_same_object(library):
    x = leaf(library, 1.0)
    (x * 2).backward()
    first = x.grad
    (x * 2).backward()
    return [x.grad is first, first]


@programs.returns
def one_tensor_many_uses(library):
    x = leaf(library, 1.0, 2.0)
    y = x * x + x * 3
    z = (y + x) * y
    z.sum().backward()
    return x.grad


@programs.returns
def broadcast_gradients(library):
    x, y = leaf(library, 2.0), leaf(library, 1.0, 2.0, 3.0)
    (x * y + x).sum().backward()
    return [x.grad, y.grad]


@programs.returns
def given_gradient(library):
    x = leaf(library, 1.0, 2.0)
    (x * x).backward(library.tensor([3.0, -1.0], dtype=library.float64))
    return x.grad


@programs.returns
def several_roots(library):
    x = leaf(library, 1.0, 2.0)
    y, z = x * 2, (x * x).sum()
    library.autograd.backward([y, z], [library.ones(2, dtype=library.float64), None])
    return x.grad


@programs.returns
def the_same_root_twice(library):
    x = leaf(library, 3.0)
    y = x * x
    library.autograd.backward([y, y])
    return x.grad


@programs.returns
def one_root_behind_another(library):
    x = leaf(library, 3.0)
    y = x * x
    library.autograd.backward([y, y * y])
    return x.grad


@programs.returns
def a_leaf_is_its_own_root(library):
    x = leaf(library, 3.0)
    x.backward()
    return x.grad


@programs.returns
def only_the_given_inputs(library):
    x, y = leaf(library, 2.0), leaf(library, 5.0)
    z = x * y
    (z * z).backward(inputs=[x])
    (x * y * 3).backward(inputs=x)
    return [x.grad, y.grad]


@programs.returns
def gradients_never_share_memory(library):
    a, b = leaf(library, 1.0, 2.0), leaf(library, 1.0, 2.0)
    upstream = library.ones(2, dtype=library.float64)
    seen = []
    total = a + b
    total.register_hook(seen.append)
    total.backward(upstream)
    a.grad.mul_(10)
    upstream.mul_(100)
    return [a.grad, b.grad, upstream, seen]


@programs.returns
def gradients_never_share_memory_with_what_a_hook_keeps(library):
    x = leaf(library, 1.0, 2.0)
    seen = []
    x.register_hook(seen.append)
    (x * 2).sum().backward()
    x.grad.mul_(10)
    return [x.grad, seen]


@programs.returns
def gradients_have_memory_of_their_own(library):
    x = leaf(library, 1.0, 2.0)
    x.sum().backward()
    x.grad.mul_(10)
    x.expand(3, 2).sum().backward()
    x.grad.mul_(10)
    return x.grad


@programs.returns
def gradients_never_share_memory_in_a_recorded_backward(library):
    a, b = leaf(library, 1.0, 2.0), leaf(library, 1.0, 2.0)
    (a + b).sum().backward(create_graph=True)
    with library.no_grad():
        a.grad.mul_(10)
    return [a.grad, b.grad, a.grad is b.grad]


@programs.returns
def retained_gradients_share_no_memory(library):
    a = leaf(library, 1.0, 2.0)
    b = a.clone()
    c = b.clone()
    b.retain_grad()
    c.retain_grad()
    c.sum().backward()
    c.grad.mul_(10)
    b.grad.mul_(100)
    return [a.grad, b.grad, c.grad]


# grad -----------------------------------------------------------------------------------------------------------------


@programs.returns
def grad_touches_no_leaf(library):
    x, y = leaf(library, 2.0), leaf(library, 5.0)
    (gx,) = library.autograd.grad(x * y, x)
    return [gx, x.grad, y.grad]


@programs.returns
def grad_of_inner_results(library):
    x = leaf(library, 2.0)
    y = x * x
    z = y * y
    return library.autograd.grad(z, [y, x, z, y])


@programs.returns
def grad_where_input_is_output(library):
    x = leaf(library, 2.0)
    y = x * 3
    return [*library.autograd.grad(x, x), *library.autograd.grad(y, y), *library.autograd.grad([y, x], [x, y, x])]


@programs.returns
def grad_of_unused_inputs(library):
    x, y = leaf(library, 2.0), leaf(library, 1.0, 5.0)
    loss = x * 3
    unused = library.autograd.grad(loss, [x, y], allow_unused=True, retain_graph=True)
    zeros = library.autograd.grad(loss, [x, y], materialize_grads=True)
    return [unused, zeros]


@programs.returns
def grad_with_a_generator_of_inputs(library):
    leaves = [leaf(library, 2.0), leaf(library, 5.0)]
    return library.autograd.grad(leaves[0] * leaves[1], (x for x in leaves))


@programs.returns
def grad_runs_only_what_leads_to_the_inputs(library):
    x, y = leaf(library, 2.0), leaf(library, 5.0)
    visited = []
    y.register_hook(lambda grad: visited.append("leaf"))
    side = y * y
    side.register_hook(lambda grad: visited.append("side"))
    main = x * x
    main.register_hook(lambda grad: visited.append("main"))
    (gx,) = library.autograd.grad(main * side, x, retain_graph=True)
    before = list(visited)
    side.backward(library.tensor(1.0, dtype=library.float64))  # the side branch was not freed
    return [gx, before, y.grad]


@programs.returns
def higher_orders(library):
    x = leaf(library, 1.5)
    found, y = [], x**4 * x.exp()
    for _ in range(5):
        (y,) = library.autograd.grad(y, x, create_graph=True)
        found.append(y)
    return found


@programs.returns
def mixed_second_derivatives(library):
    x, y = leaf(library, 1.0, 2.0), leaf(library, 3.0, 4.0)
    gx, gy = library.autograd.grad((x * x * y).sum(), [x, y], create_graph=True)
    return [gx.requires_grad, library.autograd.grad((gx * gy).sum(), [x, y])]


@programs.returns
def backward_of_a_recorded_gradient(library):
    x = leaf(library, 1.0, 2.0)
    (x**3).sum().backward(create_graph=True)
    first = x.grad
    x.grad = None
    (first * first).sum().backward()
    return [first, x.grad]


@programs.returns
def recorded_gradients_accumulate_with_their_graph(library):
    x = leaf(library, 2.0)
    (x**3).backward(create_graph=True)
    (x**2).backward(create_graph=True)
    return [x.grad, library.autograd.grad(x.grad, x)]


@programs.returns
def second_order_through_a_saved_output(library):
    x = leaf(library, 0.5, 1.0)
    y = x.exp()
    (g,) = library.autograd.grad((y * y).sum(), x, create_graph=True)
    return library.autograd.grad(g.sum(), [x, y])


@programs.returns
def second_order_when_one_array_comes_in_twice(library):
    x = leaf(library, 2.0, 3.0)
    constant = x.detach()
    (g,) = library.autograd.grad((x * constant * x).sum(), x, create_graph=True)
    return [g, *library.autograd.grad(g.sum(), x)]


@programs.returns
def second_order_through_an_upstream_gradient(library):
    x, upstream = leaf(library, 2.0, 3.0), leaf(library, 1.0, -1.0)
    (g,) = library.autograd.grad(x**3, x, upstream, create_graph=True)
    return library.autograd.grad(g.sum(), [x, upstream])


@programs.returns
def retained_graphs_can_be_walked_again(library):
    x = leaf(library, 2.0)
    y = x.exp() * x
    return [*library.autograd.grad(y, x, retain_graph=True), *library.autograd.grad(y, x, create_graph=True), *library.autograd.grad(y, x)]


@programs.returns
def nothing_saved_nothing_freed(library):
    x = leaf(library, 1.0, 2.0)
    y = (x + x).sum()
    y.backward()
    y.backward()
    return x.grad


# Recording or not -----------------------------------------------------------------------------------------------------


@programs.returns
def modes(library):
    x = leaf(library, 1.0)
    seen = [library.is_grad_enabled()]

    @library.no_grad()
    def silent(depth):
        seen.append(library.is_grad_enabled())
        if depth:
            silent(depth - 1)
        return x * 2

    @library.enable_grad()
    def loud():
        return x * 2

    @library.set_grad_enabled(False)
    def decorated():
        return x * 2

    seen.append(library.is_grad_enabled())
    seen += [silent(1).requires_grad, loud().requires_grad, decorated().requires_grad]
    with library.no_grad():
        seen += [(x * 2).requires_grad, loud().requires_grad, library.ones(1, requires_grad=True).requires_grad]
        with library.enable_grad():
            seen.append((x * 2).requires_grad)
            with library.set_grad_enabled(False):
                seen.append((x * 2).requires_grad)
            seen.append((x * 2).requires_grad)
        seen.append((x * 2).requires_grad)
    seen.append((x * 2).requires_grad)
    library.set_grad_enabled(False)
    seen.append((x * 2).requires_grad)
    library.set_grad_enabled(True)
    seen.append((x * 2).requires_grad)
    with pytest.raises(ZeroDivisionError), library.no_grad():
        1 / 0  # noqa: B018
    return [*seen, library.is_grad_enabled()]


@programs.returns
def every_thread_has_its_own_mode(library):
    seen = []
    with library.no_grad():
        thread = threading.Thread(target=lambda: seen.append(library.is_grad_enabled()))
        thread.start()
        thread.join()
        seen.append(library.is_grad_enabled())
    return seen


@programs.returns
def backward_under_no_grad(library):
    x = leaf(library, 1.0, 2.0)
    y = (x * x).sum()
    with library.no_grad():
        y.backward()
    return x.grad


# Hooks ----------------------------------------------------------------------------------------------------------------


@programs.returns
def hooks_see_and_replace(library):
    x = leaf(library, 1.0, 2.0)
    seen = []
    y = x * 2
    y.register_hook(lambda grad: grad * 10)
    y.register_hook(seen.append)
    x.register_hook(lambda grad: seen.append(grad))
    x.register_hook(lambda grad: grad + 1)
    (y * y).sum().backward()
    return [seen, x.grad]


@programs.returns
def a_leafs_hook_runs_once_with_the_sum(library):
    x = leaf(library, 1.0)
    seen = []
    x.register_hook(seen.append)
    (x * 2 + x * 3).backward()
    return [seen, x.grad]


@programs.returns
def hooks_can_be_removed(library):
    x = leaf(library, 1.0)
    seen = []
    y = x * 2
    handles = [t.register_hook(lambda grad, name=name: seen.append(name)) for t, name in ((x, "x"), (y, "y"), (y, "again"))]
    handles[1].remove()
    handles[1].remove()
    y.backward(retain_graph=True)
    for handle in handles:
        handle.remove()
    y.backward()
    return [seen, x.grad]


@programs.returns
def hooks_run_before_an_inner_gradient_is_returned(library):
    x = leaf(library, 1.0)
    y = x * 2
    y.register_hook(lambda grad: grad * 10)
    return library.autograd.grad(y * 3, y)


@programs.returns
def retained_gradients(library):
    x = leaf(library, 1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    y.register_hook(lambda grad: grad * 10)  # registered later, called earlier
    z = (y * y).sum()
    z.retain_grad()
    x.retain_grad()
    z.backward(retain_graph=True)
    first = [x.grad.clone(), y.grad.clone(), z.grad.clone()]
    z.backward()
    return [first, x.grad, y.grad, z.grad, [t.retains_grad for t in (x, y, z)]]


@programs.returns
def hooks_see_recorded_gradients(library):
    x = leaf(library, 2.0)
    seen = []
    y = x * x
    y.register_hook(lambda grad: seen.append(grad.requires_grad))
    library.autograd.grad(y * y, x, create_graph=True)
    library.autograd.grad(y * y, x)
    return seen


# Refusals -------------------------------------------------------------------------------------------------------------


@programs.refused(GraphError, "Exp: its saved arrays were freed by an earlier backward through this graph; pass retain_graph=True to that one")
def twice(library):
    y = leaf(library, 1.0).exp()
    y.backward()
    y.backward()


@programs.refused(
    GraphError,
    "backward: only a single element has an implied gradient of 1, this tensor has 2; pass the gradient, or reduce it with sum() or mean() (shape (2,))",
)
def not_a_single_element(library):
    (leaf(library, 1.0, 2.0) * 2).backward()


@programs.refused(GraphError, "backward: tensor 0 requires no gradient, and was not computed from one that does (or under no_grad) (shape (1,))")
def never_recorded(library):
    library.ones(1).backward()


@programs.refused(GraphError, "grad: tensor 0 requires no gradient, and was not computed from one that does (or under no_grad) (shape ())")
def recorded_nothing_under_no_grad(library):
    with library.no_grad():
        y = leaf(library, 1.0) * 2
    library.autograd.grad(y, y)


@programs.refused(GraphError, "grad: input 0, of shape (2,), was not used to compute the outputs; pass allow_unused=True to get None for it")
def unused_input(library):
    library.autograd.grad(leaf(library, 1.0) * 2, leaf(library, 1.0, 2.0))


@programs.refused(GraphError, "grad: tensor 0 requires no gradient, and was not computed from one that does (or under no_grad) (shape (3,))")
def input_without_gradient(library):
    library.autograd.grad(leaf(library, 1.0) * 2, library.ones(3))


@programs.refused(ShapeError, "backward: the gradient has shape (3,), the tensor (2,)")
def gradient_of_another_shape(library):
    (leaf(library, 1.0, 2.0) * 2).backward(library.ones(3))


@programs.refused(GraphError, "backward: got 2 outputs, but 1 gradients for them")
def too_few_gradients(library):
    x = leaf(library, 1.0)
    library.autograd.backward([x * 2, x * 3], [library.ones(())])


@programs.refused(ShapeError, "register_hook: a hook must return float64 of shape (), this one returned float64 of shape (2,)")
def hook_with_another_shape(library):
    x = leaf(library, 1.0)
    x.register_hook(lambda grad: library.ones(2, dtype=library.float64))
    (x * 2).backward()


@programs.refused(GraphError, "register_hook: this tensor does not require a gradient (shape (2,))")
def hook_without_gradient(library):
    library.ones(2).register_hook(print)


@programs.refused(GraphError, "retain_grad: this tensor does not require a gradient (shape (2,))")
def retain_without_gradient(library):
    library.ones(2).retain_grad()


@programs.refused(GraphError, "requires_grad: only a leaf can stop requiring a gradient, this tensor was made by Mul; use detach()")
def inner_result_stops_requiring(library):
    (leaf(library, 1.0) * 2).requires_grad = False


@programs.refused(DtypeError, "requires_grad: only float32 and float64 carry a gradient, this tensor is int64")
def integers_require_no_gradient(library):
    library.tensor([1, 2], requires_grad=True)


@pytest.mark.parametrize("program", programs.results)
def test_same_result(program):
    check_result(program)


@pytest.mark.parametrize(("program", "error", "message"), programs.refusals)
def test_same_refusal(program, error, message):
    check_refusal(program, error, message)


def test_an_exception_in_backward_leaves_the_mode_as_it_was():
    class Broken(Function):
        def forward(self, x):
            return x + 1

        def backward(self, grad):
            assert not minivgg.is_grad_enabled()
            raise ZeroDivisionError

    x = leaf(minivgg, 1.0)
    y = Broken.apply(x)
    with pytest.raises(ZeroDivisionError):
        y.backward()
    assert minivgg.is_grad_enabled()
    with minivgg.no_grad():
        with pytest.raises(ZeroDivisionError):
            y.backward()
        assert not minivgg.is_grad_enabled()
    assert x.grad is None
