"""Loads an experiment: a YAML file, or a run's own settings, plus overrides; everything wrong is reported at once."""

from __future__ import annotations  # parts' classes are named for the type checker only: importing them imports torch

import difflib
import functools
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, cast

from actloc import console, files, recipes
from actloc.errors import Problem, UserError
from actloc.settings import code_files, own_code, parts, sameness, yaml_text
from actloc.settings.code_files import CodeFile
from actloc.settings.names import meant, names_of
from actloc.settings.parts import Chosen
from actloc.settings.run_folder import incomplete
from actloc.settings.sections import Part, Result, Section
from actloc.settings.task import TaskSettings
from actloc.settings.validation import LEFT_OPEN, missing_inputs, problem, validated
from actloc.settings.yaml_text import COMMAND_LINE, SettingsDocument

if TYPE_CHECKING:
    from actloc.datasets.base import DatasetConfig
    from actloc.detectors.base import DetectorConfig
    from actloc.settings import sections as own
    from actloc.settings.detections import FusionSettings, SuppressionSettings
    from actloc.sources.base import SourceConfig

RUNS = Path("ckpt")
_TASKS = "tasks"
_YAML = (".yaml", ".yml")
_USUAL_TASK = "localization"
_SAMPLE = "sample_efficientnet_actionformer"
_S_co = TypeVar("_S_co", covariant=True)


