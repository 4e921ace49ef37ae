"""The competitors: one file a library, each of which registers what it can do with a network that ``network.py`` describes.

A file holds one or several ``Rival`` records; it is found by lying in this folder. Its library is imported only inside
the functions, so a missing one costs nothing and is reported by ``Rival.missing``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import pkgutil
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from minivgg.bench.network import Network
from minivgg.errors import ArgumentError
from minivgg.spec import Conv2dSpec

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4
"""Of every training step."""

Run = Callable[[], numpy.ndarray]
"""Computes once and returns the result."""

Training = tuple[Callable[[], float], Callable[[], list[numpy.ndarray]]]
"""One step that returns the loss before it, and the parameters as they are now, in the order of ``Network.arrays``."""


@dataclass(frozen=True)
class Rival:
    """What a library can do. All computes in float32 with the given number of threads.

    ``name``         how a table calls it
    ``libraries``    the modules that it needs, each with the name under which pip installs it if that differs
    ``settings``     everything that was set, for the reader of a result
    ``forward``      ``forward(network, images, threads)`` returns a ``Run`` for the scores of the images
    ``step``         ``step(network, images, labels, threads)`` returns a ``Training`` by cross entropy and SGD; None: it cannot
    ``gradient``     ``gradient(spec, direction, inputs, threads)`` returns a ``Run`` for one gradient of a convolution; None: it cannot
    ``environment``  variables that must be set before the library is loaded
    ``program``      a program that must be installed, as (environment variable that names it, its usual name)

    What is prepared once (weights in the library's own order, the input in the layout it likes) happens before the
    ``Run`` is returned, outside the time.
    """

    name: str
    libraries: dict[str, str]
    settings: str
    forward: Callable[[Network, numpy.ndarray, int], Run]
    step: Callable[[Network, numpy.ndarray, numpy.ndarray, int], Training] | None = None
    gradient: Callable[[Conv2dSpec, str, Sequence[numpy.ndarray], int], Run] | None = None
    environment: Callable[[int], dict[str, str]] = lambda threads: {}
    program: tuple[str, str] | None = None

    def missing(self) -> str | None:
        """The sentence that says what it lacks here, or None."""
        for module, package in self.libraries.items():
            if importlib.util.find_spec(module) is None:
                return f"{self.name} is not installed here: pip install {package}"
        if self.program and shutil.which(os.environ.get(self.program[0], self.program[1])) is None:
            return f"{self.name} needs the program {self.program[1]}, or another one named by the variable {self.program[0]}"
        return None


@functools.cache
def rivals() -> dict[str, Rival]:
    """Every rival by name, whether it is installed or not; minivgg itself is not among them.

    >>> "PyTorch" in rivals() and "ncnn" in rivals()
    True
    """
    found: dict[str, Rival] = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            found |= {rival.name: rival for rival in importlib.import_module(f"{__name__}.{module.name}").RIVALS}
    return found


def select(words: str) -> list[Rival]:
    """The rivals that a user names: ``"all"``, ``"none"``, or the beginnings of names, as in ``"pytorch,ncnn"``.

    A beginning takes all that begin so: ``pytorch`` is PyTorch in every layout. Raises ArgumentError for one that fits nothing.

    >>> [rival.name for rival in select("pytorch,ncnn")]
    ['PyTorch', 'PyTorch channels-last', 'PyTorch compiled', 'ncnn']
    """
    if words == "none":
        return []
    chosen: list[Rival] = []
    for word in [word.strip().lower() for word in words.split(",") if word.strip()]:
        fitting = [rival for name, rival in rivals().items() if word == "all" or name.lower().startswith(word)]
        if not fitting:
            raise ArgumentError("bench", f"there is no rival {word!r}; there are {', '.join(rivals())}")
        chosen += [rival for rival in fitting if rival not in chosen]
    return chosen


def layers_with_relu(network: Network) -> list[tuple[Any, bool]]:
    """The layers without ReLUs, each with whether a ReLU follows: for libraries that compute both at once."""
    kinds = [layer.kind for layer in network.layers] + [""]
    return [(layer, kinds[i + 1] == "relu") for i, layer in enumerate(network.layers) if layer.kind != "relu"]
