"""Local response normalisation of x (N, C, ...): y = x · t^-β with t = k + α/size · Σ x² over the channels around each.

``local_response_norm``       ``run(spec, x, out)``
``local_response_norm_grad``  ``run(spec, grad, x, dx)``
"""
