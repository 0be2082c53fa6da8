"""The part of `actloc doctor` that looks at the data of a config: annotations, videos, features, lengths of actions."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actloc import console
from actloc.annotations import left_out, prepared, subsets
from actloc.annotations.model import Annotations
from actloc.datasets.base import DatasetConfig
from actloc.diagnosis import annotations as annotation_checks
from actloc.diagnosis import copies, features, lengths, videos
from actloc.diagnosis.finding import Finding
from actloc.errors import Problem, UserError
from actloc.experiment import Experiment
from actloc.video import known_facts
from actloc.video.folder import videos_below

_ONE_BY_ONE = 50
"""Videos of which findings of one kind are listed; more are counted."""


@dataclass(frozen=True)
class Data:
    """What was found, and the annotations, if they can be read."""

    findings: list[Finding]
    annotations: Annotations | None


def look(experiment: Experiment, *, decodes: bool) -> Data:
    """Everything about the data of a config; annotations that are not prepared are read without writing them."""
    dataset = experiment.dataset
    found: list[Finding] = []
    try:
        listed, problems = _annotations(dataset, found)
    except UserError as error:
        found.append(Finding("error", "annotations", error.found, str(dataset.folder), error.fix))
        return Data([*found, *_of_folder(dataset, decodes=decodes)], None)
    training, evaluation = dataset.training_subset, dataset.evaluation_subset
    is_usable = dataset.has_actions
    if is_usable:
        found += annotation_checks.findings(listed, problems, dataset.annotations_file, training, evaluation)
    of_files, signatures = files_findings(listed, decodes=decodes)
    found += of_files
    source = experiment.sections.get("features")
    if source is not None and is_usable:
        subsets_used = [training, evaluation]
        of_features, of_rows = features.findings(experiment.features, listed, subsets_used)
        found += of_features
        signatures = of_rows or signatures
        found = [*copies.findings(listed, training, evaluation, signatures), *found]
        found += lengths.findings(listed.of_subset(training), experiment.features, experiment.detector)
    elif is_usable:
        found = [*copies.findings(listed, training, evaluation, signatures), *found]
    return Data(found, listed if is_usable else None)


def files_findings(listed: Annotations, *, decodes: bool) -> tuple[list[Finding], dict[str, Any]]:  # Any: arrays
    """The findings about the files that annotations name."""
    named = {video.id: video.file for video in listed.videos.values() if video.file is not None}
    gone = [video_id for video_id, file in named.items() if not file.exists()]
    there = {video_id: file for video_id, file in named.items() if file.exists()}
    durations = {video.id: video.duration_s for video in listed.videos.values() if video.duration_s}
    found, signatures = videos.findings(there, durations, decodes=decodes) if there else ([], {})
    found = grouped(found)
    counts = Counter(str(named[video_id]) for video_id in gone)
    shared = [path for path, number in counts.items() if number > 1]
    if shared:
        what = f"Several videos name the same file, which is gone: {console.first_ten(shared)}"
        found.append(Finding("warning", "same_file", what, "", "Name the file of each video", shared))
    if gone:
        what = f"Files of {console.count(len(gone), 'video')} are gone: {console.first_ten(gone)}"
        fix = "Put them back, or run: actloc prepare CONFIG"
        found.append(Finding("warning", "missing_videos", what, "", fix, gone))
    return found, signatures


def grouped(found: list[Finding]) -> list[Finding]:
    """The findings; where many videos have the same, the first ones and how many more there are."""
    counts: dict[str, int] = {}
    kept = []
    for one in found:
        counts[one.kind] = counts.get(one.kind, 0) + 1
        if counts[one.kind] <= _ONE_BY_ONE:
            kept.append(one)
    more = {kind: number - _ONE_BY_ONE for kind, number in counts.items() if number > _ONE_BY_ONE}
    for kind, number in more.items():
        severity = next(one.severity for one in found if one.kind == kind)
        kept.append(Finding(severity, kind, f"{console.count(number, 'more video')} with the same", value=number))
    return kept


def _annotations(dataset: DatasetConfig, found: list[Finding]) -> tuple[Annotations, list[Problem]]:
    """What `prepare` wrote, else what it would write; raises UserError."""
    if dataset.is_prepared():
        changed = prepared.changed_sources(dataset.folder)
        if changed:
            what = f"{console.first_ten(changed)} changed after `actloc prepare` read it"
            found.append(Finding("warning", "changed_sources", what, str(changed[0]), "Run: actloc prepare CONFIG"))
        _add_left_out(dataset, dataset.folder, found)
        return annotation_checks.read(dataset.annotations_file)
    if not dataset.has_own_labels and dataset.has_actions:
        raise UserError(
            f"{dataset.annotations_file} does not exist.",
            "Expected the file that `actloc prepare` writes.",
            "Run: actloc prepare CONFIG",
        )
    what = f"{dataset.annotations_file} is not prepared yet; its sources were checked"
    found.append(Finding("note", "not_prepared", what, str(dataset.folder), "Run: actloc prepare CONFIG"))
    return _collected(dataset, found), []


def _add_left_out(dataset: DatasetConfig, folder: Path, found: list[Finding]) -> None:
    """Adds what `prepare` left out of a user's annotations, as its file in `folder` lists it."""
    unused = left_out.read(folder) if dataset.has_own_labels else []
    if unused:
        what = f"{console.count(len(unused), 'row')} of the annotations cannot be used: {console.first_ten(unused)}"
        fix = "Correct them, then run: actloc prepare CONFIG"
        found.append(Finding("warning", "left_out", what, str(dataset.folder), fix, len(unused)))


def _collected(dataset: DatasetConfig, found: list[Finding]) -> Annotations:
    """What `prepare` would write, with a folder for what it writes beside it that is deleted again."""
    with tempfile.TemporaryDirectory() as folder:
        for kept in (subsets.file_in(dataset.folder), known_facts.file_in(dataset.folder)):
            if kept.is_file():
                shutil.copy(kept, folder)
        console.be_quiet(True)
        try:
            collected = dataset.model_copy(update={"folder": Path(folder)}).collect()
            _add_left_out(dataset, Path(folder), found)
            return collected
        finally:
            console.be_quiet(False)


def _of_folder(dataset: DatasetConfig, *, decodes: bool) -> list[Finding]:
    """The findings about the videos of a dataset whose annotations cannot be read."""
    folder = getattr(dataset, "videos", None)
    return of_videos(folder, decodes=decodes)[0] if isinstance(folder, Path) and folder.is_dir() else []


def of_videos(folder: Path, *, decodes: bool) -> tuple[list[Finding], Mapping[str, Path]]:
    """The findings about all videos of a folder, and their files."""
    named = {str(file.relative_to(folder)): file for file in videos_below(folder)}
    found, _ = videos.findings(named, {}, decodes=decodes) if named else ([], {})
    return grouped(found), named
