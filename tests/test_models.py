"""VGG A to E, the note's class and MiniVGG: text, names, counts, initialisation and values, against published numbers and PyTorch."""

import doctest
import math
from pathlib import Path

import numpy
import pytest
import torch

import minivgg
from minivgg import models, nn

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"

# builder, configuration, weight layers, parameters, parameters with batch norm
COUNTS = [
    ("vgg11", "A", 11, 132_863_336, 132_868_840),
    ("vgg11_lrn", "A-LRN", 11, 132_863_336, 132_868_840),
    ("vgg13", "B", 13, 133_047_848, 133_053_736),
    ("vgg16_1x1", "C", 16, 133_638_952, 133_647_400),
    ("vgg16", "D", 16, 138_357_544, 138_365_992),
    ("vgg19", "E", 19, 143_667_240, 143_678_248),
]


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def classifier():
    """The three linear layers that all configurations share, built once: 123,642,856 parameters."""
    return models.VGG(nn.Sequential(), init_weights=False)


def test_text_is_torchvision_s():
    assert f"{models.vgg16(init_weights=False)}\n" == (GOLDEN / "print_vgg16.txt").read_text()


@pytest.mark.parametrize(("name", "configuration", "layers", "plain", "with_norm"), COUNTS)
def test_counts(classifier, name, configuration, layers, plain, with_norm):
    for batch_norm, expected in ((False, plain), (True, with_norm)):
        features = models.make_layers(configuration, batch_norm)
        assert parameters(features) + parameters(classifier) == expected
        assert sum(isinstance(module, nn.Conv2d) for module in features) + 3 == layers
        assert sum(isinstance(module, nn.MaxPool2d) for module in features) == 5
        assert sum(isinstance(module, nn.BatchNorm2d) for module in features) == (layers - 3) * batch_norm
        assert sum(isinstance(module, nn.LocalResponseNorm) for module in features) == (configuration == "A-LRN")


@pytest.mark.parametrize("name", [count[0] for count in COUNTS] + ["vgg11_bn", "vgg13_bn", "vgg16_1x1_bn", "vgg16_bn", "vgg19_bn"])
def test_builders_build_their_configuration(name, monkeypatch):
    small = {
        letter: " ".join(f"{w.partition('/')[0][0]}{'/1' * ('/' in w)}" if w[0].isdecimal() else w for w in text.split())
        for letter, text in models.CONFIGURATIONS.items()
    }
    monkeypatch.setattr(models.vgg.VGG, "__init__", _features_only)
    monkeypatch.setattr(models.vgg, "CONFIGURATIONS", small)
    configuration = next(letter for builder, letter, *_ in COUNTS if builder == name.removesuffix("_bn"))
    model = getattr(models, name)(7, init_weights=False, dropout=0.25, in_channels=2)
    assert repr(model.features) == repr(models.make_layers(small[configuration], name.endswith("_bn"), in_channels=2))
    assert model.arguments == (7, False, 0.25)
    assert getattr(models, name).__name__ == name


def _features_only(self, features, num_classes, init_weights, dropout):
    nn.Module.__init__(self)
    self.features, self.arguments = features, (num_classes, init_weights, dropout)


def test_the_1x1_convolutions_of_c_are_the_third_of_blocks_3_to_5():
    convolutions = [module for module in models.make_layers("C") if isinstance(module, nn.Conv2d)]
    pointwise = [(i, conv.out_channels, conv.padding) for i, conv in enumerate(convolutions) if conv.kernel_size == (1, 1)]
    assert pointwise == [(6, 256, (0, 0)), (9, 512, (0, 0)), (12, 512, (0, 0))]


