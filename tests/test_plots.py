"""The ceilings, the work of an algorithm, the profile of a step, and the plots made of them."""

import itertools

import numpy
import pytest
from PIL import Image
from typer.testing import CliRunner

import minivgg
from minivgg.autograd import Function, engine
from minivgg.bench import ceilings, compare, measure, problems, profile, turns, work
from minivgg.bench.plots import accuracy, memory, roofline, scaling, style, timeline
from minivgg.cli.app import app
from minivgg.spec import Conv2dSpec

LAYERS = [problems.Problem.parse(f'n1 c16 h{side} w{side} k16 r3 p1 "net:conv{i}_1"') for i, side in ((1, 24), (2, 12), (3, 12))]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0.0)
    monkeypatch.setattr(turns, "SHORTEST", 1e-4)
    monkeypatch.setattr(ceilings, "MEMORY", 1 << 22)
    monkeypatch.setattr(ceilings, "PAUSE", 0.0)


@pytest.fixture(scope="module")
def step():
    """A training step of the small network, with its memory."""
    return profile.middle(profile.profile_steps("minivgg", 16, 4, steps=1, memory=True))


def test_ceilings_count_what_they_do():
    import importlib

    kernels = importlib.import_module("minivgg.kernels.common.ceilings")
    source = numpy.arange(1 << 16, dtype=numpy.float32) % 7
    sums = numpy.zeros(kernels.STREAMS * kernels.lanes("float32"), numpy.float32)
    kernels.read(source, 0, source.size, sums)
    assert sums.sum() == source.sum()
    a, b = numpy.ones((kernels.ROWS, 3), "float32"), numpy.ones((3, kernels.tile_columns("float32")), "float32")
    c = numpy.zeros((kernels.ROWS, b.shape[1]), "float32")
    kernels.repeat_tile(a, b, c, 5)
    assert (c == 15).all()
    target = numpy.zeros_like(source)
    assert kernels.copy_all(source, target, 4) == 2 * source.nbytes
    assert (target == source).all()
    assert kernels.read_all(source, 4) == source.nbytes
    assert kernels.multiply(2, 3) == 2 * 6 * kernels.ROWS * b.shape[1] * kernels.DEPTH


def test_ceilings_are_those_of_a_computer():
    found = ceilings.measure_ceilings(1, trials=2)
    assert 1e9 < found.flops < 1e13
    assert 1e8 < found.read < 1e13
    assert 1e8 < found.copy < 1e13
    assert "1 thread: " in str(found)


@pytest.mark.parametrize(("algorithm", "m"), [("winograd_f2", 2), ("winograd_f4", 4)])
def test_winograd_multiplies_once_a_point_tile_and_pair_of_channels(algorithm, m):
    spec = Conv2dSpec.parse("n2 c3 h9 w13 k5 r3 p1")
    tiles = 2 * len(range(0, 9, m)) * len(range(0, 13, m))
    assert work.executed_macs(spec, algorithm) == tiles * (m + 2) ** 2 * 15
    assert work.executed_macs(spec, "direct") == work.executed_macs(spec, "im2col") == spec.macs
    assert work.executed_macs(spec, "fft") is None


def test_profile_names_layers_and_directions_and_leaves_no_trace(step):
    before = vars(Function)["run"], engine._call_backward
    with profile.Profile({}):
        assert (vars(Function)["run"], engine._call_backward) != before
    assert (vars(Function)["run"], engine._call_backward) == before
    found = {(event.layer, event.direction) for event in step}
    convs = ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2"]
    for layer in [*convs, "linear1", "linear2"]:
        assert (layer, "forward") in found
        assert (layer, "weight gradient") in found
        assert ((layer, "input gradient") in found) == (layer != "conv1_1")  # nobody asks for the gradient of the image
    assert step[-1].layer == "SGD"
    assert all(first.end <= second.start for first, second in itertools.pairwise(step))
    assert [event.direction for event in step].index("rest of backward") > [event.layer for event in step].index("linear2")


def test_profile_changes_no_result():
    x = minivgg.randn(3, 4, requires_grad=True)

    def run():
        x.grad = None
        (x.relu() * 2).sum().backward()
        return x.grad.numpy().copy()

    plain = run()
    with profile.Profile({profile.address(x.array): "mine"}) as found:
        assert (run() == plain).all()
    assert found.events[0].layer == "mine"


