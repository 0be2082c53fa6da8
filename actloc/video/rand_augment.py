"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719): a few operations of a list, all of the same magnitude.

The 14 operations of its section 3.1, in the ranges of AutoAugment's table 6 (arXiv 1805.09501), by Pillow. Every range
grows from no change at magnitude 0 to its end at magnitude 10, as in torchvision; the papers' own code counts some of
them the other way. Lists in other packages differ in operations, ranges and rounding: this is a copy of none.

The steps run in the decoding process, so nothing here imports torch, and Pillow is imported where it is used.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actloc.video.colors import require_rgb
from actloc.video.frame_transforms import Frame, FrameStep

if TYPE_CHECKING:
    from PIL import Image

MOST_MAGNITUDE = 10
"""The magnitude at the end of every range."""
_GREY = (128, 128, 128)  # what was outside the frame

_AT_MOST = {
    "identity": 0.0,
    "auto_contrast": 0.0,
    "equalize": 0.0,
    "posterize": 4.0,  # bits that are removed
    "solarize": 256.0,  # how far below 256 the values are that are inverted
}
"""Operations without direction, and the most that each does."""
_AT_MOST_EITHER_WAY = {
    "rotate": 30.0,  # degrees
    "shear_x": 0.3,  # pixels across for each pixel down
    "shear_y": 0.3,
    "translate_x": 150 / 331,  # of the width; AutoAugment moves pictures of 331 pixels by 150
    "translate_y": 150 / 331,
    "color": 0.9,  # added to the factor 1
    "contrast": 0.9,
    "brightness": 0.9,
    "sharpness": 0.9,
}
"""Operations in a direction that is drawn, and the most that each does."""
OPERATIONS = (*_AT_MOST, *_AT_MOST_EITHER_WAY)


@dataclass(frozen=True)
class RandAugment(FrameStep):
    """Applies operations one after the other, each as (name, amount in its own unit).

    Frames of float32 are rounded and clipped to 8 bits before, and are float32 again after.
    """

    operations: tuple[tuple[str, float], ...]

    @classmethod
    def drawn(cls, generator: random.Random, number: int, magnitude: float) -> "RandAugment":
        """One draw of so many operations, each equally likely and perhaps twice; `magnitude` is from 0 to 10."""
        operations = []
        for _ in range(number):
            name, is_negative = generator.choice(OPERATIONS), generator.random() < 0.5
            amount = magnitude / MOST_MAGNITUDE * (_AT_MOST | _AT_MOST_EITHER_WAY)[name]
            operations.append((name, -amount if is_negative and name in _AT_MOST_EITHER_WAY else amount))
        return cls(tuple(operations))

    def apply(self, frame: Frame) -> Frame:
        """The changed frame (H, W, 3), of its own type; raises UserError for other channels than RGB."""
        from PIL import Image

        require_rgb(frame, "features.rand_augment=0")
        in_8_bits = frame if frame.dtype == np.uint8 else np.clip(np.rint(frame), 0, 255).astype(np.uint8)
        picture = Image.fromarray(np.ascontiguousarray(in_8_bits))
        for name, amount in self.operations:
            picture = _changed(picture, name, amount)
        return np.asarray(picture).astype(frame.dtype, copy=False)


def _changed(picture: "Image.Image", name: str, amount: float) -> "Image.Image":
    """The picture after one operation; what moves in is grey."""
    from PIL import Image, ImageEnhance, ImageOps

    width, height = picture.size
    moved: dict[str, Any] = {"resample": Image.Resampling.BILINEAR, "fillcolor": _GREY}  # Any: arguments of Pillow

    def affine(*source: float) -> "Image.Image":
        """Shows at (x, y) what was at (a x + b y + c, d x + e y + f)."""
        return picture.transform(picture.size, Image.Transform.AFFINE, source, **moved)

    changes: dict[str, Callable[[], Image.Image]] = {
        "identity": lambda: picture,
        "auto_contrast": lambda: ImageOps.autocontrast(picture),
        "equalize": lambda: ImageOps.equalize(picture),
        "posterize": lambda: ImageOps.posterize(picture, 8 - round(amount)),
        "solarize": lambda: ImageOps.solarize(picture, round(256 - amount)),
        "rotate": lambda: picture.rotate(amount, **moved),  # anticlockwise around the centre
        "shear_x": lambda: affine(1, amount, -amount * height / 2, 0, 1, 0),  # the centre stays where it is
        "shear_y": lambda: affine(1, 0, 0, amount, 1, -amount * width / 2),
        "translate_x": lambda: affine(1, 0, round(amount * width), 0, 1, 0),
        "translate_y": lambda: affine(1, 0, 0, 0, 1, round(amount * height)),
        "color": lambda: ImageEnhance.Color(picture).enhance(1 + amount),
        "contrast": lambda: ImageEnhance.Contrast(picture).enhance(1 + amount),
        "brightness": lambda: ImageEnhance.Brightness(picture).enhance(1 + amount),
        "sharpness": lambda: ImageEnhance.Sharpness(picture).enhance(1 + amount),
    }
    return changes[name]()
