"""Names the classes of new videos, on screen and as CSV and JSON."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from actloc import console, files
from actloc.evaluation import class_scores
from actloc.evaluation.results import MOST_INITIAL_SHARE, Record, averages_caution
from actloc.experiment import Experiment
from actloc.extraction.video_progress import VideoProgress
from actloc.prediction.base import MadeWith, Predicting
from actloc.recognition.networks import RecognitionSections
from actloc.recognition.predictor import RecognitionPredictor, ranked
from actloc.recognition.results import SUMMARIES
from actloc.recognition.setting_names import encoder_called
from actloc.reports.text import csv_cell
from actloc.runs.result_folders import settings_of_videos


class ClassProbabilities(Record):
    """How probable each class of the run is, of a video as a whole."""

    probabilities: list[float]


class NamingClasses(Predicting):
    """A recogniser at work on new videos."""

    form = ClassProbabilities

    def __init__(self, experiment: Experiment) -> None:
        self._predictor = RecognitionPredictor(experiment)
        trained, sections = self._predictor.trained, RecognitionSections.of(experiment)
        run, self._top_k = trained.run, sections.prediction.top_k
        is_averaged = sections.evaluation.weights == "averaged"
        if run is not None and is_averaged and run.initial_share > MOST_INITIAL_SHARE:
            console.warn(averages_caution(run.initial_share, run.step))
        self.made_with = MadeWith(
            run=str(experiment.run_folder),
            checkpoint=trained.checkpoint,
            sha256=trained.sha256,
            settings=settings_of_videos(experiment),
            shown={"prediction.top_k": self._top_k},
            summaries=SUMMARIES,
        )

    def predict(self, video: Path, progress: VideoProgress) -> ClassProbabilities:
        """The probabilities of all classes."""
        with encoder_called():
            return ClassProbabilities(probabilities=self._predictor.probabilities(video).tolist())

    def event(self, result: ClassProbabilities) -> dict[str, Any]:  # Any: JSON values
        """The best class."""
        ((label, probability),) = self._best(result, 1)
        return {"label": label, "probability": probability}

    def _best(self, result: ClassProbabilities, top_k: int) -> list[tuple[str, float]]:
        row = np.array(result.probabilities)
        return [(self._predictor.classes[number], float(row[number])) for number in ranked(row)[:top_k]]

    def write(self, output: Path, results: Mapping[str, ClassProbabilities]) -> None:
        """The scores of all classes as JSON, the best ones as CSV."""
        rows = {video_id: np.array(result.probabilities) for video_id, result in results.items()}
        made = self.made_with
        facts = {"run": made.run, "checkpoint": made.checkpoint, "views": str(self._predictor.views)}
        class_scores.write(output / "class_scores.json", self._predictor.classes, rows, {}, facts)
        files.write_text(output / "classes.csv", self._as_csv(results))
        console.say(f"Wrote {output}/classes.csv and class_scores.json")

    def _as_csv(self, results: Mapping[str, ClassProbabilities]) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["video", "rank", "class", "probability"])
        for video_id, result in results.items():
            for rank, (name, score) in enumerate(self._best(result, self._top_k), start=1):
                writer.writerow([csv_cell(video_id), rank, csv_cell(name), f"{score:.6f}"])
        return stream.getvalue()

    def show(self, results: Mapping[str, ClassProbabilities]) -> None:
        """The best classes of each video."""
        table = Table("video", "class", "probability", box=None)
        for video_id, result in results.items():
            for rank, (name, score) in enumerate(self._best(result, self._top_k)):
                table.add_row("" if rank else console.clean(video_id), console.clean(name), f"{score:.3f}")
        console.result_table(table)

    def close(self) -> None:
        """Ends the processes that read clips."""
        self._predictor.close()
