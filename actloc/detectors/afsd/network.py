"""The network of AFSD."""

import torch
from torch import Tensor, nn

from actloc.detectors.afsd import Config
from actloc.detectors.base_network import Detector, only_length
from actloc.layers.group_norm_pyramid import ConvGroupNorm, GroupNormPyramid
from actloc.layers.precision import at_least_float32, full_precision
from actloc.layers.temporal_consistency import REDUCTION, TemporalConsistency, TemporalReduction
from actloc.ops.boundary_pooling import boundary_pool, boundary_windows
from actloc.ops.coarse_to_fine import (
    ACTION,
    BACKGROUND,
    CoarsePoints,
    CoarseToFineCriterion,
    CoarseToFineOutputs,
    assign_points,
)
from actloc.ops.points import chosen_or_inside
from actloc.structures import Detections, one_action

LARGEST_FACTOR = 4.0  # TALLFormer: a coarse border is at most this many strides away


class Refinement(nn.Module):
    """Features of a point, of the surroundings of its coarse segment's ends, and of the same on the fine grid."""

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        self.point = ConvGroupNorm(dim, dim, 1, groups)
        self.sides = ConvGroupNorm(dim, 2 * dim, 1, groups)
        self.fine = ConvGroupNorm(dim, dim, 1, groups)
        self.joined = ConvGroupNorm(4 * dim, dim, 1, groups)

    def forward(self, level: Tensor, pooled_fine: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T) of each, from `windows` (B, T, 4) on the level, and the level's boundary features (B, 2C, T)."""
        sides = self.sides(level)
        parts = (self.fine(pooled_fine), boundary_pool(sides, windows), self.point(level))
        return self.joined(torch.cat(parts, dim=1)), sides


