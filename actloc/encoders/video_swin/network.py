"""The network of Video Swin."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.video_swin import DROP_PATH, SIZES, WINDOW, Config, OwnSize, Size
from actloc.layers.drop_path import DropPath
from actloc.layers.mlp import MLP
from actloc.layers.precision import at_least_float32
from actloc.layers.shifted_windows import Windows, window_offsets
from actloc.structures import Axes

_PATCH: Axes = (2, 4, 4)
_SHIFT: Axes = (4, 3, 3)
_NUM_OFFSETS = (2 * WINDOW[0] - 1) * (2 * WINDOW[1] - 1) * (2 * WINDOW[2] - 1)
_INITIAL_STD = 0.02
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, pixels between 0 and 255


class VideoSwin(ClipEncoder):
    """A vector for every two frames: the mean of the final tokens (S, T, H, W, C) over height and width.

    Weights are named as in the published files, without `backbone.`; but a block's norms belong to what they precede.
    """

    clip_multiple = _PATCH[0]
    cpu_batch = 1
    classifier_name = "cls_head.fc_cls"

    def __init__(self, config: Config, num_classes: int | None) -> None:
        super().__init__(config)
        size = config.size if isinstance(config.size, OwnSize) else SIZES[config.size]
        dims = [size.dim * 2**stage for stage in range(len(size.depths))]
        self.channels = dims[-1]
        highest = size.drop_path if isinstance(size, Size) else DROP_PATH
        if config.drop_path is not None:
            highest = config.drop_path
        rates = [highest * block / (sum(size.depths) - 1) for block in range(sum(size.depths))]
        self.patch_embed = PatchEmbedding(size.dim)
        self.layers = nn.ModuleList(
            Stage(dim, num_heads, [rates.pop(0) for _ in range(depth)], merges=dim != dims[-1])
            for dim, depth, num_heads in zip(dims, size.depths, size.heads, strict=True)
        )
        self.norm = nn.LayerNorm(self.channels)
        if num_classes is not None:
            self.cls_head = nn.ModuleDict({"fc_cls": nn.Linear(self.channels, num_classes)})
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=_INITIAL_STD)
            elif name.endswith("bias") and not name.startswith("patch_embed.proj"):
                nn.init.zeros_(weight)
        self.register_buffer("_offsets", window_offsets(WINDOW), persistent=False)
        self.register_buffer("_mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(_STD).reshape(1, 3, 1, 1, 1), persistent=False)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, F/2) of clips (S, F, H, W, 3)."""
        pixels = (self.network_input(clips) - self.get_buffer("_mean")) / self.get_buffer("_std")
        return at_least_float32(self.tokens(pixels)).mean((2, 3)).mT

    def tokens(self, pixels: Tensor) -> Tensor:
        """The final tokens (S, F/2, H/32, W/32, C) of scaled pixels (S, 3, F, H, W); odd sizes are rounded up."""
        x = self.patch_embed(pixels)
        for stage in self.layers:
            x = stage(x, self.get_buffer("_offsets"))
        return self.norm(x)

    def vectors_per_clip(self, num_frames: int) -> int:
        """One for every two frames."""
        return num_frames // _PATCH[0]

    def stages(self) -> list[list[nn.Module]]:
        """The four stages; the patches' embedding belongs to the first, the final norm to the last.

        Attention and MLP of a block are apart, so that checkpointing computes one of them again at a time.
        """
        kinds = (WindowAttention, MLP, PatchMerging)
        stages: list[list[nn.Module]] = [
            [part for part in one.modules() if isinstance(part, kinds)] for one in self.layers
        ]
        return [[self.patch_embed, *stages[0]], *stages[1:-1], [*stages[-1], self.norm]]

    def map_layers(self) -> dict[str, nn.Module]:
        """The blocks."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Block)}

    def as_maps(self, output: Tensor, clip: tuple[int, int, int]) -> Tensor:
        """Of tokens (S, T, H, W, C)."""
        return output.permute(0, 4, 1, 2, 3)

    def drop_branches(self, is_on: bool) -> None:
        """Switches the stochastic depth of the blocks that learn."""
        for block in [module for module in self.modules() if isinstance(module, Block)]:
            block.drop_path.train(is_on and any(weight.requires_grad for weight in block.parameters()))

    def zero_pixel(self) -> Tensor:
        """ImageNet's mean (3,)."""
        return self.get_buffer("_mean").flatten()

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, C, v); raises UserError if the weights have no classifier."""
        return self.cls_head["fc_cls"](features.mean(2)) if "cls_head" in self._modules else super().logits(features)


class PatchEmbedding(nn.Module):
    """Patches of 2 frames x 4 x 4 pixels become tokens; where pixels are missing at an end, they are zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, dim, _PATCH, stride=_PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """(S, 3, F, H, W) to (S, F/2, H/4, W/4, C), rounded up."""
        missing = [-length % patch for length, patch in zip(pixels.shape[2:], _PATCH, strict=True)]
        if any(missing):
            pixels = F.pad(pixels, (0, missing[2], 0, missing[1], 0, missing[0]))
        return self.norm(self.proj(pixels).permute(0, 2, 3, 4, 1))


