"""The predictions of a run, or of an official checkpoint, for an evaluation."""

from contextlib import closing
from dataclasses import replace

from actloc import console, files
from actloc.annotations.model import Annotations
from actloc.errors import UserError
from actloc.evaluation import fusion, scoring
from actloc.evaluation.scoring import Origin
from actloc.experiment import Experiment
from actloc.localization.scored import Scored
from actloc.runs.limits import cut_videos
from actloc.runs.result_folders import measured_with, published_figures
from actloc.runs.reuse import compared, other_classes, renamed_classes
from actloc.runs.trained import TrainedDetector, load_official, load_trained
from actloc.settings.published import PublishedMap
from actloc.sources.base_source import Source
from actloc.training.distributed import Processes


def detected(experiment: Experiment, annotations: Annotations, processes: Processes) -> Scored:
    """Detects in all videos of the evaluation subset; raises UserError where the run does not fit them."""
    trained = _trained(experiment, annotations)
    with closing(trained):
        source = source_of(experiment, annotations, trained)
        listed = trained.localizer.detect(source, experiment.machine.num_workers, processes)
    measured = measured_with(experiment)
    origin = Origin(
        trained.checkpoint,
        experiment.run.name,
        experiment.evaluation.weights,
        experiment.run.seed,
        missing=tuple(video.id for video in source.missing),
        too_long=tuple(video.video_id for video in listed if video.too_long),
        settings=measured.settings,
        changed=measured.changed,
        annotations_sha256=files.sha256_of_file(experiment.dataset.annotations_file),
        trained=None if trained.run is None else compared(experiment, trained.run, annotations),
        cut_videos=cut_videos(experiment, [one.detections for one in listed]),
        published=published_figures(experiment, PublishedMap),
    )
    return Scored(experiment, scoring.to_predictions(listed, trained.classes), fusion.own_scores(listed), origin)


def _trained(experiment: Experiment, annotations: Annotations) -> TrainedDetector:
    """The detector to score, with the names that its classes have now; raises UserError if it knows none of them."""
    if experiment.evaluation.weights_file is not None:
        return load_official(experiment, experiment.evaluation.weights_file, annotations.classes)
    trained = load_trained(experiment)
    if trained.classes == annotations.classes:
        return trained
    renamed = {} if experiment.dataset.class_agnostic else renamed_classes(experiment)
    names = tuple(renamed.get(name, name) for name in trained.classes)
    unknown = [name for name in annotations.classes if name not in names]
    is_aligned = names == annotations.classes
    if len(unknown) == len(annotations.classes) or (experiment.fusion.scores == fusion.OWN and not is_aligned):
        raise other_classes(experiment, trained.classes, annotations.classes)
    if unknown:
        classes = console.count(len(unknown), "class", "classes")
        console.warn(f"The run does not know {classes}, whose actions count as missed: {console.first_ten(unknown)}")
    return replace(trained, classes=names)


def source_of(experiment: Experiment, annotations: Annotations, trained: TrainedDetector) -> Source:
    """The features to score on; raises UserError where the detector was trained on others."""
    source = experiment.features.build(annotations, experiment.dataset.evaluation_subset, trained.live)
    if source.in_channels != trained.in_channels:
        raise UserError(
            f"The features have {source.in_channels} channels.",
            f"{trained.checkpoint} was trained on features with {trained.in_channels}.",
            "Set `features:` to the features that it was trained on.",
        )
    made_with, trained_with = source.encoder_weights_sha256, trained.encoder_weights_sha256
    if made_with and trained_with and made_with != trained_with:
        raise UserError(
            f"The features in {experiment.features.path} were made with encoder weights of sha256 {made_with}.",
            f"{trained.checkpoint} was trained on features made with {trained_with}.",
            f"Train on these: actloc train {experiment.arguments} --overwrite; or keep both with run.name=ANOTHER",
        )
    return source
