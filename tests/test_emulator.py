"""The emulator itself: it computes what a GPU computes, and reports what a GPU would leave undefined."""

import subprocess
import sys
import textwrap
from pathlib import Path

import emulator
import numpy
import pytest
import strict_arrays

from minivgg.kernels.common.cuda import HEADERS

pytestmark = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))

cupy = strict_arrays.module()
SHARED = (HEADERS / "shared_memory.cuh").read_text(encoding="utf-8")


def kernel(body, parameters="float* x, int n"):
    return emulator.RawModule(code=f'{SHARED}\nextern "C" __global__ void f({parameters}) {{\n{body}\n}}').get_function("f")


def array(*shape):
    return cupy.asarray(numpy.arange(numpy.prod(shape), dtype="float32").reshape(shape))


def test_blocks_and_threads_have_their_numbers():
    x = cupy.asarray(numpy.zeros((3, 2, 2, 4, 5), "float32"))
    place = "(((blockIdx.y * gridDim.x + blockIdx.x) * blockDim.z + threadIdx.z) * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x"
    kernel(f"x[{place}] = {place} + n;")((2, 3), (5, 4, 2), (x, numpy.int32(7)))
    numpy.testing.assert_array_equal(x.get().reshape(-1), 7 + numpy.arange(240))


def test_barriers_order_reads_and_writes_of_shared_memory():
    x = array(3, 256)
    reverse = (
        "__shared__ float tile[256]; const int i = threadIdx.x; float* row = x + blockIdx.x * n; tile[i] = row[i]; __syncthreads(); row[i] = tile[n - 1 - i];"
    )
    kernel(reverse)((3,), (256,), (x, numpy.int32(256)))
    numpy.testing.assert_array_equal(x.get(), numpy.arange(768).reshape(3, 256)[:, ::-1])


def test_a_missing_barrier_shows_in_one_of_two_runs():
    shift = "__shared__ float tile[64]; const int i = threadIdx.x; tile[i] = x[i]; x[i] = tile[(i + 1) % n];"
    runs = []
    for _ in range(2):
        x = array(64)
        kernel(shift)((1,), (64,), (x, numpy.int32(64)))
        runs.append(x.get())
    assert any(numpy.isnan(run).any() for run in runs)
    assert (numpy.nan_to_num(runs[0]) != numpy.nan_to_num(runs[1])).any()


def test_dynamic_shared_memory_begins_as_nan():
    x = array(4)
    kernel("DYNAMIC_SHARED(float, tile); x[0] = tile[n];")((1,), (1,), (x, numpy.int32(3)), shared_mem=16)
    assert numpy.isnan(x.get()[0])


