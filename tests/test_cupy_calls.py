"""Every call that minivgg makes of CuPy exists there with these arguments; see cupy_calls.py."""

import ast
import operator
import re
import subprocess
import sys
from pathlib import Path

import cupy_calls
import pytest

import minivgg

LISTED = cupy_calls.FILE.read_text(encoding="utf-8").split("\n")[:-1]


def test_the_list_is_what_is_called():
    """In a process of its own: what is called once and kept, other tests may have called already."""
    found = subprocess.run([sys.executable, cupy_calls.__file__, "--show"], check=True, capture_output=True, text=True).stdout
    assert found.splitlines() == LISTED, "run: python tests/cupy_calls.py"


def test_cupy_has_every_call():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, so the list of its calls was not held to it")
    assert [found for line in LISTED if (found := cupy_calls.problem(line, cupy))] == []


USED = {
    "cuda.Stream": "record wait_event begin_capture end_capture", "cuda.Event": "done", "cuda.Graph": "launch", "cuda.Device": "id mem_info synchronize",
    "cuda.MemoryPool": "malloc used_bytes total_bytes free_bytes free_all_blocks set_limit", "cuda.PinnedMemoryPool": "free_all_blocks",
    "ndarray": "get set device base flags", "cuda.runtime": "CUDARuntimeError getDeviceCount getDeviceProperties",
}  # fmt: skip
"""What the files of the device use of objects that CuPy hands out."""

FILES = ("device.py", "cuda.py", "capture.py", "cuda_graph.py", "data/transfer.py")


def test_cupy_has_what_the_files_of_the_device_name():
    """Every ``cupy.cuda.x`` that stands in them, and the members of what that returns."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    named = set()
    for file in FILES:
        for node in ast.walk(ast.parse((Path(minivgg.__file__).parent / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                named.add(re.sub(r"cupy_for\([^()]*\)|sys\.modules\['cupy'\]|(capture|self)\.cupy", "cupy", ast.unparse(node)))
    named = {path for path in named if re.fullmatch(r"cupy(\.\w+)+", path)}
    assert {"cupy.cuda.Device", "cupy.cuda.alloc_pinned_memory", "cupy.cuda.MemoryPool", "cupy.cuda.using_allocator"} <= named
    members = [f"{owner}.{name}" for owner, names in USED.items() for name in names.split()]
    paths = [path.removeprefix("cupy.") for path in named] + members
    assert [path for path in sorted(paths) if not _has(cupy, path)] == []
    assert not _has(cupy, "cuda.Streams")


def _has(owner, path):
    try:
        operator.attrgetter(path)(owner)
    except AttributeError:
        return False
    return True


def test_what_cupy_lacks_is_found():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    assert "CuPy has no cupy.busday_count" in cupy_calls.problem("cupy.busday_count(1)", cupy)
    assert "unexpected keyword argument 'initial'" in cupy_calls.problem("cupy.sum(1, axis, initial)", cupy)
    assert "unexpected keyword argument 'where'" in cupy_calls.problem("ndarray.sum(0, where)", cupy)
    assert "unexpected keyword argument 'where'" in cupy_calls.problem("cupy.add(2, out, where)", cupy)
    assert "too many positional arguments" in cupy_calls.problem("ndarray.copy(2)", cupy)
