"""The feature store: one small HDF5 file per video, written completely or not at all, and protected by checksums.

STORE/store.json     the settings that determine the features; a store has features of one recipe
STORE/<id>.h5        dataset "features" (T, C) and `FeatureInfo` as attributes; the id is percent-encoded
STORE/failed.jsonl   one line per video that could not be used; failed.2-of-8.jsonl for one part of the work
STORE/index.json     the facts about each file, so that opening a large store does not read every file

Every byte of a file is checked whenever its features are read, or of a window of a long video, every byte of the chunks
that it is in. `verify` checks every checksum.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import contextlib
import json
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from actloc import console, files
from actloc.damage import refused
from actloc.errors import UserError
from actloc.settings.choices import Dtype
from actloc.settings.sameness import differences
from actloc.store import index, old_features
from actloc.store.info import FeatureInfo, Features
from actloc.store.sealed_file import (
    DamagedError,
    FileState,
    info_in,
    is_finite,
    opened,
    opened_in_place,
    proven,
    rows,
    values,
)
from actloc.store.writer import FeatureWriter

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.store.on_disk import ReadRows

_RECIPE_FILE, _SUFFIX = "store.json", ".h5"
IMPORTED = "imported_from"
"""The part of a recipe that says which files of other projects the features come from."""
_LATER_SETTINGS: dict[str, dict[str, Any]] = {  # Any: JSON values
    IMPORTED: {"channels": None},
    "encoder": {"precision": "float32", "channels_last": False},
    "features": {"decode_fps": None, "frame_interval": 1},
}
"""The values of these settings in recipes that are older than the settings."""
_LATER_SETTINGS_OF = {"r2plus1d": {"output": "features"}, "slowfast": {"output": "features"}}
"""The same for the settings of single encoders."""
_NOT_A_FEATURE_FILE = (DamagedError, OSError, KeyError, RuntimeError, TypeError, ValueError)
"""What a file with other contents raises."""


class FeatureStore:
    """The features of many videos in `folder`; reading creates and changes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._infos: dict[str, FeatureInfo] = {}
        self._index: dict[str, index.Entry] | None = None
        self._opened_before: dict[str, FileState] = {}

    def recipe(self) -> dict[str, Any] | None:  # Any: JSON values
        """The settings that all features here were made with; None if the store has not begun.

        Where store.json is damaged, every feature file still records them. Raises UserError if those are damaged too.
        """
        recipe, path = self._written_recipe(), self.folder / _RECIPE_FILE
        if recipe is not None or not path.is_file():
            return recipe
        feature_files = sorted(self.folder.glob(f"*{_SUFFIX}"))
        for file in feature_files:
            try:
                info, _ = proven(files.read_bytes(file))
            except DamagedError:
                continue
            console.warn(f"{path} is damaged; using the settings that {file.name} records")
            return complete(json.loads(info.recipe))
        if not feature_files:
            return None
        raise UserError(
            f"{path} does not say how the features were made.",
            "Expected the file that extract-features and import-features write.",
            "Make the store again with --overwrite.",
        )

    def _written_recipe(self) -> dict[str, Any] | None:  # Any: JSON values
        """What store.json says; None if it is missing or damaged."""
        path = self.folder / _RECIPE_FILE
        try:
            content = files.read_json(path) if path.is_file() else None
        except UserError:
            return None
        recipe = content.get("recipe") if isinstance(content, dict) else None
        blocks = ("encoder", "features", IMPORTED)
        if not isinstance(recipe, dict) or not all(isinstance(recipe.get(block, {}), dict) for block in blocks):
            return None
        return complete(recipe)

    def check_recipe(self, recipe: dict[str, Any]) -> None:
        """Raises UserError that lists each difference if the store has features of another recipe."""
        found, wanted = self.recipe(), complete(recipe)
        if found is None or found == wanted:
            return
        lines = differences(found, wanted, "in the store", "in the settings")
        of_code = all(line.startswith("code.") for line in lines)
        raise UserError(
            "\n  ".join([f"{self.folder} has features made with other {'code' if of_code else 'settings'}:", *lines]),
            "A store can only have features of one recipe.",
            f"Choose another folder, or replace the store: {_command(recipe, self.folder)} --overwrite"
            + ("; or continue with the new code: --allow-changed-code" if of_code else ""),
        )

    def command_to_make(self) -> str:
        """The command that makes the features that are missing here; that of an import has a config of its own."""
        recipe = self.recipe() or {}
        if IMPORTED not in recipe:
            return _command(recipe, self.folder)
        name = shlex.quote(str(recipe[IMPORTED].get("recipe")))
        return f"actloc import-features IMPORT_CONFIG {shlex.quote(str(self.folder))} --recipe {name}"

    def begin(self, recipe: dict[str, Any], *, overwrite: bool = False) -> None:
        """Makes the store ready for features of `recipe`; `overwrite` sets the features it has aside.

        Raises UserError if it has features of another recipe, or if the folder has HDF5 files but is not a store.
        """
        if not (self.folder / _RECIPE_FILE).is_file() and any(self.folder.glob(f"*{_SUFFIX}")):
            raise UserError(
                f"{self.folder} has {_SUFFIX} files and is not a feature store: it has no {_RECIPE_FILE}.",
                "Expected a feature store, an empty folder, or a folder that does not exist yet.",
                "Choose another folder.",
            )
        with files.taking_turns(self.folder):  # if several processes begin together, one writes and the others check
            if overwrite:
                old_features.set_aside(path for path in self.folder.glob(f"*{_SUFFIX}") if path.is_file())
                for path in [*self._failed_files(), self.folder / index.NAME]:
                    files.remove(path)
                self._infos, self._index = {}, None
            else:
                self.check_recipe(recipe)
            if self._written_recipe() != complete(recipe):
                files.write_json(self.folder / _RECIPE_FILE, {"version": 1, "recipe": recipe})

    def ids(self) -> list[str]:
        """The videos with features, sorted."""
        names = (path.name.removesuffix(_SUFFIX) for path in self.folder.glob(f"*{_SUFFIX}"))
        return sorted(files.id_of_safe_name(name) or self._long_id(name) for name in names if name[0] != ".")

    def has(self, video_id: str) -> bool:
        """Whether the store has the video's features."""
        return self._path(video_id).is_file()

    def having(self, video_ids: Iterable[str]) -> set[str]:
        """Those of many videos whose features the store has; it looks at its folder once."""
        if not self.folder.is_dir():
            return set()
        with os.scandir(self.folder) as entries:
            names = {entry.name for entry in entries if entry.is_file()}
        return {video_id for video_id in video_ids if self._path(video_id).name in names}

    def info(self, video_id: str) -> FeatureInfo:
        """The facts about the video's features; raises UserError if the file is missing or damaged.

        Those of the index, if it lists the file as it is; else the file is checked, once. `read` checks it every time.
        """
        if video_id not in self._infos:
            if (listed := self._listed(video_id)) is not None:
                self._infos[video_id] = listed
            else:
                with self._opened(video_id) as file:
                    self._infos[video_id] = info_in(file)
        return self._infos[video_id]

    def _listed(self, video_id: str) -> FeatureInfo | None:
        """What the index says about a video, if the file has the size and time that it had then."""
        if self._index is None:
            self._index = index.read(self.folder)
        path = self._path(video_id)
        entry = self._index.get(path.name)
        with contextlib.suppress(OSError):
            if entry is not None and entry.is_of(path.stat()) and entry.info.video_id == video_id:
                return entry.info
        return None

    def write_index(self) -> None:
        """Lists the facts about all files, of those that are listed already without opening them.

        A folder that cannot be written keeps what it has: the index only saves time.
        """
        if not os.access(self.folder, os.W_OK):
            return
        files.remove_leftovers(self.folder)
        with files.taking_turns(self.folder):  # parts of the work may end at the same time
            before, entries = index.read(self.folder), {}
            for path in filter(Path.is_file, self.folder.glob(f"*{_SUFFIX}")):
                status, listed = path.stat(), before.get(path.name)
                if listed is not None and listed.is_of(status):
                    entries[path.name] = listed
                    continue
                # what is damaged is not listed
                with contextlib.suppress(*_NOT_A_FEATURE_FILE), h5py.File(path, "r") as file:
                    entries[path.name] = index.Entry(status.st_size, status.st_mtime_ns, info_in(file))
            if entries != before:
                with contextlib.suppress(OSError):  # such as a full disk
                    index.write(self.folder, entries)
            self._index = entries

    def source(self, video_id: str) -> tuple[int, str]:
        """Size and sha256 of the file that the features were made from; fast, since it checks nothing else."""
        if (listed := self._listed(video_id)) is not None:
            return listed.source_bytes, listed.source_sha256
        path = self._path(video_id)
        files.check_regular(path)
        with refused(path, lambda what: self._bad(video_id, f"are damaged: {what}")), h5py.File(path, "r") as file:
            size, sha256 = file.attrs["source_bytes"], file.attrs["source_sha256"]
        return int(size), str(sha256)

    def num_bytes(self) -> int:
        """Size of all feature files in bytes."""
        return sum(path.stat().st_size for path in self.folder.glob(f"*{_SUFFIX}"))

    def written(self, video_id: str) -> tuple[int, int]:
        """When the features were written and when their file was put here, in ns of the file system's clock."""
        return (status := self._path(video_id).stat()).st_mtime_ns, status.st_ctime_ns

    def read(self, video_id: str) -> Features:
        """Reads the features (T, C) as float32; raises UserError if the file is missing, damaged or has nan or inf."""
        with self._opened(video_id) as file:
            features = values(file)
        if not is_finite(features):
            raise self._bad(video_id, "contain values that are not finite")
        return features.numpy()

    def rows(self, video_id: str, *, are_checked: bool = True) -> ReadRows:
        """A function that reads the features (n, C) float32 of the steps from one to another, and no others.

        Every byte of the file is checked now, or those that are read when they are read, unless `are_checked`. The
        function raises UserError if they are damaged, or nan or inf, or if the file is another one by then.
        """
        path = self._path(video_id)
        before = None if are_checked else self._opened_before.get(video_id)
        with self._described(video_id), opened_in_place(path, before, is_checked=are_checked) as (file, state):
            self._check_info(video_id, file)
        self._opened_before[video_id] = state

        def read(start: int, end: int) -> Tensor:
            with self._described(video_id), opened_in_place(path, state) as (file, now):
                if now != state:
                    raise self._replaced(video_id)
                part = rows(file, start, end)
            if not is_finite(part):
                raise self._bad(video_id, "contain values that are not finite")
            return part

        return read

    def writer(self, video_id: str, dtype: Dtype = "float32") -> FeatureWriter:
        """A writer that takes the video's features row by row; `finish` puts them into the store."""
        self._infos.pop(video_id, None)
        return FeatureWriter(self._path(video_id), dtype)

    def write(self, video_id: str, features: Features, info: FeatureInfo, dtype: Dtype = "float32") -> FeatureInfo:
        """Stores features (T, C); returns the facts about them.

        Raises VideoError `non_finite` or `out_of_range` instead of storing nan or inf.
        """
        with self.writer(video_id, dtype) as writer:
            writer.append(features)
            return writer.finish(info)

    def delete(self, video_id: str) -> None:
        """Deletes the video's features, if there are any."""
        self._infos.pop(video_id, None)
        files.remove(self._path(video_id))

    def is_of_recipe(self, path: Path) -> bool:
        """Whether a file, of any name, has whole features of the store's recipe."""
        with contextlib.suppress(DamagedError, OSError):
            return complete(json.loads(proven(files.read_bytes(path))[0].recipe)) == self.recipe()
        return False

    def failed(self) -> list[dict[str, Any]]:  # Any: JSON values
        """The videos that failed and have no features yet, as rows: id, path, reason, detail, expected, found."""
        listed = (row for path in self._failed_files() for row in files.read_json_lines(path, skip_damaged=True))
        rows = {row["id"]: row for row in listed if isinstance(row.get("id"), str)}
        return [row for row in rows.values() if not self.has(row["id"])]

    def write_failed(self, rows: list[dict[str, Any]], part: str = "") -> None:
        """Replaces the list of failed videos: that of one part of the work, or that of all."""
        own = self.failed_file(part)
        if rows:
            files.write_json_lines(own, rows)
        for path in self._failed_files():
            if (path == own and not rows) or (path != own and not part):
                files.remove(path)

    def failed_file(self, part: str = "") -> Path:
        """The file that lists the failed videos."""
        return self.folder / (f"failed.{part}.jsonl" if part else "failed.jsonl")

    def _failed_files(self) -> list[Path]:
        return sorted(self.folder.glob("failed*.jsonl"))

    def verify(self) -> list[str]:
        """Reads everything and returns every problem: seals, checksums, recipes, values that are not finite."""
        problems = []
        recipe = self.recipe()
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            try:
                info, features = proven(files.read_bytes(path))
            except DamagedError as error:
                problems.append(f"{path.name}: {error}")
                continue
            if files.safe_name(info.video_id) + _SUFFIX != path.name:
                problems.append(f"{path.name}: contains the features of {info.video_id!r}")
            if complete(json.loads(info.recipe)) != recipe:
                problems.append(f"{path.name}: was made with other settings than those of the store")
            if not np.isfinite(features).all():
                problems.append(f"{path.name}: contains values that are not finite")
        return problems

    def _path(self, video_id: str) -> Path:
        return self.folder / (files.safe_name(video_id) + _SUFFIX)

    def _long_id(self, name: str) -> str:
        """The id of a file whose name was shortened."""
        try:
            with opened(files.read_bytes(self.folder / (name + _SUFFIX))) as file:
                return str(file.attrs["video_id"])
        except DamagedError as error:
            raise self._bad(name, f"are damaged: {error}") from error

    @contextlib.contextmanager
    def _opened(self, video_id: str) -> Iterator[h5py.File]:
        """Opens the video's file, with every byte checked."""
        with self._described(video_id), opened(files.read_bytes(self._path(video_id))) as file:
            self._check_info(video_id, file)
            yield file

    def _check_info(self, video_id: str, file: h5py.File) -> None:
        """Raises UserError if the file is another video's, or another one than before."""
        if file.attrs["video_id"] != video_id:
            raise self._bad(video_id, f"are those of {file.attrs['video_id']}")
        if video_id in self._infos and self._infos[video_id] != info_in(file):
            raise self._replaced(video_id)

    def _replaced(self, video_id: str) -> UserError:
        return UserError(
            f"The features of {video_id} in {self.folder} are not those that were there before.",
            f"Expected what {index.NAME} lists, or what was there when this command started.",
            f"Run the command again; if the same happens, delete {self.folder / index.NAME} first",
        )

    @contextlib.contextmanager
    def _described(self, video_id: str) -> Iterator[None]:
        """Says which features are missing or damaged."""
        try:
            yield
        except FileNotFoundError as error:
            raise UserError(
                f"{self.folder} has no features of {video_id}.",
                f"The store has features of {console.count(len(self.ids()), 'video')}.",
                f"Run: {self.command_to_make()}",
            ) from error
        except DamagedError as error:
            raise self._bad(video_id, f"are damaged: {error}") from error

    def _bad(self, video_id: str, what: str) -> UserError:
        return UserError(
            f"The features of {video_id} in {self.folder} {what}.",
            f"Expected {self._path(video_id).name} as actloc wrote it.",
            f"Find all damaged files: actloc verify {self.folder}; delete them and run: {self.command_to_make()}",
        )


def _command(recipe: dict[str, Any] | None, folder: Path) -> str:
    if IMPORTED in (recipe or {}):
        return f"actloc import-features CONFIG {folder} [SETTINGS]"
    return "actloc extract-features CONFIG [SETTINGS]"


def complete(recipe: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """The recipe with defaults for settings added later."""
    own = _LATER_SETTINGS_OF.get(recipe.get("encoder", {}).get("name"), {})
    later = {**_LATER_SETTINGS, "encoder": {**_LATER_SETTINGS["encoder"], **own}}
    return {block: {**later[block], **made} if block in later else made for block, made in recipe.items()}
