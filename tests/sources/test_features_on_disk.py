"""Features of long videos stay on disk: parts of them are the rows that all of them have, and damage is still seen."""

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from actloc.annotations.model import AnnotatedVideo, Annotations, FeatureRows
from actloc.errors import UserError
from actloc.sources.folders import Config
from actloc.sources.folders.source import FolderSource
from actloc.store import on_disk, sealed_file
from actloc.store.on_disk import FeaturesOnDisk
from actloc.store.store import FeatureStore
from actloc.structures import Targets
from tests.store.test_store import INFO, features, flip, sealed

ROWS = features(40, 3)


@pytest.fixture(autouse=True)
def any_length_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_disk, "_MOST_BYTES", 0)


def write(folder: Path, suffix: str, array: np.ndarray[Any, Any]) -> Path:
    """A folder, or an HDF5 file, with the features of v."""
    path = folder / f"v{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz":
        np.savez(path, array)
    elif suffix == ".pt":
        torch.save(torch.from_numpy(array), path)
    elif suffix == ".csv":
        np.savetxt(path, array, delimiter=",", fmt="%.9g")
    elif suffix == ".mmap":
        array.tofile(path)
        (folder / "meta.json").write_text(json.dumps({"v": {"num_frames": 40, "feat_shape": list(array.shape)}}))
    else:
        with h5py.File(folder / "all.hdf5", "w") as file:
            file["v"] = array
        return folder / "all.hdf5"
    return folder


def source(path: Path, video: AnnotatedVideo | None = None, **settings: Any) -> FolderSource:
    config = Config(path=path, fps=30.0, clip_frames=16, stride_frames=4, **settings)
    video = video or AnnotatedVideo("v", "test")
    return FolderSource(config, Annotations((), {video.id: video}), "test")


@pytest.mark.parametrize("settings", [{}, {"downsample": 3}, {"channels_first": True}], ids=str)
@pytest.mark.parametrize("suffix", [".npy", ".mmap", ".hdf5", ".pt", ".npz", ".csv"])
def test_parts_of_files_are_the_rows_that_the_whole_has(suffix: str, settings: dict[str, Any], tmp_path: Path) -> None:
    array = np.ascontiguousarray(ROWS.T) if settings.get("channels_first") else ROWS
    found = source(write(tmp_path, suffix, array), suffix="" if suffix == ".hdf5" else suffix, **settings)
    whole, lazy = found.evaluation_sample(0), found.detection_sample(0)
    assert isinstance(lazy.payload, FeaturesOnDisk) == (suffix not in (".npz", ".csv"))  # these have to be read whole
    assert (lazy.grid, lazy.num_steps) == (whole.grid, whole.num_steps)
    assert torch.equal(lazy.features, whole.features)
    part = lazy.part(2, 9, Targets.none()).part(1, 5, Targets.none())
    assert torch.equal(part.features, whole.features[:, 3:8])


def test_parts_of_several_folders_are_side_by_side(tmp_path: Path) -> None:
    for name, array in (("one", ROWS), ("two", ROWS[:, :2] + 5)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, ".npy", array)
    found = source(tmp_path / "one", more_paths=(tmp_path / "two",))
    assert isinstance(found.detection_sample(0).payload, FeaturesOnDisk)
    assert torch.equal(found.detection_sample(0).features, found.evaluation_sample(0).features)


@pytest.mark.parametrize("suffix", [".npy", ".hdf5"])
def test_parts_of_a_clip_are_rows_of_its_own(suffix: str, tmp_path: Path) -> None:
    clip = AnnotatedVideo("clip", "test", rows=FeatureRows("v", 10, 25))
    found = source(write(tmp_path, suffix, ROWS), clip, suffix="" if suffix == ".hdf5" else suffix)
    part = found.detection_sample(0).part(4, 6, Targets.none())
    assert isinstance(part.payload, FeaturesOnDisk)
    assert torch.equal(part.features, torch.from_numpy(ROWS[14:20].T))


