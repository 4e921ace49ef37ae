"""Every CUDA program compiles to machine code for each architecture, and takes the registers that tests/cubin.txt says: cubin.py."""

import cubin
import pytest

VARIANTS = [(program, constants) for program in cubin.programs() for constants in program.variants]


@pytest.mark.parametrize(("program", "constants"), [pytest.param(p, c, id=f"{p.name}-{cubin.written(c)}") for p, c in VARIANTS])
def test_it_compiles_and_spills_nothing(program, constants):
    for architecture in cubin.ARCHITECTURES:
        if architecture >= program.architecture:
            for kernel, (registers, spilled) in cubin.compiled(program, constants, architecture).items():
                assert spilled == 0, f"{kernel} keeps {spilled} bytes in memory that should be in registers"
                assert registers < 255, f"{kernel} takes all registers"


def test_registers_are_those_of_the_table():
    kept = cubin.TABLE.read_text(encoding="utf-8").splitlines()[2:]
    assert list(cubin.rows()) == kept, "make cubin keeps the new numbers"


def test_a_spill_is_seen():
    """A kernel with more values alive than a thread has registers."""
    text = """extern "C" __global__ void __launch_bounds__(1024) f(const float* x, float* y) {
        float a[200];
        for (int i = 0; i < 200; ++i) a[i] = x[i * 1024 + threadIdx.x];
        __syncthreads();
        #pragma unroll
        for (int i = 0; i < 200; ++i) y[i * 1024 + threadIdx.x] = a[i] * a[(i * 7 + 3) % 200] * a[(i * 3 + 1) % 200];
    }"""
    ((name, (registers, spilled)),) = cubin._compile(text, 90)
    assert (name, registers) == ("f", 64)
    assert spilled > 0
