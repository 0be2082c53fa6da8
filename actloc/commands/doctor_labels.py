"""`actloc doctor RUN --labels`: the annotations that a trained run contradicts, the most suspicious first."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actloc import console, files
from actloc.annotations.model import Annotations
from actloc.annotations.rows import Segment, WrittenVideo
from actloc.annotations.writing import WritableForm
from actloc.datasets.base import read_prepared
from actloc.diagnosis.labels.suspicion import Suspicion
from actloc.errors import UserError
from actloc.evaluation.predictions import Predictions
from actloc.experiment import Experiment, load
from actloc.prediction import tool_files
from actloc.reports import outputs
from actloc.reports.text import csv_cell
from actloc.settings import parts

_SHOWN = 20
_COLUMNS = (
    *("video", "start", "end", "label", "kind", "suspicion"),
    *("suggested start", "suggested end", "suggested label", "reason"),
)


@dataclass(frozen=True)
class ForTools:
    """Which files of annotation tools are written as well, and where."""

    formats: str = ""
    """Names of forms with commas between them; empty: none."""
    output: Path | None = None
    """The folder; None: label_suggestions."""
    overwrite: bool = False

    @property
    def folder(self) -> Path:
        """The folder."""
        return self.output or Path("label_suggestions")

    @property
    def forms(self) -> list[WritableForm]:
        """The forms; raises UserError for a name that is none, and where nothing is to be written into the folder."""
        if self.output is not None and not self.formats:
            raise UserError(
                f"--output {self.output} was given without --format.",
                "Expected forms of annotation tools to write there.",
                "Add --format label-studio, or another form",
            )
        return tool_files.forms_named(self.formats, (), "doctor --labels")


def run(
    target: str | None,
    overrides: Sequence[str],
    code: Sequence[Path],
    folds: int | None,
    for_tools: ForTools,
    *,
    labels: bool,
    full: bool,
) -> int:
    """Writes label_audit.csv into the run and prints its first rows; the exit status is 0 whatever they are.

    `folds`: how many runs of the same settings judge videos that they were not trained on; None: the run itself judges.
    """
    parts.use_code(code)
    if not labels or full:
        alone = "--folds" if folds is not None else "--format" if for_tools.formats else "--output"
        raise UserError(
            f"{alone} was given without --labels." if not labels else "--labels and --full were both given.",
            f"Expected {alone} with --labels." if not labels else "Expected one: --labels reads no video.",
            "Add --labels" if not labels else "Remove one of them",
        )
    forms = for_tools.forms
    if target is None:
        raise UserError(
            "--labels was given without a run.",
            "Expected a trained run, whose predictions are compared with the annotations.",
            "Name one: actloc doctor RUN --labels",
        )
    experiment = load(target, list(overrides))
    if "detector" not in experiment.sections:
        raise UserError(
            f"{target} is of the task {experiment.task.name}.",
            "Expected a run of the task localization, whose annotations have a start and an end.",
            "Name another run: actloc ls runs",
        )
    annotations = read_prepared(experiment.dataset, experiment.arguments)
    if forms:
        made = [for_tools.folder / name for name in tool_files.names_of(forms, list(annotations.videos))]
        outputs.refuse_others(made, overwrite=for_tools.overwrite)
    # imported after the checks, which answer faster without torch
    from actloc.localization import auditing

    if folds is None:
        predictions = auditing.detected(experiment, annotations, auditing.audited(experiment, annotations))
        subset = experiment.dataset.training_subset
        console.warn(
            f"The run judges labels of {subset!r} that it was trained on: a network that has memorised them "
            f"contradicts fewer. To use runs that have not seen them: "
            f"actloc doctor {experiment.arguments} --labels --folds 3"
        )
    else:
        predictions = _cross_fitted(experiment, annotations, folds)
    rows = _report(experiment, annotations, predictions, folds)
    if forms:
        tool_files.write_in_place(forms, for_tools.folder, suggested_videos(rows, annotations))
        console.say("Look at each suggestion: the run may be wrong")
    return 0


def _cross_fitted(experiment: Experiment, annotations: Annotations, num_folds: int) -> Predictions:
    """What runs find in the videos that they were not trained on; a call after a stop continues."""
    from actloc.commands import train
    from actloc.localization import auditing

    found: Predictions = {}
    for number, fold in enumerate(auditing.folds(experiment, annotations, num_folds), 1):
        console.say(f"Fold {number} of {num_folds}: {console.count(len(fold.videos), 'video')} to judge")
        train.run(fold.experiment, overwrite=fold.is_changed, is_part=True)
        found |= auditing.detected(fold.experiment, annotations, fold.videos)
    return found


def _report(
    experiment: Experiment, annotations: Annotations, predictions: Predictions, folds: int | None
) -> list[Suspicion]:
    from actloc.diagnosis.labels.ranking import ranked
    from actloc.diagnosis.labels.suspicion import judged
    from actloc.localization import auditing

    videos = auditing.audited(experiment, annotations)
    missing = [video.id for video in videos if video.id not in predictions]
    if missing:
        have = console.count(len(missing), "video has", "videos have")
        console.warn(f"{have} no predictions, and is not judged: {console.first_ten(missing)}")
    judgement = judged(videos, predictions)
    rows = ranked(judgement)
    path = auditing.audit_file(experiment)
    files.write_text(path, as_csv(rows))
    for number, row in enumerate(rows):
        if number < _SHOWN:
            console.result(f"{row.suspicion:.2f} {row.kind}, {row.video_id}: {row.sentence}")
        suggested = row.suggested and [row.suggested.start_s, row.suggested.end_s, row.suggested.label]
        annotated = row.action and [row.action.start_s, row.action.end_s, row.action.label]
        value = {"suspicion": row.suspicion, "annotated": annotated, "suggested": suggested}
        kind = f"label_{row.kind}"
        fields = {"severity": "note", "kind": kind, "what": row.sentence, "where": row.video_id, "value": value}
        console.emit("finding", **fields, fix="Look at the video there, and correct the annotation if it is wrong")
    num_actions = sum(len(one.video.actions) for one in judgement.videos)
    by = "the run itself" if folds is None else f"{folds} runs that were not trained on them"
    console.result(
        f"{console.count(len(rows), 'suspicion')} in {console.count(len(judgement.videos), 'video')} with "
        f"{console.count(num_actions, 'annotation')}, judged by {by}; all are in {path}"
    )
    console.emit("done", errors=0, warnings=0, path=str(path), suspicions=len(rows), folds=folds)
    return rows


def suggested_videos(rows: Sequence[Suspicion], annotations: Annotations) -> list[WrittenVideo]:
    """What the run finds in place of annotations, and where there is none, by video; scores are the suspicions."""
    found: dict[str, list[Segment]] = {}
    for row in rows:
        if row.suggested is not None:
            one = row.suggested
            found.setdefault(row.video_id, []).append(Segment(one.start_s, one.end_s, one.label, row.suspicion))
    return [
        tool_files.of_video(annotations.videos[video_id], sorted(segments, key=lambda one: one.start_s))
        for video_id, segments in sorted(found.items())
    ]


def as_csv(rows: Sequence[Suspicion]) -> str:
    """The table: times in seconds with three decimals; empty cells where there is no annotation, or no suggestion."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        ends = [
            ["", "", ""] if one is None else [f"{one.start_s:.3f}", f"{one.end_s:.3f}", csv_cell(one.label)]
            for one in (row.action, row.suggested)
        ]
        where = [csv_cell(row.video_id), *ends[0]]
        writer.writerow([*where, row.kind, f"{row.suspicion:.4f}", *ends[1], csv_cell(row.sentence)])
    return stream.getvalue()