class Stage(nn.Module):
    """Blocks, and the step to half the height and width, except in the last stage."""

    def __init__(self, dim: int, num_heads: int, rates: list[float], *, merges: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, num_heads, rate) for rate in rates)
        self.downsample = PatchMerging(dim) if merges else None

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """(S, T, H, W, C) to (S, T, H/2, W/2, 2 C), rounded up, or to the same shape; `offsets` of the full window."""
        windows = [Windows.over(x.shape, WINDOW, shift, offsets) for shift in ((0, 0, 0), _SHIFT)]
        for number, block in enumerate(self.blocks):
            x = block(x, windows[number % 2])
        return x if self.downsample is None else self.downsample(x)


class Block(nn.Module):
    """Attention and an MLP, each with a shortcut; training steps may skip either."""

    def __init__(self, dim: int, num_heads: int, drop_path: float) -> None:
        super().__init__()
        self.attn = WindowAttention(dim, num_heads)
        self.mlp = MLP(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """(S, T, H, W, C) to the same shape."""
        x = x + self.drop_path(self.attn(x, windows))
        return x + self.drop_path(self.mlp(x))


class WindowAttention(nn.Module):
    """After a norm, the tokens of a window attend to each other, with a learned bias for each offset between two."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(_NUM_OFFSETS, num_heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """(S, T, H, W, C) to the same shape."""
        mixed = self.qkv(windows.divided(self.norm(x))).unflatten(2, (3, self.num_heads, -1))
        bias = self.relative_position_bias_table.T.index_select(1, windows.offsets)
        bias = bias.reshape(1, self.num_heads, windows.tokens, windows.tokens)
        attended = []
        for (queries, keys, values), mask in windows.groups(mixed.permute(2, 0, 3, 1, 4)):  # (3, W * S, heads, N, dim)
            added = bias if mask is None else bias + mask
            attended.append(F.scaled_dot_product_attention(queries, keys, values, attn_mask=added))
        return self.proj(windows.joined(torch.cat(attended).transpose(1, 2).flatten(2)))


class PatchMerging(nn.Module):
    """Four neighbours in space become one token of twice the channels; missing ones at an end are zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(S, T, H, W, C) to (S, T, H/2, W/2, 2 C), rounded up."""
        _, _, height, width, _ = x.shape
        if height % 2 or width % 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        above, below = x[:, :, ::2], x[:, :, 1::2]
        neighbours = [above[:, :, :, ::2], below[:, :, :, ::2], above[:, :, :, 1::2], below[:, :, :, 1::2]]
        return self.reduction(self.norm(torch.cat(neighbours, 4)))
