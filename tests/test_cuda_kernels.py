"""Every CUDA kernel, on every problem of its operation, through the checks of every other algorithm: on the emulator, and on a GPU."""

import contextlib
import dataclasses
import subprocess
import sys
from pathlib import Path

import devices
import emulator
import hypothesis
import numpy
import pytest

import minivgg
from minivgg.kernels.channels import fused_cuda as channels_cuda
from minivgg.kernels.common.cuda import ceil_div
from minivgg.kernels.conv2d import patches_cuda, winograd_f4_cuda
from minivgg.registry import algorithms
from minivgg.spec import Conv2dSpec, Pool2dSpec
from minivgg.testing import kernel_checks
from minivgg.testing.on_device import cuda_records, on_device
from minivgg.testing.problems import problems

DTYPES = [numpy.dtype("float32"), numpy.dtype("float64")]
CASES = [(record, problem, dtype) for record in cuda_records() for problem in problems(record.operation) for dtype in DTYPES]
SUPPORTED = [case for case in CASES if case[0].supports(case[1].spec, case[2]) is None]

MACHINES = [pytest.param(devices.on_emulator, id="emulator")] if emulator.missing() is None else []
MACHINES += [pytest.param(on_device, id="gpu")] if devices.gpu() is not None else []


def each(cases):
    return pytest.mark.parametrize(("algorithm", "problem", "dtype"), [pytest.param(a, p, d, id=f"{a.operation}-{a.name}-{p}-{d}") for a, p, d in cases])


def large(problem):
    return max(numpy.prod(shape) for shape in (*problem.inputs, *problem.outputs) if shape is not None) > 40_000


@pytest.mark.parametrize("on", MACHINES)
@each(SUPPORTED)
def test_result(algorithm, problem, dtype, on):
    for layout in ["channels_last"] if large(problem) else kernel_checks.LAYOUTS:
        kernel_checks.check_result(on(algorithm), problem, dtype, layout)


@pytest.mark.parametrize("on", MACHINES)
@each(case for case in SUPPORTED if case[0].fuses)
def test_what_it_fuses(algorithm, problem, dtype, on):
    for layout in ["channels_last"] if large(problem) else kernel_checks.LAYOUTS:
        kernel_checks.check_fused(on(algorithm), problem, dtype, layout)


@pytest.mark.parametrize("on", MACHINES)
@each(case for case in SUPPORTED if not large(case[1]))
def test_inputs_are_left_alone(algorithm, problem, dtype, on):
    kernel_checks.check_inputs(on(algorithm), problem)


@pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))
@each(case for case in SUPPORTED if large(case[1]))
def test_scratch_memory_is_what_it_declares(algorithm, problem, dtype):
    for layout in ("row_major", "channels_last"):
        kernel_checks.check_workspace(devices.on_emulator(algorithm), problem, dtype, layout)


@pytest.mark.parametrize("on", MACHINES)
@each(case for case in SUPPORTED if case[0].name == "winograd_f4" and not large(case[1]))
def test_winograd_in_many_blocks_of_tiles(algorithm, problem, dtype, on, monkeypatch):
    monkeypatch.setattr(winograd_f4_cuda, "BLOCK_BYTES", 3 * 36 * (problem.spec.c + problem.spec.k) * dtype.itemsize)
    assert winograd_f4_cuda.tiles_at_a_time(problem.spec, dtype, 100) == 3
    kernel_checks.check_result(on(algorithm), problem, dtype, "channels_last")


@pytest.mark.parametrize("on", MACHINES)
@pytest.mark.parametrize("operation", ["channel_sums", "batch_norm", "batch_norm_grad"])
def test_sums_of_many_numbers_by_few_blocks(operation, on, monkeypatch):
    """Each thread adds up more than it does between two pauses; a plane has more than one piece."""
    monkeypatch.setattr(channels_cuda, "BLOCKS", 2)
    problem, shape = problems(operation)[0], (1, 3, 130, 140)
    inputs, outputs = (tuple(shape if each == problem.inputs[0] else each for each in shapes) for shapes in (problem.inputs, problem.outputs))
    spec = problem.spec._replace(shape=shape) if operation.startswith("batch_norm") else shape
    long = dataclasses.replace(problem, spec=spec, inputs=inputs, outputs=outputs)
    for layout in ("channels_last", "row_major"):
        kernel_checks.check_result(on(algorithms(operation, "cuda")["fused"]), long, numpy.dtype("float32"), layout)


