"""The records that the whole project is read from: operations, their samples, and the algorithms that compute them.

An ``Operation`` is declared once, in the file that defines it; an ``Algorithm`` once, in its file under ``kernels/``.
Tests, benchmarks, the command line and the reference pages are loops over these records.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib
import math
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivgg.backend import device_of
from minivgg.errors import ArgumentError, UnsupportedError
from minivgg.precision import significant_bits
from minivgg.threads import LITTLE, alone, get_num_threads
from minivgg.tuning import lookup


@dataclass(frozen=True)
class Sample:
    """One call of an operation: ``operation(*args, **kwargs)``.

    NumPy arrays among ``args`` become tensors (the floating ones differentiable); everything else is passed as it is.
    Samples avoid points where the derivative does not exist (kinks, ties), because gradients are checked at them.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorSample:
    """A call that must be refused, with the exception's class and its exact message."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    error: type[Exception]
    message: str


OPERATIONS: dict[str, Operation] = {}
"""Every operation by name, in the order of declaration."""


@dataclass(frozen=True)
class Operation:
    """What a test, a page or a benchmark needs to know of an operation. Creating the record registers it.

    ``function``  the public function
    ``shapes``    one letter a dimension, as in ``"N C H W, K C/g R S, K? -> N K P Q"``; ``...`` any dimensions, which
                  broadcast, ``?`` may be None or left out, ``*`` any shape (the same wherever it stands), ``_`` any
                  shape at all, ``|`` or; the grammar stands in ``minivgg/testing/shapes.py``
    ``samples``   ``samples(rng) -> Iterable[Sample]`` in float64; every check runs on each
    ``oracle``    ``oracle(*args, **kwargs)`` on float64 NumPy arrays, independent of the code it judges
    ``errors``    ``errors() -> Iterable[ErrorSample]``
    ``order``     how often it can be differentiated: 2 is checked
    ``torch``     dotted name below ``torch`` of the function with the same arguments, for the comparison
    """

    function: Callable[..., Any]
    shapes: str
    samples: Callable[[numpy.random.Generator], Iterable[Sample]]
    oracle: Callable[..., Any]
    errors: Callable[[], Iterable[ErrorSample]] = tuple
    order: int = 2
    torch: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.function.__name__)
        if self.name in OPERATIONS:
            raise ValueError(f"registry: operation {self.name!r} is declared twice")
        OPERATIONS[self.name] = self


@dataclass(frozen=True, eq=False)  # a record is itself alone, which is also the cheapest key
class Algorithm:
    """One way to compute an operation.

    ``run(spec, *inputs, out)`` writes every element of ``out`` and changes no input; scratch memory it takes is at most
    ``workspace(spec, dtype)`` bytes, and ``copies(spec, dtype)`` more for arrays in another memory order.
    ``supports(spec, dtype)`` returns None, or the sentence that says why not.
    ``exact`` algorithms agree to the bit on small integers; ``max_error`` bounds the relative L2 error in float32.
    """

    operation: str
    name: str
    run: Callable[..., None]
    backend: str
    exact: bool
    max_error: float
    workspace: Callable[[Any, numpy.dtype], int]
    supports: Callable[[Any, numpy.dtype], str | None]
    paper: str = ""
    channels_last: bool = False
    """True: prefers (N, H, W, C) memory and is given an ``out`` in it."""
    automatic: bool = True
    """False: for humans and tests only, never chosen by "auto"."""
    fuses: tuple[str, ...] = ()
    """What follows the operation and can be done in the same pass: ``run`` then also takes it as an argument of that name."""

    def copies(self, spec: Any, dtype: numpy.dtype) -> int:
        """Bytes that it takes more if no array lies in the memory order that it prefers."""
        return _operands(spec, dtype) if self.channels_last else 0

    def __call__(self, spec: Any, *arrays: Any, **what: Any) -> None:
        """``run``; by the caller's thread alone, where a convolution is too small to be shared out."""
        with alone(getattr(spec, "macs", LITTLE) < LITTLE):
            self.run(spec, *arrays, **what)


