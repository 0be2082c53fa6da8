"""Reads one video's features as other projects publish them: in single files, or in datasets of an HDF5 file.

A .mmap is a file of TALLFormer's memory bank: float32 numbers in C order and nothing else. The shapes of all files of
a folder are in one JSON file beside them: {NAME: {"num_frames": N, "feat_shape": [T, C]}}.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import functools
import json
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from actloc import console, files
from actloc.damage import is_hollow, refused
from actloc.errors import UserError, VideoReason
from actloc.store import array_pickles, csv_features
from actloc.store.sealed_file import is_finite

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".pkl", ".pickle", ".csv", ".mmap")
_EXPECTED = "Expected an array of numbers with two dimensions (steps and channels)."
_FIX = (
    "Download the file again, or check features.path, features.suffix and features.key; another form is read after "
    "numpy.save(FILE, ARRAY) in the program that reads it."
)
_META_NAMES = ("meta_val.json", "meta.json")
_META_ENTRY = '{"num_frames": N, "feat_shape": [T, C]}'
_META_FIX = "Copy the file again, together with the JSON file of shapes that the bank came with."


class FeatureFileError(UserError):
    """A video's features cannot be used; `reason` is written to `failed.jsonl`."""

    def __init__(self, reason: VideoReason, found: str, expected: str, fix: str) -> None:
        super().__init__(found, expected, fix)
        self.reason: VideoReason = reason


class _OddError(Exception):
    """The file can be read but contains something else."""


@dataclass(frozen=True)
class _Header:
    """The shape in an array's header, for files whose values take long to read."""

    shape: tuple[int, ...] | None
    """None for a dataset of HDF5 that holds nothing at all."""


@dataclass(frozen=True)
class _Cut:
    """The part of an array that was asked for, and the shape of all of it."""

    values: Any  # Any: an array
    shape: tuple[int, ...]


