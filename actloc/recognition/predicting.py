"""Names the classes of new videos, on screen and as CSV and JSON."""

import csv
import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.table import Table

from actloc import console, files
from actloc.errors import EXIT_SOME_INPUTS_FAILED, VideoError
from actloc.evaluation import class_scores
from actloc.evaluation.columns import Floats
from actloc.evaluation.results import MOST_INITIAL_SHARE, averages_caution
from actloc.experiment import Experiment
from actloc.recognition.networks import RecognitionSections
from actloc.recognition.predictor import RecognitionPredictor, ranked
from actloc.reports import outputs
from actloc.reports.text import csv_cell
from actloc.signals import stopping_at_once
from actloc.store.filling import failure
from actloc.video.clip_files import id_of

WRITTEN_FILES = ["classes.csv", "class_scores.json", "failed.jsonl"]
"""The names of the files that `predict` writes."""


def predict(experiment: Experiment, videos: Sequence[Path], output: Path) -> int:
    """Scores every video that can be read, as a whole; the others are reported, and the exit status is 3."""
    predictor = RecognitionPredictor(experiment)
    run, weights = predictor.trained.run, RecognitionSections.of(experiment).evaluation.weights
    if run is not None and weights == "averaged" and run.initial_share > MOST_INITIAL_SHARE:
        console.warn(averages_caution(run.initial_share, run.step))
    files.make_folder(output)  # a folder that cannot be written is reported before the work
    found: dict[str, Floats] = {}
    failed = []
    classes = predictor.classes
    with closing(predictor), console.progress("predicting", len(videos)) as bar, stopping_at_once(is_saved=False):
        for path in videos:
            try:
                row = predictor.probabilities(path)
            except VideoError as error:
                console.error(f"{path}: {error}")
                console.emit("video_failed", id=id_of(path), path=str(path), reason=error.reason, detail=error.detail)
                failed.append(failure(id_of(path), path, error))
            else:
                found[id_of(path)] = row
                ((label, probability),) = _best(row, classes, 1)
                console.emit("video_done", id=id_of(path), label=label, probability=probability)
            bar(1, path.name)
    top_k = RecognitionSections.of(experiment).prediction.top_k
    trained = predictor.trained
    facts = {"run": str(experiment.run_folder), "checkpoint": trained.checkpoint, "views": str(predictor.views)}
    with outputs.recording([output / name for name in WRITTEN_FILES]):
        class_scores.write(output / "class_scores.json", classes, found, {}, facts)
        files.write_text(output / "classes.csv", _as_csv(found, classes, top_k))
        files.write_json_lines(output / "failed.jsonl", failed)
    _show(found, classes, top_k)
    console.say(f"Wrote {output}/classes.csv and class_scores.json")
    console.emit("done", path=str(output), videos=len(found))
    if failed:
        total = console.count(len(videos), "video")
        console.error(f"{len(failed)} of {total} failed, {len(found)} succeeded; see {output}/failed.jsonl")
        return EXIT_SOME_INPUTS_FAILED
    return 0


def _best(row: Floats, classes: Sequence[str], top_k: int) -> list[tuple[str, float]]:
    return [(classes[number], float(row[number])) for number in ranked(row)[:top_k]]


def _as_csv(found: dict[str, Floats], classes: Sequence[str], top_k: int) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "rank", "class", "probability"])
    for video_id, row in found.items():
        for rank, (name, score) in enumerate(_best(row, classes, top_k), start=1):
            writer.writerow([csv_cell(video_id), rank, csv_cell(name), f"{score:.6f}"])
    return stream.getvalue()


def _show(found: dict[str, Floats], classes: Sequence[str], top_k: int) -> None:
    table = Table("video", "class", "probability", box=None)
    for video_id, row in found.items():
        for rank, (name, score) in enumerate(_best(row, classes, top_k)):
            table.add_row("" if rank else console.clean(video_id), console.clean(name), f"{score:.3f}")
    console.result_table(table)