@pytest.mark.parametrize(
    ("expression", "truth"),
    [
        ("__shfl_xor_sync(~0u, x[i], 4)", lambda x, i: x[i ^ 4]),
        ("__shfl_sync(~0u, x[i], 3, 8)", lambda x, i: x[i // 8 * 8 + 3]),
        ("__shfl_down_sync(~0u, x[i], 2)", lambda x, i: x[numpy.where(i % 32 < 30, i + 2, i)]),
        ("__shfl_up_sync(~0u, x[i], 2, 16)", lambda x, i: x[numpy.where(i % 16 >= 2, i - 2, i)]),
        ("__popc(__ballot_sync(~0u, x[i] < 40))", lambda x, i: numpy.where(i < 32, 32, 8)),
        ("__any_sync(~0u, x[i] > 40) + 2 * __all_sync(~0u, x[i] > 31)", lambda x, i: numpy.where(i < 32, 0, 3)),
    ],
)
def test_lanes_of_a_warp_exchange_values(expression, truth):
    x = array(64)
    kernel(f"const int i = threadIdx.x; const float result = {expression}; __syncwarp(); x[i] = result + 0 * n;")((1,), (64,), (x, numpy.int32(0)))
    i = numpy.arange(64)
    numpy.testing.assert_array_equal(x.get(), truth(i.astype("float32"), i))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("if (threadIdx.x < 5) return; __syncthreads();", r"thread \(0, 0, 0\) has ended, thread \(5, 0, 0\) waits at the barrier .* in block \(0, 0, 0\)"),
        ("if (threadIdx.x < 5) __syncthreads();\nelse __syncthreads();", r"waits at the barrier .*, thread .* at "),
        ("if (threadIdx.x != 9) __shfl_xor_sync(~0u, 1.0f, 1);", r"waits in its warp at .* for lanes that do not come"),
        ("__shfl_xor_sync(1u, 1.0f, 0);", r"thread \(\d+, 0, 0\) is not in its own mask"),
        ("if (threadIdx.x & 1) __syncwarp();\nelse __shfl_xor_sync(~0u, 1, 1);", r"the warp of thread \(\d+, 0, 0\) is at .* and at "),
        ("if (threadIdx.x == 40) __trap();", r"a trap at .* in block \(0, 0, 0\)"),
    ],
)
def test_what_a_gpu_leaves_undefined_is_an_error(body, message):
    function = kernel(body)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=message):
            function((2,), (64,), (array(4), numpy.int32(0)))
    x = array(4)  # and the next launch is well
    kernel("x[0] = n;")((1,), (1,), (x, numpy.int32(3)))
    assert x.get()[0] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((array(4),), "takes 2 arguments, got 1"),
        ((array(4), numpy.int64(1)), "argument 1 is i4, got i8"),
        ((array(4), 1), "argument 1 is i4, got int"),
        ((array(4).astype("float64"), numpy.int32(1)), "argument 0 is a pointer to f4, got f8"),
        ((numpy.int32(1), numpy.int32(1)), "argument 0 is a pointer to f4, got int32"),
    ],
)
def test_arguments_are_held_to_the_signature(arguments, message):
    with pytest.raises(AssertionError, match=message):
        kernel("x[0] = n;")((1,), (1,), arguments)


@pytest.mark.parametrize(("grid", "block", "shared"), [((1,), (1025,), 0), ((1, 70000), (1,), 0), ((1,), (0,), 0), ((1,), (1,), 50_000)])
def test_a_launch_that_no_gpu_takes_is_refused(grid, block, shared):
    with pytest.raises(AssertionError):
        kernel("x[0] = n;")(grid, block, (array(4), numpy.int32(0)), shared_mem=shared)


PLANTED = """
import sys
sys.path.insert(0, {folder!r})
import emulator, numpy, strict_arrays
code = 'extern "C" __global__ void f(float* x, int i) {{ __shared__ float tile[8]; tile[threadIdx.x] = 1; __syncthreads(); {body} }}'
x = strict_arrays.module().asarray(numpy.zeros(5, "float32"))
emulator.RawModule(code=code).get_function("f")((1,), (8,), (x, numpy.int32({i})), shared_mem=16)
print("went well")
"""


@pytest.mark.parametrize(
    ("body", "last", "report"),
    [
        ("x[i] = 1;", 4, "heap-buffer-overflow"),
        ("tile[0] += x[i];", 4, "heap-buffer-overflow"),
        ("x[0] = tile[i];", 7, "global-buffer-overflow|out of bounds"),
        ("emulator::dynamic_shared[i] = 1;", 15, "heap-buffer-overflow"),
        ("x[0] = reinterpret_cast<float4*>(x + i)->x;", 0, "misaligned"),
        ("x[0] = 1 << i;", 30, "shift exponent|left shift"),
    ],
)
def test_one_element_too_far_is_noticed(body, last, report, tmp_path):
    for i, well in ((last, True), (last + 2 if "<<" in body else last + 1, False)):
        program = tmp_path / "planted.py"
        program.write_text(textwrap.dedent(PLANTED.format(folder=str(Path(__file__).parent), body=body, i=i)), encoding="utf-8")
        run = subprocess.run([sys.executable, program], env=emulator.sanitized_environment(), capture_output=True, text=True)
        assert (run.returncode == 0, run.stdout) == ((True, "went well\n") if well else (False, "")), run.stderr
        if not well:
            assert any(word in run.stderr for word in report.split("|")), run.stderr
