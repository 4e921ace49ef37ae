"""The rivals: one description, built by each library that is installed here, gives one result; the others say what is missing."""

import dataclasses
import json

import numpy
import pytest
import torch
from typer.testing import CliRunner

import minivgg
from minivgg import nn
from minivgg.bench import compare, network, report, turns
from minivgg.bench.rivals import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, rivals, select
from minivgg.bench.rivals._itself import in_float64, itself
from minivgg.bench.worker import TRUTH, Worker
from minivgg.cli.app import app
from minivgg.errors import ArgumentError, UnsupportedError

INSTALLED = [rival for rival in rivals().values() if not rival.missing()]
TRAINING = [rival for rival in [itself(), *INSTALLED] if rival.step]
COMPILED = "PyTorch compiled"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0.0)
    monkeypatch.setattr(turns, "SHORTEST", 1e-4)


class Odd(nn.Module):
    """Everything a description can say, on sizes that are no multiple of anything; pooling to more and to fewer places than there are."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 20, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(20, 17, (3, 1), stride=2, padding=(1, 0), bias=False), nn.ReLU(), nn.MaxPool2d(2)
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d((3, 5))
        self.classifier = nn.Sequential(nn.Linear(255, 20), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(20, 7))

    def forward(self, x):
        return self.classifier(self.pool(self.features(x)).flatten(1))


def odd():
    minivgg.manual_seed(3)
    return network.describe(Odd(), (3, 21, 18), "odd")


def in_torch(described):
    """The description in PyTorch's float64, layer by layer: (function of the images, the arrays as leaves)."""
    F = torch.nn.functional
    leaves = [torch.from_numpy(array.astype("float64")).requires_grad_() for array in described.arrays]

    def scores(x):
        rest = iter(leaves)
        for layer in described.layers:
            arrays = [next(rest) for _ in layer.arrays]
            if layer.kind == "conv2d":
                x = F.conv2d(x, arrays[0], arrays[1] if arrays[1:] else None, layer.stride, layer.padding)
            elif layer.kind == "linear":
                x = F.linear(x, *arrays)
            else:
                x = {
                    "relu": F.relu,
                    "max_pool2d": lambda x, layer=layer: F.max_pool2d(x, layer.size, layer.stride),
                    "adaptive_avg_pool2d": lambda x, layer=layer: F.adaptive_avg_pool2d(x, layer.size),
                    "flatten": lambda x: x.flatten(1),
                }[layer.kind](x)
        return x

    return scores, leaves


def test_description_follows_the_execution():
    described = odd()
    kinds = [layer.kind for layer in described.layers]
    assert kinds == ["conv2d", "relu", "conv2d", "relu", "max_pool2d", "adaptive_avg_pool2d", "flatten", "linear", "relu", "linear"]
    assert [layer.output for layer in described.layers][4:7] == [(17, 5, 4), (17, 3, 5), (255,)]
    assert described.macs == 20 * 21 * 18 * 27 + 17 * 11 * 9 * 20 * 3 + 255 * 20 + 20 * 7
    x = described.images(2)
    minivgg.manual_seed(3)
    ours = Odd().eval()(minivgg.Tensor(x)).detach().numpy()
    numpy.testing.assert_allclose(in_torch(described)[0](torch.from_numpy(x).double()).detach().numpy(), ours, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.BatchNorm2d(3), "is a BatchNorm2d; rivals are built from Conv2d, Linear, ReLU, MaxPool2d, AdaptiveAvgPool2d, Flatten and Dropout"),
        (nn.Conv2d(3, 3, 1, groups=3), "rivals are built from convolutions without groups and dilation"),
        (nn.MaxPool2d(3, padding=1), "rivals are built from pooling without padding"),
    ],
)
def test_what_cannot_be_said_is_refused(layer, words):
    with pytest.raises(UnsupportedError, match=words):
        network.describe(nn.Sequential(layer), (3, 6, 6), "x")


def test_vgg16_has_the_published_multiply_adds_and_unknown_networks_are_refused():
    with pytest.raises(UnsupportedError, match="there is no network 'vgg12' to compare; there are vgg11, vgg13, vgg16, vgg16_1x1, vgg19, minivgg"):
        network.build("vgg12", 224)
    small = network.build("minivgg", 8)
    assert [layer.kind for layer in small.layers].count("conv2d") == 4
    assert [a.tolist() for a in small.arrays[:2]] == [a.tolist() for a in network.build("minivgg", 8).arrays[:2]]  # the same in every process


