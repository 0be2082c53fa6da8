"""Loads an experiment: a YAML file, or a run's own settings, plus overrides; all that is wrong is told at once."""

from __future__ import annotations  # parts' classes are named for the type checker only: importing them imports torch

import re
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from actloc import console, recipes
from actloc.errors import Problem, UserError
from actloc.settings import sameness, sections, yaml_text
from actloc.settings.parts import Chosen
from actloc.settings.sections import Part, Result, Section
from actloc.settings.validation import missing_inputs, problem, validated
from actloc.settings.yaml_text import SettingsDocument

if TYPE_CHECKING:
    from actloc.datasets.base import DatasetConfig
    from actloc.detectors.base import DetectorConfig
    from actloc.encoders.base import EncoderConfig
    from actloc.sources.base import SourceConfig

_SECTIONS: dict[str, type[Section]] = {
    "run": sections.Run,
    "preparation": sections.Preparation,
    "optimizer": sections.Optimizer,
    "schedule": sections.Schedule,
    "average": sections.Average,
    "training": sections.Training,
    "suppression": sections.Suppression,
    "evaluation": sections.Evaluation,
    "fusion": sections.Fusion,
    "prediction": sections.Prediction,
    "machine": sections.Machine,
}
_PARTS = {"dataset": "datasets", "features": "sources", "encoder": "encoders", "detector": "detectors"}
_OPTIONAL = {"encoder"}
_USUAL = {"detector": "actionformer"}  # files that only make features need not name one


@dataclass(frozen=True)
class Experiment:
    """Everything one YAML file says, complete and checked."""

    file: Path
    run: sections.Run
    dataset: DatasetConfig
    preparation: sections.Preparation
    features: SourceConfig
    encoder: EncoderConfig | None
    detector: DetectorConfig
    optimizer: sections.Optimizer
    schedule: sections.Schedule
    average: sections.Average
    training: sections.Training
    suppression: sections.Suppression
    evaluation: sections.Evaluation
    fusion: sections.Fusion
    prediction: sections.Prediction
    machine: sections.Machine
    overrides: tuple[str, ...] = ()

    @property
    def arguments(self) -> str:
        """What stands behind a command to mean this experiment again: the file and the overrides."""
        return shlex.join([str(self.file), *self.overrides])

    @property
    def run_folder(self) -> Path:
        """Where the run's checkpoints, logs and results are kept."""
        return self.run.folder / self.run.name

    def to_data(self) -> dict[str, Any]:
        """The complete settings as plain data, ready for YAML or JSON."""
        return {name: value.model_dump(mode="json") for name, value in self._sections().items() if value is not None}

    def _sections(self) -> dict[str, Section | None]:
        names = [field.name for field in fields(self) if field.name not in ("file", "overrides")]
        return {name: getattr(self, name) for name in names}

    def shaping(self, result: Result) -> dict[str, Any]:  # Any: JSON values
        """The settings that `result` depends on, by dotted key; a checkpoint carries those of its weights."""
        sections = {name: value for name, value in self._sections().items() if value is not None}
        return sameness.flat({name: sameness.shaping(section, result) for name, section in sections.items()})

    def to_yaml(self) -> str:
        """The complete settings as YAML."""
        return yaml_text.dump(self.to_data())


def load(name: str, overrides: list[str] | None = None, *, check_inputs: bool = False) -> Experiment:
    """The experiment of a YAML path, of a config's name, or of a run folder.

    Raises UserError with every problem at once. `check_inputs` also looks for the files the user brings.
    """
    file = find(name)
    document = yaml_text.read(file, overrides or [])
    recipes.apply(document)
    run = document.data["run"] = document.data.get("run") or {}
    if isinstance(run, dict):
        if is_run(file.parent):
            folder = file.parent.resolve()  # the run may have moved, and may be named by a link
            run.update(name=folder.name, folder=str(_near(folder.parent)))
        default = _default_name(file, document.data.get("evaluation"))
        run["name"] = str(run.get("name", default))  # 2024 is a fine name
    values = _checked(document)
    if check_inputs:
        given = {key: value for key, value in values.items() if value is not None}
        document.problems += [one for key, value in given.items() for one in missing_inputs(document, (key,), value)]
    if document.problems:
        raise _settings_error(file, document.problems)
    return Experiment(file=file, overrides=tuple(overrides or ()), **values)


