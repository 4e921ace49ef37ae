"""Data sets: anything with a length and numbered items, usually (image, label)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minivgg.autograd import Tensor
from minivgg.errors import ArgumentError, ShapeError


class Dataset:
    """Base of all data sets: write ``__getitem__(index)`` and ``__len__()``.

    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 5
    ...
    ...     def __getitem__(self, index):
    ...         return index**2
    >>> Squares()[3]
    9
    """

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.__getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}.__len__")

    def batch(self, indices: Sequence[int]) -> Any:
        """The items at ``indices`` as one batch, like ``default_collate`` makes it of them; None if there is no shorter way to it."""
        return None


class TensorDataset(Dataset):
    """Tensors of one length: item i is the tuple of their i-th entries, the first one passed through ``transform``.

    >>> import minivgg
    >>> data = TensorDataset(minivgg.tensor([[1.0, 2.0], [3.0, 4.0]]), minivgg.tensor([7, 8]))
    >>> data[1]
    (tensor([3., 4.]), tensor(8))
    """

    def __init__(self, *tensors: Tensor, transform: Callable[[Tensor], Any] | None = None) -> None:
        if not tensors:
            raise ArgumentError("TensorDataset", "needs at least one tensor")
        lengths = [len(tensor) for tensor in tensors]
        if len(set(lengths)) != 1:
            raise ShapeError("TensorDataset", f"the tensors must have one length, got {', '.join(map(str, lengths))}")
        self.tensors = tensors
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        first, *others = (tensor[index] for tensor in self.tensors)
        return (first if self.transform is None else self.transform(first), *others)

    def batch(self, indices: Sequence[int]) -> Any:
        """All entries of a tensor in one step, if the transform can take them so (``many``)."""
        transform = None if self.transform is None else getattr(self.transform, "many", None)
        if type(self).__getitem__ is not TensorDataset.__getitem__ or (transform is None and self.transform is not None):
            return None
        first, *others = (Tensor(tensor.array[indices]) for tensor in self.tensors)
        return (first if transform is None else transform(first), *others)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset):
    """The items of another data set at ``indices``, in that order.

    >>> import minivgg
    >>> data = Subset(TensorDataset(minivgg.arange(10)), range(0, 10, 3))
    >>> len(data), data[2]
    (4, (tensor(6),))
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)
