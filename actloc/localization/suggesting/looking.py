"""What a run makes of unlabelled footage: mean features of its windows, and detections by both kinds of weights."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from actloc import console
from actloc.annotations.annotated_time import Span
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import VideoError
from actloc.evaluation import fusion
from actloc.evaluation.predictions import Predictions
from actloc.evaluation.results import MOST_INITIAL_SHARE
from actloc.experiment import Experiment
from actloc.extraction.video_progress import PaceByBytes, VideoOnBar, VideoProgress
from actloc.layers.precision import computing_in
from actloc.localization import detecting
from actloc.localization.suggesting import choosing, footage
from actloc.localization.suggesting.footage import Footage
from actloc.prediction.outcomes import VideoState
from actloc.runs.localizer import Localizer
from actloc.runs.predictor import Predictor, score_thresholds
from actloc.runs.trained import TrainedDetector, load_trained
from actloc.sources.base_source import Source
from actloc.store.filling import FailureRow, failure
from actloc.structures import Batch, Readable, Targets
from actloc.video.reader import probe

Weights = Literal["averaged", "raw"]
_LOOKED_AT = "looked at"
"""The subset that videos are put into, whatever theirs is."""


@dataclass
class Looked:
    """Unlabelled windows as a run sees them, in the order of their videos."""

    thresholds: Mapping[str, float]
    """Of each class, from which score on a segment counts as found."""
    weights: tuple[Weights, Weights]
    """Those that the settings choose, and the others."""
    windows: list[tuple[str, Span]] = field(default_factory=list)
    """The id of the video, start and end in seconds."""
    features: list[choosing.Floats] = field(default_factory=list)
    """Of each window: the mean of its features (C,)."""
    found: Predictions = field(default_factory=dict)
    """By video: every detection by the weights that the settings choose, the best score first."""
    others: Predictions = field(default_factory=dict)
    """The same by the other weights; the same as `found` where these two are not compared."""
    failed: list[FailureRow] = field(default_factory=list)
    """Videos that cannot be read."""

    def add(self, video_id: str, windows: Sequence[Span], means: Sequence[choosing.Floats]) -> None:
        """Adds the windows of a video."""
        self.windows += [(video_id, window) for window in windows]
        self.features += means


@dataclass
class Learned:
    """What the run learned from, the annotated time of its subset."""

    features: list[choosing.Floats] = field(default_factory=list)
    """Of each window: the mean of its features (C,)."""
    videos: list[str] = field(default_factory=list)
    """The id of the video of each window."""
    actions: Counter[str] = field(default_factory=Counter)
    """How many are labelled of each class."""


def of_dataset(experiment: Experiment, annotations: Annotations, unlabelled: Footage, window_s: float) -> Looked:
    """The unlabelled footage of the run's own dataset by the features that it has.

    Videos without features and those that are too long for the detector are moved to what is left out. Raises UserError
    where no video has features.
    """
    own, other = both_weights(experiment)
    with ExitStack() as held:
        trained = held.enter_context(closing(load_trained(experiment)))
        looked = Looked(score_thresholds(experiment, trained.classes, trained.checkpoint), (own, other))
        source = _source(experiment, annotations, unlabelled.videos, trained)
        for video in source.missing:
            unlabelled.leave_out(video.id, "without features")
        looked.found = _detected(experiment, trained, source, unlabelled)
        source.keep_only(unlabelled.spans)
        with console.progress("reading features", len(source.videos)) as bar:
            for index, video in enumerate(source.videos):
                windows = footage.tiled(unlabelled.spans[video.id], window_s)
                looked.add(video.id, windows, window_means(trained.localizer, source, index, windows))
                bar(1)
    if not are_comparable(trained):
        looked.others = looked.found
        return looked
    with closing(load_trained(_with_weights(experiment, other))) as trained:
        source = _source(experiment, annotations, unlabelled.videos, trained)
        looked.others = _detected(experiment, trained, source, unlabelled)
    return looked


def are_comparable(trained: TrainedDetector) -> bool:
    """Whether averaged and raw weights that disagree show a doubt; a warning says if not."""
    share = trained.run.initial_share if trained.run is not None else 0.0
    if share > MOST_INITIAL_SHARE:
        console.warn(
            f"The averaged weights still hold {100 * share:.0f}% of the initial ones: where they differ from the raw "
            "ones says nothing, and is not counted. Train for longer, or with average.warm_up=true"
        )
    return share <= MOST_INITIAL_SHARE


def of_files(
    experiment: Experiment, videos: Mapping[str, Path], known: Mapping[str, AnnotatedVideo], window_s: float
) -> Looked:
    """Video files by id, encoded with the run's encoder; `known` has those that the dataset has annotated in part."""
    own, other = both_weights(experiment)
    with ExitStack() as held:
        predictor = held.enter_context(closing(Predictor(experiment)))
        beside = (
            held.enter_context(closing(predictor.with_weights(other))) if are_comparable(predictor.trained) else None
        )
        looked = Looked(predictor.thresholds, (own, other))
        for video_id, path, progress in _on_bar(videos):
            try:
                _look(predictor, beside, video_id, path, known.get(video_id), window_s, looked, progress)
            except VideoError as error:
                console.error(f"{path}: {error}")
                looked.failed.append(failure(video_id, path, error))
                console.emit("video_failed", id=video_id, path=str(path), reason=error.reason, detail=error.detail)
    return looked


