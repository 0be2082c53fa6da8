import os
import subprocess
import sys
from pathlib import Path

import pytest


def complete(folder: Path, line: str, *, without: str = "") -> list[str]:
    """What bash offers for the last word of a line, from a program that cannot import the module `without`."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(Path.cwd())]),
        "_ACTLOC_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    if without:
        (folder / f"{without}.py").write_text("raise ImportError\n")
    done = subprocess.run(
        [sys.executable, "-m", "actloc"], check=False, capture_output=True, text=True, env=environment, cwd=folder
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "ckpt" / "own_v2"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("")
    (run / "environment.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("actloc tra", ["train"]),
        ("actloc train own_", ["own_clips", "own_videos", "own_videos_huggingface"]),
        ("actloc eval ckpt/", ["ckpt/own_v2"]),
        ("actloc predict ", ["ckpt/own_v2"]),
        ("actloc train own_videos schedule.e", ["schedule.epochs="]),
        ("actloc ls da", ["datasets"]),
        ("actloc train --re", ["--resume"]),
        ("actloc prepare --qui", ["--quiet"]),
    ],
)
def test_commands_configs_runs_and_settings_are_completed_without_torch(
    folder: Path, line: str, offered: list[str]
) -> None:
    assert complete(folder, line, without="torch") == offered


def test_the_script_for_a_shell_is_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "actloc", "--show-completion", "bash"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},  # the name of the shell is given
    )
    assert done.returncode == 0, done.stderr
    assert "_ACTLOC_COMPLETE=complete_bash" in done.stdout
