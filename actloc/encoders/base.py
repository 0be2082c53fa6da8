"""What every encoder answers: how it wants its frames, and the feature vectors of clips."""

from abc import abstractmethod
from typing import Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from actloc.config import Part
from actloc.errors import UserError


class EncoderConfig(Part):
    """How frames are prepared for an encoder; an encoder's file adds its own settings."""

    short_side: PositiveInt
    """Pixels of the short side after resizing; the long side follows, to the nearest even number."""
    crop: PositiveInt | None = None
    """Pixels of the square cut out of the centre; none keeps the whole frame."""

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop is not None and self.crop > self.short_side:
            raise ValueError(f"crop {self.crop} is larger than short_side {self.short_side}")
        return self

    @abstractmethod
    def build(self) -> "ClipEncoder":
        """The encoder with its weights, in evaluation mode."""

    @classmethod
    @abstractmethod
    def small(cls) -> "EncoderConfig":
        """The smallest settings that still use every branch; the contract tests build these."""


class ClipEncoder(nn.Module):
    """A network over clips; extraction, end-to-end training and recognition call the same methods."""

    channels: int
    """C of the features."""
    clip_multiple: int = 1
    """A clip's length is a multiple of this."""
    mixes_clips: bool = False
    """Whether a clip's features depend on the other clips of the batch, so that none can be left out."""
    is_framewise: bool = False
    """Whether a clip's features are pooled from vectors of its frames, which overlapping clips then share."""
    weights_sha256: str | None = None
    """Of the weights' file; None where there are no weights."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the encoder computes, also one without weights."""
        return self.get_buffer("_anchor").device

    @abstractmethod
    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, v) float32 of clips (S, F, H, W, 3) uint8 RGB: v vectors each, in order of time.

        Pixels are scaled inside. A clip's features do not depend on how many clips there are, up to rounding, unless
        `mixes_clips`. Gradients flow unless the caller switches them off.
        """

    def frame_vectors(self, frames: Tensor) -> Tensor:
        """Vectors (N, c) of frames (N, H, W, 3) uint8 RGB, for `pool_frames`; framewise encoders only."""
        raise NotImplementedError(f"{type(self).__name__} does not encode frame by frame")

    def pool_frames(self, vectors: Tensor) -> Tensor:
        """Features (S, C, v) of clips from their frames' vectors (S, F, c); framewise encoders only."""
        raise NotImplementedError(f"{type(self).__name__} does not encode frame by frame")

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) before softmax of features (S, C, v); encoders with a classifier only."""
        raise UserError(
            f"The encoder {type(self).__name__} has no classifier.",
            "Expected an encoder whose weights name classes.",
            "Choose another encoder: actloc ls encoders",
        )


def encode_by_frame(encoder: ClipEncoder, clips: Tensor) -> Tensor:
    """What `encode` of a framewise encoder does: features (S, C, v) of clips (S, F, H, W, 3)."""
    vectors = encoder.frame_vectors(clips.flatten(0, 1))
    return encoder.pool_frames(vectors.reshape(*clips.shape[:2], -1))