class _SectionOf(Generic[_S_co]):
    """The section of an experiment that has the attribute's name; raises UserError if its task has no such section."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, experiment: Experiment, owner: type) -> _S_co:
        return cast(_S_co, experiment.section(self.name))


@dataclass(frozen=True)
class Experiment:
    """All settings of one YAML file, complete and checked; the task says which sections there are."""

    file: Path
    typed: str
    """What the user typed: a path, or the name of a config or a run."""
    sections: Mapping[str, Section]
    """By name; `task` is the first."""
    overrides: tuple[str, ...] = ()
    run: ClassVar[_SectionOf[own.RunSettings]] = _SectionOf()
    dataset: ClassVar[_SectionOf[DatasetConfig]] = _SectionOf()
    preparation: ClassVar[_SectionOf[own.PreparationSettings]] = _SectionOf()
    features: ClassVar[_SectionOf[SourceConfig]] = _SectionOf()
    detector: ClassVar[_SectionOf[DetectorConfig]] = _SectionOf()
    optimizer: ClassVar[_SectionOf[own.OptimizerSettings]] = _SectionOf()
    schedule: ClassVar[_SectionOf[own.ScheduleSettings]] = _SectionOf()
    average: ClassVar[_SectionOf[own.AverageSettings]] = _SectionOf()
    training: ClassVar[_SectionOf[own.TrainingSettings]] = _SectionOf()
    suppression: ClassVar[_SectionOf[SuppressionSettings]] = _SectionOf()
    evaluation: ClassVar[_SectionOf[own.EvaluationSettings]] = _SectionOf()
    fusion: ClassVar[_SectionOf[FusionSettings]] = _SectionOf()
    prediction: ClassVar[_SectionOf[own.PredictionSettings]] = _SectionOf()
    machine: ClassVar[_SectionOf[own.MachineSettings]] = _SectionOf()

    @property
    def task(self) -> TaskSettings:
        """What the network learns to do: it says which other sections there are."""
        task = self.sections["task"]
        assert isinstance(task, TaskSettings), "it was checked"
        return task

    def section(self, name: str) -> Section:
        """A section by name; raises UserError if the task does not have it."""
        if name not in self.sections:
            raise UserError(
                f"{self.typed} has no {name}: its task is {self.task.name}.",
                f"Expected the settings of a task that has the section {name}.",
                "Choose another config: actloc ls configs",
            )
        return self.sections[name]

    def with_section(self, name: str, section: Section) -> Experiment:
        """The experiment with another section in place of its own."""
        return replace(self, sections={**self.sections, name: section})

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
        return {name: value.model_dump(mode="json") for name, value in self.sections.items() if not value.is_empty}

    def shaping(self, result: Result) -> dict[str, Any]:  # Any: JSON values
        """The settings that `result` depends on, by dotted key; a checkpoint carries those of its weights."""
        return sameness.flat({name: sameness.shaping(one, result) for name, one in self.sections.items()})

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
    values = _checked(name, document)
    if check_inputs:
        given = {key: value for key, value in values.items() if value is not None}
        document.problems += [one for key, value in given.items() for one in missing_inputs(document, (key,), value)]
    if document.problems:
        raise _settings_error(name, document)
    console.detail(f"Settings: {' '.join([str(file), *(overrides or ())])}")
    return Experiment(file, name, values, tuple(overrides or ()))


def _drop_replaced(document: SettingsDocument) -> None:
    """Drops the settings of the file that one on the command line replaces, as a preset does those that it sets."""
    for key, kind in _parts(_task(document)).items():
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


def _task(document: SettingsDocument) -> type[TaskSettings] | None:
    """The settings of the task that the file names; None if there is no such task."""
    if document.data.get("task") is None:
        document.data["task"] = {"name": _USUAL_TASK}
    return cast("type[TaskSettings] | None", Chosen(_TASKS).settings_class(document.data["task"]))


def _parts(task: type[TaskSettings] | None) -> dict[str, str]:
    """The kind of each section of the task whose `name` chooses a part."""
    return {key: form for key, form in (task.sections if task else {}).items() if isinstance(form, str)}


def _checked(name: str, document: SettingsDocument) -> dict[str, Any]:  # Any: the sections' classes, and None if bad
    suggest = functools.partial(_suggestion, document)
    task, data = _task(document), document.data
    values = {"task": validated(document, "task", Annotated[Part, Chosen(_TASKS)], suggest)}
    if task is None:  # which sections there are is not known
        raise _settings_error(name, document)
    for key in data:
        if key not in {"task", *task.sections}:
            document.problems += _unknown_section(document, key, task)
    for key, usual in task.usual.items():
        if data.get(key) is None:
            data[key] = {"name": usual}
    for key, form in task.sections.items():
        values[key] = validated(
            document, key, Annotated[Part, Chosen(form)] if isinstance(form, str) else form, suggest
        )
    document.problems += task.problems(document, values)
    return values


def _unknown_section(document: SettingsDocument, key: str, task: type[TaskSettings]) -> list[Problem]:
    """`epochs=10` and `model.epochs=10` mean a setting; `schedules.epochs=10` a section."""
    block, known = document.data[key], ["task", *task.sections]
    others = [name for name in parts.available(_TASKS) if key in parts.find(_TASKS, name).Config.sections]
    only_encoder = isinstance(block, dict) and block.keys() == {"encoder"}  # which every task has, in another section
    if others and not only_encoder:
        text = f"is a section of the task {' or '.join(others)}, and task.name is {task().name}"
        return [problem(document, (key,), text)]
    if isinstance(block, dict) and not difflib.get_close_matches(key, known, n=1):
        inside = {name: _suggestion(document, f"{key}.{name}", ()) for name in block}
        if any(inside.values()):
            return [problem(document, (key, name), f"is not a setting{text}") for name, text in inside.items()]
    text = "" if isinstance(block, dict) else _suggestion(document, key, ())
    if text:
        return [problem(document, (key,), f"is not a setting{text}")]
    near = console.nearest(key, known, lists_known=False).removesuffix(".")
    all_known = f"; the sections of the task {task().name} are {', '.join(known)}"
    return [problem(document, (key,), f"is not a section{near or all_known}")]


def _suggestion(document: SettingsDocument, typed: str, siblings: Iterable[str]) -> str:
    """`. Did you mean schedule.epochs?` for a name that is not a setting; else the settings of the same section."""
    task = _task(document)
    chosen: dict[str, Any] = {"task": task, **_of_sections(task)}
    chosen |= {key: Chosen(kind).settings_class(document.data.get(key)) for key, kind in _parts(task).items()}
    encoders = {
        f"{key}.encoder": Chosen("encoders").settings_class(block["encoder"])
        for key, block in document.data.items()
        if key in chosen and isinstance(block, dict) and "encoder" in block
    }
    known = [*encoders, *names_of({key: form for key, form in {**chosen, **encoders}.items() if form is not None})]
    section, _, last = typed.rpartition(".")
    found = [name.removeprefix(f"{section}.") for name in meant(typed, known)]
    return f". Did you mean {' or '.join(found)}?" if found else console.nearest(last, siblings)


def nearest_settings(word: str) -> list[str]:
    """The settings that another tool's word may mean; those of parts only if no section has one."""
    found = meant(word, setting_names())
    if found:
        return found
    usual = {"dataset": "custom", "features": "stored", "detector": "actionformer"}
    task = parts.find(_TASKS, _USUAL_TASK).Config
    of_parts = {key: Chosen(kind).settings_class({"name": usual[key]}) for key, kind in _parts(task).items()}
    everywhere = {**_of_sections(task), **{key: form for key, form in of_parts.items() if form is not None}}
    return meant(word, names_of(everywhere))


