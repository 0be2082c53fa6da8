"""`actloc report RUN --card`: a model card beside the weights of each run."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from actloc import console, files
from actloc.errors import UserError
from actloc.experiment import is_run
from actloc.reports import model_card, outputs
from actloc.reports.runs import run_record
from actloc.tasks.base import task_named
from actloc.training import checkpoint as checkpoints

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.IGNORECASE)


def run(
    run_folders: Sequence[Path],
    others: Mapping[str, object],
    *,
    card: bool,
    license_id: str | None,
    overwrite: bool,
) -> int:
    """Writes README.md into the folder of the checkpoint that the settings of each run choose.

    `others` are options by name that a card has no use for; one that is not None is refused.
    """
    if not card:
        raise UserError(
            f"--license {license_id} was given without --card.",
            "Expected --card: only a model card names the licence of the weights.",
            "Add --card.",
        )
    for option, value in others.items():
        if value is not None:
            raise UserError(
                f"{option} {value} was given with --card.",
                "Expected --card alone: a model card is Markdown, beside the weights that it describes.",
                f"Remove {option}.",
            )
    if license_id is not None and not _LICENSE.fullmatch(license_id):
        raise UserError(
            f"--license is {license_id!r}.",
            "Expected the id of a licence as the Hugging Face hub lists it: apache-2.0, cc-by-nc-4.0, other.",
            "Correct it, or leave it out: the card then says that it is not stated.",
        )
    written = []
    for folder in run_folders:
        path, text = _card(folder, license_id)
        fix = "Keep it, or replace it with --overwrite."
        outputs.refuse_others([path], overwrite=overwrite, fix=fix)
        with outputs.recording([path]):
            files.write_text(path, text)
        written.append(path)
        console.say(f"Wrote {path}")
    if license_id is None:
        console.say(f"The licence of the weights is {model_card.NOT_STATED}; to state it, add --license ID")
    console.emit("done", command="report", written=[str(path) for path in written])
    return 0


def _card(folder: Path, license_id: str | None) -> tuple[Path, str]:
    """Where the card of a run is, and its text; raises UserError for a run without weights."""
    if not is_run(folder) or not checkpoints.steps(folder):
        raise UserError(
            f"{folder} has no weights.",
            "Expected a trained run: a model card is beside its weights.",
            f"Train first: actloc train {shlex.quote(str(folder))}",
        )
    chosen = run_record(folder).chosen
    is_best = chosen.get("evaluation.checkpoint") == "best"
    checkpoint = folder / (checkpoints.best if is_best else checkpoints.last)(folder).name
    about = checkpoints.numbers(checkpoint).get("about")
    if not isinstance(about, dict) or not isinstance(about.get("classes"), list):
        raise UserError(
            f"{checkpoint} is damaged.",
            "Expected a checkpoint as `actloc train` wrote it.",
            f"Restore it from a copy, or train again: actloc train {shlex.quote(str(folder))}",
        )
    contents = task_named(str(chosen.get("task.name", "localization"))).card(folder, checkpoint)
    return checkpoint / model_card.NAME, model_card.card(folder, checkpoint, about, contents, license_id)
