"""`actloc prepare CONFIG`: the dataset's raw form in, annotations.json and, where asked for, new videos out."""

from pathlib import Path

from actloc import annotations as annotation_form
from actloc import console, files
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.signals import stopping_at_once
from actloc.tasks.preparation import convert_videos


def run(experiment: Experiment, *, overwrite: bool = False) -> int:
    """Writes the dataset's folder; a finished one is left as it is."""
    dataset = experiment.dataset
    with files.locked(dataset.folder), stopping_at_once():
        annotations = dataset.collect()
        annotations = convert_videos(annotations, dataset.folder, experiment.preparation)
        _write(dataset.annotations_file, annotation_form.to_text(annotations), overwrite)
    for subset in (dataset.training_subset, dataset.evaluation_subset):
        videos = annotations.of_subset(subset)
        actions = sum(len(video.actions) for video in videos)
        console.result(f"{subset}: {len(videos)} videos, {actions} actions of {len(annotations.classes)} classes")
    console.emit("done", path=str(dataset.annotations_file), videos=len(annotations.videos))
    console.say(f"Next: actloc extract-features {experiment.arguments}")
    return 0


def _write(path: Path, text: str, overwrite: bool) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        console.say(f"{path} is already complete")
        return
    if path.exists() and not overwrite:
        raise UserError(
            f"{path} exists and holds other annotations than these settings and files give now.",
            "Expected nothing, or the same.",
            "Replace it with --overwrite, or keep both: dataset.folder=ANOTHER_FOLDER",
        )
    files.write_text(path, text)
    console.say(f"Wrote {path}")
