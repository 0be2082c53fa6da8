"""Loads an experiment: a YAML file, or a run's own settings, plus overrides; all that is wrong is told at once."""

from __future__ import annotations  # parts' classes are named for the type checker only: importing them imports torch

import json
import re
import shlex
import types
import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from actloc import console, recipes
from actloc.errors import UserError
from actloc.settings import parts, sections, yaml_text
from actloc.settings.yaml_text import KeyPath, SettingProblem, SettingsDocument, dotted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from actloc.datasets.base import DatasetConfig
    from actloc.detectors.base import DetectorConfig
    from actloc.encoders.base import EncoderConfig
    from actloc.sources.base import SourceConfig

_SECTIONS: dict[str, type[sections.Section]] = {
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
SHAPES_TRAINING = (
    *("dataset.training_subset", "dataset.class_agnostic", "preparation", "features", "encoder", "detector"),
    *("optimizer", "schedule", "average", "training", "run.seed"),
)
"""What a run's weights depend on; a run goes on only with the same values. Checksums stand in for paths."""
SHAPES_DETECTIONS = ("dataset.class_agnostic", "preparation", "features", "encoder", "detector")
"""What must be at evaluation as it was in training."""
_CHANGES_NOTHING = (
    *("features.path", "features.more_paths", "encoder.weights", "encoder.flow_weights", "encoder.raft_weights"),
    *("features.allow_missing", "features.allow_misfits", "features.tolerance_steps"),
    *("encoder.weights", "encoder.flow_weights", "encoder.raft_weights"),
)


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
        sections = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("file", "overrides")
        }
        return {name: value.model_dump(mode="json") for name, value in sections.items() if value is not None}

    def shaping_data(self) -> dict[str, Any]:
        """The settings that the run's weights depend on, by dotted key; a checkpoint carries them."""
        return {key: value for key, value in _flat(self.to_data()).items() if _is_below(key, SHAPES_TRAINING)}

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
    problems = list(document.problems)
    values = _sections(document, problems) | _part_blocks(document, problems)
    if check_inputs:
        problems += [problem for key, value in values.items() for problem in _missing_inputs(document, key, value)]
    if problems:
        raise _settings_error(file, problems)
    return Experiment(file=file, overrides=tuple(overrides or ()), **values)


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


def _sections(document: SettingsDocument, problems: list[SettingProblem]) -> dict[str, Any]:
    known = [*_SECTIONS, *_PARTS]
    for key in document.data:
        if key not in known:
            problems.append(_problem(document, (key,), f"is not a section{console.nearest(key, known)}"))
    return {name: _validated(document, name, section, problems) for name, section in _SECTIONS.items()}


def _part_blocks(document: SettingsDocument, problems: list[SettingProblem]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, kind in _PARTS.items():
        if key in _USUAL and document.data.get(key) is None:
            document.data[key] = {"name": _USUAL[key]}
        block = document.data.get(key)
        values[key] = None
        if block is None and key in _OPTIONAL:
            continue
        if not isinstance(block, dict) or not isinstance(block.get("name"), str):
            expected = ", ".join(parts.available(kind))
            problems.append(_problem(document, (key,), f"is missing its name; expected name: one of {expected}"))
            continue
        try:
            module = parts.find(kind, block["name"])
        except ValueError as error:
            problems.append(_problem(document, (key, "name"), f": {error}"))
            continue
        values[key] = _validated(document, key, module.Config, problems)
    return values


def _validated(
    document: SettingsDocument, key: str, section: type[BaseModel], problems: list[SettingProblem]
) -> BaseModel | None:
    data = document.data.get(key)
    data = {} if data is None else data
    try:
        # strict JSON: lists may be tuples and text may be a path, but true is no number and "2" no 2
        return TypeAdapter(section).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        told: dict[KeyPath, str] = {}
        for details in error.errors(include_url=False):
            path, what = _explain(section, key, data, details)
            told[path] = f"{told[path]}, or {what.partition('expected ')[2]}" if path in told else what
        problems += [_problem(document, path, what) for path, what in told.items()]
    return None


def _explain(section: type[BaseModel], key: str, data: Any, details: ErrorDetails) -> tuple[KeyPath, str]:
    kind, location = details["type"], details["loc"]
    if kind in ("extra_forbidden", "missing"):
        path = (key, *location)
        if kind == "missing":
            return path, "is missing"
        names = _field_names(section, location[:-1])
        return path, f"is not a setting{console.nearest(str(location[-1]), names)}"
    path = (key, *_real_part(data, location))
    expected = details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if kind == "value_error":
        return path, expected
    found = json.dumps(details["input"], ensure_ascii=False)
    hint = ""
    if kind == "literal_error" and isinstance(details["input"], str):
        choices = [choice.strip("' ") for choice in expected.replace(" or ", ",").split(",")]
        hint = console.nearest(details["input"], choices) if len(choices) > 1 else ""
    return path, f": found {found}, expected {expected}{hint}"


def _real_part(data: Any, location: KeyPath) -> KeyPath:
    """The part of an error's location that stands in the data; the rest are names of union members."""
    real: list[str | int] = []
    for step in location:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            break
        real.append(step)
    return tuple(real)


def _field_names(section: type[BaseModel], location: KeyPath) -> list[str]:
    for step in location:
        field = section.model_fields.get(str(step))
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        section = inner
    return list(section.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # Any: type forms have no common type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
    return None


def _missing_inputs(document: SettingsDocument, key: str, section: BaseModel | None) -> list[SettingProblem]:
    if section is None:
        return []
    problems = []
    for name, field in type(section).model_fields.items():
        for marker in field.metadata:
            path = getattr(section, name)
            if isinstance(marker, sections.InputPath) and isinstance(path, Path) and not marker.exists(path):
                names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
                what = f": the {marker.kind} {path} does not exist{console.nearest(path.name, names)}"
                problems.append(_problem(document, (key, name), what))
    return problems


def _problem(document: SettingsDocument, path: KeyPath, what: str) -> SettingProblem:
    return SettingProblem(document.where(path), f"{dotted(path)} {what}".replace(" :", ":"))


def _settings_error(file: Path, problems: list[SettingProblem]) -> UserError:
    count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    listed = "\n  ".join(str(problem) for problem in dict.fromkeys(problems))
    return UserError(
        f"{count} wrong in {file}:\n  {listed}",
        "Expected what each line says.",
        "Every setting with its meaning: actloc show sample_efficientnet_actionformer",
    )


def differences(old: dict[str, Any], new: dict[str, Any], among: tuple[str, ...] = SHAPES_TRAINING) -> list[str]:
    """`key: old value in the run, new value now` for every setting below `among` that differs."""
    before, after = _flat(old), _flat(new)
    keys = [key for key in sorted({*before, *after}) if _is_below(key, among)]
    return [
        f"{key}: {json.dumps(before.get(key))} in the run, {json.dumps(after.get(key))} now"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _is_below(key: str, among: tuple[str, ...]) -> bool:
    return key not in _CHANGES_NOTHING and any(key == one or key.startswith(f"{one}.") for one in among)


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:  # Any: plain data
    if not isinstance(data, dict):
        return {prefix: data}
    flat = {}
    for name, inner in data.items():
        flat.update(_flat(inner, f"{prefix}.{name}".strip(".")))
    return flat
