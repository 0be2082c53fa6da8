"""How a task is found by the name that results and checkpoints have, and results that are older than tasks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from actloc import experiment
from actloc.commands import list_runs, report
from actloc.errors import UserError
from actloc.evaluation.results import Results
from actloc.evaluation.results_files import read_results, task_of_results, write_results
from actloc.tasks import localization, recognition
from actloc.tasks.base import task_named, task_of
from tests.reports.conftest import make_results

__all__ = ["make_results"]  # a fixture


def scored(folder: Path, results: Results, task: str | None) -> Path:
    """A folder in which `eval` wrote these results, as of another task, or of none as older versions did."""
    path = write_results(folder / "eval" / "test", results)
    content = json.loads(path.read_text())
    assert content.pop("task") == "localization"
    path.write_text(json.dumps(content if task is None else {"task": task, **content}))
    return folder


def test_a_task_is_found_by_its_name() -> None:
    assert isinstance(task_named("localization"), localization.Config)
    assert isinstance(task_named("recognition"), recognition.Config)
    assert task_named("recognition").results.model_fields["task"].default == "recognition"


def test_a_task_that_is_missing_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"task recogniton, which is missing: .*Did you mean recognition") as caught:
        task_named("recogniton")
    assert caught.value.fix.endswith("load your own task with --code FILE")


def test_settings_that_name_no_task_are_of_localization(tmp_path: Path) -> None:
    loaded = experiment.load("configs/learnable_actionformer.yaml")
    assert isinstance(task_of(loaded), localization.Config)
    assert next(iter(loaded.to_data())) == "task"
    (tmp_path / "complete.yaml").write_text(loaded.to_yaml())
    complete = experiment.load(str(tmp_path / "complete.yaml"), ["run.name=learnable_actionformer"])
    assert complete.sections == loaded.sections


@pytest.mark.parametrize(("task", "other"), [("recognition", "localization"), ("localization", "recognition")])
def test_a_section_of_another_task_is_one_mistake_that_names_the_task(tmp_path: Path, task: str, other: str) -> None:
    file = tmp_path / "mixed.yaml"
    sections = {"localization": "features: {name: stored, path: x}", "recognition": "network: {start: random}"}
    file.write_text(
        f"task: {{name: {task}}}\ndataset: {{name: video_folder, folder: a, videos: b}}\n{sections[other]}\n"
    )
    key = sections[other].partition(":")[0]
    with pytest.raises(UserError) as caught:
        experiment.load(str(file))
    (mistake,) = [line for line in str(caught.value).splitlines() if f" {key}" in line]
    assert mistake.endswith(f"mixed.yaml:3: {key} is a section of the task {other}, and task.name is {task}")


def test_results_without_a_task_are_of_localization(tmp_path: Path, make_results: Callable[..., Results]) -> None:
    results = make_results()
    folder = scored(tmp_path / "old", results, None) / "eval" / "test"
    assert task_of_results(folder) == "localization"
    assert read_results(folder) == results


def test_runs_of_several_tasks_are_not_reported_together(
    tmp_path: Path, make_results: Callable[..., Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    old = scored(Path("old"), make_results(), None)
    new, other = (scored(Path(task), make_results(), task) for task in ("localization", "recognition"))
    with pytest.raises(UserError) as caught:
        report.run([old, new, other])
    assert caught.value.found == (
        "The runs are of several tasks: old (localization), localization (localization), recognition (recognition)."
    )
    assert not list(Path().rglob("report.html"))


def test_results_of_a_missing_task_are_reported_and_listed_as_unreadable(
    tmp_path: Path, make_results: Callable[..., Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = scored(Path("ckpt/tracked"), make_results(), "tracking")
    with pytest.raises(UserError, match="made by the task tracking, which is missing"):
        report.run([folder])
    (row,) = list_runs.listed(folder.parent)
    assert row.results == ["test: unreadable"]
