"""inspect: a table of what a model did on one input, read off its execution: sizes, costs, memory, algorithms."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from minivgg import registry
from minivgg.autograd import Function, no_grad
from minivgg.explanation import candidates
from minivgg.inspect.execution import Call, Execution, Origin, execute, owner, read_examples
from minivgg.inspect.geometry import Field, receptive_fields, size_formula
from minivgg.nn import Module
from minivgg.spec import Conv2dSpec, LinearSpec, Pool2dSpec

CONVENTION = "one multiply-add is counted once; convolutions and linear layers (matrix products) count, their biases do not"


@dataclass(frozen=True)
class Row:
    """One call of a layer, or one operation in the ``forward`` of a module that is made of layers.

    ``macs``                      multiply-adds by the definition, whatever the algorithm
    ``activation_bytes``          new memory of the output: 0 for what works in place or returns a view
    ``saved_bytes``               what backward will need and no earlier layer keeps already, parameters not counted, if each layer
                                  is computed by itself; layers that `Sequential` computes in one pass save less
    ``gradient_bytes``            gradients of the output and of the trainable parameters
    ``workspace_bytes``           scratch memory of the chosen algorithm in forward; ``backward_workspace_bytes``: in backward
    ``receptive_field``           pixels, rows x columns; "all" behind a linear layer; "" where there are no rows and columns
    ``algorithm``, ``reason``     what computes it, and why
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    size_formula: str
    parameters: int
    macs: int
    activation_bytes: int
    saved_bytes: int
    gradient_bytes: int
    workspace_bytes: int
    backward_workspace_bytes: int
    receptive_field: str
    algorithm: str
    reason: str


@dataclass(frozen=True)
class Count:
    """The multiply-adds of the model under another convention."""

    macs: int
    convention: str


@dataclass(frozen=True)
class Inspection:
    """The rows in the order of execution, and their totals. ``print`` it, or take ``as_dict()``."""

    model: str
    input_shapes: list[tuple[int, ...]]
    dtype: str
    rows: list[Row]
    parameters: int
    trainable: int
    parameter_bytes: int
    other_counts: list[Count]

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """New memory of all outputs."""
        return sum(row.activation_bytes for row in self.rows)

    @property
    def saved_bytes(self) -> int:
        """What the graph keeps between forward and backward, parameters not counted."""
        return sum(row.saved_bytes for row in self.rows)

    @property
    def workspace_bytes(self) -> int:
        """Of the layer that needs most."""
        return max((max(row.workspace_bytes, row.backward_workspace_bytes) for row in self.rows), default=0)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        totals = {name: getattr(self, name) for name in ("macs", "activation_bytes", "saved_bytes", "workspace_bytes")}
        return {**asdict(self), **totals, "convention": CONVENTION}

    def __str__(self) -> str:
        from minivgg.inspect.text import inspection_text

        return inspection_text(self)


def inspect(model: Module, input: Any, batch_size: int = 1) -> Inspection:
    """Run ``model`` once, in evaluation mode, and say what each layer did.

    ``input`` is a size without the batch such as (3, 224, 224), a list of sizes, or an example tensor (or a tuple of
    them). The model is left as it was. Costs one forward pass and the memory of its graph.

    >>> from minivgg import nn
    >>> table = inspect(nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)), (1, 8, 8))
    >>> [(row.kind, row.output_shape, row.size_formula, row.macs, row.receptive_field) for row in table.rows]
    [('Conv2d', (1, 8, 8, 8), '(8 + 2·1 - 3)/1 + 1 = 8', 4608, '3x3'),
     ('ReLU', (1, 8, 8, 8), '', 0, '3x3'),
     ('MaxPool2d', (1, 8, 4, 4), '(8 + 2·0 - 2)/2 + 1 = 4', 0, '4x4')]
    """
    examples = read_examples(model, input, batch_size)
    execution = execute(model, examples)
    parameters = list(model.parameters())
    return Inspection(
        model=type(model).__name__,
        input_shapes=[tensor.shape for tensor in examples],
        dtype=str(examples[0].dtype),
        rows=_rows(execution),
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        parameter_bytes=sum(parameter.nbytes for parameter in parameters),
        other_counts=_other_counts(execution),
    )


def _rows(execution: Execution) -> list[Row]:
    fields = receptive_fields(execution.nodes, execution.shapes, execution.inputs)
    counted: set[int] = set()  # parameters and saved memory that a row holds already
    rows = []
    for call, nodes, origin in _steps(execution):
        own = [parameter for parameter in call.module.parameters(recurse=False) if id(parameter) not in counted]
        counted.update(map(id, own))
        counted.update(id(owner(parameter.array)) for parameter in own)
        whole = nodes is call.nodes
        output_shape = call.output_shapes[0] if whole and call.output_shapes else execution.shapes[nodes[-1]]
        itemsize = (own[0] if own else execution.inputs[0]).itemsize
        choices = [choice for node in nodes for choice in [_choice(node)] if choice is not None]
        rows.append(
            Row(
                name=call.name if whole else f"{call.name}.forward".lstrip("."),
                kind=type(call.module).__name__ if whole else nodes[-1].name,
                input_shape=call.inputs[0].shape if whole and call.inputs else _input_shape(nodes[0]),
                output_shape=output_shape,
                size_formula="; ".join(filter(None, (size_formula(node, execution.shapes[node]) for node in nodes if node in execution.shapes))),
                parameters=sum(parameter.numel() for parameter in own),
                macs=sum(map(macs, nodes)),
                activation_bytes=call.new_bytes if whole else 0 if nodes[-1].name in VIEWS else math.prod(output_shape) * itemsize,
                saved_bytes=sum(_saved_bytes(node, counted) for node in nodes),
                gradient_bytes=math.prod(output_shape) * itemsize + sum(parameter.nbytes for parameter in own if parameter.requires_grad),
                workspace_bytes=max((choice[2] for choice in choices), default=0),
                backward_workspace_bytes=max((choice[3] for choice in choices), default=0),
                receptive_field=_field_text(fields.get(origin, "") if isinstance(origin, Function) else ""),
                algorithm=", ".join(dict.fromkeys(choice[0] for choice in choices)),
                reason="; ".join(dict.fromkeys(choice[1] for choice in choices)),
            )
        )
    return rows


