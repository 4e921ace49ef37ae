"""AdamW: Adam whose weight decay does not pass through the gradient's scaling."""

from __future__ import annotations

from minivgg.optim.adam import Adam
from minivgg.optim.optimizer import Parameters


class AdamW(Adam):
    """p ← (1 - lr · weight_decay) · p, then Adam's step; Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.

    In Adam the decay is divided by √v̂ like the rest of the gradient, so parameters with large gradients decay less;
    here all decay alike. Everything else, and the state, is Adam's.

    >>> import minivgg
    >>> p = minivgg.tensor([1.0], requires_grad=True)
    >>> p.grad = minivgg.zeros(1)
    >>> minivgg.optim.AdamW([p], lr=0.5, weight_decay=0.5).step()
    >>> p.item()
    0.75
    """

    decoupled_weight_decay = True

    def __init__(
        self, params: Parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2,
        amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
