"""The interface of encoders: the frames they take, and the feature vectors of clips."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import importlib
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from actloc.errors import UserError
from actloc.settings.sections import OptionalInputFile, Part, Section, Shapes
from actloc.video.frame_transforms import Crop, FrameStep, Resize

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.encoders.base_network import ClipEncoder

WeightsFile = Annotated[OptionalInputFile, Shapes("nothing")]
"""A file of weights. It may move: features and checkpoints record the sha256 of its contents."""


class FromStage(Section):
    """The stages that learn."""

    shapes = "weights"

    from_stage: NonNegativeInt
    """The first stage that learns; stages are counted from 0."""


class EncoderConfig(Part):
    """Settings of every encoder; each encoder's module adds its own."""

    shapes = "features"

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type that matrix products and convolutions compute in when features are extracted; features are always float32.
    An encoder that is trained computes in training.precision."""
    channels_last: bool = False
    """Keep activations channels-last in memory: often faster, with different rounding."""

    trainable: Annotated[Literal["all", "none", "adapters"] | FromStage, Shapes("weights")] = "all"
    """Which weights learn when the encoder is trained: all, none, {from_stage: 2}, those of the stages from 2 on, or
    adapters, those of an encoder that has some."""
    train_norms: Annotated[bool, Shapes("weights")] = True
    """Whether scales and biases of norms learn too, in the stages that do. Batch norms learn their statistics only in
    recognition."""
    rate_factor: Annotated[PositiveFloat, Shapes("weights")] = 1.0
    """The encoder's learning rate, as a multiple of optimizer.learning_rate."""
    weight_decay: Annotated[NonNegativeFloat | None, Shapes("weights")] = None
    """The encoder's own weight decay; null: optimizer.weight_decay."""

    @property
    def has_weights(self) -> bool:
        """Whether there is anything to learn or to count in the encoder."""
        return True

    @property
    def about_files(self) -> str | None:
        """What files say of a network that only they describe, in a few words; None: the settings describe it."""
        return None

    weights_license: ClassVar[str] = ""
    """The licence of weights that are installed with actloc, as the Hugging Face hub names it; usually empty."""

    @property
    def has_adapters(self) -> bool:
        """Whether the encoder has adapters, which `trainable` can name."""
        return False

    @property
    def mixes_clips(self) -> bool:
        """Whether a clip's features depend on the other clips of its window, which then share one call of `encode`."""
        return False

    @property
    def exact_frames(self) -> int | None:
        """The only number of frames that a clip may have; None: any multiple of the encoder's `clip_multiple`."""
        return None

    @property
    def clip_multiple(self) -> int:
        """The frames of a clip are a multiple of this, where the settings say so and not only the encoder."""
        return 1

    @property
    def crop_multiple(self) -> int:
        """The sides of a crop, in pixels, are multiples of this."""
        return 1

    @model_validator(mode="after")
    def _has_what_learns(self) -> Self:
        if self.trainable == "adapters" and not self.has_adapters:
            raise ValueError(
                f"trainable: found adapters, as features.preset=adatad sets it, but the encoder {self.name} has none; "
                "expected all, none or {from_stage: N}, or an encoder with adapters: {name: videomae, adapters: {}}"
            )
        return self

    @abstractmethod
    def frame_steps(self) -> tuple[FrameStep, ...]:
        """The transforms of each decoded frame before `encode`."""

    @abstractmethod
    def build(self) -> ClipEncoder:
        """The encoder with its weights, in evaluation mode."""

    def weights_files(self) -> list[Path]:
        """The files of weights that `build` reads; raises UserError if one is missing. Usually there are none."""
        return []

    def require_weights(self) -> None:
        """Raises UserError if `build` is known to miss a file, before anything is imported to build the network."""
        # a subclass with a `build` of its own may read other files, or none
        builds = next(one for one in type(self).__mro__ if "build" in vars(one))
        if "weights_files" in vars(builds):
            self.weights_files()

    def network(self) -> ClipEncoder:
        """The encoder with random weights; the same as `build` if there are none to load."""
        return self.build()

    def network_for(self, weights: Mapping[str, Tensor]) -> ClipEncoder:
        """The encoder with random weights, of the shapes of these, which a run has stored by name."""
        return self.network()

    def for_checkpoint(self, file: Path) -> Self:
        """These settings to load a complete checkpoint of the encoder's authors: usually with it as `weights`."""
        return self.model_copy(update={"weights": file})

    def in_our_names(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a published file under the names of the encoder; usually these are the same."""
        return dict(published)

    def in_published_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The encoder's weights as its authors name them, for a file that `weights` can read; raises UserError."""
        raise UserError(
            f"The weights of the encoder {self.name} cannot be written under the names that its authors gave them.",
            "Expected an encoder whose published files actloc writes.",
            "Choose tanet, dualformer or video_swin.",
        )

    @classmethod
    def small(cls) -> EncoderConfig:
        """The smallest settings that still use every branch; the contract tests build these."""
        return cls()


class PublishedConfig(EncoderConfig):
    """Settings of encoders whose weights the user downloads from their authors."""

    weights: WeightsFile = None
    """File of weights; null: the published file, under its own name in data/weights."""

    @abstractmethod
    def network(self) -> ClipEncoder:
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


_OF_NETWORKS = ("same_draws", "ClipEncoder", "load_into", "check_clips", "vectors_per_clip", "built", "ready")


def __getattr__(name: str) -> Any:  # Any: whatever the module has
    # a part in one file imports its network's base from here too; torch is imported only then
    if name in _OF_NETWORKS:
        return getattr(importlib.import_module("actloc.encoders.base_network"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
