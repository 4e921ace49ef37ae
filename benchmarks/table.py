"""The table of goals: VGG-16 in float32 on 224x224 images beside the fastest rivals, with what was reached.

    python benchmarks/table.py                      # every row, some minutes; `make bench-rivals` runs it with all rivals installed
    python benchmarks/table.py forward1 step8       # only these rows
    python benchmarks/table.py --show               # from benchmarks/results/, without measuring

A ratio is the rival's median time over ours, within one run in which all take turns: above 1 we are faster. Everything
that was measured goes to ``results/table-<rows>.json``, and the table is made from these files.
"""

import json
import subprocess
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from minivgg.bench import measure, problems, report, work
from minivgg.bench.ceilings import measure_ceilings
from minivgg.bench.compare import Case, compare
from minivgg.bench.machine import cores
from minivgg.bench.network import build
from minivgg.bench.rivals import rivals
from minivgg.bench.rivals._itself import itself
from minivgg.bench.worker import Worker

HERE = Path(__file__).parent
RESULTS = HERE / "results"
LAYOUTS = ("PyTorch", "PyTorch channels-last")


class Row(NamedTuple):
    """One line of the table. ``reached`` is None where somebody that is needed was not measured."""

    work: str
    against: str
    goal: str
    reached: float | None
    good: bool
    note: str = ""
    form: str = ".2f"

    def __str__(self) -> str:
        number = "not measured" if self.reached is None else f"{self.reached:{self.form}}"
        verdict = "" if self.reached is None else "yes" if self.good else "**no**"
        return f"| {self.work} | {self.against} | {self.goal} | {number} | {verdict} | {self.note} |"


def at_least(work: str, against: str, goal: float, reached: float | None, note: str = "") -> Row:
    return Row(work, against, f"at least {goal:.2f}", reached, reached is not None and reached >= goal, note)


# Whole networks -------------------------------------------------------------------------------------------------------


def networks(direction: str, batch: int, names: tuple[str, ...], replicates: int, threads: int) -> dict[str, Any]:
    """Measure minivgg and the rivals of these names on one case."""
    case = Case("vgg16", 224, batch, direction, threads)
    return report.networks_as_data(compare(case, [itself(), *(rivals()[name] for name in names)], replicates, progress=say))


def medians(data: dict[str, Any], key: str = "median") -> dict[str, Any]:
    return {row["competitor"]: row[key] for row in data["results"] if row["seconds"]}


def ratio(data: dict[str, Any], names: tuple[str, ...]) -> tuple[float | None, str]:
    """The time of the fastest of these rivals over ours, and both in words."""
    found = medians(data)
    fastest = min((name for name in names if name in found), key=found.__getitem__, default=None)
    if fastest is None or "minivgg" not in found:
        return None, "; ".join(row["refusal"] for row in data["results"] if row["refusal"])
    return found[fastest] / found["minivgg"], f"{1e3 * found['minivgg']:.0f} ms; {fastest} {1e3 * found[fastest]:.0f} ms"


def measure_forward1(threads: int) -> dict[str, Any]:
    return networks("forward", 1, ("ncnn", *LAYOUTS), 11, threads)


def rows_forward1(data: dict[str, Any]) -> list[Row]:
    work = "VGG-16 forward, batch 1"
    first = at_least(work, "ncnn (the fastest rival)", 1.10, *ratio(data, ("ncnn",)))
    return [first, at_least(work, "PyTorch, better layout", 2.4, *ratio(data, LAYOUTS))]


def measure_forward8(threads: int) -> dict[str, Any]:
    data = networks("forward", 8, ("ncnn", "ONNX Runtime"), 7, threads)
    data["executed_macs"] = work.network_macs(build("vgg16", 224), 8)
    data["ceilings"] = asdict(measure_ceilings(threads))
    return data


def rows_forward8(data: dict[str, Any]) -> list[Row]:
    name = "VGG-16 forward, batch 8"
    ours, peak = medians(data).get("minivgg"), data["ceilings"]["flops"]
    share = 2 * data["executed_macs"] / ours / peak if ours else None
    note = f"{2 * data['executed_macs'] / 1e9:.1f} GFLOP executed, peak {peak / 1e9:.0f} GFLOP/s"
    return [
        at_least(name, "ncnn", 1.5, *ratio(data, ("ncnn",))),
        at_least(name, "ONNX Runtime", 2.7, *ratio(data, ("ONNX Runtime",))),
        Row("share of the measured FMA peak in the executed multiplications, batch 8 forward", "", "at least 70 %", share, (share or 0) >= 0.7, note, ".0%"),
    ]


def measure_step8(threads: int) -> dict[str, Any]:
    return networks("step", 8, LAYOUTS, 5, threads)


