"""summary: the table of layers, output shapes and parameters, in the words and columns of torchsummary 1.5.1."""

from __future__ import annotations

import math
from typing import Any

from minivgg.autograd import no_grad
from minivgg.hooks import RemovableHandle
from minivgg.inspect.execution import evaluation, example_inputs, tensors_in
from minivgg.nn import Module, ModuleList, Sequential

LINE = "{:>20}  {:>25} {:>15}"


def summary(model: Module, input_size: Any, batch_size: int = -1, device: Any = None) -> None:
    """Print each layer's output shape and number of parameters, and the memory of one training step, in MB of 2**20 bytes.

    ``input_size`` is a size without the batch, or a list of sizes for several inputs. ``batch_size`` is what is printed
    and multiplied with; the model itself runs once, on one example, in evaluation mode, and is left as it was.
    As in torchsummary, 4 bytes an element are assumed, "Forward/backward" is twice the outputs, and a layer that runs
    twice is counted twice. ``device`` is where the example lies, None where the model does.

    >>> from minivgg import nn
    >>> summary(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (4,))
    ----------------------------------------------------------------
            Layer (type)               Output Shape         Param #
    ================================================================
                Linear-1                    [-1, 3]              15
                  ReLU-2                    [-1, 3]               0
    ================================================================
    Total params: 15
    Trainable params: 15
    Non-trainable params: 0
    ----------------------------------------------------------------
    Input size (MB): 0.00
    Forward/backward pass size (MB): 0.00
    Params size (MB): 0.00
    Estimated Total Size (MB): 0.00
    ----------------------------------------------------------------
    """
    print(summary_text(model, input_size, batch_size, device))


def summary_text(model: Module, input_size: Any, batch_size: int = -1, device: Any = None) -> str:
    """What ``summary`` prints."""
    lines: list[str] = []
    outputs = parameters = trainable = 0

    def after(module: Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal outputs, parameters, trainable
        shapes = [[batch_size, *tensor.shape[1:]] for tensor in tensors_in(output)]
        own = list(module.parameters(recurse=False))
        count = sum(parameter.numel() for parameter in own)
        lines.append(LINE.format(f"{type(module).__name__}-{len(lines) + 1}", str(shapes if isinstance(output, tuple | list) else shapes[0]), f"{count:,}"))
        outputs += sum(math.prod(shape) for shape in shapes)
        parameters += count
        trainable += sum(parameter.numel() for parameter in own if parameter.requires_grad)

    inputs = [tensor.to(device=device) for tensor in example_inputs(model, input_size)]
    hooks: list[RemovableHandle] = []
    for module in model.modules():
        if module is not model and not isinstance(module, Sequential | ModuleList):
            hooks.append(module.register_forward_hook(after))
    try:
        with evaluation(model), no_grad():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()

    input_mb, output_mb, parameter_mb = (
        abs(elements) * 4 / 2**20 for elements in (sum(tensor.numel() for tensor in inputs) * batch_size, 2 * outputs, parameters)
    )
    return "\n".join(
        [
            "-" * 64,
            LINE.format("Layer (type)", "Output Shape", "Param #"),
            "=" * 64,
            *lines,
            "=" * 64,
            f"Total params: {parameters:,}",
            f"Trainable params: {trainable:,}",
            f"Non-trainable params: {parameters - trainable:,}",
            "-" * 64,
            f"Input size (MB): {input_mb:0.2f}",
            f"Forward/backward pass size (MB): {output_mb:0.2f}",
            f"Params size (MB): {parameter_mb:0.2f}",
            f"Estimated Total Size (MB): {input_mb + output_mb + parameter_mb:0.2f}",
            "-" * 64,
        ]
    )
