"""Nested state as a file: the tensors go out by name, and what is left is JSON that says where each belongs.

    {"lr": 0.1, "momentum": [Tensor]}   becomes   {"momentum.0": array}  and  {"lr": 0.1, "momentum": [{"$tensor": "momentum.0"}]}

JSON keeps integers of any size and floats to the last bit. Its keys are text, so dictionaries numbered by integers
(the state of an optimiser) are marked with "$numbered", tuples with "$tuple", and dictionaries that have such a mark among
their own keys with "$named". Nothing is ever pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.backend import to_numpy
from minivgg.errors import DtypeError, FileError
from minivgg.training.safetensors_format import Arrays

METADATA_KEY = "minivgg.state"
"""Where the JSON stands in the header of a safetensors file."""


def split(state: Any) -> tuple[Arrays, dict[str, str]]:
    """The arrays by name, and the metadata that ``join`` makes them a tree with.

    >>> arrays, metadata = split({"step": 3, "buffer": {0: Tensor(numpy.ones(2))}})
    >>> arrays, metadata
    ({'buffer.0': array([1., 1.])}, {'minivgg.state': '{"step": 3, "buffer": {"$numbered": {"0": {"$tensor": "buffer.0"}}}}'})
    """
    arrays: Arrays = {}
    return arrays, {METADATA_KEY: json.dumps(_plain(state, "", arrays))}


def _plain(value: Any, name: str, arrays: Arrays) -> Any:
    def below(key: Any, part: Any) -> Any:
        return _plain(part, f"{name}.{key}" if name else str(key), arrays)

    if isinstance(value, Tensor):
        while name in arrays:  # {"a.b": x, "a": {"b": y}}
            name += "'"
        arrays[name] = to_numpy(value.array)
        return {"$tensor": name}
    if isinstance(value, numpy.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        named = {key: below(key, part) for key, part in value.items()}
        return {"$named": named} if any(key.startswith("$") for key in named) else named
    if isinstance(value, Mapping) and all(type(key) is int for key in value):
        return {"$numbered": {str(key): below(key, part) for key, part in value.items()}}
    if isinstance(value, tuple):
        return {"$tuple": [below(i, part) for i, part in enumerate(value)]}
    if isinstance(value, list):
        return [below(i, part) for i, part in enumerate(value)]
    raise DtypeError("checkpoint", f"{name} is a {type(value).__name__}; a checkpoint holds tensors, numbers, text, None, and lists, tuples and dicts of them")


def join(arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, str], path: Path) -> Any:
    """The state that ``split`` took apart; ``path`` is where it came from, for the error."""
    if METADATA_KEY not in metadata:
        raise FileError("load", f"{path} is no checkpoint: it holds {len(arrays)} tensors, but not the state of a training run")

    def nested(value: Any) -> Any:
        if isinstance(value, list):
            return [nested(part) for part in value]
        if not isinstance(value, dict):
            return value
        if "$tensor" in value:
            return Tensor(arrays[value["$tensor"]])
        if "$tuple" in value:
            return tuple(nested(part) for part in value["$tuple"])
        if "$numbered" in value:
            return {int(key): nested(part) for key, part in value["$numbered"].items()}
        return {key: nested(part) for key, part in value.get("$named", value).items()}

    try:
        return nested(json.loads(metadata[METADATA_KEY]))
    except KeyError as missing:
        raise FileError("load", f"{path} is damaged: tensor {missing} is missing") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FileError("load", f"{path} is damaged: its state cannot be put together ({error})") from None
