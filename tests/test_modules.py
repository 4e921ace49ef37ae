"""Modules as containers of parameters: registration, state, hooks, lists and sequences, judged by PyTorch."""

import copy
import pickle

import numpy
import pytest
import torch

import minivgg
from minivgg import nn

# Registration and walking ---------------------------------------------------------------------------------------------


def nested(library, tensor):
    """A network with sharing, buffers of both kinds, a missing module and nesting, in either library."""

    class Inner(library.Module):
        def __init__(self, shared):
            super().__init__()
            self.linear = library.Linear(2, 3)
            self.shared = shared
            self.register_buffer("kept", tensor([1.0, 2.0]))
            self.register_buffer("dropped", tensor([3.0]), persistent=False)
            self.register_parameter("absent", None)

    class Outer(library.Module):
        def __init__(self):
            super().__init__()
            self.scale = library.Parameter(tensor([1.5]))
            self.body = library.Sequential(Inner(library.ReLU()), library.BatchNorm2d(2))
            self.again = self.body[0]
            self.tied = library.Linear(2, 3)
            self.tied.weight = self.body[0].linear.weight
            self.hole = None
            self.list = library.ModuleList([library.Conv2d(1, 1, 1)])

    return Outer()


@pytest.fixture
def pair():
    return nested(nn, minivgg.tensor), nested(torch.nn, torch.tensor)


@pytest.mark.parametrize(
    "names",
    [
        lambda m: [name for name, _ in m.named_modules()],
        lambda m: [name for name, _ in m.named_modules(prefix="net", remove_duplicate=False)],
        lambda m: [name for name, _ in m.named_parameters()],
        lambda m: [name for name, _ in m.named_parameters(prefix="net", recurse=False)],
        lambda m: [name for name, _ in m.named_parameters(remove_duplicate=False)],
        lambda m: [name for name, _ in m.named_buffers()],
        lambda m: [name for name, _ in m.named_buffers(recurse=False)],
        lambda m: [name for name, _ in m.named_children()],
        lambda m: list(m.state_dict()),
        lambda m: list(m.state_dict(prefix="net.")) if isinstance(m, torch.nn.Module) else [f"net.{name}" for name in m.state_dict()],
        lambda m: len(list(m.parameters())),
        lambda m: len(list(m.modules())),
        lambda m: len(list(m.children())),
        lambda m: len(list(m.buffers())),
        lambda m: type(m.get_submodule("body.0.linear")).__name__,
        lambda m: m.get_submodule("") is m,
        lambda m: tuple(m.get_parameter("body.0.linear.bias").shape),
        repr,
    ],
)
def test_walking_finds_what_pytorch_finds(pair, names):
    ours, theirs = pair
    assert names(ours) == names(theirs)


def test_walking_to_what_is_not_there(pair):
    ours, _ = pair
    for target in ("body.7", "body.0.none", "hole"):
        with pytest.raises(AttributeError, match="no module"):
            ours.get_submodule(target)
    with pytest.raises(AttributeError, match=r"Outer: there is no parameter 'body\.0\.absent'"):
        ours.get_parameter("body.0.absent")
    with pytest.raises(AttributeError, match="'Outer' object has no attribute 'missing'"):
        _ = ours.missing


def test_registration_by_assignment():
    module = nn.Module()
    module.weight = nn.Parameter(minivgg.ones(2))
    module.register_buffer("state", minivgg.zeros(1))
    module.state = minivgg.ones(1)
    assert list(module.state_dict()) == ["weight", "state"]
    with pytest.raises(TypeError, match="'weight' is a Parameter, to be set to another one or None, got Tensor"):
        module.weight = minivgg.ones(2)
    with pytest.raises(TypeError, match="'state' is a Tensor, to be set to another one or None, got int"):
        module.state = 3
    module.weight = None
    assert module.weight is None
    module.state = nn.ReLU()  # a module takes the name over
    assert (list(module.state_dict()), [name for name, _ in module.named_children()]) == ([], ["state"])
    del module.state
    assert not hasattr(module, "state")
    module.plain = minivgg.ones(1)  # a tensor that was not registered is an ordinary attribute
    assert list(module.state_dict()) == []
    with pytest.raises(ValueError, match="not taken"):
        module.register_parameter("plain", nn.Parameter(minivgg.ones(1)))


