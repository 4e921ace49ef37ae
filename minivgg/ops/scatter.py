"""Adding up at places that may occur more than once, in an order that is always the same: the transpose of reading by index."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.backend import Array, namespace


def scatter_add(out: Array, index: Any, values: Array) -> None:
    """``out[index] += values``, but a place that occurs several times gets all of its values.

    NumPy adds one after the other. On a device that would take atomic additions, whose order is a matter of the moment; so the
    values are sorted by place, and those of one place are added up by doubling: in step d = 1, 2, 4, ... each value takes in the sum
    that ends d before it, if that is of the same place. ⌈log2 n⌉ passes over n values, and the host looks at nothing.

    >>> out = numpy.zeros(3)
    >>> scatter_add(out, numpy.array([2, 0, 2]), numpy.array([1.0, 10.0, 100.0]))
    >>> out
    array([ 10.,   0., 101.])
    """
    xp = namespace(out)
    if xp is numpy:
        numpy.add.at(out, index, values)
        return
    where = xp.arange(out.size).reshape(out.shape)[index]
    places, values = where.ravel(), xp.broadcast_to(values, where.shape).ravel()
    if not places.size:
        return
    order = xp.argsort(places)  # CuPy's sort is stable
    places, sums = places[order], values[order]
    step = 1
    while step < places.size:
        sums[step:] += xp.where(places[step:] == places[:-step], sums[:-step], 0)
        step *= 2
    last = xp.ones(places.size, bool)
    last[:-1] = places[1:] != places[:-1]
    flat = xp.zeros(out.size + 1, out.dtype)
    flat[xp.where(last, places, out.size)] = sums  # sums that are not whole yet all go to one place behind the others
    out += flat[:-1].reshape(out.shape)
