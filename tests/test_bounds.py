"""No compiled kernel reads or writes beyond its arrays: tests/guarded.py in a process of its own, which a single byte too far ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "guarded.py"


def test_kernels_stay_in_their_memory():
    run = subprocess.run([sys.executable, str(PROGRAM)], capture_output=True, text=True)
    *_, last = run.stdout.splitlines() or ["nothing was run"]
    assert run.returncode == 0, f"signal {-run.returncode} in: {last}\n{run.stderr}"
    assert int(last.removesuffix(" runs stayed in their memory")) > 2000


PLANTED = """
import sys
sys.path.insert(0, {folder!r})
from guarded import guarded
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.simd import address, copy_vector, lanes

@compiled
def copy(x, y, shift):
    copy_vector(x.dtype.type(0), address(x) + shift, address(y))

x, y = guarded(lanes("float32"), "float32", {at_end}), guarded(lanes("float32"), "float32", True)
copy(x, y, {shift})
print("went well")
"""


@pytest.mark.parametrize(("at_end", "shift", "well"), [(True, 0, True), (True, 1, False), (False, 0, True), (False, -1, False), (False, 1, True)])
def test_a_byte_too_far_is_noticed(at_end, shift, well, tmp_path):
    program = tmp_path / "planted.py"
    program.write_text(PLANTED.format(folder=str(PROGRAM.parent), at_end=at_end, shift=shift), encoding="utf-8")
    run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == ((0, "went well\n") if well else (-signal.SIGSEGV, ""))
