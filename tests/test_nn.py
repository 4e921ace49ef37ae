"""Layers and their initialisation, judged by PyTorch: text, values, gradients, statistics."""

import collections
import math
import warnings

import numpy
import pytest
import torch

import minivgg
from minivgg import nn
from minivgg.errors import DtypeError

# Text -----------------------------------------------------------------------------------------------------------------

LAYERS = [
    "Conv2d(3, 8, 3)", "Conv2d(3, 8, (3, 5), stride=2, padding=1)", "Conv2d(3, 8, 3, padding='same', bias=False)",
    "Conv2d(4, 8, 3, padding='valid', dilation=2, groups=2)", "Conv2d(4, 4, (1, 3), (2, 1), (0, 2), (1, 2), 4, False)", "Conv2d(1, 1, [3, 3])",
    "Linear(4, 2)", "Linear(4, 2, bias=False)", "ReLU()", "ReLU(inplace=True)", "ReLU(True)", "Dropout()", "Dropout(0.25, inplace=True)", "Dropout(p=1)",
    "MaxPool2d(2)", "MaxPool2d(2, 2)", "MaxPool2d((2, 3), stride=(1, 2), padding=1, dilation=2, ceil_mode=True)", "MaxPool2d(3, return_indices=True)",
    "AvgPool2d(2)", "AvgPool2d((2, 1), 3, 1, True, False, 5)", "AdaptiveAvgPool2d(7)", "AdaptiveAvgPool2d((7, None))", "AdaptiveAvgPool2d(None)",
    "AdaptiveMaxPool2d((3, 2))", "AdaptiveMaxPool2d(1, True)", "Flatten()", "Flatten(0, 2)", "Identity()", "Identity(3, mode='any')",
    "Softmax()", "Softmax(dim=1)", "LogSoftmax()", "LogSoftmax(-1)", "LocalResponseNorm(5)", "LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)",
    "BatchNorm2d(8)", "BatchNorm2d(8, eps=1e-3, momentum=None, affine=False, track_running_stats=False)", "BatchNorm2d(8, bias=False)", "BatchNorm1d(3)",
    "CrossEntropyLoss()", "CrossEntropyLoss(ignore_index=3, reduction='sum', label_smoothing=0.1)", "NLLLoss()", "MSELoss(reduction='sum')",
    "ZeroPad2d(1)", "ZeroPad2d((1, 2, 3, 4))",
    "Sequential()", "Sequential(Linear(4, 2), ReLU())", "Sequential(Sequential(ReLU(), Sequential()), ModuleList([Flatten()]))",
    "Sequential({'first': Linear(1, 1), 'second': Sequential(ReLU())})", "ModuleList()", "ModuleList([ReLU(), ReLU(), Flatten(), ReLU(), ReLU(), ReLU()])",
    "ModuleList([Sequential(ReLU(), Flatten()), Sequential(ReLU(), Flatten()), Identity()])",
]  # fmt: skip


def ours_and_torch(text: str):
    """The same layer in both libraries; torch's Sequential takes an ordered dictionary where ours takes any."""

    def sequential(*args):
        return torch.nn.Sequential(*(collections.OrderedDict(arg) if isinstance(arg, dict) else arg for arg in args))

    return eval(text, dict(vars(nn))), eval(text, vars(torch.nn) | {"Sequential": sequential})


@pytest.mark.parametrize("text", LAYERS)
def test_text_is_pytorch_s(text):
    ours, theirs = ours_and_torch(text)
    assert repr(ours) == repr(theirs)
    assert {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()} == {name: tensor.shape for name, tensor in ours.state_dict().items()}


def test_extra_lines_stand_before_the_children():
    class Net:
        def __init__(self):
            super().__init__()
            self.a, self.b = self.library.ReLU(), self.library.Sequential(self.library.Flatten())

        def extra_repr(self):
            return "first=1\nsecond=2"

    ours = type("Net", (Net, nn.Module), {"library": nn})()
    theirs = type("Net", (Net, torch.nn.Module), {"library": torch.nn})()
    assert repr(ours) == repr(theirs)
    assert repr(ours).splitlines()[1] == "  first=1"


# Values and gradients -------------------------------------------------------------------------------------------------

