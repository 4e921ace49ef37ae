"""minivgg: convolutional networks from scratch, to be read, checked and measured.

>>> import minivgg
>>> x = minivgg.tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4.])
"""

from numpy import bool_ as bool
from numpy import float16, float32, float64, int64

from minivgg import autograd, cuda, data, models, nn, ops, optim, training
from minivgg.autograd import Function, Tensor, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minivgg.creation import (
    arange,
    as_tensor,
    empty,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)  # fmt: skip
from minivgg.cuda_graph import graph
from minivgg.explanation import explain
from minivgg.memory import empty_cache
from minivgg.ops.arithmetic import add, div, mul, neg, sub
from minivgg.ops.cast import clone
from minivgg.ops.compare import all, allclose, any, eq, equal, ge, gt, isfinite, isnan, le, lt, ne
from minivgg.ops.conv2d import conv2d
from minivgg.ops.extrema import argmax, argmin, max, maximum, min, minimum
from minivgg.ops.gather import gather
from minivgg.ops.join import cat, chunk, split, stack, unbind
from minivgg.ops.matmul import matmul
from minivgg.ops.pointwise import abs, clamp, exp, log, sqrt
from minivgg.ops.power import pow
from minivgg.ops.reduce import mean, std, sum, var
from minivgg.ops.relu import relu
from minivgg.ops.shape import flatten, permute, reshape, squeeze, t, transpose, unsqueeze
from minivgg.ops.softmax import log_softmax, softmax
from minivgg.ops.where import masked_fill, where
from minivgg.precision import allow_bf16, allow_tf32
from minivgg.random import Generator, default_generator, manual_seed
from minivgg.registry import exact, use_algorithm
from minivgg.threads import get_num_threads, set_num_threads
from minivgg.version import __version__

_AT_FIRST_USE = {"autotune": "minivgg.bench.autotune", "draw_graph": "minivgg.inspect", "summary": "minivgg.inspect"}
"""Names that stand here but whose modules are loaded only when they are asked for."""


def __getattr__(name: str) -> object:
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module 'minivgg' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_AT_FIRST_USE[name]), name)
