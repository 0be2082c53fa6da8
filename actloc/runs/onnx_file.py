"""ONNX files of a run's networks: what they say about themselves, and running them.

A file from elsewhere is data. It has all its weights inside, so that no other file is opened, and only the operators of
ONNX itself, so that no code comes with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actloc import files
from actloc.errors import UserError
from actloc.runs import onnx_packages
from actloc.settings import sameness

METADATA = "actloc"
"""The key of an ONNX file's metadata that the record is kept under, as JSON."""
DETECTOR, ENCODER = "detector", "encoder"
_QUIET = 3  # of onnxruntime's levels: errors only
_RECORDED = {"part": str, "name": str, "actloc": str, "run": str, "inputs": dict, "made_with": dict}


@dataclass(frozen=True)
class OnnxRecord:
    """What a file is of."""

    part: str
    """detector or encoder."""
    name: str
    """That of the part in the settings."""
    actloc: str
    """The version that wrote it."""
    run: str
    """The name of the run."""
    inputs: Mapping[str, list[int | None]]
    """The shape of each; null where any length will do."""
    made_with: Mapping[str, Any]  # Any: JSON values
    """Everything that the numbers depend on: weights, classes, settings; it must be the same where a file is used."""

    def differences(self, now: Mapping[str, Any]) -> list[str]:  # Any: JSON values
        """In what a run at hand, of which this is `made_with` now, differs."""
        return sameness.differences(dict(self.made_with), dict(now), "in the file", "in the run")


class OnnxNetwork:
    """A network that onnxruntime computes, on the CPU."""

    def __init__(self, path: Path, content: bytes) -> None:
        """`content` is that of the file `path`, which is only named in errors; raises UserError if it is not right."""
        onnx_packages.check("onnx", "onnxruntime")
        import onnxruntime

        self.path, self.sha256 = path, files.sha256_of_bytes(content)
        self.record = _record(_checked(path, content), path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has one class for each kind of damage, without a common base
            raise _unusable(path, f"onnxruntime cannot load it: {_first_line(error)}") from error
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]
        shapes = {
            one.name: [length if isinstance(length, int) else None for length in one.shape]
            for one in self._session.get_inputs()
        }
        if not shapes or any(self.record.inputs.get(name) != shape for name, shape in shapes.items()):
            raise _unusable(path, f"its inputs are {shapes}, and its record says {dict(self.record.inputs)}")

    def __call__(self, **given: Tensor) -> dict[str, Tensor]:
        """The outputs by name, of the inputs by name; what the network has no use for is left out."""
        device = next(iter(given.values())).device
        found = self._session.run(self._outputs, {name: given[name].cpu().numpy() for name in self._inputs})
        tensors = [torch.from_numpy(np.ascontiguousarray(one)).to(device) for one in found]
        return dict(zip(self._outputs, tensors, strict=True))


def read_network(path: Path) -> OnnxNetwork:
    """The network in a file; raises UserError if it cannot be used."""
    return OnnxNetwork(path, files.read_bytes(path))


def _checked(path: Path, content: bytes) -> Any:  # Any: onnx.ModelProto
    """The model, of which nothing but this file is needed."""
    import onnx
    from google.protobuf.message import DecodeError  # comes with onnx

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise _unusable(path, f"it is no ONNX file: {_first_line(error)}") from error
    elsewhere = [one.name for one in _tensors(model) if one.data_location == onnx.TensorProto.EXTERNAL]
    if elsewhere:
        raise _unusable(path, f"the values of {len(elsewhere)} tensors, such as {elsewhere[0]}, are in another file")
    domains = {one.domain for one in model.opset_import} | {one.domain for one in model.functions}
    foreign = sorted(domains - {"", "ai.onnx"})
    if foreign:
        raise _unusable(path, f"it needs operators of {', '.join(foreign)}, and only ONNX's own are used")
    return model


def _tensors(message: Any) -> Iterator[Any]:  # Any: messages of protobuf
    """All tensors in a message and in the messages inside it: weights, constants, graphs within graphs."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                yield from _tensors(one)


def _record(model: Any, path: Path) -> OnnxRecord:  # Any: onnx.ModelProto
    texts = [one.value for one in model.metadata_props if one.key == METADATA]
    if len(texts) != 1:
        raise _unusable(path, "it does not say which run it is of")
    stored = files.parse_json(texts[0])
    assert _RECORDED.keys() == {field.name for field in fields(OnnxRecord)}
    if not isinstance(stored, dict) or {key: type(value) for key, value in stored.items()} != _RECORDED:
        raise _unusable(path, "its record is damaged, or of another version of actloc")
    return OnnxRecord(**stored)


def _unusable(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be used: {why}.",
        "Expected a file that `actloc export-onnx` wrote of this run.",
        f"Write it again: actloc export-onnx RUN {path}",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
