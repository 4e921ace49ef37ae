"""The loader gives the same bits however it runs, and hands on what goes wrong in its threads."""

import threading
import time
import traceback

import numpy
import pytest
import torch

import minivgg
from minivgg.data import DataLoader, Dataset, Subset, TensorDataset, default_collate
from minivgg.data.transforms import RandomAffine, RandomCrop
from minivgg.errors import ArgumentError, DtypeError, ShapeError


def image(*shape):
    return minivgg.from_numpy(numpy.random.default_rng(0).random(shape, dtype="float32"))


class Noisy(Dataset):
    """Items that draw random numbers, as augmentation does, and count how often they are asked for."""

    def __init__(self, length):
        self.length, self.asked = length, 0

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.asked += 1
        return RandomCrop(4, padding=2)(image(1, 4, 4)) * 0 + index, RandomAffine(30)(image(1, 4, 4))


def as_bytes(batches):
    return [tuple(part.numpy().tobytes() for part in batch) for batch in batches]


@pytest.mark.parametrize("length", [0, 1, 7, 8])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_are_pytorchs(length, drop_last):
    ours = DataLoader(TensorDataset(minivgg.arange(length), minivgg.arange(length) * 2), 4, drop_last=drop_last)
    data = torch.utils.data.TensorDataset(torch.arange(length), torch.arange(length) * 2)
    theirs = torch.utils.data.DataLoader(data, 4, drop_last=drop_last)
    assert len(ours) == len(theirs)
    assert [[part.tolist() for part in batch] for batch in ours] == [[part.tolist() for part in batch] for batch in theirs]


def test_shuffle_reorders_everything_in_every_pass():
    loader = DataLoader(TensorDataset(minivgg.arange(100)), 7, shuffle=True, generator=minivgg.Generator().manual_seed(0))
    passes = [[i for (batch,) in loader for i in batch.tolist()] for _ in range(3)]
    assert all(sorted(order) == list(range(100)) for order in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]
    again = DataLoader(TensorDataset(minivgg.arange(100)), 7, shuffle=True, generator=minivgg.Generator().manual_seed(0))
    assert [[i for (batch,) in again for i in batch.tolist()] for _ in range(3)] == passes


def test_the_default_generator_is_drawn_from_once_a_pass():
    minivgg.manual_seed(5)
    first = as_bytes(DataLoader(Noisy(9), 2, shuffle=True))
    following = minivgg.rand(3).tolist()
    minivgg.manual_seed(5)
    assert as_bytes(DataLoader(Noisy(9), 2, shuffle=True, prefetch=3)) == first
    assert minivgg.rand(3).tolist() == following
    minivgg.manual_seed(5)
    iter(DataLoader(Noisy(9), 2))
    assert minivgg.rand(3).tolist() == following


def test_no_two_items_draw_the_same_numbers():
    batches = [batch for seed in (1, 2) for batch in DataLoader(Noisy(20), 2).batches(seed)]
    assert len({row.tobytes() for _, turned in batches for row in turned.numpy()}) == 40


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_a_pass_can_be_taken_up_anywhere(prefetch):
    whole = as_bytes(DataLoader(Noisy(11), 3, shuffle=True).batches(seed=4))
    for start in range(5):
        data = Noisy(11)
        loader = DataLoader(data, 3, shuffle=True, prefetch=prefetch)
        assert as_bytes(loader.batches(seed=4, start=start)) == whole[start:]
        assert data.asked == max(0, 11 - 3 * start)


class OneByOne(TensorDataset):
    """The same items, but the loader must ask for each."""

    def __getitem__(self, index):
        return super().__getitem__(index)


@pytest.mark.parametrize("transform", [None, RandomAffine(30, (0.2, 0.1), (0.8, 1.3), fill=0.5), RandomCrop(4, padding=1)])
def test_a_batch_at_once_is_its_items_to_the_bit(transform):
    data = image(13, 2, 5, 4), minivgg.arange(13)
    at_once, singly = TensorDataset(*data, transform=transform), OneByOne(*data, transform=transform)
    assert (at_once.batch([1, 2]) is None) == isinstance(transform, RandomCrop)
    assert singly.batch([1, 2]) is None
    assert as_bytes(DataLoader(at_once, 5, shuffle=True).batches(seed=3)) == as_bytes(DataLoader(singly, 5, shuffle=True).batches(seed=3))