def _steps(execution: Execution) -> list[tuple[Call, list[Function], Origin | None]]:
    """Calls of layers, and the single nodes that modules with layers recorded between them, in the order of execution."""
    steps: list[tuple[int, Call, list[Function], Origin | None]] = []
    for call in execution.calls:
        if not call.module._modules:
            steps.append((call.first, call, call.nodes, call.origin))
        else:
            steps += [(node.sequence, call, [node], node) for node in call.nodes if node in execution.shapes]
    return [step[1:] for step in sorted(steps, key=lambda step: step[0])]


def _input_shape(node: Function) -> tuple[int, ...]:
    return next(edge[2] for edge in node.edges if edge is not None)


def macs(node: Function) -> int:
    """The multiply-adds of a node: convolutions, linear layers and matrix products; 0 for all else."""
    spec = getattr(node, "spec", None)
    if isinstance(spec, Conv2dSpec | LinearSpec):
        return spec.macs
    if node.name == "MatMul":
        a, b = node.saved_tensors
        return math.prod(a.shape) * b.shape[-1]
    return 0


def _saved_bytes(node: Function, counted: set[int]) -> int:
    """Memory that a node keeps for backward and that is not in ``counted`` yet, to which it is added."""
    total = 0
    with no_grad():
        for tensor in node.saved_tensors:
            if tensor is not None and id(memory := owner(tensor.array)) not in counted:
                counted.add(id(memory))
                total += memory.nbytes
    return total


VIEWS = ("Reshape", "Permute", "Expand", "Get")
"""Operations that return, as a rule, memory of their input."""

BACKWARD = {
    "conv2d": ("conv2d_grad_input", "conv2d_grad_weight"),
    "max_pool2d": ("max_pool2d_grad_input",),
    "avg_pool2d": ("avg_pool2d_grad_input",),
}
"""The operations that compute the gradients, where they choose among algorithms too."""


def _choice(node: Function) -> tuple[str, str, int, int] | None:
    """(algorithm, reason, workspace in forward, workspace in backward) of a node whose operation has algorithms."""
    spec = getattr(node, "spec", None)
    if not isinstance(spec, Conv2dSpec | Pool2dSpec):
        return None
    operation = "conv2d" if isinstance(spec, Conv2dSpec) else spec.operation
    if operation not in registry.operations_with_algorithms():
        return None
    forced = getattr(node, "algorithm", None)
    dtype = next(edge[3] for edge in node.edges if edge is not None)
    chosen = registry.select(operation, spec, dtype, forced)
    reason = "forced" if forced else next(c.reason for c in candidates(operation, spec, dtype) if c.name == chosen.name)
    backward = [registry.select(name, spec, dtype, forced).workspace(spec, dtype) for name in BACKWARD.get(operation, ())]
    return chosen.name, reason, chosen.workspace(spec, dtype), max(backward, default=0)


def _field_text(field: Field) -> str:
    return field if isinstance(field, str) else "x".join(str(math.ceil(reach.size)) for reach in field)


def _other_counts(execution: Execution) -> list[Count]:
    """The same execution as other tools count it."""
    conv_biases = linear_biases = linear_macs = relu_outputs = pool_inputs = 0
    for call in execution.calls:
        adaptive = "Adaptive" in type(call.module).__name__
        for node in call.nodes:
            outputs = math.prod(execution.shapes.get(node, (0,)))
            has_bias = getattr(call.module, "bias", None) is not None or any(edge is not None for edge in node.edges[2:3])
            if node.name == "Conv2d":
                conv_biases += outputs * has_bias
            elif node.name == "Linear":
                linear_biases += outputs * has_bias
                linear_macs += macs(node)
            elif node.name == "ReLU":
                relu_outputs += outputs
            elif isinstance(getattr(node, "spec", None), Pool2dSpec) and not adaptive:
                pool_inputs += math.prod(_input_shape(node))
        if adaptive and call.inputs:
            pool_inputs += math.prod(call.inputs[0].shape)
    total = sum(macs(node) for node in execution.nodes)
    biased = total + conv_biases + linear_biases
    return [
        Count(biased, "with one addition for every bias (ptflops, aten backend)"),
        Count(biased + 2 * (relu_outputs + pool_inputs), "with every bias, and twice every ReLU output and pooling input (ptflops, pytorch backend)"),
        Count(total + conv_biases + linear_macs, "with convolution biases, and the additions of linear layers counted apart (the table of THOP)"),
    ]
