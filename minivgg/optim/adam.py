"""Adam: each element's step is its mean gradient over the root of its mean squared gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

from minivgg.backend import Array, namespace
from minivgg.errors import ArgumentError
from minivgg.ops.arguments import is_number
from minivgg.optim.optimizer import Optimizer, Parameters, buffers
from minivgg.registry import formula, kernel


class Step(NamedTuple):
    """The numbers of one step, the ``number``-th; ``decoupled`` as in AdamW."""

    shape: tuple[int, ...]
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    number: int
    decoupled: bool
    maximize: bool


@formula("adam")
def _adam(step: Step, p: Array, g: Array, m: Array, v: Array, w: Array | None, new_p: Array, new_m: Array, new_v: Array, new_w: Array | None) -> None:
    xp = namespace(p)
    if step.maximize:
        g = -g
    if step.decoupled:
        p = (1 - step.lr * step.weight_decay) * p
    elif step.weight_decay:
        g = g + step.weight_decay * p
    new_m[...] = m + (1 - step.beta1) * (g - m)
    new_v[...] = v = step.beta2 * v + (1 - step.beta2) * g * g
    if w is not None and new_w is not None:
        v = xp.maximum(w, v, out=new_w)
    step_size, root_of_correction = step.lr / (1 - step.beta1**step.number), (1 - step.beta2**step.number) ** 0.5
    new_p[...] = p - step_size * new_m / (xp.sqrt(v) / root_of_correction + step.eps)


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
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize})

    def check(self, options: dict[str, Any]) -> None:
        self.check_at_least_0(options, "lr", "eps", "weight_decay")
        self.check_flags(options, "amsgrad", "maximize")
        betas = options["betas"]
        if not isinstance(betas, list | tuple) or len(betas) != 2 or not all(is_number(beta) and 0 <= beta < 1 for beta in betas):
            raise ArgumentError(self.name, f"betas must be two numbers in [0, 1), got {betas!r}")
        options["betas"] = tuple(betas)

    def update(self, param: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * options["amsgrad"]
        state["step"] = state.get("step", 0) + 1
        beta1, beta2 = map(float, options["betas"])
        m, v, *largest = buffers(state, names, param)
        w = largest[0] if largest else None
        step = Step(
            param.shape, options["lr"], beta1, beta2, options["eps"], options["weight_decay"], state["step"], self.decoupled_weight_decay, options["maximize"]
        )  # fmt: skip
        kernel("adam", step, param)(step, param, grad, m, v, w, param, m, v, w)
