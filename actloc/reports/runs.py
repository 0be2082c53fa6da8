"""Reads a run folder for a report: each evaluated subset with its settings, command and training losses."""

import functools
import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.errors import UserError
from actloc.evaluation.error_analysis.analysis import ErrorAnalysis, analysis_of
from actloc.evaluation.predictions import Predictions, read_predictions
from actloc.evaluation.results import Results, ResultsHead
from actloc.evaluation.results_files import METRICS_NAME, read_results, refuse_mixture
from actloc.settings import code_files, sameness, yaml_text


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run folder says about its training."""

    run: Path
    settings: str | None
    """The text of config.yaml."""
    environment: str | None
    """The text of environment.json, without the path of the program."""
    command: str | None
    """The command line of the training, if environment.json has it."""
    losses: list[tuple[int, float]]
    """(step, total training loss), by step."""
    chosen: Mapping[str, Any] = field(default_factory=dict)  # Any: YAML values
    """The settings by dotted key; empty if config.yaml is missing or damaged."""

    @property
    def code(self) -> list[str]:
        """The files of the user's own code that the commands named."""
        named = code_files.in_record(json.loads(self.environment or "null"))
        return list(dict.fromkeys(one.given for one in named if one.option))


def as_used(record: RunRecord, results: ResultsHead) -> Mapping[str, Any]:  # Any: YAML values
    """A run's settings with those that an evaluation changed; empty if config.yaml is missing or damaged."""
    if not record.chosen:
        return {}
    weights = {"evaluation.weights": results.weights} if results.weights else {}
    return {**record.chosen, **results.changed, **weights}


@dataclass(frozen=True, kw_only=True)
class Evaluation(RunRecord):
    """One evaluated subset of one run of a detector: its results and predictions, and how to reproduce them."""

    results: Results
    predictions: Predictions

    @functools.cached_property
    def errors(self) -> ErrorAnalysis | None:
        """Where it fails; None without true actions."""
        has_truth = any(video.truth for video in self.results.videos)
        return analysis_of(self.results, self.predictions) if has_truth else None

    @property
    def as_used(self) -> Mapping[str, Any]:  # Any: YAML values
        """The run's settings with those that the evaluation changed; empty if config.yaml is missing or damaged."""
        return as_used(self, self.results)


def read_run(run: Path) -> list[Evaluation]:
    """Every evaluated subset of a run of a detector, by name."""
    record, evaluations = vars(run_record(run)), []
    for folder in result_folders(run):
        results = read_results(folder)
        refuse_mixture(folder, results)
        evaluations.append(Evaluation(**record, results=results, predictions=read_predictions(folder)))
    return evaluations


def result_folders(run: Path) -> list[Path]:
    """The folders of a run's evaluated subsets, by name; raises UserError if there is none."""
    folders = sorted(path.parent for path in run.glob(f"eval/*/{METRICS_NAME}"))
    if not folders:
        raise UserError(
            f"{run} has no eval/*/{METRICS_NAME}.",
            "Expected the results of an evaluation, which a report shows.",
            f"Evaluate first: actloc eval {shlex.quote(str(run))}",
        )
    return folders


def run_record(run: Path) -> RunRecord:
    """The record of a run, whatever of it is there."""
    config = run / "config.yaml"
    settings = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None
    environment, command = _environment(run / "environment.json")
    losses = read_losses(run / "log.jsonl")
    return RunRecord(
        run=run,
        settings=settings,
        environment=environment,
        command=command,
        losses=losses,
        chosen=_chosen(config) if settings is not None else {},
    )


def _chosen(config: Path) -> dict[str, Any]:  # Any: YAML values
    try:
        return sameness.flat(yaml_text.read(config, []).data)
    except UserError as error:
        console.warn(f"{error.found} The report does not know the run's settings")
        return {}


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
    try:
        content = files.read_json(path)
    except UserError as error:
        console.warn(f"{error.found} The report leaves out the environment")
        return None, None
    words = content.get("command") if isinstance(content, dict) else None
    if not isinstance(words, list) or not words:
        return json.dumps(content, indent=1, ensure_ascii=False), None
    # sys.argv[0] is a private path of the machine that trained: .venv/bin/actloc or actloc/__main__.py
    line = shlex.join(["actloc", *(str(word) for word in words[1:])])
    return json.dumps({**content, "command": line}, indent=1, ensure_ascii=False), line
