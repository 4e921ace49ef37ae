"""Optimisers and clip_grad_norm_: step by step against PyTorch, in float64; checkpoints, groups, refusals."""

import copy
import math
import warnings

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minivgg
from minivgg.errors import ArgumentError, DtypeError, GraphError, ShapeError
from minivgg.nn.utils import clip_grad_norm_
from minivgg.optim import SGD, Adam, AdamW, RMSprop

few = settings(max_examples=40, deadline=None)

SHAPES = [(3, 4), (5,), ()]
fractions = st.sampled_from([0.0, 0.3, 0.9])
decays = st.sampled_from([0.0, 5e-4, 0.1])
betas = st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.5, 0.9)])

sgd = st.fixed_dictionaries(
    {
        "lr": st.sampled_from([0.0, 0.01, 0.3]), "momentum": fractions, "dampening": fractions, "weight_decay": decays,
        "nesterov": st.booleans(), "maximize": st.booleans(),
    }
).filter(lambda options: not options["nesterov"] or (options["momentum"] > 0 and options["dampening"] == 0))  # fmt: skip
adam = st.fixed_dictionaries(
    {
        "lr": st.sampled_from([1e-3, 0.3]), "betas": betas, "eps": st.sampled_from([1e-8, 1e-2]), "weight_decay": decays,
        "amsgrad": st.booleans(), "maximize": st.booleans(),
    }
)  # fmt: skip
rmsprop = st.fixed_dictionaries(
    {
        "lr": st.sampled_from([1e-2, 0.3]), "alpha": st.sampled_from([0.5, 0.99]), "eps": st.sampled_from([1e-8, 1e-2]), "weight_decay": decays,
        "momentum": fractions, "centered": st.booleans(), "maximize": st.booleans(),
    }
)  # fmt: skip
CASES = {"SGD": sgd, "Adam": adam, "AdamW": adam, "RMSprop": rmsprop}


def set_gradients(params, rng):
    """Random gradients; now and then a parameter has none."""
    for p in params:
        gradient = rng.standard_normal(tuple(p.shape)) * 10 ** rng.uniform(-1, 1)
        p.grad = None if rng.random() < 0.2 else (minivgg if isinstance(p, minivgg.Tensor) else torch).tensor(gradient, dtype=p.dtype)


def both(shapes, seed, dtype="float64"):
    """The same parameters in both libraries."""
    arrays = [numpy.asarray(numpy.random.default_rng(seed).standard_normal(shape), dtype) for shape in shapes]
    return [minivgg.tensor(array, requires_grad=True) for array in arrays], [torch.tensor(array, requires_grad=True) for array in arrays]


def assert_equal_parameters(ours, theirs, rtol=1e-12, atol=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        numpy.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=atol)


@few
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("name", CASES)
def test_forty_steps_are_pytorch_s(name, data, seed):
    """Two groups with options of their own, gradients missing at times, a learning rate that changes on the way."""
    options, special = data.draw(CASES[name]), {"lr": 0.05, "weight_decay": 0.01}
    ours, theirs = both(SHAPES, seed)
    optimizers = [
        getattr(library, name)([{"params": params[:1]}, {"params": params[1:], **special}], **options)
        for library, params in ((minivgg.optim, ours), (torch.optim, theirs))
    ]
    generators = [numpy.random.default_rng(seed), numpy.random.default_rng(seed)]
    for step in range(40):
        for params, optimizer, rng in zip((ours, theirs), optimizers, generators, strict=True):
            set_gradients(params, rng)
            if step == 20:
                optimizer.param_groups[0]["lr"] /= 10
            optimizer.step()
        assert_equal_parameters(ours, theirs)


