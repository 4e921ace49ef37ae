"""One step of an optimiser on one parameter, in one pass: everything is read once and written once.

``sgd``      ``run(step, p, g, v, new_p, new_v)``; v and new_v are None without momentum
``adam``     ``run(step, p, g, m, v, w, new_p, new_m, new_v, new_w)``; w and new_w are None without amsgrad
``rmsprop``  ``run(step, p, g, v, a, b, new_p, new_v, new_a, new_b)``; a is None unless centered, b without momentum
``scaled``   ``run(spec, g, new_g)``: factor · g

The new arrays may be the old ones.
"""
