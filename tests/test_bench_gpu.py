"""benchmarks/gpu.py without a GPU: its checks and its measuring on the stand-in for CuPy, its rivals on the processor, its table from numbers made up."""

import dataclasses
import json
import sys
import time
from pathlib import Path

import emulator
import numpy
import pytest
import strict_arrays

import minivgg
from minivgg.bench import gpu as timing
from minivgg.bench import measure, network, problems, turns
from minivgg.bench.rivals._itself import itself
from minivgg.models import MiniVGG
from minivgg.registry import algorithms
from minivgg.spec import Conv2dSpec

ROOT = Path(__file__).parents[1]
SMALL = problems.Problem.parse('n1 c4 h6 w6 k8 r3 p1 "test:small"')

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu  # noqa: E402
import gpu_checks  # noqa: E402
import gpu_pytorch  # noqa: E402
import gpu_table  # noqa: E402

needs_compiler = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))


@pytest.fixture
def cupy(monkeypatch):
    module = strict_arrays.module()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(turns, "SHORTEST", 1e-4)
    monkeypatch.setattr(gpu, "REPLICATES", 1)
    return module


def record(operation, name):
    return algorithms(operation, "cuda")[name]


def without_gpu(monkeypatch):
    module = strict_arrays.module()
    module.cuda.count = 0
    monkeypatch.setitem(sys.modules, "cupy", module)


# Checks ---------------------------------------------------------------------------------------------------------------


@needs_compiler
def test_right_kernels_pass_their_problems(cupy):
    found = list(gpu_checks.check_records([record("relu", "fused")]))
    assert len(found) == 6 * 2 * 2  # shapes, dtypes, memory orders
    assert {(error, wrong) for _, error, wrong in found} == {(None, "")}


@needs_compiler
def test_a_wrong_kernel_is_named_with_its_problem(cupy):
    right = record("relu", "fused")

    def wrong(spec, x, out):
        right.run(spec, x, out)
        out[...] = out + (out > 2.5)

    found = [each for each in gpu_checks.check_records([dataclasses.replace(right, run=wrong)]) if each[2]]
    assert "relu, fused, (2, 24, 40, 42), float32, channels_last" in [what for what, _, _ in found]
    assert all("by the reference" in said or "relative error" in said for _, _, said in found)


@needs_compiler
def test_layers_are_checked_in_three_directions_by_every_kernel(cupy):
    records = [record(operation, name) for operation in measure.DIRECTIONS.values() for name in ("winograd_f4", "implicit_gemm")]
    found = list(gpu_checks.check_layers(records, [SMALL]))
    assert [what for what, _, _ in found] == [f"small {d}, {name}" for d in measure.DIRECTIONS for name in ("winograd_f4", "implicit_gemm")]
    assert all(0 < error < 2e-6 and not wrong for _, error, wrong in found)


def tiny():
    return MiniVGG(num_classes=3, in_channels=1, image_size=8)


@needs_compiler
def test_a_whole_network_is_held_to_float64(cupy):
    found = list(gpu_checks.check_network(tiny, (2, 1, 8, 8)))
    assert [what.rpartition(": ")[2] for what, _, _ in found] == ["scores", "gradients, the worst parameter's"]
    assert all(0 < error < 1e-4 and not wrong for _, error, wrong in found)


@needs_compiler
def test_a_network_that_computes_something_else_on_the_device_is_wrong(cupy):
    class Wrong(MiniVGG):
        def forward(self, x):
            scores = super().forward(x)
            return scores if x.device == "cpu" else scores * 1.1

    found = list(gpu_checks.check_network(lambda: Wrong(num_classes=3, in_channels=1, image_size=8), (2, 1, 8, 8)))
    assert all(wrong.startswith("wrong: relative error") for _, _, wrong in found)


@needs_compiler
def test_a_recorded_step_has_the_bits_of_one_that_is_not(cupy, monkeypatch):
    (found,) = gpu_checks.check_graph(gpu.small, (2, 1, 8, 8), steps=2)
    assert found == ("2 steps in a graph on images (2, 1, 8, 8)", None, "")

    def in_the_memory_of_the_graph(capture, generator):
        capture.seeds.append((generator, capture.cupy.empty(1, "uint64")))
        return capture.seeds[-1][1]

    monkeypatch.setattr(minivgg.capture.Capture, "seed_place", in_the_memory_of_the_graph)
    (found,) = gpu_checks.check_graph(gpu.small, (2, 1, 8, 8), steps=2)
    assert found[2] == "wrong: not the bits of steps without a graph"


