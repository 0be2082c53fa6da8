"""Class scores of clips: the views of each, what the network makes of them, and their average."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actloc import console
from actloc.encoders.base import EncoderConfig
from actloc.errors import VideoError
from actloc.evaluation.columns import Floats
from actloc.layers.precision import computing_in
from actloc.prefetch import load_ahead
from actloc.recognition.clips import ClipSource, LabelledClip
from actloc.recognition.recognizer import Recognizer
from actloc.recognition.scores import Averages, averaged
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.video.views import Corner, three_across, three_along, views

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


@dataclass
class Scored:
    """The class scores (K,) of clips by their ids, and the videos that could not be read, with the reason."""

    scores: dict[str, Floats] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scorer:
    """A recogniser with the machine that it runs on."""

    recognizer: Recognizer
    device: torch.device
    precision: str
    num_workers: int
    chunk: int
    """Views of one call of the network."""

    def logits(self, clips: NDArray[Any]) -> Floats:
        """Scores (V, K) before softmax of clips (V, F, H, W, c)."""
        found = []
        with torch.inference_mode(), computing_in(self.precision, self.device):
            for start in range(0, len(clips), self.chunk):
                part = torch.from_numpy(np.ascontiguousarray(clips[start : start + self.chunk]))
                found.append(self.recognizer(part.to(self.device)).double().cpu().numpy())
        return np.concatenate(found)

    def scored(
        self,
        clips: Sequence[LabelledClip],
        read: Callable[[LabelledClip], NDArray[Any]],
        average: Averages,
        *,
        what: str = "scoring",
    ) -> Scored:
        """The scores of each clip, averaged over the views that `read` gives; those ahead are read meanwhile."""
        self.recognizer.eval()
        result = Scored()

        def loaded(clip: LabelledClip) -> NDArray[Any] | VideoError:
            try:
                return read(clip)
            except VideoError as error:
                return error

        with console.progress(what, len(clips)) as bar:
            for clip, found in zip(clips, load_ahead(loaded, clips, self.num_workers), strict=True):
                if isinstance(found, VideoError):
                    if clip.video.id not in result.unreadable:
                        console.error(f"{clip.video.id}: {found}")
                    result.unreadable[clip.video.id] = str(found)
                else:
                    result.scores[clip.id] = averaged(self.logits(found), average)
                bar(1)
        return result
