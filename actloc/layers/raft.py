"""RAFT, a learned optical flow (Teed and Deng, 2020, arXiv 2003.12039); module names are princeton-vl/RAFT's."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SCALE = 8  # pixels of a picture, along each axis, that share one vector
_NUM_LEVELS = 4
SMALLEST_SIDE = _SCALE * 2 ** (_NUM_LEVELS - 1)
"""Pixels at which the coarsest level still has one vector."""
_MASK_GAIN = 0.25  # official: balances the gradients of the mask
_FEATURE_NORM = nn.InstanceNorm2d
Norm = Callable[[int], nn.Module]


@dataclass(frozen=True)
class _Size:
    widths: tuple[int, int, int, int]
    """Channels of the stem and of the three layers of both encoders."""
    is_bottleneck: bool
    feature_dim: int
    context_norm: Norm
    hidden_dim: int
    context_dim: int
    radius: int
    correlation_dims: tuple[int, ...]
    flow_dims: tuple[int, int]
    motion_dim: int
    gru_kernels: dict[str, tuple[int, int]]
    """(height, width) by the suffix of the convolutions' names."""
    head_dim: int
    learns_upsampling: bool


_BASIC = _Size(
    widths=(64, 64, 96, 128),
    is_bottleneck=False,
    feature_dim=256,
    context_norm=nn.BatchNorm2d,
    hidden_dim=128,
    context_dim=128,
    radius=4,
    correlation_dims=(256, 192),
    flow_dims=(128, 64),
    motion_dim=126,
    gru_kernels={"1": (1, 5), "2": (5, 1)},
    head_dim=256,
    learns_upsampling=True,
)
_SMALL = _Size(
    widths=(32, 32, 64, 96),
    is_bottleneck=True,
    feature_dim=128,
    context_norm=lambda _: nn.Identity(),
    hidden_dim=96,
    context_dim=64,
    radius=3,
    correlation_dims=(96,),
    flow_dims=(64, 32),
    motion_dim=80,
    gru_kernels={"": (3, 3)},
    head_dim=128,
    learns_upsampling=False,
)


