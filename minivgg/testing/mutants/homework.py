"""Layers as a course's homework asks for them, right: pairs of plain NumPy functions, a Function and a Module of a user's own.

The mistakes are planted in these, too, and the right ones are among the cases that must not raise an alarm.
"""

from __future__ import annotations

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.nn.module import Module


def affine_forward(x, w, b):
    return x @ w + b


def affine_backward(upstream, x, w, b):
    dx = upstream @ w.T
    dw = x.T @ upstream
    db = upstream.sum(axis=0)
    return dx, dw, db


def relu_forward(x):
    return numpy.maximum(x, 0), x


def relu_backward(upstream, cache):
    return numpy.where(cache > 0, upstream, 0)


def sigmoid_forward(x):
    y = 1 / (1 + numpy.exp(-x))
    return y, y


def sigmoid_backward(upstream, y):
    return upstream * y * (1 - y)


def tanh_backward(upstream, x):
    return upstream * (1 - numpy.tanh(x) ** 2)


def leaky_relu_forward(x, slope=0.1):
    return numpy.where(x > 0, x, slope * x), (x, slope)


def leaky_relu_backward(upstream, cache):
    x, slope = cache
    return upstream * numpy.where(x > 0, 1, slope)


def softplus_forward(x):
    return numpy.log(1 + numpy.exp(x))


def softplus_backward(upstream, x):
    return upstream / (1 + numpy.exp(-x))


def dropout_forward(x, p=0.4):
    mask = numpy.random.rand(*x.shape) >= p
    return x * mask / (1 - p), (mask, p)


def dropout_backward(upstream, cache):
    mask, p = cache
    return upstream * mask / (1 - p)


