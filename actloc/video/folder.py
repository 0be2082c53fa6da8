"""The videos of a folder, and what their headers say."""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.annotations.video_names import VIDEO_SUFFIXES
from actloc.errors import UserError, VideoError
from actloc.files import is_text
from actloc.video.base import FRAMES_FILE
from actloc.video.headers import HeaderReader
from actloc.video.known_facts import KnownFacts

_COPIES = re.compile(r"reencoded_.*fps.*px_every\d+")
"""The folders in which `prepare` writes copies of videos; a dataset's folder may be in that of its videos."""


def video_files(folder: Path) -> list[Path]:
    """The videos of a folder, not those in folders in it."""
    return [path for path in folder.iterdir() if _is_video(path)]


def videos_by_id(folder: Path, *, skip: Sequence[Path] = (), prefix: str = "") -> dict[str, Path]:
    """The videos of a folder, and of folders in it, by their file names without prefix and suffix.

    `skip` are files and folders of our own in it. Reports what else is ignored. Raises UserError if two videos have the
    same id, or if there are no videos.
    """
    found: dict[str, Path] = {}
    every = videos_below(folder, skip=skip)
    unnamed = [path for path in every if not is_text(str(path.relative_to(folder)))]
    if unnamed:
        verb, them = ("name is", "it") if len(unnamed) == 1 else ("names are", "them")
        console.warn(
            f"Left out {console.count(len(unnamed), 'video')} of {folder} whose {verb} not UTF-8: "
            f"{console.first_ten(repr(str(path.relative_to(folder))) for path in unnamed)}; rename {them} to use {them}"
        )
    for path in (one for one in every if one not in unnamed):
        video_id = path.stem.removeprefix(prefix)
        if video_id in found:
            raise UserError(
                f"{found[video_id]} and {path} would both have the id {video_id!r}.",
                "Expected file names that differ without their suffixes, whatever their folders.",
                "Rename one of them, in the annotations too.",
            )
        found[video_id] = path
    if not found:
        raise UserError(
            f"{folder} contains no videos.",
            f"Expected files ending in {', '.join(sorted(VIDEO_SUFFIXES))}, in the folder or in folders in it.",
            "Set dataset.videos to the folder of the videos.",
        )
    used = {path.relative_to(folder).parts[0] for path in every}
    ours = {os.path.realpath(path) for path in skip}  # Path.resolve refuses a link to itself
    entries = (path for path in sorted(folder.iterdir()) if path.name not in used and not path.name.startswith("."))
    others = [f"{path.name}/" if path.is_dir() else path.name for path in entries if os.path.realpath(path) not in ours]
    if others:
        kind = "which is not a video" if len(others) == 1 else "which are not videos and hold none"
        entry = console.count(len(others), "entry", "entries")
        console.say(f"Ignored {entry} of {folder}, {kind}: {console.first_ten(others)}")
    return found


def videos_below(folder: Path, *, skip: Sequence[Path] = ()) -> list[Path]:
    """The videos of a folder and of folders in it at any depth, links followed, each folder once; `skip` left out."""
    found: list[Path] = []
    seen = {_identity(path) for path in skip if path.is_dir()} - {_identity(folder)}
    waiting = [folder]
    while waiting:
        inner = waiting.pop()
        if _identity(inner) in seen:  # such as a link to a folder above
            continue
        seen.add(_identity(inner))
        for path in inner.iterdir():
            if path.name.startswith(".") or _COPIES.fullmatch(path.name):
                continue
            if path.is_dir():
                waiting.append(path)
            elif _is_video(path):
                found.append(path)
    return sorted(found)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def with_files(videos: dict[str, AnnotatedVideo], folder: Path, *, prefix: str = "") -> dict[str, AnnotatedVideo]:
    """The videos with their files; where the annotations state no duration, it is read from the header, with the rate.

    A file, or a folder of frames, has an id as its name, with or without `prefix`; it is in `folder`, or in a folder in
    it. Reports videos without a file. Raises UserError if two files have one id, or if no video has a file.
    """
    found: dict[str, Path] = {}
    for path in _videos_below(folder):
        video_id = path.name if path.is_dir() else path.stem
        video_id = video_id if video_id in videos else video_id.removeprefix(prefix)
        if video_id in videos and found.setdefault(video_id, path) != path:
            raise UserError(
                f"{found[video_id]} and {path} would both be the video {video_id}.",
                "Expected one file of each video.",
                "Move one of them out of dataset.videos.",
            )
    missing = sorted(videos.keys() - found.keys())
    if not found:
        suffixes = ", ".join(sorted(VIDEO_SUFFIXES))
        raise UserError(
            f"{folder} contains none of {console.count(len(videos), 'video')}, such as {console.first_ten(missing)}.",
            f"Expected files named by these ids, ending in {suffixes}, in the folder or in folders in it.",
            "Set dataset.videos to the folder of the videos.",
        )
    if missing:
        total = console.count(len(videos), "video")
        console.say(f"{folder} has {len(found)} of {total}; missing: {console.first_ten(missing)}")
    placed = {video_id: replace(video, file=found.get(video_id)) for video_id, video in videos.items()}
    unknown = {key: video for key, video in placed.items() if video.file and video.duration_s is None}
    return {**placed, **(with_all_facts(unknown) if unknown else {})}


def _videos_below(folder: Path) -> Iterator[Path]:
    """The videos and folders of frames in a folder and in the folders in it, but for links to what was seen."""
    seen = {os.path.realpath(folder)}
    for path in sorted(folder.iterdir()):
        if _is_video(path) or (path / FRAMES_FILE).is_file():
            yield path
        elif path.is_dir() and os.path.realpath(path) not in seen:
            seen.add(os.path.realpath(path))
            yield from (one for one in sorted(path.iterdir()) if _is_video(one) or (one / FRAMES_FILE).is_file())


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def with_all_facts(
    videos: dict[str, AnnotatedVideo], unreadable: dict[str, str] | None = None, known: KnownFacts | None = None
) -> dict[str, AnnotatedVideo]:
    """The videos in id order with duration and rate from their headers, which other processes read.

    Files that exist but cannot be read are added to `unreadable`, with the reason, or warned of. Headers are not read
    if `known` has what they say, and added to it if they are.
    """
    result = known.with_facts(videos) if known else {}
    unread = [videos[video_id] for video_id in sorted(videos) if video_id not in result]
    with (
        console.progress("reading video headers", len(unread)) as bar,
        HeaderReader(len(unread)) as headers,
        ThreadPoolExecutor(headers.num_processes) as pool,
    ):
        for video in pool.map(lambda video: _with_facts(video, headers, unreadable), unread):
            result[video.id] = video
            if known and video is not videos[video.id]:  # its header was read
                known.add(video)
            bar(1)
    return {video_id: result[video_id] for video_id in sorted(videos)}


def _with_facts(video: AnnotatedVideo, headers: HeaderReader, unreadable: dict[str, str] | None) -> AnnotatedVideo:
    if video.file is None or not video.file.exists():
        return video
    try:
        facts = headers.facts(video.file)
    except VideoError as error:
        if unreadable is None:
            console.warn(f"{video.file}: {error}; extract-features will list it in failed.jsonl", id=video.id)
        else:
            unreadable[video.id] = str(error)
        return video
    return replace(video, duration_s=round(facts.duration_s, 6), fps=facts.fps)