class Afsd(Detector):
    """Every point of a pyramid predicts a coarse segment, pools features around its ends, and refines it.

    Point i of a level is the middle of its stride, at step (i + 0.5) * stride: step i begins at time i of the grid.
    """

    points: Tensor
    why_not_onnx = "torch's exporter cannot take its attention apart"

    def __init__(self, config: Config, in_channels: int, num_classes: int, max_steps: int) -> None:
        super().__init__()
        dim, groups, strides = config.dim, config.norm_groups, config.strides
        self.config = config
        self.max_steps = max_steps
        self.reduction = TemporalReduction(in_channels, dim)
        self.consistency = TemporalConsistency(
            dim,
            max_length=max_steps // REDUCTION,
            num_layers=config.consistency_layers,
            num_heads=config.consistency_heads,
            drop_path=config.drop_path,
        )
        self.pyramid = GroupNormPyramid(dim, len(strides), groups)
        self.class_dropout = nn.Dropout(config.class_dropout)
        self.video_classifier = nn.Linear(in_channels, 1 + num_classes)
        self.fine_grid = nn.Sequential(*(ConvGroupNorm(dim, dim, kernel, groups) for kernel in (3, 3, 1)))
        self.segment_tower = nn.Sequential(*(ConvGroupNorm(dim, dim, 3, groups) for _ in range(2)))
        self.confidence_tower = nn.Sequential(*(ConvGroupNorm(dim, dim, 3, groups) for _ in range(2)))
        self.distance_head = nn.Conv1d(dim, 2, 3, padding=1)
        self.scales = nn.ParameterList(torch.ones(1) for _ in strides)
        self.confidence_head = nn.Conv1d(dim, 2, 3, padding=1)
        self.segment_refinement = Refinement(dim, groups)
        self.confidence_refinement = Refinement(dim, groups)
        self.correction_head = nn.Conv1d(dim, 2, 1)
        self.refined_confidence_head = nn.Conv1d(dim, 2, 1)
        self.quality_head = nn.Conv1d(dim, 1, 3, padding=1)
        for conv in [module for module in self.modules() if isinstance(module, nn.Conv1d)]:
            nn.init.xavier_uniform_(conv.weight)  # as in AFSD's code, with biases of zero
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        self.criterion = CoarseToFineCriterion(config.refined_tiou, max_steps)
        points = [
            ((number + 0.5) * stride, *reach)
            for stride, reach in zip(strides, config.regression_ranges, strict=True)
            for number in range(max_steps // stride)
        ]
        self.register_buffer("points", torch.tensor(points).T.contiguous(), persistent=False)

    def padded_steps(self, longest: int) -> int:
        """Always `max_steps`; raises UserError for more."""
        return only_length(self.max_steps, longest)

    def forward(self, features: Tensor, mask: Tensor) -> CoarseToFineOutputs:
        """Outputs for (B, C, T) features, T = `max_steps`; all steps count, whatever `mask` (B, T) says."""
        config, points = self.config, CoarsePoints(*self.points.unbind())
        class_logits = self.video_classifier(self.class_dropout(features.mean(dim=2)))
        levels = self.pyramid(self.consistency(self.reduction(features)))
        lengths = [level.shape[2] for level in levels]
        # on the fine grid a level's position is repeated for all the frames that it covers
        fine = self.fine_grid(levels[0].repeat_interleave(REDUCTION * config.frames_per_step, dim=2))
        towers = [(self.segment_tower(level), self.confidence_tower(level)) for level in levels]
        distances = torch.cat([self._distances(tower, number) for number, (tower, _) in enumerate(towers)], dim=1)
        logits = torch.cat([self.confidence_head(tower) for _, tower in towers], dim=2)
        to_start, to_end = distances.detach().unbind(dim=2)
        starts, ends = points.centers - to_start, points.centers + to_end
        frames = config.frames_per_step
        # the official length counts both ends as frames of the segment
        windows = boundary_windows(frames * starts, frames * ends, frames * (ends - starts) + 1)
        pooled_fine = torch.split(boundary_pool(fine, windows), lengths, dim=2)
        corrections, refined_logits, quality, sides = [], [], [], []
        places = zip(
            torch.split(starts, lengths, dim=1), torch.split(ends, lengths, dim=1), config.strides, strict=True
        )
        for (segment, confidence), pooled, (start, end, stride) in zip(towers, pooled_fine, places, strict=True):
            # a level's position i is at its index i, half a stride before the point in steps
            near = boundary_windows(start / stride - 0.5, end / stride - 0.5, (end - start) / stride)
            refined_segment, of_segment = self.segment_refinement(segment, pooled, near)
            refined_confidence, of_confidence = self.confidence_refinement(confidence, pooled, near)
            corrections.append(self.correction_head(refined_segment))
            quality.append(self.quality_head(refined_segment))
            refined_logits.append(self.refined_confidence_head(refined_confidence))
            sides.append((of_segment, of_confidence))
        return CoarseToFineOutputs(
            points,
            distances,
            logits.transpose(1, 2),
            torch.cat(corrections, dim=2).transpose(1, 2),
            torch.cat(refined_logits, dim=2).transpose(1, 2),
            torch.cat(quality, dim=2)[:, 0],
            class_logits,
            (fine, *sides[0]),
        )

    def _distances(self, tower: Tensor, level: int) -> Tensor:
        """(B, T, 2) feature steps from each point of a level to the start and end of its coarse segment."""
        with full_precision(tower.device):  # rounded distances would pool elsewhere
            exponents = at_least_float32(self.distance_head(at_least_float32(tower))) * self.scales[level]
            return exponents.exp().clamp(max=LARGEST_FACTOR).transpose(1, 2) * self.config.strides[level]

    def segment_score(self, outputs: CoarseToFineOutputs, segment: Tensor, label: int) -> Tensor:
        """The logits of action, of both stages on average, and of the video's class, at the points of the action.

        These are the points that would learn it, or those inside it, added up.
        """
        points = outputs.points
        assigned = assign_points(points, [one_action(segment, label)], outputs.distances, self.config.refined_tiou)
        centers = points.centers
        positive = chosen_or_inside(assigned.positive[0], centers, torch.ones_like(centers, dtype=torch.bool), segment)
        stages = torch.stack((at_least_float32(outputs.logits[0]), at_least_float32(outputs.refined_logits[0])))
        actions = (stages[..., ACTION] - stages[..., BACKGROUND]).mean(dim=0)
        return (actions[positive] + at_least_float32(outputs.class_logits[0, 1 + label])).sum()

    @torch.no_grad()
    def select(self, outputs: CoarseToFineOutputs) -> list[Detections]:
        """The refined segments of all points, in feature steps, before suppression; each has its video's best class.

        Segments without length are left out: refinement may move one end past the other. `class_scores` (1, K) are the
        chances of the video's classes, without background's.
        """
        to_start, to_end = outputs.refined_distances.unbind(dim=2)
        centers = outputs.points.centers
        segments = torch.stack((centers - to_start, centers + to_end), dim=2).clamp(0, self.max_steps)
        stages = (outputs.logits, outputs.refined_logits)
        confidences = [at_least_float32(logits).softmax(dim=2)[..., ACTION] for logits in stages]
        scores = torch.stack(confidences).mean(dim=0) * at_least_float32(outputs.quality_logits).sigmoid()
        class_scores = at_least_float32(outputs.class_logits).softmax(dim=1)[:, 1:]
        labels = class_scores.argmax(dim=1, keepdim=True).expand(scores.shape)
        has_length = segments[..., 1] > segments[..., 0]
        columns = zip(segments, scores, labels, has_length, class_scores[:, None], strict=True)
        return [Detections(ends[kept], score[kept], label[kept], row) for ends, score, label, kept, row in columns]
