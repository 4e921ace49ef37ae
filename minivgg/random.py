"""The random state: one generator for everything that draws numbers, seeded by ``manual_seed``."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.capture import current


class Generator:
    """A stream of random numbers. The layers use the default one; pass another where repetition matters.

    >>> Generator().manual_seed(1).seed_for_mask() == Generator().manual_seed(1).seed_for_mask()
    True
    """

    def __init__(self) -> None:
        self.numpy = numpy.random.Generator(numpy.random.PCG64())

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to ``seed``."""
        self.numpy = numpy.random.Generator(numpy.random.PCG64(seed))
        return self

    def get_state(self) -> dict[str, Any]:
        """The state as plain data, for checkpoints."""
        return dict(self.numpy.bit_generator.state)

    def set_state(self, state: dict[str, Any]) -> Generator:
        """Go on from a state that ``get_state`` returned."""
        self.numpy.bit_generator.state = state
        return self

    def seed_for_mask(self) -> Any:
        """A 63-bit seed drawn from the stream; it determines a dropout mask. While a graph is recorded, the place that will hold one."""
        if current.capture is not None:
            return current.capture.seed_place(self)
        return int(self.numpy.integers(0, 2**63 - 1))


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator: the same program then draws the same numbers."""
    return default_generator.manual_seed(seed)


def numpy_generator(generator: Generator | None) -> numpy.random.Generator:
    """The NumPy generator behind ``generator``, or behind the default one."""
    return (generator or default_generator).numpy
