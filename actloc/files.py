"""Writes files whole or not at all, so that no crash leaves half a file; locks folders; makes safe names from ids."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from actloc.errors import EnvironmentProblem, UserError
from actloc.fault_injection import inject

_TEMPORARY = re.compile(r"^\.(?P<name>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)\.part$")
_LONGEST_NAME = 150  # bytes; leaves room for a suffix and the temporary's host and pid below the usual 255
_DEEPEST_JSON = 50
LOCK_NAME = ".lock"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def temporary_path(path: Path) -> Path:
    """A path next to `path` that names the process which writes it."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.part")


def make_folder(folder: Path) -> Path:
    """Creates `folder` and its parents; returns it."""
    if not folder.is_dir():
        inject("mkdir")
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` so that after any crash the file is either the old or the new one, complete."""
    make_folder(path.parent)
    temporary = temporary_path(path)
    try:
        inject("open")
        with temporary.open("wb") as stream:
            inject("write")
            stream.write(content)
            stream.flush()
            inject("fsync")
            os.fsync(stream.fileno())
        replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """UTF-8 text, written whole."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:  # Any: whatever JSON can hold
    """Indented JSON with a final newline, written whole; refuses nan and inf."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def replace(source: Path, target: Path) -> None:
    """Renames `source` over `target` and makes the rename durable."""
    inject("replace")
    source.replace(target)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Appends one line; `read_json_lines` drops a line that a crash cut off."""
    inject("write")
    with path.open("ab") as stream:
        stream.write(line.encode("utf-8") + b"\n")


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object per line, written whole."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a `.jsonl` file; a last line without newline was cut off by a crash and is ignored."""
    if not path.exists():
        return []
    whole, _, _torn = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    try:
        rows = [json.loads(line) for line in whole.splitlines() if line]
    except ValueError:
        rows = [None]
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is not JSON lines.", "Expected one JSON object per line.", "Delete it and run again.")
    return rows


def read_json(path: Path) -> Any:  # Any: whatever the file holds; callers check its shape
    """JSON from an untrusted file; raises UserError for duplicate keys, NaN and absurd depth."""
    try:
        content = path.read_bytes()
        value = parse_json(content.decode(json.detect_encoding(content)))  # Windows programs save UTF-16, or with a BOM
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.", "Expected a JSON file.", "Check the path.") from error
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path} is not valid JSON: {error}.", "Expected a JSON file.", "Fix or replace it.") from error
    return value


def parse_json(text: str) -> Any:  # Any: whatever the text holds
    """The value of strict JSON `text`; raises ValueError for nan, inf, duplicate keys or more than 50 levels."""
    value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    if _depth(value) > _DEEPEST_JSON:
        raise ValueError(f"more than {_DEEPEST_JSON} nested levels")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} appears twice in one object")
    return result


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a valid JSON number")


def _depth(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((_depth(item) for item in inside), default=0)


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files of processes of this host that no longer run."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = _TEMPORARY.match(path.name)
        if match and match["host"] == _host() and not _is_alive(int(match["pid"])):
            remove(path)


def remove(path: Path) -> None:
    """Deletes a file, link or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def locked(folder: Path, part: str = "") -> Iterator[None]:
    """Locks `folder`; any other process that tries gets exit status 4 and this one's host and pid.

    With `part`, locks only that part of the work: others may lock other parts at the same time, but not the whole.
    """
    make_folder(folder)
    with contextlib.ExitStack() as locks:
        locks.enter_context(_lock(folder, LOCK_NAME, part))
        if part:
            locks.enter_context(_lock(folder, f"{LOCK_NAME}.{part}"))
        remove_leftovers(folder)
        yield


@contextlib.contextmanager
def _lock(folder: Path, name: str, shared_by: str = "") -> Iterator[None]:
    with (folder / name).open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, (fcntl.LOCK_SH if shared_by else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise EnvironmentProblem(
                f"{folder} is in use by {holder}.",
                "Only one process may write here at a time.",
                "Wait for it to end, stop it, or choose another folder.",
            ) from error
        stream.truncate(0)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        shared = f", for part {shared_by}" if shared_by else ""
        stream.write(f"host {socket.gethostname()}, pid {os.getpid()}, since {started}{shared}")
        stream.flush()
        yield


@contextlib.contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """Waits until no other process is inside; for short work that checks for something shared and makes it."""
    make_folder(folder)
    with (folder / f"{LOCK_NAME}.turn").open("a", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def sha256_of_file(path: Path) -> str:
    """Hex digest of the file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_bytes(*parts: bytes | memoryview) -> str:
    """Hex digest of the parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def safe_name(video_id: str) -> str:
    """A unique file name for any id: percent-encoded, and shortened with a hash if too long."""
    name = quote(video_id, safe=" ()[]{},;=@+!'~&^#").replace(".", "%2E")
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 66].rstrip('%')}%~{sha256_of_bytes(video_id.encode())}"
    return name


def id_of_safe_name(name: str) -> str | None:
    """The id from which `safe_name` made `name`; None if the id was shortened."""
    return None if "%~" in name else unquote(name)


def is_unsafe_id(video_id: str) -> bool:
    """Whether an id is empty, holds NUL or control characters, or would leave its folder as a path."""
    parts = re.split(r"[/\\]", video_id)
    return (
        not video_id.strip()
        or any(ord(letter) < 32 for letter in video_id)
        or any(part in ("..", ".", "") for part in parts)
    )
