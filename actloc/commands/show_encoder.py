"""How large an encoder is, and what one clip costs, for `actloc show`: nothing is computed, and no weights are read."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder
from actloc.errors import UserError
from actloc.layers.multiply_adds import multiply_adds
from actloc.video.frame_transforms import Frame, Resize

_FRAME_SIZE = 720, 1280
"""Height and width of the decoded frame, which only matters to encoders that do not crop."""


@dataclass(frozen=True)
class EncoderSize:
    """What papers state of a network."""

    weights: int
    """All weights that can learn."""
    feature_weights: int
    """Those of them that features need; the others are usually a classifier's."""
    clip: tuple[int, int, int]
    """Frames, height and width."""
    multiply_adds: int | None
    """Of one clip, with its class scores if there is a classifier; None if they cannot be counted, which is said."""

    def __str__(self) -> str:
        text, of_features = (f"{number / 1e6:.2f} million" for number in (self.weights, self.feature_weights))
        text += " weights" if of_features == text else f" weights, {of_features} of them for features"
        if self.multiply_adds is None:
            return f"{text}; its multiply-adds are not counted, because it looks at values or at whole videos"
        frames, height, width = self.clip
        return f"{text}; {self.multiply_adds / 1e9:.2f} G multiply-adds for a clip of {frames} x {height} x {width}"


def encoder_size(config: EncoderConfig, num_frames: int) -> EncoderSize | None:
    """The size of the encoder, for clips of `num_frames`; None where it cannot be built without its weights file."""
    try:
        with torch.device("meta"):
            encoder = config.network().eval()
    except UserError:
        return None
    frame = _prepared_frame(config)
    of_features = {weight for stage in encoder.stages() for block in stage for weight in block.parameters()}
    return EncoderSize(
        weights=sum(weight.numel() for weight in encoder.parameters()),
        feature_weights=sum(weight.numel() for weight in of_features),
        clip=(num_frames, *frame.shape[:2]),
        multiply_adds=_multiply_adds(encoder, torch.empty(1, num_frames, *frame.shape, device="meta")),
    )


def _prepared_frame(config: EncoderConfig) -> Frame:
    """A black frame as `encode` gets it, but for what the encoder's own `frames` does."""
    frame: Frame = np.zeros((*_FRAME_SIZE, 3), np.uint8)
    for step in config.frame_steps():
        if isinstance(step, Resize):  # some only run inside FFmpeg
            frame = np.zeros((*step.target(*frame.shape[:2]), frame.shape[2]), np.uint8)
        else:
            frame = step.apply(frame)
    return frame


def _multiply_adds(encoder: ClipEncoder, clip: torch.Tensor) -> int | None:
    def call() -> None:
        features = encoder.encode(clip)
        with suppress(UserError, RuntimeError):  # there is no classifier, or the features are its scores already
            encoder.logits(features)

    if encoder.makes_frames:  # the network of these sees the whole video
        return None
    try:
        with torch.inference_mode():
            return multiply_adds(encoder, call)
    except Exception:  # a user's own encoder may look at values, which there are none of here
        return None
