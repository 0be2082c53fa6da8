"""Filling a feature store: what it lacks, one outcome per video, and what is told (spec: reliability, R2, R4, R6, R17).

`extract-features` and `import-features` differ in where features come from, and in nothing of this.
"""

import functools
import json
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from shutil import disk_usage
from typing import Any

from actloc import __version__, console
from actloc.errors import EXIT_SOME_INPUTS_FAILED, EnvironmentProblem, VideoError
from actloc.files import sha256_of_bytes, sha256_of_file
from actloc.store.info import FeatureInfo
from actloc.store.store import FeatureStore
from actloc.video.windows import ClipLayout

Outcome = FeatureInfo | VideoError
"""What is known of a video's features, which are in the store, or why there are none."""
Row = dict[str, Any]  # Any: JSON values
Sources = Mapping[str, Sequence[Path]]
"""The files that each video's features are made from; none for a video that has no file."""


def lacking(store: FeatureStore, sources: Sources) -> list[str]:
    """The videos without features, and those whose files are others than before, which a warning names."""
    again = stale(store, sources)
    if again:
        console.warn(
            f"{len(again)} videos are other files than before and are done again: {', '.join(again)}", ids=again
        )
    return [name for name in sources if not store.has(name) or name in set(again)]


def stale(store: FeatureStore, sources: Sources) -> list[str]:
    """The videos whose files are others than those that their features were made from."""
    return [name for name, paths in sources.items() if store.has(name) and is_stale(store, name, paths)]


def is_complete(store: FeatureStore, sources: Sources) -> bool:
    """Whether nothing is left to do."""
    if store.recipe() is None or any(row["id"] in sources for row in store.failed()):
        return False
    return all(store.has(name) for name in sources) and not stale(store, sources)


def fill(
    store: FeatureStore,
    outcomes: Generator[tuple[str, Outcome]],
    failed: dict[str, Row],
    paths: Mapping[str, Path],
    over: Callable[[str], None],
    part: str = "",
) -> list[Row]:
    """Takes each outcome and calls `over` with its video's id.

    Returns the rows of the videos that failed, those of `failed` first, and lists them in the store, for one part of
    the work or for all. Raises what `outcomes` raises at a signal: the videos done are in the store.
    """
    store.write_failed(list(failed.values()), part)
    with closing(outcomes):
        for video_id, outcome in outcomes:
            if isinstance(outcome, VideoError):
                failed[video_id] = failure(video_id, paths[video_id], outcome)
                store.write_failed(list(failed.values()), part)  # at once: a run that is killed has named them too
                console.emit("video_failed", id=video_id, reason=outcome.reason, detail=outcome.detail)
                console.detail(f"{video_id}: {outcome}")
            else:
                failed.pop(video_id, None)
                console.emit("video_done", id=video_id, steps=outcome.steps)
                console.detail(f"{video_id}: {console.count(outcome.steps, 'feature')} from {outcome.duration_s:.1f} s")
            over(video_id)
    store.write_failed(list(failed.values()), part)
    return list(failed.values())


def failure(video_id: str, path: Path | None, error: VideoError) -> Row:
    """The row of `failed.jsonl`."""
    return {
        "id": video_id,
        "path": None if path is None else str(path),
        "reason": error.reason,
        "detail": error.detail,
        "expected": error.expected,
        "found": error.found,
    }


def lack_of_space(folder: Path, num_videos: int, num_bytes: float) -> EnvironmentProblem | None:
    """What is told before hours of work if the disk cannot hold what comes of it."""
    free = free_bytes(folder)
    if num_bytes <= free:
        return None
    return EnvironmentProblem(
        f"{folder} has {free / 1e9:.1f} GB free.",
        f"The features of {num_videos} videos need about {num_bytes / 1e9:.1f} GB.",
        "Make room, put the store on another disk, or set features.dtype=float16.",
    )


def free_bytes(folder: Path) -> int:
    """What is free where `folder` is or will be."""
    return disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.is_dir())).free


def tell_failures(store: FeatureStore, num_videos: int, failed: list[Row], again: str, part: str = "") -> int:
    """Says how many failed and why, and which command tries them again; returns the exit status."""
    reasons = Counter(row["reason"] for row in failed)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    done = num_videos - len(failed)
    console.error(f"{len(failed)} of {num_videos} videos failed, {done} are done.")
    console.say(f"{store.failed_file(part)}: {listed}")
    console.say(f"Retry them after replacing the files: {again}")
    return EXIT_SOME_INPUTS_FAILED


def is_stale(store: FeatureStore, video_id: str, paths: Sequence[Path]) -> bool:
    """Whether a video's files are others than those its features were made from."""
    if not paths or not all(path.exists() for path in paths):
        return False  # the features are made, the files may go
    size, digest = store.source(video_id)
    if source_bytes(paths) != size:
        return True
    modified, placed = store.written(video_id)
    times = [file.stat() for file in _files_of(paths)]
    # an unpacked archive brings old modification times with it
    is_newer = any(time.st_mtime_ns > modified or time.st_ctime_ns >= placed for time in times)
    return is_newer and source_sha256(paths) != digest


def describe(
    video_id: str,
    source: tuple[int, str],
    *,
    encoder: str,
    weights_sha256: str | None,
    recipe: dict[str, Any],
    layout: ClipLayout,
    fps: float,
    frame_count: int,
    duration_s: float,
    reader: str,
) -> FeatureInfo:
    """What is known of a video's features, except how many they are; `source` is bytes and sha256 of its files."""
    return FeatureInfo(
        video_id=video_id,
        encoder=encoder,
        weights_sha256=weights_sha256,
        recipe=json.dumps(recipe, sort_keys=True),
        fps=fps,
        clip_frames=layout.clip_frames,
        stride_frames=layout.stride_frames,
        align=layout.align,
        offset_frames=layout.offset_frames,
        frame_count=frame_count,
        duration_s=duration_s,
        reader=reader,
        source_bytes=source[0],
        source_sha256=source[1],
        code_version=__version__,
    )


def source_of(paths: Sequence[Path]) -> tuple[int, str]:
    """Bytes and digest of the files that a video's features are made of."""
    return source_bytes(paths), source_sha256(paths)


def source_bytes(paths: Sequence[Path]) -> int:
    """Bytes of files, or of folders of frames."""
    return sum(file.stat().st_size for file in _files_of(paths))


def source_sha256(paths: Sequence[Path]) -> str:
    """Digest of a file; of several, or of a folder of frames, the digest of their digests."""
    digests = [_sha256(file) for file in _files_of(paths)]
    return digests[0] if len(digests) == 1 else sha256_of_bytes("".join(digests).encode())


def _files_of(paths: Sequence[Path]) -> list[Path]:
    return [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


def _sha256(file: Path) -> str:
    status = file.stat()
    return _sha256_of_state(file, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=16)  # one HDF5 file of an archive holds the features of all videos
def _sha256_of_state(file: Path, *state: int) -> str:
    return sha256_of_file(file)
