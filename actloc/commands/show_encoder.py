"""Counts how large an encoder is, and what one clip costs: nothing is computed, and no weights are read."""

from contextlib import suppress

import torch

from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.base_sizes import EncoderSize
from actloc.errors import UserError
from actloc.layers.multiply_adds import multiply_adds
from actloc.video.frame_transforms import prepared_frame

_FRAME_SIZE = 720, 1280
"""Height and width of the decoded frame, which only matters to encoders that do not crop."""


def encoder_size(config: EncoderConfig, num_frames: int) -> EncoderSize | None:
    """The size of the encoder, for clips of `num_frames`; None where it cannot be built without its weights file."""
    try:
        with torch.device("meta"):
            encoder = config.network().eval()
    except UserError:
        return None
    frame = prepared_frame(config.frame_steps(), *_FRAME_SIZE)  # as `encode` gets it, but for the encoder's `frames`
    of_features = {weight for stage in encoder.stages() for block in stage for weight in block.parameters()}
    whole, for_features, num_vectors = _multiply_adds(encoder, torch.empty(1, num_frames, *frame.shape, device="meta"))
    return EncoderSize(
        weights=sum(weight.numel() for weight in encoder.parameters()),
        feature_weights=sum(weight.numel() for weight in of_features),
        clip=(num_frames, *frame.shape[:2]),
        multiply_adds=whole,
        feature_multiply_adds=for_features,
        vectors=(encoder.channels, num_vectors),
    )


def _multiply_adds(encoder: ClipEncoder, clip: torch.Tensor) -> tuple[int | None, int | None, int]:
    """Of all of the encoder, of its features, and the number of the clip's vectors."""
    features: list[torch.Tensor] = []

    def classify() -> None:
        with suppress(UserError, RuntimeError):  # there is no classifier, or the features are its scores already
            encoder.logits(features[0])

    if encoder.makes_frames:  # the network of these sees the whole video
        return None, None, 0
    try:
        with torch.inference_mode():
            for_features = multiply_adds(encoder, lambda: features.append(encoder.encode(clip)))
            return for_features + multiply_adds(encoder, classify), for_features, features[0].shape[-1]
    except Exception:  # a user's own encoder may look at values, which there are none of here
        return None, None, 0
