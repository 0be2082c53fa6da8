"""What an experiment asks to extract: the encoder, the store and the videos; known before the encoder is built."""

from pathlib import Path

from actloc import console
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.datasets.base import read_prepared
from actloc.encoders.base import EncoderConfig
from actloc.errors import UserError
from actloc.experiment import Experiment, is_run, with_inputs
from actloc.extraction.plan import Shard, shared_out
from actloc.runs.bank_place import check_place


def encoder_config(experiment: Experiment) -> EncoderConfig:
    """The encoder of the features; raises UserError if there is none, or if it does not encode clips one by one."""
    if experiment.features.encoder is None:
        raise UserError(
            f"{experiment.file} has no encoder: its features are read from {experiment.features.path}.",
            "Expected an encoder, to turn videos into features.",
            f"Train on those features: actloc train {experiment.arguments}; or extract others with recipe=NAME after "
            "this command: actloc ls recipes",
        )
    if experiment.features.encoder.mixes_clips:
        raise UserError(
            f"The encoder {experiment.features.encoder.name} of {experiment.file} mixes the clips of a window.",
            "Expected an encoder that encodes each clip on its own, as features are stored.",
            f"Detect with the run's own encoder: actloc eval {experiment.run_folder}",
        )
    return experiment.features.encoder


def store_folder(experiment: Experiment) -> Path:
    """The folder of the features: in the run, if they are made with its encoder; where its bank starts, if for that."""
    path, bank_store = experiment.features.path, experiment.features.bank_store
    if bank_store is not None and is_for_bank(experiment):
        check_place(experiment)
        return bank_store
    return experiment.run_folder / path if experiment.features.trains_encoder else path


def is_for_bank(experiment: Experiment) -> bool:
    """Whether the features are those that the bank of a run starts from, and not those of a run's own encoder."""
    return experiment.features.bank_store is not None and not is_run(experiment.file.parent)


def check_files(experiment: Experiment, videos: dict[str, AnnotatedVideo]) -> None:
    """Raises UserError where no video has a file, as in the annotations that published data sets ship."""
    if videos and all(video.file is None for video in videos.values()):
        raise UserError(
            f"{experiment.dataset.annotations_file} names no video files ({console.count(len(videos), 'video')}).",
            "Expected video files to extract features from.",
            f"Extract features from your own folder of videos, then train on {experiment.features.path}: "
            f"actloc extract-features RECIPE dataset.videos=FOLDER features.path={experiment.features.path} "
            "(list the recipes: actloc ls recipes)",
        )


def share(annotations: Annotations, shard: Shard | None) -> dict[str, AnnotatedVideo]:
    """The videos of a shard, by id; all of them without one."""
    return annotations.videos if shard is None else shared_out(annotations.videos, shard)


def as_prepared(experiment: Experiment) -> Annotations:
    """The annotations; for videos without actions, those that `prepare` would write."""
    if experiment.dataset.has_actions or experiment.dataset.is_prepared():
        return read_prepared(experiment.dataset, experiment.arguments)
    return with_inputs(experiment).dataset.collect()
