"""Loads an experiment: a YAML file, or a run's own settings, plus overrides; everything wrong is reported at once."""

from __future__ import annotations  # parts' classes are named for the type checker only: importing them imports torch

import difflib
import functools
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from actloc import console, files, recipes
from actloc.errors import Problem, UserError
from actloc.settings import code_files, own_code, sameness, sections, yaml_text
from actloc.settings.code_files import CodeFile
from actloc.settings.names import meant, names_of
from actloc.settings.parts import Chosen
from actloc.settings.sections import Part, Result, Section
from actloc.settings.validation import missing_inputs, problem, validated
from actloc.settings.yaml_text import COMMAND_LINE, SettingsDocument

if TYPE_CHECKING:
    from actloc.datasets.base import DatasetConfig
    from actloc.detectors.base import DetectorConfig
    from actloc.sources.base import SourceConfig

_SECTIONS: dict[str, type[Section]] = {
    "run": sections.RunSettings,
    "preparation": sections.PreparationSettings,
    "optimizer": sections.OptimizerSettings,
    "schedule": sections.ScheduleSettings,
    "average": sections.AverageSettings,
    "training": sections.TrainingSettings,
    "suppression": sections.SuppressionSettings,
    "evaluation": sections.EvaluationSettings,
    "fusion": sections.FusionSettings,
    "prediction": sections.PredictionSettings,
    "machine": sections.MachineSettings,
}
_PARTS = {"dataset": "datasets", "features": "sources", "detector": "detectors"}
_RUNS = Path("ckpt")
_YAML = (".yaml", ".yml")
_USUAL = {"detector": "actionformer"}  # files that only make features need not name one


@dataclass(frozen=True)
class Experiment:
    """All settings of one YAML file, complete and checked."""

    file: Path
    run: sections.RunSettings
    dataset: DatasetConfig
    preparation: sections.PreparationSettings
    features: SourceConfig
    detector: DetectorConfig
    optimizer: sections.OptimizerSettings
    schedule: sections.ScheduleSettings
    average: sections.AverageSettings
    training: sections.TrainingSettings
    suppression: sections.SuppressionSettings
    evaluation: sections.EvaluationSettings
    fusion: sections.FusionSettings
    prediction: sections.PredictionSettings
    machine: sections.MachineSettings
    typed: str
    """What the user typed: a path, or the name of a config or a run."""
    overrides: tuple[str, ...] = ()

    @property
    def arguments(self) -> str:
        """The arguments of a command that mean this experiment again: its name as typed, the overrides and --code."""
        return shlex.join([self.typed, *self.overrides, *own_code.options()])

    @property
    def run_arguments(self) -> str:
        """The arguments of a command that mean the run: its folder and --code."""
        return shlex.join([str(self.run_folder), *own_code.options()])

    @property
    def run_folder(self) -> Path:
        """Where the run's checkpoints, logs and results are kept."""
        return self.run.folder / self.run.name

    def to_data(self) -> dict[str, Any]:
        """The complete settings as plain data, ready for YAML or JSON."""
        return {name: value.model_dump(mode="json") for name, value in self._sections().items()}

    def _sections(self) -> dict[str, Section]:
        names = [field.name for field in fields(self) if field.name not in ("file", "typed", "overrides")]
        return {name: getattr(self, name) for name in names}

    def shaping(self, result: Result) -> dict[str, Any]:  # Any: JSON values
        """The settings that `result` depends on, by dotted key; a checkpoint carries those of its weights."""
        return sameness.flat({name: sameness.shaping(one, result) for name, one in self._sections().items()})

    def to_yaml(self) -> str:
        """The complete settings as YAML."""
        return yaml_text.dump(self.to_data())


