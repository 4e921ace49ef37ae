"""The shapes of an operation, as one line that is bound to actual calls: ``"N C H W, K C/g R S, K? -> N K P Q"``.

Grammar: arguments ``->`` results, each a list of shapes separated by commas. A shape is a row of words:

    ``N``      a size: the same number wherever the letter stands
    ``3``      exactly this size
    ``C/g``    a size divided by a whole number, which is the same wherever it stands
    ``...``    once a shape: any number of dimensions. Those of several arguments broadcast, as in ``"..., ... -> ..."``;
               the results have the broadcast dimensions
    ``*``      alone: any shape, the same wherever it stands
    ``_``      alone: any shape or list of tensors, bound to nothing
    ``()``     alone: no dimensions
    ``?``      at the end: this argument may be None or left out, this result may be missing
    ``[N C]``  in brackets: a list of tensors (any number), each of that shape
    ``|``      between two whole lines: or

Only arrays count, positional ones: an argument that is a number, a flag or a tuple of sizes is passed over. A number
stands for a tensor without dimensions where a lone ``...`` asks for one, because it broadcasts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from minivgg.errors import ArgumentError, ShapeError

WORD = re.compile(r"[A-Za-z](/[A-Za-z])?|\d+|\.\.\.")
ALONE = ("*", "_", "()")

Sizes = dict[str, Any]
"""What a line was bound to: letters to ints, ``...`` and ``*`` to tuples."""


@dataclass(frozen=True)
class Shape:
    """One shape of the line."""

    words: tuple[str, ...]
    optional: bool
    many: bool

    @property
    def takes_number(self) -> bool:
        return self.words == ("...",)


def parse(line: str) -> tuple[list[Shape], list[Shape]]:
    """The shapes of the arguments and of the results, of a line without ``|``.

    >>> arguments, results = parse("N C, K? -> N")
    >>> arguments[1]
    Shape(words=('K',), optional=True, many=False)
    """
    sides = line.split("->")
    if len(sides) != 2:
        raise ArgumentError("shapes", f"needs one '->' between arguments and results, got {line!r}")
    arguments, results = ([_parse_shape(text.strip(), line) for text in side.split(",")] for side in sides)
    known = {word for shape in arguments for word in shape.words}
    for word in ("...", "*"):
        if word not in known and any(word in shape.words for shape in results):
            raise ArgumentError("shapes", f"{word} stands among the results but in no argument; _ is a shape bound to nothing, got {line!r}")
    return arguments, results


def _parse_shape(text: str, line: str) -> Shape:
    inner = text.removesuffix("?")
    many = inner.startswith("[") and inner.endswith("]")
    words = tuple((inner[1:-1] if many else inner).split())
    alone = len(words) == 1 and words[0] in ALONE
    if not words or words.count("...") > 1 or not (alone or all(WORD.fullmatch(word) for word in words)):
        raise ArgumentError("shapes", f"{text!r} is not a shape like 'N C H W', 'K C/g R S', '... C', '*', '_', '()', 'K?' or '[*]', in {line!r}")
    return Shape(() if words == ("()",) else words, optional=text.endswith("?"), many=many)


def bind(line: str, args: Sequence[Any], results: Any, operation: str = "shapes") -> Sizes:
    """Bind every letter of the line to the sizes of a call, or raise ShapeError with the word that does not fit.

    Of alternatives the first that fits is taken.

    >>> x, w, out = numpy.zeros((1, 4, 8, 8)), numpy.zeros((6, 2, 3, 3)), numpy.zeros((1, 6, 6, 6))
    >>> sizes = bind("N C H W, K C/g R S, K? -> N K P Q", (x, w, None, 1), out)
    >>> sizes["C"], sizes["K"], sizes["P"], sizes["g"]
    (4, 6, 6, 2)
    """
    results = results if isinstance(results, tuple | list) else (results,)
    mismatches = []
    for alternative in line.split("|"):
        try:
            return _bind_one(*parse(alternative), args, results)
        except _MismatchError as mismatch:
            mismatches.append(f"{mismatch}, in {alternative.strip()!r}")
    shapes = ", ".join(str(_shape_of(value)) for value in (*args, *results) if _is_tensor(value) or _is_list(value))
    raise ShapeError(operation, "; ".join(mismatches), shapes=shapes)


def _bind_one(arguments: list[Shape], outputs: list[Shape], args: Sequence[Any], results: Sequence[Any]) -> Sizes:
    if len(outputs) == 1 and outputs[0].many:
        results = (results,)
    pairs = [(f"argument {i}", words, shape) for i, words, shape in _match(arguments, args)]
    pairs += [(f"result {i}", words, shape) for i, words, shape in _match(outputs, results)]
    sizes: Sizes = {}
    for where, words, shape in pairs:
        _bind_letters(sizes, where, words, shape, broadcast=where.startswith("argument"))
    for where, words, shape in pairs:
        _bind_quotients(sizes, where, words, shape)
    return sizes


class _MismatchError(Exception):
    """What does not fit, in words."""


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_tensor, value))


def _shape_of(value: Any) -> Any:
    return tuple(value.shape) if _is_tensor(value) else [tuple(item.shape) for item in value]


def _match(expected: list[Shape], values: Sequence[Any]) -> Iterable[tuple[int, tuple[str, ...], tuple[int, ...]]]:
    """Which value each shape describes: (position, words, actual shape), lists taken apart."""
    pending = list(expected)
    for i, value in enumerate(values):
        if value is None and pending and pending[0].optional:
            pending.pop(0)
        elif _is_tensor(value) or _is_list(value):
            if not pending:
                raise _MismatchError(f"{len(expected)} shapes, but tensor number {i} is one too many")
            shape = pending.pop(0)
            if shape.words == ("_",):
                continue
            if shape.many != _is_list(value):
                raise _MismatchError(f"tensor number {i} is {'a' if shape.many else 'no'} list in the line, but {'no' if shape.many else 'a'} list in the call")
            for item in value if shape.many else [value]:
                yield i, shape.words, tuple(item.shape)
        elif isinstance(value, int | float) and pending and pending[0].takes_number:
            yield i, pending.pop(0).words, ()
    missing = [shape for shape in pending if not shape.optional and not shape.many]
    if missing:
        raise _MismatchError(f"nothing is given for '{' '.join(missing[0].words)}'")


def _words_of_dimensions(where: str, words: tuple[str, ...], shape: tuple[int, ...]) -> Iterable[tuple[str, Any]]:
    """Each word with the size it stands for, ``...`` with a tuple of sizes."""
    if "..." not in words:
        if len(words) != len(shape):
            raise _MismatchError(f"{where} has {len(shape)} dimensions, '{' '.join(words) or '()'}' has {len(words)}")
        return zip(words, shape, strict=True)
    if len(shape) < len(words) - 1:
        raise _MismatchError(f"{where} has {len(shape)} dimensions, '{' '.join(words)}' needs at least {len(words) - 1}")
    before = words.index("...")
    after = len(shape) - (len(words) - before - 1)
    head, tail = zip(words[:before], shape[:before], strict=True), zip(words[before + 1 :], shape[after:], strict=True)
    return [*head, ("...", tuple(shape[before:after])), *tail]


def _bind_letters(sizes: Sizes, where: str, words: tuple[str, ...], shape: tuple[int, ...], broadcast: bool) -> None:
    if words == ("*",):
        _agree(sizes, where, "*", shape)
        return
    for word, size in _words_of_dimensions(where, words, shape):
        if word == "..." and broadcast:
            try:
                sizes["..."] = numpy.broadcast_shapes(sizes.get("...", ()), size)
            except ValueError:
                raise _MismatchError(f"... is {size} in {where}, which does not broadcast with {sizes['...']}") from None
        elif word.isdigit():
            if int(word) != size:
                raise _MismatchError(f"{where} has {size} where {word} is asked for")
        elif "/" not in word:
            _agree(sizes, where, word, size)


def _bind_quotients(sizes: Sizes, where: str, words: tuple[str, ...], shape: tuple[int, ...]) -> None:
    if not any("/" in word for word in words):
        return
    for word, size in _words_of_dimensions(where, words, shape):
        if "/" in word:
            whole, divisor = word.split("/")
            if whole not in sizes:
                raise _MismatchError(f"{word} stands without a plain {whole}")
            if not size or sizes[whole] % size:
                raise _MismatchError(f"{word} is {size} in {where}, which does not divide {whole} {sizes[whole]}")
            _agree(sizes, where, divisor, sizes[whole] // size)


def _agree(sizes: Sizes, where: str, word: str, size: Any) -> None:
    if sizes.setdefault(word, size) != size:
        raise _MismatchError(f"{word} is {size} in {where}, but {sizes[word]} before")
