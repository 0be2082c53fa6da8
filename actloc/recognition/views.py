"""The views of labelled clips: which clips and crops of each are scored. Settings are checked here without torch."""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from actloc import console
from actloc.encoders.base import EncoderConfig
from actloc.recognition.scores import Averages
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.video.views import Corner, three_across, three_along, views

if TYPE_CHECKING:
    from actloc.recognition.clips import ClipSource, LabelledClip

_CORNERS: Mapping[str, Callable[[int, int, int], tuple[Corner, ...]]] = {
    "three_across": three_across,
    "three_along": three_along,
}


@dataclass(frozen=True)
class Views:
    """Which clips and crops of a labelled clip are scored, and what is averaged over them."""

    clips: int = 1
    crops: str = "centre"
    """centre, or a rule of `video/views.py`."""
    short_side: int | None = None
    crop: int | None = None
    average: Averages = "probabilities"

    @property
    def num_crops(self) -> int:
        """Crops of each clip."""
        return 3 if self.crops in _CORNERS else 1

    def __str__(self) -> str:
        return f"{console.count(self.clips, 'clip')} x {console.count(self.num_crops, 'crop')}"

    def steps(self, steps: Sequence[FrameStep]) -> tuple[FrameStep, ...]:
        """An encoder's steps with these sizes; without its crop where several are cut later."""
        changed: list[FrameStep] = []
        for step in steps:
            if isinstance(step, Crop):
                if self.crops not in _CORNERS:
                    changed.append(replace(step, size=self.crop or step.size))
            elif isinstance(step, Resize) and step.short_side is not None:
                changed.append(replace(step, short_side=self.short_side or step.short_side))
            else:
                changed.append(step)
        return tuple(changed)

    def read(self, source: ClipSource, clip: LabelledClip) -> NDArray[Any]:
        """The views (V, F, H, W, c) of a clip: all crops of its first clip, then of the others; raises VideoError."""
        clips = source.spread(clip, self.clips, self.steps(source.steps))
        if self.crops not in _CORNERS:
            return clips
        size = self.crop or next(step.size for step in source.steps if isinstance(step, Crop))
        height, width = clips.shape[2:4]
        return views(clips, _CORNERS[self.crops](height, width, size), size)


def misfit(encoder: EncoderConfig, chosen: Views) -> tuple[str, str] | None:
    """The setting of the views that does not suit an encoder's frames, and what is wrong with it; None if all do."""
    steps = encoder.frame_steps()
    crops = [step.size for step in steps if isinstance(step, Crop)]
    resized = [step.short_side for step in steps if isinstance(step, Resize)]
    takes_others = len(crops) == 1 and resized and None not in resized
    for name, value, usual in (
        ("crops", chosen.crops, "centre"),
        ("short_side", chosen.short_side, None),
        ("crop", chosen.crop, None),
    ):
        if value != usual and not takes_others:
            expected = "null" if usual is None else usual
            what = "resizes a short side and crops a square"
            return (
                name,
                f"found {value}, expected {expected}, because the encoder {encoder.name} is not one that {what}",
            )
    if takes_others and (chosen.crop or crops[0]) > (chosen.short_side or resized[0] or 0):
        size, side = chosen.crop or crops[0], chosen.short_side or resized[0]
        return "short_side", f"found {side}, expected at least {size}, the side of a crop in pixels"
    if (chosen.crop or 0) % encoder.crop_multiple:
        what = f"expected a multiple of {encoder.crop_multiple}, which the encoder {encoder.name} takes"
        return "crop", f"found {chosen.crop}, {what}"
    return None