def test_the_thread_prepares_so_many_batches_and_no_more():
    data = Noisy(100)
    batches = iter(DataLoader(data, 1, prefetch=3))
    next(batches)
    deadline = time.monotonic() + 5
    while data.asked < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert data.asked == 4  # one handed out, three waiting
    batches.close()


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("minivgg-loader")]


def test_breaking_off_ends_the_thread():
    for _ in DataLoader(Noisy(1000), 1, prefetch=2):
        assert loader_threads()
        break
    assert not loader_threads()
    batches = iter(DataLoader(Noisy(1000), 1, prefetch=2))
    next(batches)
    del batches
    assert not loader_threads()


class Broken(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return self.read(index)

    def read(self, index):
        if index == 5:
            raise ZeroDivisionError("a bad file")
        return index


@pytest.mark.parametrize("prefetch", [0, 4])
def test_an_exception_arrives_in_its_turn_with_its_traceback(prefetch):
    batches = iter(DataLoader(Broken(), 2, prefetch=prefetch))
    assert [next(batches).tolist(), next(batches).tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(ZeroDivisionError, match="a bad file") as caught:
        next(batches)
    assert "read" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert caught.value.__notes__ == ["raised by item 5 of Broken, in batch 2"]
    assert not loader_threads()


def test_collate_agrees_with_pytorch():
    rng = numpy.random.default_rng(0)
    rows = [rng.random((2, 3)).astype("float32") for _ in range(3)]
    batch = [(row, {"i": i, "f": i / 2, "b": i > 0, "s": str(i)}, [i, numpy.float32(i)]) for i, row in enumerate(rows)]
    ours, theirs = default_collate(batch), torch.utils.data.default_collate(batch)

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if hasattr(value, "tolist"):
            return str(value.dtype).removeprefix("torch."), value.tolist()
        return [plain(part) for part in value] if isinstance(value, tuple | list) else value

    assert plain(ours) == plain(theirs)
    assert plain(default_collate([minivgg.tensor(1.5), minivgg.tensor(2.5)])) == ("float32", [1.5, 2.5])


def test_loader_says_what_is_wrong():
    wrong = [
        (lambda: DataLoader([], 0), ArgumentError, "DataLoader: batch_size must be at least 1, got 0"),
        (lambda: DataLoader([], prefetch=-1), ArgumentError, "DataLoader: prefetch must be at least 0, got -1"),
        (lambda: TensorDataset(), ArgumentError, "TensorDataset: needs at least one tensor"),
        (lambda: TensorDataset(minivgg.zeros(2), minivgg.zeros(3)), ShapeError, "TensorDataset: the tensors must have one length, got 2, 3"),
        (lambda: default_collate([minivgg.zeros(2), minivgg.zeros(3)]), ShapeError,
         "default_collate: the items of a batch must have one shape, got (2,) and (3,); crop or resize them, or pass collate_fn"),
        (lambda: default_collate([(1, 2), (1,)]), ShapeError, "default_collate: the items of a batch must have one number of parts, got [1, 2]"),
        (lambda: default_collate([None]), DtypeError,
         "default_collate: takes tensors, arrays, numbers, text and tuples, lists or dicts of them, got NoneType; pass collate_fn"),
    ]  # fmt: skip
    for call, error, text in wrong:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == text


def test_subset_and_any_sequence_can_be_loaded():
    data = TensorDataset(minivgg.arange(10), transform=lambda x: x * 10)
    assert [batch.tolist() for (batch,) in DataLoader(Subset(data, [7, 1, 1]), 2)] == [[70, 10], [10]]
    assert [batch.tolist() for batch in DataLoader([3, 1, 2], 2)] == [[3, 1], [2]]
    assert data[-1][0].item() == 90
    with pytest.raises(IndexError):
        data[10]
