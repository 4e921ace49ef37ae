"""Time on a GPU: between two events of its stream, with inputs that its cache does not hold; and what nothing there can exceed.

CuPy and PyTorch both work on the legacy default stream unless told otherwise, so the same events time either.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minivgg.bench.turns import Competitor, quartiles, take_turns
from minivgg.device import cupy_for

DRIVER = Path("/proc/driver/nvidia/version")

WARM = 2
"""Calls before anything is timed: they compile, let libraries look for their fastest algorithms, and fill the pools of memory."""


@dataclass(slots=True)
class Timing:
    """One competitor at one piece of work. ``seconds`` is empty if it was not timed, and ``refusal`` then says why.

    ``flags`` names its precision and settings; ``flops`` and ``bytes`` are what it executes and must move at the least, if known.
    """

    work: str
    competitor: str
    flags: str
    error: float | None = None
    refusal: str = ""
    flops: int = 0
    bytes: int = 0
    seconds: list[float] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        first, median, third = quartiles(self.seconds)
        return {**asdict(self), **({"median": median, "first_quartile": first, "third_quartile": third} if self.seconds else {})}


def device_facts() -> dict[str, Any]:
    """What a result belongs to, beside ``machine()``: the device, its driver, CUDA's versions."""
    cupy = cupy_for("bench")
    device, runtime = cupy.cuda.Device(), cupy.cuda.runtime
    properties = runtime.getDeviceProperties(device.id)
    return {
        "device": properties["name"].decode(), "compute_capability": device.compute_capability, "multiprocessors": properties["multiProcessorCount"],
        "l2_bytes": properties["l2CacheSize"], "memory": device.mem_info[1], "cuda_driver": runtime.driverGetVersion(),
        "cuda_runtime": runtime.runtimeGetVersion(), "driver": DRIVER.read_text(encoding="utf-8").splitlines()[0] if DRIVER.exists() else None,
    }  # fmt: skip


def event_timed(run: Callable[[], object]) -> Callable[[int], float]:
    """``Competitor.calls`` of work on the device. What the host needs to start it counts as far as the device waits for that."""
    cuda = cupy_for("bench").cuda

    def calls(count: int) -> float:
        stream = cuda.get_current_stream()
        start = stream.record()
        for _ in range(count):
            run()
        end = stream.record()
        end.synchronize()
        return float(cuda.get_elapsed_time(start, end)) / 1e3

    return calls


def beyond_cache(make: Callable[[int], Any], size: int) -> list[Any]:
    """``make(0)``, ``make(1)``, ...: as many inputs of ``size`` bytes as together fill the L2 cache twice."""
    return [make(i) for i in range(max(1, -(-2 * device_facts()["l2_bytes"] // max(size, 1))))]


def rotating(run: Callable[[Any], Any], inputs: Sequence[Any]) -> Callable[[], Any]:
    """``run`` of the next input at each call, so that none is found in the cache."""
    following = itertools.cycle(inputs)
    return lambda: run(next(following))


def recorded(run: Callable[[Any], Any], inputs: Sequence[Any]) -> Callable[[], None]:
    """``run`` of the next input at each call, each recorded in a CUDA graph of its own: what Python needs to start the kernels does not count."""
    cuda = cupy_for("bench").cuda
    graphs = []
    for each in inputs:
        run(each)  # kernels are compiled, and what they are given is there
        pool, stream = cuda.MemoryPool(), cuda.Stream(non_blocking=True)
        stream.wait_event(cuda.get_current_stream().record())
        with stream, cuda.using_allocator(pool.malloc):
            stream.begin_capture()
            run(each)
            graphs.append((stream.end_capture(), pool))
    following = itertools.cycle(graphs)
    return lambda: next(following)[0].launch(stream=cuda.get_current_stream())


def take_turns_on_device(competitors: Sequence[tuple[Timing, Callable[[int], float]]], replicates: int, budget: float) -> None:
    """``take_turns`` after a warm-up; without pauses, because nobody's threads are in the way, and an idle GPU slows its clock down."""
    for _, calls in competitors:
        calls(WARM)
    take_turns([Competitor(timing.competitor, calls, timing.seconds) for timing, calls in competitors], replicates, budget, pause=0.0)


def measure_ceilings(elements: int = 1 << 28, repeats: int = 1 << 14, replicates: int = 9) -> dict[str, float]:
    """``copy``: bytes read and written a second, copying so many float32; ``flops``: operations a second of multiply-adds in registers."""
    cupy = cupy_for("bench")
    kernels = importlib.import_module("minivgg.kernels.common.ceilings_cuda")
    source = cupy.ones(elements, "float32")
    target = cupy.empty_like(source)
    sums = cupy.empty(kernels.THREADS * 16 * device_facts()["multiprocessors"], "float32")
    operations = kernels.multiply_add(sums, 0.5, 1.0, repeats)

    def copy() -> None:
        target[...] = source

    copying, computing = Timing("ceilings", "copy", "float32"), Timing("ceilings", "multiply_add", "float32")
    work = [(copying, event_timed(copy)), (computing, event_timed(lambda: kernels.multiply_add(sums, 0.5, 1.0, repeats)))]
    take_turns_on_device(work, replicates, budget=10.0)
    return {"copy": 2 * source.nbytes / quartiles(copying.seconds)[1], "flops": operations / quartiles(computing.seconds)[1]}