def load(name: str, overrides: list[str] | None = None, *, check_inputs: bool = False) -> Experiment:
    """The experiment of a YAML path, of a config's name, or of a run folder.

    Raises UserError with every problem at once. `check_inputs` also checks that the user's input files exist.
    """
    file = find(name)
    document = yaml_text.read(file, overrides or [])
    recipes.apply(document)
    _drop_replaced(document)
    run = document.data["run"] = document.data.get("run") or {}
    if isinstance(run, dict):
        if is_run(file.parent):
            folder = file.parent.resolve()  # the run may have moved, and may be named by a link
            run.update(name=folder.name, folder=own_code.shown(folder.parent))
        default = _default_name(file, document.data.get("evaluation"))
        run["name"] = str(run.get("name", default))  # 2024 is a valid name
    values = _checked(document)
    document.problems += _without_class_scores(document, values) + _without_classes(document, values)
    if check_inputs:
        given = {key: value for key, value in values.items() if value is not None}
        document.problems += [one for key, value in given.items() for one in missing_inputs(document, (key,), value)]
    if document.problems:
        raise _settings_error(name, document)
    console.detail(f"Settings: {' '.join([str(file), *(overrides or ())])}")
    return Experiment(file=file, typed=name, overrides=tuple(overrides or ()), **values)


def _drop_replaced(document: SettingsDocument) -> None:
    """Drops the settings of the file that one on the command line replaces, as a preset does those that it sets."""
    for key, kind in _PARTS.items():
        part = Chosen(kind).settings_class(document.data.get(key))
        for setting, others in (part.replaced if part else {}).items():
            if document.lines.get((key, setting)) != COMMAND_LINE:
                continue
            for path in [(key, *other.split(".")) for other in others]:
                block: Any = document.data  # Any: YAML values
                for step in path[:-1]:
                    block = block.get(step) if isinstance(block, dict) else None
                is_typed = COMMAND_LINE in (document.lines.get(path[:depth]) for depth in range(1, len(path) + 1))
                if isinstance(block, dict) and not is_typed:
                    block.pop(path[-1], None)


def _checked(document: SettingsDocument) -> dict[str, Any]:  # Any: the sections' classes, and None where one is bad
    suggest = functools.partial(_suggestion, document)
    for key in document.data:
        if key not in {*_SECTIONS, *_PARTS}:
            document.problems += _unknown_section(document, key)
    for key, usual in _USUAL.items():
        if document.data.get(key) is None:
            document.data[key] = {"name": usual}
    forms: dict[str, Any] = {**_SECTIONS, **{key: Annotated[Part, Chosen(kind)] for key, kind in _PARTS.items()}}
    return {key: validated(document, key, form, suggest) for key, form in forms.items()}


def _without_class_scores(document: SettingsDocument, values: dict[str, Any]) -> list[Problem]:  # Any: as `_checked`
    """A problem if detections are to get classes by class scores that the detector does not give."""
    fusion, detector, dataset = values["fusion"], values["detector"], values["dataset"]
    if not fusion or fusion.scores != "own":
        return []
    if detector and not detector.scores_classes:
        reason = f"a FILE, truth or null, because detector.name={detector.name} gives no class scores"
    elif dataset and dataset.class_agnostic:
        reason = "a FILE, truth or null, because dataset.class_agnostic=true leaves only one class to score"
    else:
        return []
    return [problem(document, ("fusion", "scores"), f": found own, expected {reason}")]


def _without_classes(document: SettingsDocument, values: dict[str, Any]) -> list[Problem]:  # Any: as `_checked`
    """A problem for each changed setting about classes, where the dataset's classes are merged into one."""
    detector, dataset = values["detector"], values["dataset"]
    if not detector or not dataset or not dataset.class_agnostic:
        return []
    reason = "which has no effect because dataset.class_agnostic=true leaves only one class"
    return [
        problem(document, ("detector", name), f": found {getattr(detector, name)}, {reason}")
        for name in detector.class_settings
        if getattr(detector, name) != type(detector).model_fields[name].default
    ]