def test_forgotten_super_is_named():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    with pytest.raises(AttributeError, match=r"Forgetful: 'layer' was assigned before super\(\).__init__\(\) was called"):
        Forgetful()


# State ----------------------------------------------------------------------------------------------------------------


def test_state_goes_to_pytorch_and_back(pair):
    ours, theirs = pair
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    theirs.load_state_dict({name: torch.tensor(tensor.numpy()) for name, tensor in ours.state_dict().items()})
    for name, tensor in ours.state_dict().items():
        assert tensor.numpy().tolist() == theirs.state_dict()[name].tolist(), name
    assert repr(ours.load_state_dict(ours.state_dict())) == "<All keys matched successfully>"


def test_state_shares_memory_and_loading_copies():
    layer = nn.Linear(2, 2)
    state = layer.state_dict()
    assert not state["weight"].requires_grad
    state["weight"].fill_(7.0)
    assert layer.weight.tolist() == [[7.0, 7.0], [7.0, 7.0]]
    assert layer.state_dict(keep_vars=True)["weight"] is layer.weight
    weight = layer.weight
    layer.load_state_dict({"weight": numpy.ones((2, 2)), "bias": minivgg.zeros(2, dtype="float64")})
    assert layer.weight is weight
    assert (weight.dtype, weight.tolist()) == (numpy.float32, [[1.0, 1.0], [1.0, 1.0]])


def test_a_state_that_does_not_fit_is_described_in_full_and_changes_nothing():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    state = {"0.weight": numpy.zeros((3, 3)), "0.bias": numpy.zeros(3), "1.weight": numpy.zeros((1, 4)), "extra": numpy.zeros(1), "more": numpy.zeros(1)}
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(state)
    assert str(error.value) == (
        "load_state_dict: the state does not fit Sequential\n"
        "  missing: 1.bias\n"
        "  unexpected: extra\n"
        "  unexpected: more\n"
        "  0.weight has shape (3, 3), the module's (3, 2)\n"
        "  1.weight has shape (1, 4), the module's (1, 3)"
    )
    with pytest.raises(RuntimeError, match=r"0\.weight has shape") as error:
        model.load_state_dict(state, strict=False)
    assert "missing" not in str(error.value)
    assert {name: tensor.tolist() for name, tensor in model.state_dict().items()} == before
    keys = model.load_state_dict({"0.bias": numpy.full(3, 2.0), "extra": numpy.zeros(1)}, strict=False)
    assert keys == (["0.weight", "1.weight", "1.bias"], ["extra"])
    assert repr(keys) == "IncompatibleKeys(missing_keys=['0.weight', '1.weight', '1.bias'], unexpected_keys=['extra'])"
    assert model[0].bias.tolist() == [2.0] * 3


def test_cast_keeps_the_parameters_and_their_gradients():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    model(minivgg.randn(2, 1, 4, 4)).sum().backward()
    parameters = list(model.parameters())
    assert model.double() is model
    assert [a is b for a, b in zip(model.parameters(), parameters, strict=True)] == [True] * 4
    assert {tensor.dtype.name for p in parameters for tensor in (p, p.grad)} == {"float64"}
    assert {name: buffer.dtype.name for name, buffer in model.named_buffers()} == {
        "1.running_mean": "float64",
        "1.running_var": "float64",
        "1.num_batches_tracked": "int64",
    }
    assert model(minivgg.randn(2, 1, 4, 4, dtype="float64")).dtype == numpy.float64
    assert model.to("float32")[0].weight.dtype == model.float().to("cpu").cpu()[0].weight.dtype == numpy.float32
    assert model.to(minivgg.zeros(1, dtype="float64"))[0].bias.dtype == numpy.float64
    assert nn.Conv2d(1, 1, 1, dtype="float64").weight.dtype == nn.BatchNorm2d(1, dtype="float64").running_var.dtype == numpy.float64
    with pytest.raises(TypeError, match=r"Module\.to: a module can be cast to float16, float32 and float64, got int64"):
        model.to("int64")
    with pytest.raises(ValueError, match="there is no device 'tpu'"):
        model.to(device="tpu")


