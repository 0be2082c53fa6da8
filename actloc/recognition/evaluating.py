"""Scores a recogniser on the labelled clips of a subset; writes metrics, and class scores for localization."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc import console, files
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import EXIT_SOME_INPUTS_FAILED, UserError, VideoError
from actloc.evaluation import class_scores, scoring
from actloc.evaluation.columns import Floats
from actloc.evaluation.results import MOST_INITIAL_SHARE
from actloc.evaluation.results_files import METRICS_NAME, write_results
from actloc.evaluation.scored_windows import ScoredWindows
from actloc.experiment import Experiment
from actloc.prefetch import load_ahead
from actloc.recognition.clips import ClipSource, LabelledClip, labelled_clips, required_clips
from actloc.recognition.networks import (
    RecognitionSections,
    TrainedRecognizer,
    clip_source,
    load_official,
    load_trained,
    views_of,
)
from actloc.recognition.reporting import overview
from actloc.recognition.results import RecognitionResults, measured
from actloc.recognition.sampling import SPAN_FRAMES
from actloc.recognition.scorer import Scored
from actloc.recognition.scores import softmax, truth_table
from actloc.recognition.views import Views
from actloc.reports import epochs, outputs, tables
from actloc.reports.text import csv_cell
from actloc.runs.result_folders import measured_with, published_figures, results_folder
from actloc.runs.results_board import write_board
from actloc.runs.reuse import compared, other_classes, renamed_classes
from actloc.settings.published import PublishedAccuracy
from actloc.training.distributed import Processes
from actloc.video.clip_reader import VideoTimes


def evaluate_with(experiment: Experiment, annotations: Annotations, processes: Processes, scores: Path | None) -> int:
    """Scores, writes, prints; the exit status is 3 if videos cannot be read.

    Of a subset without labels, classes are written and nothing is measured. Raises UserError for one without videos.
    """
    subset = experiment.dataset.evaluation_subset
    trained = _trained(experiment, annotations)
    if annotations.of_subset(subset) and not labelled_clips(annotations, subset):
        return _write_unlabelled(experiment, trained, annotations, processes, scores)
    required_clips(annotations, subset, "dataset.evaluation_subset")
    settings, run = RecognitionSections.of(experiment).evaluation, trained.run
    first, has_all_scores = _scored(experiment, trained, annotations, processes, scores)
    written = [first]
    if settings.weights == "averaged" and run is not None and run.initial_share > MOST_INITIAL_SHARE:
        raw = experiment.with_section("evaluation", settings.model_copy(update={"weights": "raw"}))
        written.append(_scored(raw, _trained(raw, annotations), annotations, processes)[0])
    status = processes.of_first(lambda: _report(experiment, written))
    status = status if has_all_scores else EXIT_SOME_INPUTS_FAILED
    processes.of_first(lambda: console.say(f"Next: actloc report {experiment.run_folder}"))
    return status


def _scored(
    experiment: Experiment,
    trained: TrainedRecognizer,
    annotations: Annotations,
    processes: Processes,
    scores: Path | None = None,
) -> tuple[tuple[Path, RecognitionResults], bool]:
    """Scores the clips and writes the results, and class scores to the file `scores`.

    Returns path and results, and whether all videos have class scores in the file.
    """
    subset = experiment.dataset.evaluation_subset
    clips, views = labelled_clips(annotations, subset), views_of(experiment)
    is_whole = True
    evaluation = _Evaluation(experiment, trained, clip_source(experiment), processes)
    with closing(evaluation.source.reader):
        found = evaluation.scored(clips, lambda clip: views.read(evaluation.source, clip), views)
        written = processes.of_first(lambda: _written(experiment, trained, annotations, clips, found))
        if scores is not None:
            is_whole = evaluation.save_scores(scores, annotations.of_subset(subset), clips, found)
    return written, is_whole


def _write_unlabelled(
    experiment: Experiment,
    trained: TrainedRecognizer,
    annotations: Annotations,
    processes: Processes,
    scores: Path | None,
) -> int:
    """Writes the class of each video of a subset without labels, and class scores of windows to the file `scores`."""
    subset = experiment.dataset.evaluation_subset
    videos, views = annotations.of_subset(subset), views_of(experiment)
    console.say(f"There is nothing to score: no video of {subset} has a label. Their classes will be written.")
    clips = [LabelledClip(video, ()) for video in videos]
    evaluation = _Evaluation(experiment, trained, clip_source(experiment), processes)
    with closing(evaluation.source.reader):
        found = evaluation.scored(clips, lambda clip: views.read(evaluation.source, clip), views)
        known = [clip for clip in clips if clip.id in found.scores]
        folder = results_folder(experiment, measured_with(experiment).changed)
        rows = np.stack([found.scores[clip.id] for clip in known]) if known else np.zeros((0, len(trained.classes)))

        def write() -> None:
            files.remove(folder / METRICS_NAME)  # of other annotations, and of other scores
            files.write_text(folder / "clips.csv", _clips_csv(known, rows, trained.classes))
            console.result(f"Wrote the classes of {console.count(len(known), 'video')} to {folder / 'clips.csv'}")
            console.emit("done", path=str(folder / "clips.csv"))

        processes.of_first(write)
        is_whole = scores is None or evaluation.save_scores(scores, videos, [], Scored({}, found.unreadable))
    return 0 if is_whole and len(known) == len(videos) else EXIT_SOME_INPUTS_FAILED


def _trained(experiment: Experiment, annotations: Annotations) -> TrainedRecognizer:
    """The recogniser to score; raises UserError where its classes are not those of the annotations."""
    file = RecognitionSections.of(experiment).evaluation.weights_file
    if file is not None:
        return load_official(experiment, file, annotations.classes)
    trained = load_trained(experiment)
    if trained.classes == annotations.classes:
        return trained
    renamed = renamed_classes(experiment)
    names = tuple(renamed.get(name, name) for name in trained.classes)
    if names != annotations.classes:
        raise other_classes(experiment, trained.classes, annotations.classes)
    return replace(trained, classes=names)


@dataclass(frozen=True)
class _Evaluation:
    """What scores the clips of one evaluation."""

    experiment: Experiment
    trained: TrainedRecognizer
    source: ClipSource
    processes: Processes

    def scored(
        self,
        clips: Sequence[LabelledClip],
        read: Callable[[LabelledClip], NDArray[Any]],
        views: Views,
        what: str = "scoring",
    ) -> Scored:
        """The scores of all clips; each process scores a part and gets all results."""
        own = self.trained.scorer.scored(self.processes.share(clips), read, views.average, what=what)
        parts = self.processes.gather(own)
        return Scored(
            {name: row for part in parts for name, row in part.scores.items()},
            {name: reason for part in parts for name, reason in part.unreadable.items()},
        )

    def save_scores(
        self, path: Path, videos: Sequence[AnnotatedVideo], clips: Sequence[LabelledClip], found: Scored
    ) -> bool:
        """Writes probabilities: of videos that one clip fills those just measured, of the others their windows'.

        As soon as one video is not filled, all have windows, because fusion per segment needs those of every video.
        Returns whether all videos have what they need.
        """
        views = views_of(self.experiment)
        whole = {clip.video.id: clip.id for clip in clips if clip.end_s is None}
        results = {
            video: self._probabilities(found.scores[name]) for video, name in whole.items() if name in found.scores
        }
        are_trimmed = all(video.id in whole for video in videos)
        places = {} if are_trimmed else self._places([one for one in videos if one.id not in found.unreadable])
        num_clips = {clip.id: one.num_clips for one in places.values() for clip in one.clips}
        of_windows = self.scored(
            [clip for one in places.values() for clip in one.clips],
            lambda clip: replace(views, clips=num_clips[clip.id]).read(self.source, clip),
            views,
            "scoring windows",
        ).scores
        windows = {}
        for video_id, of_video in places.items():
            own = [one for one in of_video.clips if one.id in of_windows]
            if own:
                ends = np.array([(one.start_s, one.end_s) for one in own])
                windows[video_id] = ScoredWindows(
                    ends, np.stack([self._probabilities(of_windows[one.id]) for one in own])
                )
        facts = self._facts(sorted({one.num_clips for one in places.values()}))
        self.processes.of_first(lambda: self._write_scores(path, results, windows, facts, len(videos)))
        return len(results if are_trimmed else windows) == len(videos)

    def _places(self, videos: Sequence[AnnotatedVideo]) -> dict[str, "_Places"]:
        """The windows of all videos that can be opened, the same in all processes; each process opens a part."""

        def opened(video: AnnotatedVideo) -> _Places | str:
            try:
                return self._windows(video, self.source.times(video))
            except VideoError as error:
                return str(error)

        share = self.processes.share(videos)
        own = {}
        with console.progress("opening videos", len(share)) as bar:
            loaded = load_ahead(opened, share, self.experiment.machine.num_workers)
            for video, found in zip(share, loaded, strict=True):
                own[video.id] = found
                bar(1)
        of_all = {name: found for part in self.processes.gather(own) for name, found in part.items()}
        places = {}
        for video in videos:
            found = of_all[video.id]
            if isinstance(found, str):
                console.error(f"{video.id}: {found}")
            else:
                places[video.id] = found
        return places

    def _probabilities(self, scores: Floats) -> Floats:
        """Fusion multiplies them with scores between 0 and 1."""
        return softmax(scores) if views_of(self.experiment).average == "logits" else scores

    @property
    def _span(self) -> int:
        """Frames that a clip covers; uniform sampling covers whatever there is."""
        sampling = self.source.sampling
        return sampling.frames * sampling.interval if sampling.rule == "interval" else SPAN_FRAMES

    def _windows(self, video: AnnotatedVideo, times: VideoTimes) -> "_Places":
        """Windows that cover a video, the last one ending with it."""
        settings = RecognitionSections.of(self.experiment).evaluation
        length_s = min(settings.window_s or self._span / times.fps, times.duration_s)
        steps = (times.duration_s - length_s) / (length_s * (1 - settings.window_overlap))
        count = 1 + math.ceil(steps - 1e-6)  # rounding adds no window
        starts = np.linspace(0.0, times.duration_s - length_s, count).tolist()
        clips = [LabelledClip(video, (), start_s, start_s + length_s) for start_s in starts]
        is_covered = self.source.sampling.rule == "uniform"
        return _Places(clips, 1 if is_covered else max(1, round(length_s * times.fps / self._span)))

    def _facts(self, num_clips: Sequence[int]) -> class_scores.Facts:
        """Where the scores come from; windows have these numbers of clips, in ascending order."""
        settings, views = RecognitionSections.of(self.experiment).evaluation, views_of(self.experiment)
        facts: dict[str, str | int | float] = {
            "run": str(self.experiment.run_folder),
            "checkpoint": self.trained.checkpoint,
            "sha256": self.trained.sha256,
            "views": str(views),
            "average": settings.average,
        }
        if settings.weights_file is None:
            facts["weights"] = settings.weights
        if num_clips:
            facts["views_of_windows"] = " or ".join(str(replace(views, clips=number)) for number in num_clips)
            facts["window_s"] = settings.window_s or f"{self._span} frames"
            facts["window_overlap"] = settings.window_overlap
            facts["best_windows"] = settings.best_windows
        return facts

    def _write_scores(
        self,
        path: Path,
        results: dict[str, Floats],
        windows: dict[str, ScoredWindows],
        facts: class_scores.Facts,
        num_videos: int,
    ) -> None:
        best_windows = RecognitionSections.of(self.experiment).evaluation.best_windows
        with outputs.recording([path]):
            class_scores.write(path, self.trained.classes, results, windows, facts, best_windows)
        scored = len(results.keys() | windows.keys())
        console.say(f"Wrote class scores of {scored} of {console.count(num_videos, 'video')} to {path}")
        console.emit("scores", path=str(path), videos=scored)


@dataclass(frozen=True)
class _Places:
    """The windows of a video, and how many clips of each are scored."""

    clips: list[LabelledClip]
    num_clips: int


def _written(
    experiment: Experiment,
    trained: TrainedRecognizer,
    annotations: Annotations,
    clips: Sequence[LabelledClip],
    found: Scored,
) -> tuple[Path, RecognitionResults]:
    """Writes the results and the list of clips."""
    dataset, evaluation = experiment.dataset, RecognitionSections.of(experiment).evaluation
    views, file = views_of(experiment), evaluation.weights_file
    known = [clip for clip in clips if clip.id in found.scores]
    if not known:
        raise UserError(
            f"None of {console.count(len(clips), 'clip')} can be read.",
            "Expected a video that can be decoded.",
            "Replace the files that the errors above name.",
        )
    rows = np.stack([found.scores[clip.id] for clip in known])
    truth = truth_table([clip.labels for clip in known], len(trained.classes))
    measuring = measured_with(experiment)
    head = {
        "name": experiment.run.name,
        "dataset": dataset.name,
        "variant": annotations.variant,
        "subset": dataset.evaluation_subset,
        "seed": None if file else experiment.run.seed,
        "checkpoint": trained.checkpoint,
        "weights": None if file else evaluation.weights,
        **scoring.provenance_of_results(),
        "settings": measuring.settings,
        "changed": measuring.changed,
        "annotations_sha256": files.sha256_of_file(dataset.annotations_file),
        "trained": None if trained.run is None else compared(experiment, trained.run, annotations),
    }
    results = measured(
        rows,
        truth,
        trained.classes,
        head,
        views=str(views),
        average=views.average,
        unreadable=found.unreadable,
        clips_left_out=len(clips) - len(known),
        published=published_figures(experiment, PublishedAccuracy),
        videos=[clip.video.id for clip in known],
    )
    folder = results_folder(experiment, measuring.changed, file=file.name if file else None)
    listing = folder / "clips.csv"
    files.write_text(listing, _clips_csv(known, rows, trained.classes))
    path = write_results(folder, results, listing)
    write_board(folder, results)
    return path, results


def _report(experiment: Experiment, written: Sequence[tuple[Path, RecognitionResults]]) -> int:
    """Prints the accuracies, then what limits them, then where they are; 3 if videos cannot be read."""
    path, results = written[0]
    console.result_table(tables.as_rich(overview([one for _, one in written], with_cautions=False)))
    for caution in results.cautions():
        console.warn(caution)
    counts = results.counts
    if counts.unreadable:
        left_out = console.count(counts.clips_left_out, "clip is", "clips are")
        console.error(f"{left_out} in no accuracy: the videos cannot be read ({console.first_ten(counts.unreadable)})")
    for line in epochs.told(experiment.run_folder, experiment.training.validation_subset, results):
        console.say(line)
    for where, _ in written:
        console.say(f"Wrote {where} and clips.csv")
    console.emit("done", path=str(path), top_1=results.top_1, top_5=results.top_5)
    return EXIT_SOME_INPUTS_FAILED if counts.unreadable else 0


def _clips_csv(clips: Sequence[LabelledClip], scores: Floats, classes: Sequence[str]) -> str:
    """One row for each clip: what is true, what the network says, and how sure it is."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "start_s", "end_s", "true", "predicted", "score"])
    for clip, row in zip(clips, scores, strict=True):
        best = int(row.argmax())
        times = ["", ""] if clip.end_s is None else [f"{clip.start_s:.3f}", f"{clip.end_s:.3f}"]
        true = "; ".join(classes[label] for label in clip.labels)
        writer.writerow([csv_cell(clip.video.id), *times, csv_cell(true), csv_cell(classes[best]), f"{row[best]:.6g}"])
    return stream.getvalue()