def _unknown_section(document: SettingsDocument, key: str) -> list[Problem]:
    """`epochs=10` and `model.epochs=10` mean a setting; `schedules.epochs=10` a section."""
    block, known = document.data[key], [*_SECTIONS, *_PARTS]
    if isinstance(block, dict) and not difflib.get_close_matches(key, known, n=1):
        inside = {name: _suggestion(document, f"{key}.{name}", ()) for name in block}
        if any(inside.values()):
            return [problem(document, (key, name), f"is not a setting{text}") for name, text in inside.items()]
    text = "" if isinstance(block, dict) else _suggestion(document, key, ())
    if text:
        return [problem(document, (key,), f"is not a setting{text}")]
    near = console.nearest(key, known, lists_known=False).removesuffix(".")
    return [problem(document, (key,), f"is not a section{near or '; the sections are ' + ', '.join(known)}")]


def _suggestion(document: SettingsDocument, typed: str, siblings: Iterable[str]) -> str:
    """`. Did you mean schedule.epochs?` for a name that is not a setting; else the settings of the same section."""
    chosen = {key: Chosen(kind).settings_class(document.data.get(key)) for key, kind in _PARTS.items()}
    features = document.data.get("features")
    if isinstance(features, dict):
        chosen["features.encoder"] = Chosen("encoders").settings_class(features.get("encoder"))
    known = names_of({**_SECTIONS, **{key: form for key, form in chosen.items() if form is not None}})
    section, _, last = typed.rpartition(".")
    found = [name.removeprefix(f"{section}.") for name in meant(typed, known)]
    return f". Did you mean {' or '.join(found)}?" if found else console.nearest(last, siblings)


def nearest_settings(word: str) -> list[str]:
    """The settings that another tool's word may mean; those of parts only if no section has one."""
    found = meant(word, setting_names())
    if found:
        return found
    usual = {"dataset": "custom", "features": "stored", "detector": "actionformer"}
    parts = {key: Chosen(_PARTS[key]).settings_class({"name": name}) for key, name in usual.items()}
    everywhere = {**_SECTIONS, **{key: form for key, form in parts.items() if form is not None}}
    return meant(word, names_of(everywhere))


def setting_names() -> list[str]:
    """The settings of the sections that every experiment has; those of its parts are in the parts' own files."""
    return names_of(_SECTIONS)


def with_inputs(experiment: Experiment) -> Experiment:
    """The experiment, after a check that the user's files exist; raises UserError."""
    return load(experiment.typed, list(experiment.overrides), check_inputs=True)


def recorded_code(folder: Path) -> list[CodeFile]:
    """The files of the user's own code that the run was trained with, as its record names them."""
    path = folder / "environment.json"
    return code_files.in_record(files.read_json(path)) if path.is_file() else []


def run_folder(name: str) -> Path:
    """The run folder meant by a folder, a YAML path, or the name of a run or config; looks only at its `run:`."""
    if is_scored(Path(name)):
        return Path(name)
    file = find(name)
    if is_run(file.parent):
        return file.parent
    run = yaml_text.read(file, []).data.get("run") or {}
    return Path(run.get("folder", _RUNS)) / str(run.get("name", file.stem))


def _default_name(file: Path, evaluation: Any) -> str:  # Any: YAML values, not checked yet
    """The settings file's own name, and a foreign checkpoint's after it, so that no run's results are replaced."""
    foreign = evaluation.get("weights_file") if isinstance(evaluation, dict) else None
    if not isinstance(foreign, str):
        return file.stem
    name = Path(foreign).name.partition(".")[0]
    return f"{file.stem}_{re.sub(r'[^a-zA-Z0-9_+-]', '_', name)}"


def find(name: str) -> Path:
    """The YAML file meant by a path, a run folder, or the name of a run or of a config here or in the package."""
    path = Path(name)
    for file in (path, path.parent / f"{path.name}.yaml"):
        if file.is_file() and file.suffix in _YAML:
            return file
    if is_run(path):
        return path / "config.yaml"
    for known in [*configs(), *recipes.available()]:
        if name in (known.stem, known.name):
            return known
    if is_run(_RUNS / path):
        return _RUNS / path / "config.yaml"
    raise _not_found(name)


