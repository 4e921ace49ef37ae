"""An example: one call, drawn from its seed alone, and what can be asked about its arguments."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy

from fuzz.calls import CALLS
from fuzz.drawing import Rng, chance, one_of
from fuzz.hostile import hostile
from minivgg.registry import algorithms, operations_with_algorithms

Change = Callable[[numpy.ndarray], Any]


@dataclasses.dataclass(frozen=True)
class Example:
    """``algorithm`` is forced, or None for the usual choice; ``broken`` says that something was made not to fit."""

    operation: str
    seed: int
    algorithm: str | None
    args: tuple[Any, ...]
    options: dict[str, Any]
    broken: bool

    def arrays(self) -> list[numpy.ndarray]:
        """Every array among the arguments, those in lists too."""
        found: list[numpy.ndarray] = []
        replaced([*self.args, *self.options.values()], lambda array: found.append(array))
        return found

    def numbers(self) -> list[float]:
        """Every Python number among the arguments."""
        return [value for value in (*self.args, *self.options.values()) if isinstance(value, int | float)]

    def with_arrays(self, change: Change) -> Example:
        """The same call with other numbers."""
        options = {name: replaced(value, change) for name, value in self.options.items()}
        return dataclasses.replace(self, args=tuple(replaced(value, change) for value in self.args), options=options)

    def __str__(self) -> str:
        def shown(value: Any) -> str:
            if isinstance(value, numpy.ndarray):
                return f"{value.dtype}{list(value.shape)}strides{list(value.strides)}" + (f"={value.tolist()}" if value.size <= 6 else "")
            return f"[{', '.join(map(shown, value))}]" if isinstance(value, list | tuple) and any(isinstance(v, numpy.ndarray) for v in value) else repr(value)

        parts = [*map(shown, self.args), *(f"{name}={shown(value)}" for name, value in self.options.items())]
        return f"{self.operation}({', '.join(parts)})" + (f" by {self.algorithm}" if self.algorithm else "") + f"  [seed {self.seed}]"


def replaced(value: Any, change: Change) -> Any:
    """An argument with every array in it changed."""
    if isinstance(value, numpy.ndarray):
        return change(value)
    if isinstance(value, list | tuple) and any(isinstance(item, numpy.ndarray | list | tuple) for item in value):
        return type(value)(replaced(item, change) for item in value)
    return value


def draw(operation: str, seed: int) -> Example:
    """The example of an operation that belongs to this seed."""
    rng = numpy.random.default_rng([seed, list(CALLS).index(operation)])
    generator = CALLS[operation]
    args, options = generator(rng, operation) if "name" in inspect.signature(generator).parameters else generator(rng)
    args, options, broken = hostile(rng, args, options)
    return Example(operation, seed, _algorithm(rng, operation), args, options, broken)


def _algorithm(rng: Rng, operation: str) -> str | None:
    """Any of its algorithms, or the usual choice. The reference is for small problems, as these are."""
    family = family_of(operation)
    known = algorithms(family) if family in operations_with_algorithms() else {}
    return one_of(rng, *known) if known and chance(rng, 0.7) else None


def family_of(operation: str) -> str:
    """What ``use_algorithm`` calls it: a convolution's gradients, and the convolution that is fused with what follows, are one family."""
    return "conv2d" if operation.startswith("conv2d") else operation
