"""Actions in new videos, on screen and as JSON, CSV, SRT and a timeline page."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.table import Table

from actloc import console, files
from actloc.annotations.rows import Segment, WrittenVideo
from actloc.evaluation.predictions import Claim, Prediction, Predictions, claims_of, predictions_of, write_predictions
from actloc.evaluation.results import Record, Video
from actloc.experiment import Experiment
from actloc.extraction.video_progress import VideoProgress
from actloc.localization.written_files import SUMMARIES, subtitles_file
from actloc.prediction.base import MadeWith, Predicting
from actloc.reports import html, subtitles
from actloc.runs.predictor import Found, Predictor
from actloc.runs.result_folders import settings_of_videos


class FoundActions(Record):
    """The actions found in a video: all of them, also those below the thresholds."""

    duration_s: float
    segments: list[Claim]
    """The best score first."""
    cut_by: list[str]
    """Limits that left out detections of lower scores."""
    too_long: dict[str, list[float]] = Field(default_factory=dict)
    """By class the scores of candidates that were dropped for their length, the best first."""

    @property
    def predictions(self) -> list[Prediction]:
        """The segments as the rest of actloc has them."""
        return predictions_of(self.segments)


class FindingActions(Predicting):
    """A detector at work on new videos."""

    form = FoundActions

    def __init__(self, experiment: Experiment, onnx: Sequence[Path] = ()) -> None:
        self._predictor = Predictor(experiment, onnx)
        self._thresholds, self._run = self._predictor.thresholds, str(experiment.run_folder)
        self._setting = experiment.prediction.threshold
        self.labels = sorted(self._thresholds)  # as on the page
        checkpoint, encoder = self._predictor.trained.checkpoint, self._predictor.encoder
        name = "averaged" if experiment.evaluation.weights == "averaged" else "weights"
        settings = settings_of_videos(experiment, without="evaluation.")
        settings["sha256 of the encoder's weights"] = None if encoder is None else encoder.weights_sha256
        if experiment.prediction.longest_action_s is not None:
            settings["prediction.longest_action_s"] = experiment.prediction.longest_action_s
        settings |= self._predictor.onnx.settings
        self.made_with = MadeWith(
            run=self._run,
            checkpoint=checkpoint,
            sha256=files.sha256_of_file(experiment.run_folder / checkpoint / f"{name}.safetensors"),
            settings=settings,
            shown={"prediction.threshold": self._setting, "score threshold": self._thresholds},
            summaries=SUMMARIES,
        )

    def predict(self, video: Path, progress: VideoProgress) -> FoundActions:
        """Every action that the detector finds."""
        found = self._predictor.detect(video, progress)
        segments = claims_of(found.predictions)
        return FoundActions(
            duration_s=found.duration_s, segments=segments, cut_by=found.cut_by, too_long=found.too_long
        )

    def event(self, result: FoundActions) -> dict[str, Any]:  # Any: JSON values
        """The segments that reach their thresholds, and how many do not."""
        counted = self._counted(result)
        fields = [
            {"label": one.label, "score": one.score, "start_s": one.start_s, "end_s": one.end_s} for one in counted
        ]
        return {"segments": fields, "below_threshold": len(result.segments) - len(counted)}

    def _counted(self, result: FoundActions) -> list[Prediction]:
        return self._predictor.counted(result.predictions)

    def write(self, output: Path, results: Mapping[str, FoundActions]) -> None:
        """JSON, CSV and subtitles of the segments that reach their thresholds; the page shows some of the others."""
        counted = {video_id: self._counted(result) for video_id, result in results.items()}
        write_predictions(output, counted, {"score_thresholds": self._thresholds})
        files.write_text(output / "segments.csv", subtitles.as_csv(counted))
        for video_id, listed in counted.items():
            path, text = output / subtitles_file(video_id), subtitles.as_srt(listed)
            if not path.is_file() or files.read_bytes(path) != text.encode("utf-8", "backslashreplace"):
                files.write_text(path, text)  # those of thousands of earlier videos stay as they are
        videos = [Video(id=video_id, duration_s=result.duration_s) for video_id, result in results.items()]
        everything: Predictions = {video_id: result.predictions for video_id, result in results.items()}
        facts = {"Run": f"{self._run}, {self.made_with.checkpoint}", "Score threshold": self._thresholds_text()}
        page = html.predictions_page("Found actions", videos, everything, self._thresholds, facts)
        files.write_text(output / "timelines.html", page)
        written = f"{output}/predictions.json, segments.csv, timelines.html"
        console.say(f"Wrote {written} and {console.count(len(videos), '.srt file')}")

    def annotated(self, video_id: str, name: str, result: FoundActions) -> WrittenVideo:
        """The segments that reach their thresholds."""
        counted = tuple(Segment(one.start_s, one.end_s, one.label, one.score) for one in self._counted(result))
        return WrittenVideo(video_id, name, counted, result.duration_s)

    def _thresholds_text(self, *, is_short: bool = False) -> str:
        """The thresholds as numbers: of all classes, or of ten of them."""
        if self._setting != "best_f1":
            return f"{self._setting:g}, by prediction.threshold"
        listed = [f"{label} {threshold:.3g}" for label, threshold in self._thresholds.items()]
        return f"best F1 of each class: {console.first_ten(listed) if is_short else ', '.join(listed)}"

    def show(self, results: Mapping[str, FoundActions]) -> None:
        """A row for each segment that reaches its threshold; of other videos, how near the best segment comes to it."""
        table, without = Table("video", "start s", "end s", "action", "score", box=None), []
        for video_id, result in results.items():
            found = Found(result.predictions, result.duration_s, result.cut_by, result.too_long)
            self._predictor.warn_of_limits(video_id, video_id, found)
            listed = self._counted(result)
            for one in sorted(listed, key=lambda one: one.start_s):
                numbers = f"{one.start_s:.2f}", f"{one.end_s:.2f}"
                table.add_row(console.clean(video_id), *numbers, console.clean(one.label), f"{one.score:.3f}")
            if not listed:
                without.append(f"{video_id}: {below_threshold(result.predictions, self._thresholds)}")
        console.say(f"Score threshold: {self._thresholds_text(is_short=True)}")
        if table.row_count:
            console.result_table(table)
        for line in without:
            console.result(line)
        if any(self._below(result) for result in results.values()):
            console.say("For another threshold in the same folder, add --overwrite; no video is read again")

    def _below(self, result: FoundActions) -> bool:
        return bool(result.segments) and not self._counted(result)

    def close(self) -> None:
        """Ends the processes that read clips."""
        self._predictor.close()


def below_threshold(found: Sequence[Prediction], thresholds: Mapping[str, float]) -> str:
    """What is said of a video without any segment that reaches the threshold of its class.

    `1 segment below the threshold (0.48 < 0.49): prediction.threshold=0.4 shows it`.
    """
    if not found:
        return "nothing found"
    best = max(found, key=lambda one: one.score)
    segments, best_is = console.count(len(found), "segment"), "" if len(found) == 1 else "the best: "
    lower = rounded_down(best.score)
    number = sum(one.score >= lower for one in found)
    shown = "it" if len(found) == 1 else "all" if number == len(found) else f"{number} of them"
    compared = " < ".join(distinct_digits(best.score, thresholds[best.label]))
    return f"{segments} below the threshold ({best_is}{compared}): prediction.threshold={lower:g} shows {shown}"


def rounded_down(score: float) -> float:
    """The score with its first digit only: 0.4 for 0.48, 0.04 for 0.048."""
    if score <= 0:
        return 0.0
    digits = -math.floor(math.log10(score))
    lower = math.floor(score * 10**digits) / 10**digits
    return lower if lower <= score else 0.0


def distinct_digits(low: float, high: float) -> tuple[str, str]:
    """Two numbers with as many digits as show that they differ, two at least."""
    for digits in range(2, 17):
        texts = f"{low:.{digits}f}", f"{high:.{digits}f}"
        if texts[0] != texts[1] and float(texts[0]) > 0:
            return texts
    return repr(low), repr(high)
