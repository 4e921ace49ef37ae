"""SGD: stochastic gradient descent, with momentum if wanted. What the VGG networks were trained with."""

from __future__ import annotations

from typing import Any, NamedTuple

from minivgg.backend import Array
from minivgg.errors import ArgumentError
from minivgg.optim.optimizer import Optimizer, Parameters, buffers
from minivgg.registry import formula, kernel


class Step(NamedTuple):
    """The numbers of one step; ``fresh`` is what the gradient's share in v is: 1 - dampening, but 1 in the first step."""

    shape: tuple[int, ...]
    lr: float
    momentum: float
    fresh: float
    weight_decay: float
    nesterov: bool
    maximize: bool


@formula("sgd")
def _sgd(step: Step, p: Array, g: Array, v: Array | None, new_p: Array, new_v: Array | None) -> None:
    d = -g if step.maximize else g
    if step.weight_decay:
        d = d + step.weight_decay * p
    if v is not None and new_v is not None:
        new_v[...] = step.momentum * v + step.fresh * d
        d = d + step.momentum * new_v if step.nesterov else new_v
    new_p[...] = p - step.lr * d


class SGD(Optimizer):
    """p ← p - lr · v, where v gathers the gradients.

    With g the gradient (-g if ``maximize``), in this order:

        d = g + weight_decay · p
        v = momentum · v + (1 - dampening) · d       (v = d in the first step, and without momentum)
        d = d + momentum · v if nesterov else v
        p = p - lr · d

    The paper's setting for VGG (section 3.1): lr 0.01, momentum 0.9, weight_decay 5e-4.
    ``nesterov``: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    State: ``momentum_buffer`` (v), the size of the parameters.

    >>> import minivgg
    >>> p = minivgg.tensor([1.0], requires_grad=True)
    >>> optimizer = minivgg.optim.SGD([p], lr=0.25, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (p * p / 2).sum().backward()
    ...     optimizer.step()
    ...     print(p.item())
    0.75
    0.4375
    """

    def __init__(
        self, params: Parameters, lr: float = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0, nesterov: bool = False,
        *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize},
        )

    def check(self, options: dict[str, Any]) -> None:
        self.check_at_least_0(options, "lr", "momentum", "weight_decay")
        self.check_flags(options, "nesterov", "maximize")
        self.check_number(options, "dampening")
        if options["nesterov"] and (not options["momentum"] or options["dampening"]):
            raise ArgumentError(self.name, f"nesterov needs momentum and no dampening, got momentum {options['momentum']}, dampening {options['dampening']}")

    def update(self, param: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        fresh = 1 - options["dampening"] if "momentum_buffer" in state else 1.0
        (velocity,) = buffers(state, ["momentum_buffer"], param) if options["momentum"] else (None,)
        step = Step(param.shape, options["lr"], options["momentum"], fresh, options["weight_decay"], options["nesterov"], options["maximize"])
        kernel("sgd", step, param)(step, param, grad, velocity, param, velocity)
