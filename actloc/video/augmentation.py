"""Random changes of training windows, drawn once for all frames of a window: crops, colours, rotation, mirroring.

As in TALLFormer's training (Cheng and Bertasius 2022, arXiv 2204.01680), whose colours are SSD's photometric distortion
(Liu et al. 2016, arXiv 1512.02325, section 2.2). Its own code was not run for comparison: it uses OpenCV, which weighs
neighbours in steps of 1/32 pixel when it rotates, and inverts colours that are all below black when it changes hues.

The steps run in the decoding process, so nothing here imports torch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.video.frame_transforms import Crop, Frame, FrameStep, OpticalFlow

_BRIGHTNESS = 32.0  # of 255, either way
_FACTORS = 0.5, 1.5  # of contrast and of saturation
_HUE_DEGREES = 18.0  # either way
_SHARE = 0.5  # of the changed windows, for each change but that of hue, which all of them get
_IN_ORDER = 0, 1, 2


@dataclass(frozen=True)
class Mirror(FrameStep):
    """Left becomes right. Put it before OpticalFlow, whose codes along x would keep the direction they had."""

    def apply(self, frame: Frame) -> Frame:
        """The mirrored frame."""
        return frame[:, ::-1]


@dataclass(frozen=True)
class Photometric(FrameStep):
    """Changes brightness and contrast, then saturation and hue (as of HSV), then the order of the colours.

    Nothing is clipped in between, so contrast changed before or after the hue gives the same. Frames of uint8 are
    rounded and clipped at the end; those of float32 are not.
    """

    brightness: float = 0.0
    """Added to every value, of 255."""
    contrast: float = 1.0
    """Factor of every value."""
    saturation: float = 1.0
    """Factor of the distance from a pixel's largest value to its others."""
    hue_degrees: float = 0.0
    channels: tuple[int, int, int] = _IN_ORDER
    """Which of red, green and blue each channel shows at the end."""

    @classmethod
    def drawn(cls, generator: random.Random) -> "Photometric":
        """One draw of all five; each but the hue is changed half of the time."""

        def changed(unchanged: float, low: float, high: float) -> float:
            is_changed, value = generator.random() < _SHARE, generator.uniform(low, high)
            return value if is_changed else unchanged

        brightness = changed(0.0, -_BRIGHTNESS, _BRIGHTNESS)
        contrast, saturation = changed(1.0, *_FACTORS), changed(1.0, *_FACTORS)
        hue = generator.uniform(-_HUE_DEGREES, _HUE_DEGREES)
        is_shuffled = generator.random() < _SHARE
        first, second, third = generator.sample(_IN_ORDER, 3)
        return cls(brightness, contrast, saturation, hue, (first, second, third) if is_shuffled else _IN_ORDER)

    def apply(self, frame: Frame) -> Frame:
        """The frame (H, W, 3) with changed colours, of its own type; raises UserError for other channels than RGB."""
        if frame.shape[2] != 3:
            raise UserError(
                f"The frames have {frame.shape[2]} channels where their colours are to be changed.",
                "Expected red, green and blue.",
                "Set features.photometric=0, or add the other channels with a later frame step.",
            )
        planes = np.ascontiguousarray(frame.transpose(2, 0, 1)).astype(np.float32)
        planes += np.float32(self.brightness)
        planes *= np.float32(self.contrast)
        largest = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
        chroma = largest - np.minimum(np.minimum(planes[0], planes[1]), planes[2])
        hue = _hue(planes, largest, chroma)
        hue += np.float32(self.hue_degrees / 60)
        hue -= 6 * np.floor(hue / 6)
        chroma *= np.float32(self.saturation)
        # how far each colour is below the largest value, as a share of the chroma, around the circle of hues
        below = (2 - np.abs(hue - 3), np.abs(hue - 2) - 1, np.abs(hue - 4) - 1)
        result = np.empty_like(frame, order="C")
        for channel, source in enumerate(self.channels):
            share = np.clip(below[source], 0, 1, out=below[source])
            share *= chroma
            value = np.subtract(largest, share, out=share)
            result[..., channel] = np.clip(np.rint(value, out=value), 0, 255) if frame.dtype == np.uint8 else value
        return result


def _hue(planes: NDArray[np.float32], largest: NDArray[np.float32], chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    """The hue (H, W) in sixths of the circle, from -1 to 5; that of grey is 0."""
    red, green, blue = planes
    towards_blue = np.where(largest == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    result = np.where(largest == red, green - blue, towards_blue)
    result /= np.maximum(chroma, np.finfo(np.float32).tiny)
    return result


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


def drawn(
    steps: Sequence[FrameStep],
    generator: random.Random,
    *,
    mirror: float = 0.0,
    random_crop: bool = False,
    photometric: float = 0.0,
    rotation: float = 0.0,
    rotation_degrees: float = 45.0,
) -> tuple[FrameStep, ...]:
    """The steps with one draw of augmentation, to be used for all frames of a window.

    With `random_crop`, every Crop gets a random place, each equally likely. With the probabilities `photometric`,
    `rotation` and `mirror`, the colours are changed, then the frame is rotated by up to `rotation_degrees` either way,
    then mirrored: before optical flow, otherwise at the end. The same numbers are drawn whatever the settings.
    """
    first = generator.random()
    # a generator of their own, so that colours and rotation leave the numbers that others draw after them as they were
    others = random.Random(first)
    colours = Photometric.drawn(others)
    turned = Rotation(others.uniform(-rotation_degrees, rotation_degrees))
    has_colours, is_turned = others.random() < photometric, others.random() < rotation
    changes = ((has_colours, colours), (is_turned, turned), (first < mirror, Mirror()))
    added: list[FrameStep] = [change for is_made, change in changes if is_made]
    result: list[FrameStep] = []
    for step in steps:
        if isinstance(step, OpticalFlow):
            result += added
            added = []
        if isinstance(step, Crop):
            at = generator.random(), generator.random()
            result.append(replace(step, at=at) if random_crop else step)
        else:
            result.append(step)
    return (*result, *added)
