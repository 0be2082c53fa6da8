"""Commands that write their results at the end: killed or stopped, they leave the old or the new ones, whole."""

import re
from pathlib import Path

import pytest

from tests.toy import actloc, copy_toy, leftovers

COMMANDS = {
    "eval": ("eval", "ckpt/toy"),
    "report": ("report", "ckpt/toy"),
    "export": ("export", "features", "packed.h5"),
    "to_official": ("convert", "ckpt/toy", "official.pth.tar"),
    "to_run": ("convert", "given.pth.tar", "ckpt/made", "toy.yaml"),
}
_CREATED = re.compile(rb'"created": "[^"]*"')


@pytest.fixture(scope="module")
def scored(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its results, and an official file of it."""
    folder = copy_toy(trained, tmp_path_factory.mktemp("scored") / "toy")
    for arguments in (("eval", "ckpt/toy"), ("convert", "ckpt/toy", "given.pth.tar")):
        done = actloc(folder, *arguments)
        assert done.returncode == 0, done.stderr
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file but those with times in them; results without theirs."""
    timed = ("environment.json", "config.yaml", ".lock", ".turn")
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(timed)]
    return {
        str(path.relative_to(folder)): _CREATED.sub(b"", path.read_bytes())
        for path in paths
        if "tfevents" not in path.name
    }


@pytest.mark.parametrize("fault", ["replace:1", "replace:2"])
@pytest.mark.parametrize("name", COMMANDS)
def test_after_a_kill_the_same_command_goes_on(scored: Path, tmp_path: Path, name: str, fault: str) -> None:
    whole = copy_toy(scored, tmp_path / "whole")
    assert actloc(whole, *COMMANDS[name]).returncode == 0
    folder = copy_toy(scored, tmp_path / "toy")
    killed = actloc(folder, *COMMANDS[name], ACTLOC_FAULT=f"{fault}:kill")
    if fault == "replace:2" and killed.returncode == 0:
        pytest.skip("the command puts one file in place")
    assert killed.returncode == -9
    before = content(scored)
    there = {path: value for path, value in content(folder).items() if not path.endswith(".part")}
    assert before.keys() <= there.keys()
    done = actloc(folder, *COMMANDS[name])
    assert done.returncode == 0, done.stderr
    assert leftovers(folder) == []
    assert content(folder) == content(whole)


@pytest.mark.parametrize("name", ["eval", "report", "to_official"])
def test_a_command_that_is_stopped_says_so_and_leaves_nothing_half(scored: Path, tmp_path: Path, name: str) -> None:
    folder = copy_toy(scored, tmp_path / "toy")
    before = content(folder)
    stopped = actloc(folder, *COMMANDS[name], ACTLOC_FAULT="write:1:term")
    assert stopped.returncode == 143
    assert stopped.stderr.splitlines()[-1] == "Stopped by SIGTERM. Nothing was written."
    assert content(folder) == before


def test_what_was_written_before_a_stop_is_not_denied(scored: Path, tmp_path: Path) -> None:
    folder = copy_toy(scored, tmp_path / "toy")
    stopped = actloc(folder, "report", "ckpt/toy", ACTLOC_FAULT="write:2:term")
    assert stopped.returncode == 143
    assert stopped.stderr.splitlines()[-1] == "Stopped by SIGTERM. Run the same command again."
    assert (folder / "ckpt/toy/report.html").is_file()
    assert leftovers(folder) == []
