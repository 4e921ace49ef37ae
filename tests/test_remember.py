"""Filters that inference keeps between calls: any change of the weight, by whatever way, is noticed, and nothing outlives the weight."""

import gc
import threading

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivgg
from minivgg import nn
from minivgg.kernels.common import remember
from minivgg.kernels.common.remember import fingerprint
from minivgg.parallel import parallel

ALGORITHMS = ["winograd_f4", "winograd_f2", "direct", "implicit_gemm"]


def networks(dtype="float32"):
    """A layer that has kept its filters, and its input."""
    minivgg.manual_seed(0)
    layer, x = nn.Conv2d(16, 32, 3, padding=1).to(dtype), minivgg.randn(2, 16, 9, 9, dtype=dtype)
    return layer, x


def answer(layer, x, algorithm):
    with minivgg.no_grad(), minivgg.use_algorithm(conv2d=algorithm):
        return layer(x).numpy()


def anew(layer, x, algorithm):
    """The same of a layer that was never seen before."""
    fresh = nn.Conv2d(16, 32, 3, padding=1).to(layer.weight.dtype)
    fresh.load_state_dict({name: value.detach().clone() for name, value in layer.state_dict().items()})
    return answer(fresh, x, algorithm)


def train(layer):
    optimizer = minivgg.optim.SGD(layer.parameters(), lr=0.1)
    layer(minivgg.ones(1, 16, 4, 4, dtype=layer.weight.dtype)).sum().backward()
    optimizer.step()


def in_place(layer):
    with minivgg.no_grad():
        layer.weight.mul_(2)


def negate(layer):
    """Turns the highest bit of every word of float64, which a weaker sum of them would not see."""
    with minivgg.no_grad():
        layer.weight.mul_(-1)


def through_a_view(layer):
    layer.weight.detach().numpy()[3, 2, 1, 1] += 1


def two_signs(layer):
    flat = layer.weight.detach().numpy().reshape(-1)
    flat[[1, 1 + 128]] *= -1


def two_swapped(layer):
    flat = layer.weight.detach().numpy().reshape(-1)
    flat[[0, 1]] = flat[[1, 0]]


def assign_data(layer):
    layer.weight.data = minivgg.randn(32, 16, 3, 3, dtype=layer.weight.dtype)


def load(layer):
    layer.load_state_dict(nn.Conv2d(16, 32, 3, padding=1).to(layer.weight.dtype).state_dict())


CHANGES = [train, in_place, negate, through_a_view, two_signs, two_swapped, assign_data, load]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_noticed(change, algorithm, dtype):
    layer, x = networks(dtype)
    before = answer(layer, x, algorithm)
    change(layer)
    after = answer(layer, x, algorithm)
    assert not numpy.array_equal(after, before)
    numpy.testing.assert_array_equal(after, anew(layer, x, algorithm))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_filters_are_made_once_while_nothing_changes(algorithm):
    made, used = [], []
    layer, x = networks()
    weight = layer.weight.array

    def make():
        made.append(weight.sum())
        return made[-1]

    def compute(value, beside):
        used.append(value)
        if beside is not None:
            parallel(*beside)

    with minivgg.no_grad():
        for _ in range(3):
            remember.with_remembered(weight, "here", make, compute)
        assert len(made) == 1
        assert used == made * 3
        weight[0] += 1
        remember.with_remembered(weight, "here", make, compute)  # begun with the old ones, computed again with the new
    assert len(made) == 2
    assert used[3:] == made
    remember.with_remembered(weight, "here", make, compute)  # recorded: training keeps nothing
    assert len(made) == 3
    answer(layer, x, algorithm)
    kept = len(remember._kept)
    answer(layer, x, algorithm)
    assert len(remember._kept) == kept


small = st.integers(1, 3)
options = {"groups": st.sampled_from([1, 2, 3, 4]), "stride": small, "padding": st.integers(0, 2), "dilation": st.tuples(small, small)}
uses = st.fixed_dictionaries({**options, "algorithm": st.sampled_from(ALGORITHMS), "pool": st.booleans()})


