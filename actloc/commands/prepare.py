"""`actloc prepare CONFIG`: writes annotations.json from the dataset's original annotations; can convert videos."""

import shlex

from actloc import console, files
from actloc.annotations.model import Annotations
from actloc.experiment import Experiment
from actloc.extraction.preparing import prepare
from actloc.settings import own_code


def run(experiment: Experiment, *, overwrite: bool = False) -> int:
    """Writes the dataset's folder; does nothing if it is complete."""
    annotations = prepare(experiment.dataset, experiment.preparation, overwrite=overwrite)
    _report_missing(annotations, experiment)
    console.emit("done", path=str(experiment.dataset.annotations_file), videos=len(annotations.videos))
    console.say(f"Next: actloc {_following(experiment, annotations)}")
    return 0


def _following(experiment: Experiment, annotations: Annotations) -> str:
    """The command after this one."""
    has_files = any(video.file for video in annotations.videos.values())
    needs_features = not experiment.features.trains_encoder or experiment.features.bank_store is not None
    if experiment.features.encoder and needs_features and has_files:
        return f"extract-features {experiment.arguments}"
    if experiment.dataset.has_actions:
        return f"train {experiment.arguments}"
    return shlex.join(["import-features", experiment.typed, "STORE", *experiment.overrides, *own_code.options()])


def _report_missing(annotations: Annotations, experiment: Experiment) -> None:
    """Reports the videos without features, where features come from files; `train` skips or refuses them."""
    missing = experiment.features.without_features(annotations)
    listing = experiment.dataset.folder / "missing_features.txt"
    if not missing:
        files.remove(listing)
        return
    if len(missing) == len(annotations.videos):
        rule = f"{experiment.features.path} has none of them: check features.path, prefix and suffix"
    elif experiment.features.allow_missing:
        rule = "they are skipped and count as missed"
    else:
        rule = "`train` refuses them unless features.allow_missing=true"
    names = console.first_ten(missing)
    verb = "has" if len(missing) == 1 else "have"
    videos = console.count(len(annotations.videos), "video")
    console.say(f"{len(missing)} of {videos} {verb} no features ({rule}): {names}")
    files.write_text(listing, "".join(f"{video_id}\n" for video_id in missing))
