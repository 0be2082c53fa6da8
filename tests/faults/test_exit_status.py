"""What ends a command, and what its message says to do."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from actloc import files
from actloc.command_line.exit_status import finish, run_on
from actloc.errors import Stopped
from actloc.settings import yaml_text


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "Free space"),
        (errno.EACCES, "Fix the permissions"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_what_the_system_refuses_ends_with_4_the_file_and_the_cure(
    number: int, cure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finish(raising(OSError(number, os.strerror(number), "there/x.h5"))) == 4
    said = capsys.readouterr().err
    assert "there/x.h5" in said
    assert cure in said


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
    ids=repr,
)
@pytest.mark.parametrize(("command", "setting"), [("train", "training.batch_size"), ("predict", "machine.clip_batch")])
def test_too_little_memory_ends_with_4_and_the_settings_that_lower_what_is_needed(
    error: Exception, command: str, setting: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"actloc.commands.{command}.run", raising(error))
    config = "sample_efficientnet_actionformer"
    assert finish(lambda: run_on(command, config, None)) == 4
    said = capsys.readouterr().err
    assert "Out of memory" in said
    assert setting in said


def test_a_broken_pipe_inside_the_work_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish(raising(BrokenPipeError(errno.EPIPE, "Broken pipe"))) == 1


def test_a_bug_with_odd_text_still_has_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish(raising(KeyError(os.fsdecode(b"\xff")))) == 1
    name = re.search(r"\S+actloc-\S+\.txt", capsys.readouterr().err)
    assert name
    assert "KeyError" in Path(name[0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("is_saved", [True, False])
def test_only_work_that_was_saved_is_said_to_continue(
    is_saved: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        files.write_text(tmp_path / "result", "whole")
        raise Stopped(2, is_saved=is_saved)

    assert finish(work) == 130
    assert ("to continue" in capsys.readouterr().err) == is_saved


ODD = [
    "a\u2028b",
    "a\x85b",
    "new\nline",
    "100%",
    "-x",
    "'q\"",
    "\ufeffx",
    "\x07",
    "a: b",
    "#x",
    " x ",
    "no",
    "1e-4",
    "~",
]


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_settings_of_odd_text_read_back(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(yaml_text.dump({"run": {"name": text, text: 1}}).encode())
    assert yaml_text.read(path, []).data == {"run": {"name": text, text: 1}}


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "a\nb"], ids=ascii)
def test_a_setting_on_the_command_line_keeps_its_line_ends(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text("run: {}\n")
    assert yaml_text.read(tmp_path / "config.yaml", [f"run.folder={text}"]).data["run"]["folder"] == text
