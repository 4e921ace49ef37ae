"""The networks that the command line knows by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minivgg.errors import ArgumentError

if TYPE_CHECKING:
    from minivgg.nn import Module

SIZES = {"minivgg": (1, 8, 8)}
"""The input sizes of networks that were not made for (3, 224, 224)."""


def builders() -> dict[str, Callable[[], Module]]:
    """Each network by its name in small letters: those of ``minivgg.models``."""
    from minivgg import models

    made = {name: getattr(models, name) for name in models.__all__ if name.startswith("vgg")}
    return {"minivgg": models.MiniVGG, **made}


def build(name: str) -> Module:
    """The network of that name, freshly initialised."""
    known = builders()
    if name.lower() not in known:
        raise ArgumentError("summary", f"there is no network {name!r}; there are {', '.join(known)}")
    return known[name.lower()]()


def read_size(text: str, name: str) -> tuple[int, ...]:
    """``"3,224,224"`` or ``"3x224x224"`` as a tuple; the network's own size if the text is empty.

    >>> read_size("3x32x32", "vgg16"), read_size("", "minivgg")
    ((3, 32, 32), (1, 8, 8))
    """
    if not text:
        return SIZES.get(name.lower(), (3, 224, 224))
    try:
        size = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        size = ()
    if not size or min(size) < 1:
        raise ArgumentError("summary", f"a size is written like 3,224,224 (channels, rows, columns), got {text!r}")
    return size