IMAGES, ROWS = (2, 4, 9, 8), (5, 4)
COMPUTING = [
    ("Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2)", IMAGES), ("Conv2d(4, 4, 3, padding='same', dilation=2, bias=False)", IMAGES),
    ("Linear(8, 3)", IMAGES), ("Linear(4, 3, bias=False)", ROWS), ("ReLU()", ROWS), ("Softmax(dim=1)", IMAGES), ("LogSoftmax(-1)", ROWS),
    ("MaxPool2d(3, 2, 1)", IMAGES), ("MaxPool2d(2, ceil_mode=True)", IMAGES), ("AvgPool2d(3, 2, 1, True, False)", IMAGES),
    ("AvgPool2d(2, divisor_override=3)", IMAGES),
    ("AdaptiveAvgPool2d((4, None))", IMAGES), ("AdaptiveMaxPool2d((2, 3))", IMAGES), ("Flatten()", IMAGES), ("Flatten(0, 1)", IMAGES), ("Identity(7)", ROWS),
    ("LocalResponseNorm(3, alpha=0.5, beta=0.75, k=2)", IMAGES), ("BatchNorm2d(4)", IMAGES), ("BatchNorm2d(4, affine=False)", IMAGES), ("BatchNorm1d(4)", ROWS),
    ("BatchNorm2d(4, bias=False, track_running_stats=False)", IMAGES), ("ZeroPad2d((1, 0, 2, 3))", IMAGES), ("Dropout(0.0)", ROWS),
    ("Sequential(Conv2d(4, 5, 3), BatchNorm2d(5), ReLU(inplace=True), MaxPool2d(2), Flatten(), Linear(45, 3))", IMAGES),
]  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("text", "shape"), COMPUTING)
def test_values_and_gradients_are_pytorch_s(text, shape, training):
    """Same state in, same output, gradients and state out, in training and evaluation."""
    ours, theirs = (layer.double().train(training) for layer in ours_and_torch(text))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    rng = numpy.random.default_rng(0)
    x = rng.standard_normal(shape)
    a, b = minivgg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    assert y.shape == tuple(z.shape)
    numpy.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-12, atol=1e-12)
    weight = rng.standard_normal(y.shape)
    (y * minivgg.tensor(weight)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    numpy.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)
    for (name, ours_p), theirs_p in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        numpy.testing.assert_allclose(ours_p.grad.numpy(), theirs_p.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)
    for (name, ours_b), theirs_b in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        numpy.testing.assert_allclose(ours_b.numpy(), theirs_b.numpy(), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_statistics_over_several_batches(momentum):
    ours, theirs = nn.BatchNorm2d(3, momentum=momentum), torch.nn.BatchNorm2d(3, momentum=momentum)
    rng = numpy.random.default_rng(1)
    for _ in range(4):
        x = rng.normal(2.0, 3.0, (4, 3, 5, 5)).astype("float32")
        ours(minivgg.tensor(x)), theirs(torch.tensor(x))
    assert ours.num_batches_tracked.item() == 4
    numpy.testing.assert_allclose(ours.running_mean.numpy(), theirs.running_mean.numpy(), rtol=1e-5)
    numpy.testing.assert_allclose(ours.running_var.numpy(), theirs.running_var.numpy(), rtol=1e-5)
    x = rng.standard_normal((2, 3, 4, 4)).astype("float32")
    numpy.testing.assert_allclose(ours.eval()(minivgg.tensor(x)).detach().numpy(), theirs.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
    ours.reset_parameters()
    assert (ours.running_mean.tolist(), ours.running_var.tolist(), ours.num_batches_tracked.item()) == ([0.0] * 3, [1.0] * 3, 0)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("CrossEntropyLoss(ignore_index=1, label_smoothing=0.1)", "classes"), ("CrossEntropyLoss(reduction='none')", "classes"), ("CrossEntropyLoss()", "floats"),
     ("NLLLoss(reduction='sum')", "classes"), ("MSELoss()", "floats"), ("MSELoss('none')", "floats")],
)  # fmt: skip
def test_losses_are_pytorch_s(text, kind):
    text = text.replace("MSELoss('none')", "MSELoss(reduction='none')")
    ours, theirs = ours_and_torch(text)
    rng = numpy.random.default_rng(2)
    x = rng.standard_normal((4, 3))
    target = numpy.array([0, 2, 1, 2]) if kind == "classes" else rng.dirichlet(numpy.ones(3), 4)
    numpy.testing.assert_allclose(ours(minivgg.tensor(x), minivgg.tensor(target)).numpy(), theirs(torch.tensor(x), torch.tensor(target)).numpy(), rtol=1e-12)


