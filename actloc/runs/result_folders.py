"""Where `eval` writes: results of other settings than the run's own have a folder of their own, and name them."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from actloc import files
from actloc.errors import UserError
from actloc.evaluation import fusion
from actloc.evaluation.results_files import METRICS_NAME
from actloc.experiment import Experiment, is_run, load
from actloc.settings import code_files, sameness
from actloc.settings.published import PublishedFigures

_LONGEST_NAME = 120
_Figures = TypeVar("_Figures", bound=PublishedFigures)
_OF_A_FILE = ("evaluation.", "fusion.")
"""The settings that shape the results of a predictions file."""
_WEIGHTS = ("evaluation.weights", "evaluation.checkpoint")
"""The settings that choose among a run's weights; a folder's name has words for them even if they are the run's own."""


@dataclass(frozen=True)
class Measured:
    """The settings that shape results and may change after training."""

    settings: dict[str, Any]  # Any: JSON values
    """As used, by dotted key."""
    changed: dict[str, Any]
    """Those that differ from the run's own or, if there is no run, from those of the settings file."""


def measured_with(experiment: Experiment, *, of_file: bool = False) -> Measured:
    """What the experiment is scored with; `of_file`: without what has no effect on a file of predictions."""
    used = own = _settings(experiment)
    with suppress(UserError):  # the settings file may be complete only with the settings that were typed
        own = _settings(load(str(experiment.run_folder) if is_run(experiment.run_folder) else experiment.typed))
    if of_file:
        used = {key: value for key, value in used.items() if key.startswith(_OF_A_FILE) and key not in _WEIGHTS}
    if used.get("fusion.scores") is None:  # the other settings of the section have no effect
        used = {key: value for key, value in used.items() if not key.startswith("fusion.") or key == "fusion.scores"}
    return Measured(used, {key: value for key, value in used.items() if key not in own or own[key] != value})


def published_figures(experiment: Experiment, form: type[_Figures]) -> _Figures | None:
    """What others published for these settings; None where the settings file says nothing."""
    figures = experiment.section("published")
    return figures if isinstance(figures, form) and not figures.is_empty else None


def _settings(experiment: Experiment) -> dict[str, Any]:  # Any: JSON values
    return sameness.flat({name: sameness.measuring(section) for name, section in experiment.sections.items()})


def settings_of_videos(experiment: Experiment, without: str = "\n") -> dict[str, Any]:  # Any: JSON values
    """The settings that shape what a run makes of a video, by dotted key, and the sha256 of the user's own code.

    Those whose key begins with `without` shape other results only.
    """
    used = {**experiment.shaping("detections"), **measured_with(experiment).settings}
    own = {f"sha256 of {file.path}": file.sha256 for file in code_files.in_use()}
    return {key: value for key, value in used.items() if not key.startswith(without)} | own


def results_folder(experiment: Experiment, changed: Mapping[str, Any], *, file: str | None = None) -> Path:
    """The folder of the results of the evaluation subset, measured with settings of which these are `changed`.

    Results of raw weights, of the best checkpoint, of a file of predictions (`file` is its name) and of true classes
    have words in its name. The results of a second file of the same run are named after the file.
    """
    words, scores = [files.safe_name(experiment.dataset.evaluation_subset)], changed.get("fusion.scores")
    settings = experiment.section("evaluation").model_dump()
    if file is not None:
        words.append("file")
    else:
        words += ["raw"] * (settings["weights"] == "raw") + ["best"] * (settings["checkpoint"] == "best")
    weights_file = settings.get("weights_file")
    if weights_file is not None and is_run(experiment.run_folder):
        words.append(f"weights_file={_text(weights_file.name)}")
    words += [fusion.TRUTH] * (scores == fusion.TRUTH)
    others = {key: value for key, value in changed.items() if key not in _WEIGHTS and value != fusion.TRUTH}
    words += [f"{key}={_text(value)}" for key, value in sorted(others.items())]
    name = "-".join(words)
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 10]}~{files.sha256_of_bytes(name.encode())[:9]}"
    folder = experiment.run_folder / "eval" / name
    if file is None or _file_of(folder) in (None, file):
        return folder
    return folder.with_name(f"{name}-{_text(Path(file).stem)}")


def _text(value: Any) -> str:  # Any: a JSON value
    """A value as a part of a folder's name; of a path its last part, and a few digits that tell it from others."""
    if isinstance(value, list):
        return "_".join(_text(one) for one in value)
    if isinstance(value, float):
        return f"{value:g}"
    text = value if isinstance(value, str) else json.dumps(value)
    plain = re.sub(r"[^\w.+,~ ]", "_", text.rpartition("/")[2])
    return plain if plain == text else f"{plain}~{files.sha256_of_bytes(text.encode())[:6]}"


def _file_of(folder: Path) -> str | None:
    """The name of the predictions file whose results are in the folder; None if there are none that can be read."""
    try:
        checkpoint = files.read_json(folder / METRICS_NAME)["checkpoint"]
        return re.fullmatch(r"predictions (.*), sha256 \w+", checkpoint)[1]  # type: ignore[index]
    except (UserError, TypeError, KeyError):
        return None
