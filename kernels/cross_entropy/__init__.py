"""Cross entropy of rows of scores with one class each: Σ_c q[i, c] · (ln Σ_j e^x[i, j] - x[i, c]), q = (1 - ε) · [c = t] + ε / C.

``cross_entropy``       ``run(spec, x, target, losses, tops, logs)``: the loss of each row (0 where its target is negative), its
                        largest score, and the logarithm of Σ e^(x - top)
``cross_entropy_grad``  ``run(spec, x, target, tops, logs, scale, dx)``: (softmax(x) - q) · scale[i]
"""
