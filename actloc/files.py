"""Reads files without trusting them; writes files whole or not at all; locks folders; makes safe names from ids."""

import contextlib
import fcntl
import functools
import hashlib
import json
import math
import os
import re
import shutil
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

from actloc import console
from actloc.errors import EnvironmentProblem, UserError
from actloc.fault_injection import inject

_TEMPORARY = re.compile(r"^\.(?P<name>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)\.part$", re.DOTALL)
_LONGEST_NAME = 150  # bytes; leaves room for a suffix and the temporary's host and pid below the usual 255
_DEEPEST_JSON = 50
_MOST_DIGITS = 300  # of an integer: those of the largest float64
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""What some readers take for the end of a line, as JSON writes it in another way."""
LOCK_NAME = ".lock"
_written: Counter[str] = Counter()
"""What this process has put in place."""


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def temporary_path(path: Path) -> Path:
    """A path next to `path` that names the process which writes it.

    Nothing is there: neither what this process left, nor what dead processes left in the folder.
    """
    _remove_leftovers_once(path.parent)
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.part")
    remove(temporary)
    return temporary


@functools.cache
def _remove_leftovers_once(folder: Path) -> None:
    remove_leftovers(folder)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the name of the file to an error of the system that has none, such as a full disk or a bad sector."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def make_folder(folder: Path) -> Path:
    """Creates `folder` and its parents; returns it."""
    if not folder.is_dir():
        inject("mkdir")
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_bytes(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Writes bytes, or parts, to `path` so that after any crash the file is either the old or the new one, complete."""
    make_folder(path.parent)
    temporary = temporary_path(path)
    try:
        inject("open")
        with naming(path), temporary.open("xb") as stream:  # x follows no link
            inject("write")
            stream.writelines([content] if isinstance(content, bytes) else content)
            stream.flush()
            inject("fsync")
            os.fsync(stream.fileno())
        replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """UTF-8 text, written whole; bytes of file names that are no UTF-8 are written as `\\udcff`, as in JSON."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:  # Any: whatever JSON can hold
    """Indented JSON with a final newline, written whole; refuses nan and inf."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def replace(source: Path, target: Path) -> None:
    """Renames `source` over `target` and makes the rename durable."""
    inject("replace")
    source.replace(target)
    _written["files"] += 1
    _sync_folder(target.parent)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` when the block ends well, and of which nothing is left otherwise."""
    make_folder(folder.parent)
    temporary = temporary_path(folder)
    try:
        yield make_folder(temporary)
        replace(temporary, folder)
    finally:
        remove(temporary)


def has_written() -> bool:
    """Whether this process has put any file in place; temporary files and locks do not count."""
    return bool(_written)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_line(value: Any) -> str:  # Any: whatever JSON can hold
    """JSON without any end of a line in it, whoever splits it; refuses nan and inf."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).translate(_LINE_ENDS)


def append_line(path: Path, line: str) -> None:
    """Appends one line; `read_json_lines` drops a line that a crash cut off."""
    inject("write")
    _written["lines"] += 1
    with naming(path), path.open("ab") as stream:
        stream.write(line.encode("utf-8", "backslashreplace") + b"\n")


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object per line, written whole."""
    write_text(path, "".join(f"{json_line(row)}\n" for row in rows))


def read_json_lines(path: Path, *, skip_damaged: bool = False) -> list[dict[str, Any]]:
    """The objects in the complete lines of a `.jsonl` file; a last line without newline was cut off by a crash.

    Raises UserError for other lines that hold no object; `skip_damaged` warns of them, of lists that are made again.
    """
    if not path.exists():
        return []
    whole, _, _torn = read_bytes(path).decode("utf-8", "replace").rpartition("\n")
    lines = [line for line in whole.split("\n") if line]
    rows = [row for line in lines if isinstance(row := _value(line), dict)]
    if len(rows) < len(lines) and not skip_damaged:
        raise UserError(f"{path} is not JSON lines.", "Expected one JSON object per line.", "Delete it and run again.")
    if len(rows) < len(lines):
        console.warn(f"Ignored {console.count(len(lines) - len(rows), 'damaged line')} of {path}")
    return rows


def _value(line: str) -> Any:  # Any: whatever the line holds
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def check_regular(path: Path) -> None:
    """Raises UserError for a pipe, a socket or a device, which may never end; OSError if there is nothing."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UserError(f"{path} is a pipe or a device.", "Expected a file.", "Save its content in a file.")


def read_bytes(path: Path) -> bytes:
    """The content of a file; raises UserError for what is no file, and OSError, with its name, if it is unreadable."""
    check_regular(path)
    inject("read")
    try:
        with naming(path):
            return path.read_bytes()
    except (MemoryError, OverflowError) as error:
        size = path.stat().st_size
        raise UserError(
            f"{path} has {size} bytes, more than fit into memory.",
            "Expected a smaller file.",
            "Check which file it is.",
        ) from error


def read_text(path: Path) -> str:
    """UTF-8 text with or without a byte order mark; raises what `read_bytes` does, and UnicodeDecodeError."""
    return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text, which only line feeds end; raises UserError for other text, and as `read_bytes`."""
    try:
        lines = read_text(path).split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}.", "Expected a text file.", "Save it as UTF-8.") from error
    return lines if lines[-1] else lines[:-1]


def read_json(path: Path, *, keep_odd_numbers: bool = False) -> Any:  # Any: what the file holds; callers check its form
    """JSON from an untrusted file; raises UserError as `parse_json` refuses it, and OSError if it cannot be read."""
    try:
        content = read_bytes(path)
        text = content.decode(json.detect_encoding(content))  # Windows programs save UTF-16, or with a BOM
        return parse_json(text, keep_odd_numbers=keep_odd_numbers)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.", "Expected a JSON file.", "Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}.", "Expected a JSON file.", "Fix or replace it.") from error


def parse_json(text: str, *, keep_odd_numbers: bool = False) -> Any:  # Any: whatever the text holds
    """The value of strict JSON `text`.

    Raises ValueError for nan, inf, numbers beyond float64, duplicate keys, lone surrogates and more than 50 levels.
    `keep_odd_numbers` returns such numbers as nan and inf: for callers that check all numbers and list the bad ones.
    """

    def number(written: str) -> float:
        value = float(written)
        if not math.isfinite(value) and not keep_odd_numbers:
            shown = written if len(written) < 20 else f"a number of {len(written)} characters"
            raise ValueError(f"{shown} is not a valid JSON number")
        return value

    def integer(written: str) -> float:
        return int(written) if len(written) <= _MOST_DIGITS else number(written)

    value = json.loads(text, object_pairs_hook=_unique, parse_constant=number, parse_float=number, parse_int=integer)
    if _depth(value) > _DEEPEST_JSON:
        raise ValueError(f"more than {_DEEPEST_JSON} nested levels")
    if re.search(r"\\u[dD][89a-fA-F]", text) and not is_text(json.dumps(value, ensure_ascii=False)):
        raise ValueError("it has half a character: a lone surrogate such as \\ud800")
    return value


def is_text(text: str) -> bool:
    """Whether UTF-8 has the text: names of files may hold bytes that are none, which Python reads as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} appears twice in one object")
    return result


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        lists = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        depth, level = depth + 1, list(chain.from_iterable(lists))
    return depth


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
    with _lock_file(folder / name) as stream:
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
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        shared = f", for part {shared_by}" if shared_by else ""
        with naming(folder / name):
            stream.truncate(0)
            stream.write(f"host {socket.gethostname()}, pid {os.getpid()}, since {started}{shared}")
            stream.flush()
        yield


def _lock_file(path: Path) -> IO[str]:
    """A lock file, open to read and to append; raises UserError for a link or pipe, which would change another file."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UserError(f"{path} is not a file.", "Expected a lock file, as actloc writes it.", "Delete it.")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    return os.fdopen(descriptor, "a+", encoding="utf-8", errors="replace")


@contextlib.contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """Waits until no other process is inside; for short work that checks for something shared and makes it."""
    make_folder(folder)
    with _lock_file(folder / f"{LOCK_NAME}.turn") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def sha256_of_file(path: Path) -> str:
    """Hex digest of the file's bytes; raises what `read_bytes` does."""
    check_regular(path)
    inject("read")
    with naming(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_bytes(*parts: bytes | memoryview) -> str:
    """Hex digest of the parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def safe_name(video_id: str) -> str:
    """A unique file name for any id: percent-encoded, and shortened with a hash if too long."""
    name = quote(video_id, safe=" ()[]{},;=@+!'~&^#", errors="surrogatepass").replace(".", "%2E")
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 66].rstrip('%')}%~{sha256_of_bytes(video_id.encode(errors='surrogatepass'))}"
    return name


def id_of_safe_name(name: str) -> str | None:
    """The id from which `safe_name` made `name`; None if the id was shortened."""
    return None if "%~" in name else unquote(name)


def is_unsafe_id(video_id: str) -> bool:
    """Whether an id is empty, holds NUL or half a character, or would leave its folder as a path."""
    parts = re.split(r"[/\\]", video_id)
    return (
        not video_id.strip()
        or "\0" in video_id
        or not is_text(video_id)
        or any(part in ("..", ".", "") for part in parts)
    )