# Measuring ------------------------------------------------------------------------------------------------------------


def test_time_is_that_between_two_events(cupy):
    calls = timing.event_timed(lambda: time.sleep(0.003))
    assert 0.006 <= calls(2) < 0.5
    assert [what for what, _ in cupy.cuda.log].count("record") == 2


def test_inputs_fill_the_cache_twice_and_rotate(cupy):
    inputs = timing.beyond_cache(lambda i: i, size=3000)  # the stand-in's cache has 4096 bytes
    assert inputs == [0, 1, 2]
    assert timing.beyond_cache(lambda i: i, size=1 << 30) == [0]
    seen = []
    run = timing.rotating(seen.append, inputs)
    for _ in range(5):
        run()
    assert seen == [0, 1, 2, 0, 1]


@needs_compiler
def test_ceilings_are_measured_by_a_kernel_that_computes(cupy):
    from minivgg.kernels.common import ceilings_cuda

    out = cupy.empty(2 * ceilings_cuda.THREADS, "float32")
    assert ceilings_cuda.multiply_add(out, 0.5, 1.0, 2) == 2 * 8 * 2 * out.size
    assert set(out.get().tolist()) == {sum(0.25 * i + 1.5 for i in range(8))}
    found = timing.measure_ceilings(elements=1000, repeats=2, replicates=1)
    assert set(found) == {"copy", "flops"}
    assert min(found.values()) > 0


@needs_compiler
def test_every_group_measures_minivgg(cupy):
    """Without PyTorch, which finds no GPU here."""
    described = network.build("minivgg", 8)
    rows = gpu.forward(described, 2, gpu_pytorch.EAGER, True, tuple(gpu.PRECISIONS))
    assert [row["competitor"] for row in rows] == ["minivgg", "minivgg TF32", "minivgg BF16", "minivgg graph"]
    errors = [row["error"] for row in rows]
    assert errors[0] == errors[3] == 0 < 1e-5 < errors[1] < errors[2]  # each precision was really allowed
    rows += gpu.step(described, 2, [])
    rows += gpu.convolutions([SMALL, SMALL], gpu.ways_of_layers(quick=True))
    rows += gpu.memory_bound((1, 2, 4, 4), (3, 5), 8)
    assert {row["work"] for row in rows} == {
        "forward 2", "step 2", "small output", "small input", "small weight", "relu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d",
        "dropout", "dropout, channels last", "local_response_norm, channels last", "batch_norm, channels last", "softmax", "bias gradient", "SGD", "Adam",
    }  # fmt: skip
    assert all(row["median"] > 0 and not row["refusal"] for row in rows if row["competitor"].startswith("minivgg"))
    records = algorithms("conv2d", "cuda").items()
    takes = [name for name, each in records if each.backend == "cuda" and name != "direct" and each.supports(SMALL.spec, gpu.FLOAT32) is None]
    assert sorted(row["flags"].rpartition(" ")[2] for row in rows if row["work"] == "small output") == sorted(takes)
    assert {row["flags"].split(",")[0] for row in rows} == {"float32", "TF32", "BF16"}
    json.dumps(rows)


def test_who_differs_or_fails_is_not_timed(cupy):
    def entrant(name, value):
        return timing.Timing("work", name, "flags"), lambda: (timing.event_timed(lambda: None), lambda: value())

    def fails():
        raise RuntimeError("no memory\nand much more")

    results = {
        "minivgg": lambda: cupy.ones(2), "PyTorch float32 a": lambda: cupy.ones(2) * 1.5, "PyTorch BF16 a": lambda: cupy.ones(2) * 1.1, "PyTorch TF32 a": fails,
    }  # fmt: skip
    found = gpu.race([entrant(*each) for each in results.items()], gpu_pytorch.MAY_DIFFER)
    assert [bool(row["seconds"]) for row in found] == [True, False, True, False]
    assert found[1]["refusal"] == "differs by 5.0e-01 from minivgg, allowed 1e-03"
    assert found[3]["refusal"] == "failed: no memory"