def _checked(document: SettingsDocument) -> dict[str, Any]:  # Any: the sections' classes, and None where one is bad
    known = [*_SECTIONS, *_PARTS]
    for key in document.data:
        if key not in known:
            document.problems.append(problem(document, (key,), f"is not a section{console.nearest(key, known)}"))
    for key, usual in _USUAL.items():
        if document.data.get(key) is None:
            document.data[key] = {"name": usual}
    forms: dict[str, Any] = {**_SECTIONS, **{key: Annotated[Part, Chosen(kind)] for key, kind in _PARTS.items()}}
    for key in _OPTIONAL:
        if document.data.get(key) is None:
            forms.pop(key)
    return dict.fromkeys(_PARTS) | {key: validated(document, key, form) for key, form in forms.items()}


def with_inputs(experiment: Experiment) -> Experiment:
    """The experiment, once what the user brings is known to be there; raises UserError."""
    return load(str(experiment.file), list(experiment.overrides), check_inputs=True)


def _near(folder: Path) -> Path:
    """The path from the working folder where it lies below it: messages and records stay readable."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def run_folder(name: str) -> Path:
    """The run folder meant by a folder, a YAML path or a config's name; looks at nothing but its `run:`."""
    if Path(name).is_dir():
        return Path(name)
    file = find(name)
    run = yaml_text.read(file, []).data.get("run") or {}
    return Path(run.get("folder", "ckpt")) / str(run.get("name", file.stem))


def _default_name(file: Path, evaluation: Any) -> str:  # Any: YAML values, not checked yet
    """The settings file's own name; a foreign checkpoint's name behind it, so that no run's results are replaced."""
    foreign = evaluation.get("weights_file") if isinstance(evaluation, dict) else None
    if not isinstance(foreign, str):
        return file.stem
    name = Path(foreign).name.partition(".")[0]
    return f"{file.stem}_{re.sub(r'[^a-zA-Z0-9_+-]', '_', name)}"


def find(name: str) -> Path:
    """The YAML file meant by a path, a run folder, or the name of a config here or in the installed package."""
    path = Path(name)
    if path.is_file():
        return path
    if is_run(path):
        return path / "config.yaml"
    for known in [*configs(), *recipes.available()]:
        if name in (known.stem, known.name):
            return known
    names = [known.stem for known in [*configs(), *recipes.available()]] + [str(run) for run in runs()]
    raise UserError(
        f"{name} is neither a settings file, a run folder nor the name of a config{console.nearest(name, names)}",
        "Expected the path of a YAML file, a folder below ckpt/, or a name that `actloc ls` shows.",
        "See what there is: actloc ls",
    )


def is_run(folder: Path) -> bool:
    """Whether `train` made this folder."""
    return (folder / "config.yaml").is_file() and (folder / "environment.json").is_file()


def configs() -> list[Path]:
    """The YAML files in ./configs, then those shipped with the package that are not here."""
    package = Path(__file__).parent
    here = sorted(Path("configs").glob("*.yaml"))
    shipped = sorted([*(package / "shipped_configs").glob("*.yaml"), *(package.parent / "configs").glob("*.yaml")])
    names = {path.name for path in here}
    return here + [path for path in shipped if path.name not in names]


def runs(folder: Path = Path("ckpt")) -> list[Path]:
    """The run folders below `folder`."""
    return sorted(path for path in folder.glob("*") if is_run(path)) if folder.is_dir() else []


def _settings_error(file: Path, problems: list[Problem]) -> UserError:
    count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    listed = "\n  ".join(str(problem) for problem in dict.fromkeys(problems))
    return UserError(
        f"{count} wrong in {file}:\n  {listed}",
        "Expected what each line says.",
        "Every setting with its meaning: actloc show sample_efficientnet_actionformer",
    )
