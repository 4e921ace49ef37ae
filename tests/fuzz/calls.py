"""What to call: for each operation a generator of arguments over its whole space. Most calls are valid, by no means all."""

from fuzz import elements, layers  # noqa: F401 they register themselves, in this order, which every seed depends on
from fuzz.drawing import CALLS

__all__ = ["CALLS"]
