"""The picture of the graph: what stands in it, and that drawing leaves everything as it was."""

import re
from xml.etree import ElementTree

import numpy
import pytest
import torch

import minivgg
from minivgg.errors import GraphError

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def network():
    rng = numpy.random.default_rng(0)
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((4, 2))
    ours = minivgg.tensor(x, requires_grad=True), minivgg.tensor(w, requires_grad=True)
    theirs = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    return ours, theirs


def test_names_shapes_and_gradient_norms_are_pytorchs():
    (x, w), (tx, tw) = network()
    loss = ((x @ w).relu() ** 2).sum()
    hidden = tx @ tw
    hidden.retain_grad()
    (hidden.relu() ** 2).sum().backward()
    found = texts(minivgg.draw_graph(loss, params={"x<1>": x, "w": w}))
    assert [text for text in found if text in ("MatMul", "ReLU", "Power", "Sum")] == ["MatMul", "ReLU", "Power", "Sum"]
    assert f"3×4  ‖∇‖ {tx.grad.norm():.3g}" in found
    assert f"4×2  ‖∇‖ {tw.grad.norm():.3g}" in found
    assert f"‖∇‖ {hidden.grad.norm():.3g}" in found
    assert "x<1>" in found
    assert found.count("3×2") == 3


def test_drawing_leaves_the_graph_and_the_gradients_alone():
    (x, w), _ = network()
    loss = (x @ w).exp().sum()
    minivgg.draw_graph(loss)
    assert x.grad is None
    assert w.grad is None
    loss.backward()
    before = x.grad.numpy().copy()
    loss = (x @ w).exp().sum()
    minivgg.draw_graph(loss)
    numpy.testing.assert_array_equal(x.grad.numpy(), before)


def test_hooks_and_retained_gradients_rest_while_drawing():
    (x, w), _ = network()
    seen = []
    hidden = x @ w
    hidden.retain_grad()
    for tensor in (x, hidden):
        tensor.register_hook(lambda grad: seen.append(grad.shape))
    loss = hidden.exp().sum()
    minivgg.draw_graph(loss)
    assert (seen, hidden.grad) == ([], None)
    loss.backward()
    assert (seen, hidden.grad.shape) == ([(3, 2), (3, 4)], (3, 2))


def test_a_branch_stands_right_above_where_it_is_used():
    x, w = minivgg.ones(2, 3, requires_grad=True), minivgg.ones(6, requires_grad=True)
    loss = (x.exp().exp().exp() * w.reshape(2, 3)).sum()
    root = ElementTree.fromstring(minivgg.draw_graph(loss, params={"x": x, "w": w}))
    rows = {group[1].text: float(group[0].get("y")) for group in root.iter(f"{SVG}g")}
    assert rows["x"] < rows["w"] < rows["Reshape"] < rows["Mul"] < rows["Sum"]
    assert rows["Reshape"] == rows["Exp"], "the last of three"


def test_after_backward_the_gradients_of_the_leaves_are_left():
    (x, w), (tx, tw) = network()
    loss = (x @ w).exp().sum()
    loss.backward()
    (tx @ tw).exp().sum().backward()
    found = texts(minivgg.draw_graph(loss))
    assert f"3×4  ‖∇‖ {tx.grad.norm():.3g}" in found
    assert not any(text.startswith("‖∇‖") for text in found)


def test_boxes_of_a_wide_and_deep_graph_do_not_overlap():
    leaves = [minivgg.ones(2, requires_grad=True) for _ in range(6)]
    total = leaves[0] * 1
    for leaf in leaves:
        total = (total + leaf).exp().log() * leaf
    root = ElementTree.fromstring(minivgg.draw_graph(total.sum()))
    boxes = [tuple(float(rect.get(name)) for name in ("x", "y", "width", "height")) for rect in root.iter(f"{SVG}rect")]
    assert len(boxes) == 6 + 1 + 6 * 4 + 1
    for i, (x0, y0, w0, h0) in enumerate(boxes):
        for x1, y1, w1, h1 in boxes[:i]:
            assert x0 + w0 <= x1 or x1 + w1 <= x0 or y0 + h0 <= y1 or y1 + h1 <= y0
    _, _, width, height = map(float, root.get("viewBox").split())
    assert all(x >= 0 and y >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)


def test_a_result_of_several_elements_is_drawn_without_gradients():
    (x, w), _ = network()
    assert not any("∇" in text for text in texts(minivgg.draw_graph(x @ w)))


def test_the_picture_is_written(tmp_path):
    (x, w), _ = network()
    svg = minivgg.draw_graph((x @ w).sum(), tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == svg


def test_a_leaf_has_no_graph():
    with pytest.raises(GraphError, match=re.escape("draw_graph: this tensor was not computed by recorded operations (or under no_grad) (shape (2,))")):
        minivgg.draw_graph(minivgg.ones(2, requires_grad=True))
