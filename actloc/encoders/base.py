"""The interface of encoders: the frames they take, and the feature vectors of clips."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from actloc.errors import UserError
from actloc.files import sha256_of_file
from actloc.settings.sections import OptionalInputFile, Part, Shapes
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights.files import load_part

WeightsFile = Annotated[OptionalInputFile, Shapes("nothing")]
"""A file of weights. It may move: features and checkpoints record the sha256 of its contents."""


class EncoderConfig(Part):
    """Settings of every encoder; each encoder's module adds its own."""

    shapes = "features"

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type that matrix products and convolutions compute in; features are always float32."""
    channels_last: bool = False
    """Keep activations channels-last in memory: often faster, with different rounding."""

    @abstractmethod
    def frame_steps(self) -> tuple[FrameStep, ...]:
        """The transforms of each decoded frame before `encode`."""

    @abstractmethod
    def build(self) -> "ClipEncoder":
        """The encoder with its weights, in evaluation mode."""

    def network(self) -> "ClipEncoder":
        """The encoder with random weights; the same as `build` if there are none to load."""
        return self.build()

    @classmethod
    def small(cls) -> "EncoderConfig":
        """The smallest settings that still use every branch; the contract tests build these."""
        return cls()


class PublishedConfig(EncoderConfig):
    """Settings of encoders whose weights the user downloads from their authors."""

    weights: WeightsFile = None
    """File of weights; null: the published file, under its own name in data/weights."""

    @abstractmethod
    def network(self) -> "ClipEncoder":
        """The encoder with random weights, before `build` loads the published ones."""


class ResizedFrames(EncoderConfig):
    """Settings of encoders that take frames of any size, resized by FFmpeg: fast, and in no published recipe."""

    short_side: PositiveInt
    """Short side in pixels after resizing; the long side keeps the aspect ratio, to the nearest even number."""
    crop: PositiveInt | None = None
    """Side in pixels of the square cut from the centre; null: the whole frame."""

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop is not None and self.crop > self.short_side:
            raise ValueError(f"crop {self.crop} is larger than short_side {self.short_side}")
        return self

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes the short side, then crops the centre."""
        resize = Resize("swscale_bicubic", short_side=self.short_side)
        return (resize,) if self.crop is None else (resize, Crop(self.crop))


class ClipEncoder(nn.Module, ABC):
    """A network over clips; extraction, end-to-end training and recognition call the same methods."""

    channels: int
    """C of the features."""
    clip_multiple: int = 1
    """The length of a clip must be a multiple of this."""
    cpu_batch: int = 32
    """Clips per batch on a CPU, where large batches do not fit in the caches."""
    is_framewise: bool = False
    """Whether a clip's features are pooled from vectors of its frames, which overlapping clips can then share."""
    makes_frames: bool = False
    """Whether `frames` changes the frames: it must then run on the encoder's machine."""
    weights_sha256: str | None = None
    """sha256 of the weights file; None if there are no weights."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def network_input(self, clips: Tensor) -> Tensor:
        """Clips (S, F, H, W, c) of any type as (S, c, F, H, W) float32, in the memory format of the settings."""
        by_channel = clips.permute(0, 4, 1, 2, 3).float()
        return by_channel if self.config.channels_last else by_channel.contiguous()

    @property
    def device(self) -> torch.device:
        """The device that the encoder computes on, even if it has no weights."""
        return self.get_buffer("_anchor").device

    def vectors_per_clip(self, num_frames: int) -> int:
        """v: the vectors, each for an equal part of the clip, that `encode` makes of a clip of `num_frames` frames."""
        return 1

    def frames(self, frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """The frames that clips are cut from, given those after `config.frame_steps()`; usually unchanged.

        For steps that need a network, such as learned optical flow: they run here, on the encoder's device.
        """
        return frames

    @abstractmethod
    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, v) of clips (S, F, H, W, c), float32 or finer: `vectors_per_clip` each, in order of time.

        Clips consist of pictures after `config.frame_steps()` and `frames`: uint8, or float32 on the same scale, RGB
        first. This method scales the pixels. A clip's features do not depend on how many clips there are, up to
        rounding. Gradients flow unless the caller switches them off.
        """

    def check_videos(self, videos: Mapping[str, Path]) -> None:
        """Raises UserError if the encoder needs data about some videos, by id, and does not have it; usually no-op."""

    def video_term(self, video_id: str, file: Path) -> NDArray[np.float32] | None:
        """A term (C,) to add to each vector of this video's clips, such as one of the whole video; usually None."""
        return None

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
            "Expected an encoder whose weights include a classifier.",
            "Choose another encoder: actloc ls encoders",
        )


def encode_by_frame(encoder: ClipEncoder, clips: Tensor) -> Tensor:
    """Implements `encode` of a framewise encoder: features (S, C, v) of clips (S, F, H, W, 3)."""
    vectors = encoder.frame_vectors(clips.flatten(0, 1))
    return encoder.pool_frames(vectors.reshape(*clips.shape[:2], -1))


def load_into(encoder: ClipEncoder, tensors: dict[str, Tensor], path: Path, ignored: Sequence[str] = ()) -> None:
    """Loads `tensors` strictly and records the file's sha256; raises UserError with every tensor that does not fit.

    `ignored` are prefixes of names that the encoder does not use, such as a classifier's.
    """
    wanted = {name: value for name, value in tensors.items() if not name.startswith(tuple(ignored))}
    load_part(encoder, wanted, path, "Choose the encoder that these weights belong to: actloc ls encoders")
    encoder.weights_sha256 = sha256_of_file(path)
