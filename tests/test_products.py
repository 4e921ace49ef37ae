"""Matrix products by OpenBLAS: right in every form, and the same bits for every number of threads."""

import threading

import numpy
import pytest

import minivgg
from minivgg import products, threads
from minivgg.products import product

FORMS = [
    ((64, 300), (300, 128)), ((1000, 64), (64, 10)), ((10, 64), (64, 1000)), ((2000, 300), (300, 1)), ((1, 300), (300, 2000)), ((5, 9, 40), (40, 70)),
    ((1, 1, 90, 40), (1, 40, 70)), ((3, 1, 9, 40), (5, 40, 7)), ((1, 5, 9, 40), (3, 1, 40, 7)), ((0, 40), (40, 70)), ((9, 0), (0, 70)), ((0, 9, 4), (4, 7)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def number():
    before = minivgg.get_num_threads()
    yield
    minivgg.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int64"])
@pytest.mark.parametrize(("left", "right"), FORMS)
def test_cut_up_or_not_it_is_the_product(left, right, dtype, monkeypatch):
    rng = numpy.random.default_rng(0)
    a, b = (rng.integers(-9, 10, shape).astype(dtype) for shape in (left, right))  # whose sums are exact
    truth = numpy.einsum("...mk,...kn->...mn", a.astype("complex128"), b.astype("complex128"))
    for little in (0, threads.LITTLE):
        monkeypatch.setattr(products, "LITTLE", little)
        for x, y in ((a, b), (a.swapaxes(-1, -2).copy().swapaxes(-1, -2), b[..., ::-1, ::-1].copy()[..., ::-1, ::-1])):
            for out in (None, numpy.full(truth.shape, 7, dtype), numpy.full((*truth.shape[:-2], *truth.shape[:-3:-1]), 7, dtype).swapaxes(-1, -2)):
                got = product(x, y, out)
                assert got.dtype == dtype
                assert out is None or got is out
                numpy.testing.assert_array_equal(got, truth)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "k", "n"), [(64, 2048, 10), (33, 1000, 77), (17, 8000, 40), (512, 1024, 160), (1, 300_000, 1), (2000, 2000, 1)])
def test_any_number_of_threads_gives_the_same_bits(m, k, n, dtype):
    rng = numpy.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    seen = set()
    for count in (1, 2, 3, 7):
        minivgg.set_num_threads(count)
        layer = minivgg.nn.functional.linear(minivgg.tensor(a), minivgg.tensor(b.T.copy()))
        clipped = minivgg.nn.utils.clip_grad_norm_(_with_gradient(a), 1.0)
        seen.add((product(a, b).tobytes(), (minivgg.tensor(a) @ minivgg.tensor(b)).numpy().tobytes(), layer.numpy().tobytes(), clipped.item()))
    assert len(seen) == 1


def _with_gradient(array):
    parameter = minivgg.nn.Parameter(minivgg.zeros(*array.shape, dtype=str(array.dtype)))
    parameter.grad = minivgg.tensor(array)
    return [parameter]


@pytest.mark.skipif(threads.openblas("get_num_threads") is None, reason="NumPy here multiplies without OpenBLAS")
def test_openblas_has_its_threads_again_afterwards():
    count = threads.openblas("get_num_threads")
    minivgg.set_num_threads(3)
    begun, over = threading.Event(), threading.Event()

    def elsewhere():
        with threads.one_blas_thread():
            begun.set()
            over.wait()

    other = threading.Thread(target=elsewhere)
    with threads.one_blas_thread():
        other.start()
        begun.wait()
        minivgg.set_num_threads(2)
    assert count() == 1  # the other is still inside
    over.set()
    other.join()
    assert count() == 2
