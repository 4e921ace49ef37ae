"""Batches on their way to a device: while a step computes on one, the next is copied by a stream of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.device import copied_ahead, cupy_for, made_on, moved, pinned


def map_tensors(batch: Any, function: Callable[[Tensor], Any]) -> Any:
    """The batch with ``function(tensor)`` in the place of each tensor, in tuples, lists and dictionaries.

    >>> import minivgg
    >>> map_tensors((minivgg.zeros(2), ["a", minivgg.ones(1)]), lambda tensor: tensor.shape)
    ((2,), ['a', (1,)])
    """
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(part, function) for key, part in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [map_tensors(part, function) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def pinned_batch(batch: Any) -> Any:
    """The batch in page-locked memory; what lies on a device stays there."""
    return map_tensors(batch, lambda tensor: Tensor(pinned(tensor.array)) if isinstance(tensor.array, numpy.ndarray) else tensor)


def sent_ahead(batches: Iterable[Any], device: str) -> Iterator[Any]:
    """Batches in page-locked memory, handed out on ``device``, each copied while the one before is computed on.

    The copy of batch b + 1 begins when batch b is handed out, after all that the device was told before that. Only the device
    waits for a copy, before it computes on it. An error arrives in its batch's turn.
    """
    with made_on("DataLoader", device) as cupy:
        stream = cupy.cuda.Stream(non_blocking=True)

    def send(tensor: Tensor) -> Tensor:
        on_host = isinstance(tensor.array, numpy.ndarray)
        return Tensor(copied_ahead(tensor.array, device, stream, "DataLoader") if on_host else moved(tensor.array, device, "DataLoader"))

    def arrived() -> Any:
        batch, event = waiting.popleft()
        cupy_for("DataLoader").cuda.get_current_stream().wait_event(event)
        return batch

    waiting: deque[tuple[Any, Any]] = deque()
    try:
        for batch in batches:
            waiting.append((map_tensors(batch, send), stream.record()))
            if len(waiting) > 1:
                yield arrived()
    except Exception:
        while waiting:
            yield arrived()
        raise
    while waiting:
        yield arrived()
