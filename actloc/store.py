"""The feature store: one small HDF5 file per video, each whole, sealed and provable (reliability R1, R5, R12).

STORE/store.json     the settings that determine the features; a store holds features of one recipe
STORE/<id>.h5        dataset "features" (T, C) and `FeatureInfo` as attributes; the id is percent-encoded
STORE/failed.jsonl   one line per video that could not be used; failed.2-of-8.jsonl is that of one part of the work

Every byte of a file is checked whenever it is read; `verify` looks at every checksum there is.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from actloc import files
from actloc.errors import UserError
from actloc.feature_writer import FeatureWriter
from actloc.stored_file import DamagedError, is_finite, opened, values, values_as_stored
from actloc.structures import Grid

Dtype = Literal["float32", "float16"]
Features = NDArray[np.float32]

_RECIPE_FILE, _SUFFIX = "store.json", ".h5"
_LATER_SETTINGS: dict[str, dict[str, Any]] = {  # Any: JSON values
    "encoder": {"precision": "float32", "channels_last": False},
    "features": {"decode_fps": None, "frame_interval": 1},
}
"""What features were made with whose recipe is older than these settings."""
_LATER_SETTINGS_OF = {"r2plus1d": {"output": "features"}, "slowfast": {"output": "features"}}
"""The same of one encoder's own settings."""
IMPORTED = "imported_from"
"""The part of a recipe that says which files of others the features come from."""


@dataclass(frozen=True)
class FeatureInfo:
    """What is known about one video's features."""

    video_id: str
    encoder: str
    """What made the features; of imported ones, the recipe's name."""
    weights_sha256: str | None
    recipe: str
    """The settings that determine the features, as JSON."""
    fps: float
    clip_frames: int
    stride_frames: int
    align: str
    offset_frames: float
    """The centre of the first clip."""
    frame_count: int
    """Frames of the video at `fps`."""
    duration_s: float
    reader: str
    """What decoded the video, or `folders` where other projects' files were imported."""
    source_bytes: int
    """Size of the video's file, or of the files that were imported."""
    source_sha256: str
    """Digest of the video's file; of several files, the digest of their digests."""
    code_version: str
    steps: int = 0
    """T; the store fills it in."""
    channels: int = 0
    """C; the store fills it in."""


