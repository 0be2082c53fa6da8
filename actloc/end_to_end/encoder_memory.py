"""What encoding takes in a step, measured on tensors that have shapes but no values: nothing is computed or allocated.

Every call of the encoder keeps as much as the one before, so two calls are enough to know any number of them.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.end_to_end.memory import LiveBytes
from actloc.layers.precision import computing_in


@dataclass(frozen=True)
class Encoding:
    """The clips of a batch."""

    frames_shape: tuple[int, ...]
    """(F, H, W, c) of a clip."""
    dtype: torch.dtype
    """uint8 or float32."""
    learning: int
    """Clips that the encoder learns from."""
    others: int
    """Clips that it encodes without gradient."""
    chunk: int
    """Clips of one call."""

    @property
    def frames_bytes(self) -> int:
        """Those of the frames of a call."""
        return min(self.chunk, max(self.learning, self.others)) * self._one_clip().nbytes

    def clips(self, number: int, device: torch.device) -> Tensor:
        """As many black clips."""
        return torch.zeros((number, *self.frames_shape), dtype=self.dtype, device=device)

    def _one_clip(self) -> Tensor:
        return torch.empty(self.frames_shape, dtype=self.dtype, device="meta")


@dataclass(frozen=True)
class EncoderBytes:
    """Bytes in the parts of a step, beside the weights; gradients of these are counted where they exist by then."""

    features: int = 0
    """At most while the features are made."""
    held: int = 0
    """From then until the backward pass."""
    backward: int = 0
    """At most during the encoder's backward pass."""
    activations: int = 0
    """At most without gradients of weights, and with the frames of a call."""


def encoder_bytes(live: LiveEncoder, encoding: Encoding, *, has_gradients: bool) -> EncoderBytes:
    """The encoder's part of a step; `has_gradients` if an earlier batch of the step has left those of the weights.

    An encoder that looks at values is really run, on two calls at most.
    """
    without_values = FakeTensorMode(allow_non_fake_inputs=True)
    tensors = [*live.encoder.parameters(), *live.encoder.buffers()]
    encoder = copy.deepcopy(live.encoder, {id(one): without_values.from_tensor(one) for one in tensors})
    try:
        with without_values:
            return _Measurement(live, encoder, encoding).result(has_gradients=has_gradients)
    except Exception:  # whatever its code makes of tensors without values; a mistake in it appears again below
        measured = _Measurement(live, live.encoder, encoding).result(has_gradients=has_gradients)
        live.encoder.zero_grad(set_to_none=True)
        return measured


class _Measurement:
    def __init__(self, live: LiveEncoder, encoder: ClipEncoder, encoding: Encoding) -> None:
        self.live, self.encoder, self.encoding = live, encoder, encoding
        self.counted = LiveBytes([*encoder.parameters(), *encoder.buffers()])
        self._weights = self.counted.now

    def result(self, *, has_gradients: bool) -> EncoderBytes:
        """Of one batch, or of the second of two."""
        visit = self._direct if self.live.route == "direct" else self._replay
        with self.counted:
            result = visit()
            return visit() if has_gradients and self.encoding.learning else result

    def _encoded(self, number: int, *, learns: bool) -> Tensor:
        clips = self.encoding.clips(number, self.encoder.device)
        if self.live.outside in ("zero", "black"):  # then those outside the video are set, in the encoder's type
            clips = clips.to(self.encoder.dtype)
        with torch.set_grad_enabled(learns), computing_in(self.live.precision, self.encoder.device):
            return self.encoder.encode(clips)

    def _peak(self, work: Callable[[], object]) -> int:
        self.counted.restart()
        work()
        return self.counted.peak - self._weights

    def _without_gradient(self, clips: int) -> int:
        number = min(clips, self.encoding.chunk)
        return self._peak(lambda: self._encoded(number, learns=False)) if number else 0

    def _direct(self) -> EncoderBytes:
        encoding, counted = self.encoding, self.counted
        others = self._without_gradient(encoding.others)
        before = counted.now - self._weights
        size = min(encoding.learning, encoding.chunk)
        if not size:
            return EncoderBytes(features=others, activations=others)
        counted.restart()
        made = [self._encoded(size, learns=True)]
        kept = counted.now - self._weights - before
        if encoding.learning > size:
            made.append(self._encoded(size, learns=True))
            kept = counted.now - self._weights - before - kept
        more = kept * (encoding.learning - len(made) * size) // size
        held = counted.now - self._weights + more
        features = counted.peak - self._weights + more
        vectors = torch.cat(made)
        made.clear()
        backward = self._peak(lambda: vectors.backward(torch.ones_like(vectors))) + more  # type: ignore[no-untyped-call]
        features = max(features, held + others)
        return EncoderBytes(features, held, backward, activations=features - before)

    def _replay(self) -> EncoderBytes:
        encoding, counted = self.encoding, self.counted
        others = self._without_gradient(max(encoding.learning, encoding.others))
        before = counted.now - self._weights
        size = min(encoding.learning, encoding.chunk)
        activations = kept = 0
        backward = []
        for _ in range(2 if encoding.learning > size else min(size, 1)):
            existing = counted.now
            counted.restart()
            vectors = self._encoded(size, learns=True)
            activations, kept = max(activations, counted.peak - existing), counted.now - existing
            vectors.backward(torch.ones_like(vectors))  # type: ignore[no-untyped-call]
            backward.append(counted.peak - self._weights)
        kept_clips = min(self.live.kept_chunks * encoding.chunk, encoding.learning)
        all_kept = kept * kept_clips // max(size, 1)
        more = max(all_kept - kept, 0)  # beside those of the chunk whose turn it is
        activations = max(activations + more, others - before + all_kept)
        # the first call's backward pass begins without gradients of the weights, the second's with them
        most = max((peak + max(more - turn * kept, 0) for turn, peak in enumerate(backward)), default=0)
        return EncoderBytes(before + activations, before + all_kept, most, activations)
