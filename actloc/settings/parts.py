"""Finds a part by name: of a file or folder of actloc or of the user's, or of an entry point of a package."""

import ast
import functools
import importlib
import inspect
import json
import os
import sys
import typing
from collections.abc import Iterable
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from actloc import console
from actloc.errors import CodeError, UserError
from actloc.settings import code_files, own_code
from actloc.settings.code_errors import at_line, blaming
from actloc.settings.sections import Part

_PACKAGE = Path(__file__).parent.parent
KINDS = {
    "tasks": "TaskConfig",
    "datasets": "DatasetConfig",
    "encoders": "EncoderConfig",
    "sources": "SourceConfig",
    "detectors": "DetectorConfig",
    "annotation_forms": "FormConfig",
    "prediction_forms": "PredictionFormConfig",
}
"""The folders whose files and folders are choices, with what the class Config of each extends.

Those whose names begin with `base` are what the others have in common. The `__init__.py` of a folder has the settings,
which are read without importing torch, and its other files the network; a part in one file has both.

An installed package announces its parts in the group of entry points `actloc.<kind>`.
"""


def use_code(options: Iterable[Path] = ()) -> None:
    """Makes the files and folders of --code and ACTLOC_CODE the only user code that parts are looked up in.

    Raises UserError if one of them cannot be a part, or has the name of an existing part.
    """
    roots = own_code.given(options)
    own_code.use(roots)
    for name, file in own_code.part_files().items():
        for kind in KINDS:
            if name in _shipped(kind) or name in _announced(kind):
                whose = f"actloc's own {kind}" if name in _shipped(kind) else f"the {kind} of an installed package"
                raise UserError(
                    f"{own_code.shown(file)} has the name {name}, which is one of {whose}.",
                    "Expected another name: settings name a part by its file or folder.",
                    f"Rename it, for example to my_{own_code.place_of(file).name}",
                )


def warn_of_unused_code() -> None:
    """Says which files of --code no setting has named: a forgotten setting would go unnoticed."""
    for path in own_code.unused() if os.environ.get("RANK", "0") == "0" else ():
        console.warn(f"--code {path} is not used: no setting names {Path(path).stem}")


def available(kind: str) -> dict[str, str]:
    """The choices of a kind, each with a line that describes it; imports the user's own files and nothing else."""
    listed = {name: _first_line(file.read_text(encoding="utf-8")) for name, file in _shipped(kind).items()}
    for name, file in own_code.part_files().items():
        if _kind_of(_imported(name)) == kind:
            listed[name] = _first_line(file.read_text(encoding="utf-8", errors="replace"))
    return listed | {name: f"from the package {_distribution(found[0])}" for name, found in _announced(kind).items()}


def names(kind: str) -> list[str]:
    """The names of the choices of a kind; imports only those of the user's own files that mention the kind."""
    own = []
    for name, file in own_code.part_files().items():
        text = file.read_text(encoding="utf-8", errors="replace")
        if (kind in text or KINDS[kind] in text) and _kind_of(_imported(name)) == kind:
            own.append(name)
    return list(dict.fromkeys([*_shipped(kind), *own, *_announced(kind)]))


def _first_line(code: str) -> str:
    return (ast.get_docstring(ast.parse(code)) or "").partition("\n")[0]


def _shipped(kind: str) -> dict[str, Path]:
    folder = _PACKAGE / kind
    found = {file.stem: file for file in folder.glob("*.py") if not file.stem.startswith(("__init__", "base"))}
    found |= {file.parent.name: file for file in folder.glob("*/__init__.py")}
    return dict(sorted(found.items()))


def _announced(kind: str) -> dict[str, list[EntryPoint]]:
    """What installed packages announce, by name; several where packages disagree."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in _entry_points(f"actloc.{kind}", tuple(sys.path)):
        found.setdefault(entry.name, []).append(entry)
    return found


@functools.cache
def _entry_points(group: str, places: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(metadata.entry_points(group=group))


def _distribution(entry: EntryPoint) -> str:
    """Name and version of the package that announces a part."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def find(kind: str, name: str) -> ModuleType:
    """The part's module, which has a class Config.

    Raises ValueError with the known names, and CodeError if code that is not part of actloc fails.
    """
    announced = _announced(kind).get(name, [])
    if len(announced) > 1 or (announced and name in _shipped(kind)):
        packages = " and ".join(_distribution(entry) for entry in announced)
        ours = " and by actloc itself" if name in _shipped(kind) else ""
        raise ValueError(f"{name!r} is announced by {packages}{ours}; uninstall all but one")
    if name in own_code.part_files():
        module = _imported(name)
        found = _kind_of(module)
        if found != kind:
            file = own_code.shown(own_code.part_files()[name])
            raise ValueError(f"{name!r} in {file} is one of the {found}, not of the {kind}")
        return module
    if announced:
        return _of_package(kind, announced[0])
    if name not in _shipped(kind):
        known = console.nearest(name, available(kind))
        end = " " if known.endswith("?") else ". "
        path = f"{name}.py" if name.isidentifier() else "FILE"
        raise ValueError(f"{name!r} is not one of {kind}{known}{end}To load a part of your own, add --code {path}")
    try:
        return importlib.import_module(f"actloc.{kind}.{name}")
    except ImportError as error:
        raise ValueError(f"actloc.{kind}.{name} cannot be imported: {error}") from error


