"""A run folder as a report reads it: each evaluated subset with the settings, command and losses behind it."""

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from actloc import files
from actloc.errors import UserError
from actloc.evaluation.results import METRICS_NAME, Predictions, Results, read_predictions, read_results


@dataclass(frozen=True)
class Evaluation:
    """One subset of one run: what was measured, what was predicted, and how to do it again."""

    run: Path
    results: Results
    predictions: Predictions
    settings: str | None
    """The text of config.yaml."""
    environment: str | None
    """The text of environment.json, without the path of the program that ran."""
    command: str | None
    """The command line that trained, if environment.json tells it."""
    losses: list[tuple[int, float]]
    """(step, total training loss), by step."""


def read_run(run: Path) -> list[Evaluation]:
    """Every evaluated subset of a run, by name; none is the user's error."""
    folders = sorted(path.parent for path in run.glob(f"eval/*/{METRICS_NAME}"))
    if not folders:
        raise UserError(
            f"{run} has no eval/*/{METRICS_NAME}.",
            "A report shows what an evaluation measured.",
            f"Evaluate first: actloc eval {run}",
        )
    settings, losses = _text(run / "config.yaml"), read_losses(run / "log.jsonl")
    environment, command = _environment(run / "environment.json")
    return [
        Evaluation(run, read_results(folder), read_predictions(folder), settings, environment, command, losses)
        for folder in folders
    ]


def read_losses(log: Path) -> list[tuple[int, float]]:
    """(step, total loss) of the training lines of a log; a step logged again after a resume counts once, the later."""
    losses: dict[int, float] = {}
    for row in files.read_json_lines(log):
        step, loss = row.get("step"), row.get("train/loss/total")
        if isinstance(step, int) and isinstance(loss, int | float) and math.isfinite(loss):
            losses[step] = float(loss)
    return sorted(losses.items())


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _environment(path: Path) -> tuple[str | None, str | None]:
    """The text of environment.json, and its `command` as a line to type."""
    if not path.is_file():
        return None, None
    content = files.read_json(path)
    words = content.get("command") if isinstance(content, dict) else None
    if not isinstance(words, list) or not words:
        return json.dumps(content, indent=1, ensure_ascii=False), None
    # sys.argv[0] is a path on the machine that ran, of nobody's concern: .venv/bin/actloc or actloc/__main__.py
    line = shlex.join(["actloc", *(str(word) for word in words[1:])])
    return json.dumps({**content, "command": line}, indent=1, ensure_ascii=False), line
