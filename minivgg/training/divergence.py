"""What to say when a loss or a gradient is no longer finite: the step is taken again, under a watch that names the layer.

While numbers are finite, this costs one pass over the gradients and a note of the random state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from minivgg.autograd import AnomalyError, Tensor, detect_anomaly
from minivgg.backend import FLOATING, Array, namespace
from minivgg.errors import OperationError
from minivgg.nn.module import Module
from minivgg.optim import Optimizer
from minivgg.random import default_generator


class DivergedError(OperationError, ArithmeticError):
    """The loss or a gradient became inf or nan, from where no further step leads back."""


def is_finite(array: Array) -> bool:
    """Whether all elements are finite. The sum of squares answers in one pass, unless large numbers overflow in it."""
    flat, xp = array.ravel(order="K"), namespace(array)
    with numpy.errstate(all="ignore"):
        return bool(xp.isfinite(xp.dot(flat, flat))) or bool(xp.isfinite(array).all())


def wrong_gradient(optimizer: Optimizer, model: Module) -> str | None:
    """The parameter whose gradient is not finite, with what it holds; None if all are."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and not is_finite(parameter.grad.array):
                name = next((name for name, other in model.named_parameters() if other is parameter), "a parameter that is not the model's")
                return f"the gradient of {name} holds {_kind(parameter.grad.array)}"
    return None


def origin(model: Module, images: Any, labels: Any, loss: Callable[[Any, Any], Tensor], random_state: dict[str, Any]) -> str:
    """Take the step again from the same random state, and say where the first number came from that is not finite."""
    for name, tensor in (("the images", images), ("the labels", labels), *((f"parameter {name}", tensor) for name, tensor in model.named_parameters())):
        if isinstance(tensor, Tensor) and tensor.dtype in FLOATING and not is_finite(tensor.array):
            return f"{name} held {_kind(tensor.array)} before this step"
    state = default_generator.get_state()
    default_generator.set_state(random_state)
    model.zero_grad()
    try:
        with detect_anomaly(check_finite=True):
            loss(model(images), labels).backward()
    except AnomalyError as found:
        return f"it began at {found}"
    finally:
        default_generator.set_state(state)
    return "taken again, the step gave finite numbers: something in it is random, and not drawn from minivgg's generators"


def _kind(array: Array) -> str:
    return "nan" if bool(namespace(array).isnan(array).any()) else "inf"
