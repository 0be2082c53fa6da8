"""TriDet: a convolution pyramid; borders are found among the steps around a point (Shi et al., 2023, 2303.07347)."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from typing import TYPE_CHECKING, Literal, Self

from pydantic import NonNegativeFloat, PositiveInt, model_validator

from actloc.detectors.base import ConvolutionalConfig

if TYPE_CHECKING:
    from actloc.detectors.tridet.network import TriDet


class Config(ConvolutionalConfig):
    """Settings of TriDet; the defaults are those of THUMOS14 with I3D features."""

    downsampling: Literal["max", "average"] = "max"
    """How a block shortens the sequence: by the maximum, or by the mean and a convolution."""
    head: Literal["trident", "plain"] = "trident"
    """What gives borders: bins around a point together with where each class starts and ends, or two distances for all
    classes, as in ActionFormer."""
    num_bins: PositiveInt = 16
    """Head trident: how many steps before and after a point, of its own level, its borders may be away."""
    border_kernel: PositiveInt = 3
    """Head trident: steps under each convolution that says where classes start and end; odd."""
    iou_power: NonNegativeFloat = 0.2
    """Head trident: the classification losses of a point's own classes are multiplied by the IoU of its segment to the
    power of this; 0: not at all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.border_kernel % 2 == 0:
            raise ValueError(
                f"border_kernel: found {self.border_kernel}, expected an odd number, so that it has a centre"
            )
        if self.head == "plain":
            for name in ("num_bins", "border_kernel", "iou_power"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name}: has no effect with head: plain; leave it out, or set head to trident")
        return self

    def build(self, in_channels: int, num_classes: int, max_steps: int) -> TriDet:
        """A new TriDet, initialised as the official one."""
        from actloc.detectors.tridet.network import TriDet

        return TriDet(self, in_channels, num_classes, max_steps)

    @classmethod
    def small(cls) -> Self:
        """Also with four bins."""
        return super().small().model_copy(update={"head_layers": 2, "num_bins": 4})