@few
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_continues_to_the_same_bits(name, data, seed):
    options = data.draw(CASES[name])
    params, theirs = both(SHAPES, seed)
    optimizer = getattr(minivgg.optim, name)(params, **options)
    rng = numpy.random.default_rng(seed)
    for _ in range(5):
        set_gradients(params, rng)
        optimizer.step()
    saved, resumed = copy.deepcopy(optimizer.state_dict()), [minivgg.tensor(p.array, requires_grad=True) for p in params]
    other = getattr(minivgg.optim, name)(resumed, lr=123.0)
    other.load_state_dict(optimizer.state_dict())
    generators = [copy.deepcopy(rng), copy.deepcopy(rng)]
    for _ in range(5):
        for tensors, taking, generator in zip((params, resumed), (optimizer, other), generators, strict=True):
            set_gradients(tensors, generator)
            taking.step()
    for a, b in zip(params, resumed, strict=True):
        assert minivgg.equal(a, b)
    again = getattr(minivgg.optim, name)(theirs_as_ours(theirs), **options)
    again.load_state_dict(saved)
    for got, expected in zip(again.state_dict()["state"].values(), saved["state"].values(), strict=True):
        assert all(minivgg.equal(value, expected[key]) if isinstance(value, minivgg.Tensor) else value == expected[key] for key, value in got.items())


def theirs_as_ours(tensors):
    return [minivgg.tensor(tensor.detach().numpy(), requires_grad=True) for tensor in tensors]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9}), ("SGD", {}), ("Adam", {}), ("Adam", {"amsgrad": True}), ("AdamW", {}), ("RMSprop", {}),
        ("RMSprop", {"momentum": 0.5, "centered": True}),
    ],
)  # fmt: skip
def test_state_dicts_have_pytorch_s_form(name, options):
    """The same names of state entries, options and parameter numbers; torch's own extra options aside."""
    ours, theirs = both(SHAPES, 0)
    dicts = []
    for library, params in ((minivgg.optim, ours), (torch.optim, theirs)):
        optimizer = getattr(library, name)([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}], **options)
        set_gradients(params, numpy.random.default_rng(1))
        optimizer.step()
        dicts.append(optimizer.state_dict())
    mine, torchs = dicts
    assert mine.keys() == torchs.keys()
    state = {i: set(entries) for i, entries in mine["state"].items()}
    # RMSprop counts its steps in torch, but never reads the number
    assert state == {i: set(entries) - ({"step"} if name == "RMSprop" else set()) for i, entries in torchs["state"].items()}
    for a, b in zip(mine["param_groups"], torchs["param_groups"], strict=True):
        assert {key: b[key] for key in a} == a


@pytest.mark.parametrize("name", CASES)
def test_positional_arguments_and_defaults_are_pytorch_s(name):
    ours, theirs = both(SHAPES, 0)
    for arguments in ((), (0.5,), {"SGD": (0.5, 0.9, 0.1, 0.2), "RMSprop": (0.5, 0.9, 1e-3, 0.1, 0.2, True)}.get(name, (0.5, (0.8, 0.9), 1e-3, 0.1, True))):
        mine, torchs = getattr(minivgg.optim, name)(ours, *arguments).defaults, getattr(torch.optim, name)(theirs, *arguments).defaults
        assert mine == {key: torchs[key] for key in mine}


@pytest.mark.parametrize("name", CASES)
def test_float32_stays_in_its_place(name):
    """No new memory for the parameter, no float64, not even in between from a learning rate that is a NumPy number."""
    results = []
    for number in (float, numpy.float64):
        (p,), _ = both([(4, 3)], 0, "float32")
        before, memory = p.array.copy(), p.array
        optimizer = getattr(minivgg.optim, name)([p], lr=number(0.1), weight_decay=number(0.1))
        for step in range(3):
            gradient = numpy.random.default_rng(step).standard_normal((4, 3)).astype("float32")
            p.grad = minivgg.tensor(gradient)
            optimizer.step()
            numpy.testing.assert_array_equal(p.grad.array, gradient, "the gradient is not the optimiser's to change")
        assert p.array is memory
        assert p.dtype == numpy.float32
        assert (p.array != before).all()
        assert all(value.dtype == numpy.float32 for value in optimizer.state[p].values() if isinstance(value, minivgg.Tensor))
        results.append(p.array)
    numpy.testing.assert_array_equal(*results)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.1}])