def test_the_normalisation_of_a_lrn_is_krizhevsky_s():
    """b = a / (k + α Σ a²)^β over five neighbouring channels, k = 2, α = 1e-4, β = 0.75: the sum, not its mean."""
    (layer,) = (module for module in models.make_layers("A-LRN") if isinstance(module, nn.LocalResponseNorm))
    a = 100 * numpy.random.default_rng(2).standard_normal((1, 9, 2, 2))
    expected = numpy.empty_like(a)
    for c in range(9):
        expected[:, c] = a[:, c] / (2 + 1e-4 * (a[:, max(0, c - 2) : c + 3] ** 2).sum(1)) ** 0.75
    numpy.testing.assert_allclose(layer(minivgg.tensor(a)).numpy(), expected, rtol=1e-12)


def test_names_are_torchvision_s(classifier):
    convolutions = {"D": [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28], "A": [0, 3, 6, 8, 11, 13, 16, 18]}
    for configuration, places in convolutions.items():
        assert list(models.make_layers(configuration).state_dict()) == [f"{i}.{kind}" for i in places for kind in ("weight", "bias")]
    assert list(classifier.state_dict()) == [f"classifier.{i}.{kind}" for i in (0, 3, 6) for kind in ("weight", "bias")]
    assert [name for name, _ in classifier.named_children()] == ["features", "avgpool", "classifier"]
    norm = [name for name in models.make_layers("A", batch_norm=True).state_dict() if name.startswith("1.")]
    assert norm == ["1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"]


@pytest.mark.parametrize(("configuration", "batch_norm"), [("A", False), ("A", True), ("A-LRN", False), ("C", False), ("E", True)])
def test_features_compute_what_pytorch_computes(configuration, batch_norm):
    """The text of each layer, read by PyTorch, is the same network: same weights in, same numbers out."""
    minivgg.manual_seed(0)
    ours = models.make_layers(configuration, batch_norm).apply(models.vgg.initialise)
    theirs = torch.nn.Sequential(*(eval(repr(layer), dict(vars(torch.nn))) for layer in ours))
    theirs.load_state_dict({name: torch.from_numpy(tensor.numpy().copy()) for name, tensor in ours.state_dict().items()})
    x = numpy.random.default_rng(0).standard_normal((2, 3, 32, 64)).astype("float32")
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    numpy.testing.assert_allclose(ours(minivgg.tensor(x)).detach().numpy(), expected, rtol=1e-3, atol=2e-5 * abs(expected).max())


def test_whole_network_computes_what_pytorch_computes(classifier):
    """Pooling to 7x7 of maps of another size, the order of flattening, and the linear layers."""
    linear = classifier.classifier
    theirs = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(7),
        torch.nn.Flatten(),
        *(eval(repr(layer), dict(vars(torch.nn)), {}) for layer in linear if not isinstance(layer, nn.Linear)),
    )
    x = numpy.random.default_rng(1).standard_normal((2, 512, 9, 6)).astype("float32")
    y = theirs[:2](torch.from_numpy(x))
    for layer in linear:
        if isinstance(layer, nn.Linear):
            y = torch.nn.functional.linear(y, torch.from_numpy(layer.weight.detach().numpy()), torch.from_numpy(layer.bias.detach().numpy()))
        elif isinstance(layer, nn.ReLU):
            y = y.relu()
    got = classifier.eval()(minivgg.tensor(x))
    assert got.shape == (2, 1000)
    numpy.testing.assert_allclose(got.detach().numpy(), y.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "std"),
    [
        (nn.Conv2d(64, 128, 3), math.sqrt(2 / (128 * 9))),
        (nn.Conv2d(128, 256, 1, bias=False), math.sqrt(2 / 256)),
        (nn.Linear(300, 200), 0.01),
        (nn.BatchNorm2d(8), 0.0),
    ],
)  # fmt: skip
def test_initialisation_is_torchvision_s(layer, std):
    minivgg.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 7.0)
    models.vgg.initialise(layer)
    weight = layer.weight.detach().numpy().astype(float)
    assert weight.std() == pytest.approx(std, rel=0.02)
    assert weight.mean() == pytest.approx(float(isinstance(layer, nn.BatchNorm2d)), abs=5 * std / math.sqrt(weight.size))
    assert layer.bias is None or layer.bias.tolist() == [0.0] * layer.bias.numel()


