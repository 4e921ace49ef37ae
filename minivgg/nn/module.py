"""Module: parameters, buffers and submodules under names, and a ``forward`` that uses them.

Attribute assignment is all the registration there is: a ``Parameter``, a ``Module`` or a registered buffer lands in one
of three dictionaries, and everything here (``state_dict``, ``to``, ``train``, ``repr``) walks those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from minivgg.autograd import Tensor, no_grad
from minivgg.creation import zeros
from minivgg.errors import ArgumentError, DtypeError, OperationError, message
from minivgg.hooks import RemovableHandle
from minivgg.nn.hooks import call_with_hooks
from minivgg.nn.parameter import Parameter
from minivgg.ops.cast import read_target
from minivgg.ops.promotion import as_tensor


class StateDictError(OperationError, RuntimeError):
    """A state that does not fit the module; its text lists every missing and unexpected name and every wrong shape."""


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` returns: names the state lacks, and names the module lacks."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        keys = f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"
        return keys if any(self) else "<All keys matched successfully>"


class Module:
    """Base of all layers and networks: call ``super().__init__()``, set attributes, write ``forward``.

    >>> import minivgg
    >>> from minivgg import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = nn.Parameter(minivgg.tensor([2.0]))
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> scale = Scale()
    >>> scale(minivgg.tensor([1.0, 3.0])).detach(), list(scale.state_dict())
    (tensor([2., 6.]), ['factor'])
    """

    training: bool
    forward: Callable[..., Any]
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, _non_persistent=set(), training=True)
        self.__dict__.update(_forward_pre_hooks={}, _forward_hooks={}, _backward_hooks={})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks:
            return call_with_hooks(self, args, kwargs)
        return self.forward(*args, **kwargs)

    # Registration -----------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        store = self.__dict__
        if isinstance(value, Parameter | Module):
            if "_parameters" not in store:
                raise AttributeError(message(type(self).__name__, f"{name!r} was assigned before super().__init__() was called"))
            registry: dict[str, Any] = self._parameters if isinstance(value, Parameter) else self._modules
            for other in (store, self._parameters, self._buffers, self._modules):
                if other is not registry:
                    other.pop(name, None)
            registry[name] = value
            return
        for kind, where in ((Parameter, "_parameters"), (Tensor, "_buffers"), (Module, "_modules")):
            if name in store.get(where, ()):
                if not isinstance(value, kind | None):
                    raise TypeError(
                        message(type(self).__name__, f"{name!r} is a {kind.__name__}, to be set to another one or None, got {type(value).__name__}")
                    )
                store[where][name] = value
                return
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        for where in ("_parameters", "_buffers", "_modules"):
            members = self.__dict__.get(where, {})
            if name in members:
                return members[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                self._non_persistent.discard(name)
                return
        super().__delattr__(name)

    def _check_name(self, kind: str, name: str, registry: Mapping[str, Any]) -> None:
        if not name or "." in name or (hasattr(self, name) and name not in registry):
            raise ArgumentError(type(self).__name__, f"a {kind} needs a name without dots that is not taken, got {name!r}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """The same as ``self.name = param``; a parameter that is None keeps its name for ``repr`` and later assignment."""
        self._check_name("parameter", name, self._parameters)
        if param is None:
            self._parameters[name] = None
        else:
            setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """State that is no parameter, such as running statistics; ``state_dict`` holds it if ``persistent``."""
        self._check_name("buffer", name, self._buffers)
        self._buffers[name] = tensor
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """The same as ``self.name = module``, for names that are no identifiers."""
        self._check_name("module", name, self._modules)
        self._modules[name] = module

    # Walking ----------------------------------------------------------------------------------------------------------

    def named_modules(self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """This module under ``prefix`` and all below it under dotted names, parents first.

        >>> from minivgg import nn
        >>> [name for name, _ in nn.Sequential(nn.Sequential(nn.ReLU()), nn.ReLU()).named_modules()]
        ['', '0', '0.0', '1']
        """
        memo = set() if memo is None else memo
        if remove_duplicate and id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def _named_members(self, where: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else ((prefix, self),):
            for name, member in module.__dict__[where].items():
                if member is not None and not (remove_duplicate and id(member) in seen):
                    seen.add(id(member))
                    yield f"{path}.{name}" if path else name, member

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters under dotted names; one that several modules share comes once."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """All buffers under dotted names."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module under a dotted name, ``"features.0"``; ``""`` is this one."""
        module: Module = self
        for name in target.split(".") if target else ():
            found = module._modules.get(name)
            if found is None:
                raise AttributeError(message(type(self).__name__, f"there is no module {target!r}; {type(module).__name__} has no {name!r}"))
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter under a dotted name, ``"features.0.weight"``."""
        path, _, name = target.rpartition(".")
        parameter = self.get_submodule(path)._parameters.get(name)
        if parameter is None:
            raise AttributeError(message(type(self).__name__, f"there is no parameter {target!r}"))
        return parameter

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn(module)`` on every module below, then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # State ------------------------------------------------------------------------------------------------------------

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(prefix=prefix, remove_duplicate=False):
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None and name not in module._non_persistent:
                    yield f"{path}.{name}" if path else name, tensor

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Parameters and persistent buffers by dotted name, detached but sharing memory (as they are, with ``keep_vars``).

        >>> from minivgg import nn
        >>> {name: tensor.shape for name, tensor in nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {name: tensor if keep_vars else tensor.detach() for name, tensor in self._state(prefix)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values (tensors or arrays) into the parameters and buffers of the same names, in their dtype.

        Raises StateDictError, before anything is copied, if a shape differs or, with ``strict``, if a name is missing or
        unexpected; else returns ``(missing_keys, unexpected_keys)``.
        """
        own = dict(self._state())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        given = {name: as_tensor(value) for name, value in state_dict.items() if name in own}
        problems = [f"missing: {name}" for name in missing] + [f"unexpected: {name}" for name in unexpected] if strict else []
        problems += [f"{name} has shape {value.shape}, the module's {own[name].shape}" for name, value in given.items() if value.shape != own[name].shape]
        if problems:
            raise StateDictError("load_state_dict", "\n  ".join([f"the state does not fit {type(self).__name__}", *problems]))
        with no_grad():
            for name, value in given.items():
                own[name].copy_(value)
        return IncompatibleKeys(missing, unexpected)

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Self:
        """Move to a device or cast the floating tensors, in place: ``to(dtype)``, ``to("cuda")``, ``to(other_tensor)``.

        The ``Parameter`` objects stay the same, so an optimiser built before goes on working; its state follows in its next step.
        """
        wanted, there = read_target("Module.to", args, dtype, device)
        if wanted is not None and wanted.kind != "f":
            raise DtypeError("Module.to", f"a module can be cast to float16, float32 and float64, got {wanted}")
        with no_grad():
            for tensor in (*self.parameters(), *self.buffers()):
                for part in (tensor, tensor.grad):
                    if part is not None:
                        part.data = part.to(dtype=wanted if part.is_floating_point() else None, device=there)
        return self

    def half(self) -> Self:
        """To float16, for storing: ``save(copy.deepcopy(model).half(), path)`` halves the file. Compute after ``float()``."""
        return self.to("float16")

    def float(self) -> Self:
        return self.to("float32")

    def double(self) -> Self:
        return self.to("float64")

    def cpu(self) -> Self:
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> Self:
        return self.to(device=device)

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below to training: dropout drops, batch norm uses and collects batch statistics."""
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """The opposite of ``train()``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or unfreeze all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zeros."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = zeros(parameter.shape, dtype=parameter.dtype, device=parameter.device)

    # Hooks ------------------------------------------------------------------------------------------------------------

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; what it returns, if not None, replaces the arguments."""
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; what it returns, if not None, replaces the output."""
        return RemovableHandle(self._forward_hooks, hook)

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the arguments are known.

        Both are tuples; what the hook returns, if not None, replaces ``grad_input``.
        """
        return RemovableHandle(self._backward_hooks, hook)

    # Text -------------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the parentheses of ``repr``, before the submodules."""
        return ""

    def _child_lines(self) -> Iterator[tuple[str, str]]:
        return ((name, repr(module)) for name, module in self._modules.items())

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({label}): " + text.replace("\n", "\n  ") for label, text in self._child_lines()]
        if not children and "\n" not in extra:
            return f"{type(self).__name__}({extra})"
        lines = (extra.split("\n") if extra else []) + children
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"
