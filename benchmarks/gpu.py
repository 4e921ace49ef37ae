"""The GPU beside PyTorch's cuDNN: builds the CUDA kernels, holds each to float64, then times, and prints the table of goals.

    python benchmarks/gpu.py                    # everything: checks, then times; results/gpu.json
    python benchmarks/gpu.py --check            # only whether everything is right
    python benchmarks/gpu.py --quick            # without the ways of PyTorch's that take minutes to make ready
    python benchmarks/gpu.py layers memory      # these rows anew, the others as results/gpu.json has them
    python benchmarks/gpu.py --show             # the table from results/gpu.json, without a GPU

It installs nothing: CuPy must be there, and PyTorch where it is to be compared with. Nothing is timed unless all of it is right.
A ratio is the time of the fastest of PyTorch's ways (both memory orders, compiled, ``cudnn.benchmark``) in the same precision over
ours: medians of interleaved turns between CUDA events, inputs rotating through more than the L2 cache. Single layers are recorded
in CUDA graphs, ours and PyTorch's, so that the device alone counts. Exit code 1: something is wrong; 2: no GPU.

``--quick`` leaves out what is compiled; gradients channels last have ``cudnn.benchmark`` off there, which would try kernels that take
seconds each.
"""

import json
import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gpu_checks
import gpu_pytorch
import numpy
from gpu_pytorch import Way, flagged
from gpu_table import table

import minivgg
import minivgg.nn.functional as F
from minivgg.bench import gpu, measure, network, problems, work
from minivgg.bench.gpu import Timing, beyond_cache, event_timed, rotating
from minivgg.bench.machine import cores, machine
from minivgg.bench.rivals import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
from minivgg.bench.rivals._itself import model
from minivgg.device import cuda_problem, cupy_for
from minivgg.kernels.common import cuda
from minivgg.models import MiniVGG, vgg16
from minivgg.registry import algorithms, operations_with_algorithms, select
from minivgg.testing.on_device import cuda_records

RESULTS = Path(__file__).parent / "results" / "gpu.json"
PRECISIONS = {"": minivgg.allow_tf32, " TF32": minivgg.allow_tf32, " BF16": minivgg.allow_bf16}
"""What minivgg is allowed, by the end of the competitor's name."""
FLOAT32 = numpy.dtype("float32")
REPLICATES, BUDGET = 11, 20.0
"""Turns of each, and seconds that a slow one may take in all."""

Calls = Callable[[int], float]
Entrant = tuple[Timing, Callable[[], tuple[Calls, Callable[[], Any]]]]
"""What is recorded, and what makes ready: it returns what is timed, and a call whose result is compared."""


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


# Measuring ------------------------------------------------------------------------------------------------------------


