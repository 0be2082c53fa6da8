"""An encoder that makes features while they are needed, and learns from their gradient, in bounded memory.

Four choices describe every published way to train an encoder with a detector. Which of its weights learn is in the
encoder's own settings; which clips of a window it learns from is in the window. Here are the other two: how the
gradient reaches the encoder, and what is recomputed.

direct  the clips that learn are encoded with gradient; autograd keeps their activations until the backward pass
replay  all clips are encoded without gradient; after the detector's backward pass, each chunk of those that learn is
        encoded again, with gradient, and gets the gradient of its features. One chunk's activations exist at a time.
        (Liu et al. 2023, "ETAD: Training Action Detection End to End on a Laptop", arXiv 2205.07134, section 3.2)
        The first chunks may be kept instead: their activations exist until the backward pass, and nothing runs twice.

Both give the same gradient: the chain rule only needs the features' gradient, whose values do not depend on the way.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.encoders.base_network import ClipEncoder, check_clips, ready, vectors_per_clip
from actloc.end_to_end.clip_window import ClipWindow
from actloc.errors import UserError
from actloc.layers.precision import computing_in
from actloc.prefetch import Waits, load_ahead
from actloc.settings.choices import Outside, Route
from actloc.settings.code_errors import wrong_return
from actloc.video.clip_reader import ClipReader
from actloc.video.windows import ClipSpacing


@dataclass(frozen=True)
class _Chunk:
    """Clips of one encoder call: of each, the number of its window in the batch, its own, and its place among all."""

    learns: bool
    windows: tuple[int, ...]
    clips: tuple[int, ...]
    places: tuple[int, ...]


@dataclass(frozen=True)
class _Pending:
    """What the backward pass of a batch needs: the vectors (S, C, v) that have its gradient, and how they were made."""

    windows: tuple[ClipWindow, ...]
    vectors: Tensor
    kept: list[tuple[_Chunk, Tensor]]
    """The first chunks, with the vectors whose graphs exist."""
    replayed: list[tuple[_Chunk, "_RandomState"]]


class LiveEncoder:
    """Encodes the clips of windows, and passes the gradient of their features on to the encoder's weights."""

    def __init__(
        self,
        encoder: ClipEncoder,
        reader: ClipReader,
        *,
        precision: str,
        route: Route,
        chunk: int,
        outside: Outside,
        kept_chunks: int = 0,
    ) -> None:
        self.encoder = encoder
        self.reader = reader
        self.precision = precision
        self.route = route
        self.chunk = chunk
        self.kept_chunks = kept_chunks
        """With replay: how many of the chunks that learn are kept."""
        self.outside = outside
        self.learns = any(parameter.requires_grad for parameter in encoder.parameters())
        """Whether any of the encoder's weights learn."""
        self.watch: Callable[[float], None] = lambda _: None
        """Called with the share of a call's clips that are encoded, from 0 to 1."""
        self.waits = Waits()
        """For frames that are read when they are needed."""
        self._pending: _Pending | None = None

    def vectors(self, windows: Sequence[ClipWindow]) -> list[Tensor]:
        """The vectors (S, C, v) of each window's clips to encode; with gradients on, those that learn have one."""
        chunks = self._chunks(windows)
        trains = torch.is_grad_enabled()
        replays = self.route == "replay" and any(one.learns for one in chunks) and trains
        kept: list[tuple[_Chunk, Tensor]] = []
        replayed: list[tuple[_Chunk, _RandomState]] = []
        made = []
        for one, frames in self._with_frames(windows, chunks):
            is_replayed = replays and one.learns and len(kept) == self.kept_chunks
            if is_replayed:
                replayed.append((one, _RandomState.now(self.encoder.device)))
            with torch.set_grad_enabled(trains and one.learns and not is_replayed):
                vectors = self._encoded(windows, one, frames, drops=trains and one.learns)
            if replays and one.learns and not is_replayed:
                kept.append((one, vectors))
            made.append(vectors.detach() if replays else vectors)
            self.watch(len(made) / len(chunks))
        order = torch.tensor([place for one in chunks for place in one.places]).argsort()
        vectors = torch.cat(made)[order.to(made[0].device)]
        if replays:
            vectors.requires_grad_()
            self._pending = _Pending(tuple(windows), vectors, kept, replayed)
        return list(torch.split(vectors, [len(window.encoded) for window in windows]))

    def backward(self) -> None:
        """Passes the gradient of the last features on, if it has not reached the encoder yet."""
        pending, self._pending = self._pending, None
        if pending is None or pending.vectors.grad is None:
            return
        gradient = pending.vectors.grad
        while pending.kept:  # each graph ends with its turn
            one, vectors = pending.kept.pop(0)
            vectors.backward(gradient[list(one.places)])  # type: ignore[no-untyped-call]
        devices = [self.encoder.device] if self.encoder.device.type == "cuda" else []
        chunks = [one for one, _ in pending.replayed]
        with torch.random.fork_rng(devices), torch.enable_grad():
            together = zip(self._with_frames(pending.windows, chunks), pending.replayed, strict=True)
            for (one, frames), (_, state) in together:
                state.restore(self.encoder.device)
                vectors = self._encoded(pending.windows, one, frames, drops=True)
                vectors.backward(gradient[list(one.places)])  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Ends the processes that read clips; may be called again."""
        self.reader.close()

    def _chunks(self, windows: Sequence[ClipWindow]) -> list[_Chunk]:
        """All clips in calls of at most `chunk`: clips of any windows that agree in shape and in whether they learn."""
        mixes = self.encoder.config.mixes_clips  # then a window is one call, whatever its length
        groups: dict[tuple[object, bool], list[tuple[int, int, int]]] = defaultdict(list)
        place = 0
        for number, window in enumerate(windows):
            for clip in window.encoded:
                groups[number if mixes else window.frame_shape, clip in window.learning].append((number, clip, place))
                place += 1
        chunks = []
        for (_, learns), members in groups.items():
            size = len(members) if mixes else self.chunk
            for start in range(0, len(members), size):
                numbers, clips, places = zip(*members[start : start + size], strict=True)
                chunks.append(_Chunk(learns, numbers, clips, places))
        return chunks

    def _with_frames(
        self, windows: Sequence[ClipWindow], chunks: Sequence[_Chunk]
    ) -> Iterator[tuple[_Chunk, NDArray[Any]]]:
        """Each chunk with its frames (S, F, H, W, c); those of the next one are read while the caller works."""
        frames_of = partial(self._frames, windows)
        if all(window.held is not None for window in windows):
            return zip(chunks, map(frames_of, chunks), strict=True)
        return zip(chunks, self.waits.over(load_ahead(frames_of, chunks, 1)), strict=True)

    def _frames(self, windows: Sequence[ClipWindow], chunk: _Chunk) -> NDArray[Any]:
        by_window = groupby(zip(chunk.windows, chunk.clips, strict=True), key=lambda one: one[0])
        parts = [windows[number].frames(self.reader, [clip for _, clip in members]) for number, members in by_window]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _encoded(self, windows: Sequence[ClipWindow], chunk: _Chunk, frames: NDArray[Any], *, drops: bool) -> Tensor:
        """The vectors (S, C, v) of a chunk; its frames are uint8 until they are on the encoder's device.

        Where it `drops`, blocks skip branches at random.
        """
        encoder = self.encoder
        clips = torch.from_numpy(frames).to(encoder.device)
        if self.outside in ("zero", "black"):
            pairs = zip(chunk.windows, chunk.clips, strict=True)
            is_outside = torch.cat([windows[number].is_outside([clip]) for number, clip in pairs])
            if is_outside.any():
                clips = clips.to(encoder.dtype)
                clips[is_outside.to(clips.device)] = encoder.zero_pixel() if self.outside == "zero" else 0.0
        encoder.drop_branches(drops)
        with computing_in(self.precision, encoder.device):
            vectors = encoder.encode(clips)
        encoder.drop_branches(False)
        expected = len(clips), encoder.channels, encoder.vectors_per_clip(clips.shape[1])
        if not isinstance(vectors, Tensor) or vectors.shape != expected:
            raise wrong_return(vectors, f"a tensor {expected}: clips, channels, vectors of a clip", encoder.encode)
        return vectors


def prepare(
    encoder: ClipEncoder, spacing: ClipSpacing, device: torch.device, *, recomputes: bool, are_spread: bool = False
) -> None:
    """Makes an encoder ready to learn on these clips; with `recomputes`, its blocks' activations are not kept.

    Raises UserError if it cannot be trained on them, or makes several vectors of each while the clips `are_spread` over
    the video: neighbouring vectors would then be of one moment, or of moments that are far apart.
    """
    count = vectors_per_clip(encoder, spacing)
    if are_spread and count > 1:
        raise UserError(
            f"features.resize_by is clips, and the encoder {encoder.config.name} makes {count} vectors of each clip.",
            "Expected one vector of each clip, so that the vectors are evenly spaced in time.",
            "Set features.resize_by=interpolation, or choose another encoder.",
        )
    check_clips(encoder, spacing)
    if encoder.makes_frames:
        raise UserError(
            f"The encoder {encoder.config.name} computes frames with a network that sees the whole video.",
            "Expected one that encodes each clip on its own, to train it with the detector.",
            "Choose other settings of the encoder, or extract its features first: features.name=stored",
        )
    ready(encoder, device).set_trainable(encoder.config.trainable)
    if recomputes:
        encoder.recompute_blocks()


@dataclass(frozen=True)
class _RandomState:
    """Where torch's generators stand, so that a second forward pass drops what the first one dropped."""

    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "_RandomState":
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)

    def restore(self, device: torch.device) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, device)
