"""The network of DualFormer."""

import torch
from torch import Tensor, nn

from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.dualformer import PATCH_FRAMES, PATCH_PIXELS, Config, Size
from actloc.errors import UserError
from actloc.layers.global_pyramid import (
    Block,
    Blocks,
    LocalAttention,
    PatchEmbedding,
    PositionGenerator,
    PyramidAttention,
)
from actloc.layers.mlp import MLP
from actloc.layers.pyramid_kernels import coarse_kernel, fine_kernel
from actloc.structures import Axes, Factors

_PATCHES: tuple[Axes, ...] = ((2, 4, 4), (1, 2, 2), (1, 2, 2), (1, 2, 2))
_OWN_DROP_PATH = 0.1
_INITIAL_STD = 0.02
_SCALINGS = {  # mean and standard deviation of pixels between 0 and 255
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "fine_tuned": ((104.0, 117.0, 128.0), (1.0, 1.0, 1.0)),
}


class DualFormer(ClipEncoder):
    """A vector for every two frames, or for the clip: the mean of the final tokens (S, T, H, W, C).

    Weights are named as in the published files, without `backbone.`; but a block's norms belong to what they precede.
    """

    cpu_batch = 1
    classifier_name, classifier_std = "cls_head.fc_cls", 0.01
    config: Config

    def __init__(self, config: Config, num_classes: int | None) -> None:
        super().__init__(config)
        size, grids = config.dimensions, config.grids()
        self.clip_multiple = config.clip_multiple
        self.channels = size.dims[-1]
        highest = size.drop_path if isinstance(size, Size) else _OWN_DROP_PATH
        if config.drop_path is not None:
            highest = config.drop_path
        rates = [highest * block / max(sum(size.depths) - 1, 1) for block in range(sum(size.depths))]
        self.patch_embeds, self.blocks, self.pos_block = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before, pooled_frames = 3, [1]
        for stage, (dim, heads, grid) in enumerate(zip(size.dims, size.heads, grids, strict=True)):
            fine = fine_kernel(grid, size.fine[stage])
            coarse = coarse_kernel(grid, size.coarse[stage]) if stage < len(size.coarse) else None
            self.patch_embeds.append(PatchEmbedding(before, dim, _PATCHES[stage]))
            blocks = Blocks()
            for number in range(size.depths[stage]):
                attention: nn.Module = LocalAttention(dim, heads, size.windows[stage])
                if number % 2:
                    attention = PyramidAttention(dim, heads, fine, coarse)
                blocks.append(Block(attention, MLP(dim), rates.pop(0)))
            self.blocks.append(blocks)
            self.pos_block.append(PositionGenerator(dim))
            before, pooled_frames = dim, [*pooled_frames, *(kernel[0] for kernel in (fine, coarse) if kernel)]
        self._least_frames = max(self.clip_multiple, PATCH_FRAMES * max(pooled_frames))
        self._least_pixels = grids[0][1] * PATCH_PIXELS[0]
        self.norm = nn.LayerNorm(self.channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INITIAL_STD)
                nn.init.zeros_(module.bias)
        if num_classes is not None:
            classifier = nn.Linear(self.channels, num_classes)
            nn.init.normal_(classifier.weight, std=self.classifier_std)
            nn.init.zeros_(classifier.bias)
            self.cls_head = nn.ModuleDict({"fc_cls": classifier})
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1, 1) for values in _SCALINGS[config.scaling])
        self.register_buffer("_mean", mean, persistent=False)
        self.register_buffer("_std", std, persistent=False)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, C, F/2), or (S, C, 1) in the mode `clip`, of clips (S, F, H, W, 3); raises UserError."""
        return self.pooled(self.feature_map(clips), clips.shape[1])

    def feature_map(self, clips: Tensor) -> Tensor:
        """The final tokens (S, C, F/2, H/32, W/32) of clips (S, F, H, W, 3); raises UserError."""
        pixels = (self.network_input(clips) - self.get_buffer("_mean")) / self.get_buffer("_std")
        return self.tokens(pixels).permute(0, 4, 1, 2, 3)

    def tokens(self, pixels: Tensor) -> Tensor:
        """The final tokens (S, F/2, H/32, W/32, C) of scaled pixels (S, 3, F, H, W).

        Raises UserError for clips that the windows do not cover, or that are too small for the pyramid.
        """
        frames, height, width = pixels.shape[2:]
        multiple, shortest = self.config.crop_multiple, min(height, width)
        is_covered = not (frames % self.clip_multiple or height % multiple or width % multiple)
        if not is_covered or frames < self._least_frames or shortest < self._least_pixels:
            raise UserError(
                f"The encoder {self.config.name} was given clips of {frames} frames of {width} x {height} pixels.",
                f"Expected a multiple of {self.clip_multiple} frames, {self._least_frames} or more, and of {multiple} "
                f"pixels a side, {self._least_pixels} or more.",
                f"Choose clips of {self.config.frames} frames, and set features.encoder.crop={self.config.crop}",
            )
        x = pixels.permute(0, 2, 3, 4, 1)
        for embed, blocks, positions in zip(self.patch_embeds, self.blocks, self.pos_block, strict=True):
            x = blocks(embed(x), positions)
        return self.norm(x)

    def vectors_per_clip(self, num_frames: int) -> int:
        """One for every two frames, or one in the mode `clip`."""
        return num_frames // PATCH_FRAMES if self.config.mode == "token" else 1

    def stages(self) -> list[list[nn.Module]]:
        """The four stages; the final norm belongs to the last.

        Attention and MLP of a block are apart, so that checkpointing computes one of them again at a time.
        """
        kinds = (LocalAttention, PyramidAttention, MLP)
        stages: list[list[nn.Module]] = [
            [embed, positions, *(part for part in blocks.modules() if isinstance(part, kinds))]
            for embed, blocks, positions in zip(self.patch_embeds, self.blocks, self.pos_block, strict=True)
        ]
        return [*stages[:-1], [*stages[-1], self.norm]]

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
        """The mean (3,) of the scaling."""
        return self.get_buffer("_mean").flatten()

    def published_factors(self, *, is_continued: bool = False) -> dict[str, Factors]:
        """The classifier and the positions learn ten times as fast as the rest; positions do not decay, norms do.

        The authors' rule for norms never applies: of several rules that fit a name, mmcv uses the longest alone.
        """
        factors = dict.fromkeys(("classifier.weight", "classifier.bias"), Factors(1.0, 1.0))
        for name, _ in self.named_parameters():
            factors[name] = Factors(1.0, 0.0) if name.startswith("pos_block.") else Factors(0.1, 1.0)
        return factors

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, C, v); raises UserError if the weights have no classifier."""
        return self.cls_head["fc_cls"](features.mean(2)) if "cls_head" in self._modules else super().logits(features)