@pytest.mark.parametrize("settings", [{"resize_to": 7}, {"is_resized": True}], ids=str)
def test_resized_features_are_read_whole(settings: dict[str, Any], tmp_path: Path) -> None:
    found = source(write(tmp_path, ".npy", ROWS), AnnotatedVideo("v", "test", duration_s=5.6), **settings)
    assert torch.equal(found.detection_sample(0).features, found.evaluation_sample(0).features)
    assert not isinstance(found.detection_sample(0).payload, FeaturesOnDisk)


def test_a_part_with_nan_is_refused_when_it_is_read(tmp_path: Path) -> None:
    array = ROWS.copy()
    array[30, 1] = np.nan
    lazy = source(write(tmp_path, ".npy", array)).detection_sample(0)
    assert torch.equal(lazy.part(0, 30, Targets.none()).features, torch.from_numpy(array[:30].T))
    with pytest.raises(UserError, match="contains nan or inf"):
        _ = lazy.part(25, 10, Targets.none()).features


@pytest.fixture(params=["float32", "float16"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> FeatureStore:
    """A store with 700 steps of v: two chunks, and a part of one."""
    store = FeatureStore(tmp_path / "store")
    store.begin({})
    store.write("v", features(700), INFO, request.param)
    return store


def test_parts_of_a_store_are_the_rows_that_the_whole_has(store: FeatureStore) -> None:
    read, whole = store.rows("v"), torch.from_numpy(store.read("v"))
    for start, end in ((0, 700), (0, 1), (699, 700), (250, 520)):
        assert torch.equal(read(start, end), whole[start:end])


def test_every_byte_is_checked_once_and_in_pieces_before_the_first_part(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest, checked = [], []
    crc32 = sealed_file.zlib.crc32
    monkeypatch.setattr(sealed_file, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(
        sealed_file.zlib, "crc32", lambda content, before=0: (largest.append(len(content)), crc32(content, before))[1]
    )
    monkeypatch.setattr(sealed_file, "check_seal", lambda s, own=sealed_file.check_seal: (checked.append(1), own(s)))
    read = store.rows("v")
    size = (store.folder / "v.h5").stat().st_size
    assert max(largest) <= 1000
    assert sum(largest) > size - sealed_file.BLOCK_BYTES
    for start in range(0, 700, 50):
        read(start, start + 50)
    assert checked == [1]


@pytest.mark.parametrize("position", [0, 100, 600, 5000, -1])
def test_damage_is_found_before_the_first_part(store: FeatureStore, position: int) -> None:
    path = store.folder / "v.h5"
    flip(path, position % path.stat().st_size)
    with pytest.raises(UserError, match="are damaged: its bytes do not match its checksum"):
        store.rows("v")


def test_a_file_that_changes_between_two_parts_is_noticed(store: FeatureStore) -> None:
    read = store.rows("v")
    read(0, 10)
    store.write("v", features(700) + 1, INFO)
    with pytest.raises(UserError, match="are not those that were there before"):
        read(10, 20)


def test_damage_between_two_parts_is_noticed_by_hdf5_own_checksums(store: FeatureStore) -> None:
    path, read = store.folder / "v.h5", store.rows("v")
    status = path.stat()
    with h5py.File(path) as file:
        chunk = file["features"].id.get_chunk_info(1)
    flip(path, chunk.byte_offset + sealed_file.BLOCK_BYTES + 11)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a disk does that loses a bit
    read(0, 256)
    with pytest.raises(UserError, match="are damaged"):
        read(256, 300)


def test_parts_of_missing_features_and_of_another_video_are_refused(store: FeatureStore) -> None:
    with pytest.raises(UserError, match="has no features of w"):
        store.rows("w")
    (store.folder / "v.h5").rename(store.folder / "w.h5")
    with pytest.raises(UserError, match="are those of v"):
        store.rows("w")


def test_a_part_of_a_store_with_nan_is_refused(store: FeatureStore) -> None:
    path = store.folder / "v.h5"
    with h5py.File(path, "r+") as file:
        file["features"][600] = np.inf
    path.write_bytes(sealed(path.read_bytes()))
    read = store.rows("v")
    read(0, 600)
    with pytest.raises(UserError, match="contain values that are not finite"):
        read(590, 610)