class FeatureStore:
    """The features of many videos in `folder`; looking at it creates and changes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._infos: dict[str, FeatureInfo] = {}

    def recipe(self) -> dict[str, Any] | None:  # Any: JSON values
        """The settings all features here were made with; None for a store that is not begun."""
        path = self.folder / _RECIPE_FILE
        if not path.is_file():
            return None
        content = files.read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("recipe"), dict):
            raise UserError(
                f"{path} does not say how the features were made.",
                "Expected the file that extract-features and import-features write.",
                "Make the store again, with --overwrite.",
            )
        return complete(content["recipe"])

    def check_recipe(self, recipe: dict[str, Any]) -> None:
        """Raises UserError listing each difference if the store holds features of another recipe."""
        found, wanted = self.recipe(), complete(recipe)
        if found is None or found == wanted:
            return
        lines = differences(found, wanted, "the store", "the settings")
        raise UserError(
            "\n  ".join([f"{self.folder} holds features made with other settings:", *lines]),
            "One store holds features of one recipe.",
            f"Choose another folder, or replace the store: {_command(recipe, self.folder)} --overwrite",
        )

    def made_by(self) -> str:
        """The command that makes what is lacking here."""
        return _command(self.recipe(), self.folder)

    def begin(self, recipe: dict[str, Any], *, overwrite: bool = False) -> None:
        """Makes the store ready for features of `recipe`; `overwrite` throws away what it holds.

        Raises UserError where another recipe's features are, or HDF5 files that no store holds.
        """
        if self.recipe() is None and any(self.folder.glob(f"*{_SUFFIX}")):
            raise UserError(
                f"{self.folder} holds {_SUFFIX} files and is not a feature store: it has no {_RECIPE_FILE}.",
                "Expected a folder that actloc made, an empty one, or none.",
                "Choose another folder.",
            )
        with files.taking_turns(self.folder):  # of several that begin at once, one writes and the others check
            if overwrite:
                for video_id in self.ids():
                    files.remove(self._path(video_id))
                for path in self._failed_files():
                    files.remove(path)
            else:
                self.check_recipe(recipe)
            if self.recipe() != complete(recipe):
                files.write_json(self.folder / _RECIPE_FILE, {"version": 1, "recipe": recipe})

    def ids(self) -> list[str]:
        """The videos with features, sorted."""
        names = [path.name.removesuffix(_SUFFIX) for path in self.folder.glob(f"*{_SUFFIX}")]
        return sorted(files.id_of_safe_name(name) or self._long_id(name) for name in names if name[0] != ".")

    def has(self, video_id: str) -> bool:
        """Whether the video's features are there."""
        return self._path(video_id).is_file()

    def info(self, video_id: str) -> FeatureInfo:
        """What is known about the video's features; raises UserError if the file is damaged.

        Looks at a file once; `read` looks every time.
        """
        if video_id not in self._infos:
            with self._opened(video_id) as file:
                self._infos[video_id] = _info(file)
        return self._infos[video_id]

    def source(self, video_id: str) -> tuple[int, str]:
        """Size and sha256 of the file the features were made from; looks at nothing else, so it is quick."""
        try:
            with h5py.File(self._path(video_id), "r") as file:
                return int(file.attrs["source_bytes"]), str(file.attrs["source_sha256"])
        except (OSError, KeyError) as error:
            raise self._bad(video_id, f"are damaged: {error}") from error

    def num_bytes(self) -> int:
        """Bytes of all feature files."""
        return sum(path.stat().st_size for path in self.folder.glob(f"*{_SUFFIX}"))

    def written(self, video_id: str) -> tuple[int, int]:
        """When the features were written and when their file came here, in ns of the file system's clock."""
        status = self._path(video_id).stat()
        return status.st_mtime_ns, status.st_ctime_ns

    def read(self, video_id: str) -> Features:
        """The features (T, C) as float32; raises UserError if the file is absent, damaged or holds nan or inf."""
        with self._opened(video_id) as file:
            features = values(file)
        if not is_finite(features):
            raise self._bad(video_id, "hold values that are not finite")
        return features.numpy()

    def writer(self, video_id: str, dtype: Dtype = "float32") -> FeatureWriter:
        """What takes the video's features row by row; they are there once it is finished."""
        self._infos.pop(video_id, None)
        return FeatureWriter(self._path(video_id), dtype)

    def write(self, video_id: str, features: Features, info: FeatureInfo, dtype: Dtype = "float32") -> FeatureInfo:
        """Stores features (T, C); returns what is then known of them.

        Raises VideoError `non_finite` or `out_of_range` instead of storing nan or inf.
        """
        with self.writer(video_id, dtype) as writer:
            writer.append(features)
            return writer.finish(info)

    def failed(self) -> list[dict[str, Any]]:  # Any: JSON values
        """The videos that could not be used and are not there now: id, path, reason, detail, expected, found."""
        rows = {row["id"]: row for path in self._failed_files() for row in files.read_json_lines(path)}
        return [row for row in rows.values() if not self.has(row["id"])]

    def write_failed(self, rows: list[dict[str, Any]], part: str = "") -> None:
        """Replaces the list of videos that could not be used; that of one part of the work, or that of all."""
        own = self.failed_file(part)
        if rows:
            files.write_json_lines(own, rows)
        for path in self._failed_files():
            if (path == own and not rows) or (path != own and not part):
                files.remove(path)

    def failed_file(self, part: str = "") -> Path:
        """Where the videos are listed that could not be used."""
        return self.folder / (f"failed.{part}.jsonl" if part else "failed.jsonl")

    def _failed_files(self) -> list[Path]:
        return sorted(self.folder.glob("failed*.jsonl"))

    def verify(self) -> list[str]:
        """Every problem found by reading everything: seals, checksums, recipes, finiteness."""
        problems = []
        recipe = self.recipe()
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            try:
                info, features = _proven(path.read_bytes())
            except DamagedError as error:
                problems.append(f"{path.name}: {error}")
                continue
            if files.safe_name(info.video_id) + _SUFFIX != path.name:
                problems.append(f"{path.name}: holds the features of {info.video_id!r}")
            if complete(json.loads(info.recipe)) != recipe:
                problems.append(f"{path.name}: was made with other settings than the store's")
            if not np.isfinite(features).all():
                problems.append(f"{path.name}: holds values that are not finite")
        return problems

    def _path(self, video_id: str) -> Path:
        return self.folder / (files.safe_name(video_id) + _SUFFIX)

    def _long_id(self, name: str) -> str:
        """The id behind a name that was shortened."""
        try:
            with opened((self.folder / (name + _SUFFIX)).read_bytes()) as file:
                return str(file.attrs["video_id"])
        except DamagedError as error:
            raise self._bad(name, f"are damaged: {error}") from error

    @contextmanager
    def _opened(self, video_id: str) -> Iterator[h5py.File]:
        """The video's file, every byte of it as it was written."""
        try:
            with opened(self._path(video_id).read_bytes()) as file:
                found = file.attrs["video_id"]
                if found != video_id:
                    raise self._bad(video_id, f"are those of {found}")
                yield file
        except FileNotFoundError as error:
            raise UserError(
                f"{self.folder} has no features of {video_id}.",
                f"It has those of {len(self.ids())} videos.",
                f"Make them: {self.made_by()}",
            ) from error
        except DamagedError as error:
            raise self._bad(video_id, f"are damaged: {error}") from error

    def _bad(self, video_id: str, what: str) -> UserError:
        return UserError(
            f"The features of {video_id} in {self.folder} {what}.",
            f"Expected {self._path(video_id).name} as actloc wrote it.",
            f"See what else is wrong: actloc verify {self.folder}. Delete that file and run {self.made_by()}",
        )


