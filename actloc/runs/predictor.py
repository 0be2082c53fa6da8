"""Applies a trained run to new videos, with the run's own preparation, encoder and detector."""

import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.encoders.base_network import vectors_per_clip
from actloc.errors import UserError, VideoError
from actloc.evaluation import fusion
from actloc.evaluation.predictions import Prediction
from actloc.evaluation.results import MOST_INITIAL_SHARE, Results, averages_caution
from actloc.evaluation.results_files import METRICS_NAME, read_results
from actloc.experiment import Experiment
from actloc.extraction import local
from actloc.extraction.converting import as_prepared
from actloc.extraction.plan import seconds_per_clip
from actloc.extraction.rows import RowsInFile
from actloc.extraction.video_progress import VideoProgress, WatchedRows
from actloc.reports import tables
from actloc.runs.limits import cut_videos
from actloc.runs.longest_action import LengthLimit, longest_allowed, too_long
from actloc.runs.one_video import OneVideo
from actloc.runs.onnx_of_run import OnnxParts
from actloc.runs.result_folders import measured_with, results_folder
from actloc.runs.stored_encoder import stored_encoder
from actloc.runs.trained import load_trained
from actloc.sources.base_source import Source
from actloc.store.info import grid as stored_grid
from actloc.structures import VideoDetections
from actloc.video.base import Span


@dataclass(frozen=True)
class Found:
    """What the detector found in a video."""

    predictions: list[Prediction]
    """All of them, the best score first."""
    duration_s: float
    cut_by: list[str]
    """The limits, as `section.key=value`, that left out detections of lower scores."""
    too_long: dict[str, list[float]] = field(default_factory=dict)
    """By class the scores of candidates that were dropped for their length, the best first."""


