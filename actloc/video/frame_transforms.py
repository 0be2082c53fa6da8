"""Transforms of each frame between the decoder and an encoder: resizing, cropping, optical flow.

Published feature sets differ mainly in these, so each recipe lists its own steps. They run in the decoding process,
so nothing here imports torch. A frame is (H, W, c): uint8, or float32 on the same scale.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from actloc.errors import UserError, VideoError
from actloc.video.base import LARGEST_SIDE

Frame = NDArray[Any]  # (H, W, c) uint8 or float32
Shown = tuple[Frame, int]
"""A frame and how many times in a row it is shown."""
Method = Literal[
    "swscale_bicubic",
    "bilinear",
    "rounded_bilinear",
    "pil_nearest",
    "pil_lanczos",
    "pil_bilinear",
    "pil_bicubic",
    "pil_box",
    "pil_hamming",
    "cv2_bilinear",
]
Rounding = Literal["even", "nearest", "floor"]
Place = Literal["start", "centre", "end"]
_FLOW_BOUND = 20  # pixels from one frame to the next; I3D's flow is clipped there
_OPENCV_WITH_OTHER_FLOW = (4, 12)  # measured: 4.6 to 4.11 agree to the bit; 4.14 changes 5 % of the codes, 5.0 25 %


class FrameStep(ABC):
    """One step; the recipe sets the order of the steps.

    Every decoding process imports a user's own step: put it in a file that does not import torch, to start fast.
    """

    frames_ahead: ClassVar[int] = 0
    """How many later frames of the video `over` needs for a frame; it drops as many at the end."""

    @abstractmethod
    def apply(self, frame: Frame) -> Frame:
        """The frame (H', W', c') after this step."""

    def over(self, frames: Iterator[Shown]) -> Iterator[Shown]:
        """The frames of a whole video after this step."""
        for frame, count in frames:
            yield self.apply(frame), count


@dataclass(frozen=True)
class Resize(FrameStep):
    """Resizes to exactly `size` (height, width), or to a short side and the long side in proportion.

    swscale_bicubic  FFmpeg's, on the decoded picture; as the first step only
    bilinear         torch's `interpolate` without antialiasing, corners not aligned; gives float32
    rounded_bilinear the same in 8 bits: OpenCV's, up to its own rounding, where OpenCV is not needed
    pil_*            Pillow's, which average where the frame becomes smaller; each channel in the frame's type
    cv2_bilinear     OpenCV's; with a short side it gets the scale, and rounds the long side itself
    """

    method: Method
    short_side: int | None = None
    size: tuple[int, int] | None = None
    rounding: Rounding = "even"
    """How the long side is rounded: to the nearest even number, to the nearest, or down."""
    only_enlarge: bool = False
    """Do not change frames whose short side is already that long."""

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after this step."""
        if self.size is not None:
            return self.size
        assert self.short_side is not None, "a Resize has a size or a short side"
        short = min(height, width)
        if short == self.short_side or (self.only_enlarge and short > self.short_side):
            return height, width
        long_side = _rounded(max(height, width) * self.short_side, short, self.rounding)
        if long_side > LARGEST_SIDE:
            found = f"{width} x {height}"
            raise VideoError("unsupported", "the aspect ratio is too extreme", f"at most {LARGEST_SIDE} pixels", found)
        return (self.short_side, long_side) if height < width else (long_side, self.short_side)

    def apply(self, frame: Frame) -> Frame:
        """The frame in its new size; float32 for `bilinear`."""
        height, width = self.target(*frame.shape[:2])
        if self.method == "bilinear":
            return bilinear(frame, height, width)
        if (height, width) == frame.shape[:2]:
            return frame
        if self.method == "rounded_bilinear":
            return np.rint(bilinear(frame, height, width)).astype(np.uint8)
        if "pil" in self.method:
            return _by_pillow(frame, height, width, self.method)
        return _by_cv2(frame, (height, width) if self.short_side is None else self.short_side / min(frame.shape[:2]))


@dataclass(frozen=True)
class Crop(FrameStep):
    """A window of `size` pixels squared: the centre, one end of the longer side, or anywhere."""

    size: int
    rounding: Literal["floor", "round", "ceil"] = "floor"
    """How an offset of half a pixel is rounded; `round` goes to the even neighbour, as in Python."""
    place: Place = "centre"
    at: tuple[float, float] | None = None
    """Where the window is, down and across: from 0 at the start to 1 at the end of the pixels to spare; not `place`."""

    def corner(self, height: int, width: int) -> tuple[int, int]:
        """The first row and column of the window; raises VideoError `unsupported` where the frame is smaller."""
        down, across = spare_pixels(height, width, self.size)
        if self.at is not None:
            return offset(self.at[0], down), offset(self.at[1], across)
        top = self._offset(down, is_longer=height > width)
        return top, self._offset(across, is_longer=width >= height)

    def apply(self, frame: Frame) -> Frame:
        """The window; raises VideoError `unsupported` where the frame is smaller."""
        top, left = self.corner(*frame.shape[:2])
        return frame[top : top + self.size, left : left + self.size]

    def _offset(self, spare: int, *, is_longer: bool) -> int:
        if is_longer and self.place != "centre":
            return 0 if self.place == "start" else spare
        if self.rounding == "round":
            return round(spare / 2)
        return spare // 2 if self.rounding == "floor" else -(-spare // 2)


def spare_pixels(height: int, width: int, crop: int) -> tuple[int, int]:
    """Rows and columns that a square crop leaves; raises VideoError `unsupported` where the frame is smaller."""
    if min(height, width) < crop:
        raise VideoError("unsupported", "the frame is smaller than the crop", f"{crop} pixels", f"{width} x {height}")
    return height - crop, width - crop


def offset(at: float, spare: int) -> int:
    """An offset from 0 to `spare`; every one has an equal share of the numbers `at` from 0 to 1."""
    return min(int(at * (spare + 1)), spare)


@dataclass(frozen=True)
class LeftHalf(FrameStep):
    """The left eye of a stereo recording, W // 2 wide (Ego4D)."""

    def apply(self, frame: Frame) -> Frame:
        """The left half; raises VideoError `unsupported` if the frame is narrower than 2 pixels."""
        if frame.shape[1] < 2:
            raise VideoError("unsupported", "the frame is too narrow to halve", "2 pixels", f"{frame.shape[1]} pixel")
        return frame[:, : frame.shape[1] // 2]


@dataclass(frozen=True)
class OpticalFlow(FrameStep):
    """Two more channels: how far each pixel moves to the next frame along x and y, by TV-L1 (Zach et al. 2007).

    It is computed on grey 8-bit frames of the size they have at this step. The last frame has no next one and is
    dropped. Motion is clipped at 20 pixels and coded between 0 and 255:

    eight_bit       dense_flow's round(255 * (v + 20) / 40), half to even: uint8, no motion is 128
    linear          DeepMind's v / 20 between -1 and 1, without rounding: float32, no motion is 127.5
    video_features  v-iashin's round(128 + 255 / 40 * v), half to even: float32, no motion is 128, +20 is 256
    """

    frames_ahead: ClassVar[int] = 1

    form: Literal["eight_bit", "linear", "video_features"]

    def apply(self, frame: Frame) -> Frame:
        """The frame (H, W, c + 2) with zero flow, for a frame that is repeated."""
        return self.with_flow(frame, np.zeros((*frame.shape[:2], 2), np.float32))

    def over(self, frames: Iterator[Shown]) -> Iterator[Shown]:
        """Every frame but the last, with the flow to the next one; each pair is computed once."""
        estimate = _tvl1()
        before: Frame | None = None
        for frame, count in frames:
            if before is not None:
                yield self.with_flow(before, estimate(before, frame)), 1
            if count > 1:
                yield self.apply(frame), count - 1
            before = frame

    def with_flow(self, frame: Frame, flow: NDArray[Any]) -> Frame:
        """The frame (H, W, c + 2): its channels, then its flow (H, W, 2) in pixels as codes."""
        return np.concatenate([frame, self.coded(flow)], axis=2)

    def coded(self, flow: NDArray[Any]) -> NDArray[Any]:
        """Codes (H, W, 2) of flow (H, W, 2) in pixels."""
        bounded = np.clip(flow, -_FLOW_BOUND, _FLOW_BOUND)
        if self.form == "video_features":  # a float32 tensor there, so 256 is not clipped to 8 bits
            return np.round(np.float32(128) + np.float32(255 / (2 * _FLOW_BOUND)) * bounded.astype(np.float32))
        codes = 255 * (bounded.astype(np.float64) + _FLOW_BOUND) / (2 * _FLOW_BOUND)  # halves are exact in float64
        return np.round(codes).astype(np.uint8) if self.form == "eight_bit" else codes.astype(np.float32)


def _tvl1() -> Callable[[Frame, Frame], NDArray[Any]]:
    """OpenCV's estimator with its default settings: the flow (H, W, 2) from one RGB frame to another."""
    import cv2

    cv2.setNumThreads(1)  # the other cores are for other decoders and the network
    estimator = cv2.optflow.DualTVL1OpticalFlow.create()

    def estimate(first: Frame, second: Frame) -> NDArray[Any]:
        grey, next_grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second))
        flow = np.zeros((*grey.shape, 2), np.float32)  # receives the result; the estimator does not start from it
        return estimator.calc(grey, next_grey, flow)

    return estimate


