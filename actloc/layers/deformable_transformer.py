"""The deformable transformer of TadTR (Liu et al., 2022, arXiv 2106.10271, section III-B): attention to a few places.

It is that of Deformable DETR (Zhu et al., 2021, arXiv 2010.04159) in one dimension and at one scale. Places are parts
of the sequence, from 0 where its first step begins to 1 where its last one ends.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actloc.layers.precision import at_least_float32, full_precision

EPSILON = 1e-5  # inverse_sigmoid takes parts nearer to 0 or 1 as if they were this far
POSITION_EPSILON = 1e-6
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


def inverse_sigmoid(parts: Tensor) -> Tensor:
    """The logits (...) of parts (...) from 0 to 1."""
    parts = parts.clamp(0, 1)
    return (parts.clamp(min=EPSILON) / (1 - parts).clamp(min=EPSILON)).log()


def sine_positions(mask: Tensor, dim: int) -> Tensor:
    """(B, T, C) sines and cosines of where each step is among the true ones of `mask` (B, T), which make a full turn.

    Channel 2i is the sine, and 2i + 1 the cosine, of the turn divided by 10000^(2i / C).
    """
    counted = mask.cumsum(dim=1, dtype=torch.float32)
    turns = counted / (counted[:, -1:] + POSITION_EPSILON) * (2 * math.pi)
    channels = torch.arange(dim, dtype=torch.float32, device=mask.device)
    angles = turns[..., None] / 10000 ** (2 * (channels // 2) / dim)  # (B, T, C)
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=3).flatten(2)


def interpolation_weights(positions: Tensor, shares: Tensor, num_steps: int) -> Tensor:
    """(..., T): how much each step counts in the sum of samples at `positions` (..., P), weighted by `shares` (..., P).

    A sample is interpolated between the two steps around its position; beyond the first and last one there is nothing.
    """
    lower = positions.detach().floor()
    upper_part = positions - lower
    steps = torch.stack((lower, lower + 1), dim=-1)
    parts = torch.stack(((1 - upper_part) * shares, upper_part * shares), dim=-1)
    is_inside = (steps >= 0) & (steps < num_steps)
    # positions that are not finite have no step; the loss then is not finite either, and says so
    index = steps.nan_to_num().clamp(0, num_steps - 1).long()
    weights = parts.new_zeros(*positions.shape[:-1], num_steps)
    return weights.scatter_add(-1, index.flatten(-2), (parts * is_inside).flatten(-2))


class DeformableAttention(nn.Module):
    """Each query samples every head's values at a few places near its own, and adds them up with weights."""

    def __init__(self, dim: int, num_heads: int, num_points: int) -> None:
        super().__init__()
        self.num_heads, self.num_points = num_heads, num_points
        self.sampling_offsets = nn.Linear(dim, num_heads * num_points)
        self.attention_weights = nn.Linear(dim, num_heads * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def initialise(self) -> None:
        """Heads look to one side or the other, each point a step further, whatever the query."""
        turns = torch.arange(self.num_heads) * (4 * math.pi / self.num_heads)
        steps = turns.cos()[:, None] * torch.arange(1, self.num_points + 1)
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(steps.flatten())
        nn.init.zeros_(self.attention_weights.weight)
        for layer in (self.attention_weights, self.value_proj, self.output_proj):
            nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, reference: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """(B, Q, C) for `queries` (B, Q, C) at `reference` (B, Q, 1 or 2), of `memory` (B, T, C).

        A reference is a centre, around which offsets are steps, or a centre and a width, in which offsets are measured.
        Steps where `mask` (B, T) is false have no value.
        """
        num_steps = memory.shape[1]
        values = self.value_proj(memory) * mask[..., None]
        shape = *queries.shape[:2], self.num_heads, self.num_points
        offsets = at_least_float32(self.sampling_offsets(queries)).view(shape)
        logits = at_least_float32(self.attention_weights(queries)).view(shape)
        with full_precision(queries.device):  # a rounded place is another one
            centers = reference[..., None, :1]  # (B, Q, 1, 1)
            if reference.shape[2] == 1:
                places = centers + offsets / num_steps
            else:
                places = centers + offsets / self.num_points * reference[..., None, 1:] * 0.5
            positions = (places * num_steps - 0.5).transpose(1, 2)  # (B, heads, Q, points)
            weights = interpolation_weights(positions, logits.softmax(dim=3).transpose(1, 2), num_steps)
        values = values.unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, T, C / heads)
        sampled = weights.to(values.dtype) @ values
        return self.output_proj(sampled.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Every step attends to a few others."""

    def __init__(
        self, dim: int, num_heads: int, num_points: int, hidden_dim: int, dropout: float, activation: str
    ) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim, num_heads, num_points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.activation = ACTIVATIONS[activation]

    def forward(self, steps: Tensor, positions: Tensor | None, reference: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) to the same shape; `reference` (B, T, 1) is where each step is, `mask` (B, T) true on real ones."""
        queries = steps if positions is None else steps + positions
        steps = self.norm1(steps + self.dropout(self.self_attn(queries, reference, steps, mask)))
        hidden = self.dropout(self.activation(self.linear1(steps)))
        return self.norm2(steps + self.dropout(self.linear2(hidden)))


class DecoderLayer(nn.Module):
    """Queries attend to each other, then each to a few places near its own."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_points: int,
        hidden_dim: int,
        dropout: float,
        activation: str,
        has_self_attention: bool,
    ) -> None:
        super().__init__()
        self.has_self_attention = has_self_attention
        self.cross_attn = DeformableAttention(dim, num_heads, num_points)
        self.norm1 = nn.LayerNorm(dim)
        # the official weights have both, whether they are used or not
        self.self_attn = nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.activation = ACTIVATIONS[activation]

    def forward(self, content: Tensor, positions: Tensor, reference: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """`content` (B, Q, C) after the layer; `reference` (B, Q, 1 or 2), `memory` (B, T, C), `mask` (B, T)."""
        if self.has_self_attention:
            queries = content + positions
            attended = self.self_attn(queries, queries, content, need_weights=False)[0]
            content = self.norm2(content + self.dropout(attended))
        attended = self.cross_attn(content + positions, reference, memory, mask)
        content = self.norm1(content + self.dropout(attended))
        hidden = self.dropout(self.activation(self.linear1(content)))
        return self.norm3(content + self.dropout(self.linear2(hidden)))


class SegmentHead(nn.Module):
    """Three layers that predict how a query's centre and width move, as logits."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        last = nn.Linear(dim, 2)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.ModuleList([nn.Linear(dim, dim), nn.Linear(dim, dim), last])

    def start_at(self, width: float) -> None:
        """Begin with widths whose logit is this much above that of the reference, or above 0 if that has none."""
        bias = self.layers[-1].bias
        assert isinstance(bias, Tensor)
        with torch.no_grad():
            bias[1] = width

    def forward(self, content: Tensor) -> Tensor:
        """(B, Q, C) to (B, Q, 2)."""
        for layer in self.layers[:-1]:
            content = F.relu(layer(content))
        return self.layers[-1](content)


def moved(reference: Tensor, delta: Tensor) -> Tensor:
    """Centres and widths (B, Q, 2) from a reference (B, Q, 1 or 2), all parts of the sequence, and logits (B, Q, 2).

    A reference that has no width leaves it to the logits alone.
    """
    start = F.pad(inverse_sigmoid(reference), (0, 2 - reference.shape[2]))
    return (start + delta).sigmoid()


class Decoder(nn.Module):
    """Layers whose queries move their segments, from layer to layer if `is_refined`; it shares its heads."""

    def __init__(self, layers: list[DecoderLayer], segment_heads: nn.ModuleList, is_refined: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.is_refined = is_refined
        if is_refined:  # the official weights have these heads here too
            self.segment_embed = segment_heads

    def forward(
        self,
        content: Tensor,
        positions: Tensor,
        reference: Tensor,
        memory: Tensor,
        mask: Tensor,
        segment_heads: nn.ModuleList,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Of each layer: content (B, Q, C), and centres and widths (B, Q, 2), from `reference` (B, Q, 1) on."""
        # parts of the real steps become parts of all
        real_part = at_least_float32(mask).to(reference.dtype).mean(dim=1)[:, None, None]
        contents, segments = [], []
        for layer, head in zip(self.layers, segment_heads, strict=True):
            content = layer(content, positions, reference * real_part, memory, mask)
            delta = at_least_float32(head(content))
            with full_precision(content.device):
                segment = moved(reference, delta)
            if self.is_refined:
                reference = segment.detach()
            contents.append(content)
            segments.append(segment)
        return contents, segments


class Encoder(nn.Module):
    """Layers in which every step attends to others."""

    def __init__(self, layers: list[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, steps: Tensor, positions: Tensor | None, mask: Tensor) -> Tensor:
        """(B, T, C) to the same shape; `mask` (B, T) is true on real steps."""
        num_steps = steps.shape[1]
        centers = (torch.arange(num_steps, device=steps.device) + 0.5) / num_steps
        reference = centers.to(at_least_float32(steps).dtype)[None, :, None].expand(len(steps), -1, 1)
        for layer in self.layers:
            steps = layer(steps, positions, reference, mask)
        return steps


class DeformableTransformer(nn.Module):
    """Memory of the steps, and queries that look for actions in it."""

    def __init__(
        self, encoder: Encoder, decoder: Decoder, dim: int, *, has_positions: bool, segment_heads: nn.ModuleList
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.has_positions = has_positions
        self.level_embed = nn.Parameter(torch.empty(1, dim))
        self.reference_points = nn.Linear(dim, 1)
        heads = {id(one) for one in segment_heads.parameters()}
        for parameter in self.parameters():
            if parameter.dim() > 1 and id(parameter) not in heads:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.initialise()
        nn.init.zeros_(self.reference_points.bias)
        nn.init.normal_(self.level_embed)

    def encode(self, steps: Tensor, mask: Tensor) -> Tensor:
        """The memory (B, T, C) of steps (B, T, C); `mask` (B, T) is true on real ones."""
        positions = None
        if self.has_positions:
            positions = sine_positions(mask, steps.shape[2]).to(steps.dtype) + self.level_embed
        return self.encoder(steps, positions, mask)

    def decode(
        self, queries: Tensor, memory: Tensor, mask: Tensor, segment_heads: nn.ModuleList
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What the decoder makes of `queries` (Q, 2C), each its position first and then its content."""
        positions, content = (half.expand(len(memory), -1, -1) for half in queries.chunk(2, dim=1))
        reference = at_least_float32(self.reference_points(positions)).sigmoid()
        return self.decoder(content, positions, reference, memory, mask, segment_heads)
