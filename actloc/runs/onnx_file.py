"""ONNX files of a run's networks: what they say about themselves, and running them.

A file from elsewhere is data. It has all its weights inside, so that no other file is opened, and only the operators of
ONNX itself, so that no code comes with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
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
FEATURES, MASK = "features", "mask"
_QUIET = 3  # of onnxruntime's levels: errors only


@dataclass(frozen=True)
class OnnxRecord:
    """What a file is of. All but the versions and names must be the same where it is used."""

    actloc: str
    """The version that wrote it."""
    run: str
    """The name of the run."""
    checkpoint: str
    weights: str
    """averaged or raw."""
    weights_sha256: str
    """Of the file of these weights in the checkpoint."""
    detector: str
    steps: int
    """T of the features, padded."""
    max_steps: int
    """The steps that the run was trained on at most."""
    channels: int
    classes_sha256: str
    """Of the names of the classes in order, as JSON."""
    features: Mapping[str, Any]  # Any: JSON values
    """The settings that shape the features, by dotted key."""

    def differences(self, other: OnnxRecord) -> list[str]:
        """What differs in `other`, the run at hand, that the numbers depend on."""
        own, theirs = asdict(self), asdict(other)
        for one in (own, theirs):
            for name in ("actloc", "run", "steps"):
                del one[name]
            one |= one.pop("features")
        return sameness.differences(own, theirs, "in the file", "in the run")


class OnnxNetwork:
    """A network that onnxruntime computes, on the CPU."""

    def __init__(self, path: Path, content: bytes) -> None:
        """`content` is that of the file `path`, which is only named in errors; raises UserError if it is not right."""
        onnx_packages.check("onnx", "onnxruntime")
        import onnxruntime as runtime

        model = _checked(path, content)
        self.record = _record(model, path)
        options = runtime.SessionOptions()
        options.log_severity_level = _QUIET
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has one class for each kind of damage, without a common base
            raise _unusable(path, f"onnxruntime cannot load it: {_first_line(error)}") from error
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]
        found = {one.name: list(one.shape) for one in self._session.get_inputs()}
        expected = {FEATURES: [1, self.record.channels, self.record.steps], MASK: [1, self.record.steps]}
        if any(expected.get(name) != shape for name, shape in found.items()) or FEATURES not in found:
            raise _unusable(path, f"its inputs are {found}, and its record says {expected}")

    def __call__(self, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The outputs by name, of (1, C, T) features and their `mask` (1, T), true on real steps; T is the record's."""
        given = {FEATURES: features.float().cpu().numpy(), MASK: mask.cpu().numpy()}
        found = self._session.run(self._outputs, {name: given[name] for name in self._inputs})
        arrays = [np.ascontiguousarray(one) for one in found]
        tensors = [torch.from_numpy(one).to(features.device) for one in arrays]
        return dict(zip(self._outputs, tensors, strict=True))


def read_network(path: Path) -> tuple[OnnxNetwork, str]:
    """The network in a file, and the file's sha256."""
    content = files.read_bytes(path)
    return OnnxNetwork(path, content), files.sha256_of_bytes(content)


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
    names = {field.name for field in fields(OnnxRecord)}
    if not isinstance(stored, dict) or set(stored) != names:
        raise _unusable(path, f"its record has {sorted(stored) if isinstance(stored, dict) else stored!r}")
    is_counted = all(isinstance(stored[name], int) for name in ("steps", "channels", "max_steps"))
    if not is_counted or not isinstance(stored["features"], dict):
        raise _unusable(path, "its record is damaged")
    return OnnxRecord(**stored)


def _unusable(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be used: {why}.",
        "Expected a file that `actloc export-onnx` wrote of this run.",
        f"Write it again: actloc export-onnx RUN {path}",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