def _command(recipe: dict[str, Any] | None, folder: Path) -> str:
    return f"actloc import-features CONFIG {folder}" if IMPORTED in (recipe or {}) else "actloc extract-features CONFIG"


def grid(info: FeatureInfo) -> Grid:
    """The bridge between seconds and the rows of the video's features."""
    return Grid(info.fps, info.stride_frames, info.offset_frames)


def fingerprint(features: NDArray[Any], info: FeatureInfo) -> str:
    """The sha256 of what the file means, whatever file it stands in: metadata as JSON, then the array's bytes."""
    metadata = json.dumps(asdict(info), sort_keys=True).encode()
    return files.sha256_of_bytes(metadata, np.ascontiguousarray(features).tobytes())


def _info(file: h5py.File) -> FeatureInfo:
    values = {field.name: _plain(file.attrs[field.name]) for field in fields(FeatureInfo)}
    return FeatureInfo(**{**values, "weights_sha256": values["weights_sha256"] or None})


def _proven(content: bytes) -> tuple[FeatureInfo, NDArray[Any]]:
    """Info and features (T, C) as stored, by every checksum there is; raises DamagedError."""
    with opened(content, prove=True) as file:
        info, features = _info(file), values_as_stored(file)
        written = file.attrs["sha256"]
    if written != fingerprint(features, info):
        raise DamagedError("its checksum does not fit its features")
    return info, features


def _plain(value: Any) -> Any:  # Any: what HDF5 attributes hold
    return value.item() if isinstance(value, np.generic) else value


def complete(recipe: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """The recipe with the settings that came after it; that of imported features stays as it is."""
    if "encoder" not in recipe:
        return recipe
    own = _LATER_SETTINGS_OF.get(recipe["encoder"].get("name"), {})
    later = {**_LATER_SETTINGS, "encoder": {**_LATER_SETTINGS["encoder"], **own}}
    return {**recipe, **{block: {**settings, **recipe.get(block, {})} for block, settings in later.items()}}


def differences(first: dict[str, Any], second: dict[str, Any], name: str, other_name: str) -> list[str]:
    """`key: value in NAME, value in OTHER` for each setting in which two recipes differ."""
    a, b = _flat(first), _flat(second)
    return [
        f"{key}: {a.get(key, 'absent')} in {name}, {b.get(key, 'absent')} in {other_name}"
        for key in sorted({*a, *b})
        if a.get(key) != b.get(key)
    ]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    flat = {}
    for key, value in settings.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat
