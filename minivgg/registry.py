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
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy

from minivgg.backend import device_of
from minivgg.errors import ArgumentError, UnsupportedError
from minivgg.spec import Conv2dSpec, Pool2dSpec
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


@dataclass(frozen=True)
class Algorithm:
    """One way to compute an operation.

    ``run(spec, *inputs, out)`` writes every element of ``out`` and changes no input; scratch memory it takes is at most
    ``workspace(spec, dtype)`` bytes. ``supports(spec, dtype)`` returns None, or the sentence that says why not.
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

    def refusal(self, spec: Any, dtype: numpy.dtype, device: str) -> str | None:
        """Why it cannot compute this here, or None."""
        if self.backend == "numba" and device != "cpu":
            return f"it is compiled for the CPU, the arrays lie on {device}"
        return self.supports(spec, dtype)


UNKNOWN = 1 << 62
"""Bytes of scratch memory of array code, which nobody has counted."""

_ALGORITHMS: dict[str, dict[str, Algorithm]] = {}
_POLICIES: dict[str, Callable[[Any, numpy.dtype], list[tuple[str, str]]]] = {}


def algorithm(
    operation: str, *, backend: str = "numpy", exact: bool = True, max_error: float = 2e-6,
    workspace: Callable[[Any, numpy.dtype], int] = lambda spec, dtype: 0,
    supports: Callable[[Any, numpy.dtype], str | None] = lambda spec, dtype: None,
    paper: str = "", channels_last: bool = False, automatic: bool = True, fuses: tuple[str, ...] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:  # fmt: skip
    """Register the decorated kernel; its name is the name of its file, without the backend: ``direct_numba`` is ``direct``."""

    def register(run: Callable[..., None]) -> Callable[..., None]:
        name = run.__module__.rpartition(".")[2].removesuffix(f"_{backend}")
        known = _ALGORITHMS.setdefault(operation, {})
        if name in known:
            raise ValueError(f"registry: algorithm {name!r} of {operation} is declared twice")
        known[name] = Algorithm(operation, name, run, backend, exact, max_error, workspace, supports, paper, channels_last, automatic, fuses)
        return run

    return register


def formula(operation: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register the array-namespace code of an operation, which stands in its file in ops/, as its algorithm "formula".

    It computes small arrays and those of other libraries; large ones on the CPU go to the compiled kernel. See ``kernel``.
    """

    def register(run: Callable[..., None]) -> Callable[..., None]:
        _ALGORITHMS.setdefault(operation, {})["formula"] = Algorithm(
            operation, "formula", run, "numpy", exact=False, max_error=2e-6, workspace=lambda spec, dtype: UNKNOWN, supports=lambda spec, dtype: None
        )  # fmt: skip
        _POLICIES[operation] = lambda spec, dtype: [
            ("fused", "compiled: as few passes over memory as there can be"), ("formula", "a NumPy pass for each step"),
        ]  # fmt: skip
        return run

    return register


