"""The setting of threads and the loop that they share: who computes, what happens to errors, and that nothing hangs."""

import dataclasses
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest

import minivgg
from minivgg.errors import ArgumentError
from minivgg.parallel import Loop, _Loop, parallel
from minivgg.registry import algorithms
from minivgg.spec import Conv2dSpec
from minivgg.threads import LITTLE, alone, openblas


@pytest.fixture(autouse=True)
def the_setting_is_put_back():
    before, blas = minivgg.get_num_threads(), openblas("get_num_threads")()
    yield
    minivgg.set_num_threads(before)
    openblas("set_num_threads")(blas)


def python(source, **environment):
    """Run a program; what it prints, or its error."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, cwd="/"
    )  # fmt: skip
    return run.stdout.strip() if run.returncode == 0 else run.stderr.strip().splitlines()[-1]


# The setting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", None, True])
def test_a_number_that_makes_no_sense_is_refused(wrong):
    before = minivgg.get_num_threads()
    with pytest.raises(ArgumentError) as caught:
        minivgg.set_num_threads(wrong)
    assert str(caught.value) == f"set_num_threads: expects a whole number of at least 1, got {wrong!r}"
    assert minivgg.get_num_threads() == before


def test_one_setting_for_kernels_and_matrix_products():
    minivgg.set_num_threads(numpy.int64(3))
    assert (minivgg.get_num_threads(), openblas("get_num_threads")()) == (3, 3)


ASK = "import minivgg, sys; print(minivgg.get_num_threads(), minivgg.threads.openblas('get_num_threads')(), 'numba' in sys.modules)"


def test_environment():
    assert python(ASK, MINIVGG_NUM_THREADS=" 3 ", OPENBLAS_NUM_THREADS="1") == "3 3 False"
    assert python(ASK, MINIVGG_NUM_THREADS="", OPENBLAS_NUM_THREADS="1") == f"{len(os.sched_getaffinity(0))} 1 False"


@pytest.mark.parametrize("wrong", ["0", "-2", "two", "1.5"])
def test_environment_that_makes_no_sense_is_refused_by_name(wrong):
    sentence = f"MINIVGG_NUM_THREADS: must be a whole number of at least 1, or empty for as many as there are processors, got '{wrong}'"
    assert python("import minivgg", MINIVGG_NUM_THREADS=wrong).endswith(sentence)


def test_a_small_convolution_is_computed_by_the_caller_alone(monkeypatch):
    minivgg.set_num_threads(3)
    seen = []
    algorithm = dataclasses.replace(algorithms("conv2d")["im2col"], run=lambda *arrays: seen.append(minivgg.get_num_threads()))
    small, large = (Conv2dSpec.parse(f"n1 c64 h{side} w{side} k64 r3 p1") for side in (32, 64))
    for spec in (small, large):
        algorithm(spec)
    assert (small.macs < LITTLE <= large.macs, seen) == (True, [1, 3])
    assert minivgg.get_num_threads() == 3


def test_alone_holds_in_its_thread_and_ends_with_its_block_whatever_happens():
    minivgg.set_num_threads(3)
    with alone(True), ThreadPoolExecutor(1) as pool:
        assert pool.submit(minivgg.get_num_threads).result() == 3
        with alone(False):
            assert minivgg.get_num_threads() == 1  # as outside
    with pytest.raises(RuntimeError), alone(True):
        raise RuntimeError
    assert minivgg.get_num_threads() == 3


# The loop -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 2, 5, 100])
def test_every_item_is_done_once(threads, items):
    minivgg.set_num_threads(threads)
    done = []
    parallel(done.append, items)
    assert sorted(done) == list(range(items))
    beside = []
    parallel(done.append, items, Loop(beside.append, 4))
    assert sorted(done) == sorted([*range(items)] * 2)
    assert sorted(beside) == [0, 1, 2, 3]


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_share_the_items_and_the_caller_takes_part(threads):
    minivgg.set_num_threads(threads)
    meeting = threading.Barrier(threads, timeout=30)  # reached only by so many threads at the same time
    seen = []

    def work(item):
        seen.append(threading.current_thread())
        meeting.wait()

    parallel(work, threads)
    assert len(set(seen)) == threads
    assert threading.current_thread() in seen


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="takes two processors that can be told apart")
def test_a_helper_leaves_the_callers_processor():
    """Both are put on one processor; from the next loop on they compute on two."""
    minivgg.set_num_threads(2)
    mine, everywhere = threading.current_thread(), os.sched_getaffinity(0)
    here = min(everywhere)

    def helpers_places(then=None):
        """Where the helper may run in a loop; ``then`` is where it is put at its end."""
        meeting, places = threading.Barrier(2, timeout=30), []

        def work(item):
            meeting.wait()
            if threading.current_thread() is not mine:
                places.append(os.sched_getaffinity(0))
                if then:
                    os.sched_setaffinity(0, then)

        parallel(work, 2)
        return places[0]

    helpers_places()
    os.sched_setaffinity(0, {here})
    try:
        helpers_places({here})
        assert helpers_places() == everywhere - {here}
    finally:
        os.sched_setaffinity(0, everywhere)


def test_a_helper_that_is_late_is_not_waited_for():
    """All helpers are busy with another caller's items: the loop ends all the same."""
    minivgg.set_num_threads(2)
    begun, go = threading.Semaphore(0), threading.Event()

    def work(item):
        begun.release()
        go.wait(30)

    other = threading.Thread(target=parallel, args=(work, 2))
    other.start()
    for _ in range(2):
        assert begun.acquire(timeout=30)
    done = []
    parallel(done.append, 4)
    assert done == [0, 1, 2, 3]
    go.set()
    other.join()


