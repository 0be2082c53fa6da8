"""The network of TALLFormer."""

from torch import Tensor, nn

from actloc.detectors.base_network import Detector, only_length
from actloc.detectors.tallformer import Config
from actloc.layers.anchor_head import AnchorHead, ConvNormPyramid, FixedBatchNorm
from actloc.layers.merging_pyramid import MergingPyramid
from actloc.layers.precision import at_least_float32
from actloc.layers.temporal_consistency import TemporalConsistency, TemporalReduction
from actloc.ops.anchors import AnchorCriterion, AnchorOutputs, select_anchors
from actloc.ops.points import chosen_or_inside
from actloc.structures import Detections, one_action


class TallFormer(Detector):
    """Scores the anchors of a window and moves them onto actions."""

    criterion: AnchorCriterion
    why_not_onnx = "torch's exporter cannot take its attention apart"

    def __init__(self, config: Config, in_channels: int, num_classes: int, max_steps: int) -> None:
        super().__init__()
        self.config = config
        self.max_steps = max_steps
        make_norm = FixedBatchNorm if config.norm_statistics == "fixed" else nn.BatchNorm1d
        length = config.level_lengths(max_steps)[0]
        reduction = TemporalReduction(in_channels, config.dim)
        for conv in (reduction.conv1, reduction.conv2):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        self.neck = nn.Sequential(
            reduction,
            TemporalConsistency(
                config.dim,
                max_length=length,
                num_layers=config.consistency_layers,
                num_heads=config.consistency_heads,
                drop_path=config.drop_path,
            ),
            MergingPyramid(
                config.dim,
                max_length=length,
                windows=config.windows,
                num_heads=config.num_heads,
                dropout=config.dropout,
            ),
            ConvNormPyramid(config.dim, config.head_dim, len(config.strides), make_norm),
        )
        self.head = AnchorHead(
            config.head_dim,
            num_classes,
            num_layers=config.head_layers,
            anchors_per_position=config.anchors_per_position,
            prior_probability=config.prior_probability,
            make_norm=make_norm,
        )
        self.criterion = AnchorCriterion(
            config.anchors(max_steps),
            num_classes,
            negative_tiou=config.negative_tiou,
            positive_tiou=config.positive_tiou,
            loss_weight=config.loss_weight,
        )

    def forward(self, features: Tensor, mask: Tensor) -> AnchorOutputs:
        """Outputs for (B, C, T) features, T as `padded_steps` says; `mask` (B, T), true on real steps, only says where
        each video ends."""
        levels = self.neck(features)
        logits, codes = self.head(levels)
        anchors = [level.shape[2] * self.config.anchors_per_position for level in levels]
        return AnchorOutputs(self.criterion.anchors, logits, codes, mask.sum(dim=1), anchors)

    def select(self, outputs: AnchorOutputs) -> list[Detections]:
        """Scored segments of each video in feature steps, before suppression."""
        return select_anchors(outputs, self.config.score_threshold, self.config.kept_per_level)

    def segment_score(self, outputs: AnchorOutputs, segment: Tensor, label: int) -> Tensor:
        """The class's logits of the anchors that would learn the action, or of those inside it, added up."""
        assigned = self.criterion.assign(outputs.anchors, [one_action(segment, label)])
        centers = outputs.anchors.mean(dim=1)
        positive = chosen_or_inside(assigned.is_positive[0], centers, centers < outputs.lengths[0], segment)
        return at_least_float32(outputs.logits[0, positive, label]).sum()

    def padded_steps(self, longest: int) -> int:
        """Always `max_steps`: what positions learn depends on their distances; raises UserError for longer videos."""
        return only_length(self.max_steps, longest)