@pytest.mark.parametrize("rival", [itself(), itself("direct"), *(rival for rival in INSTALLED if rival.name != COMPILED)], ids=lambda rival: rival.name)
@pytest.mark.parametrize("batch", [1, 3])
def test_scores_are_those_of_float64(rival, batch):
    described = odd()
    x = described.images(batch)
    truth = in_torch(described)[0](torch.from_numpy(x).double()).detach().numpy()
    found = rival.forward(described, x, 1)()
    assert found.shape == truth.shape
    assert found.dtype == numpy.float32
    assert numpy.linalg.norm(found - truth) <= 1e-6 * numpy.linalg.norm(truth)


@pytest.mark.parametrize("rival", [rival for rival in TRAINING if rival.name != COMPILED], ids=lambda rival: rival.name)
def test_two_training_steps_are_those_of_float64(rival):
    described = odd()
    x, y = described.images(2), described.labels(2)
    scores, leaves = in_torch(described)
    optimizer = torch.optim.SGD(leaves, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    before, losses = [leaf.detach().numpy().copy() for leaf in leaves], []
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(scores(torch.from_numpy(x).double()), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    run, arrays = rival.step(described, x, y, 1)
    assert [run(), run()] == pytest.approx(losses, rel=1e-6)
    for old, after, true in zip(before, arrays(), leaves, strict=True):
        wanted = true.detach().numpy() - old
        assert numpy.linalg.norm(after - old - wanted) <= 2e-3 * numpy.linalg.norm(wanted)  # a change of 1e-5 on weights of 0.1 in float32


@pytest.mark.parametrize("direction", ["input", "weight"])
@pytest.mark.parametrize("rival", [rival for rival in INSTALLED if rival.gradient], ids=lambda rival: rival.name)
def test_single_gradients_are_those_of_float64(rival, direction):
    from minivgg.bench.measure import draw_inputs, exact, relative_error
    from minivgg.spec import Conv2dSpec

    spec = Conv2dSpec.parse("n2 c5 h9 w7 k6 r3 s2 p1")
    inputs = draw_inputs(spec, direction)
    assert relative_error(rival.gradient(spec, direction, inputs, 1)(), exact(spec, direction, inputs)) < 1e-6


@pytest.mark.parametrize("rival", rivals().values(), ids=lambda rival: rival.name)
def test_a_rival_is_installed_or_says_what_is_missing(rival, capsys):
    """What is not tested here is told in the summary of the run (conftest.py)."""
    sentence = rival.missing()
    if rival.name.startswith("PyTorch"):
        assert sentence is None
    assert sentence is None or sentence.startswith(f"{rival.name} ")
    absent = dataclasses.replace(rival, libraries={"no_such_module": "no-such-package"})
    assert absent.missing() == f"{rival.name} is not installed here: pip install no-such-package"


def test_a_program_can_be_missing_too(monkeypatch):
    needy = dataclasses.replace(itself(), name="needy", program=("NEEDY_CC", "no_such_compiler"))
    monkeypatch.delenv("NEEDY_CC", raising=False)
    assert needy.missing() == "needy needs the program no_such_compiler, or another one named by the variable NEEDY_CC"


def test_rivals_are_named_by_the_beginning_of_their_names():
    assert [rival.name for rival in select("all")] == list(rivals())
    assert select("none") == []
    with pytest.raises(ArgumentError, match="there is no rival 'caffe'; there are JAX, "):
        select("pytorch,caffe")


def test_a_worker_answers_and_hands_on_errors():
    with Worker("minivgg direct", 1) as worker:
        scores = worker("forward", "minivgg", 8, 2)
        assert scores.shape == (2, 10)
        assert worker.calls(2) > 0
        worker("forget_peak")
        peak, baseline = worker("peak")
        assert peak >= baseline > 2**20
        with pytest.raises(UnsupportedError, match=r"minivgg direct fails: .*there is no network 'lenet'"):
            worker("forward", "lenet", 8, 2)
        with pytest.raises(UnsupportedError, match="gives no gradients of a single convolution"):
            worker("convolution", "n1 c2 h5 w5 k2 r3", "input")
        worker.process.kill()
        with pytest.raises(UnsupportedError, match="the process of minivgg direct ended with code -9"):
            worker.calls(1)


def test_the_truth_is_computed_in_float64():
    with Worker(TRUTH, 1) as worker:
        scores = worker("forward", "minivgg", 8, 2)
    assert scores.dtype == numpy.float64
    described = network.build("minivgg", 8)
    wanted = in_torch(described)[0](torch.from_numpy(described.images(2)).double()).detach().numpy()
    numpy.testing.assert_allclose(scores, wanted, rtol=1e-10, atol=1e-12)
    assert in_float64(described).arrays[0].dtype == numpy.float64


def test_the_judge_sees_a_wrong_score_loss_and_gradient():
    truth = numpy.ones((2, 3))
    assert compare.judge("forward", truth * (1 + 1e-5), truth) == pytest.approx(1e-5)
    assert compare.judge("forward", truth[:1], truth) == float("inf")
    steps = ([1.0, 0.5], [numpy.ones(3), numpy.ones(2)])
    assert compare.judge("step", steps, steps) == 0
    assert compare.judge("step", ([1.0, 0.6], steps[1]), steps) == pytest.approx(0.1)
    assert compare.judge("step", (steps[0], [numpy.ones(3), numpy.array([1.0, 0.0])]), steps) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("direction", compare.DIRECTIONS)
def test_networks_are_compared(direction):
    absent = dataclasses.replace(rivals()["ncnn"], libraries={"no_such_module": "ncnn"})
    case = compare.Case("minivgg", 8, 2, direction, 1)
    ours, theirs, none = compare.compare(case, [itself(), rivals()["PyTorch"], absent], replicates=3)
    for result in (ours, theirs):
        assert result.refusal == ""
        assert len(result.seconds) == 3
        assert result.error <= {"forward": 1e-5, "step": 2e-3}[direction]
        assert 0 < result.memory < 2**30
    assert (none.seconds, none.refusal) == ([], "ncnn is not installed here: pip install ncnn")
    rows = json.loads(json.dumps(report.networks_as_data([ours, theirs, none]), allow_nan=False))["results"]
    assert [row["competitor"] for row in rows] == ["minivgg", "PyTorch", "ncnn"]
    assert rows[0]["median"] == ours.median
    assert rows[2]["refusal"] == none.refusal


def test_a_line_is_fitted_from_three_sizes_on():
    def result(batch, image, seconds):
        return compare.NetworkResult(compare.Case("vgg16", image, batch, "forward", 2), "minivgg", "", seconds=[seconds])

    results = [result(n, 224, 0.01 + 0.05 * n) for n in (1, 2, 4)]
    assert report.fits(results) == ["minivgg, vgg16 forward, threads 2, 224x224: 10.0 ms + 50.0 ms an image, R² 1.0000 over 3 sizes"]
    assert report.fits(results[:2]) == []
    results = [result(1, side, 0.02 + 1e-6 * side**2) for side in (100, 200, 300)]
    assert report.fits(results) == ["minivgg, vgg16 forward, threads 2, batch 1: 20.0 ms + 1.0 ms a thousand pixels, R² 1.0000 over 3 sizes"]


def test_the_command_compares_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["bench", "--network", "minivgg", "--image", "8", "--direction", "forward", "--batch", "2", "--threads", "1", "--replicates", "1"]
    result = CliRunner().invoke(app, [*words, "--algorithms", "direct", "--json", "a.json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "minivgg forward, batch 2, 8x8, 1 thread" in result.stdout
    assert [row["competitor"] for row in json.loads((tmp_path / "a.json").read_text())["results"]] == ["minivgg", "minivgg direct"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--direction", "forward,input"], "error: bench: forward and step concern whole networks, output, input and weight their layers; got 'forward,input'"),
        (["--batch", "0"], "error: bench: --batch takes numbers of at least 1, as in 1,8; got '0'"),
        (["--rivals", "caffe"], "error: bench: there is no rival 'caffe'; there are "),
        (["--threads", "1,2"], "error: bench: layers are measured with one number of threads at a time, got 1, 2"),
    ],
)
def test_the_command_refuses(words, error):
    result = CliRunner().invoke(app, ["bench", *words])
    assert result.exit_code == 1
    assert result.stderr.startswith(error)
