"""The settings of a part that reads frames: its encoder, and augmentation that suits the frames it takes."""

from typing import Annotated, Self

from pydantic import model_validator

from actloc.encoders.base import EncoderConfig
from actloc.settings.parts import Chosen
from actloc.settings.sections import Part
from actloc.video.augmentation_settings import Augmentation


class AugmentedConfig(Augmentation, Part):
    """Settings, beside those of every source, of one that reads frames: what is drawn for each training window."""

    encoder: Annotated[EncoderConfig, Chosen("encoders")]
    """The network that turns clips into features."""

    @model_validator(mode="after")
    def _crops_suit_the_encoder(self) -> Self:
        for misfit in self.misfits(self.encoder.name, self.encoder.frame_steps()):
            raise ValueError(misfit)
        return self
