"""Random changes of training windows, drawn once for all frames of a window: crops, colours, rotation, mirroring.

Rotation and Photometric are those of TALLFormer's training (Cheng and Bertasius 2022, arXiv 2204.01680), whose colours
are SSD's photometric distortion (Liu et al. 2016, arXiv 1512.02325, section 2.2). Its own code was not run for
comparison: it uses OpenCV, which weighs neighbours in steps of 1/32 pixel when it rotates, and inverts colours that are
all below black when it changes hues.

RandAugment and ColorJitter are used by ETAD (Liu et al. 2022, arXiv 2205.07134), and with ResizedCrop by AdaTAD (Liu et
al. 2024, arXiv 2311.17241). Their own code was not run for comparison either: its RandAugment is imgaug's, with other
operations and ranges, and ETAD draws the order of the colour jitter once for a training, ColorJitter for each window.

The steps run in the decoding process, so nothing here imports torch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from actloc.video.colors import ColorJitter, Photometric
from actloc.video.frame_transforms import Crop, Frame, FrameStep, OpticalFlow, Resize, offset
from actloc.video.multi_scale_crop import MultiScaleCrop
from actloc.video.rand_augment import RandAugment

_ASPECTS = 3 / 4, 4 / 3  # width by height of a resized crop
_TRIES = 10


@dataclass(frozen=True)
class Mirror(FrameStep):
    """Left becomes right. Put it before OpticalFlow, whose codes along x would keep the direction they had."""

    def apply(self, frame: Frame) -> Frame:
        """The mirrored frame."""
        return frame[:, ::-1]


@dataclass(frozen=True)
class Rotation(FrameStep):
    """Rotates around the centre, in the same size: bilinear, and what was outside mirrors what is inside.

    The pixel at the border is not repeated (OpenCV's BORDER_REFLECT_101). Frames of uint8 are rounded.
    """

    degrees: float
    """Clockwise."""

    def apply(self, frame: Frame) -> Frame:
        """The rotated frame, of its own type."""
        height, width, channels = frame.shape
        places, weights = _sampling(height, width, self.degrees)
        planes = np.ascontiguousarray(frame.transpose(2, 0, 1)).reshape(channels, -1).astype(np.float32)
        result = np.zeros_like(planes)
        for place, weight in zip(places, weights, strict=True):
            result += planes.take(place, axis=1) * weight
        if frame.dtype == np.uint8:
            np.rint(result, out=result)
        return np.ascontiguousarray(result.T).astype(frame.dtype).reshape(frame.shape)


@lru_cache(maxsize=2)
def _sampling(height: int, width: int, degrees: float) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The four pixels (4, H * W) that each pixel of a rotated frame is made of, and their weights (4, H * W)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    down, across = np.mgrid[:height, :width].reshape(2, -1) - np.array([[height - 1], [width - 1]]) / 2
    y = cosine * down - sine * across + (height - 1) / 2
    x = sine * down + cosine * across + (width - 1) / 2
    top, left = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    rows, columns = _reflected(np.stack([top, top + 1]), height), _reflected(np.stack([left, left + 1]), width)
    of_rows, of_columns = np.stack([top + 1 - y, y - top]), np.stack([left + 1 - x, x - left])
    places = (rows[:, None] * width + columns).reshape(4, -1)
    return places, (of_rows[:, None] * of_columns).reshape(4, -1).astype(np.float32)


def _reflected(places: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Places outside 0 to size - 1 mirrored at the first and the last one, as often as needed."""
    period = max(2 * (size - 1), 1)
    folded = places % period
    return np.minimum(folded, period - folded)


@dataclass(frozen=True)
class ResizedCrop(FrameStep):
    """A part of the frame, resized to `size` pixels squared whatever its shape, by Pillow's bilinear method.

    As Inception was trained (Szegedy et al. 2015, arXiv 1409.4842, section 6).
    """

    size: int
    tries: tuple[tuple[float, float], ...]
    """Share of the frame's area, and width by height. The first one that fits is taken, otherwise the largest square in
    the centre."""
    at: tuple[float, float]
    """Where the part is, down and across: from 0 at the start to 1 at the end of the pixels to spare."""

    @classmethod
    def drawn(
        cls, generator: random.Random, size: int, areas: tuple[float, float], at: tuple[float, float]
    ) -> "ResizedCrop":
        """One draw: areas evenly between these, aspect ratios from 3/4 to 4/3, evenly on a logarithmic scale."""
        low, high = map(log, _ASPECTS)
        tries = [(generator.uniform(*areas), exp(generator.uniform(low, high))) for _ in range(_TRIES)]
        return cls(size, tuple(tries), at)

    def part(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and columns of a frame of this size that are kept."""
        for area, aspect in self.tries:
            sides = round(sqrt(area * height * width / aspect)), round(sqrt(area * height * width * aspect))
            spare = height - sides[0], width - sides[1]
            if min(sides) > 0 and min(spare) >= 0:
                top, left = offset(self.at[0], spare[0]), offset(self.at[1], spare[1])
                return slice(top, top + sides[0]), slice(left, left + sides[1])
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return slice(top, top + side), slice(left, left + side)

    def apply(self, frame: Frame) -> Frame:
        """The part of the frame (size, size, c), of the frame's type."""
        return Resize("pil_bilinear", size=(self.size, self.size)).apply(frame[self.part(*frame.shape[:2])])


def drawn(
    steps: Sequence[FrameStep],
    generator: random.Random,
    *,
    mirror: float = 0.0,
    random_crop: bool = False,
    random_resized_crop: tuple[float, float] | None = None,
    multi_scale_crop: bool = False,
    training_short_side: int | None = None,
    photometric: float = 0.0,
    rotation: float = 0.0,
    rotation_degrees: float = 45.0,
    rand_augment: int = 0,
    rand_augment_magnitude: float = 9.0,
    color_jitter: float = 0.0,
    color_jitter_hue: float = 0.0,
) -> tuple[FrameStep, ...]:
    """The steps with one draw of augmentation, to be used for all frames of a window.

    `training_short_side` replaces the short side of every Resize that has one. With `random_crop`, every Crop gets a
    random place, each equally likely; `random_resized_crop` puts a ResizedCrop of such shares of the area there,
    `multi_scale_crop` TAM's MultiScaleCrop. With the probabilities `photometric`, `rotation` and `mirror`, the colours
    are changed, then the frame is rotated by up to `rotation_degrees` either way, then mirrored; RandAugment and the
    colour jitter follow, in every window. Those five come before optical flow, otherwise at the end. The same numbers
    are drawn whatever the settings.
    """
    first = generator.random()
    # a generator of their own, so that colours and rotation leave the numbers that others draw after them as they were
    others = random.Random(first)
    colours = Photometric.drawn(others)
    turned = Rotation(others.uniform(-rotation_degrees, rotation_degrees))
    has_colours, is_turned = others.random() < photometric, others.random() < rotation
    # and one for each of these, because the settings say how many numbers it draws
    of_operations, of_jitter, of_parts, of_scales = (random.Random(others.getrandbits(64)) for _ in range(4))
    changes = (
        (has_colours, colours),
        (is_turned, turned),
        (first < mirror, Mirror()),
        (rand_augment > 0, RandAugment.drawn(of_operations, rand_augment, rand_augment_magnitude)),
        (color_jitter > 0 or color_jitter_hue > 0, ColorJitter.drawn(of_jitter, color_jitter, color_jitter_hue)),
    )
    added: list[FrameStep] = [change for is_made, change in changes if is_made]
    result: list[FrameStep] = []
    for step in steps:
        if isinstance(step, OpticalFlow):
            result += added
            added = []
        if isinstance(step, Crop):
            at = generator.random(), generator.random()
            if random_resized_crop is not None:
                result.append(ResizedCrop.drawn(of_parts, step.size, random_resized_crop, at))
            elif multi_scale_crop:
                result.append(MultiScaleCrop.drawn(of_scales, step.size))
            else:
                result.append(replace(step, at=at) if random_crop else step)
        elif isinstance(step, Resize) and step.short_side is not None and training_short_side is not None:
            result.append(replace(step, short_side=training_short_side))
        else:
            result.append(step)
    return (*result, *added)
