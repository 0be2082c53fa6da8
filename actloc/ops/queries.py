"""What queries learn (TadTR: Liu et al., 2022, arXiv 2106.10271, sections III-D and III-E): each at most one action.

Segments are centre and width, as parts of the steps that their video is looked at in, from 0 to 1.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from actloc.layers.precision import at_least_float32
from actloc.ops.criterion import Criterion
from actloc.ops.losses import sigmoid_focal_loss
from actloc.structures import Detections, Targets

KEPT_PER_WINDOW = "detector.kept_per_window"
SMALLEST_CHANCE = 1e-8  # inside the logarithms of the cost
ALPHA = 0.25
LAYER_LOSSES, ACTIONNESS = ("classification", "segments", "iou"), "actionness"
STEP_CENTER = 0.5  # step i reaches from i - 0.5 to i + 0.5, and the first begins where parts do


@dataclass(frozen=True)
class QueryOutputs:
    """What the network predicts of a batch."""

    logits: list[Tensor]
    """Of each layer of the decoder, (B, Q, K)."""
    segments: list[Tensor]
    """Of each layer, (B, Q, 2): centre and width."""
    actionness: Tensor | None
    """(B, Q): logits of the highest IoU with an action; None without such a head."""
    spans: Tensor
    """(B,): the steps of which segments are parts."""
    lengths: Tensor
    """(B,): the steps of each video without padding."""


@dataclass(frozen=True)
class QueryTargets:
    """The actions of one video as parts, and the classes of those that reach into its steps."""

    segments: Tensor
    """(N, 2): centre and width."""
    labels: Tensor
    """(N,)"""

    def __len__(self) -> int:
        return len(self.labels)


def with_ends(segments: Tensor) -> Tensor:
    """Starts and ends (..., 2) of centres and widths (..., 2)."""
    centers, widths = segments.unbind(dim=-1)
    return torch.stack((centers - 0.5 * widths, centers + 0.5 * widths), dim=-1)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """IoU of centres and widths (..., 2), broadcast against each other; widths are above 0."""
    first, second = with_ends(first), with_ends(second)
    shared = torch.minimum(first[..., 1], second[..., 1]) - torch.maximum(first[..., 0], second[..., 0])
    shared = shared.clamp(min=0)
    return shared / ((first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - shared)


def as_parts(targets: Targets, span: Tensor) -> QueryTargets:
    """The actions, cut to the `span` steps that they are parts of; those that are outside are left out."""
    ends = ((at_least_float32(targets.segments) + STEP_CENTER) / span).clamp(0, 1)
    segments = torch.stack((ends.mean(dim=1), ends[:, 1] - ends[:, 0]), dim=1)
    has_width = segments[:, 1] > 0
    return QueryTargets(segments[has_width], targets.labels[has_width])


@torch.no_grad()
def matching_cost(
    logits: Tensor, segments: Tensor, targets: QueryTargets, class_cost: float, segment_cost: float, iou_cost: float
) -> Tensor:
    """(Q, N): what it costs that a query of logits (Q, K) and segments (Q, 2) learns an action."""
    chances = logits.sigmoid()
    positive = ALPHA * (1 - chances) ** 2 * -(chances + SMALLEST_CHANCE).log()
    negative = (1 - ALPHA) * chances**2 * -(1 - chances + SMALLEST_CHANCE).log()
    distance = (segments[:, None] - targets.segments).abs().sum(dim=2)
    of_class = (positive - negative)[:, targets.labels]
    return segment_cost * distance + class_cost * of_class - iou_cost * overlaps(segments[:, None], targets.segments)


def match(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The queries (M,), rising, and the action (M,) of each, that together have the lowest `cost` (Q, N).

    Each action has a query of its own; of more actions than queries, the cheapest are learned.
    """
    from scipy.optimize import linear_sum_assignment  # the Hungarian algorithm; only training needs it

    # costs that are not finite would be refused; the losses report them with the videos of the step
    rows, columns = linear_sum_assignment(np.nan_to_num(cost.cpu().numpy()))
    return torch.as_tensor(rows, device=cost.device), torch.as_tensor(columns, device=cost.device)


def touches_unlabelled(segments: Tensor, targets: Targets, span: Tensor, length: Tensor) -> Tensor:
    """(Q,): whether a segment (Q, 2) is in part where it is not known what happens; padding is known to be nothing."""
    if targets.unlabelled is None:
        return torch.zeros_like(segments[:, 0], dtype=torch.bool)
    gaps = at_least_float32(targets.unlabelled).to(segments).clamp(min=-STEP_CENTER).minimum(length - STEP_CENTER)
    starts, ends = (with_ends(segments) * span - STEP_CENTER).unbind(dim=1)
    return ((starts[:, None] < gaps[:, 1]) & (ends[:, None] > gaps[:, 0]) & (gaps[:, 1] > gaps[:, 0])).any(dim=1)


