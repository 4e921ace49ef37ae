"""First right, then fast, on a GPU: everything that gpu.py times, held to float64 on the processor. Each check yields (what, error, problem)."""

from collections.abc import Callable, Iterator, Sequence

import numpy

import minivgg
from minivgg import nn
from minivgg.bench import measure
from minivgg.bench.compare import ALLOWED
from minivgg.bench.problems import Problem
from minivgg.registry import Algorithm
from minivgg.testing import kernel_checks
from minivgg.testing.on_device import on_device
from minivgg.testing.problems import problems

Check = tuple[str, float | None, str]
"""What was checked, its relative error if that is one number, and what is wrong: "" if nothing is."""

DTYPES = (numpy.dtype("float32"), numpy.dtype("float64"))


def check_records(records: Sequence[Algorithm]) -> Iterator[Check]:
    """Every problem of its operation in both dtypes and two memory orders, every element, twice: as the tests check every algorithm."""
    for record in records:
        for problem in problems(record.operation):
            for dtype in DTYPES:
                if record.supports(problem.spec, dtype) is None:
                    for layout in ("row_major", "channels_last"):
                        what = f"{record.operation}, {record.name}, {problem}, {dtype}, {layout}"
                        try:
                            kernel_checks.check_result(on_device(record), problem, dtype, layout)
                        except Exception as error:  # CuPy and CUDA have many of their own
                            yield what, None, str(error)
                        else:
                            yield what, None, ""


def check_layers(records: Sequence[Algorithm], layers: Sequence[Problem]) -> Iterator[Check]:
    """Convolutions as a network has them, in three directions, by every algorithm that takes them; the truth by im2col in float64."""
    for problem in layers:
        for direction, operation in measure.DIRECTIONS.items():
            inputs = measure.draw_inputs(problem.spec, direction)
            truth = measure.exact(problem.spec, direction, inputs)
            for record in records:
                if record.operation == operation and record.supports(problem.spec, inputs[0].dtype) is None:
                    result, _ = measure.validate(problem, direction, on_device(record), inputs, truth)
                    yield f"{problem.label} {direction}, {record.name}", result.error, result.refusal


def check_network(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> Iterator[Check]:
    """Scores, and every parameter's gradient of the cross entropy, on images of that shape; the truth by exact algorithms in float64."""
    images, labels = numpy.random.default_rng(1).standard_normal(shape), numpy.arange(shape[0])

    def scores_and_gradients(model: nn.Module, x: minivgg.Tensor) -> list[numpy.ndarray]:
        scores = model(x)
        nn.functional.cross_entropy(scores, minivgg.tensor(labels, device=x.device)).backward()
        return [scores.detach().cpu().numpy(), *(parameter.grad.cpu().numpy() for parameter in model.parameters())]

    with minivgg.exact():
        minivgg.manual_seed(0)
        true_scores, *truth = scores_and_gradients(build().double().eval(), minivgg.tensor(images, dtype="float64"))
    minivgg.manual_seed(0)
    scores, *gradients = scores_and_gradients(build().eval().to("cuda"), minivgg.tensor(images, dtype="float32", device="cuda"))
    errors = {
        "forward": measure.relative_error(scores, true_scores),
        "step": max(measure.relative_error(found, true) for found, true in zip(gradients, truth, strict=True)),
    }
    for direction, error in errors.items():
        name = {"forward": "scores", "step": "gradients, the worst parameter's"}[direction]
        wrong = "" if error <= ALLOWED[direction] else f"wrong: relative error {error:.1e}, allowed {ALLOWED[direction]:.0e}"
        yield f"the whole network on images {shape}: {name}", error, wrong


def check_graph(build: Callable[[], nn.Module], shape: tuple[int, ...], steps: int = 4) -> Iterator[Check]:
    """Training steps that are launched as a recorded graph: losses and parameters have the bits of steps that are not, dropout's masks included."""
    images, labels = numpy.random.default_rng(1).standard_normal(shape), numpy.arange(shape[0])
    x, y = minivgg.tensor(images, dtype="float32", device="cuda"), minivgg.tensor(labels, device="cuda")

    def trained(recorded: bool) -> list[bytes]:
        minivgg.manual_seed(0)
        model = build().to("cuda")
        optimizer = minivgg.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

        def step(x: minivgg.Tensor, y: minivgg.Tensor) -> minivgg.Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        if recorded:
            step = minivgg.graph(step, x, y)  # takes the first step
        else:
            step(x, y)
        losses = [step(x, y).detach().cpu().numpy().tobytes() for _ in range(steps)]
        return losses + [parameter.detach().cpu().numpy().tobytes() for parameter in model.parameters()]

    same = trained(True) == trained(False)
    yield f"{steps} steps in a graph on images {shape}", None, "" if same else "wrong: not the bits of steps without a graph"
