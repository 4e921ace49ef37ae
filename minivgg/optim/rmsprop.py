"""RMSprop: the gradient over the root of its mean square."""

from __future__ import annotations

from typing import Any, NamedTuple

from minivgg.backend import Array, namespace
from minivgg.optim.optimizer import Optimizer, Parameters, buffers
from minivgg.registry import formula, kernel


class Step(NamedTuple):
    """The numbers of one step."""

    shape: tuple[int, ...]
    lr: float
    alpha: float
    eps: float
    weight_decay: float
    momentum: float
    maximize: bool


@formula("rmsprop")
def _rmsprop(
    step: Step, p: Array, g: Array, v: Array, a: Array | None, b: Array | None, new_p: Array, new_v: Array, new_a: Array | None, new_b: Array | None
) -> None:  # fmt: skip
    xp = namespace(p)
    if step.maximize:
        g = -g
    if step.weight_decay:
        g = g + step.weight_decay * p
    new_v[...] = v = step.alpha * v + (1 - step.alpha) * g * g
    if a is not None and new_a is not None:
        new_a[...] = a + (1 - step.alpha) * (g - a)
        v = xp.maximum(v - new_a * new_a, 0)  # rounding may have taken it below
    g = g / (xp.sqrt(v) + step.eps)
    if b is not None and new_b is not None:
        new_b[...] = g = step.momentum * b + g
    new_p[...] = p - step.lr * g


class RMSprop(Optimizer):
    """p ← p - lr · g / (√v + eps); Tieleman and Hinton 2012, lecture 6.5.

    With g the gradient (-g if ``maximize``):

        g = g + weight_decay · p
        v = alpha · v + (1 - alpha) · g²
        a = alpha · a + (1 - alpha) · g, and v - a² in place of v below, if centered
        b = momentum · b + g / (√v + eps)            (without momentum: b = g / (√v + eps))
        p = p - lr · b

    ``centered`` divides by an estimate of the gradient's standard deviation (Graves 2013, arXiv:1308.0850).
    State: ``square_avg`` (v), ``grad_avg`` (a) if centered, ``momentum_buffer`` (b) with momentum.

    >>> import minivgg
    >>> p = minivgg.tensor([1.0, 1.0], requires_grad=True)
    >>> p.grad = minivgg.tensor([1e-3, 1e3])
    >>> minivgg.optim.RMSprop([p], lr=0.01, alpha=0.75).step()
    >>> p
    tensor([0.9800, 0.9800], requires_grad=True)
    """

    def __init__(
        self, params: Parameters, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0, momentum: float = 0,
        centered: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum, "centered": centered, "maximize": maximize},
        )

    def check(self, options: dict[str, Any]) -> None:
        self.check_at_least_0(options, "lr", "alpha", "eps", "weight_decay", "momentum")
        self.check_flags(options, "centered", "maximize")

    def update(self, param: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        (v,) = buffers(state, ["square_avg"], param)
        (a,) = buffers(state, ["grad_avg"], param) if options["centered"] else (None,)
        (b,) = buffers(state, ["momentum_buffer"], param) if options["momentum"] else (None,)
        step = Step(param.shape, options["lr"], options["alpha"], options["eps"], options["weight_decay"], options["momentum"], options["maximize"])
        kernel("rmsprop", step, param)(step, param, grad, v, a, b, param, v, a, b)
