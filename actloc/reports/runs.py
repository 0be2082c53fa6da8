"""Reads a run folder for a report: each evaluated subset with its settings, command and training losses."""

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from actloc import files
from actloc.errors import UserError
from actloc.evaluation.predictions import Predictions, read_predictions
from actloc.evaluation.results import METRICS_NAME, Results, read_results


@dataclass(frozen=True)
class Evaluation:
    """One evaluated subset of one run: its results and predictions, and how to reproduce them."""

    run: Path
    results: Results
    predictions: Predictions
    settings: str | None
    """The text of config.yaml."""
    environment: str | None
    """The text of environment.json, without the path of the program."""
    command: str | None
    """The command line of the training, if environment.json has it."""
    losses: list[tuple[int, float]]
    """(step, total training loss), by step."""


def read_run(run: Path) -> list[Evaluation]:
    """Every evaluated subset of a run, by name; raises UserError if there is none."""
    folders = sorted(path.parent for path in run.glob(f"eval/*/{METRICS_NAME}"))
    if not folders:
        raise UserError(
            f"{run} has no eval/*/{METRICS_NAME}.",
            "Expected the results of an evaluation, which a report shows.",
            f"Evaluate first: actloc eval {run}",
        )
    config, losses = run / "config.yaml", read_losses(run / "log.jsonl")
    settings = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None
    environment, command = _environment(run / "environment.json")
    return [
        Evaluation(run, read_results(folder), read_predictions(folder), settings, environment, command, losses)
        for folder in folders
    ]


def read_losses(log: Path) -> list[tuple[int, float]]:
    """(step, total loss) from the training lines of a log; of a step logged twice, after a resume, the later one."""
    losses: dict[int, float] = {}
    for row in files.read_json_lines(log):
        step, loss = row.get("step"), row.get("train/loss/total")
        if isinstance(step, int) and isinstance(loss, int | float) and math.isfinite(loss):
            losses[step] = float(loss)
    return sorted(losses.items())


def _environment(path: Path) -> tuple[str | None, str | None]:
    """The text of environment.json, and its `command` as a line to type."""
    if not path.is_file():
        return None, None
    content = files.read_json(path)
    words = content.get("command") if isinstance(content, dict) else None
    if not isinstance(words, list) or not words:
        return json.dumps(content, indent=1, ensure_ascii=False), None
    # sys.argv[0] is a private path of the machine that trained: .venv/bin/actloc or actloc/__main__.py
    line = shlex.join(["actloc", *(str(word) for word in words[1:])])
    return json.dumps({**content, "command": line}, indent=1, ensure_ascii=False), line
