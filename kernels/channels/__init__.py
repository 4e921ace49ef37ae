"""Sums over channels, and what is done to each channel alike: bias gradients and batch normalisation.

``channel_sums``     ``run(shape, x, out)``: out[c] = Σ x[:, c], of x (N, C, H, W)
``batch_norm``       ``run(spec, x, w, b, out, mean, variance)``: (x - mean) / √(variance + eps) · w + b, and what it is made of
``scale_and_shift``  ``run(shape, x, slope, offset, out)``: slope · x + offset, each a number a channel, or None
``batch_norm_grad``  ``run(spec, grad, x, w, mean, variance, dx, dw, db)``
"""
