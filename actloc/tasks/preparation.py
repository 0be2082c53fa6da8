"""Videos re-encoded or turned into frames before an encoder sees them, for whole data sets and for one new video."""

from dataclasses import replace
from pathlib import Path

from actloc import console, files
from actloc.annotations import AnnotatedVideo, Annotations
from actloc.config import Preparation
from actloc.video import ffmpeg


def convert_videos(annotations: Annotations, folder: Path, preparation: Preparation) -> Annotations:
    """The annotations with their files re-encoded or turned into frames below `folder`, where the settings ask."""
    if preparation.videos == "keep":
        return annotations
    videos = {}
    with console.progress("converting", len(annotations.videos)) as bar:
        for video in annotations.videos.values():
            videos[video.id] = _converted(video, folder, preparation)
            bar(1, video.id)
    return replace(annotations, videos=videos)


def _converted(video: AnnotatedVideo, folder: Path, preparation: Preparation) -> AnnotatedVideo:
    if video.file is None or video.duration_s is None:
        return video  # unreadable or absent: extract-features names it in failed.jsonl
    return replace(video, file=convert(video.file, video.id, folder, preparation))


def convert(source: Path, video_id: str, folder: Path, preparation: Preparation) -> Path:
    """The video re-encoded, or its frames, in a folder named by these settings; what is there already stays."""
    name = files.safe_name(video_id)
    if preparation.videos == "reencode":
        settings = f"{preparation.fps:g}fps_{preparation.short_side}px_every{preparation.keyframe_interval}"
        target = folder / f"reencoded_{settings}" / f"{name}.mp4"
        if not target.exists():
            ffmpeg.reencode(
                source,
                target,
                fps=preparation.fps,
                short_side=preparation.short_side,
                keyframe_interval=preparation.keyframe_interval,
            )
        return target
    target = folder / f"frames_{preparation.fps:g}fps_{preparation.short_side}px_q{preparation.jpeg_quality}" / name
    if not target.exists():
        ffmpeg.extract_frames(
            source, target, fps=preparation.fps, short_side=preparation.short_side, quality=preparation.jpeg_quality
        )
    return target
