"""Optimizer: what all optimisers share. Groups of parameters with their options, state for each parameter, checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import numpy

from minivgg.autograd import Tensor, enable_grad, no_grad
from minivgg.backend import Array, device_of, namespace
from minivgg.capture import current
from minivgg.device import moved
from minivgg.errors import ArgumentError, DtypeError, ShapeError, UnsupportedError
from minivgg.ops.arguments import check_flags, is_number

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]
"""Tensors; or groups ``{"params": tensors, "lr": 0.1, ...}``, where options left out take the optimiser's defaults."""


class Optimizer:
    """Base class. A subclass passes its options as ``defaults`` and writes ``update``.

    ``param_groups``  list of dicts: ``params`` and one entry for each option; change them freely between steps
    ``state``         what is remembered of each parameter: a dict of tensors in its shape, and numbers

    >>> import minivgg
    >>> weight, bias = minivgg.ones(2, requires_grad=True), minivgg.zeros(1, requires_grad=True)
    >>> optimizer = minivgg.optim.SGD([{"params": [weight]}, {"params": [bias], "lr": 1.0}], lr=0.5)
    >>> (weight.sum() + bias.sum()).backward()
    >>> optimizer.step()
    >>> weight.tolist(), bias.tolist()
    ([0.5, 0.5], [-1.0])
    """

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise ArgumentError(self.name, "params must be a list of tensors or of groups, got one tensor; write [tensor]")
        entries: list[Any] = list(params)
        if not entries:
            raise ArgumentError(self.name, "params is empty (a generator that was used up already?)")
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        for group in entries if isinstance(entries[0], dict) else [{"params": entries}]:
            self.add_param_group(group)

    @property
    def name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimise more parameters, with options of their own."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise ArgumentError(self.name, f"a group must be a dict with 'params', got {param_group!r}")
        unknown = [option for option in param_group if option not in ("params", "initial_lr", *self.defaults)]
        if unknown:
            raise ArgumentError(self.name, f"unknown option {unknown[0]!r} in a group; there are {', '.join(self.defaults)}")
        params = param_group["params"]
        group = {**self.defaults, **param_group, "params": [params] if isinstance(params, Tensor) else list(params)}
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for i, p in enumerate(group["params"]):
            if not isinstance(p, Tensor):
                raise ArgumentError(self.name, f"parameter {i} of a group is a {type(p).__name__}, expected a tensor")
            if not p.is_leaf:
                raise ArgumentError(self.name, f"parameter {i} of a group was computed by {p.grad_fn.name}; only leaves are optimised", shape=p.shape)  # type: ignore[union-attr]
            if id(p) in known:
                raise ArgumentError(self.name, f"parameter {i} of a group occurs twice", shape=p.shape)
            known.add(id(p))
        self.check(group)
        self.param_groups.append(group)

    def check(self, options: dict[str, Any]) -> None:
        """Refuse options outside their range; called for each group."""

    def check_at_least_0(self, options: dict[str, Any], *names: str) -> None:
        for name in names:
            self.check_number(options, name)
            if not options[name] >= 0:
                raise ArgumentError(self.name, f"{name} must be at least 0, got {options[name]}")

    def check_number(self, options: dict[str, Any], name: str) -> None:
        if not is_number(options[name]):
            raise ArgumentError(self.name, f"{name} must be a number, got {options[name]!r}")

    def check_flags(self, options: dict[str, Any], *names: str) -> None:
        check_flags(self.name, **{name: options[name] for name in names})

    def _check_gradient(self, i: int, p: Tensor, grad: Tensor) -> None:
        """Broadcast into the parameter it would be another's."""
        if grad.shape != p.shape:
            raise ShapeError(self.name, f"parameter {i} of a group has shape {p.shape}, its gradient {grad.shape}")
        if grad.dtype != p.dtype:
            raise DtypeError(self.name, f"parameter {i} of a group is {p.dtype}, its gradient {grad.dtype}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; with ``set_to_none=False`` fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else Tensor(namespace(p.array).zeros_like(p.array))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, in place. ``closure`` recomputes the loss first; it is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if current.capture is not None:
            current.capture.watch(self._options)
        with no_grad(), numpy.errstate(all="ignore"):  # nan and infinity go their way
            for group in self.param_groups:
                # a NumPy scalar, unlike a Python number, would turn float32 arrays into float64
                options = {name: value.item() if isinstance(value, numpy.generic) else value for name, value in group.items()}
                for i, p in enumerate(group["params"]):
                    if p.grad is not None:
                        self._check_gradient(i, p, p.grad)
                        numbers = None if current.capture is None else _numbers(self.state[p])
                        self.update(p.array, p.grad.array, self.state[p], options)
                        if numbers is not None and _numbers(self.state[p]) != numbers:
                            problem = "counts its steps on the host, and in a graph the count would stand still; call step() after the graph, not in it"
                            raise UnsupportedError(self.name, problem)
                        p._version[0] += 1  # a graph that saved the old values must notice
        return loss

    def _options(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in group.items() if name != "params"} for group in self.param_groups]

    def update(self, param: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        """Change ``param`` in place by ``grad`` (which stays as it is) and what ``state`` remembers."""
        raise NotImplementedError(f"{self.name}.update")

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State and options, where parameters are numbered in the order of the groups. The tensors are shared, not copied."""
        numbers = {p: i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        return {
            "state": {numbers[p]: dict(state) for p, state in self.state.items() if state},
            "param_groups": [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned, for parameters of the same shapes in the same order; tensors are copied."""
        saved = state_dict["param_groups"]
        have, got = ([len(group["params"]) for group in groups] for groups in (self.param_groups, saved))
        if have != got:
            raise ArgumentError(self.name, f"the saved groups hold {got} parameters, this optimiser's {have}")
        params = {int(i): p for group, old in zip(self.param_groups, saved, strict=True) for i, p in zip(old["params"], group["params"], strict=True)}
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for i, entries in state_dict["state"].items():
            p = params[int(i)]
            for name, value in entries.items():
                if isinstance(value, Tensor) and value.shape != p.shape:
                    raise ShapeError(self.name, f"the saved {name} of parameter {i} has shape {value.shape}, the parameter {p.shape}")
                state[p][name] = Tensor(moved(value.array, p.device).astype(p.dtype)) if isinstance(value, Tensor) else value
        for group, old in zip(self.param_groups, saved, strict=True):
            group.update(deepcopy({name: value for name, value in old.items() if name != "params"}))
        self.state = state

    def __repr__(self) -> str:
        lines = [f"{self.name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _numbers(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not isinstance(value, Tensor)}


def buffers(state: dict[str, Any], names: list[str], param: Array) -> list[Array]:
    """What ``state`` remembers under these names, arrays in the parameter's shape and place; zeros if it is asked for the first time."""
    for name in names:
        if name not in state:
            state[name] = Tensor(namespace(param).zeros_like(param))
        elif (place := device_of(param)) != device_of(state[name].array):  # the parameter was moved
            state[name] = state[name].to(device=place)
    return [state[name].array for name in names]
