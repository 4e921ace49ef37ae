"""Which algorithm was the fastest here: what ``autotune`` measured, kept on disk for later processes.

One JSON file in the user's cache folder, to be read and to be deleted. What was measured counts only under the circumstances
it was measured in: the processor, the versions of minivgg and NumPy, the kernels' source text, the number of threads. The
measuring itself is in ``bench/autotune.py``; ``registry.select`` looks up here before it asks the policy.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib
import json
import math
import os
import platform
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from minivgg.errors import ArgumentError
from minivgg.files import digest, written_whole
from minivgg.spec import Conv2dSpec
from minivgg.threads import get_num_threads
from minivgg.version import __version__

VARIABLE = "MINIVGG_AUTOTUNE"
KEPT = 16
"""Circumstances of which the file keeps the measurements; those that were written to longest ago are dropped."""

Key = tuple[Any, numpy.dtype, int]  # problem, element type, threads


@dataclass(frozen=True)
class Measurement:
    """The seconds that algorithms took for one problem, the fastest first, and the day (as in 2026-11-24)."""

    operation: str
    problem: Conv2dSpec
    dtype: numpy.dtype
    threads: int
    seconds: dict[str, float]
    day: str

    @functools.cached_property
    def ranked(self) -> list[tuple[str, str]]:
        """(algorithm, reason) as a policy lists them."""
        where = f"on this machine ({self.threads} thread{'s' * (self.threads > 1)}), {self.day}"
        return [(name, f"measured {milliseconds(seconds)} {where}") for name, seconds in self.seconds.items()]

    @property
    def key(self) -> Key:
        return self.problem, self.dtype, self.threads

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        facts = {"operation": self.operation, "problem": str(self.problem), "dtype": str(self.dtype), "threads": self.threads, "day": self.day}
        return {**facts, "seconds": self.seconds}

    @classmethod
    def parse(cls, entry: Any) -> Measurement:
        """Read an entry of the file. Raises one of ``UNREADABLE`` for anything else."""
        seconds = {str(name): float(value) for name, value in entry["seconds"].items()}
        if not all(math.isfinite(value) and value > 0 for value in seconds.values()):
            raise ValueError("a time must be a positive number")
        day = datetime.date.fromisoformat(entry["day"]).isoformat()
        fastest_first = dict(sorted(seconds.items(), key=lambda item: item[1]))
        return cls(str(entry["operation"]), Conv2dSpec.parse(entry["problem"]), numpy.dtype(entry["dtype"]), int(entry["threads"]), fastest_first, day)


UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What reading text that somebody else wrote can raise."""


def milliseconds(seconds: float) -> str:
    """With three digits, or all before the point.

    >>> milliseconds(0.00123456), milliseconds(0.0000123456), milliseconds(1.23456)
    ('1.23 ms', '0.0123 ms', '1235 ms')
    """
    digits = 2 - math.floor(math.log10(1e3 * seconds))
    return f"{1e3 * seconds:.{min(max(digits, 0), 6)}f} ms"


# Circumstances --------------------------------------------------------------------------------------------------------


def processor() -> str:
    """The processor's name, as its maker gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@functools.cache
def circumstances() -> str:
    """What a measurement depends on, apart from the problem and the number of threads."""
    kernels = importlib.import_module("minivgg.kernels").__path__  # the folders, not a kernel
    return f"{processor()}, minivgg {__version__}, numpy {numpy.__version__}, kernels {digest(map(Path, kernels))[:16]}"


def path() -> Path:
    """The file: ``minivgg/autotune.json`` in ``$XDG_CACHE_HOME``, or in ``~/.cache`` where that is not set to an absolute path."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (folder if folder.is_absolute() else Path(os.path.expanduser("~")) / ".cache") / "minivgg" / "autotune.json"


def switched_off() -> bool:
    """Whether ``MINIVGG_AUTOTUNE=off``: then nothing that was measured counts in this process. Raises ArgumentError."""
    text = os.environ.get(VARIABLE, "").strip()
    if text not in ("", "off"):
        raise ArgumentError(VARIABLE, f"must be off, or empty to use what was measured, got {text!r}")
    return text == "off"


# Looking up -----------------------------------------------------------------------------------------------------------


def lookup(operation: str, spec: Any, dtype: numpy.dtype) -> Measurement | None:
    """What was measured for a problem with the present number of threads. The first call of a process reads the file."""
    known = _known().get(operation)
    return known.get((spec, dtype, get_num_threads())) if known else None


@functools.cache
def _known() -> dict[str, dict[Key, Measurement]]:
    """By operation, then by ``Measurement.key``."""
    found: dict[str, dict[Key, Measurement]] = {}
    for measurement in [] if switched_off() else _read():
        found.setdefault(measurement.operation, {})[measurement.key] = measurement
    return found


def _read() -> list[Measurement]:
    """Those of the present circumstances. A file that is missing or broken has none; what cannot be read in it is passed over."""
    everything = _contents()
    found = []
    for entry in everything.get(circumstances(), []) if everything else []:
        with contextlib.suppress(*UNREADABLE):
            found.append(Measurement.parse(entry))
    return found


def _contents() -> dict[str, list[Any]]:
    """The whole file: a list of entries by circumstances."""
    try:
        found = json.loads(path().read_bytes())
    except (OSError, *UNREADABLE):
        return {}
    return {text: entries for text, entries in found.items() if isinstance(entries, list)} if isinstance(found, dict) else {}


# Keeping --------------------------------------------------------------------------------------------------------------


def keep(measurements: Sequence[Measurement]) -> Path | None:
    """Use these from now on, here and in later processes, in place of older ones of the same problems; returns the file.

    Where it cannot be written, a warning says so, they count in this process only, and None is returned.
    """
    if not switched_off():
        for measurement in measurements:
            _known().setdefault(measurement.operation, {})[measurement.key] = measurement
    try:
        with _alone(path().parent):
            everything, here = _contents(), {(each.operation, each.key): each for each in [*_read(), *measurements]}
            everything.pop(circumstances(), None)
            everything[circumstances()] = [each.as_dict() for each in here.values()]  # the last written to is the last
            latest = dict(list(everything.items())[-KEPT:])
            with written_whole(path()) as beside:
                beside.write_text(json.dumps(latest, indent=1), encoding="utf-8")
    except OSError as error:
        problem = f"minivgg cannot keep what it measured, so it counts in this process only ({type(error).__name__}: {error})"
        warnings.warn(f"{problem}; set XDG_CACHE_HOME to a writable folder", RuntimeWarning, stacklevel=3)
        return None
    return path()


def forget() -> None:
    """Delete the file, and what this process knows of it. Raises OSError where it cannot be deleted."""
    path().unlink(missing_ok=True)
    _known.cache_clear()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Processes that write at the same time do it one after the other, so that none overwrites what another has just added.

    Where a system cannot lock a folder, the last one wins; the file is whole all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.name != "posix":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
