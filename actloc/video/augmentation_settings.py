"""The settings of augmentation, which is drawn once for all frames of a training window or clip. No torch here."""

import json
import random
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from actloc.settings.sections import Fraction, Section, Shapes
from actloc.video.augmentation import drawn
from actloc.video.frame_transforms import Crop, FrameStep, OpticalFlow, Resize
from actloc.video.rand_augment import MOST_MAGNITUDE


class Augmentation(Section):
    """What is drawn for each training window."""

    training_short_side: Annotated[PositiveInt | None, Shapes("weights")] = None
    """Short side in pixels that training windows are resized to before they are cropped; null: the encoder's."""
    random_crop: Annotated[bool, Shapes("weights")] = False
    """Crop training windows at a random place, instead of the centre."""
    random_resized_crop: Annotated[tuple[Fraction, Fraction] | None, Shapes("weights")] = None
    """Crop training windows to a random part, of an aspect ratio from 3/4 to 4/3 and a share of the frame's area
    between these, such as [0.08, 1.0], and resize it to the size of the encoder's crop; null: do not."""
    multi_scale_crop: Annotated[Literal["native", "resized"] | None, Shapes("weights")] = None
    """Crop training windows to one of four heights and widths at one of 13 places, and resize the part to the size of
    the encoder's crop (TSN). native: from the frames as they are stored (TAM); resized: after the encoder's resizing
    (mmaction2); null: do not."""
    photometric: Annotated[Fraction, Shapes("weights")] = 0.0
    """Share of the training windows whose colours are changed: brightness, contrast, saturation, hue, and their
    order."""
    rotation: Annotated[Fraction, Shapes("weights")] = 0.0
    """Share of the training windows that are rotated; what was outside the frame mirrors what is inside."""
    rotation_degrees: Annotated[float, Field(gt=0, le=180), Shapes("weights")] = 45.0
    """Largest angle of a rotation, in either direction."""
    mirror: Annotated[Fraction, Shapes("weights")] = 0.0
    """Share of the training windows that are mirrored, left and right."""
    rand_augment: Annotated[NonNegativeInt, Shapes("weights")] = 0
    """RandAugment: operations that change each training window, drawn from 14; 2 is usual, 0: none."""
    rand_augment_magnitude: Annotated[float, Field(ge=0, le=MOST_MAGNITUDE), Shapes("weights")] = 9.0
    """How much each of these operations changes, of 10."""
    color_jitter: Annotated[Fraction, Shapes("weights")] = 0.0
    """Multiply brightness, contrast and saturation of each training window by factors between 1 minus this and 1 plus
    this, in a random order; 0: do not."""
    color_jitter_hue: Annotated[float, Field(ge=0, le=0.5), Shapes("weights")] = 0.0
    """Largest change of hue in the same draw, in either direction, as a share of the circle of hues; 0: none."""

    @model_validator(mode="after")
    def _augmentations_have_an_effect(self) -> Self:
        for name, switch in (("rotation_degrees", "rotation"), ("rand_augment_magnitude", "rand_augment")):
            value = getattr(self, name)
            if not getattr(self, switch) and value != Augmentation.model_fields[name].default:
                raise ValueError(f"{name}: found {value:g}, which has no effect because {switch} is 0")
        areas = self.random_resized_crop
        if areas is not None and not 0 < areas[0] <= areas[1]:
            raise ValueError(
                f"random_resized_crop: found {list(areas)}, expected two fractions above 0, the smaller first"
            )
        crops = [name for name in ("random_crop", "random_resized_crop", "multi_scale_crop") if getattr(self, name)]
        if len(crops) > 1:
            found = json.dumps(getattr(self, crops[0]))
            raise ValueError(f"{crops[0]}: found {found}, which has no effect because {crops[1]} is set")
        if self.multi_scale_crop == "native" and self.training_short_side is not None:
            raise ValueError(
                "training_short_side: has no effect because multi_scale_crop is native, which resizes nothing before"
            )
        return self

    def misfits(self, encoder: str, steps: Sequence[FrameStep]) -> Iterable[str]:
        """Why draws do not suit the frames that an encoder takes, by these steps: `name: what was found, expected`."""
        areas, short_side = self.random_resized_crop, self.training_short_side
        if areas is None and short_side is None and self.multi_scale_crop is None:
            return
        for name, value, reason in (
            ("random_resized_crop", areas, _no_part(steps)),
            ("multi_scale_crop", self.multi_scale_crop, _no_part(steps)),
            ("training_short_side", short_side, _no_part(steps) or _no_short_side(steps)),
        ):
            if value is not None and reason is not None:
                found = list(value) if isinstance(value, tuple) else value
                yield (
                    f"{name}: found {found}, expected null, because the encoder {encoder} {reason} with these settings"
                )
                return
        if short_side is not None:
            [resized] = [step.short_side for step in steps if isinstance(step, Resize)]
            [cropped] = [step.size for step in steps if isinstance(step, Crop)]
            if short_side == resized:
                yield (
                    f"training_short_side: found {short_side}, which has no effect because it is the short side that "
                    f"the encoder {encoder} resizes to"
                )
            if areas is None and self.multi_scale_crop is None and short_side < cropped:
                yield (
                    f"training_short_side: found {short_side}, expected at least {cropped}, the side of the crop of "
                    f"the encoder {encoder}"
                )

    def drawn(self, steps: Sequence[FrameStep], generator: random.Random) -> tuple[FrameStep, ...]:
        """The steps of the frames of one training window."""
        is_native = self.multi_scale_crop == "native"
        return drawn(
            [step for step in steps if not (is_native and isinstance(step, Resize))],
            generator,
            mirror=self.mirror,
            random_crop=self.random_crop,
            random_resized_crop=self.random_resized_crop,
            multi_scale_crop=self.multi_scale_crop is not None,
            training_short_side=self.training_short_side,
            photometric=self.photometric,
            rotation=self.rotation,
            rotation_degrees=self.rotation_degrees,
            rand_augment=self.rand_augment,
            rand_augment_magnitude=self.rand_augment_magnitude,
            color_jitter=self.color_jitter,
            color_jitter_hue=self.color_jitter_hue,
        )


def _no_part(steps: Sequence[FrameStep]) -> str | None:
    """Why a part of another size cannot take the place of the encoder's crop; None if it can."""
    if any(isinstance(step, OpticalFlow) for step in steps):
        return "computes optical flow, which depends on the size of the frames,"
    crops = sum(isinstance(step, Crop) for step in steps)
    if crops == 1:
        return None
    return "crops its frames more than once" if crops else "does not crop its frames"


def _no_short_side(steps: Sequence[FrameStep]) -> str | None:
    """Why the frames cannot be resized to another short side before the encoder's one crop; None if they can."""
    before = [type(step) for step in steps if isinstance(step, Resize | Crop)]
    if before == [Resize, Crop] and all(step.size is None for step in steps if isinstance(step, Resize)):
        return None
    return "does not resize the short side of its frames before it crops them"