def _imported(name: str) -> ModuleType:
    """The module of a part of the user's own; raises CodeError if it fails or is not a part."""
    with blaming():
        try:
            module = own_code.imported(name)
        except SyntaxError as error:
            error.filename = error.filename or str(own_code.part_files()[name])  # null bytes have no line
            raise
    code_files.in_use()  # notes the sha256 of what was imported
    _check_config(module)
    return module


def _of_package(kind: str, entry: EntryPoint) -> ModuleType:
    """The module that an installed package announces; raises CodeError if it fails or is not a part of this kind."""
    own_code.announce(_distribution(entry), entry.module)
    try:
        with blaming():
            module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        raise CodeError(
            f"The package {_distribution(entry)} announces {entry.module} as one of {kind}: {error}.",
            "Expected a module that can be imported.",
            "Report it to the authors of the package, or uninstall it.",
        ) from error
    if _check_config(module) != kind:
        raise ValueError(
            f"{entry.name!r} of the package {_distribution(entry)} is one of the {_kind_of(module)}, not of the {kind}"
        )
    return module


def _check_config(module: ModuleType) -> str:
    """The kind of the part in a module that is not actloc's own; raises CodeError where it is none."""
    root = own_code.root_of(module.__name__, module.__file__)
    assert root, f"{module} was named or announced"
    config = getattr(module, "Config", None)
    if not isinstance(config, type):
        found, expected = "there is no class Config.", "Expected one with the settings of the part."
        raise at_line(root, Path(str(module.__file__)), 1, found, expected)
    kind = _kind_of(module)
    missing = sorted(getattr(config, "__abstractmethods__", ()))
    if kind and not missing:
        return kind
    if kind:
        found, expected = (
            f"Config is missing {', '.join(missing)}.",
            f"Expected everything that {KINDS[kind]} requires.",
        )
    else:
        found, expected = "Config is not a part.", f"Expected it to extend {' or '.join(KINDS.values())}."
    raise at_line(root, Path(inspect.getsourcefile(config) or "?"), inspect.getsourcelines(config)[1], found, expected)


def _kind_of(module: ModuleType) -> str:
    """The kind whose base class the module's Config extends; empty where there is none."""
    for kind, base in KINDS.items():
        if issubclass(module.Config, getattr(importlib.import_module(f"actloc.{kind}.base"), base)):
            return kind
    return ""


class Chosen:
    """Marks a block whose `name` chooses a file of a folder: `encoder: Annotated[EncoderConfig, Chosen("encoders")]`.

    The block is checked by that file's `Config`, so a part may have parts in it, and the errors of the inner one keep
    their place.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def settings_class(self, block: Any) -> type[Part] | None:  # Any: not yet checked
        """The `Config` that checks the block; None if the block names no existing part."""
        try:
            config: type[Part] = find(self.kind, str(block["name"])).Config
        except (ValueError, KeyError, TypeError):
            return None
        return config

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        may_be_null = type(None) in typing.get_args(source)

        def validated(block: Any) -> Part | None:  # Any: not yet checked
            return None if block is None and may_be_null else self._validated(block)

        return core_schema.no_info_plain_validator_function(validated)

    def _validated(self, block: Any) -> Part:  # Any: not yet checked
        if isinstance(block, Part):
            return block
        if not isinstance(block, dict) or not isinstance(block.get("name"), str):
            raise ValueError(f"is missing its name; expected name: one of {', '.join(available(self.kind))}")
        try:
            config = find(self.kind, block["name"]).Config
        except ValueError as error:
            # not the text itself: pydantic would read its braces as a template
            problem = PydanticCustomError("value_error", "{what}", {"what": f": {error}"})
            place = InitErrorDetails(type=problem, loc=("name",), input=block["name"])
            raise ValidationError.from_exception_data(self.kind, [place]) from error
        # strict JSON: lists may be tuples and text may be a path, but true is not a number and "2" is not 2
        part: Part = TypeAdapter(config).validate_json(json.dumps(config.expanded(block)), strict=True)
        return part
