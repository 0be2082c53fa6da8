"""The network of BMN; its modules are named as in the public PyTorch code, so that its files fit."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.detectors.base_network import Detector, only_length
from actloc.detectors.bmn import Config
from actloc.layers.precision import at_least_float32, full_precision
from actloc.ops.boundary_matching import (
    MatchingCriterion,
    MatchingOutputs,
    cell_parts,
    is_segment,
    samples,
)
from actloc.ops.cascade import CLASS_TIOU, as_parts, in_steps, overlaps
from actloc.ops.suppression import soft_suppression_by_length
from actloc.structures import Detections


class Bmn(Detector):
    """Probabilities that steps are starts and ends, and the scores of all pairs of a start and an end."""

    rows: Tensor
    weights: Tensor
    first: Tensor
    criterion: MatchingCriterion

    def __init__(self, config: Config, in_channels: int, max_steps: int) -> None:
        super().__init__()
        dim, groups, inner = config.dim, config.conv_groups, config.map_dim
        self.config = config
        self.max_steps = max_steps

        def conv(channels: int, groups: int) -> nn.Conv1d:
            return nn.Conv1d(channels, dim, 3, padding=1, groups=groups)

        def curve() -> nn.Sequential:
            return nn.Sequential(conv(dim, groups), nn.ReLU(), nn.Conv1d(dim, 1, 1), nn.Sigmoid())

        self.x_1d_b = nn.Sequential(conv(in_channels, groups), nn.ReLU(), conv(dim, groups), nn.ReLU())
        self.x_1d_s = curve()
        self.x_1d_e = curve()
        self.x_1d_p = nn.Sequential(conv(dim, 1), nn.ReLU())
        over_samples = nn.Conv3d(dim, config.sampled_dim, (config.num_samples, 1, 1))
        self.x_3d_p = nn.Sequential(over_samples, nn.ReLU())
        self.x_2d_p = nn.Sequential(
            nn.Conv2d(config.sampled_dim, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(inner, 2, 1),
            nn.Sigmoid(),
        )
        self.criterion = MatchingCriterion(official_balance=config.official_balance)
        found = samples(max_steps, config.num_samples, config.points_per_sample)
        self.register_buffer("rows", found.rows, persistent=False)
        self.register_buffer("weights", found.weights, persistent=False)
        self.register_buffer("first", found.first, persistent=False)

    def padded_steps(self, longest: int) -> int:
        """Always `max_steps`; raises UserError for more."""
        return only_length(self.max_steps, longest)

    def forward(self, features: Tensor, mask: Tensor) -> MatchingOutputs:
        """Outputs for (B, C, T) features, T = `max_steps`; all steps count, whatever `mask` (B, T) says."""
        base = self.x_1d_b(features)
        boundaries = torch.cat((self.x_1d_s(base), self.x_1d_e(base)), dim=1)
        ious = self.x_2d_p(self.matched(self.x_1d_p(base)))
        return MatchingOutputs(at_least_float32(boundaries), at_least_float32(ious))

    def matched(self, features: Tensor) -> Tensor:
        """(B, C', T, T): for each pair of a start and an end what `x_3d_p` makes of its samples of features (B, C, T).

        Sampling and the convolution over the samples are both linear, so each sample's weights are applied to the T
        steps first, and a cell then gathers the few of these that it is the mean of. The official code samples first,
        by a dense matrix, and stores C * S numbers for each of T * T cells.
        """
        num_videos, _, num_steps = features.shape
        weight, bias = self.x_3d_p.get_parameter("0.weight"), self.x_3d_p.get_parameter("0.bias")
        kernel = weight[..., 0, 0]  # (C', C, S)
        steps = torch.einsum("ocs,bct->stbo", kernel, features).flatten(0, 1).flatten(1)  # (S * T, B * C')
        with full_precision(features.device):
            steps = at_least_float32(steps)
            weights = self.weights.to(steps)
            cells = F.embedding_bag(self.rows, steps, self.first, mode="sum", per_sample_weights=weights)
        cells = cells.view(num_steps, num_steps, num_videos, -1).permute(2, 3, 0, 1)
        return F.relu(cells + bias[:, None, None])

    def tensors_of(self, outputs: MatchingOutputs) -> dict[str, Tensor]:
        """The probabilities of boundaries and the scores of all pairs."""
        return {"boundaries": outputs.boundaries, "ious": outputs.ious}

    def outputs_of(self, tensors: dict[str, Tensor], mask: Tensor) -> MatchingOutputs:
        """The outputs of these tensors."""
        return MatchingOutputs(tensors["boundaries"], tensors["ious"])

    def segment_score(self, outputs: MatchingOutputs, segment: Tensor, label: int) -> Tensor:
        """The scores of the cells that would learn the action as theirs, added up; without any, of the nearest."""
        num_steps = outputs.boundaries.shape[2]
        tious = overlaps(cell_parts(num_steps, segment.device), as_parts(segment.double(), num_steps))
        return outputs.ious[0].prod(dim=0)[tious >= tious.max().clamp(max=CLASS_TIOU)].sum()

    @torch.no_grad()
    def select(self, outputs: MatchingOutputs) -> list[Detections]:
        """The best segments in feature steps, best first, after lowering the scores of those that overlap much.

        A score is the product of the probabilities of both ends and both scores of the pair.
        """
        num_steps, device = outputs.boundaries.shape[2], outputs.ious.device
        chosen = is_segment(num_steps, device)
        if not self.config.reaches_end:
            chosen[:, -1] = False
        parts = cell_parts(num_steps, device)[chosen]
        ends = F.pad(outputs.boundaries[:, 1, 1:], (0, 1), mode="replicate")  # of a cell that reaches the end: the last
        scores = outputs.boundaries[:, 0, :, None] * ends[:, None]
        scores = (scores * outputs.ious[:, 1] * outputs.ious[:, 0])[:, chosen]
        return [self._proposed(parts, of_video) for of_video in scores]

    def _proposed(self, parts: Tensor, scores: Tensor) -> Detections:
        """The proposals among segments `parts` (N, 2) of the sequence with these scores (N,)."""
        sigma, most = self.config.proposal_sigma, self.config.proposals
        if sigma is None:
            kept_scores, rows = scores.sort(descending=True, stable=True)
            kept_scores, rows = kept_scores[:most], rows[:most]
        else:
            lowered = soft_suppression_by_length(
                *(one.double().cpu().numpy() for one in (parts, scores)),
                sigma=sigma,
                tious=self.config.proposal_tious,
                max_kept=most,
            )
            rows, kept_scores = (torch.from_numpy(one).to(scores.device) for one in lowered)
        segments = in_steps(parts[rows], self.max_steps).to(scores)
        cut_by = frozenset({"detector.proposals"} if len(scores) - 1 > most else ())
        labels = rows.new_zeros(len(rows))
        return Detections(segments, kept_scores.to(scores), labels, None, cut_by)
