"""Re-encodes videos or extracts their frames before they are read, for a whole dataset or for one new video."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import VideoError
from actloc.settings.sections import PreparationSettings
from actloc.video import ffmpeg
from actloc.video.base import VideoFacts
from actloc.video.png_frames import extract_png_frames
from actloc.video.reader import probe


def convert_videos(annotations: Annotations, folder: Path, preparation: PreparationSettings) -> Annotations:
    """The annotations, with files re-encoded or extracted as frames below `folder` if the settings ask for it."""
    if preparation.videos == "keep":
        return annotations
    videos = {}
    with console.progress("converting", len(annotations.videos)) as bar:
        for video in annotations.videos.values():
            videos[video.id] = _converted(video, folder, preparation)
            bar(1, video.id)
    return replace(annotations, videos=videos)


def _converted(video: AnnotatedVideo, folder: Path, preparation: PreparationSettings) -> AnnotatedVideo:
    """A video that cannot be converted keeps its original file; extract-features then reports what is wrong with it."""
    if video.file is None or video.duration_s is None:
        return video
    try:
        return replace(video, file=convert(video.file, video.id, folder, preparation))
    except VideoError as error:
        console.warn(f"Cannot convert {video.file}: {error}; keeping the original file", id=video.id)
        return video


@contextmanager
def as_prepared(video: Path, preparation: PreparationSettings, *, takes_frames: bool = False) -> Iterator[Path]:
    """The file to read for a video that was not prepared: itself, or a copy that is converted as the settings ask.

    The copy is deleted afterwards. With `takes_frames` a folder of frames is read as it is. Raises VideoError.
    """
    if preparation.videos == "keep" or (takes_frames and video.is_dir()):
        yield video
        return
    with tempfile.TemporaryDirectory(prefix="actloc-") as folder:
        yield convert(video, video.stem, Path(folder), preparation)


def convert(source: Path, video_id: str, folder: Path, preparation: PreparationSettings) -> Path:
    """The video re-encoded, or its frames, below `folder`; raises VideoError if frames are missing.

    A folder of frames stays as it is, and cannot be resized. The name includes the settings and a hash of the source,
    so an existing file was made from the same input.
    """
    if source.is_dir():
        if preparation.videos == "png":
            return source  # its frames are there already
        raise VideoError("unsupported", "a folder of frames is not converted", "a video file", "a folder")
    name = f"{files.safe_name(video_id)}-{files.sha256_of_file(source)[:8]}"
    if preparation.videos == "png":
        target = folder / "frames_png" / name
        if not target.exists():
            files.remove_leftovers(target.parent)
            extract_png_frames(source, target)  # which misses no frame, unlike ffmpeg
        return target
    if preparation.videos == "reencode":
        target = folder / f"reencoded_{_form(preparation)}_every{preparation.keyframe_interval}" / f"{name}.mp4"
    else:
        target = folder / f"frames_{_form(preparation)}_q{preparation.jpeg_quality}" / name
    if not target.exists():
        files.remove_leftovers(target.parent)
        facts = probe(source)
        fps = _rate(facts, preparation)
        num_frames = _write(source, target, fps, preparation)
        try:
            _check_whole(facts.duration_s, num_frames, fps)
        except VideoError:
            files.remove(target)
            raise
    return target


def _form(preparation: PreparationSettings) -> str:
    """The rate and the size, for the name of a folder."""
    fps = preparation.fps if preparation.fps == "native" else f"{preparation.fps:g}"
    most = "" if preparation.most_frames is None else f"_most{preparation.most_frames}"
    size = "x".join(map(str, preparation.size)) if preparation.size else f"{preparation.short_side}"
    return f"{fps}fps{most}_{size}px"


def _rate(facts: VideoFacts, preparation: PreparationSettings) -> float:
    """Frames per second after conversion; raises VideoError `unsupported` if the video's own rate is not known."""
    fps = facts.fps if preparation.fps == "native" else preparation.fps
    if not fps:
        raise VideoError("unsupported", "no frame rate", "a frame rate for preparation.fps=native", "none")
    if preparation.most_frames is None or not facts.duration_s:
        return fps
    return min(fps, preparation.most_frames / facts.duration_s)


def _write(source: Path, target: Path, fps: float, preparation: PreparationSettings) -> int:
    if preparation.videos == "frames":
        return ffmpeg.extract_frames(
            source,
            target,
            fps=fps,
            short_side=preparation.short_side,
            size=preparation.size,
            most_frames=preparation.most_frames,
            quality=preparation.jpeg_quality,
        )
    return ffmpeg.reencode(
        source,
        target,
        fps=fps,
        short_side=preparation.short_side,
        size=preparation.size,
        most_frames=preparation.most_frames,
        keyframe_interval=preparation.keyframe_interval,
    )


def _check_whole(duration_s: float, num_frames: int, fps: float) -> None:
    """Counts the frames, because ffmpeg reports success for a truncated file."""
    expected = duration_s * fps
    if expected - num_frames > max(1.0, 0.005 * expected):
        raise VideoError(
            "truncated",
            "ffmpeg wrote fewer frames than the video has",
            f"{expected:.0f} frames",
            f"{num_frames} frames",
        )