def test_modes_apply_freezing_and_zero_grad(pair):
    ours, theirs = pair
    for module in pair:
        module.body.eval()
    assert [m.training for m in ours.modules()] == [m.training for m in theirs.modules()]
    assert all(m.training for m in ours.train().modules())
    assert not any(m.training for m in ours.eval().modules())
    visited = [[], []]
    for module, names in zip(pair, visited, strict=True):
        assert module.apply(lambda m, names=names: names.append(type(m).__name__)) is module
    assert visited[0] == visited[1]
    ours.body.requires_grad_(False)
    theirs.body.requires_grad_(False)
    assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in theirs.parameters()]
    layer = nn.Linear(2, 2)
    layer(minivgg.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))], ids=["deepcopy", "pickle"])
def test_copies_are_equal_and_independent(clone):
    ours = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))).eval()
    ours[2][1].weight = ours[2][0].weight
    ours.append(ours[1])
    twin = clone(ours)
    assert repr(twin) == repr(ours)
    assert [name for name, _ in twin.named_parameters()] == [name for name, _ in ours.named_parameters()]
    assert twin[2][1].weight is twin[2][0].weight
    assert twin[3] is twin[1]
    assert isinstance(twin[0].weight, nn.Parameter)
    assert not twin.training
    assert twin.state_dict().keys() == ours.state_dict().keys()
    for name, tensor in ours.state_dict().items():
        assert not numpy.may_share_memory(tensor.numpy(), twin.state_dict()[name].numpy())
        assert tensor.tolist() == twin.state_dict()[name].tolist()
    twin.new = nn.ReLU()
    assert not hasattr(ours, "new")


# Hooks ----------------------------------------------------------------------------------------------------------------


def test_forward_hooks_see_and_replace():
    def run(library, ones):
        seen = []
        layer = library.Flatten()
        layer.register_forward_pre_hook(lambda m, args: seen.append(("before", tuple(args[0].shape))))
        changing = layer.register_forward_pre_hook(lambda m, args: args[0] * 2)
        layer.register_forward_hook(lambda m, args, out: seen.append(("after", args[0].tolist(), out.tolist())))
        replacing = layer.register_forward_hook(lambda m, args, out: out + 1)
        layer.register_forward_hook(lambda m, args, out: seen.append(("last", out.tolist())))
        results = [layer(ones(1, 1, 2)).tolist()]
        changing.remove()
        results.append(layer(ones(1, 1, 2)).tolist())
        replacing.remove()
        replacing.remove()
        with layer.register_forward_hook(lambda m, args, out: out * 10):
            results.append(layer(ones(1, 1, 2)).tolist())
        return seen, [*results, layer(ones(1, 1, 2)).tolist()]

    assert run(nn, minivgg.ones) == run(torch.nn, torch.ones)


def test_pre_hook_may_return_a_tuple():
    class Add(nn.Module):
        def forward(self, a, b):
            return a + b

    layer = Add()
    layer.register_forward_pre_hook(lambda m, args: (args[0], args[1] * 3))
    assert layer(minivgg.ones(1), minivgg.ones(1)).tolist() == [4.0]


def backward_trace(library, tensor, replace=False):
    """Hooks on every layer of a network in which the first layer's output is used twice; ours may work in place as well."""
    torch_like = library is torch.nn
    body = library.Sequential(library.Linear(3, 3), library.ReLU() if torch_like else library.ReLU(inplace=True), library.Linear(3, 2, bias=False)).double()
    weights = numpy.linspace(-1, 1, 9).reshape(3, 3)
    body.load_state_dict({"0.weight": tensor(weights), "0.bias": tensor([0.1, 0.2, 0.3]), "2.weight": tensor(weights[:2])})
    trace = []

    def hook(module, grad_input, grad_output):
        trace.append(
            (type(module).__name__, *([None if g is None else numpy.round(g.tolist(), 12).tolist() for g in grads] for grads in (grad_input, grad_output)))
        )
        return (grad_input[0] * 2,) if replace and grad_input[0] is not None else None

    handles = [layer.register_full_backward_hook(hook) for layer in [*body, body]]
    x = tensor([[1.0, -2.0, 0.5]]).double().requires_grad_()
    y = body(x * 2)
    (y.sum() + (x * x).sum()).backward()
    trace.append(numpy.round(x.grad.tolist(), 12).tolist())
    trace.append([numpy.round(p.grad.tolist(), 12).tolist() for p in body.parameters()])
    body(tensor([[1.0, 1.0, 1.0]]).double()).sum().backward()  # an input without a gradient
    for handle in handles:
        handle.remove()
    body(x).sum().backward()
    return trace


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # PyTorch, where no input requires a gradient
def test_backward_hooks_see_what_pytorch_s_see(replace):
    ours, theirs = backward_trace(nn, minivgg.tensor, replace), backward_trace(torch.nn, torch.tensor, replace)
    assert ours == theirs
    assert len(ours) == 4 + 2 + 4


