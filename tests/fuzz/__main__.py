"""The command: many examples, counted by operation, algorithm and outcome; faults are shown, and make the exit code 1. Ctrl-C counts what ran.

python -m fuzz                                             # `make fuzz`: 200,000 examples, every operation in turn
python -m fuzz --operation conv2d --seed 12345 --examples 1 --worker      # one of them, in this process
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable

CHUNK = 10_000
"""Examples a process, which takes seconds to load every kernel."""

SECONDS = 300
"""For an example, which usually takes milliseconds, or seconds if a kernel must be compiled first."""

MEMORY = 8 << 30
"""Bytes of address space that a process may take: more, and the call has asked for memory without bound."""

Counts = collections.Counter[tuple[str, str, str, str]]
"""By operation, algorithm, outcome, and what is said of it."""


def work(operation: str | None, first: int, count: int) -> None:
    """Judge ``count`` examples, the operations in turn: a line before each, and one with what came of it."""
    import torch

    from fuzz.calls import CALLS
    from fuzz.example import draw
    from fuzz.judge import judge

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command itself stops its workers
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    names = [operation] if operation else list(CALLS)
    for seed in range(first, first + count):
        example = draw(names[seed % len(names)], seed)
        print("AT", example.operation, example.algorithm or "auto", seed, sep="\t", flush=True)
        signal.alarm(SECONDS)
        outcome = judge(example)
        signal.alarm(0)
        if outcome.fault:
            print(f"FAULT {outcome.what}: {example}\n    {outcome.detail}")
        print("RAN", outcome.what, "" if outcome.fault else outcome.detail, sep="\t", flush=True)


def in_processes(command: list[str], first: int, count: int, counts: Counts, say: Callable[[str], None], stop: threading.Event) -> None:
    """Count what the workers for these seeds do; ``say`` is given the text of each fault. Behind an example that ends its process goes another."""
    end = first + count
    while first < end and not stop.is_set():
        name, algorithm, seed = "", "", str(first)
        with tempfile.TemporaryFile("w+") as errors:
            arguments = ["--seed", str(first), "--examples", str(end - first)]
            with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True) as worker:
                for line in worker.stdout or ():
                    kind, *fields = line.rstrip("\n").split("\t")
                    if kind == "AT":
                        name, algorithm, seed = fields
                    elif kind == "RAN":
                        counts[name, algorithm, *fields] += 1
                    else:
                        say(line.rstrip())
                    if stop.is_set():
                        worker.kill()
                        return
            errors.seek(0)
            said = errors.read()
        if worker.returncode == 0:
            return
        what = f"hangs for {SECONDS} s" if worker.returncode == -signal.SIGALRM else f"ends the process with {worker.returncode}"
        say(f"FAULT {what}: {name} by {algorithm}  [seed {seed}]\n{said[-2000:]}")
        counts[name, algorithm, what, ""] += 1
        first = int(seed) + 1


def main() -> int:
    parser = ArgumentParser(prog="python -m fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--operation")
    parser.add_argument("--worker", action="store_true", help="judge them in this process")
    args = parser.parse_args()
    if args.worker:
        work(args.operation, args.seed, args.examples)
        return 0
    start, end = time.perf_counter(), args.seed + args.examples
    command = [sys.executable, "-m", "fuzz", "--worker", *(["--operation", args.operation] if args.operation else [])]
    chunks = {first: Counts() for first in range(args.seed, end, CHUNK)}
    faults, stop = 0, threading.Event()

    def say(text: str) -> None:
        nonlocal faults
        faults += text.startswith("FAULT")
        print(text, flush=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(in_processes, command, first, min(CHUNK, end - first), counts, say, stop) for first, counts in chunks.items()]
        try:
            concurrent.futures.wait(jobs)
        except KeyboardInterrupt:
            stop.set()
    for job in jobs:
        job.result()
    total = sum(chunks.values(), Counts())
    report(total)
    ran = f"{sum(total.values()):,} examples" + (f" of {args.examples:,}, interrupted," if stop.is_set() else "")
    print(f"{ran} in {time.perf_counter() - start:.0f} s, seeds {args.seed} to {end - 1}; faults: {faults}")
    return 1 if faults or stop.is_set() else 0


def report(total: Counts) -> None:
    """A line an operation with its outcomes, one an algorithm, and how often each declared difference was met."""
    outcomes = sorted({what for _, _, what, _ in total})
    print(f"{'operation':24}" + "".join(f"{what:>16}" for what in outcomes))
    for name in sorted({name for name, *_ in total}):
        print(f"{name:24}" + "".join(f"{sum(n for (o, _, w, _), n in total.items() if (o, w) == (name, what)):>16,}" for what in outcomes))
    algorithms = collections.Counter[str]()
    for (name, algorithm, *_), count in total.items():
        algorithms[f"{name} by {algorithm}"] += count if algorithm != "auto" else 0
    print("\nforced algorithms: " + ", ".join(f"{name} {count:,}" for name, count in sorted(algorithms.items()) if count))
    declared = collections.Counter[str]()
    for (_, _, what, why), count in total.items():
        declared[why] += count if what == "declared" else 0
    print("\nmeant to differ from PyTorch:")
    for why, count in declared.most_common():
        print(f"{count:>8,}  {why}") if count else None
    print()


if __name__ == "__main__":
    sys.exit(main())