@dataclass(frozen=True)
class FeatureFile:
    """Where one video's features are; reading them never runs code from the file."""

    path: Path
    dataset: str | None = None
    """The name inside an HDF5 file; None if the file has the features of this video only."""
    key: str | None = None
    """The name inside a .npz, or inside a .pt or .pkl that contains a dictionary."""
    part: tuple[slice, ...] = ()
    """The rows and columns that belong to the video; empty for all."""

    def exists(self) -> bool:
        """Whether the file exists and, if it is an HDF5 file, has the dataset."""
        return self.path.is_file() and (self.dataset is None or self.dataset in names_in_hdf5(self.path))

    def shape(self) -> tuple[int, int]:
        """The array's shape, read without its values if the format allows that."""
        rows, columns = self._load(only_shape=True)
        return int(rows), int(columns)

    @property
    def has_rows(self) -> bool:
        """Whether a part of the array is read without the rest; .npz, .pkl, .csv and old .pt files are read whole."""
        is_mapped = self.path.suffix in (".pt", ".pth") and zipfile.is_zipfile(self.path)
        return self.dataset is not None or is_mapped or self.path.suffix in (".npy", ".mmap")

    def steps(self, start: int, end: int, axis: int) -> FeatureFile:
        """The part of these features from one step to another; steps are counted along `axis`."""
        own = [*self.part, slice(None), slice(None)][:2]
        first = own[axis].start or 0
        own[axis] = slice(first + start, first + end)
        return replace(self, part=tuple(own))

    def read(self) -> Tensor:
        """Reads the array as float32, laid out as in the file; raises FeatureFileError for nan and inf."""
        import torch

        values = self._load(only_shape=False)
        array = values if isinstance(values, torch.Tensor) else torch.from_numpy(values)
        array = array.float()
        if not is_finite(array):
            raise FeatureFileError("non_finite", f"{self} contains nan or inf.", "Expected finite features.", _FIX)
        return array

    def __str__(self) -> str:
        return f"{self.path}:{self.dataset}" if self.dataset else str(self.path)

    def _load(self, *, only_shape: bool) -> Any:  # Any: a shape, an array or a tensor
        from torch import Tensor

        try:
            values: Any = self._open(only_shape)  # Any: whatever the file holds
            if not isinstance(values, (_Header, _Cut, np.ndarray, Tensor)) or values.shape is None:
                raise _OddError(f"it is {type(values).__name__}, no array")
            two = _without_single_axes(values.shape)
            if len(two) != 2 or 0 in two:
                raise _OddError(f"its shape is {tuple(values.shape)}")
            if isinstance(values, (np.ndarray, Tensor)):
                values = values.reshape(two)
            elif isinstance(values, _Header):
                values = _Header(two)
            cuts = (*self.part, slice(None), slice(None))
            shape = tuple(len(range(size)[cut]) for size, cut in zip(values.shape, cuts, strict=False))
            if 0 in shape:
                asked = ", ".join(f"{cut.start or 0}:{cut.stop or ''}" for cut in self.part)
                raise _OddError(f"its shape is {tuple(values.shape)}, with nothing in [{asked}]")
            if only_shape or isinstance(values, _Header):
                return shape
            values, part = (values.values, ()) if isinstance(values, _Cut) else (values, self.part)
            if not _is_of_numbers(values):
                raise _OddError(f"it is of {values.dtype}")
            return values[part] if isinstance(values, Tensor) else np.array(values[part], dtype=np.float32)
        except _OddError as error:
            raise FeatureFileError("unsupported", f"{self}: {error}.", _EXPECTED, _FIX) from error

    def _open(self, only_shape: bool) -> Any:  # Any: whatever the file holds
        if self.dataset is not None:
            with self._torn():
                return self._from_hdf5(self.dataset, only_shape)
        if self.path.suffix == ".npy":
            with self._torn():
                return np.load(self.path, mmap_mode="r", allow_pickle=False)
        if self.path.suffix == ".npz":
            with self._torn(), self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                name = self._chosen(list(arrays))
                return _header_of(arrays.zip, name) if only_shape else arrays[name]
        if self.path.suffix in (".pt", ".pth", ".pkl", ".pickle"):
            with self._torn():
                found = _unpickled(self.path)
            return found[self._chosen(list(found))] if isinstance(found, dict) else found
        if self.path.suffix == ".csv":
            with self._torn():
                return _Header(csv_features.shape(self.path)) if only_shape else csv_features.read(self.path)
        if self.path.suffix == ".mmap":
            with self._torn():
                shape = _shape_of_mmap(self.path)
                return _Header(shape) if only_shape else np.memmap(self.path, "<f4", mode="r", shape=shape)
        raise _OddError(f"its suffix {self.path.suffix!r} is not one of {', '.join(SUFFIXES)}")

    @contextmanager
    def _torn(self) -> Iterator[None]:
        """Says of what a library raises that the file is damaged; all else that is raised passes."""

        def refusal(what: str) -> FeatureFileError:
            return FeatureFileError("unreadable", f"{self} cannot be read: {what}.", _EXPECTED, _FIX)

        files.check_regular(self.path)
        try:
            with refused(self.path, refusal, passing=pickle.UnpicklingError):
                yield
        except pickle.UnpicklingError as error:
            what = f"{self} is not a plain {self.path.suffix} file: {error}."
            raise FeatureFileError("unreadable", what, _EXPECTED, _FIX) from error

    def _from_hdf5(self, name: str, only_shape: bool) -> Any:  # Any: whatever the dataset holds
        with h5py.File(self.path, "r") as file:
            # a link or a virtual dataset could read any file of the machine
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise _OddError("it is a link to elsewhere")
            dataset = file[name]
            if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
                raise _OddError("it is not a dataset of this file")
            if is_hollow(dataset):
                raise _OddError(f"its shape is {dataset.shape}, and the file has no values for it")
            if only_shape:
                return _Header(dataset.shape)
            return _Cut(dataset[self.part], dataset.shape) if self.part and dataset.ndim == 2 else dataset[()]

    def _chosen(self, names: list[str]) -> str:
        if self.key is not None and self.key in names:
            return self.key
        if self.key is None and len(names) == 1:
            return names[0]
        raise _OddError(f"features.key is {self.key or 'null'}, but the file contains {console.first_ten(names)}")