UNKNOWN = 1 << 62
"""Bytes of scratch memory of array code, which nobody has counted."""

DEVICES = {"numpy": ("cpu", "cuda"), "numba": ("cpu",), "cuda": ("cuda",)}
"""The kinds of device that a backend's algorithms compute on: array-namespace code takes the arrays of either."""

Policy = Callable[[Any, numpy.dtype], list[tuple[str, str]]]

_ALGORITHMS: dict[str, dict[str, dict[str, Algorithm]]] = {"cpu": {}, "cuda": {}}
"""By kind of device and operation, by name: ``winograd_f4`` of the processor and ``winograd_f4`` of the GPU are two records."""
_POLICIES: dict[str, dict[str, Policy]] = {"cpu": {}, "cuda": {}}


def algorithm(
    operation: str, *, backend: str = "numpy", exact: bool = True, max_error: float = 2e-6,
    workspace: Callable[[Any, numpy.dtype], int] = lambda spec, dtype: 0,
    supports: Callable[[Any, numpy.dtype], str | None] = lambda spec, dtype: None,
    paper: str = "", channels_last: bool = False, automatic: bool = True, fuses: tuple[str, ...] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:  # fmt: skip
    """Register the decorated kernel; its name is the name of its file, without the backend: ``direct_numba`` is ``direct``."""

    def register(run: Callable[..., None]) -> Callable[..., None]:
        name = run.__module__.rpartition(".")[2].removesuffix(f"_{backend}")
        _register(Algorithm(operation, name, run, backend, exact, max_error, workspace, supports, paper, channels_last, automatic, fuses))
        return run

    return register


def _register(record: Algorithm) -> None:
    for kind in DEVICES[record.backend]:
        known = _ALGORITHMS[kind].setdefault(record.operation, {})
        if record.name in known:
            raise ValueError(f"registry: algorithm {record.name!r} of {record.operation} is declared twice for {kind}")
        known[record.name] = record
    _by_policy.cache_clear()


def formula(operation: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register the array-namespace code of an operation, which stands in its file in ops/, as its algorithm "formula".

    It computes small arrays on the CPU, and all where there is no compiled kernel. See ``kernel``.
    """

    def register(run: Callable[..., None]) -> Callable[..., None]:
        _register(
            Algorithm(operation, "formula", run, "numpy", exact=False, max_error=2e-6, workspace=lambda spec, dtype: UNKNOWN, supports=lambda spec, dtype: None)
        )
        policy(operation)(
            lambda spec, dtype: [("fused", "compiled: as few passes over memory as there can be"), ("formula", "a pass of the array library for each step")]
        )
        return run

    return register


def policy(operation: str, *devices: str) -> Callable[[Policy], Policy]:
    """Register what "auto" does, on "cpu", "cuda", or (by itself) both: ``policy(spec, dtype)`` lists (algorithm, reason), the best first.

    It must depend on these alone, and on the precision that the user allows: a training step asks for the same choices again and
    again, so they are kept.
    """

    def register(choose: Policy) -> Policy:
        for kind in devices or _POLICIES:
            _POLICIES[kind][operation] = choose
        return choose

    return register


@functools.cache
def _discover() -> None:
    """Import every file of every operation's folder under kernels/; they register themselves."""
    package = importlib.import_module("minivgg.kernels")
    for module in pkgutil.walk_packages(package.__path__, "minivgg.kernels."):
        importlib.import_module(module.name)


def kind_of(device: str) -> str:
    """ "cpu", or "cuda" of any number."""
    return device.partition(":")[0]


def algorithms(operation: str, device: str = "cpu") -> dict[str, Algorithm]:
    """The algorithms that compute an operation on ``device`` ("cpu", "cuda", "cuda:1"), by name."""
    _discover()
    return _ALGORITHMS[kind_of(device)].get(operation, {})


def operations_with_algorithms(device: str = "cpu") -> list[str]:
    """The names of the operations that kernels/ has algorithms for."""
    _discover()
    return list(_ALGORITHMS[kind_of(device)])


# Choice ---------------------------------------------------------------------------------------------------------------

_forced: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("minivgg_forced_algorithms", default={})  # noqa: B039 never changed


@contextlib.contextmanager
def use_algorithm(**choices: str) -> Iterator[None]:
    """Force algorithms within a block: ``with use_algorithm(conv2d="fft"):``; both gradients follow.

    ``"auto"`` is the usual choice, ``"exact"`` the choice among exact algorithms.
    """
    for family, name in choices.items():
        _check_known(family, name)
    token = _forced.set({**_forced.get(), **choices})
    try:
        yield
    finally:
        _forced.reset(token)


EXACT = "exact"
"""In place of a name: whichever "auto" likes best of those whose record says ``exact``."""


def exact() -> contextlib.AbstractContextManager[None]:
    """Within the block convolutions add up the products of the definition, and so do their gradients: no Winograd, no FFT.

    The same as ``use_algorithm(conv2d="exact")``, or ``MINIVGG_CONV2D=exact`` for a process. On small integers the results
    are then exact to the bit; on others the error is that of the sum in its precision alone. What it costs, ``explain`` says.

    >>> import minivgg
    >>> minivgg.explain("n1 c64 h112 w112 k64 r3 p1").chosen
    'winograd_f4'
    >>> with exact():
    ...     minivgg.explain("n1 c64 h112 w112 k64 r3 p1").chosen
    'direct'
    """
    return use_algorithm(conv2d=EXACT)


def forced(family: str, argument: str | None = None) -> str | None:
    """The algorithm that the user asked for, or None: argument, then block, then ``MINIVGG_CONV2D=fft``."""
    name = argument or _forced.get().get(family) or os.environ.get(f"MINIVGG_{family.upper()}")
    if name is None or name == "auto":
        return None
    _check_known(family, name)
    return name


def _check_known(family: str, name: str) -> None:
    known = {**algorithms(family), **algorithms(family, "cuda")}
    if not known:
        raise ArgumentError("use_algorithm", f"{family!r} has no algorithms to choose from; {', '.join(operations_with_algorithms())} have")
    if name not in known and name not in ("auto", EXACT):
        raise ArgumentError(family, f"there is no algorithm {name!r}; there are {', '.join(known)}")


def select(operation: str, spec: Any, dtype: numpy.dtype, name: str | None = None, device: str = "cpu") -> Algorithm:
    """The algorithm to run on ``device``: the forced one if it applies, else the fastest that ``autotune`` measured, else the policy's.

    ``name`` may be ``"exact"``. An algorithm that takes unreasonably much scratch memory is passed over.
    """
    known = algorithms(operation, device)
    if name not in (None, EXACT):
        if name not in known:
            raise UnsupportedError(operation, f"{name} has no kernel for it on {device}; {', '.join(known)} have")
        refusal = known[name].supports(spec, dtype)
        if refusal:
            raise UnsupportedError(operation, f"{name} does not apply: {refusal}", problem=spec)
        return known[name]
    measured = lookup(operation, spec, dtype) if device == "cpu" else None
    chosen = _first(measured.ranked, known, spec, dtype, name) if measured else None
    chosen = chosen or by_policy(operation, spec, dtype, name, device)
    if chosen:
        return chosen
    refusals = "; ".join(f"{each.name}: {against(each, spec, dtype, name, get_num_threads()) or 'only on request'}" for each in known.values())
    raise UnsupportedError(operation, f"no algorithm applies by itself: {refusals}", problem=spec)


def by_policy(operation: str, spec: Any, dtype: numpy.dtype, name: str | None = None, device: str = "cpu") -> Algorithm | None:
    """The first of the policy's list that applies, whatever was measured; None if none does."""
    _discover()
    kind = kind_of(device)
    return _by_policy(_POLICIES[kind][operation], operation, spec, dtype, name, kind, get_num_threads(), significant_bits())


@functools.lru_cache(maxsize=4096)
def _by_policy(
    policy: Policy, operation: str, spec: Any, dtype: numpy.dtype, name: str | None, kind: str, threads: int, bits: int
) -> Algorithm | None:  # fmt: skip
    """The same, kept: what it follows from are its arguments, and the algorithms that there are."""
    return _first(policy(spec, dtype), algorithms(operation, kind), spec, dtype, name)


def ranked(operation: str, spec: Any, dtype: numpy.dtype, device: str = "cpu") -> list[tuple[str, str]]:
    """What the policy lists: (algorithm, reason), the best first."""
    _discover()
    return _POLICIES[kind_of(device)][operation](spec, dtype)


def choices(device: str = "cpu") -> list[str]:
    """The operations that have more than a formula and what is compiled from it, so that there is something to explain."""
    _discover()
    return [operation for operation in _POLICIES[kind_of(device)] if "formula" not in algorithms(operation)]


def _first(ranked: list[tuple[str, str]], known: dict[str, Algorithm], spec: Any, dtype: numpy.dtype, name: str | None) -> Algorithm | None:
    threads = get_num_threads()
    return next((known[each] for each, _ in ranked if each in known and against(known[each], spec, dtype, name, threads) is None), None)


@functools.lru_cache(maxsize=4096)
def against(algorithm: Algorithm, spec: Any, dtype: numpy.dtype, name: str | None, threads: int) -> str | None:
    """Why "auto" does not take it (``name`` None or "exact") with so many threads, which decide about scratch memory; or None."""
    if not algorithm.automatic:
        return "never chosen by itself: for reading and testing"
    refusal = algorithm.supports(spec, dtype)
    left_out = None if refusal else passed_over(algorithm, spec, dtype, name)
    return f"passed over: {left_out}" if left_out else refusal


MUCH_MEMORY, OPERANDS = {"numpy": 512 << 20, "numba": 512 << 20, "cuda": 2 << 30}, 1.5
"""Bytes of scratch memory that nobody minds, of a GPU more; and how often the size of the problem's own arrays, where these are larger."""


def passed_over(algorithm: Algorithm, spec: Any, dtype: numpy.dtype, name: str | None) -> str | None:
    """Why it is not taken unless the user asks for it by name, though it could compute this; or None."""
    if name == EXACT and not algorithm.exact:
        return "it is not exact"
    if not hasattr(spec, "input_shape"):
        return None
    needed = algorithm.workspace(spec, dtype) + algorithm.copies(spec, dtype)
    if needed <= MUCH_MEMORY[algorithm.backend]:
        return None
    operands = _operands(spec, dtype)
    if needed <= OPERANDS * operands:
        return None
    return f"it may take {needed >> 20} MiB of scratch memory, copies included, the arrays themselves {operands >> 20} MiB"


def _operands(spec: Any, dtype: numpy.dtype) -> int:
    """Bytes of a problem's own arrays."""
    shapes = [getattr(spec, f"{array}_shape") for array in ("input", "weight", "output") if hasattr(spec, f"{array}_shape")]
    return dtype.itemsize * sum(math.prod(shape) for shape in shapes)


SMALL = 1 << 12
"""Elements below which NumPy is as fast as a compiled kernel, which would have to be loaded first."""


def kernel(operation: str, spec: Any, x: Any) -> Callable[..., None]:
    """What computes an operation that has a ``formula`` on arrays like ``x``: call it with ``(spec, *inputs, *outputs)``."""
    return algorithm_for(operation, spec, x).run


def algorithm_for(operation: str, spec: Any, x: Any) -> Algorithm:
    """The compiled kernel of their device, but on the CPU the formula for small arrays; or what the user forces."""
    name, device = forced(operation.partition("_grad")[0]), device_of(x)
    if name is None and device == "cpu" and x.size < SMALL:
        return _ALGORITHMS["cpu"][operation]["formula"]
    return select(operation, spec, x.dtype, name, device)
