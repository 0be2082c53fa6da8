"""No file is replaced that actloc did not write, unless that is asked for."""

import json
import os
from pathlib import Path

import pytest

from actloc.errors import UserError
from actloc.reports import outputs


def write(path: Path, text: str = "ours") -> None:
    outputs.refuse_others([path])
    with outputs.recording([path]):
        path.write_text(text)


def test_what_actloc_wrote_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "a.csv")
    write(tmp_path / "a.csv", "ours again")
    assert (tmp_path / "a.csv").read_text() == "ours again"


def test_what_was_there_before_or_was_changed_since_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(UserError, match=r"a\.csv is not as actloc wrote it") as caught:
        write(tmp_path / "a.csv")
    assert "--overwrite" in caught.value.fix
    write(tmp_path / "b.csv")
    (tmp_path / "b.csv").write_text("ours, with my notes")
    with pytest.raises(UserError, match=r"b\.csv"):
        write(tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text() == "mine"
    outputs.refuse_others([tmp_path / "a.csv"], overwrite=True)


def test_what_a_killed_command_wrote_is_its_own(tmp_path: Path) -> None:
    path, listing = tmp_path / "a.csv", tmp_path / ".actloc_outputs.json"
    with outputs.recording([path]):
        path.write_text("half of it")
        at_the_kill = listing.read_text()
    listing.write_text(at_the_kill)
    assert json.loads(at_the_kill) == {"a.csv": ""}
    write(path)


@pytest.mark.parametrize("overwrite", [False, True])
def test_pipes_and_folders_are_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(UserError, match="is not a file"):
            outputs.refuse_others([path], overwrite=overwrite)


def test_a_damaged_list_costs_nothing_but_a_question(tmp_path: Path) -> None:
    write(tmp_path / "a.csv")
    (tmp_path / ".actloc_outputs.json").write_text("[")
    with pytest.raises(UserError):
        write(tmp_path / "a.csv")