def _unpickled(path: Path) -> Any:  # Any: whatever the file holds
    if path.suffix in (".pkl", ".pickle"):
        return array_pickles.read(path)
    import torch

    # .pt files of old versions are not zip files and cannot be mapped into memory
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _without_single_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape without axes of one, from the first on, as long as it has more than two: (1, T, C), (T, C, 1, 1)."""
    kept = list(shape)
    while len(kept) > 2 and 1 in kept:
        kept.remove(1)
    return tuple(kept)


def _is_of_numbers(values: Any) -> bool:  # Any: an array or a tensor
    from torch import Tensor

    if isinstance(values, Tensor):
        return not values.is_complex()
    return values.dtype.kind in "biuf"


def _header_of(archive: zipfile.ZipFile, name: str) -> _Header:
    """Reads the shape of one array of a .npz from the first bytes of its member."""
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return _Header(read(member)[0])


def _shape_of_mmap(path: Path) -> tuple[int, int]:
    """The shape (T, C) that the JSON file beside a .mmap gives it, which must be that of its bytes."""
    meta = _meta_of(path.parent, path.parent.stat().st_mtime_ns)
    if isinstance(meta, FeatureFileError):
        raise meta.with_traceback(None)  # that of the videos before
    file, shapes = meta
    if path.stem not in shapes:
        raise FeatureFileError(
            "unsupported",
            f"{file} has no shape for {path.name}; it has {console.count(len(shapes), 'video')}.",
            f"Expected {_META_ENTRY} under the name {path.stem}.",
            _META_FIX,
        )
    match entry := shapes[path.stem]:
        case {"num_frames": int(frames), "feat_shape": [int(steps), int(channels)]} if (
            0 < steps <= frames and channels > 0 and bool not in map(type, (frames, steps, channels))
        ):
            pass
        case _:
            raise FeatureFileError(
                "unsupported",
                f"{file} has {json.dumps(entry)[:80]} for {path.name}.",
                f"Expected {_META_ENTRY}, all positive, T at most N.",
                _META_FIX,
            )
    found, expected = path.stat().st_size, steps * channels * 4
    if found != expected:
        raise FeatureFileError(
            "truncated" if found < expected else "unsupported",
            f"{path} has {console.count(found, 'byte')}.",
            f"Expected {expected}: {steps} x {channels} numbers of 4 bytes, the shape in {file.name}.",
            _META_FIX,
        )
    return steps, channels


@functools.lru_cache(maxsize=16)  # a folder has one for all of its videos
def _meta_of(folder: Path, *state: int) -> tuple[Path, dict[str, Any]] | FeatureFileError:  # Any: JSON values
    """The file with the shapes of a folder's .mmap files, and its content; or why there is none that can be used."""
    found = [folder / name for name in _META_NAMES if (folder / name).is_file()] or sorted(folder.glob("meta*.json"))
    if len(found) != 1:
        what = f"has {' and '.join(path.name for path in found)}" if found else "has no JSON file of their shapes"
        return FeatureFileError(
            "unsupported",
            f"{folder} has .mmap files and {what}.",
            f"Expected one of {', '.join(_META_NAMES)}, or a single meta*.json.",
            "Keep the one that the bank came with, beside its .mmap files.",
        )
    try:
        content = files.read_json(found[0], keep_odd_numbers=True)
    except UserError as error:
        return FeatureFileError("unreadable", error.found, error.expected, error.fix)
    if not isinstance(content, dict):
        expected = f"Expected {{NAME: {_META_ENTRY}, ...}}."
        return FeatureFileError("unreadable", f"{found[0]} is not a JSON object.", expected, _META_FIX)
    return found[0], content


def names_in_hdf5(path: Path) -> frozenset[str]:
    """The datasets at the top of an HDF5 file; raises UserError if it is not an HDF5 file."""

    def refusal(what: str) -> UserError:
        return UserError(f"{path} is not an HDF5 file: {what}.", "Expected a folder or an HDF5 file.", _FIX)

    files.check_regular(path)
    with refused(path, refusal), h5py.File(path, "r") as file:
        return frozenset(file)
