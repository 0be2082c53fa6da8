"""Finds the form of each file of annotations by its content, and reads the files of a folder as one."""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from actloc import console
from actloc.annotations.other_forms import described
from actloc.annotations.reading import KIND, Reading, form_named
from actloc.annotations.rows import Listed
from actloc.annotations.source_file import SourceFile
from actloc.annotations.tables import COLUMNS, OPTIONAL_COLUMNS, SPREADSHEETS, rows_of, saved_as
from actloc.annotations.video_names import VIDEO_SUFFIXES
from actloc.errors import UserError
from actloc.settings import parts

_OTHERS = f"Other forms that are read: actloc ls {KIND}."


_OF_SYSTEMS = re.compile(r"\.|~\$|(thumbs\.db|desktop\.ini)$", re.IGNORECASE)
"""Hidden files, those of open documents of Office, and those that Windows keeps in folders."""


class Form(Protocol):
    """What `annotation_forms/base.py` requires of a form to be read."""

    name: str
    title: str
    short_name: str
    is_written_by_hand: bool
    reads_any_text: bool

    def recognises(self, file: SourceFile) -> bool:
        """Whether the file is of this form."""

    def is_companion(self, file: SourceFile) -> bool:
        """Whether the file belongs to files of this form and holds no segments."""

    def read(self, file: SourceFile, reading: Reading) -> Listed:
        """The rows of the file."""


@dataclass
class OwnFiles:
    """What the files of a user hold, and the form that they have."""

    form: Form
    listed: Listed
    files: list[Path]


def read(path: Path, reading: Reading, skip: Collection[Path] = ()) -> OwnFiles:
    """Reads a file, or all files of a folder and of folders in it but those in `skip`, hidden ones and videos.

    Raises UserError for a file that is of no form or of several, and where the files of a folder differ in form.
    """
    forced = named(reading.settings.annotations_form, "annotations_form") if reading.settings.annotations_form else None
    forms = [forced] if forced else list(every())
    found: list[tuple[SourceFile, Form]] = []
    companions: list[tuple[SourceFile, list[Form]]] = []
    notes: list[str] = []
    for file in map(SourceFile, files_in(path, skip)):
        if path.is_dir() and not file.head.strip():
            notes.append(f"{file.path} is empty")
            continue
        owners = [form for form in forms if form.is_companion(file)] if path.is_dir() else []
        if owners:
            companions.append((file, owners))
        else:
            found.append((file, _forced(file, forced, reading) if forced else _form_of(file, forms, reading.prefix)))
    used = {form.name: (form, file) for file, form in reversed(found)}
    if len(used) > 1:
        seen = ", ".join(f"{file.path} is {form.title}" for form, file in used.values())
        raise UserError(
            f"{path} has files of several forms: {seen}.",
            "Expected files of one form: a folder may hold a file for each video.",
            f"Move the others away, or name one file: {reading.prefix}annotations=FILE",
        )
    if not found:
        raise UserError(f"{path} contains no annotations.", "Expected files of annotations.", "Check the path.")
    form = found[0][1]
    for file, owners in companions:
        if form.name not in [owner.name for owner in owners]:
            raise _of_no_form(file, reading.prefix)
        notes.append(f"{file.path} belongs to the annotations and has no segments; it is not used")
    listed, paths = Listed(notes=notes), [file.path for file, _ in [*found, *companions]]
    while found:
        file = found.pop(0)[0]  # what was read of a file is not kept
        content = form.read(file, reading)
        if forced and file.head.strip() and not (content.holds_any or form.recognises(file)):
            raise _not_of(file, forced, reading)
        listed.add(content)
    return OwnFiles(form, listed, paths)


def files_in(path: Path, skip: Collection[Path] = ()) -> list[Path]:
    """The file itself, or the files of a folder that may be annotations."""
    if not path.is_dir():
        return [path]
    skipped = {one.resolve() for one in skip}
    found = []
    for folder, names, files in os.walk(path):
        names[:] = [one for one in names if not one.startswith(".") and (Path(folder) / one).resolve() not in skipped]
        paths = (Path(folder) / name for name in files if not _OF_SYSTEMS.match(name))
        found += [one for one in paths if one.suffix.lower() not in VIDEO_SUFFIXES and one.resolve() not in skipped]
    return sorted(found)


def every() -> Iterator[Form]:
    """All forms: actloc's own, those of --code, and those of installed packages."""
    for name in parts.names(KIND):
        yield parts.find(KIND, name).Config()


def named(name: str, option: str) -> Form:
    """The form of this name or short name, also written with dashes; raises UserError if there is none."""
    found = form_named(name)
    if found is None:
        forms = list(every())
        known = [form.name for form in forms]
        names = [*known, *(form.short_name for form in forms if form.short_name)]
        near = console.nearest(name.replace("-", "_"), names, lists_known=False)
        raise UserError(
            f"{option} {name} is no form of annotations{near}",
            f"Expected one of {', '.join(known)}.",
            f"List them: actloc ls {KIND}; a form of your own is loaded with --code FILE",
        )
    form: Form = parts.find(KIND, found).Config()
    return form


def _forced(file: SourceFile, form: Form, reading: Reading) -> Form:
    """The form that the settings name; raises UserError if the file cannot be of this form."""
    if form.recognises(file) or (form.reads_any_text and not (file.is_json or file.is_xml)):
        return form
    raise _not_of(file, form, reading)


def _not_of(file: SourceFile, form: Form, reading: Reading) -> UserError:
    return UserError(
        f"{file.path} is not {form.title}.",
        f"Expected one, as {reading.prefix}annotations_form is {form.name}.",
        "Leave this setting out: the form is seen from the content; or name the right file.",
    )


def _form_of(file: SourceFile, forms: Collection[Form], prefix: str) -> Form:
    fitting = [form for form in forms if form.recognises(file)]
    if len(fitting) > 1:
        raise UserError(
            f"{file.path} may be {' or '.join(form.title for form in fitting)}.",
            "Expected a file of one form.",
            f"Name its form: {prefix}annotations_form={fitting[0].name}",
        )
    if not fitting:
        raise _of_no_form(file, prefix)
    return fitting[0]


def _of_no_form(file: SourceFile, prefix: str) -> UserError:
    """The error that says what was seen."""
    is_zip = file.is_archive and file.path.suffix.lower() == ".zip"
    is_spreadsheet = file.path.suffix.lower() in SPREADSHEETS or (file.is_archive and not is_zip)
    if not (file.is_xml or file.is_json or is_zip or is_spreadsheet) and file.head.strip():
        try:
            next(rows_of(file.path, file.text, COLUMNS, OPTIONAL_COLUMNS), None)
        except UserError as error:
            return UserError(error.found, f"{error.expected} {_OTHERS}", error.fix)
    fix = "Export the annotations in one of these forms."
    if is_spreadsheet:
        seen = "a spreadsheet"
        fix = f"Save it as CSV in the spreadsheet program and set {prefix}annotations={saved_as(file.path)}"
    elif is_zip:
        seen, fix = "a zip archive", "Unpack it."
    elif file.root is not None:
        seen = f"XML whose root is <{file.root.tag}>"
    elif file.is_json:
        seen = described(file.json)
    else:
        seen = "empty"
    return UserError(f"{file.path} is {seen}, which is no form of annotations that actloc reads.", _OTHERS, fix)
