"""The benchmark itself: its problems are VGG's, and nothing is timed before it has been found right."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch

from minivgg import registry
from minivgg.bench import machine, measure, problems, report, turns
from minivgg.bench.worker import Worker
from minivgg.errors import ArgumentError
from minivgg.spec import Conv2dSpec

ROOT = Path(__file__).parents[1]
SMALL = problems.Problem.parse('n2 c4 h9 w7 k6 r3 s2 p1 "test:layer*2"')

# arXiv:1409.1556: the sum of the convolutions' multiply-adds of one 224x224 image, and the layers in Table 1
PUBLISHED = {
    "vgg11": (7_485_456_384, 8), "vgg13": (11_184_832_512, 10), "vgg16_1x1": (11_647_254_528, 13),
    "vgg16": (15_346_630_656, 13), "vgg19": (19_508_428_800, 16),
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0.0)
    monkeypatch.setattr(turns, "SHORTEST", 1e-4)


@pytest.fixture(scope="module")
def pytorch():
    """PyTorch in a process of its own."""
    with Worker("PyTorch", 1) as worker:
        yield worker


@pytest.fixture
def plant(monkeypatch):
    """Add an algorithm for conv2d that does what the test says; it is gone afterwards."""

    def add(name, run, **changes):
        known = registry.algorithms("conv2d")
        planted = dataclasses.replace(known["im2col"], name=name, run=run, **changes)
        monkeypatch.setitem(known, name, planted)

    return add


@pytest.mark.parametrize("net", PUBLISHED)
def test_problems_add_up_to_the_published_multiply_adds(net):
    found = problems.vgg(net)
    assert (sum(p.spec.macs * p.count for p in found), sum(p.count for p in found)) == PUBLISHED[net]
    assert [str(p) for p in problems.vgg(problems.NETS[net])] == [str(p) for p in found]
    assert problems.vgg(net, batch=3)[-1].spec.n == 3


@pytest.mark.parametrize("net", PUBLISHED)
def test_problem_files_hold_what_the_package_says(net):
    file = ROOT / "benchmarks" / "problems" / f"vgg-{problems.NETS[net].lower()}.txt"
    assert problems.read(file) == problems.vgg(net)


def test_other_problem_file_can_be_read():
    found = problems.read(ROOT / "benchmarks" / "problems" / "others.txt", batch=2)
    assert len(found) >= 6
    assert {problem.spec.n for problem in found} == {2}
    assert {"alexnet:conv1", "mobilenet:depthwise"} <= {problem.name for problem in found}


@pytest.mark.parametrize("text", ["n1 c256 h56 w56 k256 r3 p1", 'n1 c256 h56 w56 k256 r3 p1 "vgg-e:conv3_2*3"', 'n1 c2 h5 w5 k2 r1 "x"'])
def test_problem_string_is_read_back(text):
    assert str(problems.Problem.parse(text)) == text


@pytest.mark.parametrize("text", ["", "n1 c2", 'n1 c2 h5 w5 k2 r1 "x', 'n1 c2 h5 w5 k2 r1 "x*0"', "conv3_2"])
def test_malformed_problem_is_refused(text):
    with pytest.raises(ArgumentError):
        problems.Problem.parse(text)


def test_a_layer_answers_to_the_names_of_its_equals():
    (conv,) = [p for p in problems.vgg("vgg19") if p.answers_to("conv3_4")]
    assert conv.label == "conv3_2"
    assert not any(p.answers_to("conv3_5") for p in problems.vgg("vgg19"))
    with pytest.raises(ArgumentError, match="there is no network 'vgg12'"):
        problems.vgg("vgg12")


@pytest.mark.parametrize("direction", measure.DIRECTIONS)
@pytest.mark.parametrize("text", ["n2 c4 h9 w7 k6 r3 s2 p1", "n1 c6 h8 w8 k4 r3x2 p1x0 d2x1 g2"])
def test_truth_is_that_of_pytorch(direction, text):
    """The float64 truth against PyTorch's float64 convolution and its gradients."""
    spec = Conv2dSpec.parse(text)
    inputs = measure.draw_inputs(spec, direction)
    truth = measure.exact(spec, direction, inputs)
    assert truth.dtype == numpy.float64
    x, w = (torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in (spec.input_shape, spec.weight_shape))
    first, second, *bias = (torch.from_numpy(array).double() for array in inputs)
    with torch.no_grad():
        x.copy_({"output": first, "weight": second}.get(direction, x))
        w.copy_({"output": second, "input": second}.get(direction, w))
    padding = (spec.padding[0], spec.padding[2])
    y = torch.nn.functional.conv2d(x, w, bias[0] if bias else None, spec.stride, padding, spec.dilation, spec.groups)
    if direction != "output":
        y.backward(first)
    wanted = {"output": y.detach(), "input": x.grad, "weight": w.grad}[direction].numpy()
    numpy.testing.assert_allclose(truth, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("direction", measure.DIRECTIONS)
def test_right_algorithms_are_timed_in_every_direction(direction, pytorch):
    results = measure.measure(SMALL, direction, rivals=[pytorch], replicates=3)
    timed = {result.algorithm: result for result in results if not result.refusal}
    assert {"im2col", "PyTorch"} <= set(timed)
    for result in timed.values():
        assert len(result.seconds) == 3
        assert 0 < result.quartiles[0] <= result.median <= result.quartiles[2]
        assert 0 <= result.error <= result.allowed
        assert result.gflops == pytest.approx(2 * SMALL.spec.macs / result.median / 1e9)
    assert timed["im2col"].workspace > 0
    assert timed["PyTorch"].workspace is None


def test_algorithms_for_humans_compete_only_when_named():
    assert "reference" not in {result.algorithm for result in measure.measure(SMALL, replicates=1)}
    (result,) = measure.measure(SMALL, names=["reference"], replicates=1)
    assert result.algorithm == "reference"
    assert result.seconds


def test_wrong_algorithm_is_named_and_never_timed(plant):
    calls = []

    def slightly_wrong(spec, x, w, b, out):
        calls.append("run")
        registry.algorithms("conv2d")["im2col"].run(spec, x, w, b, out)
        out[0, 0, 0, 0] += 1.0

    plant("slightly_wrong", slightly_wrong)
    (result,) = measure.measure(SMALL, names=["slightly_wrong"], replicates=5)
    assert calls == ["run"]
    assert result.seconds == []
    assert result.refusal.startswith("wrong: relative error")
    assert result.error > result.allowed


def test_unwritten_output_is_caught(plant):
    def forgetful(spec, x, w, b, out):
        whole = numpy.empty_like(out)
        registry.algorithms("conv2d")["im2col"].run(spec, x, w, b, whole)
        out[:, :, 1:] = whole[:, :, 1:]

    plant("forgetful", forgetful)
    (result,) = measure.measure(SMALL, names=["forgetful"], replicates=5)
    row = SMALL.spec.n * SMALL.spec.k * SMALL.spec.q
    assert result.seconds == []
    assert result.refusal == f"wrong: {row} of {numpy.prod(SMALL.spec.output_shape)} elements were not written or are not finite"


def test_every_competitor_is_validated_before_any_is_timed(plant):
    order = []

    def noted(name):
        def run(spec, x, w, b, out):
            order.append((name, bool(numpy.isnan(out).all())))
            registry.algorithms("conv2d")["im2col"].run(spec, x, w, b, out)

        return run

    for name in ("first", "second"):
        plant(name, noted(name))
    measure.measure(SMALL, names=["first", "second"], replicates=2)
    assert order[:2] == [("first", True), ("second", True)]  # into an out full of nan
    assert not any(poisoned for _, poisoned in order[2:])
    names = [name for name, _ in order]
    turns = [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    assert turns == ["first", "second", "first", "second", "first", "second", "first"]  # validation; warm-up; there; and back


@pytest.mark.parametrize("direction", measure.DIRECTIONS)
def test_images_lie_in_the_order_that_the_algorithm_prefers(direction, monkeypatch):
    seen = {}
    known = registry.algorithms(measure.DIRECTIONS[direction])
    for name, last in (("first", False), ("last", True)):

        def run(spec, *arrays, name=name):
            seen[name] = ["last" if array.transpose(0, 2, 3, 1).flags.c_contiguous else "first" for array in arrays if array.ndim == 4]
            known["im2col"].run(spec, *arrays)

        monkeypatch.setitem(known, name, dataclasses.replace(known["im2col"], name=name, run=run, channels_last=last))
    results = measure.measure(SMALL, direction, names=["first", "last"], replicates=1)
    assert all(result.seconds for result in results)
    assert seen["first"] == ["first"] * 3
    assert seen["last"] == {"output": ["last", "first", "last"], "input": ["last", "first", "last"], "weight": ["last", "last", "first"]}[direction]


def test_slow_competitors_have_fewer_turns(monkeypatch):
    """A call of kn2row takes a second here, one of im2col a millisecond."""
    monkeypatch.setattr(turns, "turn", lambda competitor, pause: {"kn2row": 1.0, "im2col": 0.001}[competitor.name])

    def count(budget):
        slow, quick = measure.measure(SMALL, names=["kn2row", "im2col"], replicates=8, budget=budget)
        assert quick.seconds == [0.001] * 8
        return len(slow.seconds)

    assert [count(budget) for budget in (0.9, 1.1, 5.0, 10.0)] == [1, 3, 5, 8]


def test_refused_problem_is_reported_with_its_sentence(plant):
    plant("picky", lambda *arguments: pytest.fail("it was run"), supports=lambda spec, dtype: "stride must be 1, got 2x2")
    (result,) = measure.measure(SMALL, names=["picky"])
    assert (result.refusal, result.seconds, result.workspace) == ("stride must be 1, got 2x2", [], 0)


def test_unknown_names_are_refused():
    with pytest.raises(ArgumentError, match="conv2d_grad_input has no algorithm 'guess'; there are "):
        measure.measure(SMALL, "input", names=["guess"])
    with pytest.raises(ArgumentError, match="there is no direction 'sideways' of a convolution; there are output, input, weight"):
        measure.measure(SMALL, "sideways")


def test_total_counts_layers_and_leaves_out_who_did_not_finish():
    def result(problem, name, *seconds):
        return measure.Result(problem, "output", name, "numpy", 0, 0.0, 1.0, seconds=list(seconds))

    other = problems.Problem.parse("n1 c2 h5 w5 k2 r1")
    results = [result(SMALL, "a", 1.0, 2.0, 9.0), result(SMALL, "b", 1.0), result(other, "a", 3.0), result(other, "b")]
    assert report.totals(results) == {"a": 2 * 2.0 + 3.0}


def test_json_names_the_machine_and_keeps_every_turn(plant):
    plant("poisonous", lambda spec, x, w, b, out: None)
    results = measure.measure(SMALL, names=["im2col", "poisonous"], replicates=4)
    data = json.loads(json.dumps(report.as_data(results), allow_nan=False))
    right, wrong = data["results"]
    assert right["problem"] == str(SMALL.spec)
    assert right["count"] == 2
    assert len(right["seconds"]) == 4
    assert right["median"] == pytest.approx(numpy.median(right["seconds"]))
    assert wrong["refusal"].startswith("wrong: ")
    assert "median" not in wrong
    assert data["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert data["machine"]["versions"]["numpy"] == numpy.__version__
    assert data["machine"]["threads"]["blas"] >= 1


def test_chart_is_a_picture(tmp_path):
    results = [*measure.measure(SMALL, replicates=3), *measure.measure(problems.Problem.parse('n1 c2 h5 w5 k2 r1 "test:other"'), replicates=3)]
    report.plot(results, tmp_path / "chart.png", "a machine")
    from PIL import Image

    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.width >= 1000
        assert picture.convert("L").getextrema() == (0, 255)


def test_threads_are_set_for_every_library():
    before = machine.threads()
    try:
        assert measure.prepare(1) == 1
        assert machine.threads() == {"minivgg": 1, "blas": 1, "numba": 1, "torch": 1}
        assert torch.get_num_threads() == 1
    finally:
        machine.set_threads(before["blas"])


def test_commit_is_that_of_the_checkout():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    found = machine.commit()
    assert found is None if head.returncode else head.stdout.startswith(found.removesuffix("-dirty"))


def test_runner_writes_a_file_for_each_direction(tmp_path):
    (tmp_path / "tiny.txt").write_text('# a comment\nn1 c4 h6 w6 k4 r3 p1 "tiny:one"\n')
    options = ["--direction", "output", "weight", "--results", tmp_path / "out", "--algorithms", "im2col", "--replicates", "1", "--threads", "1"]
    subprocess.run([sys.executable, ROOT / "benchmarks" / "run.py", "--problems", tmp_path / "tiny.txt", *options], check=True, capture_output=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny-output.json", "tiny-output.png", "tiny-weight.json", "tiny-weight.png"]
    (row,) = json.loads((tmp_path / "out" / "tiny-weight.json").read_text())["results"]
    assert (row["name"], row["direction"], row["algorithm"]) == ("tiny:one", "weight", "im2col")
