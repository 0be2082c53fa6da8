"""Fills a feature store: finds what is missing, records the outcome of each video, and reports failures.

Shared by `extract-features` and `import-features`, which differ only in where the features come from. A run that was
interrupted continues where it stopped, and a video that fails does not stop the others.
"""

import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from shutil import disk_usage
from typing import Any

from actloc import __version__, console, files
from actloc.errors import EXIT_SOME_INPUTS_FAILED, EnvironmentProblem, UserError, VideoError
from actloc.files import sha256_of_bytes, sha256_of_file
from actloc.store import old_features
from actloc.store.info import FeatureInfo
from actloc.store.store import FeatureStore
from actloc.video.windows import ClipSpacing

Outcome = FeatureInfo | VideoError
"""The facts about a video's features, which are then in the store, or why there are none."""
FailureRow = dict[str, Any]  # Any: JSON values
"""A line of `failed.jsonl`."""
SourceFiles = Mapping[str, Sequence[Path]]
"""The files that each video's features are made from; empty for a video without a file."""


def to_make(store: FeatureStore, sources: SourceFiles) -> list[str]:
    """The videos whose features are missing, and those whose files changed, which a warning names.

    So are those whose files may have changed and cannot be read: reading them for their features says why.
    """
    again = stale(store, sources)
    changed = [name for name in again if _can_be_read(sources[name])]
    if changed:
        videos = console.count(len(changed), "video")
        console.warn(f"Making features again for {videos} with changed files: {', '.join(changed)}", ids=changed)
    return [name for name in sources if not store.has(name) or name in set(again)]


def stale(store: FeatureStore, sources: SourceFiles) -> list[str]:
    """The videos whose files changed since their features were made."""
    return [name for name, paths in sources.items() if store.has(name) and is_stale(store, name, paths)]


def _can_be_read(paths: Sequence[Path]) -> bool:
    return all(os.access(path, os.R_OK) for path in paths)


def is_complete(store: FeatureStore, sources: SourceFiles) -> bool:
    """Whether the store has the features of all videos, and no file changed since they were made."""
    if store.recipe() is None or any(row["id"] in sources for row in store.failed()):
        return False
    return all(store.has(name) for name in sources) and not stale(store, sources)


def fill(
    store: FeatureStore,
    outcomes: Generator[tuple[str, Outcome]],
    failed: dict[str, FailureRow],
    paths: Mapping[str, Path],
    done: Callable[[str], None],
    part: str = "",
) -> list[FailureRow]:
    """Records each outcome and then calls `done` with the id of its video.

    Returns the rows of the videos that failed, those of `failed` first, and lists them in the store, for all of the
    work or for `part` of it. Raises what `outcomes` raises at a signal: the finished videos are in the store.
    """
    store.write_failed(list(failed.values()), part)
    with closing(outcomes):
        for video_id, outcome in outcomes:
            if isinstance(outcome, VideoError):
                _keep_old(store, video_id)
                failed[video_id] = failure(video_id, paths[video_id], outcome)
                # now, in case the process is killed; all of them are written again at the end
                files.append_line(store.failed_file(part), files.json_line(failed[video_id]))
                console.emit("video_failed", id=video_id, reason=outcome.reason, detail=outcome.detail)
                console.detail(f"{video_id}: {outcome}")
            else:
                failed.pop(video_id, None)
                old_features.remove(store.folder, video_id)
                console.emit("video_done", id=video_id, steps=outcome.steps)
                console.detail(f"{video_id}: {console.count(outcome.steps, 'feature')} from {outcome.duration_s:.1f} s")
            done(video_id)
    for video_id in failed.keys() - paths.keys():
        _keep_old(store, video_id)
    if not part:  # the other parts still make theirs
        old_features.remove_others(store.folder, failed)
    store.write_failed(list(failed.values()), part)
    return list(failed.values())


def _keep_old(store: FeatureStore, video_id: str) -> None:
    place = old_features.put_back(store.folder, video_id, store.is_of_recipe)
    if place is not None and store.has(video_id):
        console.warn(f"{video_id} keeps its old features: new ones could not be made")
    elif place is not None:
        console.warn(f"The old features of {video_id}, damaged or made with other settings, are kept: {place}")


def failure(video_id: str, path: Path | None, error: VideoError) -> FailureRow:
    """The row of `failed.jsonl` for a video that failed."""
    return {
        "id": video_id,
        "path": None if path is None else str(path),
        "reason": error.reason,
        "detail": error.detail,
        "expected": error.expected,
        "found": error.found,
    }


def refuse_without_files(store: FeatureStore, sources: SourceFiles) -> None:
    """Raises UserError where the store has features of videos whose files are gone: they cannot be made again."""
    without = [name for name, paths in sources.items() if not paths or not all(one.exists() for one in paths)]
    gone = [name for name in without if store.has(name)]
    if gone:
        have = "has features here, and no file" if len(gone) == 1 else "have features here, and no files"
        raise UserError(
            f"{console.count(len(gone), 'video')} in {store.folder} {have}: {console.first_ten(gone)}.",
            "Expected the files of all videos: --overwrite deletes features, and these could not be made again.",
            "Restore the files, or make the features in another folder.",
        )