@pytest.mark.parametrize("init_weights", [True, False])
def test_initialisation_is_an_option(init_weights, monkeypatch):
    reached = []
    monkeypatch.setattr(models.vgg, "initialise", lambda module: reached.append(type(module).__name__))
    models.VGG(models.make_layers("4 M"), num_classes=10, init_weights=init_weights)
    assert [name for name in reached if name in ("Conv2d", "Linear")] == ["Conv2d", "Linear", "Linear", "Linear"] * init_weights


def test_the_signal_survives_sixteen_layers():
    """D's features on N(0, 1) input: neither vanished (1e-7 with standard deviation 0.01) nor exploded (1e6 with 0.1)."""
    minivgg.manual_seed(0)
    features = models.make_layers("D").apply(models.vgg.initialise)
    with minivgg.no_grad():
        assert 0.05 < features(minivgg.randn(1, 3, 128, 128)).std().item() < 1.0


@pytest.mark.parametrize("text", ["64 X", "64/2 M", "64 -3"])
def test_a_configuration_that_says_nothing(text):
    with pytest.raises(ValueError, match=r"make_layers: '.*' is none of 64, 64/1, M, LRN"):
        models.make_layers(text)


# The note -------------------------------------------------------------------------------------------------------------


def test_the_note_s_class_is_configuration_d():
    net = models.Vgg16(in_channel=1, out_channel=10)
    assert repr(net.features) == repr(models.make_layers("D", in_channels=1))
    assert repr(net.avgpool) == "AdaptiveAvgPool2d(output_size=(7, 7))"
    assert [name for name in net.state_dict() if name.startswith("classifier")] == [f"classifier.{i}.{kind}" for i in (0, 3, 6) for kind in ("weight", "bias")]
    assert net.classifier[0].in_features == 25088
    assert net.eval()(minivgg.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_the_page_about_the_note_is_true():
    failures, examples = doctest.testfile(str(ROOT / "docs" / "the_note.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failures == 0
    assert examples >= 15


# MiniVGG --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "blocks", "left"), [(8, 2, 2), (9, 2, 2), (15, 2, 3), (16, 3, 2), (28, 3, 3), (32, 4, 2), (63, 4, 3), (64, 5, 2)])
def test_minivgg_fits_its_image(size, blocks, left):
    net = models.MiniVGG(num_classes=5, in_channels=3, image_size=size, width=4)
    assert sum(isinstance(module, nn.MaxPool2d) for module in net.features) == blocks
    assert net.features.eval()(minivgg.zeros(1, 3, size, size)).shape == (1, 4 * min(2 ** (blocks - 1), 8), left, left)
    assert net(minivgg.zeros(2, 3, size, size)).shape == (2, 5)


def test_minivgg_options():
    assert parameters(models.MiniVGG()) == 82_474
    assert not any(isinstance(module, nn.BatchNorm2d) for module in models.MiniVGG(batch_norm=False).modules())
    assert models.MiniVGG(dropout=0.1).classifier[2].p == 0.1
    for size in (7, 65):
        with pytest.raises(ValueError, match=rf"MiniVGG: image_size must lie in \[8, 64\], got {size}"):
            models.MiniVGG(image_size=size)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_minivgg_learns_a_batch_by_heart(batch_norm):
    """8 random images with random labels: from chance, ln 10 = 2.3, to nearly nothing in 30 steps of gradient descent."""
    minivgg.manual_seed(0)
    net = models.MiniVGG(width=16, batch_norm=batch_norm, dropout=0.0)
    x, y = minivgg.randn(8, 1, 8, 8), minivgg.randint(0, 10, (8,))
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(x), y)
        losses.append(loss.item())
        net.zero_grad()
        loss.backward()
        for parameter in net.parameters():
            parameter.data = parameter.detach() - 0.1 * parameter.grad
    assert 1.5 < losses[0] < 6
    assert losses[-1] < 0.1
