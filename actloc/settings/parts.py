"""Finds a part by name: the name in the YAML is the name of a file, a dotted name is your own module."""

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType

from actloc import console

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
