"""A few of the faults that ``make faults`` has many of."""

import faults
import numpy
import pytest

import minivgg


@pytest.fixture(autouse=True)
def one_thread():
    """So small a network leaves a second one nothing but waiting."""
    before = minivgg.get_num_threads()
    minivgg.set_num_threads(1)
    yield
    minivgg.set_num_threads(before)


def test_a_run_killed_at_random_moments_ends_with_the_same_bits():
    assert faults.kills(2, numpy.random.default_rng()) == 2


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".png", ".jpg"])
def test_damaged_files_are_refused_by_name(suffix):
    count, refused = faults.damage(suffix, 300, numpy.random.default_rng(0))
    assert refused > (100 if suffix == ".jpg" else 200)


def test_a_full_disk_leaves_the_old_file():
    assert faults.full(5, numpy.random.default_rng(0)) in (5, None)  # None: no right to mount; test_checkpoint.py limits the size of files instead


def test_many_steps_hold_no_more_memory():
    assert faults.growth(400) < 1 << 20


def test_threads_and_hash_seeds_change_no_bit():
    assert len(faults.bits([(1, 0), (3, 1)])) == 1