def test_class_weights_are_a_buffer():
    loss = nn.CrossEntropyLoss(weight=minivgg.tensor([1.0, 2.0, 3.0]))
    assert list(loss.state_dict()) == ["weight"]
    assert list(loss.parameters()) == []
    theirs = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    x, y = [[0.1, 0.2, -0.3], [1.0, 0.0, 2.0]], [2, 0]
    assert loss(minivgg.tensor(x), minivgg.tensor(y)).item() == pytest.approx(theirs(torch.tensor(x), torch.tensor(y)).item(), rel=1e-6)


def test_dropout_follows_the_mode():
    minivgg.manual_seed(0)
    layer, x = nn.Dropout(0.25), minivgg.ones(10_000)
    kept = layer(x).numpy()
    assert set(numpy.unique(kept)) == {numpy.float32(0), numpy.float32(1 / 0.75)}
    assert abs((kept == 0).mean() - 0.25) < 0.02
    assert (layer.eval()(x).numpy() == 1).all()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: nn.Conv2d(3, 8, 3, groups=2), "Conv2d: groups must divide both numbers of channels, got 3 in, 8 out, groups 2"),
        (lambda: nn.Conv2d(3, 8, 3, stride=2, padding="same"), "Conv2d: padding='same' needs stride 1, got 2"),
        (lambda: nn.Conv2d(3, 8, 3, padding="full"), "Conv2d: padding must be an int, a pair, 'same' or 'valid', got 'full'"),
        (lambda: nn.Conv2d(3, 8, 0), "Conv2d: kernel_size must be at least 1, got 0"),
        (lambda: nn.Conv2d(1, 2, 1, groups=[2]), "Conv2d: groups must be an int, got [2]"),
        (lambda: nn.Conv2d(2.0, 2, 1), "Conv2d: in_channels must be an int, got 2.0"),
        (lambda: nn.Conv2d(2, 2, 1, bias="x"), "Conv2d: bias must be True or False, got 'x'"),
        (lambda: nn.Conv2d(2, 2**62, 1), "empty: the result of shape (4611686018427387904, 2, 1, 1) would have 9.2e+18 elements, more than any memory holds"),
        (lambda: nn.Linear(2, "3"), "Linear: out_features must be an int, got '3'"),
        (lambda: nn.Dropout("x"), "Dropout: p must lie in [0, 1], got 'x'"),
        (lambda: nn.functional.dropout(minivgg.ones(2), None), "dropout: p must lie in [0, 1], got None"),
        (lambda: minivgg.ones(2).fill_("3"), "fill_: value must be a number, got '3'"),
        (lambda: minivgg.ones(2).fill_([2]), "fill_: value must be a number, got [2]"),
        (lambda: minivgg.ones(2).fill_(minivgg.ones(1)), "fill_: value must be a number or a tensor without dimensions, got shape (1,)"),
        (lambda: nn.Dropout(1.5), "Dropout: p must lie in [0, 1], got 1.5"),
        (lambda: nn.ZeroPad2d((1, 2)), "ZeroPad2d: padding must be an int or (left, right, top, bottom), got (1, 2)"),
        (lambda: nn.BatchNorm2d(3)(minivgg.zeros(2, 3)), "BatchNorm2d: expects 4 dimensions, got 2 (input (2, 3))"),
        (lambda: nn.Sequential(nn.ReLU(), 3), "Sequential: takes modules, got int"),
        (
            lambda: nn.init.calculate_gain("cosine"),
            "calculate_gain: there is no gain for 'cosine'; there are linear, conv1d, conv2d, conv3d, sigmoid, tanh, relu, leaky_relu, selu",
        ),
        (lambda: nn.init.kaiming_normal_(minivgg.empty(2, 2), mode="fan"), "kaiming: mode must be 'fan_in' or 'fan_out', got 'fan'"),
        (lambda: nn.init.xavier_normal_(minivgg.empty(2)), "init: the fans of a weight need at least 2 dimensions, got shape (2,)"),
        (lambda: nn.Module().register_buffer("a.b", None), "Module: a buffer needs a name without dots that is not taken, got 'a.b'"),
        (lambda: nn.Module().add_module("training", nn.ReLU()), "Module: a module needs a name without dots that is not taken, got 'training'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(build, text):
    with pytest.raises(ValueError) as error:  # noqa: PT011 the text is compared in full
        build()
    assert str(error.value) == text


def test_text_is_no_number_and_is_not_written_as_one():
    x = minivgg.zeros(2)
    for write in (lambda: x.copy_("3"), lambda: x.__setitem__(0, "3"), lambda: x.copy_([[1], [2, 3]]), lambda: x.copy_(1j)):
        with pytest.raises(DtypeError, match=r"takes tensors, arrays and numbers, got (str|list|complex)"):
            write()
    assert x.tolist() == [0.0, 0.0]


def test_the_gradient_of_a_single_number_is_filled_with_zero():
    layer = nn.ReLU()
    layer.register_parameter("slope", nn.Parameter(minivgg.tensor(2.0)))
    layer.slope.backward()
    layer.zero_grad(set_to_none=False)
    assert layer.slope.grad.tolist() == 0.0


def test_a_layer_without_inputs_adds_its_bias():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = nn.Linear(0, 2)
    assert layer(minivgg.zeros(3, 0)).tolist() == [layer.bias.tolist()] * 3


# Initialisation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Conv2d(32, 48, 3)", "Conv2d(32, 64, (3, 5), groups=4)", "Linear(300, 200)", "Linear(200, 300)"])
def test_layers_start_like_pytorch_s(text):
    """Uniform over ±1/√fan-in, weights and biases: the same bound and the same standard deviation."""
    minivgg.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = ours_and_torch(text)
    fan_in = math.prod(ours.weight.shape[1:])
    for name in ("weight", "bias"):
        a, b = getattr(ours, name).detach().numpy(), getattr(theirs, name).detach().numpy()
        assert a.dtype == numpy.float32
        assert abs(a).max() <= 1 / math.sqrt(fan_in)
        if name == "weight":
            assert abs(a).max() > 0.999 / math.sqrt(fan_in)
            assert a.std() == pytest.approx(b.std(), rel=0.03)
            assert abs(a.mean()) < 5 * a.std() / math.sqrt(a.size)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("uniform_", {"a": -2.0, "b": 3.0}), ("normal_", {"mean": 1.0, "std": 0.5}), ("constant_", {"val": 0.25}), ("ones_", {}), ("zeros_", {}),
        ("xavier_uniform_", {"gain": 2.0}), ("xavier_normal_", {}), ("kaiming_uniform_", {"a": math.sqrt(5)}), ("kaiming_uniform_", {"nonlinearity": "relu"}),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}), ("kaiming_normal_", {"a": 0.3}), ("kaiming_normal_", {"nonlinearity": "tanh"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(400, 300), (60, 40, 5, 4)])
