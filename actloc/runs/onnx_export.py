"""Writes networks of a run as ONNX files, which are kept only if they compute what torch does."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actloc import console, files
from actloc.detectors.base_network import Detector
from actloc.encoders.base_network import ClipEncoder
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.layers.precision import full_precision
from actloc.runs.onnx_detector import FEATURES, MASK
from actloc.runs.onnx_file import METADATA, OnnxNetwork, OnnxRecord
from actloc.runs.onnx_of_run import FRAMES, VECTORS, OnnxFrames, detector_record, encoder_record
from actloc.runs.stored_encoder import stored_encoder
from actloc.runs.trained import load_trained
from actloc.structures import Detections
from actloc.video.frame_transforms import FrameStep, prepared_frame

TOLERANCE = 1e-4  # of every number, relative to it, or absolute where it is below 1
OPSET = 18  # the one that torch's exporter is written for
FRAME_SIZES = (720, 1280), (1280, 720), (480, 640)  # of videos, height and width: do all frames get one size?
SHARES = (1.0, 0.5, 0.02)  # of the length, that are real steps in the inputs to compare with


@dataclass(frozen=True)
class WrittenNetwork:
    """A file that was written."""

    record: OnnxRecord
    outputs: Sequence[str]
    difference: float
    """The largest to torch's outputs, by `TOLERANCE`."""
    num_bytes: int


def export_detector(experiment: Experiment, path: Path, num_steps: int | None) -> WrittenNetwork:
    """Writes the network of the run's detector for videos that are padded to the length of one with `num_steps`.

    By default that is the longest one that training sees whole. Raises UserError, and writes nothing, if the network
    cannot be written, or if its outputs on random features differ from torch's.
    """
    trained = load_trained(experiment)
    trained.close()
    detector = trained.localizer.detector.cpu().eval()
    channels = trained.in_channels
    length = detector.padded_steps(trained.localizer.max_steps if num_steps is None else num_steps)
    _warn_of_precision(trained.localizer.precision)
    record = detector_record(experiment, trained, length)
    inputs = _features(channels, length, length, seed=0)
    with torch.inference_mode(), full_precision(inputs[0].device):
        names = list(detector.tensors_of(detector(*inputs)))  # refuses first what cannot be written
    console.say(f"Writing the network of {record.name} for {length} steps")
    content = _written(_Tensors(detector), inputs, names, record)
    network = OnnxNetwork(path, content)
    worst = max(
        _difference(detector, network, _features(channels, length, max(round(share * length), 1), seed=seed))
        for seed, share in enumerate(SHARES, start=1)
    )
    return _kept(path, content, record, names, worst)


def export_encoder(experiment: Experiment, path: Path) -> WrittenNetwork:
    """Writes the network that makes vectors of the frames of stored features; raises UserError as for the detector."""
    trained = load_trained(experiment)
    trained.close()
    if trained.live is not None:
        raise UserError(
            "The run has an encoder that learned with its detector.",
            "Expected a run on stored features, whose encoder works frame by frame.",
            "Write the detector only: leave out --encoder.",
        )
    encoder = stored_encoder(experiment, trained).cpu()
    if not encoder.is_framewise:
        raise UserError(
            f"The encoder {encoder.config.name} sees clips.",
            "Expected one that works frame by frame, such as efficientnet_lite0.",
            "Write the detector only: leave out --encoder.",
        )
    _warn_of_precision(encoder.config.precision)
    sizes = [_size(encoder.config.frame_steps(), *size) for size in FRAME_SIZES]
    is_fixed = len(set(sizes)) == 1
    record = encoder_record(experiment, encoder, sizes[0] if is_fixed else (None, None))
    size = f"{sizes[0][0]} x {sizes[0][1]} pixels" if is_fixed else "any size"
    console.say(f"Writing the network of {record.name} for frames of {size}")
    dynamic = None if is_fixed else {FRAMES: {1: torch.export.Dim("height"), 2: torch.export.Dim("width")}}
    content = _written(_Vectors(encoder), (_frame(sizes[0], seed=0),), [VECTORS], record, dynamic)
    computed, worst = OnnxFrames(OnnxNetwork(path, content)), 0.0
    for seed, pixels in enumerate(sizes, start=1):
        frames = _frame(pixels, seed=seed)
        with torch.inference_mode(), full_precision(frames.device):
            worst = max(worst, _relative(computed(frames), encoder.frame_vectors(frames)))
    return _kept(path, content, record, [VECTORS], worst)


def _kept(path: Path, content: bytes, record: OnnxRecord, names: Sequence[str], difference: float) -> WrittenNetwork:
    """Writes the file if the network computes what torch does."""
    if not difference <= TOLERANCE:
        raise UserError(
            f"The ONNX network differs from torch's by {difference:.1e} on random inputs.",
            f"Expected at most {TOLERANCE:.0e}.",
            "Use the run with torch, and report this: it is a fault of actloc, torch or onnxruntime.",
        )
    files.write_bytes(path, content)
    return WrittenNetwork(record, names, difference, len(content))


def _warn_of_precision(precision: str) -> None:
    if precision != "float32":
        console.warn(f"The file computes in float32, and the run in {precision}, whose numbers are rounded more")


def _written(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    record: OnnxRecord,
    dynamic: dict[str, Any] | None = None,  # Any: as torch takes them
) -> bytes:
    """The ONNX file of the network with these inputs and names of outputs; raises UserError."""
    with _quietly(), full_precision(inputs[0].device):
        try:
            program = torch.onnx.export(
                network.eval(),
                inputs,
                input_names=list(record.inputs),
                output_names=names,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                dynamic_shapes=dynamic,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise UserError(
                f"torch cannot write the network of {record.name} as ONNX: {_cause(error)}",
                "Expected a network that does the same for all values of its inputs.",
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


class _Vectors(nn.Module):
    """An encoder's network of frames, as ONNX has it."""

    def __init__(self, encoder: ClipEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, frames: Tensor) -> Tensor:
        """Vectors (N, c) of frames (N, H, W, 3)."""
        return self.encoder.frame_vectors(frames)


def _size(steps: Sequence[FrameStep], height: int, width: int) -> tuple[int, int]:
    """Height and width of a frame after these steps."""
    prepared = prepared_frame(steps, height, width)
    return prepared.shape[0], prepared.shape[1]


def _frame(size: tuple[int, int], *, seed: int) -> Tensor:
    """A frame (1, H, W, 3) of noise."""
    return torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def _features(in_channels: int, length: int, num_real: int, *, seed: int) -> tuple[Tensor, Tensor]:
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
        if not _are_same(again, detector.select(outputs)):
            raise UserError(
                f"{type(detector).__name__} selects other segments from what its `outputs_of` gives.",
                "Expected the same as from its outputs: `tensors_of` names all that the network computed.",
                "Correct these methods, or use the run with torch.",
            )
    found = network(**{FEATURES: inputs[0], MASK: inputs[1]})
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
