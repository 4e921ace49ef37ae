"""CUDA graphs: the work of a whole function recorded once, and then started by a single call.

Python takes some microseconds for each kernel that it launches; where kernels are as short (one image, small layers), the
device waits for Python. A graph holds the launches with all their arguments, addresses too: so its inputs, its outputs and all
that lies between have fixed places in memory, a pool of its own.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from minivgg.anomaly import INSIDE, place
from minivgg.autograd import Tensor, no_grad
from minivgg.capture import Capture, current
from minivgg.device import cupy_for
from minivgg.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from minivgg.nn.module import Module

WAITS = """something asks the device for a number, or copies from the host, which a recording cannot do: item(), float(), bool() or print of a \
tensor, a boolean mask as an index, a tensor made of Python's numbers or of random ones"""


LIBRARIES = """something is computed by a library that CuPy does not let record: matmul, and linear and convolution in float64 (cuBLAS), or \
a convolution by fft"""


class Graph:
    """What ``graph`` returns: call it with tensors like the examples.

    ``inputs``, ``outputs``  the tensors that each call fills and hands out
    ``memory_bytes``         what the graph holds of the device's memory, which is the most that the function needs at once
    """

    def __init__(self, function: Callable[..., Any], examples: tuple[Tensor, ...]) -> None:
        self.function = function
        self.inputs = [example.detach().clone() for example in examples]
        self._run()  # for real: kernels are compiled, libraries make ready, optimisers begin their state
        self._record()

    @property
    def memory_bytes(self) -> int:
        return int(self._pool.total_bytes())

    def __call__(self, *inputs: Tensor) -> Any:
        self._check(inputs)
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.array[...] = given.detach().to(device=mine.device, non_blocking=True).array
        if any(read() != before for read, before in self._capture.watched):
            self._record()
        for generator, seed in self._capture.seeds:
            seed.fill(generator.seed_for_mask())
        self._executable.launch(stream=cupy_for("graph").cuda.get_current_stream())
        return self.outputs

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return f"<Graph of {name} for {', '.join(str(mine.shape) for mine in self.inputs)}: {self.memory_bytes / 2**20:,.1f} MiB>"

    def _check(self, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs) != len(self.inputs):
            raise ArgumentError("graph", f"was recorded for {len(self.inputs)} tensors, got {len(inputs)}")
        for i, (mine, given) in enumerate(zip(self.inputs, inputs, strict=True)):
            if not isinstance(given, Tensor) or (given.shape, given.dtype) != (mine.shape, mine.dtype):
                came = f"{given.dtype} {given.shape}" if isinstance(given, Tensor) else type(given).__name__
                problem = f"argument {i} was {mine.dtype} {mine.shape} when the work was recorded, got {came}; record another graph for it"
                raise ShapeError("graph", problem)

    def _run(self) -> Any:
        """A module is for inference; any other function says itself what it differentiates."""
        with no_grad() if isinstance(self.function, Module) else contextlib.nullcontext():
            return self.function(*self.inputs)

    def _record(self) -> None:
        cupy = cupy_for("graph")
        self._capture, self._pool = Capture(cupy), cupy.cuda.MemoryPool()
        if isinstance(self.function, Module):
            self._capture.held += [tensor.array for tensor in (*self.function.parameters(), *self.function.buffers())]
        before, stream = cupy.cuda.get_current_stream().record(), cupy.cuda.Stream(non_blocking=True)
        stream.wait_event(before)
        with stream, cupy.cuda.using_allocator(self._pool.malloc), _capturing(self._capture, stream):
            self.outputs = self._run()
        self._executable = self._capture.executable


@contextlib.contextmanager
def _capturing(capture: Capture, stream: Any) -> Iterator[None]:
    """What the stream is told within the block is recorded, as ``capture.executable``, and not done."""
    if current.capture is not None:
        raise UnsupportedError("graph", "a graph is being recorded already")
    current.capture = capture
    stream.begin_capture()
    try:
        yield
        capture.executable = stream.end_capture()
    except BaseException as error:
        with contextlib.suppress(capture.cupy.cuda.runtime.CUDARuntimeError):
            stream.end_capture()
        if isinstance(error, capture.cupy.cuda.runtime.CUDARuntimeError):
            raise UnsupportedError("graph", f"{WAITS}{_where(error)} ({error})") from error
        if isinstance(error, NotImplementedError):
            raise UnsupportedError("graph", f"{LIBRARIES}{_where(error)} ({error})") from error
        raise
    finally:
        current.capture = None


def _where(error: BaseException) -> str:
    """The layer and the user's line, seen from the last function of minivgg's that was called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return place(next(frame for frame in reversed(frames) if frame.f_code.co_filename.startswith(INSIDE)))


def graph(function: Callable[..., Any], *examples: Tensor) -> Graph:
    """Record what ``function(*examples)`` does on a GPU; what is returned does it again, in one launch, on other tensors like the examples.

    A module is recorded without gradients, in the mode that it is in. A training step is a function of its batch::

        def step(images, labels):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            return loss

        step = minivgg.graph(step, images, labels)  # takes the first step
        for images, labels in loader:
            loss = step(images, labels)

    The function is called with the examples once for real (a training step is then one), and once more while its work is recorded
    and not done. Python's part of it runs no more after that: what it decides, it has decided. Two things are looked after: each
    dropout gets a new seed, so that masks and all follow the generator as they would without a graph; and when options of an optimiser
    change, such as the learning rate, the work is recorded anew.

    Results are overwritten by the next call; ``clone()`` what is kept longer. Parameters must keep their places: load values into
    them, but move nothing. UnsupportedError for tensors on the CPU, and for what cannot be recorded, with the layer and the line.
    """
    for i, example in enumerate(examples):
        if not isinstance(example, Tensor):
            raise DtypeError("graph", f"example {i} must be a tensor, got {type(example).__name__}")
    if not examples or any(example.device == "cpu" for example in examples):
        raise UnsupportedError("graph", "records the work of a GPU, so it needs examples on one; on the CPU a call costs nothing that a graph could save")
    return Graph(function, examples)