# PyTorch, on the processor --------------------------------------------------------------------------------------------


@pytest.fixture
def on_processor(monkeypatch):
    monkeypatch.setattr(gpu_pytorch, "DEVICE", "cpu")


@pytest.mark.parametrize("layout", gpu_pytorch.LAYOUTS)
def test_its_networks_are_ours(layout, on_processor):
    described = network.build("minivgg", 8)
    images, labels = described.images(2), described.labels(2)
    run, inputs = gpu_pytorch.forward(gpu_pytorch.Way("float32", layout), described, [images])
    numpy.testing.assert_allclose(gpu_pytorch.as_numpy(run(inputs[0])), itself().forward(described, images, 1)(), rtol=1e-4, atol=1e-6)
    run, inputs = gpu_pytorch.forward(gpu_pytorch.Way("BF16", layout), described, [images])
    assert str(run(inputs[0]).dtype) == "torch.bfloat16"
    run, inputs = gpu_pytorch.step(gpu_pytorch.Way("float32", layout), described, [(images, labels)])
    theirs = [run(inputs[0]).item() for _ in range(2)]
    described = network.build("minivgg", 8)  # the step before has changed the arrays
    ours, _ = itself().step(described, images, labels, 1)
    numpy.testing.assert_allclose(theirs, [ours(), ours()], rtol=1e-5)


@pytest.mark.parametrize("layout", gpu_pytorch.LAYOUTS)
@pytest.mark.parametrize("direction", measure.DIRECTIONS)
def test_its_convolutions_are_the_definition_s(direction, layout, on_processor):
    spec = Conv2dSpec.parse("n2 c3 h7 w6 k4 r3 p1")
    inputs = measure.draw_inputs(spec, direction)
    run, given = gpu_pytorch.convolution(gpu_pytorch.Way("float32", layout), spec, direction, [inputs])
    assert measure.relative_error(gpu_pytorch.as_numpy(run(given[0])), measure.exact(spec, direction, inputs)) < 1e-6


def test_flags_are_those_that_are_named():
    import torch

    owners = (torch.backends.cudnn, "allow_tf32"), (torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "benchmark")
    before = [getattr(owner, name) for owner, name in owners]
    try:
        for way in gpu_pytorch.EAGER:
            now = gpu_pytorch.flagged(way, lambda: [getattr(owner, name) for owner, name in owners])()
            assert way.flags.startswith("cudnn.allow_tf32={}, cuda.matmul.allow_tf32={}, cudnn.benchmark={}, ".format(*now))
            assert now == [way.precision == "TF32"] * 2 + [True]
    finally:
        for (owner, name), value in zip(owners, before, strict=True):
            setattr(owner, name, value)


# The table and the command --------------------------------------------------------------------------------------------


def part(*rows):
    results = [
        {"work": name, "competitor": who, "flags": "f", "seconds": [s], "median": s, "refusal": "", "flops": flops, "bytes": size}
        for name, who, s, flops, size in rows
    ]
    facts = {"device": {"device": "Made up", "driver": None, "cuda_driver": 13000}, "machine": {"commit": "abc"}}
    return {**facts, "ceilings": {"copy": 4e12, "flops": 6e13}, "results": results}