def test_a_loop_within_an_item_stays_in_its_thread():
    minivgg.set_num_threads(3)
    seen = []

    def inner(outer):
        def work(item):
            assert threading.current_thread() is outer
            seen.append(item)

        return work

    parallel(lambda item: parallel(inner(threading.current_thread()), 3), 5)
    assert sorted(seen) == sorted([0, 1, 2] * 5)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_reaches_the_caller_when_nobody_is_at_work_any_more(threads, kind):
    minivgg.set_num_threads(threads)
    at_work, done = set(), []

    def work(item):
        at_work.add(item)
        time.sleep(0.002)
        done.append(item)
        at_work.remove(item)
        if item == 3:
            raise kind("item 3")

    with pytest.raises(kind, match="item 3"):
        parallel(work, 1000)
    assert not at_work
    assert len(done) < 10  # the others are given up
    again = []
    parallel(again.append, 10)
    assert sorted(again) == list(range(10))


def test_an_error_in_a_helper_reaches_the_caller():
    minivgg.set_num_threads(2)
    caller, meeting = threading.current_thread(), threading.Barrier(2, timeout=30)

    def work(item):
        meeting.wait()
        if threading.current_thread() is not caller:
            raise ValueError("in a helper")

    with pytest.raises(ValueError, match="in a helper"):
        parallel(work, 2)


def test_nothing_holds_the_arrays_afterwards():
    minivgg.set_num_threads(3)
    arrays = [numpy.zeros(10) for _ in range(2)]
    gone = [weakref.ref(array) for array in arrays]
    gc.disable()
    try:
        parallel(lambda item, array=arrays[0]: array.sum(), 3)
        with pytest.raises(ZeroDivisionError):
            parallel(lambda item, array=arrays[1]: item / 0, 3)
        arrays.clear()
        limit = time.monotonic() + 10
        while any(array() is not None for array in gone) and time.monotonic() < limit:
            time.sleep(0.001)  # a helper may just be on its way to find that it comes too late
        assert [array() for array in gone] == [None, None]
    finally:
        gc.enable()


def test_callers_in_several_threads_at_once():
    minivgg.set_num_threads(3)
    rng = numpy.random.default_rng(0)
    data = [rng.standard_normal((100, 50)) for _ in range(6)]
    results = {}

    def caller(number):
        for _ in range(50):
            out = numpy.zeros(100)

            def work(item, out=out):
                out[item] = data[number][item].sum()

            parallel(work, 100)
            results.setdefault(number, []).append(out)

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(6)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    for number in range(6):
        assert len(results[number]) == 50
        for out in results[number]:
            numpy.testing.assert_array_equal(out, [row.sum() for row in data[number]])


def test_no_more_threads_than_set():
    minivgg.set_num_threads(3)
    before = {thread for thread in threading.enumerate() if thread.name.startswith("minivgg-")}
    for _ in range(20):
        parallel(lambda item: None, 10)
    after = {thread for thread in threading.enumerate() if thread.name.startswith("minivgg-")}
    assert len(after) <= max(len(before), 2)


