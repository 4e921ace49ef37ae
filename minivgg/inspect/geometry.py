"""Windows: the output-size formula of a layer with its numbers filled in, and the receptive field.

Along one axis, a layer whose windows span k cells and advance by s lets a cell see (k - 1) times the *jump* more pixels
than a cell of its input did, the jump being the distance in pixels between neighbouring cells; and it multiplies the jump
by s. (Receptive fields are those of the definition: what could be seen, before the image's border cuts it off.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from minivgg.autograd import Function, Tensor
from minivgg.spec import Conv2dSpec, Pool2dSpec

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A window that slides along one axis: rows or columns."""

    size: int
    outputs: int
    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    ceil_mode: bool = False

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    @property
    def step(self) -> Fraction:
        return Fraction(self.stride)

    def formula(self) -> str:
        """(size + padding - span)/stride + 1, rounded as the layer rounds.

        >>> Window(size=224, outputs=224, kernel=3, before=1, after=1).formula()
        '(224 + 2·1 - 3)/1 + 1 = 224'
        >>> Window(size=7, outputs=3, kernel=2, stride=2).formula()
        '⌊(7 + 2·0 - 2)/2⌋ + 1 = 3'
        """
        padding = f"2·{self.before}" if self.before == self.after else f"{self.before} + {self.after}"
        span = f"{self.kernel}" if self.dilation == 1 else f"{self.dilation}·({self.kernel} - 1) - 1"
        quotient = f"({self.size} + {padding} - {span})/{self.stride}"
        room = self.size + self.before + self.after - self.span
        count = room // self.stride + 1
        if room % self.stride:
            quotient = f"⌈{quotient}⌉" if self.ceil_mode else f"⌊{quotient}⌋"
            count += self.ceil_mode
        dropped = f" - {count - self.outputs} (it would begin beyond the input)" if count != self.outputs else ""
        return f"{quotient} + 1{dropped} = {self.outputs}"


@dataclass(frozen=True)
class Bins:
    """Adaptive pooling along one axis: bin i covers [⌊i·size/outputs⌋, ⌈(i+1)·size/outputs⌉)."""

    size: int
    outputs: int

    @property
    def span(self) -> int:
        """Of the widest bin."""
        return max(-(-(i + 1) * self.size // self.outputs) - i * self.size // self.outputs for i in range(self.outputs))

    @property
    def step(self) -> Fraction:
        return Fraction(self.size, self.outputs)

    def formula(self) -> str:
        """The bins, as cells of the input.

        >>> Bins(size=14, outputs=7).formula()
        '⌊i·14/7⌋ to ⌈(i + 1)·14/7⌉ for i < 7'
        """
        return f"⌊i·{self.size}/{self.outputs}⌋ to ⌈(i + 1)·{self.size}/{self.outputs}⌉ for i < {self.outputs}"


Windows = tuple[Window | Bins | None, Window | Bins | None]
"""Of the rows and of the columns; None for an axis that the layer leaves as it is."""


def windows(node: Function, output: Shape) -> Windows | None:
    """The windows of a convolution or pooling, read off its node; None for any other operation."""
    spec = getattr(node, "spec", None)
    if isinstance(spec, Conv2dSpec):
        top, bottom, left, right = spec.padding
        return (
            Window(spec.h, spec.p, spec.r, spec.stride[0], top, bottom, spec.dilation[0]),
            Window(spec.w, spec.q, spec.s, spec.stride[1], left, right, spec.dilation[1]),
        )
    if isinstance(spec, Pool2dSpec):
        rows, columns = (
            Window(size, outputs, spec.kernel[i], spec.stride[i], spec.padding[i], spec.padding[i], spec.dilation[i], spec.ceil_mode)
            for i, (size, outputs) in enumerate(((spec.h, spec.p), (spec.w, spec.q)))
        )
        return rows, columns
    if node.name in ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d"):
        h, w = node.spec.shape[-2:] if node.name == "AdaptiveAvgPool2d" else node.size  # type: ignore[attr-defined]
        return None if h == output[-2] else Bins(h, output[-2]), None if w == output[-1] else Bins(w, output[-1])
    return None


def size_formula(node: Function, output: Shape) -> str:
    """How the size of a node's output follows from that of its input; empty where it is the same.

    A convolution or pooling of rows and columns alike has one formula, otherwise two.
    """
    sliding = windows(node, output)
    if sliding is not None:
        rows, columns = (None if window is None else window.formula() for window in sliding)
        if rows == columns:
            return rows or ""
        return "; ".join(f"{name} {text}" for name, text in (("rows", rows), ("columns", columns)) if text is not None)
    if node.name == "Linear":
        spec = node.spec  # type: ignore[attr-defined]
        return f"{spec.c} to {spec.k}"
    before = next((edge[2] for edge in node.edges if edge is not None), output)
    if node.name == "Reshape" and len(before) > 2 and len(output) == 2:
        return f"{'·'.join(map(str, before[1:]))} = {output[1]}"
    return ""


class Reach(NamedTuple):
    """Pixels that a cell sees along an axis, and pixels from one cell to the next."""

    size: Fraction = Fraction(1)
    jump: Fraction = Fraction(1)


Field = tuple[Reach, Reach] | str
"""Of rows and columns; ``"all"`` behind a linear layer; ``""`` where nothing is known (rows and columns are gone)."""

MIXING = ("Linear", "MatMul")


def receptive_fields(nodes: Sequence[Function], shapes: dict[Function, Shape], inputs: Sequence[Tensor]) -> dict[Function, Field]:
    """The receptive field of each node's output in the pixels of the inputs, for nodes in the order in which they ran."""
    fields: dict[Function | Tensor, Field] = {tensor: (Reach(), Reach()) for tensor in inputs}
    for node in nodes:
        edges = [edge for edge in node.edges if edge is not None and edge[0] in fields]
        if edges and node in shapes:
            fields[node] = _field(node, shapes[node], [fields[edge[0]] for edge in edges], [edge[2] for edge in edges])
    return {node: field for node, field in fields.items() if isinstance(node, Function)}


def _field(node: Function, output: Shape, incoming: list[Field], shapes: list[Shape]) -> Field:
    if "all" in incoming or node.name in MIXING:
        return "all"
    known = [field for field in incoming if not isinstance(field, str)]
    sliding = windows(node, output)
    if len(known) < len(incoming) or (sliding is None and any(shape[-2:] != output[-2:] for shape in shapes)):
        return ""
    rows, columns = (Reach(max(reach.size for reach in axis), max(reach.jump for reach in axis)) for axis in zip(*known, strict=True))
    if sliding is None:
        return rows, columns
    return _enlarged(rows, sliding[0]), _enlarged(columns, sliding[1])


def _enlarged(reach: Reach, window: Window | Bins | None) -> Reach:
    return reach if window is None else Reach(reach.size + (window.span - 1) * reach.jump, reach.jump * window.step)
