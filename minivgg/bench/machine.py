"""The machine that a measurement belongs to: processor, caches, threads, versions, and the commit that was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy

from minivgg.threads import cores, get_num_threads, openblas, set_num_threads
from minivgg.tuning import processor
from minivgg.version import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "numpy", "numba", "llvmlite", "cupy", "torch", "onnx", "onnxruntime", "openvino", "ncnn", "mnn", "jax", "jaxlib", "tinygrad",
    "pillow", "safetensors", "matplotlib",
)  # fmt: skip


def caches() -> dict[str, int]:
    """Bytes of each cache that the first core sees, by level: ``{"L1d": 49152, "L2": 2097152, ...}``; empty if unknown."""
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        unit = {"K": 2**10, "M": 2**20}.get(size[-1:], 1)
        sizes[f"L{level}{kind[0].lower() if kind in ('Data', 'Instruction') else ''}"] = int(size.rstrip("KM")) * unit
    return sizes


def versions() -> dict[str, str]:
    """minivgg, Python and the installed ones of ``PACKAGES``; nothing is imported for it."""
    found = {"minivgg": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        for distribution in (name, f"{name}-cuda12x", f"{name}-cuda13x") if name == "cupy" else (name,):
            try:
                found[name] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def commit() -> str | None:
    """The commit of the checkout that this package lies in, with ``-dirty`` if files differ; None for an installed package."""
    if not (ROOT / ".git").exists():
        return None
    try:
        run = subprocess.run(["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None


def blas() -> str:
    """The linear algebra library that NumPy was built with: ``"scipy-openblas 0.3.29"``."""
    facts = numpy.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{facts.get('name', 'unknown')} {facts.get('version', '')}".strip()


def threads() -> dict[str, int]:
    """How many threads minivgg's kernels compute with, and each library of those that are loaded and can be asked."""
    counts = {"minivgg": get_num_threads()}
    ask = openblas("get_num_threads")
    if ask is not None:
        counts["blas"] = int(ask())
    if "numba" in sys.modules:
        counts["numba"] = sys.modules["numba"].get_num_threads()
    if "torch" in sys.modules:
        counts["torch"] = sys.modules["torch"].get_num_threads()
    return counts


def set_threads(count: int) -> None:
    """Let minivgg's kernels and every loaded library compute with ``count`` threads, so that competitors have the same means."""
    set_num_threads(count)
    if "numba" in sys.modules:
        numba = sys.modules["numba"]
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def machine() -> dict[str, Any]:
    """Everything above in one dictionary, as it stands in every JSON file of a measurement.

    >>> sorted(machine())
    ['blas', 'caches', 'commit', 'cores', 'memory', 'processor', 'system', 'threads', 'versions']
    """
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    return {
        "processor": processor(), "cores": cores(), "memory": pages, "caches": caches(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "blas": blas(), "threads": threads(), "versions": versions(), "commit": commit(),
    }  # fmt: skip
