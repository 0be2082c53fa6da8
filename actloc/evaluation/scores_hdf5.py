"""Class scores as HDF5: the content of the plain JSON form in columns, for many videos and classes.

`classes` (K,) names; `results/videos` (N,) ids, `results/scores` (N, K); where windows have scores, `windows/videos`
(V,) ids, `windows/counts` (V,) the number of windows of each, `windows/segments` (W, 2) in seconds, `windows/scores`
(W, K); facts are attributes. Ids are values and not names of groups, because an id may contain a slash.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from actloc import console, files
from actloc.damage import is_hollow
from actloc.evaluation.columns import Floats
from actloc.evaluation.scored_windows import ScoredWindows

SUFFIXES = (".h5", ".hdf5")
_TEXT = h5py.string_dtype()
_Value = TypeVar("_Value")


class OtherFormError(Exception):
    """The file is HDF5, and not of this form."""


def write(
    path: Path,
    classes: Sequence[str],
    results: Mapping[str, Floats],
    windows: Mapping[str, ScoredWindows],
    facts: Mapping[str, str | int | float],
) -> None:
    """Writes the file, whole or not at all."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("classes", data=list(classes), dtype=_TEXT)
        if results:
            file.create_dataset("results/videos", data=list(results), dtype=_TEXT)
            file["results/scores"] = np.stack(list(results.values()))
        if windows:
            file.create_dataset("windows/videos", data=list(windows), dtype=_TEXT)
            file["windows/counts"] = np.array([len(one.scores) for one in windows.values()])
            file["windows/segments"] = np.concatenate([one.segments for one in windows.values()])
            file["windows/scores"] = np.concatenate([one.scores for one in windows.values()])
        file.attrs.update(facts)
    files.write_bytes(path, buffer.getvalue())


def read(
    path: Path,
) -> tuple[tuple[str, ...], dict[str, Floats], dict[str, ScoredWindows], dict[str, str | int | float]]:
    """Classes, results, windows and facts; raises OtherFormError, and what h5py raises on damaged files.

    Whether the numbers are scores and times is for the caller to check.
    """
    results: dict[str, Floats] = {}
    windows: dict[str, ScoredWindows] = {}
    with h5py.File(path, "r") as file:
        if "results" in file:
            results = _by_id(_texts(file, "results/videos"), list(_numbers(file, "results/scores", 2)))
        if "windows" in file:
            counts = _numbers(file, "windows/counts", 1)
            segments, scores = _numbers(file, "windows/segments", 2), _numbers(file, "windows/scores", 2)
            if (counts < 1).any() or (counts % 1).any() or not counts.sum() == len(segments) == len(scores):
                raise OtherFormError("windows/counts does not add up to the rows of segments and scores")
            if segments.shape[1] != 2:
                raise OtherFormError(f"windows/segments has {segments.shape[1]} columns, expected 2")
            ends = np.cumsum(counts)[:-1].astype(np.int64)
            parts = zip(np.split(segments, ends), np.split(scores, ends), strict=True)
            windows = _by_id(_texts(file, "windows/videos"), [ScoredWindows(*part) for part in parts])
        return tuple(_texts(file, "classes")), results, windows, _facts(file)


def _by_id(ids: list[str], values: list[_Value]) -> dict[str, _Value]:
    if len(set(ids)) != len(ids) or len(ids) != len(values):
        raise OtherFormError(f"{console.count(len(set(ids)), 'different video id')} for {len(values)} videos")
    return dict(zip(ids, values, strict=True))


def _facts(file: h5py.File) -> dict[str, str | int | float]:
    facts = {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}
    for name, value in facts.items():
        if not isinstance(value, str | int | float):
            raise OtherFormError(f"attribute {name} is neither text nor a number")
    return facts


def _texts(file: h5py.File, name: str) -> list[str]:
    dataset = _dataset(file, name, 1)
    if h5py.check_string_dtype(dataset.dtype) is None:
        raise OtherFormError(f"{name} is not text")
    texts: list[str] = dataset.asstr()[()].tolist()
    return texts


def _numbers(file: h5py.File, name: str, dimensions: int) -> Floats:
    dataset = _dataset(file, name, dimensions)
    if dataset.dtype.kind not in "iuf":
        raise OtherFormError(f"{name} is not numbers")
    values: Floats = dataset[()].astype(np.float64)
    return values


def _dataset(file: h5py.File, name: str, dimensions: int) -> h5py.Dataset:
    """The dataset, which must be part of this file: a link or a virtual dataset could read any other."""
    group, _, _ = name.rpartition("/")
    for part in [group, name] if group else [name]:
        if not isinstance(file.get(part, getlink=True), h5py.HardLink):
            raise OtherFormError(f"{part} is missing or a link to another file")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise OtherFormError(f"{name} is not a dataset of this file")
    if dataset.ndim != dimensions:
        raise OtherFormError(f"{name} has shape {dataset.shape}, expected {console.count(dimensions, 'dimension')}")
    if is_hollow(dataset):
        raise OtherFormError(f"{name} has shape {dataset.shape}, and the file has no values for it")
    return dataset
