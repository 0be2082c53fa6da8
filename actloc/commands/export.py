"""`actloc export STORE FILE.h5`: the features of a store packed into one HDF5 file that other tools can read.

One dataset (T, C) float32 per video under its id; attributes like those of published feature files. The
file is read back with `features: {name: folders, path: FILE.h5}`, or imported into a store again.

With `--pool` one dataset (C,) per video: one value of each channel for the whole video. TSP's global video features
are the largest ones, of the encoder that its training began with (Alwassel et al. 2021, arXiv 2011.11479).
"""

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from actloc import console, files
from actloc.errors import EnvironmentProblem, UserError
from actloc.experiment import is_run
from actloc.signals import StopFlag
from actloc.store.info import FeatureInfo, grid
from actloc.store.store import FeatureStore
from actloc.store.writer import PatientFile

_OVERHEAD_BYTES = 8192  # of a dataset and its attributes
_TAILS = {
    "valid": "drop",
    "backpad": "clip_that_ends_with_the_video",
    "centred": "repeat_last_frame",
    "padded": "repeat_last_frame",
}
"""What happens to the frames after the last whole clip."""
Pool = Literal["max", "mean"]


def run(store_folder: Path, target: Path, *, overwrite: bool, pool: Pool | None = None) -> int:
    """Writes the file whole; raises UserError where it exists or the store is empty.

    `pool` keeps one vector of each video: the largest or the mean value of each channel.
    """
    store = FeatureStore(store_folder)
    ids = store.ids()
    if store.recipe() is None or not ids:
        raise _no_features(store_folder, target)
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists.", "Expected a new file.", "Replace it with --overwrite.")
    _check_space(store, ids, files.make_folder(target.parent), pool)
    temporary = files.temporary_path(target)
    with StopFlag(is_saved=False) as stop:  # an exception raised while HDF5 writes would abort the process
        try:
            _write(store, ids, temporary, stop, pool)
            files.replace(temporary, target)
        finally:
            files.remove(temporary)
    what = "features" if pool is None else f"{pool} features"
    videos = console.count(len(ids), "video")
    console.result(f"{target}: {what} of {videos}, {target.stat().st_size / 1e6:.1f} MB")
    console.emit("done", path=str(target), videos=len(ids))
    return 0


def _no_features(folder: Path, target: Path) -> UserError:
    """The error for a folder without features; it says what to run if the folder is a run."""
    if target.suffix == ".onnx":
        run = shlex.quote(str(folder)) if is_run(folder) else "RUN"
        todo = f"To write the detector of a run as ONNX: actloc export-onnx {run} {shlex.quote(str(target))}"
    elif not is_run(folder):
        todo = "Extract features first: actloc extract-features CONFIG"
    else:
        todo = f"To write its weights in their authors' form: actloc convert {shlex.quote(str(folder))} FILE.pth.tar"
    what = "is a run: it has networks and no features" if is_run(folder) else "has no features"
    return UserError(f"{folder} {what}.", "Expected a feature store: a folder that extract-features wrote.", todo)


def _write(store: FeatureStore, ids: list[str], path: Path, stop: StopFlag, pool: Pool | None) -> None:
    with console.progress("packing", len(ids)) as bar, PatientFile(str(path), "w+") as stream:
        with h5py.File(stream, "w") as file:
            for video_id in ids:
                stop.raise_if_set()
                _pack(store, video_id, file, pool)
                stream.raise_failure()
                bar(1, video_id)
        stream.raise_failure()
        os.fsync(stream.fileno())


def _pack(store: FeatureStore, video_id: str, file: h5py.File, pool: Pool | None) -> None:
    if "/" in video_id or video_id == ".":
        raise UserError(
            f"The id {video_id!r} cannot name a dataset of an HDF5 file.",
            "Expected ids without a slash.",
            "Rename the video and extract its features again.",
        )
    features = store.read(video_id)
    if pool == "max":
        features = features.max(axis=0)
    if pool == "mean":
        features = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    dataset = file.create_dataset(video_id, data=features, fletcher32=True)
    dataset.attrs.update(_attributes(store.info(video_id)))
    if pool is not None:
        dataset.attrs["pool"] = pool


def _check_space(store: FeatureStore, ids: list[str], folder: Path, pool: Pool | None) -> None:
    infos = [store.info(video_id) for video_id in ids]
    needed = sum(4 * (info.steps if pool is None else 1) * info.channels + _OVERHEAD_BYTES for info in infos)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise EnvironmentProblem(
            f"{folder} has {console.size(free)} free.",
            f"The packed features need about {console.size(needed)}.",
            "Free space there, or name a file on another disk.",
        )


def _attributes(info: FeatureInfo) -> dict[str, object]:
    """The attributes that published feature files have, so that their readers can use this one."""
    made, times = json.loads(info.recipe).get("features", {}), grid(info)
    stride = times.stride_frames
    return {
        "fps": info.fps,
        "frames": info.frame_count,
        "duration": info.duration_s,
        "clip_len": info.clip_frames,
        "stride": int(stride) if stride.is_integer() else stride,
        "interval": made.get("frame_interval", 1),
        "align": info.align,
        "tail": _TAILS[info.align],
        "offset_frames": times.offset_frames,
        "recipe": info.recipe,
        "weights_sha256": info.weights_sha256 or "",
        "source_sha256": info.source_sha256,
    }
