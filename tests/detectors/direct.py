"""ActionFormer's network for one video, in float64 and one operation after the other: slow, and without any trick.

Every level is convolved by itself, and attention is a table of all pairs of steps.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from actloc.detectors.actionformer import Config
from actloc.layers.positions import sinusoid_table


class Direct:
    """The network that `state` and `config` describe; norms and biases are there if `state` has them."""

    def __init__(self, state: dict[str, Tensor], config: Config, max_steps: int) -> None:
        self.state = {name: tensor.double() for name, tensor in state.items()}
        self.config = config
        self.max_steps = max_steps

    def __call__(self, video: Tensor, num_steps: int) -> list[tuple[Tensor, Tensor]]:
        """Logits (T_l, K) and offsets (T_l, 2) on the real steps of every level, of a video padded to `num_steps`."""
        config = self.config
        x = F.pad(video.double(), (0, num_steps - video.shape[1]))[None]
        mask = (torch.arange(num_steps) < video.shape[1])[None, None]
        if config.projection:
            parts = x.split([channels for channels, _ in config.projection], dim=1)
            x = torch.cat([self.conv(part, mask, f"backbone.proj.{i}.conv") for i, part in enumerate(parts)], dim=1)
        for i in range(config.num_embedding_convs):
            x = self.norm(self.conv(x, mask, f"backbone.embd.{i}.conv"), f"backbone.embd_norm.{i}").relu()
        if config.position_embedding:
            table = sinusoid_table(self.max_steps, config.dim).double() / math.sqrt(config.dim)
            if num_steps > self.max_steps:
                table = F.interpolate(table, num_steps, mode="linear", align_corners=False)
            x = x + table[..., :num_steps] * mask
        for i in range(config.num_stem_blocks):
            x = self.block(x, mask, f"backbone.stem.{i}", config.level_windows[0], 1)
        levels = [(x, mask)]
        for i in range(config.num_branch_blocks):
            x, mask = levels[-1]
            mask = mask[..., :: config.scale_factor]
            levels.append(
                (self.block(x, mask, f"backbone.branch.{i}", config.level_windows[i + 1], config.scale_factor), mask)
            )
        levels = self.neck(levels[config.first_level :])
        return [self.heads(x, mask, level) for level, (x, mask) in enumerate(levels)]

    def conv(self, x: Tensor, mask: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        groups = x.shape[1] // weight.shape[1]
        return F.conv1d(x, weight, bias, stride, weight.shape[2] // 2, groups=groups) * mask

    def norm(self, x: Tensor, name: str) -> Tensor:
        if f"{name}.weight" not in self.state:
            return x
        centred = x - x.mean(dim=1, keepdim=True)
        normed = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
        return normed * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def block(self, x: Tensor, mask: Tensor, name: str, window: int, stride: int) -> Tensor:
        if self.config.backbone == "conv":
            inner = self.conv(x, mask, f"{name}.conv1.conv", stride).relu()
            shortcut = self.conv(x, mask, f"{name}.downsample.conv", stride) if stride > 1 else x
            return (self.conv(inner, mask, f"{name}.conv2.conv") + shortcut).relu()
        attended = self.attention(self.norm(x, f"{name}.ln1"), mask, f"{name}.attn", window, stride)
        if stride > 1:
            x = F.max_pool1d(x, stride + 1, stride, (stride + 1) // 2)
        x = x * mask + attended * self.state.get(f"{name}.drop_path_attn.scale", 1.0)
        inner = F.gelu(self.conv(self.norm(x, f"{name}.ln2"), torch.ones_like(mask), f"{name}.mlp.0"))
        return x + self.conv(inner, mask, f"{name}.mlp.3") * self.state.get(f"{name}.drop_path_mlp.scale", 1.0)

    def attention(self, x: Tensor, mask: Tensor, name: str, window: int, stride: int) -> Tensor:
        streams = []
        for kind in ("query", "key", "value"):
            stream = self.norm(self.conv(x, mask, f"{name}.{kind}_conv.conv", stride), f"{name}.{kind}_norm")
            stream = self.conv(stream, torch.ones_like(mask), f"{name}.{kind}")
            streams.append(stream[0].reshape(self.config.num_heads, -1, stream.shape[2]).transpose(1, 2))
        queries, keys, values = streams  # (heads, T, dim)
        scores = queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[2])
        distance = torch.arange(mask.shape[2]) - torch.arange(mask.shape[2])[:, None]
        if window > 1:
            reach = window // 2
            if f"{name}.rel_pe" in self.state:
                scores = scores + self.state[f"{name}.rel_pe"][0, 0][:, (distance + reach).clamp(0, window - 1)]
            scores = (scores - 1e4 * ~mask).masked_fill(distance.abs() > reach, -math.inf)
        else:
            scores = scores.masked_fill(~mask, -math.inf)
        attended = (scores.softmax(dim=2) @ values).transpose(1, 2).reshape(1, -1, mask.shape[2])
        return self.conv(attended, mask, f"{name}.proj")

    def neck(self, levels: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        if self.config.neck == "fpn":
            merged = [self.conv(x, mask, f"neck.lateral_convs.{i}.conv") for i, (x, mask) in enumerate(levels)]
            for i in range(len(merged) - 1, 0, -1):
                merged[i - 1] = merged[i - 1] + F.interpolate(merged[i], scale_factor=self.config.scale_factor)
            masks = [mask for _, mask in levels]
            levels = [
                (self.conv(x, mask, f"neck.fpn_convs.{i}.conv"), mask)
                for i, (x, mask) in enumerate(zip(merged, masks, strict=True))
            ]
        return [(self.norm(x, f"neck.fpn_norms.{i}"), mask) for i, (x, mask) in enumerate(levels)]

    def heads(self, x: Tensor, mask: Tensor, level: int) -> tuple[Tensor, Tensor]:
        ends = []
        for head in ("cls_head", "reg_head"):
            inner = x
            for i in range(self.config.head_layers - 1):
                inner = self.norm(self.conv(inner, mask, f"{head}.head.{i}.conv"), f"{head}.norm.{i}").relu()
            last = "cls_head" if head == "cls_head" else "offset_head"
            ends.append(self.conv(inner, mask, f"{head}.{last}.conv")[0].T[mask[0, 0]])
        logits, distances = ends
        return logits, (distances * self.state[f"reg_head.scale.{level}.scale"]).relu()