class QueryCriterion(Criterion):
    """TadTR's losses, of every layer of the decoder; they are divided by the number of actions in the batch.

    A query that is matched with no action and reaches into the unlabelled time of its video learns nothing there.
    """

    def __init__(
        self,
        *,
        costs: tuple[float, float, float],
        weights: tuple[float, float, float, float],
        is_actionness_own: bool,
    ) -> None:
        super().__init__()
        self.costs = costs
        self.weights = dict(zip((*LAYER_LOSSES, ACTIONNESS), weights, strict=True))
        self.is_actionness_own = is_actionness_own

    def forward(self, outputs: QueryOutputs, targets: list[Targets]) -> dict[str, Tensor]:
        """Named float32 scalars whose sum training minimises: over all layers, and the actionness of the last."""
        actions = [as_parts(one, span) for one, span in zip(targets, outputs.spans, strict=True)]
        return self.weighted(self.unweighted(outputs, actions, targets))

    def weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses of all layers, from those (L,) of each."""
        return {name: self.weights[name] * of_layers.sum() for name, of_layers in losses.items()}

    def unweighted(
        self, outputs: QueryOutputs, actions: list[QueryTargets], targets: list[Targets]
    ) -> dict[str, Tensor]:
        """The losses (L,) of each layer by name, and that of actionness (1,); `targets` say what is unlabelled."""
        num_actions = max(1, sum(map(len, actions)))
        layers, ignored = [], torch.zeros(0)
        for layer_logits, segments in zip(outputs.logits, outputs.segments, strict=True):
            logits = at_least_float32(layer_logits)
            ignored = self._ignored(outputs, segments, targets)
            classes, found, learned = torch.zeros_like(logits), [], []
            for video, one in enumerate(actions):
                queries, numbers = self.matched(logits[video], segments[video], one)
                classes[video, queries, one.labels[numbers]] = 1
                ignored[video, queries] = False
                found.append(segments[video, queries])
                learned.append(one.segments[numbers])
            ours, theirs = torch.cat(found), torch.cat(learned)
            focal = sigmoid_focal_loss(logits, classes, alpha=ALPHA).masked_fill(ignored[..., None], 0)
            layers.append(torch.stack((focal.sum(), (ours - theirs).abs().sum(), (1 - overlaps(ours, theirs)).sum())))
        losses = dict(zip(LAYER_LOSSES, (torch.stack(layers) / num_actions).T, strict=True))
        if outputs.actionness is not None:
            off = (outputs.actionness.sigmoid() - self.highest_ious(outputs.segments[-1], actions)).abs()
            losses[ACTIONNESS] = off.masked_fill(ignored, 0).mean()[None]
        return losses

    @torch.no_grad()
    def _ignored(self, outputs: QueryOutputs, segments: Tensor, targets: list[Targets]) -> Tensor:
        """(B, Q): which segments (B, Q, 2) reach into unlabelled time."""
        columns = zip(segments, targets, outputs.spans, outputs.lengths, strict=True)
        return torch.stack([touches_unlabelled(*column) for column in columns])

    def matched(self, logits: Tensor, segments: Tensor, actions: QueryTargets) -> tuple[Tensor, Tensor]:
        """The queries of one video that learn an action, and which: logits (Q, K), segments (Q, 2)."""
        return match(matching_cost(logits, segments, actions, *self.costs))

    @torch.no_grad()
    def highest_ious(self, segments: Tensor, actions: list[QueryTargets]) -> Tensor:
        """(B, Q): of each segment (B, Q, 2) with the actions of its video, or as officially of all videos."""
        if not self.is_actionness_own:
            listed = [torch.cat([one.segments for one in actions])] * len(actions)
        else:
            listed = [one.segments for one in actions]
        # an IoU of 0 in front: there may be no action
        found = [
            F.pad(overlaps(one[:, None], them), (1, 0)).amax(dim=1) for one, them in zip(segments, listed, strict=True)
        ]
        return torch.stack(found)


@torch.no_grad()
def select_queries(outputs: QueryOutputs, most: int) -> list[Detections]:
    """The `most` best pairs of query and class of each video, best first, in feature steps; nothing is suppressed."""
    scores = at_least_float32(outputs.logits[-1]).sigmoid()
    if outputs.actionness is not None:
        scores = scores * outputs.actionness.sigmoid()[..., None]
    segments = with_ends(outputs.segments[-1]) * outputs.spans[:, None, None] - STEP_CENTER
    num_classes, found = scores.shape[2], []
    for of_video, where in zip(scores.flatten(1), segments, strict=True):
        best = of_video.argsort(descending=True, stable=True)[:most]
        cut_by = frozenset({KEPT_PER_WINDOW} if len(of_video) > most else ())
        found.append(Detections(where[best // num_classes], of_video[best], best % num_classes, cut_by=cut_by))
    return found