def rows_step8(data: dict[str, Any]) -> list[Row]:
    memory = medians(data, "memory")
    theirs = min((memory[name] for name in LAYOUTS if name in memory), default=None)
    share = memory["minivgg"] / theirs if theirs and "minivgg" in memory else None
    note = f"{memory['minivgg'] / 2**20:.0f} MiB; {theirs / 2**20:.0f} MiB" if share else ""
    speed = at_least("VGG-16 training step, batch 8", "PyTorch, better layout", 3.0, *ratio(data, LAYOUTS))
    return [speed, Row("peak resident memory, VGG-16 training step, batch 8", "PyTorch", "at most 1.00", share, (share or 2) <= 1.0, note)]


# Layers ---------------------------------------------------------------------------------------------------------------


def measure_layers(threads: int) -> dict[str, Any]:
    """Winograd and direct on each different 3x3 layer, batch 4, in three directions."""
    results: list[measure.Result] = []
    with ExitStack() as stack:
        count = measure.prepare(threads)
        workers = [stack.enter_context(Worker(name, count)) for name in LAYOUTS]
        for problem in problems.vgg("vgg16", 4):
            for direction in measure.DIRECTIONS:
                results += measure.measure(problem, direction, ["winograd_f4", "direct"], workers, replicates=5, budget=4.0, progress=say)
    return report.as_data(results)


def rows_layers(data: dict[str, Any]) -> list[Row]:
    """The lowest ratio of all layers, and each layer's in the note."""
    rows = []
    for algorithm, goal, directions in (("winograd_f4", 2.2, list(measure.DIRECTIONS)), ("direct", 0.95, ["output"])):
        for direction in directions:
            times: dict[str, dict[str, float]] = {}
            for row in data["results"]:
                if row["direction"] == direction and row["seconds"]:
                    times.setdefault(row["name"].rpartition(":")[2], {})[row["algorithm"]] = row["median"]
            found = {
                name: min(each[layout] for layout in LAYOUTS if layout in each) / each[algorithm]
                for name, each in times.items()
                if algorithm in each and any(layout in each for layout in LAYOUTS)
            }
            what = {"output": "output", "input": "input gradient", "weight": "weight gradient"}[direction]
            work = f"each 3x3 VGG layer, batch 4: {'Winograd' if algorithm != 'direct' else 'direct'} {what}"
            note = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
            rows.append(at_least(work, "PyTorch, better layout", goal, min(found.values(), default=None), note))
    return rows


# Digits ---------------------------------------------------------------------------------------------------------------


def measure_digits(threads: int) -> dict[str, Any]:
    target = RESULTS / "table-digits.json"
    command = [sys.executable, HERE / "digits.py", "--seeds", "0", "--epochs", "10", "--threads", str(threads), "--json", target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(target.read_text(encoding="utf-8"))


def rows_digits(data: dict[str, Any]) -> list[Row]:
    import statistics

    ours, theirs = (statistics.median(seconds for run in data["runs"] for seconds in run[name]) for name in ("epoch_seconds", "torch_epoch_seconds"))
    note = f"{1e3 * ours:.0f} ms; PyTorch {1e3 * theirs:.0f} ms; {1e3 * statistics.median(data['loading_seconds']):.0f} ms of either prepare images"
    return [at_least("MiniVGG on digits, training epoch", "PyTorch", 1.5, theirs / ours, note)]


# The table ------------------------------------------------------------------------------------------------------------

GROUPS: dict[str, tuple[Callable[[int], dict[str, Any]], Callable[[dict[str, Any]], list[Row]]]] = {
    "forward1": (measure_forward1, rows_forward1),
    "forward8": (measure_forward8, rows_forward8),
    "step8": (measure_step8, rows_step8),
    "layers": (measure_layers, rows_layers),
    "digits": (measure_digits, rows_digits),
}


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROWS", help=f"{', '.join(GROUPS)}; all if none is given")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--show", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(GROUPS)
    if unknown:
        parser.error(f"there are no rows {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    RESULTS.mkdir(exist_ok=True)
    lines, machines = [], []
    for name in arguments.rows or GROUPS:
        run, rows = GROUPS[name]
        file = RESULTS / f"table-{name}.json"
        if not arguments.show:
            file.write_text(json.dumps(run(arguments.threads), indent=1) + "\n", encoding="utf-8")
        if file.exists():
            data = json.loads(file.read_text(encoding="utf-8"))
            lines += map(str, rows(data))
            machines.append(f"{data['machine']['processor']}, {data['machine']['cores']} cores, commit {data['machine']['commit']}")
    print("| work, float32, 224x224 | against | goal | reached | | |\n|---|---|---|---|---|---|")
    print("\n".join(lines))
    print("\n" + "\n".join(dict.fromkeys(machines)))


if __name__ == "__main__":
    main()
