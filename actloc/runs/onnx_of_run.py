"""Whether ONNX files are of a run's networks, and the run with these networks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actloc import __version__, files
from actloc.encoders.base_network import ClipEncoder
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.runs.onnx_detector import FEATURES, MASK, OnnxDetector
from actloc.runs.onnx_file import DETECTOR, ENCODER, OnnxNetwork, OnnxRecord, read_network
from actloc.runs.trained import TrainedDetector

FRAMES, VECTORS = "frames", "vectors"


def detector_record(experiment: Experiment, trained: TrainedDetector, num_steps: int) -> OnnxRecord:
    """The record of a file of the run's detector, for features that are padded to `num_steps`."""
    inputs: dict[str, list[int | None]] = {FEATURES: [1, trained.in_channels, num_steps], MASK: [1, num_steps]}
    made_with = _made_with_detector(experiment, trained)
    return OnnxRecord(DETECTOR, experiment.detector.name, __version__, experiment.run.name, inputs, made_with)


def encoder_record(experiment: Experiment, encoder: ClipEncoder, frame: tuple[int | None, int | None]) -> OnnxRecord:
    """The record of a file of the encoder, for frames of this height and width; None is any."""
    inputs: dict[str, list[int | None]] = {FRAMES: [1, *frame, 3]}
    made_with = _made_with_encoder(experiment, encoder)
    return OnnxRecord(ENCODER, encoder.config.name, __version__, experiment.run.name, inputs, made_with)


def _made_with_detector(experiment: Experiment, trained: TrainedDetector) -> dict[str, Any]:  # Any: JSON values
    weights = experiment.evaluation.weights
    name = "averaged" if weights == "averaged" else "weights"
    return {
        "detector": experiment.detector.name,
        "checkpoint": trained.checkpoint,
        "weights": weights,
        "weights_sha256": files.sha256_of_file(experiment.run_folder / trained.checkpoint / f"{name}.safetensors"),
        "max_steps": trained.localizer.max_steps,  # positions, where there are some, are of these
        "channels": trained.in_channels,
        "classes_sha256": files.sha256_of_bytes(json.dumps(trained.classes).encode()),
        **_shaping_features(experiment),
    }


def _made_with_encoder(experiment: Experiment, encoder: ClipEncoder) -> dict[str, Any]:  # Any: JSON values
    return {"encoder_weights_sha256": encoder.weights_sha256, **_shaping_features(experiment)}


def _shaping_features(experiment: Experiment) -> dict[str, Any]:  # Any: JSON values
    shaping: dict[str, Any] = json.loads(json.dumps(experiment.shaping("features")))
    return {key: value for key, value in shaping.items() if key.startswith("features.")}


class OnnxParts:
    """The networks of a run that are to be computed by onnxruntime, each from a file."""

    def __init__(self, experiment: Experiment, paths: Sequence[Path]) -> None:
        """Reads the files; raises UserError if one cannot be used, or if two are of the same part."""
        self._experiment = experiment
        self._networks: dict[str, OnnxNetwork] = {}
        for network in map(read_network, paths):
            part = network.record.part
            if part in self._networks:
                raise UserError(
                    f"{self._networks[part].path} and {network.path} are both of the {part}.",
                    "Expected one file of each: of the detector, of the encoder.",
                    "Leave one of them out.",
                )
            self._networks[part] = network

    @property
    def settings(self) -> dict[str, str]:
        """What results depend on, by the name that it is recorded under."""
        return {f"sha256 of the {part}'s ONNX file": one.sha256 for part, one in sorted(self._networks.items())}

    def detector(self, trained: TrainedDetector) -> TrainedDetector:
        """The run's detector with the network in a file, if there is one."""
        network = self._of(DETECTOR, _made_with_detector(self._experiment, trained))
        if network is None:
            return trained
        detector = OnnxDetector(trained.localizer.detector, network).eval()
        return replace(trained, localizer=replace(trained.localizer, detector=detector))

    def encoder(self, encoder: ClipEncoder | None) -> ClipEncoder | None:
        """The run's encoder with the network in a file, if there is one."""
        if encoder is None and ENCODER in self._networks:
            raise UserError(
                f"{self._networks[ENCODER].path} is of an encoder, and the run has one that learned with its detector.",
                "Expected a run on stored features.",
                "Leave the file out.",
            )
        network = None if encoder is None else self._of(ENCODER, _made_with_encoder(self._experiment, encoder))
        if network is None or encoder is None:
            return encoder
        # all else stays the encoder's: what frames it takes, how their vectors become features
        encoder.frame_vectors = OnnxFrames(network)  # type: ignore[method-assign]
        return encoder

    def _of(self, part: str, made_with: Mapping[str, Any]) -> OnnxNetwork | None:  # Any: JSON values
        """The network of a part; raises UserError if it is not that of the run."""
        network = self._networks.get(part)
        if network is None:
            return None
        differing = network.record.differences(made_with)
        if differing:
            listed = "\n  ".join(differing)
            again = f"{self._experiment.run_arguments} {network.path}{' --encoder' * (part == ENCODER)} --overwrite"
            raise UserError(
                f"{network.path} is of another {part}, of the run {network.record.run}:\n  {listed}",
                f"Expected the {part} of {self._experiment.run_folder}.",
                f"Write it again: actloc export-onnx {again}",
            )
        return network


class OnnxFrames:
    """What `ClipEncoder.frame_vectors` gives, by onnxruntime, frame by frame."""

    def __init__(self, network: OnnxNetwork) -> None:
        self._network = network

    def __call__(self, frames: Tensor) -> Tensor:
        """Vectors (N, c) of frames (N, H, W, 3) uint8 RGB."""
        return torch.cat([self._network(**{FRAMES: frame[None]})[VECTORS] for frame in frames])
