"""DyFADet: TriDet's pyramid, and heads whose weights follow from the features of neighbouring levels (2407.03197)."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from typing import TYPE_CHECKING, Literal, Self

from pydantic import PositiveFloat, model_validator

from actloc.detectors.base import ConvolutionalConfig

if TYPE_CHECKING:
    from actloc.detectors.dyfadet.network import DyFADet


class Config(ConvolutionalConfig):
    """Settings of DyFADet (Yang et al., ECCV 2024); the defaults are those of THUMOS14 with I3D features."""

    head: Literal["dynamic", "plain"] = "dynamic"
    """Heads whose levels exchange features through gates, or ActionFormer's."""
    activation: Literal["relu", "gelu", "leaky_relu"] = "relu"
    """Head dynamic: what follows each of its layers in the class head; in the other it is always relu."""
    gate_shift: PositiveFloat = 1.5
    """Head dynamic: gates open as tanh does around this number; the larger, the more of them are nearly closed."""
    gate_bias: float | None = None
    """Head dynamic: what each gate adds to its input before training; null: drawn around 0, officially.

    A gate that is closed at every step has no gradient and stays closed. With 1 all of them are open at first."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.head == "plain":
            for name in ("activation", "gate_shift", "gate_bias"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name}: has no effect with head: plain; leave it out, or set head to dynamic")
        elif not self.head_norm:
            raise ValueError("head_norm: the dynamic head always has norms; leave it out, or set head to plain")
        return self

    def build(self, in_channels: int, num_classes: int, max_steps: int) -> DyFADet:
        """A new DyFADet, initialised as the official one."""
        from actloc.detectors.dyfadet.network import DyFADet

        return DyFADet(self, in_channels, num_classes, max_steps)

    @classmethod
    def small(cls) -> Self:
        """Also with gates that are open at first."""
        return super().small().model_copy(update={"gate_bias": 1.0})