class RAFT(nn.Module):
    """Flow between successive frames, refined step by step with the correlations of all pairs of places."""

    def __init__(self, *, is_small: bool = False, num_iterations: int = 20) -> None:
        super().__init__()
        size = _SMALL if is_small else _BASIC
        self.size, self.num_iterations = size, num_iterations
        self.fnet = Encoder(size, size.feature_dim, _FEATURE_NORM)
        self.cnet = Encoder(size, size.hidden_dim + size.context_dim, size.context_norm)
        self.update_block = Update(size)

    def forward(self, frames: Tensor) -> Tensor:
        """Flow (N-1, 2, H, W) in pixels, x before y, from each RGB frame (N, 3, H, W) of 0..255 to the next.

        Sides are at least `SMALLEST_SIDE`. They are padded to a multiple of 8 by repeating the edge, then cropped.
        """
        height, width = frames.shape[2:]
        assert min(height, width) >= SMALLEST_SIDE, f"{width} x {height} pixels are too few for RAFT"
        below, right = -height % _SCALE, -width % _SCALE
        top, left = below // 2, right // 2
        padded = F.pad(frames, (left, right - left, top, below - top), mode="replicate")
        flow = self.upsampled(*self.coarse_flow(padded))
        return flow[:, :, top : top + height, left : left + width]

    def coarse_flow(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Flow (N-1, 2, H/8, W/8) in steps of 8 pixels, and the final recurrent state (N-1, C, H/8, W/8)."""
        pixels = 2 * frames / 255 - 1
        features = self.fnet(pixels)
        levels = correlation_levels(features[:-1], features[1:])
        hidden, context = self.cnet(pixels[:-1]).split([self.size.hidden_dim, self.size.context_dim], dim=1)
        hidden, context = hidden.tanh(), context.relu()
        start = pixel_places(features[:-1])
        places = start
        for _ in range(self.num_iterations):
            correlation = correlations_around(levels, places, self.size.radius)
            hidden, change = self.update_block(hidden, context, correlation, places - start)
            places = places + change
        return places - start, hidden

    def upsampled(self, flow: Tensor, hidden: Tensor) -> Tensor:
        """Flow (N, 2, 8 H, 8 W) in pixels from flow (N, 2, H, W) in steps: a learned mean of 3 x 3, or bilinear."""
        if not self.size.learns_upsampling:
            return _SCALE * F.interpolate(flow, scale_factor=_SCALE, mode="bilinear", align_corners=True)
        count, _, height, width = flow.shape
        shares = (_MASK_GAIN * self.update_block.mask(hidden)).reshape(count, 1, 9, _SCALE, _SCALE, height, width)
        around = F.unfold(_SCALE * flow, 3, padding=1).reshape(count, 2, 9, 1, 1, height, width)
        fine = (shares.softmax(2) * around).sum(2)  # (N, 2, 8, 8, H, W)
        return fine.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)


def correlation_bytes(height: int, width: int) -> int:
    """Memory of all levels for one pair of frames of this size; nothing else grows with the square of the size."""
    places = -(-height // _SCALE) * -(-width // _SCALE)
    return 4 * places**2 * 4 // 3


def correlation_levels(first: Tensor, second: Tensor) -> list[Tensor]:
    """(N H W, 1, H/2^l, W/2^l) for levels l = 0..3: each vector of (N, C, H, W) with all of the other map."""
    count, dim, height, width = first.shape
    products = first.flatten(2).mT @ second.flatten(2) / math.sqrt(dim)  # (N, H W, H W)
    levels = [products.reshape(count * height * width, 1, height, width)]
    for _ in range(_NUM_LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def pixel_places(like: Tensor) -> Tensor:
    """(N, 2, H, W): x and y of every place of a map (N, C, H, W)."""
    count, _, height, width = like.shape
    rows, columns = (torch.arange(size, dtype=like.dtype, device=like.device) for size in (height, width))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy")).expand(count, 2, height, width)


def correlations_around(levels: list[Tensor], places: Tensor, radius: int) -> Tensor:
    """(N, levels (2 r + 1)^2, H, W): each place's correlations around `places` (N, 2, H, W) of the other map.

    Bilinear between places, and 0 outside the map. Within a window the shift along x is the slow index, as in the
    official code.
    """
    count, _, height, width = places.shape
    shift = torch.arange(-radius, radius + 1, dtype=places.dtype, device=places.device)
    window = torch.stack(torch.meshgrid(shift, shift, indexing="ij"), dim=2)  # (2 r + 1, 2 r + 1, 2), x before y
    centres = places.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)  # (N H W, 1, 1, 2)
    sampled = []
    for number, level in enumerate(levels):
        size = level.new_tensor([level.shape[3], level.shape[2]])
        # Without aligned corners no size divides by zero; in the official code a map of one place does.
        grid = (2 * (centres / 2**number + window) + 1) / size - 1
        sampled.append(F.grid_sample(level, grid, align_corners=False).reshape(count, height, width, -1))
    return torch.cat(sampled, dim=3).permute(0, 3, 1, 2)


class Encoder(nn.Module):
    """Pictures (N, 3, H, W) to maps (N, C, H/8, W/8)."""

    def __init__(self, size: _Size, out: int, norm: Norm) -> None:
        super().__init__()
        stem, *widths = size.widths
        self.norm1 = norm(stem)
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3)
        before = stem
        for number, width in enumerate(widths, 1):
            stride = 1 if number == 1 else 2
            blocks = [
                Residual(before, width, stride, norm, is_bottleneck=size.is_bottleneck),
                Residual(width, width, 1, norm, is_bottleneck=size.is_bottleneck),
            ]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            before = width
        self.conv2 = nn.Conv2d(before, out, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, C, H/8, W/8)."""
        x = self.norm1(self.conv1(pictures)).relu()
        for number in (1, 2, 3):
            x = self.get_submodule(f"layer{number}")(x)
        return self.conv2(x)


class Residual(nn.Module):
    """Two convolutions of 3 x 3, or one between two of 1 x 1, with a shortcut."""

    def __init__(self, width: int, out: int, stride: int, norm: Norm, *, is_bottleneck: bool) -> None:
        super().__init__()
        inner = out // 4
        plan = (
            [(width, inner, 1, 1), (inner, inner, 3, stride), (inner, out, 1, 1)]
            if is_bottleneck
            else [(width, out, 3, stride), (out, out, 3, 1)]
        )
        self.num_convs = len(plan)
        for number, (before, after, kernel, step) in enumerate(plan, 1):
            self.add_module(f"conv{number}", nn.Conv2d(before, after, kernel, step, padding=kernel // 2))
        for number, (_, after, _, _) in enumerate(plan, 1):
            self.add_module(f"norm{number}", norm(after))
        self.downsample = None
        if stride > 1:
            # One norm under two names, as in the official code, whose files contain it twice.
            shared = norm(out)
            self.add_module(f"norm{len(plan) + 1}", shared)
            self.downsample = nn.Sequential(nn.Conv2d(width, out, 1, stride), shared)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to (N, out, H/stride, W/stride)."""
        y = x
        for number in range(1, self.num_convs + 1):
            y = self.get_submodule(f"norm{number}")(self.get_submodule(f"conv{number}")(y)).relu()
        return ((x if self.downsample is None else self.downsample(x)) + y).relu()


class Update(nn.Module):
    """One refinement of the flow."""

    def __init__(self, size: _Size) -> None:
        super().__init__()
        self.encoder = Motion(size)
        self.gru = ConvGRU(size.hidden_dim, size.context_dim + size.motion_dim + 2, size.gru_kernels)
        self.flow_head = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(size.hidden_dim, size.head_dim, 3, padding=1),
                "conv2": nn.Conv2d(size.head_dim, 2, 3, padding=1),
            }
        )
        if size.learns_upsampling:
            self.mask = nn.Sequential(
                nn.Conv2d(size.hidden_dim, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 9 * _SCALE**2, 1)
            )

    def forward(self, hidden: Tensor, context: Tensor, correlation: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """The new state and the change (N, 2, H, W) of the flow; all maps are (N, C, H, W)."""
        hidden = self.gru(hidden, torch.cat([context, self.encoder(flow, correlation)], dim=1))
        return hidden, self.flow_head["conv2"](self.flow_head["conv1"](hidden).relu())


class Motion(nn.Module):
    """Features of the flow and of the correlations, and the flow itself."""

    def __init__(self, size: _Size) -> None:
        super().__init__()
        seen = _NUM_LEVELS * (2 * size.radius + 1) ** 2
        first, *second = size.correlation_dims
        self.convc1 = nn.Conv2d(seen, first, 1)
        self.convc2 = nn.Conv2d(first, second[0], 3, padding=1) if second else None
        self.convf1 = nn.Conv2d(2, size.flow_dims[0], 7, padding=3)
        self.convf2 = nn.Conv2d(*size.flow_dims, 3, padding=1)
        self.conv = nn.Conv2d(size.correlation_dims[-1] + size.flow_dims[-1], size.motion_dim, 3, padding=1)

    def forward(self, flow: Tensor, correlation: Tensor) -> Tensor:
        """(N, motion_dim + 2, H, W)."""
        correlation = self.convc1(correlation).relu()
        if self.convc2 is not None:
            correlation = self.convc2(correlation).relu()
        motion = self.convf2(self.convf1(flow).relu()).relu()
        return torch.cat([self.conv(torch.cat([correlation, motion], dim=1)).relu(), flow], dim=1)


class ConvGRU(nn.Module):
    """A gated recurrent unit of convolutions, with one pass for each kernel."""

    def __init__(self, hidden_dim: int, input_dim: int, kernels: dict[str, tuple[int, int]]) -> None:
        super().__init__()
        self.passes = tuple(kernels)
        for name, (height, width) in kernels.items():
            for gate in "zrq":
                padding = (height // 2, width // 2)
                conv = nn.Conv2d(hidden_dim + input_dim, hidden_dim, (height, width), padding=padding)
                self.add_module(f"conv{gate}{name}", conv)

    def forward(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """The new state (N, hidden_dim, H, W) from the old one and inputs (N, input_dim, H, W)."""
        for name in self.passes:
            update_gate, reset_gate, candidate = (self.get_submodule(f"conv{gate}{name}") for gate in "zrq")
            both = torch.cat([hidden, inputs], dim=1)
            update, reset = update_gate(both).sigmoid(), reset_gate(both).sigmoid()
            proposed = candidate(torch.cat([reset * hidden, inputs], dim=1)).tanh()
            hidden = (1 - update) * hidden + update * proposed
        return hidden
