"""Every call that minivgg makes of CuPy exists there with these arguments; see cupy_calls.py."""

import cupy_calls
import pytest

LISTED = cupy_calls.FILE.read_text(encoding="utf-8").split("\n")[:-1]


def test_the_list_is_what_is_called():
    assert cupy_calls.called() == LISTED, "run: python tests/cupy_calls.py"


def test_cupy_has_every_call():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed, so the list of its calls was not held to it")
    assert [found for line in LISTED if (found := cupy_calls.problem(line, cupy))] == []


def test_what_cupy_lacks_is_found():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    assert "CuPy has no cupy.busday_count" in cupy_calls.problem("cupy.busday_count(1)", cupy)
    assert "unexpected keyword argument 'initial'" in cupy_calls.problem("cupy.sum(1, axis, initial)", cupy)
    assert "unexpected keyword argument 'where'" in cupy_calls.problem("ndarray.sum(0, where)", cupy)
    assert "unexpected keyword argument 'where'" in cupy_calls.problem("cupy.add(2, out, where)", cupy)
    assert "too many positional arguments" in cupy_calls.problem("ndarray.copy(2)", cupy)