@pytest.mark.parametrize("turned", [False, True])
def test_large_and_transposed_parameters(turned, options):
    """More than one block, rows that do not divide evenly, memory in another order."""
    array = numpy.random.default_rng(0).standard_normal((10, 20_000))
    ours, theirs = minivgg.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    if turned:
        ours = minivgg.from_numpy(numpy.ascontiguousarray(array.T).T).requires_grad_()
    for library, p in ((minivgg, ours), (torch, theirs)):
        optimizer = library.optim.SGD([p], lr=0.1, **options)
        for step in range(3):
            p.grad = library.tensor(numpy.random.default_rng(step).standard_normal(array.shape))
            optimizer.step()
    assert_equal_parameters([ours], [theirs])


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_noticed_by_the_graph(name):
    p = minivgg.ones(3, requires_grad=True)
    loss = (p * p).sum()
    p.grad = minivgg.ones(3)
    getattr(minivgg.optim, name)([p]).step()
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()
    assert p.is_leaf
    assert p.requires_grad


def test_closure_and_zero_grad():
    p = minivgg.ones(2, requires_grad=True)
    optimizer = SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
    assert p.tolist() == [0.5, 0.5]
    p.grad = minivgg.tensor([math.nan, 1.0])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()
    assert p.tolist() == [0.5, 0.5]


def test_options_switched_on_later():
    """Momentum from the second step on, as in PyTorch; ``add_param_group`` in between."""
    ours, theirs = both([(2,), (3,)], 0)
    for library, params in ((minivgg, ours), (torch, theirs)):
        optimizer = library.optim.SGD(params[:1], lr=0.1)
        rng = numpy.random.default_rng(5)
        for step in range(4):
            if step == 2:
                optimizer.param_groups[0]["momentum"] = 0.9
                optimizer.add_param_group({"params": params[1], "lr": 1.0})
            set_gradients(params, rng)
            optimizer.step()
    assert_equal_parameters(ours, theirs)


@pytest.mark.parametrize("optimizer", [SGD, Adam, AdamW, RMSprop])
def test_a_gradient_of_another_parameter_is_refused(optimizer):
    """NumPy would broadcast it."""
    for gradient, error, text in (
        (minivgg.ones(1, 3), ShapeError, r"parameter 0 of a group has shape \(2, 3\), its gradient \(1, 3\)$"),
        (minivgg.ones(2, 3, dtype="float64"), DtypeError, "parameter 0 of a group is float32, its gradient float64$"),
    ):
        p = minivgg.ones(2, 3, requires_grad=True)
        p.grad = gradient
        with pytest.raises(error, match=f"^{optimizer.__name__}: {text}"):
            optimizer([p], lr=0.1).step()
        assert p.tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize("optimizer", [SGD, Adam, AdamW, RMSprop])
def test_numbers_beyond_the_largest_are_infinite_without_a_warning(optimizer):
    p = minivgg.tensor([3e38, math.nan, 1.0], requires_grad=True)
    p.grad = minivgg.tensor([3e38, 1.0, math.inf])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            optimizer([p], lr=1e10, weight_decay=1e10).step()
    assert not any(map(math.isfinite, p.tolist()))


