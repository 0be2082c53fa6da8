"""Converts official checkpoints of encoders with classifiers to runs, and runs to official checkpoints."""

from pathlib import Path
from typing import Any

import torch

from actloc import files
from actloc.datasets.base import read_prepared
from actloc.encoders.base_network import built
from actloc.experiment import Experiment, load
from actloc.recognition.networks import RecognitionSections
from actloc.recognition.recognizer import Recognizer, published_classifier, restored
from actloc.runs.conversion import refuse_existing
from actloc.runs.record import mark_finished, write_record
from actloc.training import checkpoint as checkpoints
from actloc.training import modules
from actloc.training.checkpoint import Checkpoint


def to_run(file: Path, folder: Path, experiment: Experiment) -> Path:
    """Makes the run `folder` from an official checkpoint; returns its checkpoint. Raises UserError if it does not fit.

    The run counts as finished: without an optimizer's state it cannot be resumed.
    """
    refuse_existing(folder)
    classes = read_prepared(experiment.dataset, experiment.arguments).classes
    encoder = built(RecognitionSections.of(experiment).encoder.for_checkpoint(file))
    recognizer = Recognizer(encoder, published_classifier(encoder, len(classes), classes=classes))
    trained = recognizer.trained_modules("usual")
    weights = modules.learning(trained)
    sha256 = files.sha256_of_file(file)
    with files.whole_folder(folder) as made:
        write_record(experiment, made, encoder.config.name, {})
        numbers: dict[str, Any] = {
            "best": None,
            "learner": {},
            "about": {
                "classes": list(classes),
                "encoder_weights_sha256": sha256,
                "settings": experiment.shaping("weights"),
                "frozen_sha256": checkpoints.save_frozen(made, modules.frozen(trained)),
            },
            "converted": {"file": file.name, "sha256": sha256},
        }
        checkpoint = checkpoints.save(made, Checkpoint(0, weights, weights, {}, numbers))
        mark_finished(made, 0)
    return folder / checkpoint.name


def to_official(source: Path, file: Path) -> None:
    """Writes the weights of a run's checkpoint that its `evaluation.weights` chooses, under their official names."""
    refuse_existing(file)
    sections = RecognitionSections.of(load(str(source.parent)))
    stored = checkpoints.load(source)
    frozen = checkpoints.load_frozen(source.parent, stored.numbers["about"].get("frozen_sha256"))
    chosen: dict[str, torch.Tensor] = stored.averaged if sections.evaluation.weights == "averaged" else stored.weights
    Recognizer(*restored(sections.encoder, frozen | chosen)).write_published(file)
