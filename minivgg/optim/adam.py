"""Adam: each element's step is its mean gradient over the root of its mean squared gradient."""

from __future__ import annotations

from typing import Any

from minivgg.backend import Array, namespace
from minivgg.errors import ArgumentError
from minivgg.optim.optimizer import Optimizer, Parameters, blocks, buffers


class Adam(Optimizer):
    """p ← p - lr · m̂ / (√v̂ + eps); Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.

    With g the gradient (-g if ``maximize``) and t = 1, 2, ... the number of the step:

        g = g + weight_decay · p
        m = β1 · m + (1 - β1) · g,    m̂ = m / (1 - β1^t)
        v = β2 · v + (1 - β2) · g²,   v̂ = v / (1 - β2^t)
        p = p - lr · m̂ / (√v̂ + eps)

    ``amsgrad`` uses the largest v so far instead of v (Reddi et al. 2018, arXiv:1904.09237).
    State: ``step`` (t), ``exp_avg`` (m), ``exp_avg_sq`` (v), and ``max_exp_avg_sq``: two or three times the parameters.

    >>> import minivgg
    >>> p = minivgg.tensor([1.0, 1.0], requires_grad=True)
    >>> p.grad = minivgg.tensor([1e-3, 1e3])
    >>> minivgg.optim.Adam([p], lr=0.1).step()
    >>> p
    tensor([0.9000, 0.9000], requires_grad=True)
    """

    decoupled_weight_decay = False
    """Whether weight decay shrinks the parameter itself (AdamW) or joins the gradient."""

    def __init__(
        self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
        amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize})

    def check(self, options: dict[str, Any]) -> None:
        self.check_at_least_0(options, "lr", "eps", "weight_decay")
        betas = options["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ArgumentError(self.name, f"betas must be two numbers in [0, 1), got {betas}")

    def update(self, param: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        xp = namespace(param)
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * options["amsgrad"]
        state["step"] = state.get("step", 0) + 1
        beta1, beta2 = map(float, options["betas"])
        step_size = options["lr"] / (1 - beta1 ** state["step"])
        root_of_correction = (1 - beta2 ** state["step"]) ** 0.5
        for p, g, m, v, *largest in blocks(param, grad, *buffers(state, names, param)):
            if options["maximize"]:
                g = -g
            if self.decoupled_weight_decay:
                p *= 1 - options["lr"] * options["weight_decay"]
            elif options["weight_decay"]:
                g = g + options["weight_decay"] * p
            m += (1 - beta1) * (g - m)
            v *= beta2
            v += (1 - beta2) * g * g
            for w in largest:
                v = xp.maximum(w, v, out=w)
            p -= step_size * m / (xp.sqrt(v) / root_of_correction + options["eps"])
