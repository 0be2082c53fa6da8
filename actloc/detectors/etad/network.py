"""The network of ETAD."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.detectors.base_network import Detector, only_length
from actloc.detectors.etad import Config
from actloc.layers.precision import at_least_float32, full_precision
from actloc.layers.proposal_head import NUM_BINS, ProposalHead
from actloc.layers.temporal_enhancement import TemporalEnhancement
from actloc.ops.candidates import all_candidates, block_rows, grid_rows, random_rows
from actloc.ops.cascade import CascadeCriterion, CascadeOutputs, Stage, as_parts, in_steps, overlaps, refined
from actloc.ops.roi_align import roi_align
from actloc.structures import Detections

EXTENSION = 0.5  # of a candidate's length, on both sides: its surroundings count too
AT_ONCE = 1024  # candidates of each video whose features are in memory together
PEAK_SHARE = 0.5  # of the highest boundary probability of a video, from which a step is a boundary


class Etad(Detector):
    """Boundary probabilities of every step, and scores of every candidate after the stages have moved it."""

    candidates: Tensor
    criterion: CascadeCriterion
    why_not_onnx = "how many samples its ROI align takes depends on the segments that it refines"

    def __init__(self, config: Config, in_channels: int, max_steps: int) -> None:
        super().__init__()
        dim, stages = config.dim, len(config.stage_tious)
        self.config = config
        self.max_steps = max_steps
        self.enhancement = TemporalEnhancement(in_channels, dim, config.conv_groups, config.norm_groups)
        self.boundary_conv = nn.Conv1d(dim, dim, 3, padding=1, groups=config.conv_groups)
        self.boundary_head = nn.Conv1d(dim, 2, 1)
        self.stage_convs = nn.ModuleList(
            nn.Conv1d(dim, dim, 3, padding=1, groups=config.conv_groups) for _ in range(stages)
        )
        self.stage_reductions = nn.ModuleList(nn.Conv1d(dim, config.head_dim, 3, padding=1) for _ in range(stages))
        self.stage_heads = nn.ModuleList(ProposalHead(config.head_dim, config.trunk_dim) for _ in range(stages))
        for layer in [module for module in self.modules() if isinstance(module, nn.Conv1d | nn.Linear)]:
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.criterion = CascadeCriterion(config.stage_tious, official_balance=config.official_balance)
        found = all_candidates(max_steps, config.longest_steps or max_steps)
        self.register_buffer("candidates", found, persistent=False)

    def padded_steps(self, longest: int) -> int:
        """Always `max_steps`; raises UserError for more."""
        return only_length(self.max_steps, longest)

    def forward(self, features: Tensor, mask: Tensor) -> CascadeOutputs:
        """Outputs for (B, C, T) features, T = `max_steps`; all steps count, whatever `mask` (B, T) says.

        In training they are those of some candidates, drawn anew at every step; otherwise those of all.
        """
        candidates = self.sampled(len(features)) if self.training else self.candidates.expand(len(features), -1, -1)
        return self.at_anchors(features, candidates.to(at_least_float32(features).dtype) / self.max_steps)

    def at_anchors(self, features: Tensor, anchors: Tensor) -> CascadeOutputs:
        """Outputs for features (B, C, T) and anchors (B, K, 2), parts of the sequence from 0 to 1."""
        enhanced = self.enhancement(features)
        logits = self.boundary_head(F.relu(self.boundary_conv(enhanced)))
        stages = []
        layers = zip(self.stage_convs, self.stage_reductions, self.stage_heads, strict=True)
        for conv, reduction, head in layers:
            reduced = F.relu(reduction(enhanced + F.relu(conv(enhanced))))
            scores, offsets = _predictions(head, reduced, anchors)
            with full_precision(features.device):
                segments = refined(anchors, offsets.detach())
            stages.append(Stage(anchors, scores, offsets, segments))
            anchors = segments
        return CascadeOutputs(at_least_float32(logits).sigmoid(), stages)

    def sampled(self, num_videos: int) -> Tensor:
        """(B, K, 2) candidates of one training step, in steps."""
        listed, share, generator = self.candidates, self.config.sampled_share, self.criterion.generator(0)
        if self.config.sampling == "grid":
            return listed[grid_rows(listed.cpu(), share).to(listed.device)].expand(num_videos, -1, -1)
        if self.config.sampling == "block":
            rows = [block_rows(listed.cpu(), share, generator) for _ in range(num_videos)]
        else:
            rows = [random_rows(len(listed), share, generator) for _ in range(num_videos)]
        return listed[torch.stack(rows).to(listed.device)]

    def segment_score(self, outputs: CascadeOutputs, segment: Tensor, label: int) -> Tensor:
        """The action scores of the candidates that would learn the action in the first stage, added up.

        Without any, that of the candidates nearest to it.
        """
        place = as_parts(segment, outputs.boundaries.shape[2]).to(outputs.boundaries)
        tious = overlaps(outputs.stages[0].anchors[0], place)
        learning = tious >= tious.max().clamp(max=self.config.stage_tious[0])
        scores = torch.stack([stage.scores[0, learning, :2] for stage in outputs.stages]).mean(dim=0)
        return scores.prod(dim=1).sum()

    @torch.no_grad()
    def select(self, outputs: CascadeOutputs) -> list[Detections]:
        """The candidates whose ends are boundaries, in feature steps, before suppression; the mean of all stages.

        Segments that end before they start are left out: refinement may move one end past the other.
        """
        segments = torch.stack([stage.segments for stage in outputs.stages]).mean(dim=0)
        scores = torch.stack([stage.scores[..., :2] for stage in outputs.stages]).mean(dim=0).prod(dim=2)
        num_steps = outputs.boundaries.shape[2]
        cells = (segments * num_steps).nan_to_num().clamp(0, num_steps - 1).long()  # (B, K, 2)
        kept = boundary_steps(outputs.boundaries).transpose(1, 2).take_along_dim(cells, dim=1).all(dim=2)
        kept &= segments[..., 1] > segments[..., 0]
        found = zip(in_steps(segments, num_steps), scores, kept, strict=True)
        return [
            Detections(ends[chosen], score[chosen], chosen.new_zeros(int(chosen.sum()), dtype=torch.long))
            for ends, score, chosen in found
        ]


def extended(anchors: Tensor) -> Tensor:
    """Anchors (B, K, 2) with their surroundings, whose features count too."""
    return anchors + EXTENSION * anchors.diff(dim=2) * anchors.new_tensor([-1.0, 1.0])


def _predictions(head: nn.Module, features: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and offsets (B, K, 4) of anchors (B, K, 2), from features (B, C, T)."""
    parts = []
    for part in torch.split(extended(anchors) * features.shape[2], AT_ONCE, dim=1):
        found = head(roi_align(features, part, NUM_BINS).flatten(0, 1))
        parts.append(torch.stack([at_least_float32(one).view(*part.shape[:2], 4) for one in found]))
    logits, offsets = torch.cat(parts, dim=2)
    return logits.sigmoid(), offsets


def boundary_steps(probabilities: Tensor) -> Tensor:
    """Which steps are starts, and which ends, by probabilities (B, 2, T): peaks, and steps half as high as the highest.

    A peak is above what is beside it, which before the first step and after the last is 0. The first step always is a
    start, and the last always an end.
    """
    beside = F.pad(probabilities, (1, 1))
    is_peak = (probabilities > beside[..., :-2]) & (probabilities > beside[..., 2:])
    chosen = is_peak | (probabilities > PEAK_SHARE * probabilities.amax(dim=2, keepdim=True))
    chosen[:, 0, 0] = True
    chosen[:, 1, -1] = True
    return chosen
