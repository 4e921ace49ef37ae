"""Every CUDA kernel on every problem, under the address sanitizer: `python tests/sanitized.py`, in `emulator.sanitized_environment()`.

A read or a write beyond an array or beyond shared memory ends the process, and so do a misaligned vector, a shift too far
and an overflow.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import devices
import numpy

from minivgg.testing import kernel_checks
from minivgg.testing.on_device import cuda_records
from minivgg.testing.problems import problems

runs = 0
for algorithm in map(devices.on_emulator, cuda_records()):
    for problem in problems(algorithm.operation):
        for dtype in (numpy.dtype("float32"), numpy.dtype("float64")):
            if algorithm.supports(problem.spec, dtype) is None:
                print(algorithm.operation, algorithm.name, problem, dtype, flush=True)
                for fused in ({}, *({name: True} for name in algorithm.fuses if name != "pool")):
                    inputs, outputs = kernel_checks.data(problem, dtype, "normal"), kernel_checks.poisoned_outputs(problem, dtype, 0)
                    algorithm.run(problem.spec, *inputs, *outputs, **fused)
                    runs += 1
print(f"{runs} runs stayed in their memory")
