"""Finds a part by name: the name in the YAML is the name of a file, a dotted name is your own module."""

import ast
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from actloc import console
from actloc.settings.sections import Part

_PACKAGE = Path(__file__).parent.parent
KINDS = ("datasets", "encoders", "sources", "detectors")
"""The folders whose files, `base.py` apart, are choices."""


def available(kind: str) -> dict[str, str]:
    """The choices of a folder with the first line of each file's docstring; imports nothing."""
    files = sorted((_PACKAGE / kind).glob("*.py"))
    return {file.stem: _first_line(file) for file in files if file.stem not in ("__init__", "base")}


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def find(kind: str, name: str) -> ModuleType:
    """Imports the part's file; raises ValueError that says what is known, or why the import failed."""
    if "." not in name and name not in available(kind):
        raise ValueError(f"{name!r} is not one of {kind}{console.nearest(name, available(kind))}")
    module_name = name if "." in name else f"actloc.{kind}.{name}"
    if "." in name and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the console script does not look in the working folder by itself
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's own module does wrong is told as such
        raise ValueError(f"the module {module_name} cannot be imported: {error}") from error
    if not hasattr(module, "Config"):
        raise ValueError(f"the module {module_name} has no class Config")
    return module


class Chosen:
    """Marks a block whose `name` chooses a file of a folder: `encoder: Annotated[EncoderConfig, Chosen("encoders")]`.

    The block is checked by that file's `Config`, so a part may hold parts, and the errors of the inner one keep their
    place.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def settings_class(self, block: Any) -> type[Part] | None:  # Any: not yet checked
        """The `Config` that checks the block; None where the block names no part that there is."""
        try:
            config: type[Part] = find(self.kind, str(block["name"])).Config
        except (ValueError, KeyError, TypeError):
            return None
        return config

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validated)

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
        # strict JSON: lists may be tuples and text may be a path, but true is no number and "2" no 2
        part: Part = TypeAdapter(config).validate_json(json.dumps(block), strict=True)
        return part
