"""The data structures that all parts share: time grids, targets, detections, samples, batches, factors of rates.

Letters in shapes, the same everywhere:
B videos of a batch   T feature steps       C channels    K classes     L pyramid levels
S clips of a video    F frames of a clip    H W pixels    N segments
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Axes = tuple[int, int, int]
"""Numbers along time, height and width."""


@dataclass(frozen=True)
class Grid:
    """Converts between seconds and feature steps; nothing else does.

    Step i is centred on frame `i * stride_frames + offset_frames` of a video at `fps` frames per second.
    ActionFormer's grid has offset_frames = half a clip.
    """

    fps: float
    stride_frames: float
    offset_frames: float

    @property
    def offset_steps(self) -> float:
        """Steps between time zero and the first feature."""
        return self.offset_frames / self.stride_frames

    def steps(self, seconds: Tensor) -> Tensor:
        """Feature steps of points in time; may be negative before the first feature's centre."""
        return seconds * self.fps / self.stride_frames - self.offset_steps

    def seconds(self, steps: Tensor) -> Tensor:
        """Points in time of feature steps, not clipped to the video."""
        return (steps * self.stride_frames + self.offset_frames) / self.fps


@dataclass(frozen=True)
class Extent:
    """The end of a video's features and the length of a step, in seconds."""

    end_s: float
    step_s: float


@dataclass(frozen=True)
class Targets:
    """The actions of one video: `segments` (N, 2) in feature steps, `labels` (N,) class numbers."""

    segments: Tensor
    labels: Tensor
    unlabelled: Tensor | None = None
    """(M, 2) in feature steps: where it is not known what happens, which losses ignore; None: nowhere."""

    @staticmethod
    def none() -> Targets:
        """A video without actions: background only."""
        import torch

        return Targets(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Targets:
        """The targets with all steps changed, as by a move to the beginning of a window."""
        unlabelled = None if self.unlabelled is None else change(self.unlabelled)
        return Targets(change(self.segments), self.labels, unlabelled)

    def to(self, device: torch.device) -> Targets:
        """The targets on `device`."""
        unlabelled = None if self.unlabelled is None else self.unlabelled.to(device)
        return Targets(self.segments.to(device), self.labels.to(device), unlabelled)

    def is_unlabelled(self, steps: Tensor) -> Tensor:
        """(P,): whether it is not known what happens at each of the `steps` (P,)."""
        import torch

        if self.unlabelled is None:
            return torch.zeros_like(steps, dtype=torch.bool)
        starts, ends = self.unlabelled.to(steps.device).T
        return ((steps[:, None] > starts) & (steps[:, None] < ends)).any(dim=1)


def one_action(segment: Tensor, label: int) -> Targets:
    """A video with one action, at `segment` (2,) in feature steps."""
    import torch

    return Targets(segment[None], torch.tensor([label], device=segment.device))


@dataclass(frozen=True)
class Detections:
    """Scored segments of one video: `segments` (N, 2), `scores` (N,), `labels` (N,) class numbers."""

    segments: Tensor
    scores: Tensor
    labels: Tensor
    class_scores: Tensor | None = None
    """Of a detector that also scores classes: (1, K) for the whole video, or (N, K) for each segment."""
    cut_by: frozenset[str] = frozenset()
    """The settings whose limits left out detections of lower scores."""

    def __len__(self) -> int:
        return len(self.scores)

    def class_scores_of(self, rows: Tensor) -> Tensor | None:
        """The class scores that belong to these segments: their own, or the one row of the video."""
        if self.class_scores is None or len(self.class_scores) == 1:
            return self.class_scores
        return self.class_scores[rows]


class Payload(Protocol):
    """What a source turns into features (C, T): these themselves, or the clips they are made of."""

    @property
    def shape(self) -> tuple[int, ...]:
        """C and T of the features."""

    def narrow(self, dim: int, start: int, length: int) -> Payload:
        """The payload of `length` steps from `start` on; `dim` is 1, as in `Tensor.narrow`."""


@runtime_checkable
class Readable(Protocol):
    """A payload whose features are in a file."""

    def features(self) -> Tensor:
        """Reads the features (C, T)."""


@dataclass(frozen=True)
class Sample:
    """A window of one video: its payload, its actions in steps of the window, and the grid of the whole video.

    Step i of the window is step `first_step + i` of the grid.
    """

    video_id: str
    payload: Payload
    targets: Targets
    grid: Grid
    first_step: int = 0
    is_replacement: bool = False
    """Whether it replaces a sample whose video cannot be decoded."""

    @property
    def num_steps(self) -> int:
        """T."""
        return self.payload.shape[1]

    @property
    def features(self) -> Tensor:
        """The features (C, T) of a sample that has them already, or reads them now."""
        from torch import Tensor

        if isinstance(self.payload, Readable):
            return self.payload.features()
        assert isinstance(self.payload, Tensor), "the source makes these features when it is asked for them"
        return self.payload

    def part(self, start: int, length: int, targets: Targets) -> Sample:
        """The sample of `length` steps from `start` on, with its own actions."""
        payload = self.payload.narrow(1, start, length)
        return Sample(self.video_id, payload, targets, self.grid, self.first_step + start)


@dataclass(frozen=True)
class Visit:
    """Which time a sample is loaded: all random choices follow from it, so any number of processes makes the same."""

    seed: int = 0
    epoch: int = 0
    batch: int = 0
    """Number of the batch in its epoch."""

    def generator(self, index: int) -> random.Random:
        """The generator of sample `index`."""
        return random.Random(f"sample {self.seed} {self.epoch} {index}")

    def shared(self) -> random.Random:
        """A generator that begins in the same way for every sample of the batch."""
        return random.Random(f"batch {self.seed} {self.epoch} {self.batch}")


FIRST_VISIT = Visit()


@dataclass(frozen=True)
class Batch:
    """Samples of one forward pass."""

    samples: tuple[Sample, ...]

    @property
    def video_ids(self) -> list[str]:
        """The videos in the batch, in order."""
        return [sample.video_id for sample in self.samples]

    @property
    def lengths(self) -> list[int]:
        """Steps of each sample."""
        return [sample.num_steps for sample in self.samples]

    def mask(self, num_steps: int, device: torch.device) -> Tensor:
        """The mask (B, num_steps): true on each sample's own steps, false on padding after them."""
        import torch

        return (torch.arange(num_steps) < torch.tensor(self.lengths)[:, None]).to(device)

    def padded(self, num_steps: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Features (B, C, num_steps), zero after each sample's end, and the mask, of samples that have features."""
        import torch

        features = torch.zeros(len(self.samples), self.samples[0].payload.shape[0], num_steps)
        for row, sample in zip(features, self.samples, strict=True):
            row[:, : sample.num_steps] = sample.features
        return features.to(device), self.mask(num_steps, device)

    def targets(self, device: torch.device) -> list[Targets]:
        """The samples' actions on `device`."""
        return [sample.targets.to(device) for sample in self.samples]


@dataclass(frozen=True)
class VideoDetections:
    """The detections of one video, in seconds."""

    video_id: str
    detections: Detections
    too_long: bool = False
    """Whether there are none because the video has more steps than the detector takes."""


class Factors(NamedTuple):
    """What the learning rate and the weight decay of some weights are multiplied by."""

    rate: float
    decay: float