def check_installed(steps: Sequence[FrameStep]) -> None:
    """Raises UserError if a step needs OpenCV (an extra), and it is missing or its version computes different flow."""
    has_flow = any(isinstance(step, OpticalFlow) for step in steps)
    if not has_flow and not any(isinstance(step, Resize) and step.method == "cv2_bilinear" for step in steps):
        return
    try:
        import cv2
    except ImportError:
        found = "is not installed"
    else:
        version = tuple(int(number) for number in cv2.__version__.split(".")[:2])
        if not has_flow or (hasattr(cv2, "optflow") and version < _OPENCV_WITH_OTHER_FLOW):
            return
        problem = "computes different optical flow" if hasattr(cv2, "optflow") else "has no contrib modules"
        found = f"is {cv2.__version__} and {problem}"
    raise UserError(
        f"The encoder prepares its frames with OpenCV, which {found} here.",
        "Expected opencv-contrib-python-headless >= 4.10, < 4.12, which computes the published flow.",
        "Run: pip install actloc[flow]",
    )


def bilinear(frame: Frame, height: int, width: int) -> NDArray[np.float32]:
    """Same result as torch's interpolate(mode="bilinear", align_corners=False): (height, width, c) float32."""
    above, below, down = _neighbours(frame.shape[0], height)
    left, right, across = _neighbours(frame.shape[1], width)
    needed, places = np.unique(np.concatenate([above, below]), return_inverse=True)  # each row is widened once
    # rows are flat, (n, width * c): numpy is slow where its innermost dimension is the channels
    channels = frame.shape[2]
    flat, across = frame[needed].reshape(len(needed), -1), np.repeat(across, channels)
    rows, more = (
        flat.take((side[:, None] * channels + np.arange(channels)).ravel(), axis=1).astype(np.float32)
        for side in (left, right)
    )
    rows *= 1 - across
    more *= across
    rows += more
    result: NDArray[np.float32] = rows[places[:height]]
    lower = rows[places[height:]]
    result *= (1 - down)[:, None]
    lower *= down[:, None]
    result += lower
    return result.reshape(height, width, channels)


