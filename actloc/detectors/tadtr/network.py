"""The network of TadTR."""

import math

import torch
from torch import Tensor, nn

from actloc.detectors.base_network import Detector, only_length
from actloc.detectors.tadtr import NORM_GROUPS, ROI_BINS, Config
from actloc.errors import UserError
from actloc.layers.deformable_transformer import (
    Decoder,
    DecoderLayer,
    DeformableTransformer,
    Encoder,
    EncoderLayer,
    SegmentHead,
)
from actloc.layers.precision import at_least_float32, full_precision
from actloc.ops.queries import QueryCriterion, QueryOutputs, as_parts, select_queries, with_ends
from actloc.ops.roi_align import roi_align
from actloc.structures import Detections, one_action

PRIOR = 0.01  # score of every class at the start of training
FIRST_WIDTH = -2.0  # logit of every width at the start of training
WIDENED = 1.5  # times its length a segment is seen by the actionness head
SLOW = ("sampling_offsets", "reference_points")  # layers that choose where to look, by a part of their name


class TadTR(Detector):
    """Every query moves a segment onto an action, layer by layer, and scores its classes."""

    criterion: QueryCriterion
    why_not_onnx = "how many samples the ROI align of its actionness takes depends on the segments"

    def __init__(self, config: Config, in_channels: int, num_classes: int, max_steps: int) -> None:
        super().__init__()
        dim, heads, layers = config.dim, config.num_heads, config.decoder_layers
        self.config = config
        self.max_steps = max_steps
        # without refinement one pair of heads is for all layers, and the official weights list it for each
        different = layers if config.refinement else 1
        class_heads = [nn.Linear(dim, num_classes) for _ in range(different)]
        segment_heads = [SegmentHead(dim) for _ in range(different)]
        for head in class_heads:
            nn.init.constant_(head.bias, -math.log((1 - PRIOR) / PRIOR))
        segment_heads[0].start_at(FIRST_WIDTH)
        self.class_embed = nn.ModuleList(class_heads * (layers // different))
        self.segment_embed = nn.ModuleList(segment_heads * (layers // different))
        inner = config.hidden_dim, config.dropout, config.activation
        self.transformer = DeformableTransformer(
            Encoder([EncoderLayer(dim, heads, config.encoder_points, *inner) for _ in range(config.encoder_layers)]),
            Decoder(
                [
                    DecoderLayer(dim, heads, config.decoder_points, *inner, config.query_attention)
                    for _ in range(layers)
                ],
                self.segment_embed,
                config.refinement,
            ),
            dim,
            has_positions=config.position_embedding,
            segment_heads=self.segment_embed,
        )
        self.query_embed = nn.Embedding(config.num_queries, 2 * dim)
        projection = nn.Conv1d(in_channels, dim, 1)
        nn.init.xavier_uniform_(projection.weight)
        assert projection.bias is not None
        nn.init.zeros_(projection.bias)
        # the official code has one of these for each scale, of which there is one
        self.input_proj = nn.ModuleList([nn.Sequential(projection, nn.GroupNorm(NORM_GROUPS, dim))])
        if config.actionness:
            self.actionness_pred = nn.Sequential(
                nn.Linear(ROI_BINS * dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1)
            )
        self.criterion = QueryCriterion(
            costs=(config.class_cost, config.segment_cost, config.iou_cost),
            weights=(config.class_weight, config.segment_weight, config.iou_weight, config.actionness_weight),
            is_actionness_own=config.actionness_actions == "video",
        )

    def forward(self, features: Tensor, mask: Tensor) -> QueryOutputs:
        """Outputs for (B, C, T) features; `mask` (B, T) is true on real steps.

        Where padding counts, the mask only says where each video ends.
        """
        seen = torch.ones_like(mask) if self.config.padding_counts else mask
        memory = self.memory(features, seen)
        contents, segments = self.transformer.decode(self.query_embed.weight, memory, seen, self.segment_embed)
        logits = [head(content) for head, content in zip(self.class_embed, contents, strict=True)]
        actionness = self._actionness(memory, segments[-1].detach()) if self.config.actionness else None
        return QueryOutputs(logits, segments, actionness, seen.sum(dim=1), mask.sum(dim=1))

    def memory(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) steps that queries look at, of (B, C, T) features; `mask` (B, T) is false where they do not."""
        return self.transformer.encode(self.input_proj[0](features).transpose(1, 2), mask)

    def _actionness(self, memory: Tensor, segments: Tensor) -> Tensor:
        """(B, Q) logits of centres and widths (B, Q, 2), from what is in and around them."""
        num_steps = memory.shape[1]
        with full_precision(memory.device):
            widened = segments * segments.new_tensor([1.0, WIDENED])
            places = (with_ends(widened) * num_steps).clamp(0, num_steps)
            bins = roi_align(at_least_float32(memory).transpose(1, 2), places, ROI_BINS)  # (B, Q, bins, C)
        return at_least_float32(self.actionness_pred(bins.transpose(2, 3).flatten(2))[..., 0])

    def tensors_of(self, outputs: QueryOutputs) -> dict[str, Tensor]:
        """What the last layer gave; only without actionness."""
        if outputs.actionness is not None:
            return super().tensors_of(outputs)
        return {"logits": outputs.logits[-1], "segments": outputs.segments[-1]}

    def outputs_of(self, tensors: dict[str, Tensor], mask: Tensor) -> QueryOutputs:
        """The outputs of these tensors, of the last layer only."""
        seen = torch.ones_like(mask) if self.config.padding_counts else mask
        return QueryOutputs([tensors["logits"]], [tensors["segments"]], None, seen.sum(dim=1), mask.sum(dim=1))

    def segment_score(self, outputs: QueryOutputs, segment: Tensor, label: int) -> Tensor:
        """The class's logit of the query that would learn the action, and its actionness, added up."""
        logits, segments = at_least_float32(outputs.logits[-1][0]), outputs.segments[-1][0]
        action = as_parts(one_action(segment.to(segments), label), outputs.spans[0])
        if not len(action):
            raise UserError(
                f"The segment {segment.tolist()} is outside the {int(outputs.spans[0])} steps of the window.",
                "Expected one that reaches into it.",
                "Explain another detection.",
            )
        query = self.criterion.matched(logits, segments, action)[0][0]
        score = logits[query, label]
        return score if outputs.actionness is None else score + outputs.actionness[0, query]

    def select(self, outputs: QueryOutputs) -> list[Detections]:
        """The best segments of each video in feature steps, best first; no two need suppression."""
        return select_queries(outputs, self.config.kept_per_window)

    def padded_steps(self, longest: int) -> int:
        """Always `max_steps`, the length of the windows; raises UserError for longer videos."""
        return only_length(self.max_steps, longest)

    def rate_factor(self, parameter: str) -> float:
        """`sampling_rate_factor` for what chooses where to look."""
        return self.config.sampling_rate_factor if any(part in parameter for part in SLOW) else 1.0
