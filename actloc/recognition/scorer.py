"""Class scores of clips: what the network makes of their views, and the average."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actloc import console
from actloc.errors import VideoError
from actloc.evaluation.columns import Floats
from actloc.layers.precision import computing_in
from actloc.prefetch import load_ahead
from actloc.recognition.clips import LabelledClip
from actloc.recognition.recognizer import Recognizer
from actloc.recognition.scores import Averages, averaged


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
