"""The random state: one generator for everything that draws numbers, seeded by ``manual_seed``."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.capture import current
from minivgg.errors import ArgumentError, DtypeError


class Generator:
    """A stream of random numbers. The layers use the default one; pass another where repetition matters.

    >>> Generator().manual_seed(1).seed_for_mask() == Generator().manual_seed(1).seed_for_mask()
    True
    """

    def __init__(self) -> None:
        self.numpy = numpy.random.Generator(numpy.random.PCG64())

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to ``seed``, an int of 64 bits; a negative one belongs to that plus 2⁶⁴."""
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or not -(2**63) <= seed.__index__() < 2**64:
            raise ArgumentError("manual_seed", f"seed must be an int from -2**63 to 2**64 - 1, got {seed!r}")
        self.numpy = numpy.random.Generator(numpy.random.PCG64(seed.__index__() % 2**64))
        return self

    def get_state(self) -> dict[str, Any]:
        """The state as plain data, for checkpoints."""
        return dict(self.numpy.bit_generator.state)

    def set_state(self, state: dict[str, Any]) -> Generator:
        """Go on from a state that ``get_state`` returned; of any other none is taken."""
        bits: Any = numpy.random.PCG64(0)
        try:
            bits.state = state
            if bits.state != state:
                raise ValueError("its numbers are not whole")
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise ArgumentError("set_state", f"takes what get_state returned, got {state!r}: {error}") from None
        self.numpy = numpy.random.Generator(bits)
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


def numpy_generator(operation: str, generator: Generator | None) -> numpy.random.Generator:
    """The NumPy generator behind ``generator``, or behind the default one."""
    if generator is not None and not isinstance(generator, Generator):
        raise DtypeError(operation, f"generator must be a minivgg.Generator, got {type(generator).__name__}")
    return (generator or default_generator).numpy
