"""The autograd core: ``Tensor`` (tensor.py), ``Function`` (function.py), the engine (engine.py) and its switch (grad_mode.py)."""

from minivgg.anomaly import AnomalyError, detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from minivgg.autograd.engine import backward, grad
from minivgg.autograd.function import Function
from minivgg.autograd.grad_mode import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minivgg.autograd.tensor import Tensor, method

__all__ = [
    "AnomalyError", "Function", "Tensor", "backward", "detect_anomaly", "enable_grad", "grad", "is_anomaly_enabled", "is_grad_enabled",
    "method", "no_grad", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
