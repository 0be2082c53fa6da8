"""What reading and writing promise: no pipe is waited for, no link followed, and every error names its file."""

import errno
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from actloc import files
from actloc.errors import UserError


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe that nobody writes to: reading it would wait for ever."""
    os.mkfifo(tmp_path / "pipe.json")
    return tmp_path / "pipe.json"


@pytest.mark.parametrize(
    "read", [files.read_bytes, files.read_lines, files.read_json, files.read_json_lines, files.sha256_of_file]
)
def test_a_pipe_is_refused_at_once(pipe: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(UserError, match=re.escape(f"{pipe} is a pipe or a device")):
        read(pipe)


@pytest.mark.parametrize("what", ["EACCES", "EIO", "EMFILE"])
def test_a_file_that_cannot_be_read_is_not_called_damaged(
    tmp_path: Path, set_fault: Callable[[str], None], what: str
) -> None:
    (tmp_path / "a.json").write_text("{}")
    set_fault(f"read:1:{what}")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is checked
        files.read_json(tmp_path / "a.json")
    assert caught.value.errno == getattr(errno, what)


def test_an_error_without_a_name_gets_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"x\.bin"), files.naming(tmp_path / "x.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", [files.LOCK_NAME, f"{files.LOCK_NAME}.turn"])
@pytest.mark.parametrize("make", [lambda path: path.symlink_to("victim"), os.mkfifo])
def test_a_lock_is_no_link_and_no_pipe(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    (tmp_path / "victim").write_text("mine")
    make(tmp_path / name)
    with pytest.raises(UserError, match="is not a file"), files.locked(tmp_path), files.taking_turns(tmp_path):
        pass
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_temporary_file_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    files.temporary_path(tmp_path / "a.json").symlink_to("victim")
    files.write_json(tmp_path / "a.json", {})
    assert (tmp_path / "victim").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "victim"]


def test_what_a_killed_process_left_goes_with_the_next_file(tmp_path: Path) -> None:
    own = files.temporary_path(tmp_path / "a\nb.json").name
    dead = own.replace(str(os.getpid()), "4194305")  # above the largest process id of Linux
    for name in (dead, ".theirs.other-host.7.part", "notes.part"):
        (tmp_path / name).write_text("half")
    files._remove_leftovers_once.cache_clear()
    files.write_text(tmp_path / "c.txt", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".theirs.other-host.7.part", "c.txt", "notes.part"]


ODD = ["line\u2028sep", "para\u2029", "next\x85line", "new\nline", "100%", "-x", "'q\"", os.fsdecode(b"\xff\xfe")]


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_json_lines_of_odd_names_read_back_however_lines_are_split(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.jsonl"
    files.write_json_lines(path, [{"id": name}, {"id": "v"}])
    files.append_line(path, files.json_line({"id": name}))
    assert [row["id"] for row in files.read_json_lines(path)] == [name, "v", name]
    assert [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()] == [name, "v", name]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": NaN}', "NaN is not a valid JSON number"),
        ('{"a": 1e999}', "1e999 is not a valid JSON number"),
        (f'{{"a": {"9" * 1000}}}', "a number of 1000 characters"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"\\uDFFF": 1}', "lone surrogate"),
        ("[" * 2000, "is not valid JSON"),
    ],
    ids=lambda text: text[:20],
)
def test_json_that_no_other_program_could_use_is_refused_with_its_file(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=what) as caught:
        files.read_json(tmp_path / "a.json")
    assert "a.json" in caught.value.found


def test_a_pair_of_surrogates_is_a_character(tmp_path: Path) -> None:
    assert files.parse_json('"\\ud83d\\ude00"') == "\U0001f600"


def test_lines_that_are_damaged_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": 1}\n\x00\x00\n[]\n{"id": 2}\n')
    assert files.read_json_lines(tmp_path / "rows.jsonl", skip_damaged=True) == [{"id": 1}, {"id": 2}]
    assert "Ignored 2 damaged lines" in capsys.readouterr().err


def test_a_file_that_is_larger_than_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(_: Path) -> bytes:
        raise MemoryError

    (tmp_path / "large.json").write_bytes(b"{}")
    monkeypatch.setattr(Path, "read_bytes", too_large)
    with pytest.raises(UserError, match=r"large\.json has 2 bytes, more than fit into memory"):
        files.read_json(tmp_path / "large.json")


def test_a_lock_that_does_not_fit_on_the_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def fileno(self) -> int:
            return file.fileno()

    with (tmp_path / "other").open("w") as file:
        monkeypatch.setattr(files, "_lock_file", lambda _: Full())
        with pytest.raises(OSError, match=re.escape(files.LOCK_NAME)), files.locked(tmp_path):
            pass