def policy(operation: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register what "auto" does: ``policy(spec, dtype)`` lists (algorithm, reason), the best first."""

    def register(choose: Callable[..., Any]) -> Callable[..., Any]:
        _POLICIES[operation] = choose
        return choose

    return register


@functools.cache
def _discover() -> None:
    """Import every file of every operation's folder under kernels/; they register themselves."""
    package = importlib.import_module("minivgg.kernels")
    for module in pkgutil.walk_packages(package.__path__, "minivgg.kernels."):
        importlib.import_module(module.name)


def algorithms(operation: str) -> dict[str, Algorithm]:
    """The algorithms of an operation by name."""
    _discover()
    return _ALGORITHMS.get(operation, {})


def operations_with_algorithms() -> list[str]:
    """The names of the operations that kernels/ has algorithms for."""
    _discover()
    return list(_ALGORITHMS)


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

    >>> explain("n1 c64 h112 w112 k64 r3 p1").chosen
    'winograd_f4'
    >>> with exact():
    ...     explain("n1 c64 h112 w112 k64 r3 p1").chosen
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
    known = algorithms(family)
    if not known:
        raise ArgumentError("use_algorithm", f"{family!r} has no algorithms to choose from; {', '.join(operations_with_algorithms())} have")
    if name not in known and name not in ("auto", EXACT):
        raise ArgumentError(family, f"there is no algorithm {name!r}; there are {', '.join(known)}")


def select(operation: str, spec: Any, dtype: numpy.dtype, name: str | None = None, device: str = "cpu") -> Algorithm:
    """The algorithm to run on ``device``: the forced one if it applies, else the fastest that ``autotune`` measured, else the policy's.

    ``name`` may be ``"exact"``. An algorithm that takes unreasonably much scratch memory is passed over.
    """
    known = algorithms(operation)
    if name not in (None, EXACT):
        if name not in known:
            raise UnsupportedError(operation, f"{name} has no kernel for it; {', '.join(known)} have")
        refusal = known[name].refusal(spec, dtype, device)
        if refusal:
            raise UnsupportedError(operation, f"{name} does not apply: {refusal}", problem=spec)
        return known[name]
    measured = lookup(operation, spec, dtype) if device == "cpu" else None
    chosen = _first(measured.ranked, operation, spec, dtype, name, device) if measured else None
    chosen = chosen or by_policy(operation, spec, dtype, name, device)
    if chosen:
        return chosen
    refusals = "; ".join(f"{candidate.name}: {candidate.reason}" for candidate in candidates(operation, spec, dtype, name, device))
    raise UnsupportedError(operation, f"no algorithm applies by itself: {refusals}", problem=spec)


def by_policy(operation: str, spec: Any, dtype: numpy.dtype, name: str | None = None, device: str = "cpu") -> Algorithm | None:
    """The first of the policy's list that applies, whatever was measured; None if none does."""
    _discover()
    return _first(_POLICIES[operation](spec, dtype), operation, spec, dtype, name, device)


def _first(ranked: list[tuple[str, str]], operation: str, spec: Any, dtype: numpy.dtype, name: str | None, device: str) -> Algorithm | None:
    known = _ALGORITHMS[operation]
    for preferred, _ in ranked:
        candidate = known.get(preferred)
        if candidate and candidate.automatic and candidate.refusal(spec, dtype, device) is None and passed_over(candidate, spec, dtype, name) is None:
            return candidate
    return None


MUCH_MEMORY, OPERANDS = 512 << 20, 1.5
"""Bytes of scratch memory that nobody minds; and how often the size of the problem's own arrays, where these are larger."""


def passed_over(algorithm: Algorithm, spec: Any, dtype: numpy.dtype, name: str | None) -> str | None:
    """Why it is not taken unless the user asks for it by name, though it could compute this; or None."""
    if name == EXACT and not algorithm.exact:
        return "it is not exact"
    if not hasattr(spec, "input_shape"):
        return None
    needed = algorithm.workspace(spec, dtype)
    if needed <= MUCH_MEMORY:
        return None
    shapes = [getattr(spec, f"{array}_shape") for array in ("input", "weight", "output") if hasattr(spec, f"{array}_shape")]
    operands = dtype.itemsize * sum(math.prod(shape) for shape in shapes)
    if needed <= OPERANDS * operands:
        return None
    return f"it takes {needed >> 20} MiB of scratch memory, the arrays themselves {operands >> 20} MiB"


SMALL = 1 << 12
"""Elements below which NumPy is as fast as a compiled kernel, which would have to be loaded first."""


def kernel(operation: str, spec: Any, x: Any) -> Callable[..., None]:
    """What computes an operation that has a ``formula`` on arrays like ``x``: call it with ``(spec, *inputs, *outputs)``.

    The compiled kernel for large NumPy arrays, the formula for all others, or what the user forces.
    """
    name = forced(operation.partition("_grad")[0])
    if name is None and (x.size < SMALL or device_of(x) != "cpu"):
        return _ALGORITHMS[operation]["formula"].run
    return select(operation, spec, x.dtype, name, device_of(x)).run


@dataclass(frozen=True)
class Candidate:
    """One line of ``explain``: an algorithm, whether it is chosen, and why or why not."""

    name: str
    chosen: bool
    applies: bool
    reason: str
    workspace: int
    """Bytes of scratch memory, 0 where it does not apply."""


def candidates(operation: str, spec: Any, dtype: numpy.dtype, name: str | None = None, device: str = "cpu") -> list[Candidate]:
    """Every algorithm with the sentence that speaks for it or refuses it on ``device``, the preferred ones first.

    The chosen one is ``name`` if that is given, else the first that applies and is not passed over (for its scratch memory,
    or because only an exact one is wanted) of those that ``autotune`` measured and of the policy's list; none may be.
    """
    known = algorithms(operation)
    measured = lookup(operation, spec, dtype) if device == "cpu" else None
    ranked = {each: reason for each, reason in measured.ranked if each in known and known[each].automatic} if measured else {}
    ranked |= {each: reason for each, reason in _POLICIES[operation](spec, dtype) if each not in ranked}
    result: list[Candidate] = []
    for each in [*ranked, *(other for other in known if other not in ranked)]:
        refusal = known[each].refusal(spec, dtype, device)
        left_out = None if refusal or each not in ranked else passed_over(known[each], spec, dtype, name)
        if refusal:
            reason = f"asked for, but {refusal}" if each == name else refusal
        elif each == name:
            reason = "asked for"
        elif not known[each].automatic:
            reason = "never chosen by itself: for reading and testing"
        elif left_out:
            reason = f"passed over: {left_out}"
        else:
            reason = ranked.get(each, "only on request")
        by_itself = each in ranked and not left_out and not any(better.chosen for better in result)
        wanted = by_itself if name in (None, EXACT) else each == name
        result.append(Candidate(each, wanted and not refusal, not refusal, reason, 0 if refusal else known[each].workspace(spec, dtype)))
    return result


@dataclass(frozen=True, repr=False)
class Explanation:
    """What ``explain`` returns: prints as a table, the chosen algorithm marked with ``>``; ``as_dict()`` for machines."""

    operation: str
    problem: Any
    dtype: numpy.dtype
    candidates: tuple[Candidate, ...]

    @property
    def chosen(self) -> str | None:
        """The name of the algorithm that would run; None if what was asked for does not apply."""
        return next((candidate.name for candidate in self.candidates if candidate.chosen), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {
            "operation": self.operation,
            "problem": str(self.problem),
            "dtype": str(self.dtype),
            "macs": getattr(self.problem, "macs", None),
            "chosen": self.chosen,
            "candidates": [asdict(candidate) for candidate in self.candidates],
        }

    def __repr__(self) -> str:
        macs = getattr(self.problem, "macs", None)
        width = max(len(candidate.name) for candidate in self.candidates)
        lines = [f"{self.operation}, {self.problem}, {self.dtype}" + (f": {macs:,} multiply-adds" if macs is not None else "")]
        for candidate in self.candidates:
            scratch = f"{candidate.workspace / 2**20:8.2f} MiB" if candidate.applies else f"{'-':>12}"
            lines.append(f"{'>' if candidate.chosen else ' '} {candidate.name:{width}} {scratch}  {candidate.reason}")
        return "\n".join(lines)


def explain(spec: Any, operation: str = "conv2d", dtype: Any = "float32", device: str = "cpu") -> Explanation:
    """Which algorithm would compute a problem here and now, and what speaks for or against each, with its scratch memory.

    ``spec`` is a Conv2dSpec, a Pool2dSpec or a problem string, ``device`` where the arrays lie (``Tensor.device``). An
    algorithm forced by ``use_algorithm`` or by the environment counts.

    >>> explain("n1 c64 h112 w112 k64 r3 p1").chosen
    'winograd_f4'
    >>> with use_algorithm(conv2d="fft"):
    ...     explain("n1 c64 h112 w112 k64 r3 p1", "conv2d_grad_weight").chosen
    'fft'
    """
    algorithms(operation)
    choices = [name for name in _POLICIES if "formula" not in algorithms(name)]
    if operation not in choices:
        raise ArgumentError("explain", f"there is no choice to be made for {operation!r}; there is for {', '.join(choices)}")
    if isinstance(spec, str):
        spec = Conv2dSpec.parse(spec) if operation.startswith("conv2d") else Pool2dSpec.parse(spec, operation)
    dtype = numpy.dtype(dtype)
    return Explanation(operation, spec, dtype, tuple(candidates(operation, spec, dtype, forced(operation.partition("_grad_")[0]), device)))