class Predictor:
    """Finds actions in videos with a trained run; loads the encoder and the detector once."""

    def __init__(self, experiment: Experiment, onnx: Sequence[Path] = ()) -> None:
        """`onnx` are files with networks of the run, which onnxruntime then computes."""
        self.experiment = experiment
        self.onnx = OnnxParts(experiment, onnx)
        self.trained = self.onnx.detector(load_trained(experiment))
        self.encoder = self.onnx.encoder(
            None if self.trained.live is not None else stored_encoder(experiment, self.trained)
        )
        self._warn_of_averages()
        self.thresholds = score_thresholds(experiment, self.trained.classes, self.trained.checkpoint)
        unused = experiment.fusion.scores if experiment.fusion.rule != fusion.UNCHANGED else None
        if unused not in (None, fusion.OWN):
            console.warn(
                f"fusion.scores={unused} has no class scores of new videos: actions keep the class and score that the "
                "detector gave them"
            )

    @cached_property
    def _longest_s(self) -> float | None:
        return longest_allowed(self.experiment)

    def _warn_of_averages(self) -> None:
        run = self.trained.run
        is_averaged = self.experiment.evaluation.weights == "averaged"
        if run is not None and is_averaged and run.initial_share > MOST_INITIAL_SHARE:
            console.warn(averages_caution(run.initial_share, run.step))

    def close(self) -> None:
        """Ends the processes that read clips, if the run has its own encoder; they also end with this process."""
        self.trained.close()

    def predict(self, video: Path, progress: VideoProgress | None = None, span: Span | None = None) -> list[Prediction]:
        """The actions in a video file or in a part of it, best score first, without those below the threshold of their
        class. Times are those of the whole video.

        Raises VideoError if the video cannot be read.
        """
        found = self.detect(video, progress, span)
        self.warn_of_limits(str(video), video.stem, found)
        before_s = 0.0 if span is None else span.start_s
        return [
            replace(one, start_s=round(one.start_s + before_s, 6), end_s=round(one.end_s + before_s, 6))
            if before_s
            else one
            for one in self.counted(found.predictions)
        ]

    def counted(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Those that reach the threshold of their class."""
        return [one for one in predictions if one.score >= self.thresholds[one.label]]

    def warn_of_limits(self, name: str, video_id: str, found: Found) -> None:
        """Warns of limits that may have left out something of a video whose score is high enough to be shown."""
        lowest = min((one.score for one in found.predictions), default=-math.inf)
        for setting in found.cut_by if lowest >= min(self.thresholds.values()) else ():
            console.warn(f"{name}: {setting} left out detections of lower scores", id=video_id)
        number = sum(score >= self.thresholds[label] for label, scores in found.too_long.items() for score in scores)
        if number and self._longest_s is not None:
            console.warn(
                f"{name}: {too_long(number, self._longest_s)}. To allow them: prediction.longest_action_s=SECONDS",
                id=video_id,
                candidates=number,
            )

    def detect(self, video: Path, progress: VideoProgress | None = None, span: Span | None = None) -> Found:
        """Everything that the detector finds in a video file, or in a part of it at times in this part.

        Raises VideoError.
        """
        progress = progress or VideoProgress()
        with self.opened(video, progress, span) as source:
            return self.found_in(source, progress)

    @contextmanager
    def opened(self, video: Path, progress: VideoProgress, span: Span | None = None) -> Iterator[Source]:
        """The video, or a part of it, as a source of features that can be read until the block ends.

        Raises VideoError if it cannot be read.
        """
        live = self.trained.live
        limited = nullcontext() if live is None else live.reader.limited_to(span)
        with as_prepared(video, self.experiment.preparation) as file, RowsInFile() as rows, limited:
            yield self._source(video.stem, file, rows, progress, span)

    def found_in(self, source: Source, progress: VideoProgress) -> Found:
        """Everything that the detector finds in a video that is open; raises VideoError."""
        video = source.videos[0]
        limit = LengthLimit(lambda: self._longest_s, is_for_all=self.experiment.prediction.longest_action_s is not None)
        try:
            samples = progress.through(source.evaluation_samples(0))
            detections = self.trained.localizer.detect_one(source, samples, video.duration_s, limit)
        except UserError as error:  # too long for the detector: this video's failure, not the command's
            raise VideoError("unsupported", f"{error.found} {error.fix}", error.expected) from error
        found = VideoDetections(video.id, detections)
        predictions = fusion.to_predictions([found], self.trained.classes, self.experiment.fusion)[video.id]
        dropped: dict[str, list[float]] = {}
        for label, score in sorted(limit.too_long, key=lambda one: -one[1]):
            dropped.setdefault(self.trained.classes[label], []).append(round(score, 6))
        return Found(predictions, video.duration_s or 0.0, list(cut_videos(self.experiment, [detections])), dropped)

    def with_weights(self, weights: Literal["averaged", "raw"]) -> "Predictor":
        """The same run, encoder and thresholds with other weights of the checkpoint; both are to be closed."""
        evaluation = self.experiment.evaluation.model_copy(update={"weights": weights})
        other = copy(self)
        other.experiment = self.experiment.with_section("evaluation", evaluation)
        other.trained = load_trained(other.experiment)
        return other

    def _source(
        self, video_id: str, file: Path, rows: RowsInFile, progress: VideoProgress, span: Span | None
    ) -> Source:
        """The video as a source of features, which are kept in `rows` unless they are made later; raises VideoError."""
        features = self.experiment.features
        if self.trained.live is not None:
            self.trained.live.watch = progress.at_share_of_part
            return features.of_file(file, self.trained.live)
        assert self.encoder is not None, "features of stored sources are made by their encoder"
        shown = AnnotatedVideo(video_id, "", fps=None if progress.facts is None else progress.facts.fps)
        row_s = seconds_per_clip(shown, features.spacing) / vectors_per_clip(self.encoder, features.spacing)
        watched = WatchedRows(rows, progress, row_s)
        info = local.encode_into(watched, file, self.encoder, features.spacing, self.experiment.machine, span=span)
        video = AnnotatedVideo(video_id, "", duration_s=info.duration_s)
        seen = features.on_grid_unread(rows.read, info.steps, info.channels, stored_grid(info))
        return OneVideo(features, video, *seen)


def score_thresholds(experiment: Experiment, classes: tuple[str, ...], checkpoint: str) -> dict[str, float]:
    """The lowest score shown of each class: the setting, or the best-F1 thresholds that `eval` stored in the run."""
    setting = experiment.prediction.threshold
    if setting != "best_f1":
        return dict.fromkeys(classes, setting)
    # new videos have no true classes, and no scores in a file
    used = fusion.OWN if experiment.fusion.scores == fusion.OWN and experiment.fusion.rule != fusion.UNCHANGED else None
    folder = _scored_folder(experiment, used)
    again = f"actloc eval {experiment.run_arguments}"
    again += " fusion.scores=null" if experiment.fusion.scores is not None and used is None else ""
    if not (folder / METRICS_NAME).exists():
        raise UserError(
            f"{experiment.run_folder} has no score thresholds: it was not scored.",
            "Expected the thresholds of best F1 that `actloc eval` stores.",
            f"Run: {again}; or set a number: prediction.threshold=0.3",
        )
    results = read_results(folder)
    if (results.checkpoint, results.weights) != (checkpoint, experiment.evaluation.weights):
        raise UserError(
            f"The score thresholds in {folder} are those of {results.checkpoint}, {results.weights} weights.",
            f"Expected those of {checkpoint}, {experiment.evaluation.weights} weights, which are used here.",
            f"Run: {again}; or set a number: prediction.threshold=0.3",
        )
    if _fused_by(results) != used:
        raise UserError(
            f"The score thresholds in {folder} are of scores fused with {_fused_by(results) or 'no class scores'}.",
            f"Expected those of scores fused with {used or 'no class scores'}, which is what new videos get.",
            f"Run: actloc eval {experiment.run_arguments} fusion.scores={used or 'null'}; or set a number: "
            "prediction.threshold=0.3",
        )
    if results.trained is not None and results.trained.trained_videos:
        learned = results.trained.trained_videos
        raise UserError(
            f"The score thresholds in {folder} were measured on videos that the run was trained on: "
            f"{console.first_ten(learned)}.",
            "Expected videos that are new to it, because it is surer of those that it knows.",
            "Set a number: prediction.threshold=0.3",
        )
    old_names = {new: old for old, new in (results.trained.renamed if results.trained else {}).items()}
    stored = {old_names.get(name, name): score for name, score in results.score_thresholds().items()}
    measured = {name: score for name, score in stored.items() if score is not None}
    if not measured:
        raise UserError(
            f"Evaluation of {experiment.run_folder} found no action of any class, so there are no score thresholds.",
            "Expected a run that finds some actions.",
            "Train longer, or set a number: prediction.threshold=0.3",
        )
    unmeasured = [name for name in classes if name not in measured]
    if unmeasured:
        # evaluation had no true action or no prediction of these classes, so their best F1 is unknown
        console.warn(f"No score threshold for {console.first_ten(unmeasured)}; using the median of the other classes")
    middle = statistics.median(measured.values())
    return {name: measured.get(name, middle) for name in classes}


def _scored_folder(experiment: Experiment, fused_with: str | None) -> Path:
    """The results of the settings that scores of new videos are made with; if there are none, the run's own results."""
    scored, fused = experiment, experiment.fusion
    if fused.rule != fusion.UNCHANGED:
        scored = experiment.with_section("fusion", fused.model_copy(update={"scores": fused_with}))
    changed = measured_with(scored).changed
    folder, own = results_folder(scored, changed), results_folder(scored, {})
    if (folder / METRICS_NAME).exists() or not (own / METRICS_NAME).exists():
        return folder if (folder / METRICS_NAME).exists() else own
    tried = {key: value for key, value in changed.items() if not key.startswith("evaluation.")}
    if tried and fused_with == fused.scores:
        console.say(f"The score thresholds are those of the run's own settings, without {tables.settings_text(tried)}")
    return own


def _fused_by(results: Results) -> str | None:
    """The class scores that the scores which thresholds belong to were fused with."""
    classifier = results.classifier
    return None if classifier is None or classifier.rule == fusion.UNCHANGED else classifier.file