def test_the_table_says_of_every_goal_whether_it_was_reached():
    strict = "PyTorch float32 channels-last"
    data = {
        "forward64": part(("forward 64", "minivgg", 0.02, 0, 0), ("forward 64", strict, 0.04, 0, 0), ("forward 64", f"{strict} compiled", 0.036, 0, 0),
                          ("forward 64", "PyTorch TF32 channels-last", 0.001, 0, 0), ("forward 64", "minivgg TF32", 0.002, 0, 0)),
        "layers": part(("conv1_1 output", "minivgg", 0.001, 3e10, 2e9), ("conv1_1 output", strict, 0.0015, 0, 0),
                       ("conv5_1 output", "minivgg", 0.001, 0, 0), ("conv5_1 output", strict, 0.0011, 0, 0)),
        "forward1": part(("forward 1", "minivgg", 0.009, 0, 0), ("forward 1", "minivgg graph", 0.001, 0, 0), ("forward 1", strict, 0.0014, 0, 0),
                         ("forward 1", f"{strict} graph", 0.0012, 0, 0), ("forward 1", f"{strict} compiled", 0.0001, 0, 0)),
        "memory": part(("relu", "minivgg", 0.001, 0, 3_800_000_000), ("softmax", "minivgg", 0.001, 0, 2_000_000_000)),
    }  # fmt: skip
    found = gpu_table.table(data).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found if line.startswith("| ")]
    reached = {(cell[0], cell[1].partition(",")[0]): (cell[3], cell[4]) for cell in cells if len(cell) == 6}
    assert reached["VGG-16 forward, batch 64, strict float32", "PyTorch"] == ("1.80", "yes")  # the compiled one is the fastest; TF32 does not count
    assert reached["VGG-16 training step, batch 64, strict float32", "PyTorch"] == ("not measured", "")
    assert reached["each 3x3 layer, batch 64, strict float32: output", "PyTorch"] == ("1.10", "**no**")  # the lowest
    assert reached["VGG-16 forward, batch 1, under a graph, strict float32", "PyTorch eager"] == ("1.40", "**no**")
    assert reached["VGG-16 forward, batch 1, under a graph, strict float32", "PyTorch under a graph"] == ("1.20", "yes")
    assert reached["relu", "the measured copy bandwidth"] == ("95%", "yes")
    assert reached["softmax", "the measured copy bandwidth"] == ("50%", "**no**")
    assert reached["VGG-16 forward, batch 64, TF32", "PyTorch TF32"] == ("0.50", "**no**")
    assert reached["VGG-16 forward, batch 64, BF16", "PyTorch BF16"] == ("not measured", "")
    assert "| conv1_1 output | minivgg | f | 1 | 50% | 50% |" in found
    assert "layers: Made up, 13000, commit abc; copies 4000 GB/s, 60.0 TFLOP/s of multiply-adds" in found


def test_without_a_gpu_one_sentence_and_exit_code_2(monkeypatch, capsys):
    without_gpu(monkeypatch)
    assert gpu.main([]) == 2
    assert capsys.readouterr() == ("", "benchmarks/gpu.py needs a GPU and CuPy: CUDA found no device\n")


@needs_compiler
def test_every_variant_of_every_program_is_compiled_ahead(cupy, monkeypatch):
    """By other processes, which have a GPU and no stand-in; here by this one, the first of them."""
    compiled = []
    monkeypatch.setattr(cupy.RawModule, "compile", lambda module: compiled.append(module.names), raising=False)
    assert {program.name for program, _ in gpu.variants()} == {program.name for program in gpu.cuda.PROGRAMS}
    gpu.compile_one(0)
    assert len(compiled) == 1
    assert len(compiled[0]) > 0


@pytest.fixture
def built(monkeypatch):
    monkeypatch.setattr(gpu, "build", lambda: None)


def test_nothing_is_timed_where_something_is_wrong(cupy, built, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "gpu.json")
    monkeypatch.setattr(gpu, "checks", lambda: [("a layer", 1.0, "wrong")])
    assert gpu.main([]) == 1
    assert not gpu.RESULTS.exists()


@needs_compiler
def test_a_run_keeps_its_results_beside_those_of_other_rows(cupy, built, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "gpu.json")
    monkeypatch.setattr(gpu, "checks", lambda: [("a layer", 1e-7, "")])
    monkeypatch.setattr(timing, "measure_ceilings", lambda: {"copy": 1e9, "flops": 1e9})
    monkeypatch.setitem(gpu.GROUPS, "layers", lambda quick: gpu.convolutions([SMALL], gpu.ways_of_layers(quick)))
    gpu.RESULTS.write_text(json.dumps({"memory": part(("relu", "minivgg", 0.001, 0, 8))}))
    assert gpu.main(["layers"]) == 0
    kept = json.loads(gpu.RESULTS.read_text())
    assert set(kept) == {"memory", "layers"}
    assert kept["layers"]["device"]["device"] == "Stand-in"
    assert "small output" in capsys.readouterr().out
    assert gpu.main(["--show"]) == 0