def test_backward_hook_on_several_inputs_and_outputs():
    def run(library, tensor):
        class Cross(library.Module):
            def forward(self, a, b, number):
                return a * b, a + b * number

        seen = []
        layer = Cross()
        layer.register_full_backward_hook(lambda m, gi, go: seen.append([None if g is None else g.tolist() for g in (*gi, *go)]))
        a, b = tensor([2.0]).requires_grad_(), tensor([3.0]).requires_grad_()
        first, second = layer(a, b, 4.0)
        (first * 5 + second).sum().backward()
        return seen, a.grad.tolist()

    assert run(nn, minivgg.tensor) == run(torch.nn, torch.tensor)


def test_what_a_hooked_layer_returns_may_be_changed_in_place():
    """The softmax needs its output for backward; the hook's boundary hands on a copy, so that nothing is spoilt."""
    x = numpy.random.default_rng(3).standard_normal((2, 4))
    a, b = minivgg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    layer, seen = nn.Softmax(1), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append(go[0].tolist()))
    layer(a).sub_(0.25).relu_().sum().backward()
    (torch.softmax(b, 1) - 0.25).relu().sum().backward()
    numpy.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)
    assert seen == [(torch.softmax(b, 1) > 0.25).double().tolist()]


# Containers -----------------------------------------------------------------------------------------------------------


def edit(library):
    """One after the other, all that can be done with the two containers."""
    seq = library.Sequential(library.Linear(1, 2), library.ReLU(), library.Linear(2, 3))
    texts = [repr(seq[1:]), repr(seq[-1]), repr(seq[:0]), len(seq), [type(m).__name__ for m in seq]]
    seq[1] = library.Identity()
    texts.append(repr(seq.append(library.Flatten()).extend([library.ReLU(), library.ReLU()])))
    seq.insert(1, library.Softmax(1))
    del seq[0]
    texts.append(repr(seq))
    del seq[1:3]
    texts += [repr(seq), list(seq.state_dict())]
    items = library.ModuleList([library.Linear(1, 1)])
    items.append(library.ReLU()).extend([library.ReLU()])
    items.insert(0, library.Flatten())
    items[-1] = library.Identity()
    texts += [repr(items), repr(items[1:]), len(items), list(items.state_dict()), repr(items[-2])]
    return texts


def test_containers_are_edited_like_pytorch_s():
    assert edit(nn) == edit(torch.nn)


def test_containers_share_modules_with_their_slices_and_refuse_bad_numbers():
    seq = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    assert seq[:1][0] is seq[0]
    named = nn.Sequential({"first": nn.ReLU(), "second": nn.Flatten()})
    assert [name for name, _ in named[1:].named_children()] == ["second"]
    for number in (2, -3):
        with pytest.raises(IndexError, match=rf"Sequential: index must lie in \[-2, 1\], got {number}"):
            _ = seq[number]
    with pytest.raises(AttributeError, match="no attribute 'forward'"):
        nn.ModuleList([nn.ReLU()])(minivgg.ones(1))


def test_parameter_shares_memory_and_shows_itself():
    data = minivgg.ones(2)
    parameter = nn.Parameter(data)
    data.fill_(3.0)
    assert repr(parameter) == repr(torch.nn.Parameter(torch.tensor([3.0, 3.0])))
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="only float32 and float64"):
        nn.Parameter(minivgg.tensor([1]))
