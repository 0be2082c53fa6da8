"""Pieces of a video, one batch each, that travel from the decoding task to the encoding actor."""

import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actloc.extraction.decoded import thinned
from actloc.video.windows import ClipSpacing, Picking

Piece = tuple[NDArray[Any], NDArray[np.int64] | None]
"""Frames (n, H, W, c), and the indices of each clip's frames (S, F); None if the network takes single frames."""


def frame_pieces(frames: Iterable[NDArray[Any]], count: int) -> Iterator[Piece]:
    """Pieces of `count` frames."""
    remaining = iter(frames)
    while listed := list(itertools.islice(remaining, count)):
        yield np.stack(listed), None


def clip_pieces(
    frames: Iterable[NDArray[Any]],
    spacing: ClipSpacing,
    count: int,
    picking: Callable[[], Picking | None] = lambda: None,
) -> Iterator[Piece]:
    """Pieces of `count` clips; frames that clips share are sent once per piece."""
    cutter = spacing.windower(picking)
    kept: dict[int, NDArray[Any]] = {}
    clips: list[NDArray[np.int64]] = []

    def piece() -> Piece:
        places = np.stack(clips)
        first, last = int(places.min()), int(places.max())
        listed = np.stack([kept[place] for place in range(first, last + 1)])
        clips.clear()
        return listed, places - first

    for number, frame in enumerate(frames):
        kept[number] = frame
        clips += thinned(cutter.add(np.array(number)), spacing.frame_interval)
        if len(clips) == count:
            yield piece()
        kept.pop(number - _frames_needed(spacing, count, picking()), None)
    for clip in thinned(cutter.end(), spacing.frame_interval):
        clips.append(clip)
        if len(clips) == count:
            yield piece()
    if clips:
        yield piece()


def _frames_needed(spacing: ClipSpacing, count: int, picking: Picking | None) -> int:
    """Number of frames before the newest one that an unsent clip may contain."""
    places = spacing.clip_frames + (count + 1) * spacing.stride_frames
    return places if picking is None else math.ceil((places + 1) * picking.step) + 2


def to_bytes(piece: Piece) -> bytes:
    """The piece as .npz: videos differ in frame size, which columns of Ray Data do not support."""
    frames, clips = piece
    stream = io.BytesIO()
    np.savez(stream, frames=frames, clips=np.empty(0, np.int64) if clips is None else clips)
    return stream.getvalue()


def from_bytes(content: bytes) -> Piece:
    """The piece that `to_bytes` wrote."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return arrays["frames"], arrays["clips"] if arrays["clips"].size else None
