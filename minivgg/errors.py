"""The one form of every error message: the operation, what was expected, what came, the numbers involved.

    conv2d: weight expects 4 input channels, input has 3 (input (2, 3, 8, 8), weight (6, 4, 3, 3), groups 1)

Each class derives from the built-in exception that a Python user would catch.
"""

from typing import Any


def message(operation: str, problem: str, /, **numbers: Any) -> str:
    """Compose ``operation: problem (name value, name value)``.

    >>> message("conv2d", "stride must be at least 1, got 0", input=(1, 3, 8, 8))
    'conv2d: stride must be at least 1, got 0 (input (1, 3, 8, 8))'
    """
    facts = ", ".join(f"{name} {value}" for name, value in numbers.items())
    return f"{operation}: {problem} ({facts})" if facts else f"{operation}: {problem}"


class OperationError(Exception):
    """Base of all errors raised by an operation; built from the parts that every message has."""

    def __init__(self, operation: str, problem: str, /, **numbers: Any) -> None:
        super().__init__(message(operation, problem, **numbers))
        self.problem = problem


class ShapeError(OperationError, ValueError):
    """Shapes that do not fit each other or the operation."""


class ArgumentError(OperationError, ValueError):
    """An argument outside its range, or a combination that means nothing."""


class DtypeError(OperationError, TypeError):
    """An element type that the operation does not take, or two that must not be mixed in silence."""


class UnsupportedError(OperationError, ValueError):
    """A forced algorithm, backend or device that cannot do what was asked."""


class DeviceError(OperationError, RuntimeError):
    """Tensors on different devices in one operation."""


class OutOfMemoryError(OperationError, MemoryError):
    """Memory that was asked for and is not there, on the host or on a device."""


class GraphError(OperationError, RuntimeError):
    """Differentiation that cannot be carried out: freed, changed in place, or never recorded."""


class FileError(OperationError, ValueError):
    """A file that is damaged, of another kind, or holds something else than what was asked for."""
