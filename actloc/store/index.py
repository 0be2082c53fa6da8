"""The facts about all files of a store in one file beside them, so that a large store opens without reading each.

STORE/index.json names each feature file with its size, the time it was changed and its `FeatureInfo`. It is never
needed: a file that is not listed, or not with this size and time, is opened itself, and so are all without an index.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from actloc import files
from actloc.errors import UserError
from actloc.store.info import FeatureInfo

NAME = "index.json"


class Entry(NamedTuple):
    """What the index says about one file."""

    num_bytes: int
    changed_ns: int
    info: FeatureInfo

    def is_of(self, status: os.stat_result) -> bool:
        """Whether the file has the size and the time that it had when it was listed."""
        return (status.st_size, status.st_mtime_ns) == (self.num_bytes, self.changed_ns)


class _Index(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1] = 1
    recipes: list[str]
    """Each once; the files name theirs by its number."""
    files: dict[str, Entry]


def read(folder: Path) -> dict[str, Entry]:
    """The entries by the files' names; none where the index is missing, damaged or of another version."""
    try:
        index = _Index.model_validate_json(files.read_bytes(folder / NAME))
        if not all(isinstance(json.loads(recipe), dict) for recipe in index.recipes):
            return {}
        recipe_of = {str(number): recipe for number, recipe in enumerate(index.recipes)}
        return {
            name: entry._replace(info=replace(entry.info, recipe=recipe_of[entry.info.recipe]))
            for name, entry in index.files.items()
        }
    except (OSError, UserError, ValueError, KeyError, RecursionError):
        return {}


def write(folder: Path, entries: Mapping[str, Entry]) -> None:
    """Writes the index."""
    number_of = {recipe: str(number) for number, recipe in enumerate({one.info.recipe: 0 for one in entries.values()})}
    listed = {
        name: entry._replace(info=replace(entry.info, recipe=number_of[entry.info.recipe]))
        for name, entry in sorted(entries.items())
    }
    files.write_text(folder / NAME, _Index(recipes=list(number_of), files=listed).model_dump_json() + "\n")
