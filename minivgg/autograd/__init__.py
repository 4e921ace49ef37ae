"""The autograd core: ``Tensor`` (tensor.py), ``Function`` (function.py), the engine (engine.py) and its switch (grad_mode.py)."""

from minivgg.autograd.engine import backward, grad
from minivgg.autograd.function import Function
from minivgg.autograd.grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minivgg.autograd.tensor import Tensor, method

__all__ = ["Function", "Tensor", "backward", "enable_grad", "grad", "is_grad_enabled", "method", "no_grad", "set_grad_enabled"]
