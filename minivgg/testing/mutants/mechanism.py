"""A mutant: correct source with one mistake planted, the call that shows it, and the diagnosis that a teacher would give.

The mistake is a change of text. The function's source is read, changed, compiled in its own module, and its code takes the
place of the right one; the function object stays the same, so records and other modules that hold it see the mistake too.
"""

from __future__ import annotations
import __future__

import contextlib
import dataclasses
import functools
import importlib
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.errors import ArgumentError


@dataclasses.dataclass(frozen=True)
class Edit:
    """``old`` becomes ``new`` in the source of ``where``: ``"minivgg.ops.relu:ReLUGrad.forward"``. It must stand there exactly once."""

    where: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True)
class Call:
    """What to check: ``gradcheck(function, inputs)``. Floating arrays are differentiated by; a pair of functions gets them as they are."""

    function: Any
    values: tuple[Any, ...]

    @property
    def inputs(self) -> tuple[Any, ...]:
        if isinstance(self.function, tuple):
            return self.values
        return tuple(
            Tensor(value.copy(), requires_grad=True) if isinstance(value, numpy.ndarray) and value.dtype.kind == "f" else value for value in self.values
        )


def call(function: Any, *values: Any, **options: Any) -> Call:
    """The call ``function(*values, **options)``; of a pair (forward, backward), the options are those of both."""
    if options and isinstance(function, tuple):
        forward, backward = function
        return Call((functools.partial(forward, **options), backward), values)
    return Call(functools.partial(function, **options) if options else function, values)


def normal(*shape: int, seed: int = 0) -> numpy.ndarray:
    """Normally distributed numbers, the same ones every time."""
    return numpy.random.default_rng((seed, *shape)).standard_normal(shape)


def positive(*shape: int, seed: int = 0) -> numpy.ndarray:
    """Numbers from 0.5 to 2."""
    return numpy.random.default_rng((seed, *shape)).uniform(0.5, 2.0, shape)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One planted mistake.

    ``name``       what was done wrong, in a few words
    ``operation``  the operation, as its record is called, or what the user code is
    ``edits``      the mistake itself
    ``at``         the call that shows it
    ``expects``    the kind of diagnosis that a teacher would give
    ``order``      the derivative that is wrong: 1, or 2
    ``known``      why the check says something else, where it does; empty where it must say ``expects``
    """

    name: str
    operation: str
    edits: tuple[Edit, ...]
    at: Callable[[], Call]
    expects: str
    order: int = 1
    known: str = ""

    @property
    def where(self) -> str:
        """The function that is changed, without the package."""
        return self.edits[0].where.removeprefix("minivgg.")


def mutant(
    name: str, operation: str, where: str, old: str, new: str, at: Callable[[], Call], expects: str, *more: Edit, order: int = 1, known: str = ""
) -> Mutant:  # fmt: skip
    """A mutant whose first edit (mostly the only one) is given in parts."""
    return Mutant(name, operation, (Edit(where, old, new), *more), at, expects, order, known)


def find(where: str) -> types.FunctionType:
    """The function that ``"module:Class.method"`` names."""
    module, _, path = where.partition(":")
    found = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    if not isinstance(found, types.FunctionType) or found.__code__.co_freevars:
        raise ArgumentError("mutant", f"{where} is no plain function of its module or class, but {type(found).__name__}")
    return found


def _owner(where: str) -> Any:
    """The class or module that the function stands in."""
    module, _, path = where.partition(":")
    return functools.reduce(getattr, path.split(".")[:-1], importlib.import_module(module))


def source(where: str) -> str:
    """Its source, moved to the left margin."""
    return textwrap.dedent(inspect.getsource(find(where)))


def changed(edit: Edit) -> str:
    """The source with the mistake in it. Raises ArgumentError unless ``old`` stands there exactly once."""
    text = source(edit.where)
    count = text.count(edit.old)
    if count != 1:
        raise ArgumentError("mutant", f"{edit.old!r} must stand in {edit.where} once, it stands there {count} times")
    return text.replace(edit.old, edit.new)


@contextlib.contextmanager
def applied(edits: tuple[Edit, ...]) -> Iterator[None]:
    """Within the block the mistakes are in force; afterwards the right code is back, whatever happened.

    >>> import minivgg
    >>> edit = Edit("minivgg.ops.pointwise:Sqrt.backward", "grad / (2 * out)", "grad / out")
    >>> x = minivgg.tensor([4.0], requires_grad=True)
    >>> with applied((edit,)):
    ...     print(minivgg.autograd.grad(x.sqrt(), x))
    (tensor([0.5000]),)
    >>> minivgg.autograd.grad(x.sqrt(), x)
    (tensor([0.2500]),)
    """
    texts: dict[str, str] = {}
    for edit in edits:
        text = texts.get(edit.where, source(edit.where))
        if text.count(edit.old) != 1:
            changed(edit)  # says so
        texts[edit.where] = text.replace(edit.old, edit.new)
    with contextlib.ExitStack() as undo:
        for where, text in texts.items():
            function = find(where)
            undo.callback(setattr, function, "__code__", function.__code__)
            undo.callback(_forget, _owner(where), set(vars(_owner(where))))
            function.__code__ = _compiled(where, text, function)
        yield


def _forget(owner: Any, names: set[str]) -> None:
    """Remove what a mistake left behind on a class or in a module."""
    for name in set(vars(owner)) - names:
        delattr(owner, name)


def _compiled(where: str, text: str, function: types.FunctionType) -> types.CodeType:
    """The code of the changed function; its decorators, which registered the right one, are left out."""
    body = text[text.index(f"def {function.__name__}(") :]
    made: dict[str, Any] = {}
    exec(compile(body, f"<mutant of {where}>", "exec", dont_inherit=True, flags=__future__.annotations.compiler_flag), function.__globals__, made)
    return made[function.__name__].__code__
