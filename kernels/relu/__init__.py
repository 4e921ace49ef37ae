"""ReLU and its derivative, each in one pass.

``relu``       ``run(shape, x, out)``; ``out`` may be ``x``
``relu_grad``  ``run(shape, grad, y, out)`` with ReLU's output y
"""
