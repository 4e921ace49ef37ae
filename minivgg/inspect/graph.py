"""draw_graph: the recorded graph as a picture, with shapes on the nodes and gradients on the edges; SVG, written here.

The layout is Sugiyama's in its simplest form: rows by distance from the result, an order within each row that follows the
neighbours' mean position, and a bend in every row that a long edge passes through.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minivgg.autograd import Function, Tensor, grad
from minivgg.errors import GraphError

WIDTH, HEIGHT, COLUMN, ROW, MARGIN = 136, 42, 156, 92, 28
SWEEPS = 8

STYLE = """
svg { background: #fff; font-family: system-ui, sans-serif; font-size: 12px }
rect { rx: 8; stroke-width: 1.2 }
.operation rect { fill: #eef4fb; stroke: #4682b4 } .parameter rect { fill: #fdf1e3; stroke: #d98324 } .result rect { fill: #e8f5ec; stroke: #2e8b57 }
text { text-anchor: middle; fill: #1d2733 } .shape { fill: #5c6b7a; font-size: 11px }
.gradient { fill: #a02c2c; font-size: 10px; text-anchor: start; paint-order: stroke; stroke: #fff; stroke-width: 3px }
path { fill: none; stroke: #8899a8; stroke-width: 1.3; marker-end: url(#arrow) }
@media (prefers-color-scheme: dark) {
  svg { background: #14181d } text { fill: #e6edf3 } .shape { fill: #9fb0c0 } .gradient { fill: #ff9d8a; stroke: #14181d }
  .operation rect { fill: #1b2a3a } .parameter rect { fill: #3a2a16 } .result rect { fill: #16301f }
}
"""


@dataclass
class Box:
    """A node of the drawing: an operation, a leaf, or (without a title) a bend of an edge that passes a row."""

    title: str = ""
    shape: str = ""
    kind: str = "operation"
    row: int = 0
    column: float = 0.0
    below: list[Box] = field(default_factory=list)
    above: list[Box] = field(default_factory=list)

    @property
    def x(self) -> float:
        return MARGIN + WIDTH / 2 + self.column * COLUMN

    @property
    def y(self) -> float:
        return MARGIN + HEIGHT / 2 + self.row * ROW


def draw_graph(loss: Tensor, path: str | Path | None = None, params: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = ()) -> str:
    """Draw what ``loss`` was computed from, leaves on top; returns the SVG and writes it to ``path`` if that is given.

    A box is an operation with the shape of its result, or a leaf with its name from ``params`` (``model.named_parameters()``).
    If the loss is a single element, the norm of its gradient with respect to a result stands on the edges that leave it,
    that with respect to a leaf in its box. The graph stays usable, and no ``grad`` is touched. After ``backward`` has freed
    the graph, only the leaves' gradients are left to be shown.

    >>> import minivgg
    >>> w = minivgg.ones(2, requires_grad=True)
    >>> picture = draw_graph((w * 3).sum(), params={"w": w})
    >>> [word in picture for word in ("Mul", "Sum", ">w<", "‖∇‖ 4.24")]
    [True, True, True, True]
    """
    if loss.grad_fn is None:
        raise GraphError("draw_graph", "this tensor was not computed by recorded operations (or under no_grad)", shape=loss.shape)
    nodes = _nodes(loss.grad_fn)
    norms = _gradient_norms(loss, nodes)
    names = {id(tensor): name for name, tensor in (params.items() if isinstance(params, Mapping) else params)}
    boxes, edges = _boxes(loss, nodes, names)
    rows = _rows(boxes)
    chains = []
    for source, nr, target in edges:
        norm = norms.get((id(source), nr)) if isinstance(source, Function) else None
        chains.append((_chain(rows, boxes[id(source)], boxes[id(target)]), norm))
    for key, box in boxes.items():  # a leaf's gradient is one, whatever flows along its edges
        if box.kind == "parameter" and (key, 0) in norms:
            box.shape += f"  ‖∇‖ {norms[key, 0]:.3g}"
    _arrange(rows)
    svg = _svg(rows, chains)
    if path is not None:
        Path(path).write_text(svg, encoding="utf-8")
    return svg


def _nodes(root: Function) -> list[Function]:
    """Every node that the root was computed from, sources first."""
    found, stack = {root}, [root]
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and isinstance(edge[0], Function) and edge[0] not in found:
                found.add(edge[0])
                stack.append(edge[0])
    return sorted(found, key=lambda node: node.sequence)


def _gradient_norms(loss: Tensor, nodes: list[Function]) -> dict[tuple[int, int], float]:
    """‖d(loss)/d(output)‖ for every output of every node and every leaf, by identity and number."""
    if loss.array.size != 1:
        return {}
    norms: dict[tuple[int, int], float] = {}
    leaves = {id(edge[0]): edge[0] for node in nodes for edge in node.edges if edge is not None and isinstance(edge[0], Tensor)}
    if any(node._saved is None for node in nodes):  # freed by backward, which left the leaves' gradients behind
        return {(key, 0): _norm(leaf.grad) for key, leaf in leaves.items() if leaf.grad is not None}
    places: list[Any] = [*nodes, *leaves.values()]
    before = [place.hooks for place in places]
    try:  # the user's hooks rest meanwhile
        for place in places:
            outputs = range(len(getattr(place, "outputs", None) or [place]))
            place.hooks = {nr: {0: _note_norm(norms, (id(place), nr))} for nr in outputs}
        grad(loss, list(leaves.values()), retain_graph=True, allow_unused=True)
    finally:
        for place, hooks in zip(places, before, strict=True):
            place.hooks = hooks
    return norms


def _note_norm(norms: dict[tuple[int, int], float], key: tuple[int, int]) -> Any:
    def note(gradient: Tensor) -> None:
        norms[key] = _norm(gradient)

    return note


def _norm(gradient: Tensor) -> float:
    return math.sqrt(float((gradient.array.astype("float64") ** 2).sum()))


def _boxes(loss: Tensor, nodes: list[Function], names: dict[int, str]) -> tuple[dict[int, Box], list[tuple[Any, int, Function]]]:
    """A box for every node and leaf, by identity, and the edges (source, output number, target)."""
    shapes = {id(edge[0]): edge[2] for node in nodes for edge in node.edges if edge is not None}
    shapes[id(loss.grad_fn)] = loss.shape
    boxes: dict[int, Box] = {}
    edges = []
    for node in nodes:
        boxes[id(node)] = Box(node.name, _text(shapes[id(node)]), "result" if node is loss.grad_fn else "operation")
        for edge in node.edges:
            if edge is not None:
                if id(edge[0]) not in boxes:
                    boxes[id(edge[0])] = Box(names.get(id(edge[0]), "leaf"), _text(edge[2]), "parameter")
                edges.append((edge[0], edge[1], node))
    for source, _, target in reversed(edges):  # right above the first that uses it; targets come before their sources here
        boxes[id(source)].row = min(boxes[id(source)].row, boxes[id(target)].row - 1)
    top = min(box.row for box in boxes.values())
    for box in boxes.values():
        box.row -= top
    return boxes, edges


def _text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) if shape else "a number"


def _rows(boxes: dict[int, Box]) -> list[list[Box]]:
    rows: list[list[Box]] = [[] for _ in range(max(box.row for box in boxes.values()) + 1)]
    for box in boxes.values():
        rows[box.row].append(box)
    return rows


def _chain(rows: list[list[Box]], source: Box, target: Box) -> list[Box]:
    """The boxes along an edge; where it passes a row, a bend is put in."""
    chain = [source]
    for row in range(source.row + 1, target.row):
        bend = Box(row=row)
        rows[row].append(bend)
        chain.append(bend)
    chain.append(target)
    for above, below in itertools.pairwise(chain):
        above.below.append(below)
        below.above.append(above)
    return chain


def _arrange(rows: list[list[Box]]) -> None:
    """Order each row by the mean place of the neighbours, going down and up in turn; then centre it under them."""
    widest = max(map(len, rows))
    for row in rows:
        _spread(row, (widest - len(row)) / 2)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            wish = {id(box): _mean(box.above if down else box.below, box.column) for box in row}
            row.sort(key=lambda box: wish[id(box)])
            middle = sum(wish.values()) / len(wish)
            _spread(row, middle - (len(row) - 1) / 2)
    left = min(box.column for row in rows for box in row)
    for row in rows:
        for box in row:
            box.column -= left


def _spread(row: list[Box], start: float) -> None:
    for i, box in enumerate(row):
        box.column = start + i


def _mean(boxes: list[Box], otherwise: float) -> float:
    return sum(box.column for box in boxes) / len(boxes) if boxes else otherwise


def _svg(rows: list[list[Box]], chains: list[tuple[list[Box], float | None]]) -> str:
    width = max(box.x for row in rows for box in row) + WIDTH / 2 + MARGIN
    height = MARGIN * 2 + HEIGHT + (len(rows) - 1) * ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" style="fill:#8899a8;stroke:none;marker-end:none"/></marker></defs>',
    ]
    for chain, norm in chains:
        points = [(box.x, box.y) for box in chain]
        points[0], points[-1] = (points[0][0], points[0][1] + HEIGHT / 2), (points[-1][0], points[-1][1] - HEIGHT / 2)
        steps = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            middle = (y0 + y1) / 2
            steps.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
        parts.append(f'<path d="{"".join(steps)}"/>')
        if norm is not None:
            (x0, y0), (x1, y1) = points[0], points[1]
            parts.append(f'<text class="gradient" x="{(x0 + x1) / 2 + 5:.1f}" y="{(y0 + y1) / 2 + 3:.1f}">‖∇‖ {norm:.3g}</text>')
    for row in rows:
        for box in row:
            if box.title:
                parts.append(
                    f'<g class="{box.kind}"><rect x="{box.x - WIDTH / 2:.1f}" y="{box.y - HEIGHT / 2:.1f}" width="{WIDTH}" height="{HEIGHT}"/>'
                    f'<text x="{box.x:.1f}" y="{box.y - 3:.1f}">{html.escape(box.title)}</text>'
                    f'<text class="shape" x="{box.x:.1f}" y="{box.y + 13:.1f}">{html.escape(box.shape)}</text></g>'
                )
    return "\n".join([*parts, "</svg>"])
