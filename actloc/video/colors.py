"""Random changes of a window's colours: SSD's photometric distortion, and torchvision's colour jitter.

They run in the decoding process, so nothing here imports torch.
"""

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actloc.errors import UserError
from actloc.video.frame_transforms import Frame, FrameStep

_BRIGHTNESS = 32.0  # of 255, either way
_FACTORS = 0.5, 1.5  # of contrast and of saturation
_HUE_DEGREES = 18.0  # either way
_SHARE = 0.5  # of the changed windows, for each change but that of hue, which all of them get
_IN_ORDER = 0, 1, 2
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601: the share of each colour in grey

Jitter = Literal["brightness", "contrast", "saturation", "hue"]
_JITTERS: tuple[Jitter, ...] = ("brightness", "contrast", "saturation", "hue")


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
        require_rgb(frame, "features.photometric=0")
        planes = _planes(frame)
        planes += np.float32(self.brightness)
        planes *= np.float32(self.contrast)
        colours = _with_hue(planes, self.hue_degrees, self.saturation)
        result = np.empty_like(frame, order="C")
        for channel, source in enumerate(self.channels):
            value = colours[source]
            result[..., channel] = np.clip(np.rint(value, out=value), 0, 255) if frame.dtype == np.uint8 else value
        return result


@dataclass(frozen=True)
class ColorJitter(FrameStep):
    """Changes brightness, contrast, saturation and hue in any order, and clips to 0..255 after each.

    With torchvision's definitions: the frame is blended with black, with the mean of its grey values, and with its grey
    picture; the hue is moved around the circle of HSV. Frames of uint8 are rounded once, at the end.
    """

    brightness: float = 1.0
    """Factor of the frame, 1 minus that of black."""
    contrast: float = 1.0
    """Factor of the frame, 1 minus that of the mean of its grey values."""
    saturation: float = 1.0
    """Factor of the frame, 1 minus that of its grey picture."""
    hue: float = 0.0
    """Share of the circle."""
    order: tuple[Jitter, ...] = _JITTERS

    @classmethod
    def drawn(cls, generator: random.Random, spread: float, hue: float) -> "ColorJitter":
        """One draw: factors from 1 - spread to 1 + spread, a hue from -hue to hue, and the order."""
        brightness, contrast, saturation = (generator.uniform(1 - spread, 1 + spread) for _ in range(3))
        order = tuple(generator.sample(_JITTERS, len(_JITTERS)))
        return cls(brightness, contrast, saturation, generator.uniform(-hue, hue), order)

    def apply(self, frame: Frame) -> Frame:
        """The frame (H, W, 3) with changed colours, of its own type; raises UserError for other channels than RGB."""
        require_rgb(frame, "features.color_jitter=0 and features.color_jitter_hue=0")
        planes = _planes(frame)
        for jitter in self.order:
            planes = self._changed(planes, jitter)
            np.clip(planes, 0, 255, out=planes)
        if frame.dtype == np.uint8:
            np.rint(planes, out=planes)
        return np.ascontiguousarray(planes.transpose(1, 2, 0)).astype(frame.dtype, copy=False)

    def _changed(self, planes: NDArray[np.float32], jitter: Jitter) -> NDArray[np.float32]:
        if jitter == "hue":
            return np.stack(_with_hue(planes, 360 * self.hue, 1.0)) if self.hue else planes
        if jitter == "brightness":
            planes *= np.float32(self.brightness)
            return planes
        grey = sum((share * plane for share, plane in zip(_LUMA, planes, strict=True)), np.float32(0))
        factor, other = (self.contrast, grey.mean()) if jitter == "contrast" else (self.saturation, grey)
        planes *= np.float32(factor)
        planes += other * np.float32(1 - factor)
        return planes


def require_rgb(frame: Frame, off: str) -> None:
    """Raises UserError unless the frame has three channels; `off` are the settings that leave its colours alone."""
    if frame.shape[2] != 3:
        raise UserError(
            f"The frames have {frame.shape[2]} channels where their colours are to be changed.",
            "Expected red, green and blue.",
            f"Set {off}, or add the other channels with a later frame step.",
        )


def _planes(frame: Frame) -> NDArray[np.float32]:
    """The colours (3, H, W) of a frame (H, W, 3), in memory of their own."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1)).astype(np.float32)


def _with_hue(planes: NDArray[np.float32], degrees: float, saturation: float) -> tuple[NDArray[np.float32], ...]:
    """The colours (H, W) of planes (3, H, W) whose hue is moved by `degrees` and whose saturation is multiplied."""
    largest = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    chroma = largest - np.minimum(np.minimum(planes[0], planes[1]), planes[2])
    hue = _hue(planes, largest, chroma)
    hue += np.float32(degrees / 60)
    hue -= 6 * np.floor(hue / 6)
    chroma *= np.float32(saturation)
    # how far each colour is below the largest value, as a share of the chroma, around the circle of hues
    below = (2 - np.abs(hue - 3), np.abs(hue - 2) - 1, np.abs(hue - 4) - 1)
    for share in below:
        np.clip(share, 0, 1, out=share)
        np.multiply(share, chroma, out=share)
        np.subtract(largest, share, out=share)
    return below


def _hue(planes: NDArray[np.float32], largest: NDArray[np.float32], chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    """The hue (H, W) in sixths of the circle, from -1 to 5; that of grey is 0."""
    red, green, blue = planes
    towards_blue = np.where(largest == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    result = np.where(largest == red, green - blue, towards_blue)
    result /= np.maximum(chroma, np.finfo(np.float32).tiny)
    return result
