"""The user's own code: Python files named by --code or ACTLOC_CODE, and installed packages that announce parts.

Settings name parts, never files or modules, so a settings file alone imports nothing that the user has not chosen. A
file of --code is imported when a setting names the part in it.
"""

import contextlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from actloc import console
from actloc.errors import UserError

VARIABLE = "ACTLOC_CODE"
"""The environment variable that names code for every command: paths, separated as in PATH."""
_PACKAGE = "actloc_code_{}"
"""Files are imported into a package of such a name, where they cannot hide an installed module of their own name."""
_BEGIN = "__init__.py"
"""The file of a folder that is one part, or a package of several."""


@dataclass(frozen=True)
class Root:
    """A file, a folder or an installed distribution whose modules are not actloc's."""

    given: str
    """The path as the user gave it, or the distribution with its version."""
    kind: Literal["file", "folder", "distribution"]
    option: str
    """What named it: --code, ACTLOC_CODE, or nothing for a distribution."""
    folder: Path
    """Where its modules are."""
    package: str
    """The Python package that they are imported into."""
    parts: dict[str, Path]
    """The files that have a class Config, by their stem; of a folder, its __init__.py by the folder's name."""

    @property
    def path(self) -> Path:
        """The file or folder."""
        return next(iter(self.parts.values())) if self.kind == "file" else self.folder

    def module_of(self, name: str) -> str:
        """The full name of the module of a part."""
        return self.package if self.parts[name] == self.folder / _BEGIN else f"{self.package}.{name}"


_roots: list[Root] = []
_added_to_path: list[str] = []


def use(roots: Sequence[Root]) -> None:
    """Makes `roots` all the code in use; what was imported from files before is imported anew when it is needed."""
    for name, module in list(sys.modules.items()):
        root = root_of(name, getattr(module, "__file__", None))
        if root is not None and root.kind != "distribution":
            del sys.modules[name]
    sys.path[:] = [place for place in sys.path if place not in _added_to_path]
    _roots[:] = roots
    # siblings find each other by their bare names, after all that is installed
    folders = [str(root.folder) for root in roots if root.kind == "folder"]
    _added_to_path[:] = [folder for folder in folders if folder not in sys.path]
    sys.path.extend(_added_to_path)


def given(options: Iterable[Path], *, with_environment: bool = True) -> list[Root]:
    """The files and folders that `options` and the environment variable name.

    Raises UserError where one does not exist or has no part, or where two parts have one name.
    """
    listed = [(path, "--code") for path in options]
    if with_environment:
        listed += [(Path(text), VARIABLE) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    roots: dict[Path, Root] = {}
    for path, option in listed:
        roots.setdefault(path.absolute(), _root(path, option, len(roots)))
    names = [(name, path) for root in roots.values() for name, path in root.parts.items()]
    for number, (name, path) in enumerate(names):
        for other_name, other in names[:number]:
            if name == other_name and path != other:
                raise UserError(
                    f"{shown(other)} and {shown(path)} are two parts with the same name, {name}.",
                    "Expected each name once: settings name a part by its file or folder.",
                    "Rename one of them, or leave one out.",
                )
    return list(roots.values())


def _root(path: Path, option: str, number: int) -> Root:
    if not path.exists():
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"{option} names {path}, which does not exist{console.nearest(path.name, names, lists_known=False)}",
            "Expected a Python file, or a folder of them.",
            "Check the path; it is relative to the working folder.",
        )
    folder = path.absolute() if path.is_dir() else path.absolute().parent
    begin = folder / _BEGIN
    is_one_part = path.is_dir() and begin.is_file() and folder.name.isidentifier() and _has_config(begin)
    if is_one_part:
        files = [begin]
    else:
        inside = {*folder.glob("*.py"), *folder.glob(f"*/{_BEGIN}")} - {begin}
        files = sorted(inside) if path.is_dir() else [path.absolute()]
    parts = {place_of(file).stem: file for file in files if file.suffix == ".py" and _has_config(file)}
    if not parts:
        raise UserError(
            f"{option} names {path}, which has no part: no .py file with a class Config.",
            "Expected a class Config that extends DetectorConfig, EncoderConfig, DatasetConfig, SourceConfig or "
            "FormConfig.",
            "Name the file of the part; if it imports other files of yours, name their folder: --code FOLDER",
        )
    is_package = path.is_dir() and begin.is_file() and folder.name.isidentifier()
    other = importlib.util.find_spec(folder.name) if is_package else None
    if other is not None and (other.origin is None or Path(other.origin).resolve() != begin.resolve()):
        raise UserError(
            f"{option} names {path}, a package with the same name as an installed one: {other.origin or other.name}.",
            "Expected a name that no other package has.",
            "Rename the folder, or delete its __init__.py: its files then import each other by their bare names.",
        )
    package = folder.name if is_package else _PACKAGE.format(number)
    return Root(str(path), "folder" if path.is_dir() else "file", option, folder, package, parts)


