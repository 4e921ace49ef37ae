"""RMSprop: the gradient over the root of its mean square."""

from __future__ import annotations

from typing import Any

from minivgg.backend import Array, namespace
from minivgg.optim.optimizer import Optimizer, Parameters, blocks, buffers


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

    def update(self, param: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        xp = namespace(param)
        alpha, centered, momentum = options["alpha"], options["centered"], options["momentum"]
        names = ["square_avg"] + ["grad_avg"] * centered + ["momentum_buffer"] * bool(momentum)
        for p, g, v, *others in blocks(param, grad, *buffers(state, names, param)):
            if options["maximize"]:
                g = -g
            if options["weight_decay"]:
                g = g + options["weight_decay"] * p
            v *= alpha
            v += (1 - alpha) * g * g
            if centered:
                a = others[0]
                a += (1 - alpha) * (g - a)
                v = xp.maximum(v - a * a, 0)  # rounding may have taken it below
            g = g / (xp.sqrt(v) + options["eps"])
            if momentum:
                b = others[-1]
                b *= momentum
                b += g
                g = b
            p -= options["lr"] * g
