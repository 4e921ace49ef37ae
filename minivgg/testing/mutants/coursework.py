"""More layers as students write them, right: pairs of plain NumPy functions in which ``students.py`` plants mistakes."""

from __future__ import annotations

import numpy


def dilated_forward(x, w, b, pad=1, dilation=2, groups=1):
    padded = numpy.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    k, c, size, _ = w.shape
    p, q = (extent - dilation * (size - 1) for extent in padded.shape[2:])
    out = numpy.zeros((len(x), k, p, q)) + b[:, None, None]
    for g in range(groups):
        maps, filters = padded[:, g * c : (g + 1) * c], slice(g * k // groups, (g + 1) * k // groups)
        for r in range(size):
            for s in range(size):
                seen = maps[:, :, r * dilation : r * dilation + p, s * dilation : s * dilation + q]
                out[:, filters] += numpy.einsum("kc,ncpq->nkpq", w[filters, :, r, s], seen)
    return out, (padded, w, pad, dilation, groups)


def dilated_backward(upstream, cache):
    padded, w, pad, dilation, groups = cache
    k, c, size, _ = w.shape
    p, q = upstream.shape[2:]
    dpadded, dw = numpy.zeros(padded.shape), numpy.zeros(w.shape)
    for g in range(groups):
        maps, filters = slice(g * c, (g + 1) * c), slice(g * k // groups, (g + 1) * k // groups)
        for r in range(size):
            for s in range(size):
                rows, columns = slice(r * dilation, r * dilation + p), slice(s * dilation, s * dilation + q)
                dpadded[:, maps, rows, columns] += numpy.einsum("kc,nkpq->ncpq", w[filters, :, r, s], upstream[:, filters])
                dw[filters, :, r, s] = numpy.einsum("nkpq,ncpq->kc", upstream[:, filters], padded[:, maps, rows, columns])
    height, width = padded.shape[2:]
    return dpadded[:, :, pad : height - pad, pad : width - pad], dw, upstream.sum(axis=(0, 2, 3))


def padded_average_forward(x, size=3, pad=1):
    """The average of the cells that there are: the padding does not count."""
    height, width = x.shape[2:]
    out = numpy.zeros(x.shape)
    for p in range(height):
        for q in range(width):
            out[:, :, p, q] = x[:, :, max(p - pad, 0) : p - pad + size, max(q - pad, 0) : q - pad + size].mean(axis=(2, 3))
    return out, (x.shape, size, pad)


def padded_average_backward(upstream, cache):
    shape, size, pad = cache
    dx = numpy.zeros(shape)
    for p in range(shape[2]):
        for q in range(shape[3]):
            window = dx[:, :, max(p - pad, 0) : p - pad + size, max(q - pad, 0) : q - pad + size]
            count = window.shape[2] * window.shape[3]
            window += upstream[:, :, p, q][:, :, None, None] / count
    return dx


def spatial_norm_forward(x, gamma, beta, eps=1e-5):
    axes = (0, 2, 3)
    centred = x - x.mean(axes, keepdims=True)
    spread = numpy.sqrt((centred**2).mean(axes, keepdims=True) + eps)
    normal = centred / spread
    return gamma[:, None, None] * normal + beta[:, None, None], (normal, spread, gamma, centred)


def spatial_norm_backward(upstream, cache):
    normal, spread, gamma, centred = cache
    axes, count = (0, 2, 3), normal.size // normal.shape[1]
    d = upstream * gamma[:, None, None]
    through_mean = d.sum(axes, keepdims=True) / count
    through_variance = normal * (d * normal).sum(axes, keepdims=True) / count
    dx = (d - through_mean - through_variance) / spread
    return dx, (upstream * normal).sum(axes), upstream.sum(axes)


def softmax_forward(x):
    p = numpy.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p, p


def softmax_backward(upstream, p):
    return p * (upstream - (upstream * p).sum(axis=1, keepdims=True))


def log_softmax_forward(x):
    shifted = x - x.max(axis=1, keepdims=True)
    out = shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))
    return out, numpy.exp(out)


def log_softmax_backward(upstream, p):
    return upstream - p * upstream.sum(axis=1, keepdims=True)


def logistic_loss_forward(z, target):
    return (numpy.logaddexp(0, z) - target * z).mean(), (z, target)


def logistic_loss_backward(upstream, cache):
    z, target = cache
    dz = (1 / (1 + numpy.exp(-z)) - target) / z.size
    return upstream * dz, -upstream * z / z.size


def weighted_loss_forward(scores, target, weight):
    shifted = scores - scores.max(axis=1, keepdims=True)
    p = numpy.exp(shifted) / numpy.exp(shifted).sum(axis=1, keepdims=True)
    rows = numpy.arange(len(scores))
    return -(weight[target] * numpy.log(p[rows, target])).mean(), (p, rows, target, weight)