@pytest.mark.parametrize("on", MACHINES)
@pytest.mark.parametrize("allow", [minivgg.allow_tf32, minivgg.allow_bf16, None])
@pytest.mark.parametrize("name", ["implicit_gemm", "tensor_cores", "direct", "patches"])
def test_what_a_place_does_not_look_at_may_be_infinite(name, allow, on):
    """Slices of a product end in zeros, which times infinity would be nan; and infinities have no parts."""
    spec = Conv2dSpec.parse("n1 c4 h9 w9 k4 r3 p1" if name == "patches" else "n1 c3 h9 w9 k4 r3 p1")
    x, w, out = numpy.ones(spec.input_shape, "float32"), numpy.ones(spec.weight_shape, "float32"), numpy.empty(spec.output_shape, "float32")
    x[:, :, 4, 4] = numpy.inf
    with allow() if allow else contextlib.nullcontext():
        on(algorithms("conv2d", "cuda")[name]).run(spec, x, w, None, out)
    sees = numpy.zeros((9, 9), bool)
    sees[3:6, 3:6] = True
    assert not numpy.isnan(out).any()
    numpy.testing.assert_array_equal(numpy.isinf(out), numpy.broadcast_to(sees, out.shape))


@pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))
@pytest.mark.parametrize("name", ["implicit_gemm", "tensor_cores", "winograd_f4", "patches"])
@pytest.mark.parametrize("direction", ["conv2d", "conv2d_grad_input"])
def test_an_image_may_begin_anywhere(direction, name):
    """What is copied 16 bytes at a time has to begin at a multiple of them; a view need not."""
    spec = Conv2dSpec.parse("n1 c4 h5 w6 k4 r3 p1")
    memory, w = (numpy.random.default_rng(0).standard_normal(shape).astype("float32") for shape in (128, spec.weight_shape))
    results = []
    for aside in (0, 1):
        first = -memory.ctypes.data // 4 % 4 + aside
        x = memory[first : first + 120]
        x[:] = numpy.arange(120) % 7
        x, out = x.reshape(1, 5, 6, 4).transpose(0, 3, 1, 2), numpy.empty((1, 5, 6, 4), "float32").transpose(0, 3, 1, 2)
        devices.on_emulator(algorithms(direction, "cuda")[name]).run(spec, x, w, *([None] if direction == "conv2d" else []), out)
        results.append(out)
    numpy.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4)


@hypothesis.given(hypothesis.strategies.integers(1, 300), hypothesis.strategies.integers(1, 300), hypothesis.strategies.booleans())
def test_blocks_of_places_cover_a_result_and_their_patches_fit(height, width, pool):
    down, across = patches_cuda.block_of(128, height, width, pool)
    assert 1 <= down * across <= 128
    assert (down + 2) * (across + 2) <= 192
    assert not pool or down % 2 == across % 2 == 0
    assert ceil_div(height, down) * ceil_div(width, across) <= ceil_div(height, 8) * ceil_div(width, 16)  # no more than the plainest blocks


@pytest.mark.parametrize("on", MACHINES)
def test_the_last_nan_of_a_window_wins(on):
    spec = Conv2dSpec.parse("n1 c2 h6 w6 k3 r3 p1")
    x, w = (numpy.random.default_rng(0).standard_normal(shape).astype("float32") for shape in (spec.input_shape, spec.weight_shape))
    out, cells, nan = numpy.zeros((1, 3, 3, 3), "float32"), numpy.full((1, 3, 3, 3), 9, "uint8"), numpy.array([numpy.nan, 0, numpy.nan], "float32")
    on(algorithms("conv2d", "cuda")["winograd_f4"]).run(spec, x, w, nan, out, relu=True, pool=True, cells=cells)
    numpy.testing.assert_array_equal(numpy.isnan(out), numpy.broadcast_to(numpy.isnan(nan)[:, None, None], out.shape))
    assert (cells[:, ::2] == 3).all()


@each(case for case in CASES if case not in SUPPORTED)
def test_refusal_has_a_sentence(algorithm, problem, dtype):
    kernel_checks.check_refusal(algorithm, problem, dtype, "cuda:0")


@pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))
def test_no_kernel_leaves_its_memory():
    """The address sanitizer has to be there before Python is: another process runs every kernel once more."""
    run = subprocess.run([sys.executable, Path(__file__).with_name("sanitized.py")], env=emulator.sanitized_environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-500:] + run.stderr[:3000]
    assert int(run.stdout.splitlines()[-1].removesuffix(" runs stayed in their memory")) >= len(SUPPORTED)


@pytest.mark.parametrize("on", MACHINES)
@pytest.mark.parametrize("text", ["n2 c4 h8 w8 r2", "n1 c2 h9 w9 r3 s2 p1 d2"])
def test_largest_cells_among_nan_and_infinities(text, on):
    spec, rng, results = Pool2dSpec.parse(text), numpy.random.default_rng(0), []
    x = rng.choice(numpy.array([-1, 0, 1, -numpy.inf, -numpy.inf, numpy.inf, numpy.nan], "float32"), spec.input_shape)
    for algorithm in (algorithms("max_pool2d")["reference"], on(algorithms("max_pool2d", "cuda")["direct"])):
        results.append((numpy.empty(spec.output_shape, "float32"), numpy.empty(spec.output_shape, "uint8")))
        algorithm.run(spec, x, *results[-1])
    assert numpy.isnan(results[0][0]).any()
    for reference, direct in zip(*results, strict=True):
        numpy.testing.assert_array_equal(direct, reference)
