"""``minivgg doctor``: what is installed here, what works, and what a slow or failing run may be due to."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Annotated, Any

import typer


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Tell what is installed, which backends work, how many threads compute, and where compiled kernels are kept.

    The exit code is 1 if something that minivgg needs does not work.

        minivgg doctor
        minivgg doctor --json | python -m json.tool
    """
    from minivgg.bench.machine import machine
    from minivgg.cli.console import console, print_json, size, table

    backends = {"numpy": "works", "numba": _numba(), "cupy": _cupy()}  # numba first, so that its threads can be counted
    parts = {"kernels": _kernels(), "data": _data(), "numba cache": _cache()}
    facts = machine()
    healthy = backends["numba"] == "works" and not any(part["problem"] for part in parts.values())
    if json:
        print_json({**facts, "backends": backends, **{name.replace(" ", "_"): part for name, part in parts.items()}, "healthy": healthy})
        raise typer.Exit(0 if healthy else 1)

    shown = table("", "", "", left=2)
    shown.show_header, shown.columns[0].no_wrap, shown.columns[1].no_wrap = False, True, False
    for name, version in facts["versions"].items():
        shown.add_row(name, version)
    shown.add_section()
    shown.add_row("processor", f"{facts['processor']}, {facts['cores']} cores to use, {size(facts['memory'])} memory")
    shown.add_row("caches", ", ".join(f"{name} {size(count)}" for name, count in facts["caches"].items()) or "unknown")
    shown.add_row("system", facts["system"])
    shown.add_row("blas", facts["blas"])
    shown.add_row("threads", ", ".join(f"{name} {count}" for name, count in facts["threads"].items()))
    settings = {name: value for name, value in os.environ.items() if name.startswith("MINIVGG_") or name.endswith("_NUM_THREADS")}
    shown.add_row("settings", ", ".join(f"{name}={value}" for name, value in settings.items()) or "none in the environment")
    shown.add_section()
    for name, state in backends.items():
        shown.add_row(f"backend {name}", _colour(state, good=state == "works", fatal=name != "cupy"))
    for name, part in parts.items():
        shown.add_row(name, _colour(part["problem"] or part["found"], good=not part["problem"], fatal=True))
    console().print(shown)
    console().print("everything that minivgg needs works" if healthy else "[red]something is wrong, see above[/]")
    raise typer.Exit(0 if healthy else 1)


def _colour(text: str, good: bool, fatal: bool) -> str:
    return f"[{'green' if good else 'red' if fatal else 'yellow'}]{text}[/]"


def _numba() -> str:
    """Compile and run a function: an installed numba can still lack a compiler that fits its LLVM."""
    try:
        from numba import njit

        return "works" if njit(lambda x: x + 1)(1) == 2 else "computes wrong results"
    except Exception as error:  # whatever it is, it is what the user wants to know
        return f"fails: {error}"


def _cupy() -> str:
    """Compute on the device, or say in one sentence why nothing can be computed there."""
    from minivgg.creation import arange
    from minivgg.device import cuda_problem

    problem = cuda_problem()
    if problem is not None:
        return f"{problem} (only needed for a GPU)"
    try:
        return "works" if arange(3, device="cuda").sum().item() == 3 else "computes wrong results"
    except Exception as error:  # CuPy and the driver may not fit each other
        return f"fails: {error}"


def _kernels() -> dict[str, Any]:
    from minivgg.registry import algorithms, operations_with_algorithms

    names = {operation: list(algorithms(operation)) for operation in operations_with_algorithms()}
    found = "\n".join(f"{operation}: {', '.join(known)}" for operation, known in names.items())
    return {"found": found, "algorithms": names, "problem": "" if names else "no kernels found: is the installation complete?"}


def _data() -> dict[str, Any]:
    from minivgg.data import digits

    try:
        training, held_out = digits(), digits(train=False)
    except OSError as error:
        return {"found": "", "problem": f"the digits cannot be read: {error}"}
    return {"found": f"{len(training):,} digits to train with, {len(held_out)} to test with", "problem": ""}


def _cache() -> dict[str, Any]:
    """Where numba keeps compiled kernels: beside each file, or in the user's cache if that cannot be written."""
    from minivgg.registry import algorithms

    compiled = next(algorithm for algorithm in algorithms("conv2d").values() if algorithm.backend == "numba")
    beside = Path(inspect.getfile(inspect.unwrap(compiled.run))).parent / "__pycache__"
    wanted = os.environ.get("NUMBA_CACHE_DIR") or str(beside)
    fallback = str(Path.home() / ".cache" / "numba")
    for folder in (wanted, fallback):
        nearest = next(path for path in (Path(folder), *Path(folder).parents) if path.exists())
        if os.access(nearest, os.W_OK):
            return {"found": folder, "problem": ""}
    return {"found": "", "problem": f"neither {wanted} nor {fallback} can be written: every run compiles its kernels anew; set NUMBA_CACHE_DIR"}
