"""How large an encoder is, and what one clip costs, for `actloc show`: nothing is computed, and no weights are read."""

from dataclasses import dataclass

import numpy as np
import torch

from actloc.encoders.base import ClipEncoder, EncoderConfig
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
    classifier_weights: int
    """Those of them that features do not need."""
    clip: tuple[int, int, int]
    """Frames, height and width."""
    multiply_adds: int | None
    """Of one clip's features; None if they cannot be counted."""

    def __str__(self) -> str:
        frames, height, width = self.clip
        text = f"{self.weights / 1e6:.2f} million weights"
        if self.classifier_weights:
            text += f", {(self.weights - self.classifier_weights) / 1e6:.2f} million without the classifier"
        if self.multiply_adds is None:
            return text
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
    weights = list(encoder.parameters())
    return EncoderSize(
        weights=sum(weight.numel() for weight in weights),
        classifier_weights=sum(weight.numel() for weight in weights if weight not in of_features),
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
    if encoder.makes_frames:  # the network of these sees the whole video
        return None
    try:
        with torch.inference_mode():
            return multiply_adds(encoder, lambda: encoder.encode(clip))
    except Exception:  # a user's own encoder may look at values, which there are none of here
        return None