def setting_names() -> list[str]:
    """The settings of the sections that every experiment in localization has; its parts' are in their own files."""
    return names_of(_of_sections(parts.find(_TASKS, _USUAL_TASK).Config))


def _of_sections(task: type[TaskSettings] | None) -> dict[str, type[Section]]:
    return {key: form for key, form in (task.sections if task else {}).items() if not isinstance(form, str)}


def with_inputs(experiment: Experiment) -> Experiment:
    """The experiment, after a check that the user's files exist; raises UserError."""
    return load(experiment.typed, list(experiment.overrides), check_inputs=True)


def recorded_code(folder: Path) -> list[CodeFile]:
    """The files of the user's own code that the run was trained with, as its record names them."""
    path = folder / "environment.json"
    try:
        return code_files.in_record(files.read_json(path)) if path.is_file() else []
    except UserError as error:
        console.warn(f"{error.found} Whether the run was trained with code of your own is not known")
        return []


def run_folder(name: str) -> Path:
    """The run folder meant by a folder, a YAML path, or the name of a run or config; looks only at its `run:`."""
    if is_scored(Path(name)):
        return Path(name)
    file = find(name)
    if is_run(file.parent):
        return file.parent
    run = yaml_text.read(file, []).data.get("run") or {}
    return Path(run.get("folder", RUNS)) / str(run.get("name", file.stem))


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
    if is_run(RUNS / path):
        return RUNS / path / "config.yaml"
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
        found = f"{name} is not a run; it is a folder of runs."
        return UserError(found, "Expected one of them.", f"Name one: {console.first_ten(runs(path))}")
    if broken := incomplete(path) or incomplete(RUNS / path):
        return broken
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


def runs(folder: Path = RUNS) -> list[Path]:
    """The run folders in `folder`."""
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
    """The first of our configs with the same task, dataset and source; else with the same task; else the sample's."""
    files_of_others = (file for file in configs() if file.resolve() != document.file.resolve())
    read = {file.stem: yaml_text.read(file, []).data for file in files_of_others}
    complete = {name: data for name, data in read.items() if data and LEFT_OPEN not in yaml_text.dump(data)}
    others = {name: {"task": {"name": _USUAL_TASK}} | data for name, data in complete.items()}
    for keys in (("task", "dataset", "features"), ("task",)):
        named = [_named(document.data.get(key)) for key in keys]
        like = [name for name, data in others.items() if [_named(data.get(key)) for key in keys] == named]
        if like:
            return _SAMPLE if _SAMPLE in like else like[0]
    return _SAMPLE


def _named(block: Any) -> Any:  # Any: YAML values, not checked yet
    return block.get("name") if isinstance(block, dict) else None
