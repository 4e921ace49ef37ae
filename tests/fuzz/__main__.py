"""The command: many examples, counted by operation, algorithm and outcome; faults are shown, and make the exit code 1."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import subprocess
import sys
import time
from argparse import ArgumentParser

CHUNK = 2000
"""Examples a process: one that crashes or hangs is known by its seeds, and ``FUZZ_TRACE=1`` prints each before it is tried."""

TIMEOUT = 900
"""Seconds for a chunk, of which it usually takes ten."""

MEMORY = 8 << 30
"""Bytes of address space that a process may take: more, and the call has asked for memory without bound."""


def work(operation: str | None, first: int, count: int) -> collections.Counter[tuple[str, str, str]]:
    """Judge ``count`` examples, the operations in turn."""
    from fuzz.calls import CALLS
    from fuzz.judge import draw, judge

    names = [operation] if operation else list(CALLS)
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    for seed in range(first, first + count):
        name = names[seed % len(names)]
        print(f"at {name} {seed}", file=sys.stderr) if os.environ.get("FUZZ_TRACE") else None
        example = draw(name, seed)
        outcome = judge(example)
        counts[name, example.algorithm or "auto", outcome.what] += 1
        if outcome.fault:
            print(f"FAULT {outcome.what}: {example}\n    {outcome.detail}", flush=True)
    return counts


def main() -> int:
    parser = ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--operation")
    parser.add_argument("--worker", action="store_true", help="judge them in this process")
    args = parser.parse_args()
    if args.worker:
        import resource

        import torch

        torch.set_num_threads(1)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for (name, algorithm, what), count in work(args.operation, args.seed, args.examples).items():
            print(f"COUNT\t{name}\t{algorithm}\t{what}\t{count}")
        return 0
    start, faults = time.perf_counter(), 0
    total: collections.Counter[tuple[str, str, str]] = collections.Counter()
    end = args.seed + args.examples
    chunks = [(first, min(CHUNK, end - first)) for first in range(args.seed, end, CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for output in pool.map(lambda chunk: in_a_process(args.operation, *chunk), chunks):
            for line in output.splitlines():
                if line.startswith("COUNT"):
                    _, name, algorithm, what, number = line.split("\t")
                    total[name, algorithm, what] += int(number)
                else:
                    faults += line.startswith("FAULT")
                    print(line, flush=True)
    report(total, faults, time.perf_counter() - start)
    return 1 if faults else 0


def in_a_process(operation: str | None, first: int, count: int) -> str:
    """What the worker for these seeds prints; a crash and a hang are faults, too."""
    command = [sys.executable, "-m", "fuzz", "--worker", "--seed", str(first), "--examples", str(count), *(["--operation", operation] if operation else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        return f"{(error.stdout or b'').decode()}\nFAULT hangs: seeds {first} to {first + count - 1}"
    if done.returncode:
        return f"{done.stdout}\nFAULT the process ended with {done.returncode}: seeds {first} to {first + count - 1}\n{done.stderr[-2000:]}"
    return done.stdout


def report(total: collections.Counter[tuple[str, str, str]], faults: int, seconds: float) -> None:
    """A line an operation, and the sums."""
    outcomes = sorted({what for _, _, what in total})
    print(f"{'operation':24}{'algorithms':>11}" + "".join(f"{what:>16}" for what in outcomes))
    for name in sorted({name for name, _, _ in total}):
        used = {algorithm for other, algorithm, _ in total if other == name}
        print(f"{name:24}{len(used):>11}" + "".join(f"{sum(n for (o, _, w), n in total.items() if (o, w) == (name, what)):>16,}" for what in outcomes))
    print(f"{sum(total.values()):,} examples in {seconds:.0f} s; faults: {faults}")


if __name__ == "__main__":
    sys.exit(main())
