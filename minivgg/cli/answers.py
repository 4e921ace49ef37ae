"""What a trained network says, and why: probabilities, what its layers make of an image, and which pixels matter."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.autograd import Tensor, no_grad
from minivgg.inspect.execution import evaluation
from minivgg.nn import Module, ReLU
from minivgg.nn.functional import softmax


def probabilities(model: Module, images: numpy.ndarray, batch: int = 256) -> numpy.ndarray:
    """The class probabilities of images (N, C, H, W): (N, classes)."""
    place = next(model.parameters()).device
    with evaluation(model), no_grad():
        parts = [softmax(model(Tensor(images[start : start + batch]).to(device=place)), dim=1).cpu().numpy() for start in range(0, len(images), batch)]
    return numpy.concatenate(parts)


def activations(model: Any, image: numpy.ndarray) -> list[numpy.ndarray]:
    """The maps (C, P, Q) behind each ReLU of ``model.features``, for one image (C, H, W)."""
    seen: list[numpy.ndarray] = []
    relus = [layer for layer in model.features if isinstance(layer, ReLU)]
    hooks = [layer.register_forward_hook(lambda layer, args, output: seen.append(output.detach().numpy()[0].copy())) for layer in relus]
    try:
        with evaluation(model), no_grad():
            model(Tensor(image[None]))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def pixel_gradient(model: Module, image: numpy.ndarray, label: int) -> numpy.ndarray:
    """d(score of the class)/d(pixel), (C, H, W): what more ink at each pixel would do to the answer."""
    pixels = Tensor(image[None].copy(), requires_grad=True)
    with evaluation(model):
        model(pixels)[0, label].backward(inputs=[pixels])
    assert pixels.grad is not None
    return pixels.grad.numpy()[0]
