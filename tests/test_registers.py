"""The register tile as machine code: what it is for is that no sum leaves its register."""

import platform
import re

import numpy
import pytest
from numba import njit

from minivgg.kernels.common.jit import FASTMATH
from minivgg.kernels.common.simd import ROWS, VECTOR_BYTES, VECTORS, address, gemm_rows

REGISTER = {64: "zmm", 32: "ymm", 16: "xmm"}[VECTOR_BYTES]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the assembly of x86")
def test_tiles_of_every_height_keep_their_sums_in_registers():
    """LLVM once wrote two steps of the loop out, for 10 to 12 rows, and moved half of the sums to memory and back at each."""

    def multiply(rows, a, b, c):
        (depth, a_row), (b_row, c_row), d_row = a.shape, b.shape, c.shape[0]
        gemm_rows(numpy.float32(0), rows, address(a), address(b), address(c), address(c), depth, a_row, 1, b_row, c_row, d_row, address(b), b_row)

    compiled = njit(fastmath=FASTMATH)(multiply)
    compiled.compile("(int64, float32[:, ::1], float32[:, ::1], float32[:, ::1])")
    (text,) = compiled.inspect_asm().values()
    loops = [block for block in re.split(r"^\.L\w+:", text, flags=re.M) if len(re.findall(r"vfn?m\w+ps", block)) >= VECTORS * (ROWS // 2)]
    assert len(loops) == ROWS - ROWS // 2 + 1  # one for each height
    spilled = [line for block in loops for line in block.splitlines() if REGISTER in line and "(%rsp)" in line]
    assert spilled == []
