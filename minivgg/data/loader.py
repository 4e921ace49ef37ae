"""DataLoader: a data set in batches, shuffled if wanted, prepared ahead by a background thread if wanted.

Everything random in one pass over the data (the order, and what random transforms draw) follows from one number, the
pass's seed, drawn from the loader's generator when the pass begins. Batch b has a random stream of its own, made from
the seed and b. So a pass can be taken up at any batch without repeating what came before, and gives the same bits
whether or not a thread prepares it, and on whichever device.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy

from minivgg.data.collate import default_collate
from minivgg.data.dataset import Dataset
from minivgg.data.transfer import pinned_batch, sent_ahead
from minivgg.data.transforms import drawing_from
from minivgg.device import cupy_for, read_device
from minivgg.errors import ArgumentError
from minivgg.random import Generator, numpy_generator


class DataLoader:
    """Iterate over ``dataset`` in batches of ``batch_size`` items, each made one by ``collate_fn``.

    ``shuffle``    a new random order in every pass
    ``drop_last``  leave out the last batch if it is smaller than the others
    ``generator``  where the seed of each pass is drawn from; the default generator if None
    ``prefetch``   batches that a background thread prepares ahead; 0 prepares each when it is asked for
    ``device``     hand out batches on "cuda", each copied by a stream of its own while the one before is computed on
    ``pin_memory`` hand out tensors in page-locked memory, for ``batch.to("cuda", non_blocking=True)``

    >>> import minivgg
    >>> from minivgg.data import TensorDataset
    >>> data = TensorDataset(minivgg.arange(10))
    >>> [batch.tolist() for (batch,) in DataLoader(data, batch_size=4)]
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    """

    def __init__(
        self, dataset: Any, batch_size: int = 1, shuffle: bool = False, *, drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] = default_collate, generator: Generator | None = None, prefetch: int = 0,
        device: Any = None, pin_memory: bool = False,
    ) -> None:  # fmt: skip
        if batch_size < 1:
            raise ArgumentError("DataLoader", f"batch_size must be at least 1, got {batch_size}")
        if prefetch < 0:
            raise ArgumentError("DataLoader", f"prefetch must be at least 0, got {prefetch}")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.collate_fn, self.generator, self.prefetch = collate_fn, generator, prefetch
        self.device = read_device("DataLoader", device)
        self.pins = pin_memory or self.device != "cpu"
        if self.pins:
            cupy_for("DataLoader")

    def __len__(self) -> int:
        """Batches in a pass."""
        return len(self.dataset) // self.batch_size if self.drop_last else -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        return self.batches(self.draw_seed())

    def draw_seed(self) -> int:
        """Draw the seed of the next pass."""
        return int(numpy_generator("DataLoader", self.generator).integers(2**63))

    def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        """The pass that belongs to ``seed``, from batch number ``start`` on.

        >>> import minivgg
        >>> from minivgg.data import TensorDataset
        >>> loader = DataLoader(TensorDataset(minivgg.arange(10)), batch_size=4, shuffle=True)
        >>> whole, rest = loader.batches(seed=1), loader.batches(seed=1, start=2)
        >>> [batch.tolist() for (batch,) in whole][2] == [batch.tolist() for (batch,) in rest][0]
        True
        """
        order = self.order(seed)
        numbers = range(start, len(self))
        made = self._prepared_ahead(order, seed, numbers) if self.prefetch else (self.make_batch(order, seed, b) for b in numbers)
        return made if self.device == "cpu" else sent_ahead(made, self.device)

    def order(self, seed: int) -> list[int]:
        """The indices of all items in the order of the pass."""
        count = len(self.dataset)
        return numpy.random.default_rng((seed, 0)).permutation(count).tolist() if self.shuffle else list(range(count))

    def make_batch(self, order: list[int], seed: int, b: int) -> Any:
        """Batch number ``b`` of a pass, on the host."""
        batch = self._collated(order, seed, b)
        return pinned_batch(batch) if self.pins else batch

    def _collated(self, order: list[int], seed: int, b: int) -> Any:
        indices = order[b * self.batch_size : (b + 1) * self.batch_size]
        with drawing_from(numpy.random.default_rng((seed, b + 1))):
            at_once = self.dataset.batch(indices) if isinstance(self.dataset, Dataset) and self.collate_fn is default_collate else None
            if at_once is not None:
                return at_once
            items = []
            for index in indices:
                try:
                    items.append(self.dataset[index])
                except Exception as error:
                    error.add_note(f"raised by item {index} of {type(self.dataset).__name__}, in batch {b}")
                    raise
            return self.collate_fn(items)

    def _prepared_ahead(self, order: list[int], seed: int, numbers: range) -> Iterator[Any]:
        """One thread, ``prefetch`` batches ahead. Its exceptions arrive here, with their traceback, in their batch's turn."""
        upcoming = iter(numbers)
        pool = ThreadPoolExecutor(1, thread_name_prefix="minivgg-loader")
        try:
            waiting = deque(pool.submit(self.make_batch, order, seed, b) for b in itertools.islice(upcoming, self.prefetch))
            while waiting:
                batch = waiting.popleft().result()
                for b in itertools.islice(upcoming, 1):
                    waiting.append(pool.submit(self.make_batch, order, seed, b))
                yield batch
        finally:  # also where the consumer breaks its loop off
            pool.shutdown(wait=True, cancel_futures=True)
