"""Convolution, ReLU and pooling in one pass: the same numbers as the separate layers, and only where nobody can tell."""

import numpy
import pytest

import minivgg
from minivgg import nn
from minivgg.autograd import Function
from minivgg.ops.conv2d_relu import Conv2dReLU


@pytest.fixture
def runs(monkeypatch):
    """What ran fused: (ReLU alone, or with pooling) of each."""
    seen, forward = [], Conv2dReLU.forward

    def note(self, x, w, b, spec, pool, algorithm):
        seen.append("pool" if pool else "relu")
        return forward(self, x, w, b, spec, pool, algorithm)

    monkeypatch.setattr(Conv2dReLU, "forward", note)
    return seen


def network(*behind, side=16):
    return nn.Sequential(nn.Conv2d(side, 32, 3, padding=1), nn.ReLU(), *behind)


def separately(model, x):
    """The same modules, called one after the other."""
    for module in model:
        x = module(x)
    return x


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("behind", "expected"),
    [((), ["relu"]), ((nn.MaxPool2d(2),), ["pool"]), ((nn.MaxPool2d((2, 2), stride=2),), ["pool"]), ((nn.MaxPool2d(3, 2, 1),), ["relu"]),
     ((nn.MaxPool2d(2, 1),), ["relu"]), ((nn.MaxPool2d(2, ceil_mode=True),), ["relu"]), ((nn.AvgPool2d(2),), ["relu"])],
)  # fmt: skip
def test_result_and_gradients_are_those_of_the_separate_layers(runs, behind, expected, inplace):
    minivgg.manual_seed(0)
    model = network(*behind)
    model[1] = nn.ReLU(inplace=inplace)
    results = []
    for run in (model, lambda x: separately(model, x)):
        x = minivgg.randn(2, 16, 11, 14, generator=minivgg.Generator().manual_seed(1)).requires_grad_()
        model.zero_grad()
        y = run(x)
        (y * y).sum().backward()
        results.append([y.detach().numpy(), x.grad.numpy(), *(parameter.grad.numpy() for parameter in model.parameters())])
    assert runs == expected
    for fused, plain in zip(*results, strict=True):
        numpy.testing.assert_allclose(fused, plain, rtol=1e-5, atol=1e-5)
    numpy.testing.assert_array_equal(results[0][0], results[1][0])


def test_first_layer_with_few_channels_is_fused_with_relu_alone(runs):
    model = network(nn.MaxPool2d(2), side=3)
    x = minivgg.randn(1, 3, 8, 8)
    assert minivgg.equal(model(x), separately(model, x))
    assert runs == ["relu"]  # direct convolution knows ReLU, not pooling


def test_a_hook_sees_its_layer(runs):
    x = minivgg.randn(1, 16, 8, 8)
    for index in range(3):
        model = network(nn.MaxPool2d(2))
        shapes = []
        model[index].register_forward_hook(lambda module, inputs, output, shapes=shapes: shapes.append((inputs[0].shape, output.shape)))
        model(x)
        assert shapes == [[((1, 16, 8, 8), (1, 32, 8, 8)), ((1, 32, 8, 8), (1, 32, 8, 8)), ((1, 32, 8, 8), (1, 32, 4, 4))][index]]
    assert runs == ["relu"]  # only where the hook sat on the pooling


def test_subclasses_and_replaced_methods_are_called(runs):
    class Louder(nn.ReLU):
        def forward(self, input):
            return super().forward(input) * 2

    x = minivgg.randn(1, 16, 8, 8)
    model = nn.Sequential(nn.Conv2d(16, 32, 3), Louder())
    assert minivgg.equal(model(x), separately(model, x))
    model = network()
    model[1].forward = lambda input: input * 3
    assert minivgg.equal(model(x), model[0](x) * 3)
    assert runs == []


def test_a_forced_algorithm_is_the_one_that_runs(runs, monkeypatch):
    model, x = network(nn.MaxPool2d(2)), minivgg.randn(1, 16, 8, 8)
    with minivgg.use_algorithm(conv2d="im2col"):
        by_im2col = model(x)
    assert runs == []
    with minivgg.use_algorithm(max_pool2d="strided"):
        model(x)
    assert runs.pop() == "relu"
    with minivgg.use_algorithm(conv2d="winograd_f2"):
        by_winograd = model(x)
    assert runs == ["pool"]
    assert not minivgg.equal(by_im2col, by_winograd)
    assert minivgg.allclose(by_im2col, by_winograd, atol=1e-5)


def test_only_what_the_gradient_needs_is_saved(runs):
    """A whole activation less than the separate layers: of the pooled output, its cells in a byte each, and the input."""
    model, x = network(nn.MaxPool2d(2)), minivgg.randn(1, 16, 8, 8)
    saved, save = [], Function.save_for_backward

    def note(self, *arrays):
        saved.extend(array for array in arrays if array is not None)
        return save(self, *arrays)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Function, "save_for_backward", note)
        model(x)
    assert runs == ["pool"]
    sizes = sorted((getattr(array, "array", array).shape, str(getattr(array, "array", array).dtype)) for array in saved)
    assert ((1, 32, 8, 8), "float32") not in sizes
    assert ((1, 32, 4, 4), "uint8") in sizes


def test_nan_passes_relu_and_wins_the_window(runs):
    model = network(nn.MaxPool2d(2))
    x = minivgg.randn(1, 16, 8, 8)
    x[0, 0, 3, 3] = float("nan")
    assert minivgg.equal(model(x).isnan(), separately(model, x).isnan())
    assert model(x).isnan().any()
    assert runs == ["pool", "pool"]


def test_a_training_run_is_that_of_the_separate_layers(runs):
    """Ten steps of a small network, with and without the fused pass, in float64."""

    def train(fused):
        minivgg.manual_seed(3)
        model = nn.Sequential(*network(nn.MaxPool2d(2)), nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16 * 16, 4))
        model = model.to("float64")
        if not fused:
            for module in model:
                module.register_forward_hook(lambda *_: None)
        optimizer = minivgg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        generator = minivgg.Generator().manual_seed(4)
        for _ in range(10):
            x = minivgg.randn(6, 16, 8, 8, generator=generator, dtype="float64")
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), minivgg.tensor([0, 1, 2, 3, 0, 1])).backward()
            optimizer.step()
        return [parameter.detach().numpy() for parameter in model.parameters()]

    ours = train(fused=True)
    assert runs == ["pool", "relu"] * 10
    for fused, plain in zip(ours, train(fused=False), strict=True):
        numpy.testing.assert_allclose(fused, plain, rtol=1e-9, atol=1e-12)
