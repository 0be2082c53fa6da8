"""Class scores as HDF5: the content of the plain JSON form in columns, for many videos and classes.

`classes` (K,) names; `results/videos` (N,) ids, `results/scores` (N, K); where windows have scores, `windows/videos`
(V,) ids, `windows/counts` (V,) the number of windows of each, `windows/segments` (W, 2) in seconds, `windows/scores`
(W, K); facts are attributes. Ids are values and not names of groups, because an id may contain a slash.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from actloc import console, files

SUFFIXES = (".h5", ".hdf5")
TORN = (OSError, ValueError, KeyError, RuntimeError, TypeError)
"""What h5py raises on files that are damaged or in another form."""
_TEXT = h5py.string_dtype()


def write(path: Path, content: Mapping[str, Any]) -> None:  # Any: the four parts of the plain form
    """Writes `classes`, `results`, `windows` and `facts`, in the types of the plain JSON form, whole or not at all."""
    results, windows = content["results"], content["windows"]
    number = len(content["classes"])
    listed = [window for of_video in windows.values() for window in of_video]
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("classes", data=content["classes"], dtype=_TEXT)
        file.create_dataset("results/videos", data=list(results), dtype=_TEXT)
        file["results/scores"] = np.array(list(results.values()), dtype=np.float64).reshape(-1, number)
        if windows:
            file.create_dataset("windows/videos", data=list(windows), dtype=_TEXT)
            file["windows/counts"] = np.array([len(of_video) for of_video in windows.values()])
            file["windows/segments"] = np.array([window[:2] for window in listed], dtype=np.float64)
            file["windows/scores"] = np.array([window[2] for window in listed], dtype=np.float64)
        file.attrs.update(content["facts"])
    files.write_bytes(path, buffer.getvalue())


def read(path: Path) -> dict[str, Any]:  # Any: as `write`
    """The content as the plain JSON form has it; raises one of TORN if it is in another form."""
    with h5py.File(path, "r") as file:
        content: dict[str, Any] = {"classes": _texts(file, "classes"), "facts": dict(_facts(file))}
        content["results"] = _by_id(_texts(file, "results/videos"), _numbers(file, "results/scores", 2).tolist())
        if "windows" in file:
            counts = _numbers(file, "windows/counts", 1)
            segments, scores = _numbers(file, "windows/segments", 2), _numbers(file, "windows/scores", 2)
            if counts.dtype.kind not in "iu" or (counts < 1).any() or not counts.sum() == len(segments) == len(scores):
                raise ValueError("windows/counts does not add up to the rows of windows/segments and windows/scores")
            if segments.shape[1] != 2:
                raise ValueError(f"windows/segments has {segments.shape[1]} columns, expected 2")
            rows = [[*ends, row] for ends, row in zip(segments.tolist(), scores.tolist(), strict=True)]
            last = np.cumsum(counts).tolist()
            parts = [rows[first:after] for first, after in zip([0, *last], last, strict=False)]
            content["windows"] = _by_id(_texts(file, "windows/videos"), parts)
    return content


def _by_id(ids: list[str], values: list[Any]) -> dict[str, Any]:
    if len(set(ids)) != len(ids) or len(ids) != len(values):
        raise ValueError(f"{console.count(len(set(ids)), 'different video id')} for {len(values)} videos")
    return dict(zip(ids, values, strict=True))


def _facts(file: h5py.File) -> Iterator[tuple[str, Any]]:
    for name, value in file.attrs.items():
        yield name, value.item() if isinstance(value, np.generic) else value


def _texts(file: h5py.File, name: str) -> list[str]:
    dataset = _dataset(file, name, 1)
    if h5py.check_string_dtype(dataset.dtype) is None:
        raise ValueError(f"{name} is not text")
    texts: list[str] = dataset.asstr()[()].tolist()
    return texts


def _numbers(file: h5py.File, name: str, dimensions: int) -> NDArray[Any]:
    dataset = _dataset(file, name, dimensions)
    if dataset.dtype.kind not in "iuf":
        raise ValueError(f"{name} is not numbers")
    values: NDArray[Any] = dataset[()]
    return values


def _dataset(file: h5py.File, name: str, dimensions: int) -> h5py.Dataset:
    """The dataset, which must be part of this file: a link or a virtual dataset could read any other."""
    group, _, _ = name.rpartition("/")
    for part in [group, name] if group else [name]:
        if not isinstance(file.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{part} is missing or a link to another file")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} is not a dataset of this file")
    if dataset.ndim != dimensions:
        raise ValueError(f"{name} has shape {dataset.shape}, expected {console.count(dimensions, 'dimension')}")
    return dataset
