"""The part of `actloc doctor` that looks at a folder: of videos, of prepared annotations, or a feature store."""

from pathlib import Path

from actloc import console
from actloc.annotations.model import Annotations
from actloc.commands import doctor_data
from actloc.diagnosis import annotations as annotation_checks
from actloc.diagnosis import copies
from actloc.diagnosis.finding import Finding
from actloc.errors import UserError
from actloc.store.store import FeatureStore

_TRAINING = ("train", "training")
_EVALUATION = ("test", "testing", "validation", "val")


def findings(folder: Path, *, decodes: bool) -> list[Finding]:
    """Whatever is in the folder; raises UserError if nothing of it is known."""
    found: list[Finding] = []
    is_known = False
    if (folder / "annotations.json").is_file():
        is_known = True
        found += _of_annotations(folder / "annotations.json", decodes=decodes)
    if (folder / "store.json").is_file():
        is_known = True
        store = FeatureStore(folder)
        for problem in store.verify():
            fix = f"Make these features again: {store.command_to_make()}"
            found.append(Finding("error", "damaged_features", problem, str(folder), fix))
        what = f"The store has features of {console.count(len(store.ids()), 'video')}"
        found.append(Finding("note", "store", what, str(folder)))
    of_videos, named = doctor_data.of_videos(folder, decodes=decodes)
    if named:
        is_known = True
        what = f"{console.count(len(named), 'video')} in the folder"
        found += [*of_videos, Finding("note", "videos", what, str(folder))]
    if not is_known:
        raise UserError(
            f"{folder} has no videos, no annotations.json and no store.json.",
            "Expected a folder of videos, a dataset's folder, a feature store, a run or a config.",
            "Name another one; the runs and configs: actloc ls runs, actloc ls configs",
        )
    return found


def _of_annotations(file: Path, *, decodes: bool) -> list[Finding]:
    listed, problems = annotation_checks.read(file)
    training, evaluation = _subset(listed, _TRAINING), _subset(listed, _EVALUATION)
    found = annotation_checks.findings(listed, problems, file, training, evaluation)
    of_files, signatures = doctor_data.files_findings(listed, decodes=decodes)
    return [*copies.findings(listed, training, evaluation, signatures), *found, *of_files]


def _subset(listed: Annotations, names: tuple[str, ...]) -> str:
    """The subset that has one of these names."""
    known = {video.subset.lower(): video.subset for video in listed.videos.values()}
    return next((known[name] for name in names if name in known), names[0])