# Processes ------------------------------------------------------------------------------------------------------------

CONVOLUTION = """
import hashlib, multiprocessing, os, threading
import numpy, minivgg
from minivgg.nn.functional import conv2d

minivgg.set_num_threads(3)
minivgg.registry.LITTLE = 0  # so that small convolutions are shared out, too
rng = numpy.random.default_rng(0)
x, w = (minivgg.tensor(rng.standard_normal(shape).astype("float32")) for shape in ((2, 16, 20, 20), (32, 16, 3, 3)))

def bits(_=None):
    with minivgg.no_grad():
        results = [conv2d(x, w, padding=1, algorithm=name).numpy() for name in ("winograd_f4", "direct")]
    return hashlib.sha256(b"".join(numpy.ascontiguousarray(result).tobytes() for result in results)).hexdigest()

def in_a_child():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, bits().encode())
        os._exit(0)
    os.close(writing)
    answer = os.read(reading, 100).decode()
    os.close(reading)
    assert os.waitpid(child, 0)[1] == 0
    return answer

expected = bits()
"""


def test_after_a_fork():
    assert python(CONVOLUTION + "print(in_a_child() == expected, bits() == expected, in_a_child() == expected)") == "True True True"


def test_fork_while_other_threads_compute():
    """Compiled kernels, that is: OpenBLAS hangs if a process forks while one of its threads is inside a product of several threads."""
    source = """
stop = threading.Event()
def compute():
    while not stop.is_set():
        bits()
threads = [threading.Thread(target=compute) for _ in range(2)]
for thread in threads:
    thread.start()
answers = {in_a_child() for _ in range(20)}
stop.set()
for thread in threads:
    thread.join()
print(answers == {expected}, bits() == expected)
"""
    assert python(CONVOLUTION + source) == "True True"


EIGHT = """
from concurrent.futures import ThreadPoolExecutor
from minivgg import nn
from minivgg.nn import functional as F

minivgg.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(2304, 5)).eval()
images, labels = minivgg.randn(4, 3, 24, 24), minivgg.tensor([0, 1, 2, 3])

def gradients(_=None):
    found = minivgg.autograd.grad(F.cross_entropy(model(images), labels), list(model.parameters()))
    return hashlib.sha256(b"".join(numpy.ascontiguousarray(gradient.numpy()).tobytes() for gradient in found)).hexdigest()

alone = gradients()
meeting = threading.Barrier(8)
def together(number):
    meeting.wait()
    return {gradients() for _ in range(10)}
with ThreadPoolExecutor(8) as pool:
    print(set.union(*pool.map(together, range(8))) == {alone})
"""


@pytest.mark.parametrize("threads", ["1", "3"])
def test_eight_threads_in_the_same_kernels(threads):
    """Forward and backward of one model, shared by eight threads of a user's pool: the bits of one alone."""
    assert python(CONVOLUTION.replace("set_num_threads(3)", f"set_num_threads({threads})") + EIGHT) == "True"


def test_in_a_pool_of_new_processes(tmp_path):
    """Not forked: each imports minivgg anew."""
    (tmp_path / "work.py").write_text(CONVOLUTION)
    source = f"""
import multiprocessing, sys
sys.path.insert(0, {str(tmp_path)!r})
import work
with multiprocessing.get_context("spawn").Pool(2) as pool:
    print(set(pool.map(work.bits, range(4))) == {{work.expected}})
"""
    assert python(source) == "True"


def test_in_a_pool_of_processes():
    source = """
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(set(pool.map(bits, range(8))) == {expected})
"""
    assert python(CONVOLUTION + source) == "True"


def test_while_the_interpreter_ends():
    """No helper can be started any more: the caller computes alone."""
    assert python(CONVOLUTION.replace("expected = bits()", "") + "import atexit; atexit.register(lambda: print(len(bits())))") == "64"


def test_a_loop_that_is_over_holds_no_array_though_a_helper_has_not_woken_up_yet():
    class Scratch:
        pass

    scratch = Scratch()
    gone = weakref.ref(scratch)
    loop = _Loop(lambda item, scratch=scratch: None, 1)
    loop.take()
    loop.finish()
    del scratch
    assert gone() is None
    loop.help()  # and the helper that comes too late does nothing
