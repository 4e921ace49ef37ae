"""How many bits of float32 the matrix products and convolutions of a GPU multiply: all of them, unless the user says otherwise.

Tensor cores multiply numbers of 11 significant bits (TF32) six times as fast as CUDA cores multiply float32, and of 8 bits
(BF16) twelve times. Inputs and results stay float32 and sums are float32 whatever is chosen. On the CPU nothing changes.
"""

from __future__ import annotations

import contextvars

FLOAT32, TF32, BF16 = 24, 11, 8
"""Significant bits of the factors."""

_bits: contextvars.ContextVar[int] = contextvars.ContextVar("minivgg_precision", default=FLOAT32)


def significant_bits() -> int:
    """Of the factors of float32 products: 24, or less where the user allows it.

    >>> significant_bits()
    24
    """
    return _bits.get()


class _Allow:
    """Sets the precision when it is made, and sets it back at the end of a ``with``."""

    bits = FLOAT32

    def __init__(self, allowed: bool = True) -> None:
        if not isinstance(allowed, bool):
            raise TypeError(f"{type(self).__name__}: expected True or False, got {allowed!r}")
        self._before = _bits.set(self.bits if allowed else FLOAT32)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        _bits.reset(self._before)


class allow_tf32(_Allow):
    """Let a GPU round the factors of matrix products and convolutions to TF32: 11 significant bits, a relative error of 2^-11 each.

    From now on, or within the block of a ``with``; ``allow_tf32(False)`` means all of float32 again. It holds for what is computed
    then, so a ``loss.backward()`` outside the block is computed in float32. PyTorch rounds convolutions like this by default
    (``torch.backends.cudnn.allow_tf32``), and minivgg never does unless it is told to. Needs compute capability 8.0.

    >>> with allow_tf32():
    ...     significant_bits()
    11
    >>> significant_bits()
    24
    """

    bits = TF32


class allow_bf16(_Allow):
    """The same with BF16: 8 significant bits, at about twice the speed of TF32. Tensors stay float32, in memory and in sums.

    >>> with allow_bf16():
    ...     significant_bits()
    8
    """

    bits = BF16
