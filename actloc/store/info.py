"""The facts that a store keeps about one video's features."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc.structures import Grid

Features = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureInfo:
    """How one video's features were made, from what, and their shape."""

    video_id: str
    encoder: str
    """The encoder that made the features; of imported ones, the name of the recipe."""
    weights_sha256: str | None
    recipe: str
    """The settings that determine the features, as JSON."""
    fps: float
    clip_frames: int
    stride_frames: int
    align: str
    offset_frames: float
    """The centre of the first clip, in frames."""
    frame_count: int
    """The number of frames of the video at `fps`."""
    duration_s: float
    reader: str
    """The decoder of the video, or `folders` if files of other projects were imported."""
    source_bytes: int
    """Size of the video file, or of the imported files."""
    source_sha256: str
    """The sha256 of the video file; of several files, the sha256 of their sha256s."""
    code_version: str
    steps: int = 0
    """T; the store fills it in."""
    channels: int = 0
    """C; the store fills it in."""
    vectors_per_clip: int = 1
    """Rows that one clip gives, each for an equal part of it."""


def recorded(info: FeatureInfo) -> dict[str, Any]:  # Any: JSON values
    """The facts as a file records them, in the order of its checksum; without what older files do not say."""
    facts = asdict(info)
    if facts["vectors_per_clip"] == 1:
        del facts["vectors_per_clip"]
    return facts


def grid(info: FeatureInfo) -> Grid:
    """The time grid of the video's features, which converts between rows and seconds."""
    return row_grid(info.fps, info.clip_frames, info.stride_frames, info.offset_frames, info.vectors_per_clip)


def row_grid(fps: float, clip_frames: int, stride_frames: int, offset_frames: float, vectors_per_clip: int) -> Grid:
    """The time grid of rows, of which each clip gives several for equal parts of it; clips are then back to back."""
    row_frames = clip_frames / vectors_per_clip
    return Grid(fps, stride_frames / vectors_per_clip, offset_frames - clip_frames / 2 + row_frames / 2)
