"""Features of long videos stay on disk: parts of them are the rows that all of them have, and damage is still seen."""

import io
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from actloc.annotations.model import Action, AnnotatedVideo, Annotations, FeatureRows
from actloc.errors import UserError
from actloc.sources.folders import Config
from actloc.sources.folders.source import FolderSource
from actloc.sources.stored import Config as StoredConfig
from actloc.sources.stored.source import StoredSource
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


def in_old_format(path: Path) -> Path:
    """Writes the file again as older versions of actloc did: what describes the array has no checksums."""
    old = io.BytesIO()
    with h5py.File(path) as file, h5py.File(old, "w", userblock_size=sealed_file.BLOCK_BYTES) as written:
        file.copy("features", written)
        for name, value in file.attrs.items():
            written.attrs[name] = value
    path.write_bytes(sealed(old.getvalue()))
    return path


def test_damage_between_two_parts_is_noticed_by_hdf5_own_checksums(store: FeatureStore) -> None:
    path = in_old_format(store.folder / "v.h5")
    read, status = store.rows("v"), path.stat()
    with h5py.File(path) as file:
        chunk = file["features"].id.get_chunk_info(1)
    flip(path, chunk.byte_offset + sealed_file.BLOCK_BYTES + 11)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a disk does that loses a bit
    read(0, 256)
    with pytest.raises(UserError, match="are damaged"):
        read(256, 300)


@pytest.mark.parametrize("are_checked", [True, False])
def test_parts_of_missing_features_and_of_another_video_are_refused(store: FeatureStore, are_checked: bool) -> None:
    with pytest.raises(UserError, match="has no features of w"):
        store.rows("w", are_checked=are_checked)
    (store.folder / "v.h5").rename(store.folder / "w.h5")
    with pytest.raises(UserError, match="are those of v"):
        store.rows("w", are_checked=are_checked)


@pytest.mark.parametrize("left", [0, 10, 512, 10000, -1000, -1])
def test_a_file_that_was_cut_is_refused_before_the_first_part(store: FeatureStore, left: int) -> None:
    path = store.folder / "v.h5"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match="are damaged"):
        store.rows("v", are_checked=False)


def test_a_part_of_a_store_with_nan_is_refused(store: FeatureStore) -> None:
    path = store.folder / "v.h5"
    with h5py.File(path, "r+") as file:
        file["features"][600] = np.inf
    path.write_bytes(sealed(path.read_bytes()))
    read = store.rows("v")
    read(0, 600)
    with pytest.raises(UserError, match="contain values that are not finite"):
        read(590, 610)


STEPS, CHANNELS, CROP = 36000, 64, 2304


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """A store with the features of a video of two and a half hours, in float16."""
    store = FeatureStore(tmp_path_factory.mktemp("long"))
    store.begin({})
    store.write("v", features(STEPS, CHANNELS), replace(INFO, frame_count=4 * STEPS + 12), "float16")
    store.write_index()
    return store


def training_source(store: FeatureStore, **settings: Any) -> StoredSource:
    """Its windows are from a step near the middle: the only action is there."""
    middle = AnnotatedVideo("v", "train", (Action(2400.0, 2410.0, "run"),))
    config = StoredConfig(
        path=store.folder, fps=30.0, clip_frames=16, stride_frames=4, max_steps=CROP, min_kept=1.0, **settings
    )
    return StoredSource(config, Annotations(("run",), {"v": middle}), "train")