def weighted_loss_backward(upstream, cache):
    p, rows, target, weight = cache
    d = p.copy()
    d[rows, target] -= 1
    dweight = numpy.zeros(weight.shape)
    numpy.add.at(dweight, target, -numpy.log(p[rows, target]) / len(rows))
    return upstream * d * weight[target][:, None] / len(rows), None, upstream * dweight


def huber_forward(x):
    return numpy.where(numpy.abs(x) < 1, x**2 / 2, numpy.abs(x) - 0.5), x


def huber_backward(upstream, x):
    return upstream * numpy.where(numpy.abs(x) < 1, x, numpy.sign(x))


def unit_rows_forward(x):
    length = numpy.sqrt((x**2).sum(axis=1, keepdims=True))
    return x / length, (x / length, length)


def unit_rows_backward(upstream, cache):
    y, length = cache
    return (upstream - y * (upstream * y).sum(axis=1, keepdims=True)) / length


def two_layers_forward(x, v, w):
    hidden = numpy.maximum(x @ v, 0)
    return hidden @ w, (x, v, w, hidden)


def two_layers_backward(upstream, cache):
    x, v, w, hidden = cache
    dhidden = upstream @ w.T
    dhidden = dhidden * (hidden > 0)
    return dhidden @ v.T, x.T @ dhidden, hidden.T @ upstream


def prelu_forward(x, slope):
    return numpy.where(x > 0, x, slope[:, None, None] * x), (x, slope)


def prelu_backward(upstream, cache):
    x, slope = cache
    below = upstream * numpy.minimum(x, 0)
    return upstream * numpy.where(x > 0, 1, slope[:, None, None]), below.sum(axis=(0, 2, 3))


def upsample_forward(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


def upsample_backward(upstream, x):
    n, c, h, w = x.shape
    return upstream.reshape(n, c, h, 2, w, 2).sum(axis=(3, 5))


def global_average_forward(x):
    return x.mean(axis=(2, 3))


def global_average_backward(upstream, x):
    height, width = x.shape[2:]
    return numpy.broadcast_to(upstream[:, :, None, None], x.shape) / (height * width)


def moving_average_forward(old, x, momentum=0.9):
    return momentum * old + (1 - momentum) * x.mean(axis=0), (x.shape, momentum)


def moving_average_backward(upstream, cache):
    shape, momentum = cache
    dx = numpy.broadcast_to(upstream, shape) / shape[0]
    return momentum * upstream, (1 - momentum) * dx


def causal_forward(x, w):
    out = numpy.zeros(x.shape)
    for lag in range(len(w)):
        out[:, lag:] += w[lag] * x[:, : x.shape[1] - lag]
    return out, (x, w)


def causal_backward(upstream, cache):
    x, w = cache
    dx, dw = numpy.zeros(x.shape), numpy.zeros(w.shape)
    for lag in range(len(w)):
        dx[:, : x.shape[1] - lag] += w[lag] * upstream[:, lag:]
        dw[lag] = (upstream[:, lag:] * x[:, : x.shape[1] - lag]).sum()
    return dx, dw


def channel_dropout_forward(x, p=0.25):
    keep = numpy.random.rand(*x.shape[:2], 1, 1) >= p
    return x * keep / (1 - p), (keep, p)


def channel_dropout_backward(upstream, cache):
    keep, p = cache
    return upstream * keep / (1 - p)


def concatenate_forward(a, b):
    return numpy.concatenate([a, b], axis=1)


def concatenate_backward(upstream, a, b):
    left, right = upstream[:, : a.shape[1]], upstream[:, a.shape[1] :]
    return left, right


def cumsum_forward(x):
    return x.cumsum(axis=1)


def cumsum_backward(upstream, x):
    return upstream[:, ::-1].cumsum(axis=1)[:, ::-1]


def residual_forward(x, w):
    return numpy.maximum(x @ w, 0) + x, (x, w)


def residual_backward(upstream, cache):
    x, w = cache
    d = upstream * (x @ w > 0)
    return d @ w.T + upstream, x.T @ d


PAIRS = {
    name: (globals()[f"{name}_forward"], globals()[f"{name}_backward"])
    for name in (
        "dilated", "padded_average", "spatial_norm", "softmax", "log_softmax", "logistic_loss", "weighted_loss", "huber", "unit_rows", "two_layers",
        "prelu", "upsample", "global_average", "moving_average", "causal", "channel_dropout", "concatenate", "cumsum", "residual",
    )
}  # fmt: skip
"""(forward, backward) by name."""
