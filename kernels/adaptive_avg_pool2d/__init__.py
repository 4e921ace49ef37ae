"""Adaptive average pooling: averages over bins that divide the input as evenly as they can.

``adaptive_avg_pool2d``       ``run(spec, x, out)``
``adaptive_avg_pool2d_grad``  ``run(spec, grad, out)``: its transpose
"""
