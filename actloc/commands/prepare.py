"""`actloc prepare CONFIG`: the dataset's raw form in, annotations.json and, where asked for, new videos out."""

import shlex

from actloc import console, files
from actloc.annotations.model import Annotations
from actloc.experiment import Experiment
from actloc.extraction.preparing import prepare
from actloc.settings import own_code


def run(experiment: Experiment, *, overwrite: bool = False) -> int:
    """Writes the dataset's folder; a finished one is left as it is."""
    annotations = prepare(experiment.dataset, experiment.preparation, overwrite=overwrite)
    _tell_missing(annotations, experiment)
    console.emit("done", path=str(experiment.dataset.annotations_file), videos=len(annotations.videos))
    console.say(f"Next: actloc {_following(experiment, annotations)}")
    return 0


def _following(experiment: Experiment, annotations: Annotations) -> str:
    """The command after this one."""
    has_files = any(video.file for video in annotations.videos.values())
    if experiment.encoder and has_files:
        return f"extract-features {experiment.arguments}"
    if experiment.dataset.has_actions:
        return f"train {experiment.arguments}"
    return shlex.join(["import-features", experiment.typed, "STORE", *experiment.overrides, *own_code.options()])


def _tell_missing(annotations: Annotations, experiment: Experiment) -> None:
    """Names the videos without features, where features are made elsewhere; `train` then says what it does."""
    lacking = experiment.features.without_features(annotations)
    listing = experiment.dataset.folder / "missing_features.txt"
    if not lacking:
        files.remove(listing)
        return
    if len(lacking) == len(annotations.videos):
        rule = f"{experiment.features.path} has none: look at features.path, prefix and suffix"
    elif experiment.features.allow_missing:
        rule = "they are left out, and missed"
    else:
        rule = "`train` stops at them, unless features.allow_missing=true"
    names = console.first_ten(lacking)
    console.say(f"{len(lacking)} of {len(annotations.videos)} videos have no features ({rule}): {names}")
    files.write_text(listing, "".join(f"{video_id}\n" for video_id in lacking))