def window_of(source: StoredSource) -> tuple[int, torch.Tensor]:
    """First step and features (C, T) of the same training window each time."""
    sample = source.training_sample(0, random.Random(3))
    return sample.first_step, sample.features


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each reading from a feature file."""
    found: list[int] = []

    class Counting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:  # type: ignore[override]  # not None: it does not wait
            content = super().read(-1 if size is None else size) or b""
            found.append(len(content))
            return content

        def readinto(self, buffer: Any, /) -> int:
            number = super().readinto(buffer) or 0
            found.append(number)
            return number

    ways = {True: lambda path, _: Counting(path, "r"), False: Path.open}
    monkeypatch.setattr(Path, "open", lambda path, mode: ways[(path.suffix, mode) == (".h5", "rb")](path, mode))
    return found


def test_a_training_window_of_a_long_video_reads_its_own_chunks_only(
    long_video: FeatureStore, counted: list[int]
) -> None:
    source = training_source(long_video)
    assert counted == []
    first, window = window_of(source)
    assert sum(counted) < 2.5 * CROP * CHANNELS * 2
    assert window.shape == (CHANNELS, CROP)
    assert torch.equal(window, torch.from_numpy(long_video.read("v")).T[:, first : first + CROP])


def test_windows_that_cover_a_long_video_are_found_without_reading_it(
    long_video: FeatureStore, counted: list[int]
) -> None:
    source = training_source(long_video, training_overlap=0.5, crop_ratio=None)
    assert source.num_training_samples == 2
    assert sum(counted) < 0.2 * CROP * CHANNELS * 2
    window_of(source)
    assert sum(counted) < 2.5 * CROP * CHANNELS * 2


def test_an_old_file_of_a_long_video_is_checked_once(
    long_video: FeatureStore, tmp_path: Path, counted: list[int]
) -> None:
    old = FeatureStore(tmp_path)
    path = tmp_path / "v.h5"
    path.write_bytes((long_video.folder / "v.h5").read_bytes())
    in_old_format(path)
    old.write_index()
    source = training_source(old)
    _, expected = window_of(training_source(long_video))
    counted.clear()
    assert torch.equal(window_of(source)[1], expected)
    assert path.stat().st_size < sum(counted) < path.stat().st_size + 2.5 * CROP * CHANNELS * 2
    counted.clear()
    assert torch.equal(window_of(source)[1], expected)
    assert sum(counted) < 2.5 * CROP * CHANNELS * 2


def test_damage_in_a_training_window_is_refused_and_elsewhere_not_read(
    long_video: FeatureStore, tmp_path: Path
) -> None:
    first, expected = window_of(training_source(long_video))
    path = tmp_path / "v.h5"
    good = (long_video.folder / "v.h5").read_bytes()
    row_bytes = 2 * CHANNELS
    path.write_bytes(good)
    FeatureStore(tmp_path).write_index()
    status = path.stat()
    for steps, is_refused in (((first, first + CROP - 1), True), ((first - 3000, first + CROP + 3000), False)):
        for step in steps:
            path.write_bytes(good)
            with h5py.File(path) as file:
                chunk = file["features"].id.get_chunk_info(step // 256)
            flip(path, chunk.byte_offset + step % 256 * row_bytes, step % 8)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            source = training_source(FeatureStore(tmp_path))
            if is_refused:
                with pytest.raises(UserError, match=r"of v in .* are damaged: it is not a feature file") as caught:
                    window_of(source)
                assert caught.value.expected == "Expected v.h5 as actloc wrote it."
            else:
                assert torch.equal(window_of(source)[1], expected)


def test_no_flipped_bit_gives_other_features_or_ends_the_process(store: FeatureStore) -> None:
    """In HDF5's older formats it does not notice all of them, and some end its process."""
    path, whole = store.folder / "v.h5", torch.from_numpy(store.read("v"))
    store.write_index()
    status, good, draw = path.stat(), path.read_bytes(), random.Random(0)
    with h5py.File(path) as file:
        chunks = [file["features"].id.get_chunk_info(number) for number in range(3)]
    starts = [chunk.byte_offset for chunk in chunks]
    in_chunks = {place for start in starts for place in range(start, start + chunks[0].size)}
    describing = [place for place in range(len(good)) if good[place] and place not in in_chunks]
    num_refused = 0
    for position in (*draw.sample(describing, 100), starts[1] + 9):
        path.write_bytes(good)
        flip(path, position, draw.randrange(8))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        fresh = FeatureStore(store.folder)
        try:
            part = fresh.rows("v", are_checked=False)(250, 520)
        except UserError as error:
            assert "are damaged" in error.found  # noqa: PT017
            num_refused += 1
        else:
            assert torch.equal(part, whole[250:520])
    assert num_refused > 50
