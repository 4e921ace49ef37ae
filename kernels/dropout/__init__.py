"""Dropout: the mask and its multiplication with the input in one pass.

``dropout``       ``run(spec, x, out, keep)``: keep where the element's word of the random stream says so, out = x · keep · scale
``dropout_grad``  ``run(spec, grad, keep, out)``: out = grad · keep · scale
"""
