"""Whether an ONNX file is of a run's detector, and the run with the network in the file."""

import json
from dataclasses import replace
from pathlib import Path

from actloc import __version__, files
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.runs.onnx_detector import OnnxDetector
from actloc.runs.onnx_file import OnnxRecord, read_network
from actloc.runs.trained import TrainedDetector


def record_of(experiment: Experiment, trained: TrainedDetector, steps: int) -> OnnxRecord:
    """The record of a file that is written of this run's detector."""
    weights = experiment.evaluation.weights
    name = "averaged" if weights == "averaged" else "weights"
    shaping = experiment.shaping("features")
    return OnnxRecord(
        actloc=__version__,
        run=experiment.run.name,
        checkpoint=trained.checkpoint,
        weights=weights,
        weights_sha256=files.sha256_of_file(experiment.run_folder / trained.checkpoint / f"{name}.safetensors"),
        detector=experiment.detector.name,
        steps=steps,
        max_steps=trained.localizer.max_steps,
        channels=trained.in_channels,
        classes_sha256=files.sha256_of_bytes(json.dumps(trained.classes).encode()),
        features={key: value for key, value in json.loads(json.dumps(shaping)).items() if key.startswith("features.")},
    )


def with_onnx(experiment: Experiment, trained: TrainedDetector, file: Path) -> tuple[TrainedDetector, str]:
    """The run's detector with the network in the file, whose sha256 is returned too.

    Raises UserError if the file does not belong to the run.
    """
    network, sha256 = read_network(file)
    differing = network.record.differences(record_of(experiment, trained, network.record.steps))
    if differing:
        listed = "\n  ".join(differing)
        raise UserError(
            f"{file} is of another network, of the run {network.record.run}:\n  {listed}",
            f"Expected the network of {experiment.run_folder}, {trained.checkpoint}.",
            f"Write it again: actloc export-onnx {experiment.run_folder} {file} --overwrite",
        )
    localizer = replace(trained.localizer, detector=OnnxDetector(trained.localizer.detector, network).eval())
    return replace(trained, localizer=localizer), sha256
