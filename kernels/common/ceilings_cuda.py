"""What the CUDA cores of a GPU cannot exceed: multiply-adds in registers, and nothing else. The kernel is in ceilings.cu."""

from __future__ import annotations

from pathlib import Path

import numpy

from minivgg.kernels.common.cuda import Program

CHAINS, THREADS = 8, 256
PROGRAM = Program(Path(__file__).with_name("ceilings.cu"), ({"CHAINS": CHAINS},))


def multiply_add(out, a, b, repeats):
    """out[i] = Σ_c s_c with s_c = c at first, then s_c = s_c·a + b ``repeats`` times; returns the operations, two a multiply-add.

    ``out`` holds a float32 for each thread, a multiple of THREADS.
    """
    PROGRAM.kernel("multiply_add", CHAINS=CHAINS)(out.size // THREADS, THREADS, out, numpy.float32(a), numpy.float32(b), repeats)
    return 2 * CHAINS * repeats * out.size
