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
import strict_cuda

CALLS = set()
"""What was called since the start, as in "cupy.sum(1, axis)": one positional argument, and axis by name."""


def note(name, args, kwargs=()):
    CALLS.add(f"{name}({', '.join([str(len(args)), *sorted(kwargs)])})")


STATE = strict_cuda.Cuda()
"""Of the device that arrays lie on; ``module()`` begins anew."""


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

    def get(self, stream=None, order="C"):
        STATE.waits("get")
        return self._inner.copy(order)

    def set(self, values, stream=None):
        assert (values.shape, values.dtype) == (self._inner.shape, self._inner.dtype)
        STATE.log.append(("set", (stream or STATE.streams[-1]).name))
        self._inner[...] = values

    @property
    def base(self):
        return self._owner

    @property
    def device(self):
        return STATE.Device()

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
            if name in CHANGES:
                return lambda *args: note(f"ndarray.{name}", args) or STATE.change(lambda: value(*map(unwrap, args)))
            if name in ON_THE_HOST:
                STATE.waits(name)
                note(f"ndarray.{name}", ())
                return value
            return lambda *args, **kwargs: note(f"ndarray.{name}", args, kwargs) or computed(value, args, kwargs, self)
        return wrap(value, self) if isinstance(value, numpy.ndarray) else value

    def __getitem__(self, index):
        if any(isinstance(part, ndarray) and part.dtype.kind == "b" for part in (index if isinstance(index, tuple) else (index,))):
            STATE.waits("the size of a result that depends on a mask")
        return computed(self._inner.__getitem__, (index,), {}, self)

    def __setitem__(self, index, value):
        index, value = unwrap(index), unwrap(value)
        STATE.change(lambda: self._inner.__setitem__(index, value))

    def __len__(self):
        return len(self._inner)

    __hash__ = None  # as of CuPy's


ON_THE_HOST = ("item", "tolist", "tobytes")
CHANGES = ("fill", "sort")


def _install_operators():
    for name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lt", "le", "gt", "ge", "eq", "ne"]:
        function = getattr(operator, name)
        dunder = name.strip("_")
        setattr(ndarray, f"__{dunder}__", lambda self, other, function=function: computed(function, (self, other), {}, None))
        setattr(ndarray, f"__r{dunder}__", lambda self, other, function=function: computed(function, (other, self), {}, None))
        if hasattr(operator, f"i{dunder}"):
            in_place = getattr(operator, f"i{dunder}")

            def apply_in_place(self, other, in_place=in_place):
                other = unwrap(other)
                STATE.change(lambda: in_place(self._inner, other))
                return self

            setattr(ndarray, f"__i{dunder}__", apply_in_place)
    for name in ("neg", "invert", "abs", "pos"):
        function = getattr(operator, name)
        setattr(ndarray, f"__{name}__", lambda self, function=function: computed(function, (self,), {}, None))
    for name, function in (("bool", bool), ("int", int), ("float", float), ("index", operator.index)):

        def on_the_host(self, function=function, name=name):
            STATE.waits(name)
            return function(self._inner)

        setattr(ndarray, f"__{name}__", on_the_host)


_install_operators()


def computed(function, args, kwargs, owner):
    """The wrapped result of a function of NumPy arrays."""
    if function in BY_CUBLAS and STATE.capture is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")  # CuPy's words
    out = kwargs.get("out")
    args, kwargs = unwrap(tuple(args)), {name: unwrap(value) for name, value in kwargs.items()}
    if isinstance(out, ndarray):
        STATE.change(lambda: function(*args, **kwargs))
        return out
    inputs = [value for value in (*args, *kwargs.values(), *(() if owner is None else (owner._inner,))) if isinstance(value, numpy.ndarray)]
    return wrap(STATE.new(lambda: _as_arrays(function(*args, **kwargs)), inputs, function not in (numpy.empty, numpy.empty_like)), owner)


def _as_arrays(value):
    if isinstance(value, numpy.generic):
        return numpy.asarray(value)
    return type(value)(map(_as_arrays, value)) if type(value) in (tuple, list) else value


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
    if type(value) is tuple or type(value) is list:
        return type(value)(wrap(item, owner) for item in value)
    return value


class _Namespace(types.ModuleType):
    """``cupy.exp`` and the rest: NumPy's function between ``unwrap`` and ``wrap``."""

    def __getattr__(self, name):
        function = getattr(numpy, name)
        if isinstance(function, type) or not callable(function):
            return function
        return self._wrapped(function, name)

    @staticmethod
    def _wrapped(function, name):
        def call(*args, **kwargs):
            note(f"cupy.{name}", args, kwargs)
            if function in SIZE_BY_VALUE:
                STATE.waits(function.__name__)
            return computed(function, args, kwargs, args[0] if args and isinstance(args[0], ndarray) else None)

        if function in CHANGES_FIRST:
            return lambda *args, **kwargs: note(f"cupy.{name}", args, kwargs) or _changed(function, *args, **kwargs)
        return call

    @property
    def fft(self):
        return _Folder(numpy.fft)

    @property
    def linalg(self):
        return _Folder(numpy.linalg)

    @property
    def lib(self):
        return types.SimpleNamespace(stride_tricks=_Folder(numpy.lib.stride_tricks))

    class ogrid(metaclass=type("_Grid", (type,), {"__getitem__": lambda cls, key: wrap(list(numpy.ogrid[key]), None)})):
        """``cupy.ogrid``."""


class _Folder:
    """``cupy.fft``, ``cupy.linalg``."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        folder = self.module.__name__.rpartition(".")[2]
        return _Namespace._wrapped(getattr(self.module, name), f"{folder}.{name}")


class RawModule(emulator.RawModule):
    """The programs of the emulator; a launch changes arrays."""

    def get_function(self, name):
        return Launch(self.library, name)


class Launch(emulator.Function):
    def __call__(self, *launch, **options):
        run = super().__call__
        STATE.change(lambda: run(*launch, **options))


CHANGES_FIRST = (numpy.copyto,)
"""Functions that change their first argument."""

BY_CUBLAS = (numpy.matmul, numpy.dot, numpy.tensordot, operator.matmul)
SIZE_BY_VALUE = (numpy.nonzero, numpy.argwhere, numpy.flatnonzero, numpy.unique)
"""Functions that must know numbers on the device to know how large their result is."""


def _changed(function, a, *args, **kwargs):
    a, args, kwargs = a._inner, unwrap(args), {name: unwrap(value) for name, value in kwargs.items()}
    STATE.change(lambda: function(a, *args, **kwargs))


def module():
    """A module to be put into ``sys.modules["cupy"]``."""
    global STATE
    result = _Namespace("cupy")
    result.ndarray = ndarray
    result.RawModule = RawModule
    result.cuda = STATE = strict_cuda.Cuda()
    result.get_default_memory_pool = lambda: STATE.pool
    result.get_default_pinned_memory_pool = lambda: STATE.pinned_pool

    def asarray(value, dtype=None, *, blocking=False):
        if isinstance(value, ndarray):
            return value if dtype in (None, value.dtype) else value.astype(dtype)
        STATE.waits("a copy from the host")  # explicit here, where CuPy copies, too
        return wrap(STATE.new(lambda: numpy.array(value, dtype=dtype, order="C"), []), None)

    def from_dlpack(source):
        assert source.__dlpack_device__()[0] == CUDA, "the memory lies on the host"
        return source.array if hasattr(source, "array") else source

    result.asarray = result.array = asarray
    result.from_dlpack = from_dlpack
    return result


CUDA = 2
"""DLPack's number of the device."""
