"""Writes a run's detector as an ONNX file, which is kept only if it computes what torch does."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actloc import console, files
from actloc.detectors.base_network import Detector
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.layers.precision import full_precision
from actloc.runs.onnx_file import FEATURES, MASK, METADATA, OnnxNetwork, OnnxRecord
from actloc.runs.onnx_of_run import record_of
from actloc.runs.trained import TrainedDetector, load_trained
from actloc.structures import Detections

TOLERANCE = 1e-4  # of every number, relative to it, or absolute where it is below 1
OPSET = 18  # the one that torch's exporter is written for
SHARES = (1.0, 0.5, 0.02)  # of the length, that are real steps in the inputs to compare with


@dataclass(frozen=True)
class Written:
    """A file that was written."""

    record: OnnxRecord
    outputs: list[str]
    difference: float
    """The largest to torch's outputs, by `TOLERANCE`."""
    num_bytes: int


def export(experiment: Experiment, path: Path, num_steps: int | None) -> Written:
    """Writes the network of the run's detector for videos that are padded to the length of one with `num_steps`.

    By default that is the longest one that training sees whole. Raises UserError, and writes nothing, if the network
    cannot be written, or if its outputs on random features differ from torch's.
    """
    trained = load_trained(experiment)
    try:
        return _export(experiment, trained, path, num_steps)
    finally:
        trained.close()


def _export(experiment: Experiment, trained: TrainedDetector, path: Path, num_steps: int | None) -> Written:
    detector = trained.localizer.detector.cpu().eval()
    length = detector.padded_steps(trained.localizer.max_steps if num_steps is None else num_steps)
    precision = trained.localizer.precision
    if precision != "float32":
        console.warn(f"The file computes in float32, and the run in {precision}: torch's own numbers are rounded more")
    record = record_of(experiment, trained, length)
    inputs = _random(trained.in_channels, length, length, seed=0)
    with torch.inference_mode(), full_precision(inputs[0].device):
        names = list(detector.tensors_of(detector(*inputs)))  # refuses first what cannot be written
    console.say(f"Writing the network of {experiment.detector.name} for {length} steps")
    content = _written(detector, inputs, names, record)
    network = OnnxNetwork(path, content)
    worst = max(
        _difference(detector, network, _random(trained.in_channels, length, max(round(share * length), 1), seed=seed))
        for seed, share in enumerate(SHARES, start=1)
    )
    if not worst <= TOLERANCE:
        raise UserError(
            f"The ONNX network differs from torch's by {worst:.1e} on random features.",
            f"Expected at most {TOLERANCE:.0e}.",
            "Use the run with torch, and report this: it is a fault of actloc, torch or onnxruntime.",
        )
    files.write_bytes(path, content)
    return Written(record, names, worst, len(content))


def _written(detector: Detector, inputs: tuple[Tensor, Tensor], names: list[str], record: OnnxRecord) -> bytes:
    """The ONNX file of the network with these inputs and names of outputs; raises UserError."""
    with _quietly(), full_precision(inputs[0].device):
        try:
            program = torch.onnx.export(
                _Tensors(detector).eval(),
                inputs,
                input_names=[FEATURES, MASK],
                output_names=names,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise UserError(
                f"torch cannot write the network of {type(detector).__name__} as ONNX: {_cause(error)}",
                "Expected a network that does the same for all values of the features.",
                "Use the run with torch.",
            ) from error
    assert program is not None, "torch.onnx.export returns a program with dynamo=True"
    model = program.model_proto
    for part in [*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output]:
        part.ClearField("metadata_props")  # tracebacks, with the paths of this machine
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(asdict(record), ensure_ascii=False)
    content: bytes = model.SerializeToString()
    return content


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says about its own steps."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


class _Tensors(nn.Module):
    """A detector's network, as ONNX has it: tensors in, tensors out."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """What `tensors_of` gives for (1, C, T) features and their mask (1, T)."""
        return tuple(self.detector.tensors_of(self.detector(features, mask)).values())


def _random(in_channels: int, length: int, num_real: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Features (1, C, T) of which `num_real` steps are real, and their mask (1, T)."""
    features = torch.randn(1, in_channels, length, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(length)[None] < num_real
    return features * mask[:, None], mask


def _difference(detector: Detector, network: OnnxNetwork, inputs: tuple[Tensor, Tensor]) -> float:
    """The largest difference of an output; all that is selected must follow from these tensors and the mask."""
    with torch.inference_mode(), full_precision(inputs[0].device):
        outputs = detector(*inputs)
        expected = detector.tensors_of(outputs)
        again = detector.select(detector.outputs_of(expected, inputs[1]))
        assert _are_same(again, detector.select(outputs)), f"{type(detector).__name__}.tensors_of leaves something out"
    found = network(*inputs)
    assert list(found) == list(expected)
    return max(_relative(found[name], expected[name]) for name in expected)


def _are_same(found: list[Detections], expected: list[Detections]) -> bool:
    columns = "segments", "scores", "labels"
    pairs = zip(found, expected, strict=True)
    return all(torch.equal(getattr(one, name), getattr(other, name)) for one, other in pairs for name in columns)


def _relative(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    theirs = expected.double()
    difference = (found.double() - theirs).abs() / theirs.abs().clamp(min=1)
    return float(difference.max()) if difference.numel() else 0.0


def _cause(error: BaseException) -> str:
    """The first line of the error that others were made of."""
    inner: Any = error  # Any: of any class
    while inner.__cause__ is not None:
        inner = inner.__cause__
    return (str(inner).strip() or type(inner).__name__).splitlines()[0]