def _not_found(name: str) -> UserError:
    path, known, there = Path(name), [file.stem for file in [*configs(), *recipes.available()]], runs()
    if path.is_file():
        expected = f"Expected a file whose name ends in {' or '.join(_YAML)}."
        return UserError(f"{name} is not a settings file.", expected, "List the configs: actloc ls configs")
    if path.suffix in _YAML:
        neighbours = [file.name for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        found = f"{name} does not exist{console.nearest(path.name, neighbours or [f'{stem}.yaml' for stem in known])}"
        return UserError(found, "Expected a settings file.", "List the configs: actloc ls configs")
    if path.is_dir() and runs(path):
        listed = console.first_ten(runs(path))
        return UserError(
            f"{name} is not a run; it is a folder of runs.", "Expected one of them.", f"Name one: {listed}"
        )
    if len(path.parts) > 1:
        around = runs(path.parent) or there
        todo = "Name one of these." if around else "Train one: actloc train --help"
        return UserError(
            f"{name} is not a run{console.nearest(name, map(str, around), lists_known=False)}",
            f"Expected a run: {console.first_ten(around)}" if around else "There are no runs yet.",
            f"Train it first: actloc train {path.name}" if path.name in known else todo,
        )
    near = console.nearest(name, [*known, *(run.name for run in there)], lists_known=False)
    return UserError(
        f"{name} is neither a settings file nor the name of a config or a run{near}",
        f"Runs: {console.first_ten(run.name for run in there) or 'none yet'}. Configs: {console.first_ten(known)}",
        "List them: actloc ls runs, actloc ls configs",
    )


def is_run(folder: Path) -> bool:
    """Whether `train` wrote this folder."""
    return (folder / "config.yaml").is_file() and (folder / "environment.json").is_file()


def is_scored(folder: Path) -> bool:
    """Whether `eval` wrote into this folder, which is not a run if a predictions file was scored."""
    return any(folder.glob("eval/*/metrics.json"))


def configs() -> list[Path]:
    """The YAML files in ./configs, then those shipped with the package that are not here."""
    package = Path(__file__).parent
    here = sorted(Path("configs").glob("*.yaml"))
    shipped = sorted([*(package / "shipped_configs").glob("*.yaml"), *(package.parent / "configs").glob("*.yaml")])
    names = {path.name for path in here}
    return here + [path for path in shipped if path.name not in names]


def runs(folder: Path = _RUNS) -> list[Path]:
    """The run folders below `folder`."""
    return sorted(path for path in folder.glob("*") if is_run(path)) if folder.is_dir() else []


def _settings_error(name: str, document: SettingsDocument) -> UserError:
    problems = list(dict.fromkeys(document.problems))
    count = console.count(len(problems), "setting is", "settings are")
    listed = "\n  ".join(str(problem) for problem in problems)
    # `show` works on a correct file only; for a file with mistakes, name a config that is like it
    shown = name if all(problem.where == COMMAND_LINE for problem in problems) else _like(document)
    return UserError(
        f"{count} wrong in {document.file}:\n  {listed}",
        "Correct the lines above.",
        _code_to_give(document.file.parent) or f"Every setting with its meaning: actloc show {shlex.quote(shown)}",
    )


def _code_to_give(folder: Path) -> str:
    """How to load the user's own code that the run needs and that is not in use; empty if there is none."""
    needed = code_files.missing(recorded_code(folder)) if is_run(folder) else []
    listed = "; ".join(f"{file.path} with sha256 {file.sha256}" for file in needed)
    ways = dict.fromkeys(
        f"add --code {shlex.quote(file.given)}" if file.option else f"install {file.given}" for file in needed
    )
    return f"The run was trained with your own code; {' and '.join(ways)} ({listed})" if needed else ""


def _like(document: SettingsDocument) -> str:
    """The first of our configs with the same dataset and source; else the sample's."""
    for file in configs():
        known = yaml_text.read(file, []).data if file.resolve() != document.file.resolve() else {}
        if known and all(_named(known.get(key)) == _named(document.data.get(key)) for key in ("dataset", "features")):
            return file.stem
    return "sample_efficientnet_actionformer"


def _named(block: Any) -> Any:  # Any: YAML values, not checked yet
    return block.get("name") if isinstance(block, dict) else None