def test_memory_counts_the_weights_and_the_activations(step):
    model = minivgg.models.MiniVGG(image_size=16, batch_norm=False)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    assert step[0].held > 2 * weights  # and the momentum
    assert max(event.held for event in step) > step[0].held + weights / 2  # gradients
    assert all(event.held <= event.reserved for event in step)


def test_names_are_spread_apart():
    assert style.spread([], 1.0) == []
    found = style.spread([3.0, 1.0, 1.1, 1.2, 9.0], 0.5)
    assert min(b - a for a, b in itertools.pairwise(sorted(found))) >= 0.5 - 1e-9
    assert sorted(range(5), key=found.__getitem__) == [1, 2, 3, 0, 4]


@pytest.mark.parametrize("plot", [timeline, memory])
def test_plots_of_a_step(plot, step, tmp_path):
    plot.draw(step, "a machine", tmp_path / "a.png")
    check(tmp_path / "a.png")
    assert plot.finding(step)


def test_plots_of_layers(tmp_path):
    names = ["direct", "winograd_f4", "im2col"]
    results = [result for problem in LAYERS for result in measure.measure(problem, "output", names, replicates=1)]
    limits = ceilings.Ceilings(2, 1e11, 1e10, 1e10)
    roofline.draw(results, limits, "a machine", tmp_path / "a.png")
    accuracy.draw(results, "a machine", tmp_path / "b.png")
    check(tmp_path / "a.png")
    check(tmp_path / "b.png")
    assert "of the peak" in roofline.finding(results, limits)
    assert "times as large" in accuracy.finding(results)


def test_plot_of_sizes(tmp_path):
    """A panel for what varies; the line is that of the longest times."""

    def result(name, batch, image, seconds):
        return compare.NetworkResult(compare.Case("vgg16", image, batch, "forward", 2), name, "", seconds=[seconds])

    by_batch = [result(name, n, 224, scale * (0.01 + 0.05 * n)) for name, scale in (("minivgg", 1), ("PyTorch", 2)) for n in (1, 2, 4)]
    missing = compare.NetworkResult(by_batch[0].case, "ncnn", "", refusal="is not installed")
    scaling.draw([*by_batch, missing], "a machine", tmp_path / "a.png")
    check(tmp_path / "a.png")
    assert scaling.finding(by_batch) == "Time is a line: 20 ms, and 100 ms an image (R² 1.0000)"
    both = [*by_batch[:3], *(result("minivgg", 4, side, 0.01 + 0.2 * side**2 / 224**2) for side in (96, 160))]
    scaling.draw(both, "a machine", tmp_path / "b.png")
    check(tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as one, Image.open(tmp_path / "b.png") as two:
        assert two.width > one.width
    assert scaling.finding(both[2:]) == "Time is a line: 10 ms, and 3.99 ms a thousand pixels (R² 1.0000)"


def check(path):
    with Image.open(path) as picture:
        assert picture.width >= 900
        assert len(picture.convert("RGB").getcolors(1 << 22)) > 20


def test_the_command_draws(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["bench", "--plot", "accuracy", "--layer", str(LAYERS[1].spec), "--algorithms", "direct,im2col", "--replicates", "1", "--out", "a.svg"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.stdout == "a.svg was drawn\n"
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    result = CliRunner().invoke(app, ["bench", "--plot", "memory"])
    assert (result.exit_code, result.stderr) == (1, "error: bench: --plot memory needs a file to draw into, as in --out memory.png\n")
    result = CliRunner().invoke(app, ["bench", "--plot", "pie", "--out", "a.png"])
    assert result.stderr == "error: bench: there is no plot 'pie'; there are bars, roofline, accuracy, timeline, memory\n"
    result = CliRunner().invoke(app, ["bench", "--direction", "forward", "--batch", "4", "--out", "a.png"])
    assert result.stderr == "error: bench: --out draws a network's time over batch or image size, and needs several of either, as in --batch 1,2,4\n"
    words = [
        "bench",
        "--network",
        "minivgg",
        "--image",
        "8",
        "--direction",
        "forward",
        "--batch",
        "1,2",
        "--threads",
        "1",
        "--replicates",
        "1",
        "--out",
        "b.png",
    ]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    check(tmp_path / "b.png")