def _has_config(file: Path) -> bool:
    return re.search(r"^class Config\b", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE) is not None


def place_of(file: Path) -> Path:
    """The file of a part, or its folder if it is the __init__.py of one: its name is what settings say."""
    return file.parent if file.name == _BEGIN else file


def part_files() -> dict[str, Path]:
    """The user's own parts: each file by its name in settings."""
    return {name: path for root in _roots for name, path in root.parts.items()}


def imported(name: str) -> ModuleType:
    """The module of the user's part `name`; raises whatever the code in it raises."""
    root = next(root for root in _roots if name in root.parts)
    sibling = sys.modules.get(name)
    if sibling is not None and getattr(sibling, "__file__", None) == str(root.parts[name]):
        return sibling  # another file has imported it by its bare name
    with _without_bytecode():
        open_package(root)
        module = importlib.import_module(root.module_of(name))
        found = importlib.util.find_spec(name) if root.kind == "folder" else None
    if found is not None and found.origin == module.__file__:
        sys.modules[name] = module  # a sibling that imports it by its bare name gets the same
    return module


@contextlib.contextmanager
def _without_bytecode() -> Iterator[None]:
    """Writes no __pycache__ into the user's folder."""
    writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_none


def open_package(root: Root) -> None:
    """Makes the package that the root's files are imported into, once; a folder may have an __init__.py to run."""
    begin = root.folder / _BEGIN
    if root.package in sys.modules:
        return
    if root.kind == "file" or not begin.is_file():
        package = ModuleType(root.package)
        package.__path__ = [str(root.folder)]
        sys.modules[root.package] = package
        return
    spec = importlib.util.spec_from_file_location(root.package, begin, submodule_search_locations=[str(root.folder)])
    assert spec, f"{begin} is a Python file"
    assert spec.loader, f"{begin} is a Python file"
    sys.modules[root.package] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[root.package])
    except BaseException:
        del sys.modules[root.package]
        raise


def announce(distribution: str, module: str) -> None:
    """Remembers an installed distribution, by name and version, that announces `module` as a part."""
    package = module.partition(".")[0]
    spec = importlib.util.find_spec(package)
    if spec is None or package in [root.package for root in _roots]:
        return
    places = [Path(place) for place in spec.submodule_search_locations or []] or [Path(str(spec.origin)).parent]
    _roots.append(Root(distribution, "distribution", "", places[0], package, {}))


def root_of(module: str, file: str | None) -> Root | None:
    """Where a module comes from; None for actloc's own and for all others that are installed."""
    top = module.partition(".")[0]
    for root in _roots:
        if top == root.package:
            return root
        is_below = root.kind == "folder" and file is not None and Path(file).is_relative_to(root.folder)
        if is_below and Path(str(file)).relative_to(root.folder).parts[0] in (top, f"{top}.py"):
            return root  # imported by its bare name
    return None


def root_above(file: Path) -> Root | None:
    """Where a file comes from that could not become a module."""
    for root in _roots:
        is_below = file.is_relative_to(root.folder)
        if root.kind == "distribution":
            is_below = is_below if root.folder.name == root.package else file == root.folder / f"{root.package}.py"
        if file in root.parts.values() or (root.kind != "file" and is_below):
            return root
    return None


def shown(path: Path) -> str:
    """A path as messages and records show it: relative to the working folder if it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def roots() -> tuple[Root, ...]:
    """All code in use."""
    return tuple(_roots)


def options() -> list[str]:
    """The words that name the code in use on a command line; ACTLOC_CODE needs none."""
    return [word for root in _roots if root.option == "--code" for word in ("--code", root.given)]


def imported_parts() -> list[str]:
    """The user's own parts whose files were imported so far."""
    return [name for root in _roots for name in root.parts if root.module_of(name) in sys.modules]


def unused() -> list[str]:
    """The files named by --code whose part no setting has named so far."""
    named = set(imported_parts())
    return [
        root.given for root in _roots if (root.option, root.kind) == ("--code", "file") and not named & set(root.parts)
    ]
