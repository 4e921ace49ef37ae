"""What to call: for each operation a generator of arguments over its whole space. Most calls are valid, by no means all."""

from fuzz import elements, layers  # noqa: F401, I001 they register themselves, in this order, which every seed depends on
from fuzz import beside  # noqa: F401
from fuzz.drawing import CALLS

__all__ = ["CALLS"]
