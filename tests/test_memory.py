"""Memory that is used again: whose it is, and how much of it is kept."""

import gc
import os
import threading

import numpy
import pytest

import minivgg
from minivgg.backend import empty
from minivgg.memory import LARGE, LINE, Pool


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


def test_what_is_kept_and_used_never_exceeds_what_was_used_at_once(pool):
    rng = numpy.random.default_rng(1)
    held, most = [], 0
    for _ in range(300):
        if held and rng.random() < 0.5:
            held.pop(int(rng.integers(len(held))))
        else:
            held.append(pool.take(int(rng.integers(1, 1 << 16))))
        most = max(most, sum(array.base.size for array in held))
        pool._collect()
        assert pool.used + pool.kept <= pool.peak
        assert pool.used == sum(array.base.size for array in held)
        assert pool.peak == most


@pytest.mark.parametrize("size", [1, 1000, LARGE - 1, LARGE, 3 * LARGE + 5])
def test_arrays_begin_on_a_cache_line(size):
    array = empty((size,), "uint8")
    assert array.size == size
    assert array.ctypes.data % LINE == 0
    assert array.flags.writeable


def test_empty_cache_gives_everything_back():
    del_me = empty((4 * LARGE,), "uint8")
    del del_me
    minivgg.empty_cache()
    from minivgg.memory import POOL

    assert POOL.kept == 0
    assert POOL.free == []


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
