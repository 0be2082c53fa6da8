"""Checks blocks of settings: for everything wrong, where it is, what was found and what was expected."""

import json
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from actloc import console
from actloc.errors import Problem
from actloc.settings import meanings
from actloc.settings.parts import Chosen
from actloc.settings.sections import InputPath
from actloc.settings.yaml_text import KeyPath, SettingsDocument, dotted

Suggest = Callable[[str, Iterable[str]], str]
"""Gives the setting that a wrong name may mean, from the name with its section and the section's settings."""
LEFT_OPEN = "???"
"""The value of a setting that a file leaves to the user, because nobody has published it (as in Hydra's files)."""


def validated(  # Any: pydantic's type forms have no type
    document: SettingsDocument, key: str, form: Any, suggest: Suggest
) -> Any:
    """The block `key` as `form`, a section's class or a marked part; None with `document.problems`, if it is bad."""
    data = document.data.get(key)
    data = _with_nulls(_settings_class(form, (), data), {} if data is None else data)
    try:
        # strict JSON: lists may be tuples and text may be a path, but true is not a number and "2" is not 2
        return TypeAdapter(form).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        found: dict[KeyPath, str] = {}
        for details in error.errors(include_url=False):
            path, what = _explain(form, key, data, details, suggest)
            found[path] = f"{found[path]}, or {what.partition('expected ')[2]}" if path in found else what
        for path, what in found.items():
            if _at(data, path[1:]) == LEFT_OPEN:
                found[path] = _to_fill_in(form, data, path, what)
        document.problems += [problem(document, path, what) for path, what in found.items()]
    return None


def _at(data: Any, path: KeyPath) -> Any:  # Any: YAML values
    for step in path:
        data = data.get(step) if isinstance(data, dict) else None
    return data


def _to_fill_in(form: Any, data: Any, path: KeyPath, what: str) -> str:  # Any: as above
    """What to write for a setting that the file leaves to the user, from `what` is wrong with its value."""
    expected = what.partition("expected ")[2].partition(". Known: ")[0]
    section = _settings_class(form, path[1:-1], data)
    meaning = meanings.meaning(section, str(path[-1])) if section is not None else ""
    known = f" ({meaning.rstrip('.')})" if meaning else ""
    return f"is required, and the file leaves it to you{known}; write {dotted(path)}=VALUE, expected {expected}"


def problem(document: SettingsDocument, path: KeyPath, what: str) -> Problem:
    """`what` is wrong with the setting at `path`; text that begins with a colon follows its name without a space."""
    return Problem(document.where(path), f"{dotted(path)} {what}".replace(" :", ":"))


def missing_inputs(document: SettingsDocument, path: KeyPath, section: BaseModel) -> Iterable[Problem]:
    """A problem for each file or folder of the user's that does not exist."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from missing_inputs(document, (*path, name), value)
        for mark in field.metadata:
            if isinstance(mark, InputPath) and isinstance(value, Path) and not mark.exists(value):
                names = [entry.name for entry in value.parent.iterdir()] if value.parent.is_dir() else []
                what = f": the {mark.kind} {value} does not exist{console.nearest(value.name, names)}"
                yield problem(document, (*path, name), what)


def _with_nulls(section: type[BaseModel] | None, data: Any) -> Any:  # Any: YAML values, not checked yet
    """The block with null for `none`, Python's word, wherever a setting may be null and is not free text."""
    if section is None or not isinstance(data, dict):
        return data
    changed = dict(data)
    for name, value in data.items():
        field = section.model_fields.get(name) or _field_once_named(section, name)
        if field is not None and isinstance(value, dict):
            changed[name] = _with_nulls(_inner_class(field, value), value)
        elif field is not None and value in ("none", "None") and _may_be_null(field):
            changed[name] = None
    return changed


def _field_once_named(section: type[BaseModel], name: str) -> FieldInfo | None:
    """The setting that has this name as another one, for files that are older than its own name."""
    aliased = ((field, field.validation_alias) for field in section.model_fields.values())
    return next((field for field, names in aliased if isinstance(names, AliasChoices) and name in names.choices), None)


def _may_be_null(field: FieldInfo) -> bool:
    if typing.get_origin(field.annotation) not in (typing.Union, types.UnionType):
        return False
    members = typing.get_args(field.annotation)
    named = [choice for member in members for choice in typing.get_args(member)]
    return type(None) in members and str not in members and "none" not in named


def _settings_class(form: Any, location: KeyPath, data: Any) -> type[BaseModel] | None:  # Any: as above
    """The class that checks the block at `location` below `form`; the data names the parts on the way."""
    marks = [mark for mark in getattr(form, "__metadata__", ()) if isinstance(mark, Chosen)]
    section = marks[0].settings_class(data) if marks else _model_in(form)
    for step in location:
        field = section.model_fields.get(str(step)) if section else None
        data = data.get(step) if isinstance(data, dict) else None
        section = _inner_class(field, data) if field else None
    return section


def _inner_class(field: FieldInfo, data: Any) -> type[BaseModel] | None:  # Any: as above
    marks = [mark for mark in field.metadata if isinstance(mark, Chosen)]
    return marks[0].settings_class(data) if marks else _model_in(field.annotation)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # Any: as above
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
    return None


def _explain(  # Any: as above
    form: Any, key: str, data: Any, details: ErrorDetails, suggest: Suggest
) -> tuple[KeyPath, str]:
    kind, location = details["type"], details["loc"]
    if kind == "missing":
        return (key, *location), "is missing"
    if kind == "extra_forbidden":
        section = _settings_class(form, location[:-1], data)
        siblings = [] if section is None else list(section.model_fields)
        return (key, *location), f"is not a setting{suggest(dotted((key, *location)), siblings)}"
    path = (key, *_part_in_data(data, location))
    found = json.dumps(details["input"], ensure_ascii=False)
    if kind == "model_type":
        return path, f": found {found}, expected a block of settings, {dotted(path)}.KEY=VALUE"
    expected = details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if kind == "value_error":
        section = _settings_class(form, location, data)
        name, colon, rest = expected.partition(": ")
        if colon and section is not None and name.partition(".")[0] in section.model_fields:
            return (*path, *name.split(".")), f": {rest}"  # a check of the whole block that names the setting
        return path, expected
    if kind == "string_pattern_mismatch":  # the setting's own words, not a regular expression
        section = _settings_class(form, location[:-1], data)
        expected = ((meanings.meaning(section, str(location[-1])) if section else "") or expected).rstrip(".")
    hint = ""
    if kind == "literal_error" and isinstance(details["input"], str):
        choices = [choice.strip("' ") for choice in expected.replace(" or ", ",").split(",")]
        hint = console.nearest(details["input"], choices) if len(choices) > 1 else ""
    return path, f": found {found}, expected {expected}{hint}"


def _part_in_data(data: Any, location: KeyPath) -> KeyPath:  # Any: as above
    """The part of an error's location that is in the data; the rest are names of union members."""
    real: list[str | int] = []
    for step in location:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            break
        real.append(step)
    return tuple(real)
