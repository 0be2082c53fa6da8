"""The commands that a page gives to repeat a run."""

import os
import shlex
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from actloc import cli, experiment
from actloc.commands import report
from actloc.reports.reproduction import PATHS, commands
from actloc.reports.runs import read_run
from actloc.settings import parts
from actloc.settings.sections import Section
from tests import toy
from tests.reports.made_up_runs import write_run


def commands_of(run: Path) -> list[list[str]]:
    (evaluation,) = read_run(run)
    return [shlex.split(line) for line in commands(evaluation, evaluation.results) if not line.startswith("#")]


def test_every_command_parses_and_names_the_settings_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run(Path("ckpt/my run"), 7, num_videos=2)
    (_, source, copy), *typed = commands_of(run)
    shutil.copy(source, copy)
    assert [words[1] for words in typed] == ["prepare", "extract-features", "train", "eval", "report"]
    own = experiment.load(str(run))
    program = typer.main.get_command(cli.app)
    for _, name, *words in typed:
        known = program.commands[name]  # type: ignore[attr-defined]
        known.make_context(name, list(words))
        if name == "report":
            assert words == ["ckpt/my run_again"]
            continue
        assert "dataset.videos=my videos" in words
        again = experiment.load(words[0], words[1:])
        assert (again.run.name, again.run.seed) == ("my run_again", 7)
        assert again.shaping("weights") == own.shaping("weights")
        assert again.dataset == own.dataset
        assert again.features == own.features


def test_settings_that_the_evaluation_changed_are_in_its_command(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1, num_videos=2)
    (evaluation,) = read_run(run)
    changed = {"evaluation.tious": [0.5], "suppression.method": "hard", "fusion.scores": None}
    lines = commands(evaluation, evaluation.results.model_copy(update={"changed": changed, "subset": "Test set"}))
    (scoring,) = [shlex.split(line) for line in lines if line.startswith("actloc eval")]
    wanted = ["evaluation.tious=[0.5]", "suppression.method=hard", "fusion.scores=null"]
    assert [word for word in scoring if word in wanted] == wanted
    assert "dataset.evaluation_subset=Test set" in scoring
    assert not any("suppression" in line for line in lines if not line.startswith("actloc eval"))


def test_a_file_of_predictions_needs_no_training(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1, num_videos=2)
    (evaluation,) = read_run(run)
    read = {"checkpoint": "predictions turn tap.txt, sha256 0123456789ab", "weights": None, "seed": None}
    lines = commands(evaluation, evaluation.results.model_copy(update=read))
    assert not any(line.startswith("actloc train") for line in lines)
    assert "--predictions 'turn tap.txt'" in next(line for line in lines if line.startswith("actloc eval"))


def test_the_code_and_the_machine_are_named(tmp_path: Path) -> None:
    (evaluation,) = read_run(write_run(tmp_path / "run", 1, num_videos=2))
    first, *_ = commands(evaluation, evaluation.results)
    assert first == "# actloc 0.1.0, commit 0123456789ab; run on Linux x86_64, Some Processor at 3.00 GHz, 16 cores"
    changed = evaluation.results.model_copy(update={"commit": "0123456789ab+changes"})
    assert "commit 0123456789ab, and changes that are in no commit" in commands(evaluation, changed)[0]


def test_every_setting_that_names_a_file_is_among_the_paths() -> None:
    found: set[str] = set()

    def names_files(form: object) -> bool:
        return form is Path or any(map(names_files, typing.get_args(form)))

    def visit(form: type[BaseModel], block: str) -> None:
        for name, field in form.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                visit(inner, name)
            elif names_files(inner):
                found.add(f"{block}.{name}")

    for kind, block in (("datasets", "dataset"), ("sources", "features"), ("encoders", "encoder")):
        for name in parts.available(kind):
            visit(parts.find(kind, name).Config, block)
    for name in parts.available("tasks"):
        for block, form in parts.find("tasks", name).Config.sections.items():
            if isinstance(form, type) and issubclass(form, Section):
                visit(form, block)
    assert found - set(PATHS) == {"run.folder", "evaluation.weights_file"}, "these two have their own place"


@pytest.mark.parametrize(
    "name", ["null", "True", "12", "1e3", "a: b", "a #b", "[x]", "it's", '"', "a  b", "-a", " a", "\u00e9"]
)
def test_text_is_typed_so_that_it_stays_text(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1, num_videos=2)
    (evaluation,) = read_run(run)
    changed = evaluation.results.model_copy(update={"changed": {"dataset.evaluation_subset": name}})
    (scoring,) = [shlex.split(line) for line in commands(evaluation, changed) if line.startswith("actloc eval")]
    again = experiment.load(str(run), [word for word in scoring if word.startswith("dataset.evaluation_subset=")])
    assert again.dataset.evaluation_subset == name


@pytest.mark.slow
def test_a_colleague_repeats_a_run_from_its_page(tmp_path: Path) -> None:
    """The page's commands, pasted into a shell, give the same results in a run beside the first."""
    folder = toy.make_toy(tmp_path / "a folder")
    figures = "{source: nobody, subset: test, protocol: actionformer, tious: [0.3, 0.4, 0.5, 0.6, 0.7], average: 50}"
    settings = folder / "toy.yaml"
    settings.write_text(f"{settings.read_text()}published: {figures}\n")
    for words in (["prepare"], ["extract-features"], ["train"], ["eval"]):
        done = toy.actloc(folder, *words, "toy.yaml", "run.seed=3")
        assert done.returncode == 0, done.stderr
    (evaluation,) = read_run(folder / "ckpt/toy")
    here = Path.cwd()
    os.chdir(folder)
    try:
        (evaluation,) = read_run(Path("ckpt/toy"))
        lines = commands(evaluation, evaluation.results)
    finally:
        os.chdir(here)
    for name in ("prepared", "features"):
        shutil.rmtree(folder / name)
    script = f'actloc() {{ "{sys.executable}" -m actloc "$@"; }}\nset -e\n' + "\n".join(lines)
    environment = {**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (again,) = read_run(folder / "ckpt/toy_again")
    assert again.results.seed == 3
    assert again.results.published == evaluation.results.published
    assert again.results.published is not None
    assert again.results.published.source == "nobody"
    assert again.results.mean_ap == evaluation.results.mean_ap
    assert again.predictions == evaluation.predictions
    assert (folder / "ckpt/toy_again/report.html").is_file()


def test_a_run_with_unknown_settings_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 1, num_videos=2)
    (run / "config.yaml").write_text("run: [\n")
    report.run([run])
    page = (run / "report.html").read_text()
    assert "The settings are not known: config.yaml is missing or damaged." in page