@given(uses=st.lists(uses, min_size=2, max_size=6), seed=st.integers(0, 2**32 - 1), changed=st.lists(st.booleans(), min_size=6, max_size=6))
def test_one_weight_used_in_any_ways_one_after_the_other(uses, seed, changed):
    """What is kept of one use never serves another, nor the weight as it was."""
    rng = numpy.random.default_rng(seed)
    weight = minivgg.tensor(rng.standard_normal((24, 3, 3, 3), dtype=numpy.float32))
    with minivgg.no_grad():
        for use, change in zip(uses, changed, strict=False):
            if change:
                weight.array[rng.integers(24)] *= -1
            function = minivgg.conv2d
            if use["algorithm"].startswith("winograd"):  # with pooling behind it, three channels have other filters than without
                function, use = nn.functional.conv2d_relu, {name: use[name] for name in ("algorithm", "padding", "pool")}
            use = {name: value for name, value in use.items() if name != "pool" or function is not minivgg.conv2d}
            x = minivgg.tensor(rng.standard_normal((1, 3 * use.get("groups", 1), 9, 8), dtype=numpy.float32))
            with minivgg.enable_grad():
                expected = function(x, weight, **use).numpy()
            numpy.testing.assert_array_equal(function(x, weight, **use).numpy(), expected)


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "auto"])
def test_one_weight_in_convolutions_of_several_kinds(algorithm):
    """Their kept filters lie in different orders, and are of different lengths."""
    rng = numpy.random.default_rng(0)
    weight = minivgg.tensor(rng.standard_normal((32, 8, 3, 3), dtype=numpy.float32))
    kinds = [{}, {"padding": 2}] + ([] if "winograd" in algorithm else [{"groups": 2}, {"dilation": 2}, {"stride": 2}, {"groups": 4, "dilation": (1, 3)}])
    images = [minivgg.tensor(rng.standard_normal((1, 8 * kind.get("groups", 1), 12, 12), dtype=numpy.float32)) for kind in kinds]

    def answers():
        return [minivgg.conv2d(x, weight, algorithm=algorithm, **kind).numpy() for x, kind in zip(images, kinds, strict=True)]

    recorded = answers()
    with minivgg.no_grad():
        for _ in range(2):
            for found, expected in zip(answers(), recorded, strict=True):
                numpy.testing.assert_array_equal(found, expected)


def test_an_array_that_is_given_another_shape_does_not_begin_with_what_was_kept():
    """Filters of the old shape may be shorter than those that are read."""
    array, used = numpy.arange(24.0), []

    def compute(value, beside):
        used.append(value)
        if beside is not None:
            parallel(*beside)

    with minivgg.no_grad():
        for shape in [(24,), (4, 6), (6, 4), (6, 4)]:
            array.shape = shape
            remember.with_remembered(array, "here", lambda shape=shape: shape, compute)
    assert used == [(24,), (4, 6), (6, 4), (6, 4)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_kept_goes_with_the_weight(algorithm):
    gc.collect()
    before = len(remember._kept)
    layer, x = networks()
    answer(layer, x, algorithm)
    assert len(remember._kept) == before + 1
    del layer
    gc.collect()
    assert len(remember._kept) == before


def test_from_several_threads_at_once():
    layer, x = networks()
    expected = {algorithm: answer(layer, x, algorithm) for algorithm in ALGORITHMS}
    wrong = []

    def infer(algorithm):
        for _ in range(20):
            own, _ = networks() if algorithm == "direct" else (layer, None)
            own.load_state_dict(layer.state_dict())
            if not numpy.array_equal(answer(own, x, algorithm), expected[algorithm]):
                wrong.append(algorithm)

    threads = [threading.Thread(target=infer, args=(algorithm,)) for algorithm in ALGORITHMS * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("size", [0, 1, 3, 7, 8, 255, 256, 257, 5000])
def test_every_bit_counts_in_a_fingerprint(size):
    rng = numpy.random.default_rng(0)
    contents = rng.integers(0, 256, size, "uint8")
    mark = fingerprint(contents)
    assert fingerprint(contents.copy()) == mark
    for _ in range(300 if size else 0):
        changed = contents.copy()
        for place in rng.integers(0, size, rng.integers(1, 3)):
            changed[place] ^= 1 << rng.integers(0, 8)
        assert (fingerprint(changed) == mark) == numpy.array_equal(changed, contents)
    if size > 64:
        for gap in range(8, 1024, 8):  # the same bit of two words, however far apart
            changed = contents.copy()
            changed[7] ^= 128
            changed[(7 + gap) % (size // 8 * 8)] ^= 128
            assert (fingerprint(changed) == mark) == numpy.array_equal(changed, contents)