def batchnorm_forward(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(axis=0)
    spread = numpy.sqrt((centred**2).mean(axis=0) + eps)
    normal = centred / spread
    return gamma * normal + beta, (normal, spread, gamma)


def batchnorm_backward(upstream, cache):
    normal, spread, gamma = cache
    dgamma = (upstream * normal).sum(axis=0)
    dbeta = upstream.sum(axis=0)
    d = upstream * gamma
    dx = (d - d.mean(axis=0) - normal * (d * normal).mean(axis=0)) / spread
    return dx, dgamma, dbeta


def layernorm_forward(x, gamma, beta, eps=1e-5):
    centred = x - x.mean(axis=1, keepdims=True)
    spread = numpy.sqrt((centred**2).mean(axis=1, keepdims=True) + eps)
    normal = centred / spread
    return gamma * normal + beta, (normal, spread, gamma)


def layernorm_backward(upstream, cache):
    normal, spread, gamma = cache
    d = upstream * gamma
    dx = (d - d.mean(axis=1, keepdims=True) - normal * (d * normal).mean(axis=1, keepdims=True)) / spread
    return dx, (upstream * normal).sum(axis=0), upstream.sum(axis=0)


def softmax_loss_forward(scores, target):
    shifted = scores - scores.max(axis=1, keepdims=True)
    p = numpy.exp(shifted) / numpy.exp(shifted).sum(axis=1, keepdims=True)
    rows = numpy.arange(len(scores))
    return -numpy.log(p[rows, target]).mean(), (p, rows, target)


def softmax_loss_backward(upstream, cache):
    p, rows, target = cache
    dscores = p.copy()
    dscores[rows, target] -= 1
    return upstream * dscores / len(rows), None


def hinge_loss_forward(scores, target):
    rows = numpy.arange(len(scores))
    margins = numpy.maximum(0, scores - scores[rows, target][:, None] + 1)
    margins[rows, target] = 0
    return margins.sum() / len(rows), (margins, rows, target)


def hinge_loss_backward(upstream, cache):
    margins, rows, target = cache
    d = (margins > 0).astype(float)
    d[rows, target] = -d.sum(axis=1)
    return upstream * d / len(rows), None


def mse_backward(upstream, x, target):
    d = 2 * (x - target) / x.size
    return upstream * d, -upstream * d


def mse_forward(x, target):
    return ((x - target) ** 2).mean()


def nll_forward(log_p, target):
    rows = numpy.arange(len(log_p))
    return -log_p[rows, target].mean(), (log_p.shape, rows, target)


def nll_backward(upstream, cache):
    shape, rows, target = cache
    d = numpy.zeros(shape)
    d[rows, target] = -1 / len(rows)
    return upstream * d, None


def embedding_forward(table, words):
    return table[words], (table.shape, words)


def embedding_backward(upstream, cache):
    shape, words = cache
    d = numpy.zeros(shape)
    numpy.add.at(d, words, upstream)
    return d, None


def conv_forward(x, w, b, stride=1, pad=0):
    x_padded = numpy.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    n, c, height, width = x_padded.shape
    k, _, r, s = w.shape
    out = numpy.zeros((n, k, (height - r) // stride + 1, (width - s) // stride + 1))
    for p in range(out.shape[2]):
        for q in range(out.shape[3]):
            window = x_padded[:, :, p * stride : p * stride + r, q * stride : q * stride + s]
            out[:, :, p, q] = numpy.tensordot(window, w, ([1, 2, 3], [1, 2, 3])) + b
    return out, (x_padded, w, stride, pad)


def conv_backward(upstream, cache):
    x_padded, w, stride, pad = cache
    k, c, r, s = w.shape
    dx_padded = numpy.zeros(x_padded.shape)
    dw = numpy.zeros(w.shape)
    for p in range(upstream.shape[2]):
        for q in range(upstream.shape[3]):
            rows, columns = slice(p * stride, p * stride + r), slice(q * stride, q * stride + s)
            dx_padded[:, :, rows, columns] += numpy.tensordot(upstream[:, :, p, q], w, 1)
            dw += numpy.tensordot(upstream[:, :, p, q].T, x_padded[:, :, rows, columns], 1)
    height, width = x_padded.shape[2:]
    return dx_padded[:, :, pad : height - pad, pad : width - pad], dw, upstream.sum(axis=(0, 2, 3))


def maxpool_forward(x, size=2, stride=2):
    n, c, height, width = x.shape
    out = numpy.zeros((n, c, (height - size) // stride + 1, (width - size) // stride + 1))
    for p in range(out.shape[2]):
        for q in range(out.shape[3]):
            out[:, :, p, q] = x[:, :, p * stride : p * stride + size, q * stride : q * stride + size].max(axis=(2, 3))
    return out, (x, size, stride)


def maxpool_backward(upstream, cache):
    x, size, stride = cache
    dx = numpy.zeros(x.shape)
    for n, c, p, q in numpy.ndindex(*upstream.shape):
        window = x[n, c, p * stride : p * stride + size, q * stride : q * stride + size]
        r, s = numpy.unravel_index(window.argmax(), window.shape)
        dx[n, c, p * stride + r, q * stride + s] += upstream[n, c, p, q]
    return dx


def avgpool_forward(x, size=2, stride=2):
    n, c, height, width = x.shape
    out = numpy.zeros((n, c, (height - size) // stride + 1, (width - size) // stride + 1))
    for p in range(out.shape[2]):
        for q in range(out.shape[3]):
            out[:, :, p, q] = x[:, :, p * stride : p * stride + size, q * stride : q * stride + size].mean(axis=(2, 3))
    return out, (x, size, stride)


def avgpool_backward(upstream, cache):
    x, size, stride = cache
    dx = numpy.zeros(x.shape)
    for p in range(upstream.shape[2]):
        for q in range(upstream.shape[3]):
            dx[:, :, p * stride : p * stride + size, q * stride : q * stride + size] += upstream[:, :, p, q][:, :, None, None] / size**2
    return dx


def rnn_step_forward(x, h, wx, wh, b):
    new = numpy.tanh(x @ wx + h @ wh + b)
    return new, (x, h, wx, wh, new)


def rnn_step_backward(upstream, cache):
    x, h, wx, wh, new = cache
    d = upstream * (1 - new**2)
    return d @ wx.T, d @ wh.T, x.T @ d, h.T @ d, d.sum(axis=0)


def attention_forward(q, k, v):
    scale = 1 / numpy.sqrt(q.shape[1])
    scores = q @ k.T * scale
    p = numpy.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p @ v, (q, k, v, p, scale)


def attention_backward(upstream, cache):
    q, k, v, p, scale = cache
    dv = p.T @ upstream
    dp = upstream @ v.T
    dscores = p * (dp - (dp * p).sum(axis=1, keepdims=True))
    dq = dscores @ k * scale
    dk = dscores.T @ q * scale
    return dq, dk, dv


PAIRS = {
    "affine": (affine_forward, affine_backward),
    "relu": (relu_forward, relu_backward),
    "sigmoid": (sigmoid_forward, sigmoid_backward),
    "tanh": (numpy.tanh, tanh_backward),
    "leaky relu": (leaky_relu_forward, leaky_relu_backward),
    "softplus": (softplus_forward, softplus_backward),
    "dropout": (dropout_forward, dropout_backward),
    "batchnorm": (batchnorm_forward, batchnorm_backward),
    "layernorm": (layernorm_forward, layernorm_backward),
    "softmax loss": (softmax_loss_forward, softmax_loss_backward),
    "hinge loss": (hinge_loss_forward, hinge_loss_backward),
    "mse": (mse_forward, mse_backward),
    "nll": (nll_forward, nll_backward),
    "embedding": (embedding_forward, embedding_backward),
    "conv": (conv_forward, conv_backward),
    "maxpool": (maxpool_forward, maxpool_backward),
    "avgpool": (avgpool_forward, avgpool_backward),
    "rnn step": (rnn_step_forward, rnn_step_backward),
    "attention": (attention_forward, attention_backward),
}
"""(forward, backward) by name."""


class Swish(Function):
    """x · sigmoid(x), with a derivative written by hand."""

    def forward(self, x):
        self.save_for_backward(x)
        return x / (1 + numpy.exp(-x))

    def backward(self, grad):
        (x,) = self.saved_tensors
        s = 1 / (1 + (-x).exp())
        return grad * (s + x * s * (1 - s))


class Scale(Function):
    """x · w, channel by channel: both derivatives by hand."""

    def forward(self, x, w):
        self.save_for_backward(x, w)
        return x * w.reshape(1, -1, 1, 1)

    def backward(self, grad):
        x, w = self.saved_tensors
        return grad * w.reshape(1, -1, 1, 1), (grad * x).sum((0, 2, 3))


class Layer(Module):
    """A module around ``Scale``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        from minivgg.nn.parameter import Parameter

        self.weight = Parameter(Tensor(numpy.linspace(0.5, 1.5, channels)))

    def forward(self, input):
        return Scale.apply(input, self.weight)
