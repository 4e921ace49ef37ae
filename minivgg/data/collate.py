"""Collation: a list of items becomes one batch, a new first dimension in front of each of their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.backend import is_array, namespace
from minivgg.errors import DtypeError, ShapeError


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack tensors and arrays, make tensors of numbers, and go into tuples, lists and dictionaries; text stays a list.

    Integers become int64 and floats float64, as in PyTorch.

    >>> import minivgg
    >>> default_collate([(minivgg.tensor([1.0, 2.0]), 7), (minivgg.tensor([3.0, 4.0]), 8)])
    (tensor([[1., 2.],
            [3., 4.]]), tensor([7, 8]))
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return Tensor(_stack([item.array for item in batch]))
    if is_array(first):
        return Tensor(_stack(batch))
    if isinstance(first, bool | int | float | numpy.generic):
        return Tensor(numpy.array(batch))
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([item[key] for item in batch]) for key in first}
    if isinstance(first, tuple | list):
        if len({len(item) for item in batch}) != 1:
            raise ShapeError("default_collate", f"the items of a batch must have one number of parts, got {sorted({len(item) for item in batch})}")
        parts = [default_collate(part) for part in zip(*batch, strict=True)]
        return tuple(parts) if isinstance(first, tuple) else parts
    raise DtypeError("default_collate", f"takes tensors, arrays, numbers, text and tuples, lists or dicts of them, got {type(first).__name__}; pass collate_fn")


def _stack(arrays: Sequence[Any]) -> Any:
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        shown = " and ".join(map(str, sorted(shapes)))
        raise ShapeError("default_collate", f"the items of a batch must have one shape, got {shown}; crop or resize them, or pass collate_fn")
    return namespace(arrays[0]).stack(arrays)
