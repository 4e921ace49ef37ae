"""Mistakes in the forward pass, and in what passes from it to backward: inputs changed, randomness, rounding, state in the wrong place."""

from __future__ import annotations

from minivgg.nn import functional as F
from minivgg.ops import pointwise, reduce
from minivgg.testing.mutants import homework
from minivgg.testing.mutants.mechanism import Edit, Mutant, call, mutant, normal, positive

OPS = "minivgg.ops."
HOMEWORK = "minivgg.testing.mutants.homework:"

MUTANTS: list[Mutant] = [
    mutant(
        "the output is written over the input", "relu", OPS + "relu:ReLU.forward",
        "out = x if inplace else empty_like(x)", "out = x",
        lambda: call(F.relu, normal(3, 4)), "input modified",
    ),
    mutant(
        "the maximum is subtracted in place", "softmax", OPS + "softmax:_shifted",
        "return x - x.max(axis=axes, keepdims=True)", "x -= x.max(axis=axes, keepdims=True); return x",
        lambda: call(F.softmax, normal(3, 5), 1), "input modified",
    ),
    mutant(
        "the upstream gradient is masked in place", "relu", HOMEWORK + "relu_backward",
        "return numpy.where(cache > 0, upstream, 0)", "upstream[cache <= 0] = 0; return upstream",
        lambda: call(homework.PAIRS["relu"], normal(3, 4)), "input modified",
    ),
    mutant(
        "backward overwrites the saved input", "relu", HOMEWORK + "relu_backward",
        "return numpy.where(cache > 0, upstream, 0)", "cache[cache <= 0] = 0; return numpy.where(cache > 0, upstream, 0)",
        lambda: call(homework.PAIRS["relu"], normal(3, 4)), "input modified",
    ),
    mutant(
        "the mask comes from a generator that nobody seeds", "dropout", OPS + "dropout:_dropout",
        "dropout_mask(spec.seed, spec.shape, spec.p)", "numpy.random.default_rng().random(spec.shape) >= spec.p",
        lambda: call(F.dropout, normal(4, 6), 0.5, seed=5), "forward not deterministic",
    ),
    mutant(
        "the layer counts its calls, and fades in", "scale layer", HOMEWORK + "Layer.forward",
        "return Scale.apply(input, self.weight)", "self.calls = getattr(self, 'calls', 0) + 1; return Scale.apply(input, self.weight) * (1 - 0.5**self.calls)",
        lambda: call(homework.Layer(3), normal(2, 3, 2, 2)), "forward not deterministic",
    ),
    mutant(
        "backward divides by memory that it counts up", "swish", HOMEWORK + "Swish.backward",
        "return grad *", "type(self).calls = getattr(type(self), 'calls', 0) + 1; return grad / type(self).calls *",
        lambda: call(homework.Swish, normal(2, 4)), "backward not deterministic",
    ),
    mutant(
        "the output is kept on the class, where the next call overwrites it", "exp", OPS + "pointwise:Exp.forward",
        "self.save_for_backward(out)", "type(self).out = Tensor(out)",
        lambda: call(pointwise.exp, normal(2, 3)), "state shared between calls",
        Edit(OPS + "pointwise:Exp.backward", "(out,) = self.saved_tensors", "out = type(self).out"),
    ),
    mutant(
        "the input is kept in a variable of the module", "sigmoid", HOMEWORK + "sigmoid_forward",
        "return y, y", "globals()['_kept'] = y; return y, y",
        lambda: call(homework.PAIRS["sigmoid"], normal(2, 4)), "state shared between calls",
        Edit(HOMEWORK + "sigmoid_backward", "return upstream * y * (1 - y)", "return upstream * _kept * (1 - _kept)"),
    ),
    mutant(
        "the exponential is computed in float32", "exp", OPS + "pointwise:Exp.forward",
        "namespace(x).exp(x)", "namespace(x).exp(x.astype('float32')).astype(x.dtype)",
        lambda: call(pointwise.exp, normal(2, 3)), "float32 too coarse",
    ),
    mutant(
        "convolution rounds its input to float32", "conv2d", "minivgg.kernels.conv2d.reference:output",
        'y[:, k, p, q] += x[h, w, :, c] @ weight[r, s, k].T', 'y[:, k, p, q] += x[h, w, :, c].astype("float32") @ weight[r, s, k].T.astype("float32")',
        lambda: call(F.conv2d, normal(1, 2, 4, 4), normal(2, 2, 3, 3), algorithm="reference"), "float32 too coarse",
        Edit("minivgg.kernels.conv2d.reference:output", "out[...] = y", 'out[...] = y.astype("float32")'),
    ),
    mutant(
        "forward forgets the scale 1 / (1 - p)", "dropout", OPS + "dropout:_dropout",
        "_dropout_grad(spec, x, keep, out)", "namespace(x).multiply(x, keep, out=out)",
        lambda: call(F.dropout, normal(4, 6), 0.25, seed=5), "missing scale",
    ),
    mutant(
        "forward divides the variance by m - 1, backward by m", "batch_norm", OPS + "batch_norm:_batch_norm",
        "variance[...] = (out * out).mean(axes, dtype=\"float64\")", "variance[...] = (out * out).sum(axes) / (x.size // x.shape[1] - 1)",
        lambda: call(F.batch_norm, normal(6, 3), None, None, positive(3), normal(3), training=True), "missing term",
    ),
    mutant(
        "forward adds the bias twice, backward knows of one", "affine", HOMEWORK + "affine_forward",
        "+ b", "+ b + b",
        lambda: call(homework.PAIRS["affine"], normal(3, 4), normal(4, 2), normal(2)), "missing scale",
    ),
    mutant(
        "forward adds an epsilon that backward does not know of", "log", OPS + "pointwise:Log.forward",
        "namespace(x).log(x)", "namespace(x).log(x + 0.1)",
        lambda: call(pointwise.log, positive(2, 3)), "missing factor",
    ),
    mutant(
        "one element of the mean is left out", "sum", OPS + "reduce:Sum.forward",
        "return x.sum(axis=axes, keepdims=keepdim)", "return x[1:].sum(axis=axes, keepdims=keepdim)",
        lambda: call(reduce.sum, normal(4, 3), 0), "unfounded gradient",
    ),
]  # fmt: skip
