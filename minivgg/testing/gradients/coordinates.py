"""Where an element lies, in words: ``weight[k=3, c=0, r=2, s=0], a border tap``; and which elements to take when not all can be.

The letters are those of the whole project: n image, c input channel, k output channel, h w row and column of the input,
p q of the output, r s of a filter.
"""

from __future__ import annotations

import itertools
import math

import numpy

Index = tuple[int, ...]

LETTERS = {
    ("weight", 4): "kcrs", ("weight", 2): "kc", ("weight", 1): "c", ("bias", 1): "k", ("grad_output", 4): "nkpq",
    ("", 4): "nchw", ("", 3): "chw", ("", 2): "ij", ("", 1): "i",
}  # fmt: skip
"""The letters of an array's axes by the kind of its name and its number of dimensions; ``i0 i1 ...`` for others."""


def kind_of(label: str) -> str:
    """What a name says of an array: ``0.weight`` and ``w`` are weights, ``grad_output 0`` is an upstream gradient."""
    last = label.rpartition(".")[2].partition(" ")[0].lower()
    return {"w": "weight", "filters": "weight", "b": "bias"}.get(last, last if last in ("weight", "bias", "grad_output") else "")


def letters_of(label: str, shape: Index) -> list[str]:
    """One letter an axis."""
    known = LETTERS.get((kind_of(label), len(shape))) or LETTERS.get(("", len(shape)))
    return list(known) if known else [f"i{axis}" for axis in range(len(shape))]


def place_of(label: str, index: Index, shape: Index) -> str:
    """Corner, border or interior of a filter or a map; nothing where there are no rows and columns.

    >>> place_of("weight", (0, 0, 2, 1), (4, 3, 3, 3)), place_of("x", (0, 0, 1, 1), (1, 1, 4, 4)), place_of("x", (3,), (5,))
    ('a border tap', 'an interior pixel', '')
    """
    if len(shape) < 3 or min(shape[-2:]) < 2:
        return ""
    at_edge = sum(position in (0, size - 1) for position, size in zip(index[-2:], shape[-2:], strict=True))
    what = "tap" if kind_of(label) == "weight" else "pixel"
    return f"{('an interior', 'a border', 'a corner')[at_edge]} {what}"


def name_of(label: str, index: Index, shape: Index) -> str:
    """The element by name, with the place it has.

    >>> name_of("weight", (3, 0, 2, 0), (4, 3, 3, 3)), name_of("x", (), ())
    ('weight[k=3, c=0, r=2, s=0], a corner tap', 'x')
    """
    inside = ", ".join(f"{letter}={position}" for letter, position in zip(letters_of(label, shape), index, strict=True))
    place = place_of(label, index, shape)
    return label + (f"[{inside}]" if inside else "") + (f", {place}" if place else "")


def sample(label: str, shape: Index, most: int | None, seed: int = 0) -> list[Index]:
    """All indices, or ``most`` of them: as many from the corners as from the borders and the interior of the maps or filters.

    Where there are no rows and columns, the first and the last element, and others at random.

    >>> [place_of("x", index, (2, 3, 8, 8)) for index in sample("x", (2, 3, 8, 8), 3)]
    ['a corner pixel', 'a border pixel', 'an interior pixel']
    """
    size = math.prod(shape)
    if most is None or size <= most:
        return list(numpy.ndindex(shape))
    rng = numpy.random.default_rng(seed)
    if len(shape) < 3 or min(shape[-2:]) < 3:
        first_and_last = [0, size - 1][:most]
        others = rng.choice(size - 2, max(most - 2, 0), replace=False) + 1
        return [tuple(int(i) for i in numpy.unravel_index(flat, shape)) for flat in sorted({*first_and_last, *others.tolist()})]
    height, width = shape[-2:]
    strata: list[list[tuple[int, int]]] = [[], [], []]
    for row, column in itertools.product(range(height), range(width)):
        strata[2 - (row in (0, height - 1)) - (column in (0, width - 1))].append((row, column))
    found: dict[Index, None] = {}
    for turn in itertools.count():
        stratum = strata[turn % 3]
        outer = tuple(int(rng.integers(extent)) for extent in shape[:-2])
        found[(*outer, *stratum[int(rng.integers(len(stratum)))])] = None
        if len(found) == most or turn > 50 * most:
            return list(found)
    raise AssertionError


def describe(label: str, where: numpy.ndarray) -> str:
    """The set of elements for which ``where`` is true, in words.

    >>> rows = numpy.zeros((1, 1, 4, 4), bool)
    >>> rows[:, :, 3] = True
    >>> describe("x", rows), describe("x", ~rows), describe("x", numpy.ones(3, bool))
    ('at h=3 (the last)', 'at h=0..2 (the first 3)', 'everywhere')
    """
    if where.all():
        return "everywhere"
    if not where.any():
        return "nowhere"
    inside, outside = _product(label, where), _product(label, ~where)
    if inside:
        return f"at {inside}"
    if outside:
        return f"everywhere but at {outside}"
    if where.ndim >= 3 and min(where.shape[-2:]) >= 3:
        edge = numpy.ones(where.shape[-2:], bool)
        edge[1:-1, 1:-1] = False
        if not where[..., ~edge].any():
            return (
                "at the border only"
                if where[..., edge].all()
                else f"at the border only, {int(where.sum())} of {int(edge.sum()) * math.prod(where.shape[:-2])} elements there"
            )
        if not where[..., edge].any():
            return "in the interior only"
    return f"at {int(where.sum())} of {where.size} elements, scattered"


def _product(label: str, where: numpy.ndarray) -> str | None:
    """The words for a set that is a choice on each axis; None if it is not."""
    chosen = [numpy.flatnonzero(where.any(axis=tuple(other for other in range(where.ndim) if other != axis))) for axis in range(where.ndim)]
    if math.prod(len(positions) for positions in chosen) != where.sum():
        return None
    parts = [
        _positions(letter, positions.tolist(), size)
        for letter, positions, size in zip(letters_of(label, where.shape), chosen, where.shape, strict=True) if len(positions) < size
    ]  # fmt: skip
    return ", ".join(parts) or None


def _positions(letter: str, positions: list[int], size: int) -> str:
    first, last, count = positions[0], positions[-1], len(positions)
    if count == 1:
        return f"{letter}={first}" + (" (the first)" if first == 0 else " (the last)" if first == size - 1 else "")
    if positions == [0, size - 1]:
        return f"{letter}=0 and {size - 1} (both ends)"
    if count == last - first + 1:
        return f"{letter}={first}..{last}" + (f" (the last {count})" if last == size - 1 else f" (the first {count})" if first == 0 else "")
    step = positions[1] - positions[0]
    if positions == list(range(first, last + 1, step)):
        return f"every {step}{'nd' if step == 2 else 'rd' if step == 3 else 'th'} {letter} from {first}"
    return f"{letter}={', '.join(map(str, positions))}" if count <= 6 else f"{count} of {size} {letter}"
