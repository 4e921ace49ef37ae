"""Mistakes in normalisation, dropout and softmax: terms that flow back through a mean, a variance, a sum; masks and their scale."""

from __future__ import annotations

from minivgg.nn import functional as F
from minivgg.testing.mutants import homework
from minivgg.testing.mutants.mechanism import Call, Mutant, call, mutant, normal, positive

BATCH = "minivgg.ops.batch_norm:"
LOCAL = "minivgg.ops.local_response_norm:"
DROPOUT = "minivgg.ops.dropout:"
SOFTMAX = "minivgg.ops.softmax:"
HOMEWORK = "minivgg.testing.mutants.homework:"


def _batch() -> Call:
    return call(F.batch_norm, normal(4, 3, 3, 3), None, None, positive(3), normal(3), training=True)


def _local() -> Call:
    return call(F.local_response_norm, normal(2, 5, 2, 2), 3, alpha=0.5, beta=0.75, k=2.0)


def _dropout() -> Call:
    return call(F.dropout, normal(4, 6), 0.25, seed=5)


MUTANTS: list[Mutant] = [
    mutant(
        "the mean is taken for a constant", "batch_norm", BATCH + "_batch_norm_grad",
        " - (db / count).reshape(numbers)", "",
        _batch, "missing term",
    ),
    mutant(
        "the variance is taken for a constant", "batch_norm", BATCH + "_batch_norm_grad",
        " - y * (dw / count).reshape(numbers)", "",
        _batch, "missing term",
    ),
    mutant(
        "mean and variance are taken for constants", "batch_norm", BATCH + "_batch_norm_grad",
        "(grad - (db / count).reshape(numbers) - y * (dw / count).reshape(numbers))", "grad",
        _batch, "missing term",
    ),
    mutant(
        "the division by the standard deviation is forgotten", "batch_norm", BATCH + "_batch_norm_grad",
        "root if w is None else root * w, x.size", "root if w is None else w, x.size",
        _batch, "missing factor",
    ),
    mutant(
        "the mean is taken over the images, not over their pixels", "batch_norm", BATCH + "_batch_norm_grad",
        "x.size // x.shape[1]", "x.shape[0]",
        _batch, "missing term",
    ),
    mutant(
        "the bias gets the mean over the images", "batch_norm", BATCH + "BatchNorm.at_once",
        "Tensor(db)", "Tensor(db / len(dx))",
        _batch, "missing scale",
    ),
    mutant(
        "weight and bias are handed back in the other order", "batch_norm", BATCH + "BatchNorm.at_once",
        "Tensor(dw) if need_w else None, Tensor(db)", "Tensor(db) if need_w else None, Tensor(dw)",
        _batch, "gradients swapped",
    ),
    mutant(
        "the variance's gradient is not centred: x in place of the normalised x", "batch_norm", HOMEWORK + "batchnorm_backward",
        "- normal * (d * normal).mean(axis=0)", "- (d * normal).mean(axis=0)",
        lambda: call(homework.PAIRS["batchnorm"], normal(6, 3), positive(3), normal(3)), "missing term",
    ),
    mutant(
        "the mean runs over the batch, where forward's runs over the features", "layer norm", HOMEWORK + "layernorm_backward",
        "d - d.mean(axis=1, keepdims=True)", "d - d.mean(axis=0, keepdims=True)",
        lambda: call(homework.PAIRS["layernorm"], normal(4, 4), positive(4), normal(4)), "missing term",
    ),
    mutant(
        "the sum over the batch is forgotten: the last row alone", "layer norm", HOMEWORK + "layernorm_backward",
        "upstream.sum(axis=0)", "upstream[-1]",
        lambda: call(homework.PAIRS["layernorm"], normal(4, 5), positive(5), normal(5)), "missing sum over broadcast",
    ),
    mutant(
        "what flows back through the neighbours is forgotten", "local_response_norm", LOCAL + "_local_response_norm_grad",
        "direct - 2 * spec.alpha * spec.beta / spec.size * x * _sum_over_neighbours(direct * x / total, *spec.reach[::-1])", "direct",
        _local, "missing term",
    ),
    mutant(
        "the 2 of the square's derivative is forgotten", "local_response_norm", LOCAL + "_local_response_norm_grad",
        "direct - 2 * spec.alpha", "direct - spec.alpha",
        _local, "missing term",
    ),
    mutant(
        "backward looks at the neighbours that forward looked at, not at those that looked at it", "local_response_norm",
        LOCAL + "_local_response_norm_grad", "*spec.reach[::-1]", "*spec.reach",
        lambda: call(F.local_response_norm, normal(1, 5, 2, 2), 2, alpha=0.5, beta=0.75, k=2.0), "transposed",
    ),
    mutant(
        "the scale 1 / (1 - p) is forgotten", "dropout", DROPOUT + "DropoutGrad.forward",
        "self.save_for_backward(keep)", "self.save_for_backward(keep); out *= 1 - spec.p",
        _dropout, "missing scale",
    ),
    mutant(
        "the mask is drawn a second time", "dropout", DROPOUT + "Dropout.backward",
        "keep.array, self.spec", "dropout_mask(default_generator.seed_for_mask(), grad.shape, self.spec.p), self.spec",
        _dropout, "second mask drawn in backward",
    ),
    mutant(
        "the mask is computed again, from the next seed", "dropout", DROPOUT + "Dropout.backward",
        "keep.array, self.spec", "dropout_mask(self.spec.seed + 1, grad.shape, self.spec.p), self.spec",
        _dropout, "second mask drawn in backward",
    ),
    mutant(
        "the mask is forgotten, the scale is not", "dropout", DROPOUT + "Dropout.backward",
        "DropoutGrad.apply(grad, keep.array, self.spec)", "grad * self.spec.scale",
        _dropout, "missing factor",
    ),
    mutant(
        "the mask is turned round", "dropout", HOMEWORK + "dropout_backward",
        "upstream * mask / (1 - p)", "upstream * ~mask / (1 - p)",
        lambda: call(homework.PAIRS["dropout"], normal(4, 6)), "inverted mask",
    ),
    mutant(
        "the mask is drawn anew with NumPy's own stream", "dropout", HOMEWORK + "dropout_backward",
        "upstream * mask / (1 - p)", "upstream * (numpy.random.rand(*upstream.shape) >= p) / (1 - p)",
        lambda: call(homework.PAIRS["dropout"], normal(4, 6)), "second mask drawn in backward",
    ),
    mutant(
        "the sum of the derivative of a quotient is forgotten", "softmax", SOFTMAX + "_softmax_grad",
        "out -= y * out.sum(axis=1, keepdims=True)", "pass",
        lambda: call(F.softmax, normal(3, 5), 1), "missing term",
    ),
    mutant(
        "each output gets the derivative of the sigmoid", "softmax", SOFTMAX + "_softmax_grad",
        "out -= y * out.sum(axis=1, keepdims=True)", "out -= y * out",
        lambda: call(F.softmax, normal(3, 5), 1), "missing term",
    ),
    mutant(
        "the sum runs over the rows", "softmax", SOFTMAX + "_softmax_grad",
        "out.sum(axis=1, keepdims=True)", "out.sum(axis=0, keepdims=True)",
        lambda: call(F.softmax, normal(4, 4), 1), "missing term",
    ),
    mutant(
        "the sum is not weighted with the probabilities", "log_softmax", SOFTMAX + "_log_softmax_grad",
        "namespace(y).exp(y) * grad.sum(axis=1, keepdims=True)", "grad.mean(axis=1, keepdims=True)",
        lambda: call(F.log_softmax, normal(3, 5), 1), "missing term",
    ),
    mutant(
        "the exponential is forgotten: logarithms in place of probabilities", "log_softmax", SOFTMAX + "_log_softmax_grad",
        "namespace(y).exp(y)", "y",
        lambda: call(F.log_softmax, normal(3, 5), 1), "missing term",
    ),
]  # fmt: skip