def space_shortage(folder: Path, num_videos: int, num_bytes: float, freed_bytes: int = 0) -> EnvironmentProblem | None:
    """The error to raise before hours of work if the features will not fit on the disk; None if they will.

    `freed_bytes` are those of files that are deleted first.
    """
    free = free_bytes(folder) + freed_bytes
    if num_bytes <= free:
        return None
    return EnvironmentProblem(
        f"{folder} has {console.size(free)} free.",
        f"The features of {console.count(num_videos, 'video')} need about {console.size(num_bytes)}.",
        "Free disk space, put the store on another disk, or set features.dtype=float16.",
    )


def free_bytes(folder: Path) -> int:
    """The free space of the disk where `folder` is or will be."""
    return disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.is_dir())).free


def report_failures(store: FeatureStore, num_videos: int, failed: list[FailureRow], again: str, part: str = "") -> int:
    """Prints how many videos failed, why, and `again`, the command that retries them; returns the exit status."""
    reasons = Counter(row["reason"] for row in failed)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    videos, succeeded = console.count(num_videos, "video"), num_videos - len(failed)
    console.error(f"{len(failed)} of {videos} failed, {succeeded} succeeded.")
    console.say(f"{store.failed_file(part)}: {listed}")
    console.say(f"After fixing or replacing the files, run: {again}")
    return EXIT_SOME_INPUTS_FAILED


def is_stale(store: FeatureStore, video_id: str, paths: Sequence[Path]) -> bool:
    """Whether a video's files changed since its features were made."""
    if not paths or not all(path.exists() for path in paths):
        return False  # files may be deleted once their features are made
    size, digest = store.source(video_id)
    if source_bytes(paths) != size:
        return True
    modified, placed = store.written(video_id)
    times = [file.stat() for file in _files_of(paths)]
    # files unpacked from an archive keep their old modification time, but not their change time
    is_newer = any(time.st_mtime_ns > modified or time.st_ctime_ns >= placed for time in times)
    try:
        return is_newer and source_sha256(paths) != digest
    except PermissionError:  # reading it for its features will report that, as this video's failure
        return True


def describe(
    video_id: str,
    source: tuple[int, str],
    *,
    encoder: str,
    weights_sha256: str | None,
    recipe: dict[str, Any],
    spacing: ClipSpacing,
    fps: float,
    frame_count: int,
    duration_s: float,
    reader: str,
    vectors_per_clip: int = 1,
) -> FeatureInfo:
    """The facts about a video's features except their shape; `source` is the size in bytes and sha256 of its files."""
    return FeatureInfo(
        video_id=video_id,
        encoder=encoder,
        weights_sha256=weights_sha256,
        recipe=json.dumps(recipe, sort_keys=True),
        fps=fps,
        clip_frames=spacing.clip_frames,
        stride_frames=spacing.stride_frames,
        align=spacing.align,
        offset_frames=spacing.offset_frames,
        frame_count=frame_count,
        duration_s=duration_s,
        reader=reader,
        source_bytes=source[0],
        source_sha256=source[1],
        code_version=__version__,
        vectors_per_clip=vectors_per_clip,
    )


def source_of(paths: Sequence[Path]) -> tuple[int, str]:
    """Size in bytes and sha256 of the files that a video's features are made from."""
    return source_bytes(paths), source_sha256(paths)


def state_of(paths: Sequence[Path]) -> list[list[int]]:
    """What changes when one of these files, or folders of frames, is written or replaced; empty without the files."""
    try:
        states = [file.stat() for file in _files_of(paths)]
    except OSError:
        return []
    return [[one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns] for one in states]


def refuse_changed(path: Path, before: list[list[int]]) -> None:
    """Raises VideoError where the file is not as it was when its decoding began: its features may be of two files."""
    if state_of([path]) != before:
        expected, found = "the same file until it is read to its end", "another one"
        raise VideoError("damaged", f"{path} changed while it was decoded; run the same command again", expected, found)


def source_bytes(paths: Sequence[Path]) -> int:
    """Size in bytes of files, or of folders of frames."""
    return sum(file.stat().st_size for file in _files_of(paths))


def source_sha256(paths: Sequence[Path]) -> str:
    """The sha256 of a file; of several, or of a folder of frames, the sha256 of their sha256s."""
    digests = []
    for file in _files_of(paths):
        status = file.stat()
        digests.append(_sha256_of_state(file, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return digests[0] if len(digests) == 1 else sha256_of_bytes("".join(digests).encode())


def _files_of(paths: Sequence[Path]) -> list[Path]:
    return [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


@functools.lru_cache(maxsize=16)  # one HDF5 file may hold the features of all videos
def _sha256_of_state(file: Path, *state: int) -> str:
    return sha256_of_file(file)
