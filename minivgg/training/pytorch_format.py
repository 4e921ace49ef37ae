"""Files of ``torch.save``: pickles, so they are read by PyTorch itself in the mode that refuses code, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from minivgg.errors import FileError
from minivgg.training.safetensors_format import Arrays


def read(path: Path) -> Arrays:
    """The tensors of a state dictionary, by ``torch.load(path, weights_only=True)``. FileError where torch is not installed."""
    try:
        import torch
    except ImportError:
        how = 'safetensors.torch.save_file(torch.load(path, weights_only=True), "weights.safetensors")'
        raise FileError("load", f"{path} is a PyTorch file, and PyTorch is not installed here; convert it where it is, with {how}") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows itself in any way, and so does code
        raise FileError("load", f"{path} cannot be read by torch.load(weights_only=True): {str(error).splitlines()[0] if str(error) else error!r}") from None
    if not isinstance(state, Mapping) or not all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()):
        raise FileError("load", f"{path} holds no state dictionary (tensors by name); save model.state_dict()")
    try:
        return {name: tensor.detach().numpy() for name, tensor in state.items()}
    except (TypeError, RuntimeError) as error:
        raise FileError("load", f"{path} holds an element type that NumPy does not have: {error}") from None