def allowing(precision: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def allowed(*arguments: Any) -> Any:
        with PRECISIONS[precision](precision != ""):
            return function(*arguments)

    return allowed


def ours(
    name: str, competitor: str, run: Callable[[Any], Any], inputs: Sequence[Any], *, precision: str = "", flops: int = 0, size: int = 0, record: bool = False
) -> Entrant:
    run = allowing(precision, run)

    def make() -> tuple[Calls, Callable[[], Any]]:
        return event_timed(gpu.recorded(run, inputs) if record else rotating(run, inputs)), lambda: run(inputs[0])

    return Timing(name, f"{competitor}{precision}", precision.strip() or "float32", flops=flops, bytes=size), make


def theirs(
    name: str, ways: Sequence[Way], build: Callable[[Way], tuple[Callable[[Any], Any], list[Any]]], record: bool = False
) -> list[Entrant]:  # fmt: skip
    """PyTorch's ways, if it is there."""

    def make(way: Way) -> tuple[Calls, Callable[[], Any]]:
        run, inputs = build(way)
        calls = flagged(way, gpu_pytorch.recorded)(run, inputs) if record else rotating(run, inputs)
        return flagged(way, event_timed(calls)), flagged(way, lambda: run(inputs[0]))

    return [(Timing(name, way.name, way.flags), lambda way=way: make(way)) for way in (ways if gpu_pytorch.missing() is None else ())]


def race(entrants: Sequence[Entrant], allowed: dict[str, float]) -> list[dict[str, Any]]:
    """Hold everybody's second result (of a step: what the first has changed) to the first one's; those that agree take turns."""
    ready, truth = [], None
    for timing, make in entrants:
        try:
            calls, once = make()
            once()
            result = numpy_of(once())
        except RuntimeError as error:  # no memory, nothing compiled: the others go on
            timing.refusal = f"failed: {error}".splitlines()[0]
            if truth is None:
                break
            continue
        truth = result if truth is None else truth
        timing.error = measure.relative_error(result, truth)
        limit = allowed[next((precision for precision in ("TF32", "BF16") if precision in timing.competitor), "float32")]
        if timing.error <= limit:
            ready.append((timing, calls))
        else:
            timing.refusal = f"differs by {timing.error:.1e} from {entrants[0][0].competitor}, allowed {limit:.0e}"
    say(f"{entrants[0][0].work}: timing {', '.join(timing.competitor for timing, _ in ready) or 'nobody'}")
    gpu.take_turns_on_device(ready, REPLICATES, BUDGET)
    return [timing.as_data() for timing, _ in entrants]


def numpy_of(result: Any) -> numpy.ndarray:
    if isinstance(result, minivgg.Tensor):
        return result.detach().cpu().numpy()
    return result.get() if hasattr(result, "get") else gpu_pytorch.as_numpy(result)


PERIOD = 4_194_301
"""Random numbers that an array repeats: a prime number, so that rows, planes and images differ."""


def normal(shape: tuple[int, ...], seed: int) -> Any:
    """Normally distributed numbers on the device."""
    cupy, count = cupy_for("bench"), min(PERIOD, int(numpy.prod(shape)))
    return cupy.resize(cupy.asarray(numpy.random.default_rng(seed).standard_normal(count, dtype=FLOAT32)), shape)


def images(described: network.Network, batch: int) -> list[Any]:
    shape = (batch, *described.input)
    return beyond_cache(lambda i: normal(shape, i), 4 * int(numpy.prod(shape)))


def forward(described: network.Network, batch: int, ways: Sequence[Way], graphed: bool, precisions: Sequence[str] = ("",)) -> list[dict[str, Any]]:
    name, arrays, net = f"forward {batch}", images(described, batch), model(described).eval().to("cuda")
    inputs = [minivgg.Tensor(array) for array in arrays]

    def run(x: minivgg.Tensor) -> minivgg.Tensor:
        with minivgg.no_grad():
            return net(x)

    entrants = [ours(name, "minivgg", run, inputs, precision=precision) for precision in precisions]
    if graphed:
        entrants.append(ours(name, "minivgg graph", minivgg.graph(net, inputs[0]), inputs))
    return race(entrants + theirs(name, ways, lambda way: gpu_pytorch.forward(way, described, arrays)), gpu_pytorch.MAY_DIFFER)


def step(described: network.Network, batch: int, ways: Sequence[Way]) -> list[dict[str, Any]]:
    """The losses after one step are compared; dropout is off, because masks would differ."""
    name, cupy, net = f"step {batch}", cupy_for("bench"), model(described).to("cuda")
    labels = cupy.asarray(described.labels(batch))
    batches = [(array, labels) for array in images(described, batch)]
    optimizer = minivgg.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def run(batch: tuple[minivgg.Tensor, minivgg.Tensor]) -> minivgg.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    inputs = [(minivgg.Tensor(x), minivgg.Tensor(y)) for x, y in batches]
    others = theirs(name, ways, lambda way: gpu_pytorch.step(way, described, batches))
    return race([ours(name, "minivgg", run, inputs), *others], gpu_pytorch.MAY_DIFFER)


def convolutions(layers: Sequence[problems.Problem], ways: Callable[[str], Sequence[Way]]) -> list[dict[str, Any]]:
    """Each layer in three directions, images channels last in ours: what "auto" chooses is "minivgg", the other CUDA kernels follow."""
    results, known = [], set()
    for problem in layers:
        spec = problem.spec
        if spec in known:
            continue  # conv3_3 is conv3_2 again
        known.add(spec)
        for direction, operation in measure.DIRECTIONS.items():
            name, size = f"{problem.label} {direction}", work.least_bytes(spec)
            sets = beyond_cache(lambda i, spec=spec, direction=direction: drawn(spec, direction, i), size)
            chosen = select(operation, spec, FLOAT32, device="cuda:0")
            others = [r for r in algorithms(operation, "cuda").values() if r.backend == "cuda" and r is not chosen and not r.supports(spec, FLOAT32)]
            entrants = []
            for record in [chosen, *(other for other in others if other.name != "direct")]:  # a hundred times slower on many channels
                shape = {"output": spec.output_shape, "input": spec.input_shape, "weight": spec.weight_shape}[direction]
                out = cupy_for("bench").empty(shape, FLOAT32)
                out = out if direction == "weight" else channels_last_on_device(out)

                def run(arrays: Any, record: Any = record, out: Any = out, spec: Any = spec) -> Any:
                    record(spec, *arrays, out)
                    return out

                flops = 2 * (work.executed_macs(spec, record.name) or spec.macs)
                competitor = "minivgg" if record is chosen else f"minivgg by {record.name}"
                entrants.append(ours(name, competitor, run, sets, flops=flops, size=size, record=True))
                entrants[-1][0].flags += f", {record.name}"
            build = lambda way, spec=spec, direction=direction, sets=sets: gpu_pytorch.convolution(way, spec, direction, sets)  # noqa: E731
            results += race(entrants + theirs(name, ways(direction), build, record=True), {"float32": 1e-4})
    return results


def drawn(spec: Any, direction: str, seed: int) -> list[Any]:
    """What the kernels of a direction take; images channels last, filters in C order."""
    x, w, b, dy = (normal(shape, 4 * seed + i) for i, shape in enumerate((spec.input_shape, spec.weight_shape, (spec.k,), spec.output_shape)))
    x, dy = channels_last_on_device(x), channels_last_on_device(dy)
    return {"output": [x, w, b], "input": [dy, w], "weight": [dy, x]}[direction]


def channels_last_on_device(array: Any) -> Any:
    return cupy_for("bench").ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def memory_bound(shape: tuple[int, ...], rows: tuple[int, ...], parameters: int) -> list[dict[str, Any]]:
    """Layers and an optimiser that compute next to nothing: their bytes, each read or written once, say how fast they could be."""
    results = []
    calls = {
        "relu": (shape, 2.0, lambda x: F.relu(x)),
        "max_pool2d": (shape, 1.25, lambda x: F.max_pool2d(x, 2)),
        "avg_pool2d": (shape, 1.25, lambda x: F.avg_pool2d(x, 2)),
        "dropout": (shape, 2.25, lambda x: F.dropout(x, 0.5, seed=1)),  # the mask has a byte an element
        "dropout, channels last": (shape, 2.25, lambda x: F.dropout(x, 0.5, seed=1)),
        "adaptive_avg_pool2d": (shape, 1.0, lambda x: F.adaptive_avg_pool2d(x, 7)),
        "local_response_norm, channels last": (shape, 2.0, lambda x: F.local_response_norm(x, 5)),
        "batch_norm, channels last": (shape, 3.0, lambda x: F.batch_norm(x, None, None, training=True)),  # read for the sums, and again for the result
        "softmax": (rows, 2.0, lambda x: F.softmax(x, 1)),
    }
    for name, (size, moved, call) in calls.items():
        count, laid_out = int(numpy.prod(size)), channels_last_on_device if name.endswith("channels last") else lambda array: array
        inputs = beyond_cache(lambda i, size=size, laid_out=laid_out: minivgg.Tensor(laid_out(normal(size, i))), 4 * count)

        def run(x: minivgg.Tensor, call: Any = call) -> minivgg.Tensor:
            with minivgg.no_grad():
                return call(x)

        results += race([ours(name, "minivgg", run, inputs, size=int(4 * moved * count), record=True)], {"float32": 0.0})
    x = channels_last_on_device(normal(shape, 0))
    sums = [Timing("bias gradient", "minivgg", "float32", bytes=x.nbytes)]
    tensor = minivgg.Tensor(x)
    gpu.take_turns_on_device([(sums[0], event_timed(gpu.recorded(lambda x: x.sum((0, 2, 3)), [tensor])))], REPLICATES, BUDGET)
    results += [timing.as_data() for timing in sums]
    for make, moved in ((minivgg.optim.SGD, 5), (minivgg.optim.Adam, 7)):  # the parameter, its gradient and its state read, all but the gradient written
        p = minivgg.ones(parameters, device="cuda").requires_grad_()
        p.grad = minivgg.ones(parameters, device="cuda")
        optimizer = make([p], lr=LEARNING_RATE, **({"momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY} if make is minivgg.optim.SGD else {}))
        timing = Timing(make.__name__, "minivgg", "float32", bytes=moved * p.nbytes)
        gpu.take_turns_on_device([(timing, event_timed(optimizer.step))], REPLICATES, BUDGET)
        results.append(timing.as_data())
    return results


def vgg() -> network.Network:
    return network.build("vgg16", 224)


def ways_of_layers(quick: bool) -> Callable[[str], Sequence[Way]]:
    return lambda direction: gpu_pytorch.QUICK if quick and direction != "output" else gpu_pytorch.STRICT


GROUPS: dict[str, Callable[[bool], list[dict[str, Any]]]] = {
    "forward64": lambda quick: forward(vgg(), 64, [*gpu_pytorch.EAGER, *([] if quick else gpu_pytorch.COMPILED)], False, tuple(PRECISIONS)),
    "step64": lambda quick: step(vgg(), 64, gpu_pytorch.QUICK if quick else [*gpu_pytorch.STRICT, *gpu_pytorch.COMPILED[:1]]),
    "layers": lambda quick: convolutions(problems.vgg("vgg16", 64), ways_of_layers(quick)),
    "forward1": lambda quick: forward(vgg(), 1, [*gpu_pytorch.STRICT, *([] if quick else gpu_pytorch.COMPILED[:1]), *gpu_pytorch.GRAPH], True),
    "memory": lambda quick: memory_bound((64, 64, 112, 112), (1 << 16, 1000), 1 << 26),
}


# The whole run -----------------------------------------------------------------------------------------------------------


def variants() -> list[tuple[cuda.Program, cuda.Constants]]:
    operations_with_algorithms("cuda")
    return [(program, constants) for program in cuda.PROGRAMS for constants in program.variants]


def compile_one(number: int) -> None:
    cupy_for("bench")
    program, constants = variants()[number]
    program.module(constants).compile()


def build() -> None:
    """Compile every kernel, on all processors at once; CuPy keeps the machine code on disk, so nobody waits for it later."""
    count = len(variants())
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        list(pool.map(compile_one, range(count)))
    say(f"{count} variants of the CUDA programs compiled")


def small() -> MiniVGG:
    return MiniVGG(num_classes=16, in_channels=1, image_size=8)


def checks() -> list[gpu_checks.Check]:
    """All of them; those that fail are told at once."""
    done = []
    records, layers = cuda_records(), problems.vgg("vgg16", 1)
    for each in (
        gpu_checks.check_records(records),
        gpu_checks.check_layers(records, layers),
        gpu_checks.check_network(vgg16, (2, 3, 64, 64)),
        gpu_checks.check_graph(small, (16, 1, 8, 8)),
    ):
        for what, error, wrong in each:
            done.append((what, error, wrong))
            if wrong:
                say(f"WRONG: {what}: {wrong}")
    say(f"{len(done)} checks against float64, {sum(bool(wrong) for _, _, wrong in done)} wrong")
    return done


def main(words: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROWS", help=f"{', '.join(GROUPS)}; all if none is given")
    parser.add_argument("--check", action="store_true", help="time nothing")
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes to make ready")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    arguments = parser.parse_args(words)
    unknown = set(arguments.rows) - set(GROUPS)
    if unknown:
        parser.error(f"there are no rows {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    data = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if not arguments.show:
        os.environ["CUPY_TF32"] = "0"
        problem = cuda_problem()
        if problem is not None:
            print(f"benchmarks/gpu.py needs a GPU and CuPy: {problem}", file=sys.stderr)
            return 2
        build()
        done = checks()
        if any(wrong for _, _, wrong in done):
            return 1
        if arguments.check:
            return 0
        say(gpu_pytorch.missing() or "PyTorch is compared with")
        facts = {"machine": machine(), "device": gpu.device_facts(), "ceilings": gpu.measure_ceilings(), "checks": len(done)}
        for name in arguments.rows or GROUPS:
            data[name] = {**facts, "results": GROUPS[name](arguments.quick)}
            RESULTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            cupy_for("bench").get_default_memory_pool().free_all_blocks()
    print(table(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
