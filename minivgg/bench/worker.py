"""A process of its own for each competitor, so that no library disturbs another and the memory of each can be told.

The parent sends the name of a function below with its arguments; the child answers with its result, or with the error.
Only small things travel: both sides make the network and the images from the same seeds.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy

from minivgg.bench.measure import draw_inputs
from minivgg.bench.network import build, convolution
from minivgg.bench.rivals import Rival, rivals
from minivgg.bench.rivals._itself import in_float64, itself
from minivgg.bench.turns import timed
from minivgg.errors import UnsupportedError
from minivgg.spec import Conv2dSpec

SAMPLE = 10_000
"""Numbers of each weight by whose change a training step is judged."""

TRUTH = "the truth"
"""The name under which minivgg computes in float64 by im2col."""


class Worker:
    """One competitor in its process. ``with Worker("PyTorch", threads=2) as worker: worker.forward("vgg16", 224, 1)``.

    ``name`` is a rival's, ``minivgg``, ``minivgg direct`` (or another algorithm), or ``TRUTH``.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, name, threads), daemon=True)
        rival = rivals().get(name)
        with _variables({"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads), **(rival.environment(threads) if rival else {})}):
            self.process.start()
        theirs.close()

    def __call__(self, function: str, *arguments: Any) -> Any:
        """Let the child compute; raises UnsupportedError with its words if it fails."""
        try:
            self.pipe.send((function, arguments))
            worked, answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise UnsupportedError("bench", f"the process of {self.name} ended with code {self.process.exitcode}") from None
        if not worked:
            raise UnsupportedError("bench", f"{self.name} fails: {answer}")
        return answer

    def calls(self, count: int) -> float:
        """Seconds of so many calls of what was prepared last."""
        return self("calls", count)

    def close(self) -> None:
        self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextlib.contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """The environment with these variables, for a block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


# In the child ---------------------------------------------------------------------------------------------------------


def _serve(pipe: Any, name: str, threads: int) -> None:
    """Answer until the parent closes the pipe. What libraries print is nobody's concern; their errors travel."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    child: _Child | None = None
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            child = child or _Child(name, threads)
            pipe.send((True, getattr(child, function)(*arguments)))
        except Exception as error:  # whatever a foreign library raises is what the user wants to read
            pipe.send((False, f"{type(error).__name__}: {error}".strip()[:500]))


class _Child:
    """What a process can be asked for."""

    def __init__(self, name: str, threads: int) -> None:
        self.exact = name == TRUTH
        self.rival: Rival = rivals()[name] if name in rivals() else itself("im2col" if self.exact else name.removeprefix("minivgg").strip() or "auto")
        self.threads = threads
        for module in self.rival.libraries or ("minivgg.kernels",):
            importlib.import_module(module)
        importlib.import_module("minivgg.registry").algorithms("conv2d")
        self.baseline = resident_bytes()
        self.run: Callable[[], Any] = lambda: None

    def _network(self, name: str, image: int) -> Any:
        network = build(name, image)
        return in_float64(network) if self.exact else network

    def _precision(self, images: numpy.ndarray) -> numpy.ndarray:
        return images.astype(numpy.float64) if self.exact else images

    def forward(self, name: str, image: int, batch: int) -> numpy.ndarray:
        """Prepare inference; the scores."""
        network = self._network(name, image)
        self.run = self.rival.forward(network, self._precision(network.images(batch)), self.threads)
        return self.run()

    def step(self, name: str, image: int, batch: int) -> tuple[list[float], list[numpy.ndarray]]:
        """Prepare training, and take two steps; the losses, and by how much a sample of each array has changed."""
        if self.rival.step is None:
            raise UnsupportedError("bench", f"{self.rival.name} is not asked to train")
        network = self._network(name, image)
        before = _sample(network.arrays)
        images, labels = self._precision(network.images(batch)), network.labels(batch)
        self.run, arrays = self.rival.step(network, images, labels, self.threads)
        del network
        losses = [self.run(), self.run()]
        return losses, [after - old for after, old in zip(_sample(arrays()), before, strict=True)]

    def convolution(self, problem: str, direction: str) -> numpy.ndarray:
        """Prepare one direction of a convolution; the result."""
        spec = Conv2dSpec.parse(problem)
        inputs = draw_inputs(spec, direction)
        if direction == "output":
            x, w, b = inputs
            self.run = self.rival.forward(convolution(spec, w, b), x, self.threads)
        elif self.rival.gradient is None:
            raise UnsupportedError("bench", f"{self.rival.name} gives no gradients of a single convolution")
        else:
            top, bottom, left, right = spec.padding
            if (top, left) != (bottom, right):
                raise UnsupportedError("bench", "rivals are compared on convolutions padded on both sides alike", problem=spec)
            self.run = self.rival.gradient(spec, direction, inputs, self.threads)
        return self.run()

    def calls(self, count: int) -> float:
        return timed(self.run)(count)

    def forget_peak(self) -> None:
        forget_peak()

    def peak(self) -> tuple[int, int]:
        """Bytes that were resident at the most since ``forget_peak``, and how many of them were already when the library had been imported."""
        return peak_bytes(), self.baseline


def _sample(arrays: list[numpy.ndarray]) -> list[numpy.ndarray]:
    rng = numpy.random.default_rng(3)
    return [array.reshape(-1)[rng.integers(0, array.size, min(array.size, SAMPLE))].astype(numpy.float64) for array in arrays]


# Memory of this process -----------------------------------------------------------------------------------------------


def _status(entry: str) -> int | None:
    try:
        found = re.search(rf"^{entry}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def peak_bytes() -> int:
    """Resident at the most, since the process began or since ``forget_peak``."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes() -> int:
    """Resident now (at the most until now, where the system does not tell)."""
    return _status("VmRSS") or peak_bytes()


def forget_peak() -> None:
    """Let the peak begin anew at what is resident now; only Linux can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
