"""A window of a video as the clips that an encoder makes its features of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.ops.windows import resize
from actloc.video.clip_reader import ClipReader
from actloc.video.frame_transforms import FrameStep
from actloc.video.windows import ClipLayout, ClipSpacing


@dataclass(frozen=True)
class ClipWindow:
    """Rows `first_row` to `first_row + num_rows` of a video's features, which exist once its clips are encoded.

    A `Payload`: its shape is that of the features, and it is narrowed as they are.
    """

    path: Path
    num_frames: int
    """Frames of the video."""
    layout: ClipLayout
    """The clips of the whole video."""
    channels: int
    first_row: int
    num_rows: int
    steps: tuple[FrameStep, ...]
    """The transforms of every frame, with the choices of this visit."""
    frame_shape: tuple[int, ...]
    """(H, W, c) of a frame after them."""
    dtype: str
    """uint8 or float32."""
    learning: frozenset[int] = frozenset()
    """The clips whose gradient reaches the encoder."""
    held: NDArray[Any] | None = None
    """The frames (S, F, H, W, c) of the clips to encode; None: they are read when they are needed."""
    resize_to: int | None = None
    """Rows of the whole video after interpolation, which needs all of its clips; None: one for each vector."""
    filled_rows: int | None = None
    """Rows to make, at least `num_rows`: those beyond the window's end are for detectors that look at padding.
    None: `num_rows`."""
    others_are_stored: bool = False
    """Whether only the clips that learn are encoded, because a bank has the features of the others."""

    @property
    def shape(self) -> tuple[int, int]:
        """C and T."""
        return self.channels, self.num_rows

    def narrow(self, dim: int, start: int, length: int) -> "ClipWindow":
        """The window of `length` rows from row `start` of this one on, and of none beyond its end."""
        assert dim == 1
        assert self.held is None
        return replace(self, first_row=self.first_row + start, num_rows=length, filled_rows=None)

    def filled(self, spacing: ClipSpacing, num_rows: int | None) -> "ClipWindow":
        """The window with `num_rows` rows to make, of clips beyond the end of the video as well, unless it has more.

        None: as it is.
        """
        if num_rows is None:
            return self
        made = max(num_rows, self.num_rows)
        first_frame, per_clip = self.layout.first_frames[0], self.layout.vectors_per_clip
        layout = spacing.layout_from(first_frame, self.first_row + made, per_clip)
        return replace(self, layout=layout, filled_rows=made)

    def from_frame(
        self, spacing: ClipSpacing, first_frame: int, frames_before: int, num_rows: int, filled_rows: int | None
    ) -> "ClipWindow":
        """The window whose rows begin at any frame of the video, of clips that begin `frames_before` earlier."""
        per_clip = self.layout.vectors_per_clip
        before = frames_before * per_clip // spacing.stride_frames
        made = max(num_rows, filled_rows or 0)
        layout = spacing.layout_from(first_frame - frames_before, before + made, per_clip)
        return replace(self, layout=layout, first_row=before, num_rows=num_rows, filled_rows=made)

    def ended(self, stride_frames: int) -> "ClipWindow":
        """The window with its last frame that is seen in place of all later ones; clips are `stride_frames` apart."""
        layout = self.layout
        first = layout.first_frames[0]
        end = first + (self.first_row + self.num_rows) * stride_frames // layout.vectors_per_clip
        seen = range(first, min(end, self.num_frames), layout.frame_step)
        return replace(self, layout=layout.ended(seen[-1]))

    @property
    def clips(self) -> range:
        """The numbers of the window's clips."""
        if self.resize_to is not None:
            return range(len(self.layout.first_frames))
        return self.layout.clips_of(self.first_row, self.filled_rows or self.num_rows)

    @property
    def encoded(self) -> list[int]:
        """The numbers of the clips to encode."""
        return sorted(self.learning) if self.others_are_stored else list(self.clips)

    def with_stored(self, encoded: Tensor, stored: Tensor) -> Tensor:
        """The vectors (S, C, v) of all clips: those `encoded`, and the `stored` ones (S, C, v) in place of the rest."""
        places = torch.tensor([clip - self.clips[0] for clip in self.encoded], device=encoded.device)
        return stored.to(encoded).index_copy(0, places, encoded)

    def rows(self, vectors: Tensor) -> Tensor:
        """The window's rows (C, T) of the vectors (S, C, v) of all its clips; T is `filled_rows`, if that is set.

        Where clips have another number of rows, those are interpolated between the vectors of all clips.
        """
        joined = vectors.transpose(0, 1).flatten(1)  # (C, S * v)
        if self.resize_to is not None:
            return resize(joined, self.resize_to).narrow(1, self.first_row, self.num_rows)
        joined = resize(joined, len(self.clips) * self.layout.vectors_per_clip)
        first = self.layout.rows_of(self.clips[0])[0]
        return joined.narrow(1, self.first_row - first, self.filled_rows or self.num_rows)

    @property
    def num_bytes(self) -> int:
        """Size of its frames in memory."""
        frames = len(self.layout.frames_of(0)) * len(self.encoded)
        return frames * math.prod(self.frame_shape) * np.dtype(self.dtype).itemsize

    def loaded(self, reader: ClipReader) -> "ClipWindow":
        """The window with the frames that are encoded in memory."""
        return replace(self, held=self._read(reader, self.encoded))

    def frames(self, reader: ClipReader, clips: Sequence[int]) -> NDArray[Any]:
        """The frames (S, F, H, W, c) of some of the clips."""
        if self.held is None:
            return self._read(reader, clips)
        places = {clip: place for place, clip in enumerate(self.encoded)}
        return self.held[[places[clip] for clip in clips]]

    def _read(self, reader: ClipReader, clips: Sequence[int]) -> NDArray[Any]:
        layout = self.layout
        if layout.frames is None:
            firsts = [layout.first_frames[clip] for clip in clips]
            return reader.read(self.path, firsts, layout.clip_frames, layout.frame_step, self.steps)
        frames = [layout.frames_of(clip) for clip in clips]
        one_by_one = reader.read(self.path, [frame for clip in frames for frame in clip], 1, steps=self.steps)
        return one_by_one.reshape(len(clips), len(frames[0]), *one_by_one.shape[2:])

    def is_outside(self, clips: Sequence[int]) -> Tensor:
        """Whether each frame (S, F) of some of the clips is outside the video."""
        frames = np.array([list(self.layout.frames_of(clip)) for clip in clips])
        return torch.from_numpy((frames < 0) | (frames >= self.num_frames))
