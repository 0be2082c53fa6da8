"""Actions in new videos, on screen and as JSON, CSV, SRT and a timeline page."""

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.table import Table

from actloc import console, files
from actloc.errors import EXIT_SOME_INPUTS_FAILED, VideoError
from actloc.evaluation.predictions import Predictions, write_predictions
from actloc.evaluation.results import Video
from actloc.experiment import Experiment
from actloc.reports import html, outputs, subtitles
from actloc.runs.predictor import Predictor
from actloc.signals import stopping_at_once
from actloc.store.filling import failure


def written_files(videos: Sequence[Path]) -> list[str]:
    """The names of the files that `predict` writes: summaries, and the subtitles of each video."""
    subtitles = [f"{files.safe_name(video.stem)}.srt" for video in videos]
    return ["predictions.json", "segments.csv", "timelines.html", "failed.jsonl", *subtitles]


def predict(experiment: Experiment, videos: Sequence[Path], output: Path) -> int:
    """Finds the actions of every video that can be read; the others are reported, and the exit status is 3."""
    predictor = Predictor(experiment)
    files.make_folder(output)  # a folder that cannot be written is reported before the work
    found: Predictions = {}
    shown: list[Video] = []
    failed = []
    with closing(predictor), console.progress("predicting", len(videos)) as bar, stopping_at_once(is_saved=False):
        for path in videos:
            try:
                found[path.stem], duration_s = predictor.predict_timed(path)
            except VideoError as error:
                console.error(f"{path}: {error}")
                console.emit("video_failed", id=path.stem, path=str(path), reason=error.reason, detail=error.detail)
                failed.append(failure(path.stem, path, error))
            else:
                shown.append(Video(id=path.stem, duration_s=duration_s))
                segments = [dataclasses.asdict(one) for one in found[path.stem]]
                console.emit("video_done", id=path.stem, segments=segments)
                console.detail(f"{path}: {console.count(len(segments), 'segment')} in {duration_s:.1f} s")
            bar(1, path.name)
    with outputs.recording([output / name for name in written_files(videos)]):
        _write(experiment, output, shown, found)
        files.write_json_lines(output / "failed.jsonl", failed)
    _show(found)
    if failed:
        total, succeeded = console.count(len(videos), "video"), len(shown)
        console.error(f"{len(failed)} of {total} failed, {succeeded} succeeded; see {output}/failed.jsonl")
        return EXIT_SOME_INPUTS_FAILED
    return 0


def _write(experiment: Experiment, output: Path, videos: list[Video], found: Predictions) -> None:
    write_predictions(output, found)
    files.write_text(output / "segments.csv", subtitles.as_csv(found))
    for video in videos:
        files.write_text(output / f"{files.safe_name(video.id)}.srt", subtitles.as_srt(found[video.id]))
    facts = {"run": str(experiment.run_folder), "score threshold": str(experiment.prediction.threshold)}
    files.write_text(output / "timelines.html", html.predictions_page("Found actions", videos, found, facts=facts))
    console.say(
        f"Wrote {output}/predictions.json, segments.csv, timelines.html and {console.count(len(videos), '.srt file')}"
    )
    console.emit("done", path=str(output), videos=len(videos))


def _show(found: Predictions) -> None:
    table = Table("video", "start s", "end s", "action", "score", box=None)
    for video_id, listed in found.items():
        for one in sorted(listed, key=lambda one: one.start_s):
            numbers = f"{one.start_s:.2f}", f"{one.end_s:.2f}"
            table.add_row(console.clean(video_id), *numbers, console.clean(one.label), f"{one.score:.3f}")
        if not listed:
            table.add_row(console.clean(video_id), "-", "-", "nothing found", "-")
    console.result_table(table)
