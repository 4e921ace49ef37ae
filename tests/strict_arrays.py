"""An array library that stands in for CuPy where there is no GPU: it computes with NumPy, but never converts by itself.

CuPy arrays refuse to become NumPy arrays without ``.get()``, and CuPy functions refuse NumPy arrays. So does this
module: an operation that passes its data to ``numpy.*`` by name, or mixes in a NumPy array, raises here as it would on
a GPU. What it cannot show is that CuPy's own functions compute the same numbers; a GPU must confirm that. CUDA programs
run on the processor (emulator/).
"""

import operator
import types

import emulator
import numpy


class Device:
    """The only one."""

    id = 0
    compute_capability = "90"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


class ndarray:
    """A wrapped NumPy array; every result is wrapped again, and those without dimensions stay arrays, as in CuPy."""

    __slots__ = ("_inner", "_owner")
    __array_ufunc__ = None
    __array_priority__ = 100

    def __init__(self, inner, owner=None):
        self._inner = inner
        self._owner = owner

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array is not allowed; use .get()")

    def get(self):
        return self._inner.copy()

    @property
    def base(self):
        return self._owner

    @property
    def device(self):
        return Device()

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._inner.ctypes.data)

    @property
    def flags(self):  # CuPy's flags know nothing of "writeable"
        flags = self._inner.flags
        return types.SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)  # __array_interface__ and the like would be a way around __array__
        value = getattr(self._inner, name)
        if callable(value):
            return lambda *args, **kwargs: wrap(value(*map(unwrap, args), **{k: unwrap(v) for k, v in kwargs.items()}), self)
        return wrap(value, self) if isinstance(value, numpy.ndarray) else value

    def __getitem__(self, index):
        return wrap(self._inner[unwrap(index)], self)

    def __setitem__(self, index, value):
        self._inner[unwrap(index)] = unwrap(value)

    def __len__(self):
        return len(self._inner)

    def __bool__(self):
        return bool(self._inner)

    def __int__(self):
        return int(self._inner)

    def __float__(self):
        return float(self._inner)

    def __index__(self):
        return operator.index(self._inner)

    __hash__ = object.__hash__


def _install_operators():
    for name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lt", "le", "gt", "ge", "eq", "ne"]:
        function = getattr(operator, name)
        dunder = name.strip("_")
        setattr(ndarray, f"__{dunder}__", lambda self, other, function=function: wrap(function(self._inner, unwrap(other)), None))
        setattr(ndarray, f"__r{dunder}__", lambda self, other, function=function: wrap(function(unwrap(other), self._inner), None))
        if hasattr(operator, f"i{dunder}"):
            in_place = getattr(operator, f"i{dunder}")

            def apply_in_place(self, other, in_place=in_place):
                in_place(self._inner, unwrap(other))
                return self

            setattr(ndarray, f"__i{dunder}__", apply_in_place)
    for name in ("neg", "invert", "abs", "pos"):
        function = getattr(operator, name)
        setattr(ndarray, f"__{name}__", lambda self, function=function: wrap(function(self._inner), None))


_install_operators()


def unwrap(value):
    """The NumPy array inside; a NumPy array from outside is refused, as CuPy's functions refuse it."""
    if isinstance(value, ndarray):
        return value._inner
    if isinstance(value, numpy.ndarray):
        raise TypeError(f"unsupported type numpy.ndarray of shape {value.shape} on the device")
    if isinstance(value, tuple | list):
        return type(value)(map(unwrap, value)) if not hasattr(value, "_fields") else type(value)(*map(unwrap, value))
    return value


def wrap(value, owner):
    if isinstance(value, numpy.ndarray):
        shares = owner is not None and numpy.may_share_memory(value, owner._inner)
        base = None if owner is None else owner if owner._owner is None else owner._owner
        return ndarray(value, base if shares else None)
    if isinstance(value, numpy.generic):
        return ndarray(numpy.asarray(value))
    if type(value) is tuple or type(value) is list:
        return type(value)(wrap(item, owner) for item in value)
    return value


class _Namespace(types.ModuleType):
    """``cupy.exp`` and the rest: NumPy's function between ``unwrap`` and ``wrap``."""

    def __getattr__(self, name):
        function = getattr(numpy, name)
        if isinstance(function, type) or not callable(function):
            return function
        return self._wrapped(function)

    @staticmethod
    def _wrapped(function):
        def call(*args, **kwargs):
            owner = args[0] if args and isinstance(args[0], ndarray) else None
            result = wrap(function(*map(unwrap, args), **{k: unwrap(v) for k, v in kwargs.items()}), owner)
            return kwargs["out"] if isinstance(kwargs.get("out"), ndarray) else result

        if isinstance(function, numpy.ufunc):
            call.at = lambda a, *args: function.at(a._inner, *map(unwrap, args))
        return call

    class fft(metaclass=type("_Fft", (type,), {"__getattr__": lambda cls, name: _Namespace._wrapped(getattr(numpy.fft, name))})):
        """``cupy.fft``."""

    class ogrid(metaclass=type("_Grid", (type,), {"__getitem__": lambda cls, key: wrap(list(numpy.ogrid[key]), None)})):
        """``cupy.ogrid``."""


def module():
    """A module to be put into ``sys.modules["cupy"]``."""
    result = _Namespace("cupy")
    result.ndarray = ndarray
    result.RawModule = emulator.RawModule

    def asarray(value, dtype=None):
        if isinstance(value, ndarray):
            return ndarray(numpy.asarray(value._inner, dtype=dtype))
        return ndarray(numpy.array(value, dtype=dtype))  # CuPy copies from the host here, explicitly

    result.asarray = result.array = asarray
    return result