def _neighbours(size: int, new_size: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    """For each new position: its two old neighbours, and the weight of the second."""
    scale = np.float32(size) / np.float32(new_size)
    # torch fuses the product and the difference, which are then rounded once: float64 holds both exactly
    places = np.float64(scale) * (np.arange(new_size) + 0.5) - 0.5
    places = np.maximum(places.astype(np.float32), 0)
    first = places.astype(np.int64)
    return first, np.minimum(first + 1, size - 1), (places - first).astype(np.float32)


def _by_pillow(frame: Frame, height: int, width: int, method: str) -> Frame:
    from PIL import Image

    how = Image.Resampling[method.removeprefix("pil_").upper()]
    parts = [frame[..., :3]] if frame.dtype == np.uint8 else []  # it has no pictures of several float32 channels
    parts += [frame[..., channel] for channel in range(3 if parts else 0, frame.shape[2])]
    resized = [np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize((width, height), how)) for part in parts]
    return np.dstack(resized)


def _by_cv2(frame: Frame, size_or_scale: tuple[int, int] | float) -> Frame:
    import cv2

    if isinstance(size_or_scale, tuple):
        return cv2.resize(frame, size_or_scale[::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.resize(frame, None, fx=size_or_scale, fy=size_or_scale, interpolation=cv2.INTER_LINEAR)


def _rounded(numerator: int, denominator: int, rounding: Rounding) -> int:
    if rounding == "floor":
        return numerator // denominator
    step = 2 if rounding == "even" else 1
    return step * ((2 * numerator + step * denominator) // (2 * step * denominator))


def prepared_frame(steps: Sequence[FrameStep], height: int, width: int) -> Frame:
    """A black frame of this size after these steps."""
    frame: Frame = np.zeros((height, width, 3), np.uint8)
    for step in steps:
        if isinstance(step, Resize):  # some only run inside FFmpeg
            frame = np.zeros((*step.target(*frame.shape[:2]), frame.shape[2]), np.uint8)
        else:
            frame = step.apply(frame)
    return frame
