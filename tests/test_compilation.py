"""When kernels are compiled, what the user is told, and what happens where nothing can be kept."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import minivgg
from minivgg import nn
from minivgg.cli import warmup

ROOT = Path(__file__).parents[1]
LINE = "minivgg: compiling kernels once for this machine, which takes a few seconds (minivgg warmup does it ahead)\n"
PROGRAM = "import minivgg; x = minivgg.ones(1 << 19); print((minivgg.relu(-x) + minivgg.relu(x)).sum().item())"


def python(*arguments, code=0, cwd=ROOT, timeout=120, **environment):
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment}, cwd=cwd)
    assert run.returncode == code, run.stderr
    return run


def test_the_first_process_says_that_it_compiles_and_the_second_does_not(tmp_path):
    first, second = (python("-W", "error", "-c", PROGRAM, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert (first.stdout, first.stderr) == ("524288.0\n", LINE)
    assert (second.stdout, second.stderr) == ("524288.0\n", "")


def test_kernels_that_are_not_ours_are_compiled_in_silence(tmp_path):
    program = "import importlib, numba; importlib.import_module('minivgg.kernels.common.jit'); print(numba.njit(lambda x: x + 1)(1))"
    run = python("-c", program, NUMBA_CACHE_DIR=str(tmp_path))
    assert (run.stdout, run.stderr) == ("2\n", "")


def test_a_broken_cache_costs_the_time_to_compile_and_a_warning(tmp_path):
    python("-c", PROGRAM, NUMBA_CACHE_DIR=str(tmp_path))
    kept = [file for file in tmp_path.rglob("*.nbc") if "pass_positive" in file.name]
    assert kept
    for file in kept:
        file.write_bytes(b"\x80\x04broken")
    run = python("-c", PROGRAM, NUMBA_CACHE_DIR=str(tmp_path))
    assert run.stdout == "524288.0\n"
    assert "minivgg cannot use its cache of compiled kernels" in run.stderr
    assert "set NUMBA_CACHE_DIR to a writable folder" in run.stderr


@pytest.fixture(scope="module")
def read_only(tmp_path_factory):
    """A checkout in which nothing can be kept: a file stands where each folder of compiled code would be."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("minivgg", "kernels"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.py", root)
    for folder in {file.parent for file in root.rglob("*.py")}:
        (folder / "__pycache__").touch()
    return root


NOWHERE = {"NUMBA_CACHE_DIR": "/dev/null/kernels", "HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}


def test_where_nothing_can_be_kept_it_computes_with_a_hint(read_only):
    run = python("-c", PROGRAM, cwd=read_only, **NOWHERE)
    assert run.stdout == "524288.0\n"
    assert run.stderr.count("RuntimeWarning: minivgg cannot write its cache of compiled kernels") == 1
    assert "set NUMBA_CACHE_DIR to a writable folder" in run.stderr
    assert run.stderr.count("minivgg: compiling kernels for this process") == 1


def test_warmup_refuses_where_nothing_can_be_kept(read_only):
    run = python("-m", "minivgg.cli", "warmup", code=1, cwd=read_only, **NOWHERE)
    assert "nothing would be kept; set NUMBA_CACHE_DIR to a writable folder" in run.stderr
    assert run.stdout == ""


def compiled_after_warmup():
    """The kernels that a training step and inference compile though everything is warm."""
    for algorithm, pairs in warmup.calls():
        for problem, dtype in pairs:
            warmup.run(algorithm, problem, dtype)
    jit = importlib.import_module("minivgg.kernels.common.jit")
    before = {kernel: set(kernel.overloads) for kernel in jit.KERNELS}
    for dtype in ("float32", "float64"):
        minivgg.manual_seed(0)
        layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(32, 16, 5, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 7 * 7, 10)]
        model = nn.Sequential(*layers).to(dtype)
        images = minivgg.randn(4, 3, 64, 64, dtype=dtype)
        for make in (minivgg.optim.SGD, minivgg.optim.Adam):
            optimizer = make(model.parameters(), lr=0.01)
            nn.functional.cross_entropy(model(images), minivgg.tensor([1, 2, 3, 4])).backward()
            optimizer.step()
        with minivgg.no_grad():
            model(images)
            model(minivgg.tensor(numpy.asfortranarray(images.numpy())))
    return [kernel.__name__ for kernel in jit.KERNELS if set(kernel.overloads) - before[kernel]]


def test_warmup_reaches_what_training_and_inference_run():
    """In a process of its own: here, other tests have run the kernels already."""
    tests = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    run = python("-c", "import test_compilation; print(test_compilation.compiled_after_warmup())", timeout=600, PYTHONPATH=tests)
    assert run.stdout == "[]\n"
