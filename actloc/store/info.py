"""The facts that a store keeps about one video's features."""

from dataclasses import dataclass

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


def grid(info: FeatureInfo) -> Grid:
    """The time grid of the video's features, which converts between rows and seconds."""
    return Grid(info.fps, info.stride_frames, info.offset_frames)
