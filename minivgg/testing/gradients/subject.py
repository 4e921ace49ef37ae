"""What is checked, whoever wrote it: arrays to differentiate by, a way to call the function, a way to run its backward.

A function of tensors, a ``Function``, a ``Module``; a pair ``(forward, backward)`` on NumPy arrays, as in a homework; a
function or module of PyTorch. The check sees only a ``Subject``, and moves the elements of its leaves in place.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor, enable_grad, grad, is_grad_enabled, no_grad
from minivgg.backend import FLOATING
from minivgg.errors import ArgumentError
from minivgg.nn.module import Module
from minivgg.random import default_generator
from minivgg.testing.samples import tensors_of

Arrays = list[numpy.ndarray]
Index = tuple[int, ...]

COMPLEX_STEP = 1e-30
"""So small that its square vanishes: the imaginary part is the derivative times this, without cancellation."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """The thing to check.

    ``leaves``     name to array: the memory that the function really reads, to be moved in place and moved back
    ``outputs``    the floating outputs, one call
    ``gradients``  ``gradients(vectors)``: what backward makes of these upstream gradients, for each leaf; None where nothing
                   arrives. Runs the forward pass anew, then backward once for each list of vectors. ``disturbed`` runs the
                   forward pass once more in between, at another point, as a second use of the same layer would
    ``constants``  name to array of what the function reads and must leave as it is
    """

    name: str
    leaves: dict[str, numpy.ndarray]
    outputs: Callable[[], Arrays]
    gradients: Callable[..., list[list[numpy.ndarray | None]]]
    constants: dict[str, numpy.ndarray] = dataclasses.field(default_factory=dict)
    randomness: Callable[[], Any] = lambda: None
    """The state of the random stream that the function draws from, as something to compare."""
    differentiated: Callable[[], Subject] | None = None
    """The gradient as a subject of its own, with the upstream gradient among its leaves; None if it cannot be differentiated."""
    precise: Callable[[], Subject] | None = None
    """The same function on float64 copies of float32 leaves; None if there is no way to make them."""
    complex_step: Callable[[str, Index], numpy.ndarray] | None = None
    """The output with ``COMPLEX_STEP`` times i added to one element of a leaf; None if the function takes no complex arrays."""

    def flat(self) -> numpy.ndarray:
        """All outputs, one after the other, in a copy (outputs may be views of a leaf that is about to move)."""
        outputs = self.outputs()
        return numpy.concatenate([numpy.ravel(out) for out in outputs]).astype(numpy.float64, copy=False) if outputs else numpy.zeros(0)


def moved(array: numpy.ndarray) -> numpy.ndarray:
    """Another point, near enough that every function that takes the first takes this one."""
    factor = numpy.random.default_rng(1).random(array.shape)
    factor *= 1e-3  # in place: a layer of a large network has 100 million weights
    factor += 1
    factor *= array
    return numpy.asarray(factor, array.dtype)


def subject_of(func: Any, inputs: Any, loss: Callable[[Any], Any] | None = None) -> Subject:
    """The subject for a call ``func(*inputs)``, or ``loss(func(*inputs))``, on copies of the inputs.

    Raises ArgumentError where there is nothing to differentiate by.
    """
    values = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    torch = sys.modules.get("torch")
    if isinstance(func, tuple | list):
        if loss is not None:
            raise ArgumentError("gradcheck", "loss is for functions and modules of tensors, got a pair of NumPy functions")
        return _of_pair(func, values)
    if torch is not None and (isinstance(func, torch.nn.Module) or any(isinstance(value, torch.Tensor) for value in values)):
        return _of_torch(torch, func, values, loss)
    return _of_tensors(func, values, loss)


def _name(func: Any) -> str:
    owner = getattr(func, "__self__", None)
    if isinstance(owner, type):  # MyFunction.apply
        return owner.__name__
    return getattr(func, "__name__", type(func).__name__)


def _argument_names(func: Any, count: int) -> list[str]:
    """The names of the first ``count`` positional arguments; ``input 0`` where a signature does not say."""
    owner = func if isinstance(func, type) else getattr(func, "__self__", None)
    written = owner.forward if isinstance(owner, type) and issubclass(owner, Function) else func  # of MyFunction, or MyFunction.apply
    try:
        parameters = inspect.signature(written).parameters.values()
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][written is not func :]
    except (TypeError, ValueError):
        names = []
    if len(names) < count:
        names = []
    return [*names[:count], *(f"input {i}" for i in range(len(names[:count]), count))]


# minivgg ---------------------------------------------------------------------------------------------------------------


def of_calls(
    name: str, function: Callable[[], Any], leaves: dict[str, Tensor], module: Module | None = None, constants: dict[str, Any] | None = None
) -> Subject:
    """The subject ``function()``, which reads the tensors ``leaves``.

    Each call starts from the same random state and the same buffers, so that dropout draws the same mask and batch
    normalisation meets the same running means.
    """
    state = default_generator.get_state()
    moving = set(map(id, leaves.values()))
    kept = [] if module is None else [(buffer, buffer.array.copy()) for _, buffer in module.named_buffers() if id(buffer) not in moving]

    def call() -> list[Tensor]:
        before = default_generator.get_state()
        default_generator.set_state(state)
        try:
            return [out for out in tensors_of(function()) if out.dtype in FLOATING]
        finally:
            default_generator.set_state(before)
            for buffer, before_call in kept:
                buffer.array[...] = before_call

    def outputs() -> Arrays:
        with no_grad():
            return [out.array.copy() for out in call()]

    def elsewhere() -> None:
        here = {label: leaf.array for label, leaf in leaves.items()}
        try:
            for leaf in leaves.values():
                leaf.array = moved(leaf.array)
            call()
        finally:
            for label, leaf in leaves.items():
                leaf.array = here[label]

    def gradients(vectors: Sequence[Arrays], disturbed: bool = False) -> list[list[numpy.ndarray | None]]:
        with enable_grad():
            made = call()
            if disturbed:
                elsewhere()
        found = []
        for i, each in enumerate(vectors):
            arrived = _backward(made, list(leaves.values()), [Tensor(vector) for vector in each], retain_graph=i + 1 < len(vectors))
            # Copies, for a gradient may be a view of anything; one at a time, for all of them are as large as the model.
            found.append([None if (gradient := arrived.pop(0)) is None else numpy.array(gradient.array) for _ in leaves])
        return found

    def differentiated() -> Subject:
        rng = numpy.random.default_rng(2)
        upstream = {f"grad_output {i}": Tensor(numpy.asarray(rng.standard_normal(out.shape), out.dtype), requires_grad=True) for i, out in enumerate(outputs())}
        inputs = list(leaves.values())

        def gradient() -> list[Tensor]:
            create_graph = is_grad_enabled()
            with enable_grad():
                arrived = _backward(call(), inputs, list(upstream.values()), create_graph=create_graph)
            return [Tensor(numpy.zeros_like(leaf.array)) if one is None else one for leaf, one in zip(inputs, arrived, strict=True)]

        return of_calls(name, gradient, {**leaves, **upstream}, module, constants)

    return Subject(
        name, {label: leaf.array for label, leaf in leaves.items()}, outputs, gradients, constants or {}, default_generator.get_state, differentiated
    )


def _backward(outputs: list[Tensor], inputs: list[Tensor], vectors: list[Tensor], **options: bool) -> list[Tensor | None]:
    """Nothing arrives where no output requires a gradient."""
    roots = [(out, vector) for out, vector in zip(outputs, vectors, strict=True) if out.requires_grad]
    if not roots:
        return [None] * len(inputs)
    return list(grad([out for out, _ in roots], inputs, [vector for _, vector in roots], allow_unused=True, **options))


def _of_tensors(func: Any, values: list[Any], loss: Callable[[Any], Any] | None = None) -> Subject:
    names = _argument_names(func.forward if isinstance(func, Module) else func, len(values))
    module = func if isinstance(func, Module) else None
    name = _name(func)
    if isinstance(func, type) and issubclass(func, Function):
        func = func.apply
    copies: list[Any] = []
    leaves: dict[str, Tensor] = {}
    constants: dict[str, numpy.ndarray] = {}
    for label, value in zip(names, values, strict=True):
        if isinstance(value, Tensor):
            value = Tensor(value.array.copy(order="K"), requires_grad=value.requires_grad)
            if value.requires_grad:
                leaves[label] = value
            else:
                constants[label] = value.array
        copies.append(value)
    read = None if module is None else _with_buffers(module, copies)
    if read is not None:
        func = module = read
    if module is not None:
        leaves |= {label: parameter for label, parameter in module.named_parameters() if parameter.requires_grad}
        leaves |= {label: buffer for label, buffer in module.named_buffers() if buffer.requires_grad}
    _check_leaves(leaves)
    subject = of_calls(name, (lambda: func(*copies)) if loss is None else (lambda: loss(func(*copies))), leaves, module, constants)
    if not any(leaf.dtype == numpy.float32 for leaf in leaves.values()):
        return subject

    def precise() -> Subject:
        wide = [_widened(value) for value in values]
        return _of_tensors(func if module is None else copy.deepcopy(module).to(numpy.float64), wide, loss)

    return dataclasses.replace(subject, precise=precise)


def _with_buffers(module: Module, inputs: list[Any]) -> Module | None:
    """A copy of the module in which every floating buffer requires a gradient that forward reads, not writes, and backward reaches.

    So are the running means of batch normalisation in evaluation; in training they are written. None if there is no such buffer.
    """
    if not any(buffer.dtype in FLOATING for _, buffer in module.named_buffers()):
        return None
    module = copy.deepcopy(module)
    buffers = {label: buffer for label, buffer in module.named_buffers() if buffer.dtype in FLOATING}
    before = {label: buffer.array.copy() for label, buffer in module.named_buffers()}
    state = default_generator.get_state()
    try:
        with no_grad():
            module(*inputs)
        read = {label: buffer for label, buffer in buffers.items() if buffer.array.tobytes() == before[label].tobytes()}
        for buffer in read.values():
            buffer.requires_grad = True
        with enable_grad():
            outputs = [out for out in tensors_of(module(*inputs)) if out.dtype in FLOATING]
            arrived = _backward(outputs, list(read.values()), [Tensor(numpy.ones(out.shape, out.dtype)) for out in outputs])
    except Exception:  # the check itself will meet it again, and say what it is
        return None
    finally:
        default_generator.set_state(state)
        for label, buffer in module.named_buffers():
            buffer.array[...] = before[label]
    for buffer, gradient in zip(read.values(), arrived, strict=True):
        buffer.requires_grad = gradient is not None
    return module if any(gradient is not None for gradient in arrived) else None


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype == numpy.float32:
        return Tensor(value.array.astype(numpy.float64), requires_grad=value.requires_grad)
    return value


def _check_leaves(leaves: dict[str, Any]) -> None:
    if not leaves:
        raise ArgumentError("gradcheck", "at least one input must require a gradient; pass tensors with requires_grad=True")


# A pair of NumPy functions ---------------------------------------------------------------------------------------------


def _of_pair(pair: Sequence[Any], values: list[Any]) -> Subject:
    """``forward(*inputs)`` returns the output and ``backward(upstream, *inputs)`` the gradients of the floating inputs, in order.

    Or, as many courses write it: ``forward(*inputs)`` returns ``(output, cache)``, and backward is called with ``(upstream, cache)``.
    """
    if len(pair) != 2 or not all(map(callable, pair)):
        raise ArgumentError(
            "gradcheck", f"a pair is (forward, backward), two functions of arrays, got {len(pair)} of {', '.join(type(one).__name__ for one in pair)}"
        )
    forward, backward = pair
    names = _argument_names(forward, len(values))
    copies = [numpy.array(value) if isinstance(value, numpy.ndarray | float | numpy.floating) else value for value in values]
    floating = [isinstance(value, numpy.ndarray) and value.dtype.kind == "f" for value in copies]
    leaves = {label: value for label, value, wanted in zip(names, copies, floating, strict=True) if wanted}
    constants = {label: value for label, value in zip(names, copies, strict=True) if isinstance(value, numpy.ndarray) and value.dtype.kind != "f"}
    if not leaves:
        raise ArgumentError("gradcheck", "a pair is checked at floating NumPy arrays, and none was given")
    state = numpy.random.get_state()  # the stream that homework draws from

    def call(arrays: list[Any]) -> tuple[numpy.ndarray, tuple[Any, ...]]:
        """The output, and what backward is given after the upstream gradient: the cache, or else the inputs."""
        before = numpy.random.get_state()
        numpy.random.set_state(state)
        try:
            result = forward(*arrays)
        finally:
            numpy.random.set_state(before)
        return (numpy.asarray(result[0]), (result[1],)) if isinstance(result, tuple) else (numpy.asarray(result), tuple(arrays))

    def gradients(vectors: Sequence[Arrays], disturbed: bool = False) -> list[list[numpy.ndarray | None]]:
        found = []
        for (vector,) in vectors:
            after_upstream = call(copies)[1]
            if disturbed:
                call([moved(value) if any(value is leaf for leaf in leaves.values()) else value for value in copies])
            arrived = backward(vector, *after_upstream)
            arrived = list(arrived.values()) if isinstance(arrived, dict) else list(arrived) if isinstance(arrived, tuple | list) else [arrived]
            if len(arrived) == len(copies) != len(leaves):  # one for each input, None for what is no array
                arrived = [one for one, wanted in zip(arrived, floating, strict=True) if wanted]
            if len(arrived) != len(leaves):
                raise ArgumentError("gradcheck", f"backward returned {len(arrived)} gradients for {len(leaves)} floating inputs ({', '.join(leaves)})")
            for (label, leaf), one in zip(leaves.items(), arrived, strict=True):
                if one is not None and numpy.shape(one) != leaf.shape:
                    raise ArgumentError("gradcheck", f"backward returned a gradient of shape {numpy.shape(one)} for {label}, whose shape is {leaf.shape}")
            found.append([None if one is None else numpy.array(one) for one in arrived])
        return found

    def along(label: str, index: Index) -> numpy.ndarray:
        moved = [numpy.array(value, numpy.complex128) if value is leaves[label] else value for value in copies]
        moved[[value is leaves[label] for value in copies].index(True)][index] += COMPLEX_STEP * 1j
        return call(moved)[0]

    return Subject(
        _name(forward),
        leaves,
        lambda: [call(copies)[0].copy()],
        gradients,
        constants,
        lambda: tuple(numpy.random.get_state(legacy=False)["state"].values()),
        complex_step=along,
    )


# PyTorch ---------------------------------------------------------------------------------------------------------------


def _of_torch(torch: Any, func: Any, values: list[Any], loss: Callable[[Any], Any] | None) -> Subject:
    """A function or module of PyTorch, on copies of its tensors; ``torch`` is the module, which its user has imported."""
    names = _argument_names(func.forward if isinstance(func, torch.nn.Module) else func, len(values))
    copies: list[Any] = []
    leaves: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    for label, value in zip(names, values, strict=True):
        if isinstance(value, torch.Tensor):
            value = value.detach().clone().requires_grad_(value.requires_grad)
            (leaves if value.requires_grad else constants)[label] = value
        copies.append(value)
    if isinstance(func, torch.nn.Module):
        leaves |= {label: parameter for label, parameter in func.named_parameters() if parameter.requires_grad}
    _check_leaves(leaves)
    function = (lambda: func(*copies)) if loss is None else (lambda: loss(func(*copies)))
    return _of_torch_calls(torch, _name(func), function, leaves, {label: value.numpy() for label, value in constants.items()})


def _of_torch_calls(torch: Any, name: str, function: Callable[[], Any], leaves: dict[str, Any], constants: dict[str, numpy.ndarray]) -> Subject:
    state = torch.get_rng_state()

    def call() -> list[Any]:
        torch.set_rng_state(state)
        result = function()
        return [out for out in (result if isinstance(result, tuple | list) else [result]) if isinstance(out, torch.Tensor) and out.is_floating_point()]

    def outputs() -> Arrays:
        with torch.no_grad():
            return [out.detach().numpy().copy() for out in call()]

    def backward(made: list[Any], vectors: list[Any], **options: bool) -> list[Any]:
        roots = [(out, vector) for out, vector in zip(made, vectors, strict=True) if out.requires_grad]
        if not roots:
            return [None] * len(leaves)
        return list(torch.autograd.grad([out for out, _ in roots], list(leaves.values()), [vector for _, vector in roots], allow_unused=True, **options))

    def gradients(vectors: Sequence[Arrays], disturbed: bool = False) -> list[list[numpy.ndarray | None]]:
        with torch.enable_grad():
            made = call()
            if disturbed:
                here = {label: leaf.data for label, leaf in leaves.items()}
                for leaf in leaves.values():
                    leaf.data = torch.from_numpy(moved(leaf.detach().numpy()))
                call()
                for label, leaf in leaves.items():
                    leaf.data = here[label]
            found = [backward(made, [torch.from_numpy(vector.copy()) for vector in each], retain_graph=True) for each in vectors]
        return [[None if one is None else one.detach().numpy().copy() for one in arrived] for arrived in found]

    def differentiated() -> Subject:
        rng = numpy.random.default_rng(2)
        upstream = {f"grad_output {i}": torch.tensor(rng.standard_normal(out.shape).astype(out.dtype), requires_grad=True) for i, out in enumerate(outputs())}

        def gradient() -> list[Any]:
            create_graph = torch.is_grad_enabled()
            with torch.enable_grad():
                arrived = backward(call(), list(upstream.values()), create_graph=create_graph)
            return [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves.values(), arrived, strict=True)]

        return _of_torch_calls(torch, name, gradient, {**leaves, **upstream}, constants)

    return Subject(
        name,
        {label: leaf.detach().numpy() for label, leaf in leaves.items()},
        outputs,
        gradients,
        constants,
        lambda: torch.get_rng_state().numpy(),
        differentiated,
    )
