"""Memory that is used again: whose it is, and how much of it is kept."""

import gc
import os
import subprocess
import sys
import threading
import tracemalloc

import numpy
import pytest

import minivgg
from minivgg.backend import empty
from minivgg.memory import LARGE, LINE, PAGE, Pool


@pytest.fixture
def pool():
    return Pool()


def test_memory_of_a_freed_array_is_used_again(pool):
    first = pool.take(2 * LARGE)
    where = first.ctypes.data
    first.fill(7)
    del first
    second = pool.take(2 * LARGE)
    assert second.ctypes.data == where
    assert (second == 7).all()


def test_memory_is_not_used_again_while_a_view_of_it_lives(pool):
    array = pool.take(LARGE)
    view = array.view("float32").reshape(4, -1)[1:, ::2]
    del array
    view.fill(3)
    other = pool.take(LARGE)
    other.fill(0)
    assert not numpy.shares_memory(view, other)
    assert (view == 3).all()


def test_arrays_in_use_never_overlap_in_a_random_sequence(pool):
    rng = numpy.random.default_rng(0)
    held = {}
    for step in range(500):
        if held and rng.random() < 0.5:
            number = rng.choice(list(held))
            assert (held[number] == number % 251).all()
            del held[number]
        elif len(held) < 8:
            array = pool.take(int(rng.integers(1, 1 << 16)))
            array.fill(step % 251)
            held[step] = array
    assert all((array == number % 251).all() for number, array in held.items())


def test_neighbours_are_joined_again(pool):
    arrays = [pool.take(LARGE) for _ in range(8)]
    where = arrays[2].ctypes.data
    for number in (4, 2, 3):
        arrays[number] = None
    assert pool.take(3 * LARGE).ctypes.data == where


def test_pieces_fill_their_segments_in_order_and_without_free_neighbours(pool):
    rng = numpy.random.default_rng(1)
    held = []
    for _ in range(500):
        if held and rng.random() < 0.5:
            held.pop(int(rng.integers(len(held))))
        else:
            held.append(pool.take(int(rng.integers(1, 1 << 22))))
        pool._collect()
        assert pool.used == sum(array.base.size for array in held)
        for segment in pool.segments:
            ends = [0, *numpy.cumsum([piece.size for piece in segment.pieces]).tolist()]
            assert [piece.start for piece in segment.pieces] == ends[:-1]
            assert ends[-1] == segment.memory.size
            assert not any(left.free and right.free for left, right in zip(segment.pieces, segment.pieces[1:], strict=False))


def test_a_repeated_sequence_of_sizes_soon_takes_nothing_more_from_the_system(pool, monkeypatch):
    """Sizes and lifetimes of a training step: every activation lives until its turn comes on the way back."""
    from minivgg import memory

    taken, from_system = [], memory._from_system
    monkeypatch.setattr(memory, "_from_system", lambda size: taken.append(size) or from_system(size))

    def step():
        activations = [pool.take(megabytes << 20) for megabytes in (100, 25, 50, 12, 25, 25, 6, 12, 12, 3, 3)]
        while activations:
            gradient = pool.take(activations[-1].size)
            scratch = [pool.take(megabytes << 20) for megabytes in (37, 4, 4)]
            del scratch, gradient
            activations.pop()

    step()
    step()
    taken.clear()
    for _ in range(3):
        step()
    assert taken == []
    assert pool.held <= pool.peak * 1.5


def test_free_segments_are_given_back_when_another_size_is_needed(pool):
    for megabytes in range(70, 100):
        pool.take(megabytes << 20)
    assert pool.held < 300 << 20


def test_tracemalloc_sees_the_arrays_and_not_the_segments(pool):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        array = pool.take(8 * LARGE)
        assert abs(tracemalloc.get_traced_memory()[0] - before - 8 * LARGE) < 1 << 16
        del array
        assert abs(tracemalloc.get_traced_memory()[0] - before) < 1 << 16
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [PAGE, PAGE + 1000, LARGE - 1, LARGE, 3 * LARGE + 5])
def test_arrays_begin_on_a_cache_line(size):
    array = empty((size,), "uint8")
    assert array.size == size
    assert array.ctypes.data % LINE == 0
    assert array.flags.writeable


def test_empty_cache_gives_everything_back(pool):
    del_me = pool.take(4 * LARGE)
    kept = pool.take(LARGE)
    kept.fill(5)
    del del_me
    pool.clear()
    assert len(pool.segments) == 1  # the one with an array in it
    assert (kept == 5).all()
    del kept
    pool.clear()
    assert pool.segments == []
    minivgg.empty_cache()


def test_several_threads_take_and_free():
    def work(number):
        for _ in range(200):
            array = empty((LARGE,), "uint8")
            array.fill(number)
            assert (array[::4096] == number).all()

    failures = []

    def guarded(number):
        try:
            work(number)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_process_has_a_pool_of_its_own(pool):
    from minivgg.memory import POOL

    gc.collect()
    with POOL.lock:  # as if another thread were just taking a piece
        child = os.fork()
        if child == 0:
            array = empty((LARGE,), "uint8")
            os._exit(0 if array.size == LARGE else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_array_that_lives_to_the_end_of_the_program_ends_in_silence(tmp_path):
    """A compiled function keeps its module's variables alive until the modules are taken apart."""
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy\nfrom minivgg.backend import empty\nfrom minivgg.kernels.common.jit import compiled\n\n"
        "@compiled\ndef first(x):\n    return x[0]\n\nx = empty((1 << 22,), numpy.dtype('float32'))\nx[:] = 1\nprint(first(x))\n",
        encoding="utf-8",
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)})
    assert run.stdout == "1.0\n"
    assert [line for line in run.stderr.splitlines() if not line.startswith("minivgg: compiling")] == []
