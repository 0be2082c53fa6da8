"""Which files of the user's own code are in use, with their sha256: for records, and for other processes."""

import hashlib
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from actloc.errors import CodeError
from actloc.settings import own_code
from actloc.settings.code_errors import blaming
from actloc.settings.own_code import Root

_MARK = "__actloc_sha256__"
"""Where a module keeps the sha256 of its file as it was imported."""


@dataclass(frozen=True)
class CodeFile:
    """A file of the user's own code."""

    given: str
    """The file or folder that the user named, or the distribution that announces parts."""
    option: str
    """What named it: --code, ACTLOC_CODE, or nothing for a distribution."""
    name: str
    """The file's path within that."""
    path: str
    sha256: str


def in_use() -> list[CodeFile]:
    """Every file of the user's code that was imported so far, sorted by path."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        root = own_code.root_of(name, file)
        if root is not None and file is not None:
            path = Path(file)
            name_within = str(path.relative_to(root.folder))
            if not hasattr(module, _MARK):  # what is imported stays the same when its file is edited
                setattr(module, _MARK, _sha256(path))
            found[path] = CodeFile(root.given, root.option, name_within, own_code.shown(path), getattr(module, _MARK))
    return [found[path] for path in sorted(found)]


def in_record(record: object) -> list[CodeFile]:
    """The files that `environment.json` names; nothing in it is trusted to have the right form."""
    listed = record.get("code") if isinstance(record, dict) else None
    names = [field.name for field in fields(CodeFile)]
    return [
        CodeFile(**{name: str(entry.get(name, "")) for name in names})
        for entry in (listed if isinstance(listed, list) else [])
        if isinstance(entry, dict)
    ]


def of(part: type) -> dict[str, str]:
    """The sha256 of each file that the user's own part was imported from; none for a part of actloc's.

    What else is in its folder counts where it was imported, but for other parts.
    """
    file = str(getattr(sys.modules[part.__module__], "__file__", None))
    root = own_code.root_of(part.__module__, file)
    if root is None:
        return {}
    others = {own_code.shown(path) for path in own_code.part_files().values() if str(path) != file}
    return {file.name: file.sha256 for file in in_use() if file.given == root.given and file.path not in others}


def changes(files: Sequence[CodeFile]) -> list[str]:
    """Which of `files` have changed or are missing: `my_part.py: sha256 ... before, ... now` for each."""
    lines = []
    for file in files:
        now = {_sha256(path) for root in own_code.roots() if (path := _within(root, file.name)) is not None}
        if file.sha256 not in now:
            text = f"sha256 {now.pop()[:12]}" if now else "missing"
            lines.append(f"{file.name}: sha256 {file.sha256[:12]} before, {text} now")
    return lines


def missing(files: Sequence[CodeFile]) -> list[CodeFile]:
    """Those of `files` that no code in use has, by name."""
    return [file for file in files if not any(_within(root, file.name) for root in own_code.roots())]


def _within(root: Root, name: str) -> Path | None:
    """The root's file of this name; a name from a foreign record may lead nowhere else."""
    path = root.folder / name
    is_inside = path.resolve().is_relative_to(root.folder.resolve())
    return path if is_inside and path.suffix == ".py" and path.is_file() else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Packed:
    """A value for another process of this job, and the code that its classes are in, by path and sha256."""

    paths: tuple[Path, ...]
    distributions: tuple[tuple[str, str], ...]
    packages: tuple[str, ...]
    files: tuple[CodeFile, ...]
    content: bytes

    @classmethod
    def of(cls, value: Any) -> Self:  # Any: whatever can be pickled
        """Packs `value`."""
        named = [root for root in own_code.roots() if root.kind != "distribution"]
        others = [root for root in own_code.roots() if root.kind == "distribution"]
        return cls(
            tuple(root.path for root in named),
            tuple((root.given, root.package) for root in others),
            tuple(root.package for root in named if root.package in sys.modules),
            tuple(in_use()),
            pickle.dumps(value),
        )

    def opened(self) -> Any:  # Any: what was packed
        """The value; raises CodeError where the code here is missing or is other code."""
        if self.paths != tuple(root.path for root in own_code.roots() if root.kind != "distribution"):
            own_code.use(own_code.given(self.paths, with_environment=False))
        for distribution, package in self.distributions:
            own_code.announce(distribution, package)
        changed = changes(self.files)
        if changed:
            raise CodeError(
                f"The code in this process differs from that of the command: {'; '.join(changed)}.",
                "Expected the same files in every process, unchanged as long as the command runs.",
                "Put the same files there; or, if you have edited them in the meantime, run the command again.",
            )
        with blaming():
            for root in own_code.roots():
                if root.package in self.packages:
                    own_code.open_package(root)
            return pickle.loads(self.content)