def test_initialisations_have_pytorch_s_statistics(name, options, shape):
    torch.manual_seed(0)
    ours, theirs = minivgg.empty(*shape), torch.empty(*shape)
    getattr(torch.nn.init, name)(theirs, **options)
    seeded = {} if name in ("constant_", "ones_", "zeros_") else {"generator": minivgg.Generator().manual_seed(3)}
    assert getattr(nn.init, name)(ours, **options, **seeded) is ours
    assert ours.dtype == numpy.float32
    a, b = ours.numpy().astype(float), theirs.numpy().astype(float)
    assert a.std() == pytest.approx(b.std(), rel=0.02)
    assert a.mean() == pytest.approx(b.mean(), abs=0.02 * b.std())
    if "uniform" in name:
        assert (a.min(), a.max()) == pytest.approx((b.min(), b.max()), rel=1e-3)
    elif "normal" in name:
        inside = (abs(a - a.mean()) < a.std()).mean()
        assert inside == pytest.approx(0.6827, abs=0.005)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("linear", None), ("conv2d", None), ("sigmoid", None), ("tanh", None), ("relu", None), ("leaky_relu", None), ("leaky_relu", 0.2), ("selu", None)],
)
def test_gains(name, parameter):
    assert nn.init.calculate_gain(name, parameter) == pytest.approx(torch.nn.init.calculate_gain(name, parameter), rel=1e-15)


def test_a_generator_repeats_itself_and_leaves_the_default_alone():
    def draw():
        return nn.init.normal_(minivgg.empty(5, dtype="float64"), generator=minivgg.Generator().manual_seed(1)).tolist()

    minivgg.manual_seed(9)
    expected = minivgg.rand(3).tolist()
    minivgg.manual_seed(9)
    assert draw() == draw()
    assert minivgg.rand(3).tolist() == expected


def test_initialisation_reaches_any_memory_and_counts_as_a_change():
    base = minivgg.zeros(4, 6)
    nn.init.uniform_(base.transpose(0, 1), 1.0, 2.0)
    assert (base.numpy() >= 1).all()
    weight = nn.Parameter(minivgg.ones(2, 2))
    loss = (minivgg.ones(2, 2, requires_grad=True) * weight).sum()
    nn.init.normal_(weight)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()
