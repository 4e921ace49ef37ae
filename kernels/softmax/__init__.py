"""softmax and log_softmax along rows of memory.

``softmax``, ``log_softmax``            ``run(shape, x, out)``, of x (rows, classes)
``softmax_grad``, ``log_softmax_grad``  ``run(shape, grad, y, out)`` with the output y
"""