def test_refusals():
    p, q = minivgg.ones(2, requires_grad=True), minivgg.ones(3, requires_grad=True)
    for make, text in [
        (lambda: SGD(p), "SGD: params must be a list of tensors or of groups, got one tensor; write [tensor]"),
        (lambda: SGD([]), "SGD: params is empty (a generator that was used up already?)"),
        (lambda: SGD([p, p]), "SGD: parameter 1 of a group occurs twice (shape (2,))"),
        (lambda: Adam([{"params": [p]}, {"params": p}]), "Adam: parameter 0 of a group occurs twice (shape (2,))"),
        (lambda: SGD([("weight", p)]), "SGD: parameter 0 of a group is a tuple, expected a tensor"),
        (lambda: SGD([p * 2]), "SGD: parameter 0 of a group was computed by Mul; only leaves are optimised (shape (2,))"),
        (
            lambda: SGD([{"params": [p], "learning_rate": 1}]),
            "SGD: unknown option 'learning_rate' in a group; there are lr, momentum, dampening, weight_decay, nesterov, maximize",
        ),
        (lambda: SGD([{"lr": 1}]), "SGD: a group must be a dict with 'params', got {'lr': 1}"),
        (lambda: SGD([p], lr=-1), "SGD: lr must be at least 0, got -1"),
        (lambda: SGD([p], lr=math.nan), "SGD: lr must be at least 0, got nan"),
        (lambda: SGD([{"params": [p], "momentum": -1}]), "SGD: momentum must be at least 0, got -1"),
        (lambda: SGD([p], weight_decay=-0.1), "SGD: weight_decay must be at least 0, got -0.1"),
        (lambda: SGD([p], nesterov=True), "SGD: nesterov needs momentum and no dampening, got momentum 0, dampening 0"),
        (lambda: Adam([p], betas=(0.9, 1.0)), "Adam: betas must be two numbers in [0, 1), got (0.9, 1.0)"),
        (lambda: SGD([p], lr="0.1"), "SGD: lr must be a number, got '0.1'"),
        (lambda: SGD([p], momentum=True), "SGD: momentum must be a number, got True"),
        (lambda: SGD([p], dampening=None), "SGD: dampening must be a number, got None"),
        (lambda: SGD([p], maximize=1), "SGD: maximize must be True or False, got 1"),
        (lambda: Adam([p], betas=3), "Adam: betas must be two numbers in [0, 1), got 3"),
        (lambda: Adam([p], betas=("a", 0.5)), "Adam: betas must be two numbers in [0, 1), got ('a', 0.5)"),
        (lambda: RMSprop([p], centered="x"), "RMSprop: centered must be True or False, got 'x'"),
        (lambda: AdamW([p], eps=-1), "AdamW: eps must be at least 0, got -1"),
        (lambda: RMSprop([p], alpha=-1), "RMSprop: alpha must be at least 0, got -1"),
        (lambda: SGD([p]).load_state_dict(SGD([p, q]).state_dict()), "SGD: the saved groups hold [2] parameters, this optimiser's [1]"),
    ]:
        with pytest.raises(ArgumentError) as caught:
            make()
        assert str(caught.value) == text
    p.grad = minivgg.ones(2)
    optimizer = SGD([p], momentum=0.9)
    optimizer.step()
    with pytest.raises(ShapeError, match=r"SGD: the saved momentum_buffer of parameter 0 has shape \(2,\), the parameter \(3,\)"):
        SGD([q]).load_state_dict(optimizer.state_dict())


def test_repr_shows_the_options():
    text = repr(SGD([minivgg.ones(1)], lr=0.1))
    assert text == repr(torch.optim.SGD([torch.ones(1)], lr=0.1)).replace("    differentiable: False\n    foreach: None\n    fused: None\n", "")


# Gradient clipping ----------------------------------------------------------------------------------------------------


@few
@given(norm_type=st.sampled_from([1.0, 2.0, 3.5, math.inf]), max_norm=st.floats(0, 20), seed=st.integers(0, 2**32 - 1), single=st.booleans())
def test_clip_grad_norm_is_pytorch_s(norm_type, max_norm, seed, single):
    ours, theirs = both(SHAPES, seed)
    norms = []
    for clip, params in ((clip_grad_norm_, ours), (torch.nn.utils.clip_grad_norm_, theirs)):
        set_gradients(params, numpy.random.default_rng(seed))
        params[0].grad = params[0].detach() * 2
        norms.append(clip(params[0] if single else iter(params), max_norm, norm_type).item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            numpy.testing.assert_allclose(a.grad.array, b.grad.numpy(), rtol=1e-12)


def test_clip_grad_norm_at_its_edges():
    p = minivgg.ones(2, requires_grad=True)
    assert clip_grad_norm_([p], 1.0).item() == 0
    p.grad = minivgg.tensor([math.inf, 1.0])
    with pytest.raises(GraphError, match="the norm of the gradients is inf, which cannot be clipped"):
        clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    clip_grad_norm_(p, 1.0)
    assert math.isnan(p.grad.tolist()[0])
    assert p.grad.tolist()[1] == 0
    p.grad = minivgg.tensor([3.0, 4.0])
    assert clip_grad_norm_(p, 1.0).dtype == p.grad.dtype == numpy.float32
