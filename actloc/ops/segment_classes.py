"""What a classifier of segments learns, and what it finds, beside a detector that finds actions without classes."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from actloc.layers.precision import at_least_float32
from actloc.layers.segment_classifier import SegmentClassifier
from actloc.ops.cascade import STEP_CENTER
from actloc.ops.criterion import Criterion
from actloc.ops.roi_align import roi_align
from actloc.structures import Targets

MOVED = ((0.0, 0.0), (-0.2, 0.2), (0.2, -0.2), (-0.2, -0.2), (0.2, 0.2))
"""By how much of an action's length its start and its end are moved: it is learned as it is, wider, narrower, earlier
and later, because a detector's segments are never exact."""

AT_ONCE = 1024  # segments whose features are in memory together


@dataclass(frozen=True)
class ClassifiedOutputs:
    """A detector's own outputs, and what the classes of segments are read from."""

    found: Any  # only the detector looks into it
    embedded: Tensor
    """(B, C, T): the features that segments are pooled from."""
    classifier: SegmentClassifier

    def class_logits(self, video: int, segments: Tensor) -> Tensor:
        """(N, K) of segments (N, 2), in feature steps, of one video of the batch."""
        embedded = at_least_float32(self.embedded[video])[None]
        places = (segments + STEP_CENTER)[None]  # ROI align counts from the border of step 0
        bins = [
            roi_align(embedded, part, self.classifier.num_bins, aligned=True)[0]
            for part in torch.split(places.to(embedded), AT_ONCE, dim=1)
        ]
        return at_least_float32(self.classifier(torch.cat(bins)))


class SegmentClassCriterion(Criterion):
    """The losses of a detector without classes, and the classifier's cross-entropy on the true segments."""

    def __init__(self, found: Criterion, weight: float) -> None:
        super().__init__()
        self.found = found
        self.weight = weight

    def forward(self, outputs: ClassifiedOutputs, targets: list[Targets]) -> dict[str, Tensor]:
        """The detector's losses, and `classes`: the mean over all forms of the batch's actions; 0 without any."""
        logits, labels = [], []
        for video, target in enumerate(targets):
            moves = target.segments.diff(dim=1) * target.segments.new_tensor(MOVED)[:, None]  # (forms, N, 2)
            logits.append(outputs.class_logits(video, (target.segments + moves).flatten(0, 1)))
            labels.append(target.labels.repeat(len(MOVED)))
        known = torch.cat(labels)
        # a sum, because the mean over no action is not a number
        loss = F.cross_entropy(torch.cat(logits), known, reduction="sum") / max(len(known), 1)
        return {**self.found(outputs.found, targets), "classes": self.weight * loss}

    def training_state(self) -> dict[str, float]:
        """The numbers of the detector's losses; the classifier has none."""
        return self.found.training_state()

    def load_training_state(self, state: dict[str, float]) -> None:
        """Goes on from what `training_state` gave."""
        self.found.load_training_state(state)