def _look(
    predictor: Predictor,
    beside: Predictor | None,
    video_id: str,
    path: Path,
    known: AnnotatedVideo | None,
    window_s: float,
    looked: Looked,
    progress: VideoProgress,
) -> None:
    """Adds the windows of a file; raises VideoError if it cannot be read."""
    localizer = predictor.trained.localizer
    with predictor.opened(path, progress) as source:
        found = predictor.found_in(source, progress)
        video = known or AnnotatedVideo(video_id, "")
        spans = Footage()
        spans.add(video, footage.unlabelled(video, found.duration_s, is_labelled=False))
        windows = footage.tiled(spans.spans.get(video_id, ()), window_s)
        means = window_means(localizer, source, 0, windows)
        others = found
        if beside is not None and predictor.trained.live is None:
            others = beside.found_in(source, VideoProgress())
    if beside is not None and predictor.trained.live is not None:  # its encoder has other weights too
        with beside.opened(path, VideoProgress()) as source:
            others = beside.found_in(source, VideoProgress())
    looked.found[video_id], looked.others[video_id] = found.predictions, others.predictions
    looked.add(video_id, windows, means)


def _on_bar(videos: Mapping[str, Path]) -> Iterator[tuple[str, Path, VideoProgress]]:
    sizes = {video_id: VideoState.of(path).bytes for video_id, path in videos.items()}
    with console.progress("looking at videos", max(sum(sizes.values()), 1), is_count=False) as bar:
        pace = PaceByBytes(bar, len(videos))
        for video_id, path in videos.items():
            try:
                facts = probe(path, unlisted_folders=True)
            except VideoError:
                facts = None  # reported when the video is read
            progress = VideoOnBar(pace, facts, sizes[video_id])
            yield video_id, path, progress
            progress.over()


def learned_from(experiment: Experiment, annotations: Annotations, window_s: float) -> Learned:
    """The windows of the annotated time of the subset that the run learned from, and its labels.

    Raises UserError where no video has features.
    """
    own = annotations.of_subset(experiment.dataset.training_subset)
    spans = footage.labelled(own)
    learned = Learned(actions=Counter(action.label for video in own for action in video.actions))
    with closing(load_trained(experiment)) as trained:
        source = _source(experiment, annotations, [video for video in own if video.id in spans], trained)
        with console.progress("reading annotated features", len(source.videos)) as bar:
            for index, video in enumerate(source.videos):
                windows = footage.tiled(spans[video.id], window_s)
                learned.features += window_means(trained.localizer, source, index, windows)
                learned.videos += [video.id] * len(windows)
                bar(1)
    return learned


def window_means(localizer: Localizer, source: Source, index: int, windows: Sequence[Span]) -> list[choosing.Floats]:
    """The mean (C,) of the features of video `index` in each window, the nearest step at least."""
    if not windows:
        return []
    whole = source.detection_sample(index)
    cpu, last = torch.device("cpu"), whole.num_steps
    ends = whole.grid.steps(torch.tensor(windows, dtype=torch.float64)).round().long()
    found = []
    with torch.inference_mode(), computing_in(localizer.precision, localizer.device):
        is_on_disk = isinstance(whole.payload, Readable)
        features = None if is_on_disk else source.features(Batch((whole,)), last, cpu)[0]
        for start, end in ends.tolist():
            first = min(max(start, 0), last - 1)
            length = max(min(end, last) - first, 1)
            part = whole.part(first, length, Targets.none()).features if features is None else features[:, first:]
            found.append(part[:, :length].double().mean(dim=1).cpu().numpy())
    return found


def both_weights(experiment: Experiment) -> tuple[Weights, Weights]:
    """The weights that the settings choose, and the others of the checkpoint."""
    return ("averaged", "raw") if experiment.evaluation.weights == "averaged" else ("raw", "averaged")


def _with_weights(experiment: Experiment, weights: Weights) -> Experiment:
    return experiment.with_section("evaluation", experiment.evaluation.model_copy(update={"weights": weights}))


def _source(
    experiment: Experiment, annotations: Annotations, videos: Sequence[AnnotatedVideo], trained: TrainedDetector
) -> Source:
    """The features of these videos, whatever subset they are in; those without are in its `missing`."""
    listed = {video.id: replace(video, subset=_LOOKED_AT) for video in videos}
    dataset = experiment.dataset.model_copy(update={"evaluation_subset": _LOOKED_AT})
    features = experiment.features.model_copy(update={"allow_missing": True})
    looking = experiment.with_section("dataset", dataset).with_section("features", features)
    return detecting.source_of(looking, replace(annotations, videos=listed), trained)


def _detected(experiment: Experiment, trained: TrainedDetector, source: Source, unlabelled: Footage) -> Predictions:
    """Every detection in the videos; those that cannot be used are moved to what is left out."""
    listed = trained.localizer.detect(source, experiment.machine.num_workers)
    predictions = fusion.to_predictions(listed, trained.classes, experiment.fusion)
    for one in listed:
        if one.too_long:
            unlabelled.leave_out(one.video_id, "too long for the detector")
    for video in source.missing:
        if video.id in unlabelled.spans:
            unlabelled.leave_out(video.id, "whose features cannot be made")
    return {video_id: predictions.get(video_id, []) for video_id in unlabelled.spans}
