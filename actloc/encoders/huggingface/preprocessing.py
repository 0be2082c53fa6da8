"""Frames as a model's processor makes them, from the values of its file; transformers' own code is not used.

Tests compare with the processors of VideoMAE, TimeSformer, ViViT, SigLIP, SigLIP 2 and CLIP that run without
torchvision, and with frames that those of V-JEPA 2 and DINOv3, which need it, once made. All are equal, but a rounded
pixel of V-JEPA 2 may differ by 1 of 255: torchvision adds up 8-bit pixels in another way.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from actloc.encoders.huggingface.families import Family
from actloc.errors import UserError
from actloc.video.frame_transforms import Crop, Frame, FrameStep, Method, Resize

_METHODS: dict[int, Method] = {
    0: "pil_nearest",
    1: "pil_lanczos",
    2: "pil_bilinear",
    3: "pil_bicubic",
    4: "pil_box",
    5: "pil_hamming",
}
"""Pillow's methods by their numbers."""
_RESIZE_OF_CROP = 256 / 224  # V-JEPA 2 resizes by the crop, whatever its file has as `size`
_NAFLEX_SEARCH = 1e-5
Values = Mapping[str, Any]  # Any: JSON values


@dataclass(frozen=True)
class AsFloats(FrameStep):
    """The frame in float32, which later steps then do not round."""

    def apply(self, frame: Frame) -> Frame:
        """The frame (H, W, c) in float32."""
        return frame.astype(np.float32)


@dataclass(frozen=True)
class WithinPatches(FrameStep):
    """Resizes to the largest size of at most `most` whole patches, with nearly the frame's aspect ratio (NaFlex)."""

    patch: int
    most: int
    method: Method

    def apply(self, frame: Frame) -> Frame:
        """The frame in a size whose sides are multiples of `patch`."""
        return Resize(self.method, size=self.target(*frame.shape[:2])).apply(frame)

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width, by the same search for a scale as in the authors' code."""
        low, high = _NAFLEX_SEARCH / 10, 100.0
        while high - low >= _NAFLEX_SEARCH:
            scale = (low + high) / 2
            rows, columns = self._patches(scale * height), self._patches(scale * width)
            low, high = (scale, high) if rows * columns <= self.most else (low, scale)
        return self._patches(low * height) * self.patch, self._patches(low * width) * self.patch

    def _patches(self, side: float) -> int:
        return max(math.ceil(side / self.patch), 1)


def frame_steps(values: Values, family: Family) -> tuple[FrameStep, ...]:
    """The steps before `encode`; raises UserError for values that are not known."""
    method = _METHODS.get(values.get("resample", 3 if family.title == "CLIP" else 2))
    if method is None:
        raise _unknown("resample", values.get("resample"), ", ".join(map(str, _METHODS)))
    if "max_num_patches" in values:
        return (WithinPatches(int(values.get("patch_size", 16)), int(values["max_num_patches"]), method),)
    crop = _crop(values) if values.get("do_center_crop", family.crops) else None
    steps: list[FrameStep] = [AsFloats()] if family.resizes_floats else []
    if values.get("do_resize", True):
        steps.append(_resize(values, family, crop, method))
    return (*steps, *([] if crop is None else [Crop(crop)]))


def side(steps: tuple[FrameStep, ...]) -> tuple[int, int] | None:
    """Height and width of the frames after the steps; None if they depend on the video."""
    for step in reversed(steps):
        if isinstance(step, Crop):
            return step.size, step.size
        if isinstance(step, Resize):
            return step.size
    return None


def scaling(values: Values, family: Family) -> tuple[float, float, list[float], list[float]]:
    """Factor, what is subtracted after it, mean and standard deviation of each channel, by which pixels are scaled."""
    is_offset = values.get("do_rescale", True) and values.get("offset", family.title == "ViViT")
    factor = values.get("rescale_factor", 1 / 127.5 if is_offset else 1 / 255) if values.get("do_rescale", True) else 1
    mean, std = [0.0] * 3, [1.0] * 3
    if values.get("do_normalize", True):
        given = (values.get("image_mean"), values.get("image_std"))
        if not all(isinstance(one, list) and len(one) == 3 for one in given):
            raise _unknown("image_mean and image_std", given, "three numbers each")
        mean, std = [list(map(float, one)) for one in given if one is not None]
    return float(factor), 1.0 if is_offset else 0.0, mean, std


def _resize(values: Values, family: Family, crop: int | None, method: Method) -> Resize:
    if family.title == "V-JEPA 2":
        crop = _crop(values)
        return Resize(method, short_side=int(crop * _RESIZE_OF_CROP), rounding="floor")
    size = values.get("size")
    if isinstance(size, int):
        size = {"shortest_edge": size} if family.crops else {"height": size, "width": size}
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        if crop is not None and crop > size["shortest_edge"]:
            raise _unknown("crop_size", crop, f"at most the shortest_edge {size['shortest_edge']}")
        return Resize(method, short_side=int(size["shortest_edge"]), rounding="floor")
    if isinstance(size, dict) and set(size) == {"height", "width"}:
        return Resize(method, size=(int(size["height"]), int(size["width"])))
    raise _unknown("size", size, "shortest_edge, or height and width")


def _crop(values: Values) -> int:
    crop = values.get("crop_size")
    if isinstance(crop, dict) and crop.get("height") == crop.get("width"):
        crop = crop.get("height")
    if not isinstance(crop, int) or crop < 1:
        raise _unknown("crop_size", values.get("crop_size"), "one number of pixels, or the same height and width")
    return crop


def _unknown(name: str, value: object, expected: str) -> UserError:
    return UserError(
        f"{name} of the model's processor is {value}.",
        f"Expected {expected}.",
        "Correct the processor's file (preprocessor_config.json) in a copy of the folder.",
    )
