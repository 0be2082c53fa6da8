"""What is known of one video's features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actloc.structures import Grid

Features = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureInfo:
    """What is known about one video's features."""

    video_id: str
    encoder: str
    """What made the features; of imported ones, the recipe's name."""
    weights_sha256: str | None
    recipe: str
    """The settings that determine the features, as JSON."""
    fps: float
    clip_frames: int
    stride_frames: int
    align: str
    offset_frames: float
    """The centre of the first clip."""
    frame_count: int
    """Frames of the video at `fps`."""
    duration_s: float
    reader: str
    """What decoded the video, or `folders` where other projects' files were imported."""
    source_bytes: int
    """Size of the video's file, or of the files that were imported."""
    source_sha256: str
    """Digest of the video's file; of several files, the digest of their digests."""
    code_version: str
    steps: int = 0
    """T; the store fills it in."""
    channels: int = 0
    """C; the store fills it in."""


def grid(info: FeatureInfo) -> Grid:
    """The bridge between seconds and the rows of the video's features."""
    return Grid(info.fps, info.stride_frames, info.offset_frames)
