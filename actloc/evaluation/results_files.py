"""Writes and reads the results of an evaluation of any task: `metrics.json` in a folder, and the files beside it."""

import json
import re
import shlex
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from actloc import console, files
from actloc.errors import UserError
from actloc.evaluation.results import Record, Results, ResultsHead

METRICS_NAME = "metrics.json"

_Form = TypeVar("_Form", bound=Record)


def write_results(folder: Path, results: ResultsHead, *beside: Path) -> Path:
    """Writes `metrics.json` into `folder`, after the files `beside` it that belong to it; returns its path."""
    path = folder / METRICS_NAME
    sha256 = {file.name: files.sha256_of_file(file) for file in beside}
    files.write_json(path, {**results.model_dump(mode="json"), "beside_sha256": sha256})
    return path


def refuse_mixture(folder: Path, results: ResultsHead) -> None:
    """Raises UserError where a file beside `metrics.json` is of another evaluation, such as one that was killed."""
    for name, sha256 in results.beside_sha256.items():
        path = folder / Path(name).name
        if not path.is_file() or files.sha256_of_file(path) != sha256:
            raise UserError(
                f"{path} is {'not of the same evaluation as' if path.is_file() else 'missing beside'} {METRICS_NAME}.",
                "Expected both as one `actloc eval` wrote them.",
                f"Evaluate again: {_command_of(folder, results)}",
            )


def _command_of(folder: Path, results: ResultsHead) -> str:
    """The command that writes the results in `folder` again."""
    run = folder.parent.parent
    is_run = (run / "config.yaml").is_file()
    words = [shlex.quote(str(run)) if is_run else "CONFIG"]
    if results.weights is None:
        file = re.fullmatch(r"predictions (.*), sha256 \w+", results.checkpoint)
        words.append(f"--predictions {shlex.quote(file[1])}" if file else "evaluation.weights_file=FILE")
        words += [] if is_run else [f"--name {shlex.quote(run.name)}"]
    settings = {"dataset.evaluation_subset": results.subset, **results.changed}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
    return " ".join(["actloc eval", *words, *(shlex.quote(f"{key}={text}") for key, text in texts.items())])


def task_of_results(folder: Path) -> str:
    """The name of the task that the results in `folder` are of; raises UserError if they are missing or damaged."""
    content = files.read_json(folder / METRICS_NAME)
    task = content.get("task") if isinstance(content, dict) else None
    return task if isinstance(task, str) else "localization"  # the only one there was before results named it


def read_results(folder: Path) -> Results:
    """Reads the results in `folder`; raises UserError if the file is missing, damaged or in another format."""
    return read_record(folder / METRICS_NAME, Results)


def read_record(path: Path, form: type[_Form]) -> _Form:
    """Reads a file of `eval`; raises UserError that names the first place where it is not what `form` describes."""
    again = f"Evaluate again: actloc eval {path.parent.parent.parent}"
    if not path.exists():
        raise UserError(f"{path} does not exist.", "Expected a file as actloc eval writes it.", again)
    content = files.read_json(path, keep_odd_numbers=True)
    try:
        return form.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        differences = console.count(error.error_count(), "place differs", "places differ")
        problem = f"{path}: {place}: {first['msg']}."
        raise UserError(problem, f"Expected a file as actloc eval writes it; {differences}.", again) from error
