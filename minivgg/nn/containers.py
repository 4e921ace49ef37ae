"""Containers: Sequential runs its modules one after the other, ModuleList only holds them."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from minivgg.errors import ArgumentError
from minivgg.nn.fusion import steps
from minivgg.nn.module import Module


class _Numbered(Module):
    """Modules in order, named "0", "1", ... unless they came with names."""

    _modules: dict[str, Module]  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def _name(self, index: Any) -> str:
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"{type(self).__name__}: index must lie in [{-len(self)}, {len(self) - 1}], got {number}")
        return list(self._modules)[number]

    def __getitem__(self, index: Any) -> Any:
        """A module by number, or a container of the same class by slice, which shares the modules."""
        if isinstance(index, slice):
            return self._of(list(self._modules.items())[index])
        return self._modules[self._name(index)]

    def _of(self, named: list[tuple[str, Module]]) -> Self:
        raise NotImplementedError

    def __setitem__(self, index: Any, module: Module) -> None:
        setattr(self, self._name(index), module)

    def __delitem__(self, index: Any) -> None:
        for name in [self._name(i) for i in range(len(self))[index]] if isinstance(index, slice) else [self._name(index)]:
            del self._modules[name]
        self._renumber(self._modules.values())

    def _renumber(self, modules: Iterable[Module]) -> None:
        kept = list(modules)
        self._modules.clear()
        for module in kept:
            self.append(module)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        if not isinstance(module, Module):
            raise ArgumentError(type(self).__name__, f"takes modules, got {type(module).__name__}")
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before the one with this number; those behind it move up."""
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)
        return self


class Sequential(_Numbered):
    """The composition of its modules: the output of each is the input of the next.

    Takes modules, or one dictionary of named modules. Conv2d, ReLU and MaxPool2d(2) behind one another are computed in
    one pass where the algorithm can (``minivgg/nn/fusion.py``).

    >>> from minivgg import nn
    >>> nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)

    def _of(self, named: list[tuple[str, Module]]) -> Self:
        return type(self)(dict(named))

    def forward(self, input: Any) -> Any:
        for step in steps(list(self)):
            input = step(input)
        return input


class ModuleList(_Numbered):
    """A list of modules whose parameters are found; it has no ``forward``.

    >>> from minivgg import nn
    >>> nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Flatten()])
    ModuleList(
      (0-1): 2 x ReLU()
      (2): Flatten(start_dim=1, end_dim=-1)
    )
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _of(self, named: list[tuple[str, Module]]) -> Self:
        return type(self)(module for _, module in named)

    def _child_lines(self) -> Iterator[tuple[str, str]]:
        """Neighbours with equal text share a line."""
        numbered = enumerate(map(repr, self))
        for text, run in itertools.groupby(numbered, key=lambda entry: entry[1]):
            first, *others = (i for i, _ in run)
            yield (f"{first}-{others[-1]}", f"{len(others) + 1} x {text}") if others else (str(first), text)
