"""The fully connected layer, three directions: one matrix product each.

``linear``              ``run(spec, x, w, b, y)``: y[n, k] = Σ_c x[n, c] · w[k, c] + b[k]
``linear_grad_input``   ``run(spec, dy, w, dx)``: dx[n, c] = Σ_k dy[n, k] · w[k, c]
``linear_grad_weight``  ``run(spec, dy, x, dw)``: dw[k, c] = Σ_n dy[n, k] · x[n, c]

With many rows n the library's matrix product is the fastest. With few, each weight is used so rarely that the time is that
of reading (or writing) the weights once: ``fused``.
"""
