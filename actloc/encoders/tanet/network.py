"""The network of TANet."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.tanet import Config
from actloc.layers.maps import maps_of_frames
from actloc.structures import Factors

_WIDTHS = (64, 128, 256, 512)  # inside the bottlenecks of the four layers
_BLOCKS = (3, 4, 6, 3)
_EXPANSION = 4  # channels after a bottleneck per channel inside it
_CHANNELS = _EXPANSION * _WIDTHS[-1]
_KERNEL = 3  # frames that a module mixes; alpha and beta are the paper's names
_ALPHA, _BETA = 2, 4
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, pixels between 0 and 1


class TANet(ClipEncoder):
    """2048 channels per frame, or per clip.

    Weights are named as in torchvision, but the stem's belong to `stem`; `published_name` gives the official names.
    """

    channels = _CHANNELS
    cpu_batch = 1
    classifier_name, classifier_std = "fc", 0.001
    config: Config

    def __init__(self, config: Config, num_classes: int | None) -> None:
        super().__init__(config)
        self.clip_multiple = config.frames
        self.stem = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, _WIDTHS[0], 7, 2, 3, bias=False),
                bn1=nn.BatchNorm2d(_WIDTHS[0]),
                relu=nn.ReLU(inplace=True),
                maxpool=nn.MaxPool2d(3, 2, 1),
            )
        )
        channels = _WIDTHS[0]
        for number, (width, count) in enumerate(zip(_WIDTHS, _BLOCKS, strict=True), start=1):
            blocks = []
            for block in range(count):
                stride = 2 if number > 1 and block == 0 else 1
                blocks.append(Bottleneck(channels, width, stride, config.frames))
                channels = _EXPANSION * width
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        if num_classes is not None:
            self.fc = nn.Linear(_CHANNELS, num_classes)
        self.register_buffer("_mean", 255 * torch.tensor(_MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(_STD).reshape(3, 1, 1), persistent=False)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, 2048, v) of clips (S, F, H, W, 3); v is F, or 1 in clip mode. F is the number of `frames`."""
        return self.pooled(self.feature_map(clips), clips.shape[1])

    def feature_map(self, clips: Tensor) -> Tensor:
        """The last maps (S, 2048, F, H/32, W/32) of clips (S, F, H, W, 3)."""
        num_frames = clips.shape[1]
        if num_frames != self.config.frames:
            raise ValueError(f"found clips of {num_frames} frames, expected {self.config.frames}")
        pixels = self.network_input(clips).transpose(1, 2).flatten(0, 1)  # (S * F, 3, H, W)
        maps = self.maps((pixels - self.get_buffer("_mean")) / self.get_buffer("_std"))
        return maps.reshape(-1, num_frames, *maps.shape[1:]).transpose(1, 2)

    def maps(self, pixels: Tensor) -> Tensor:
        """The last maps (S * F, 2048, H/32, W/32) of scaled pixels (S * F, 3, H, W), clip after clip."""
        x = self.stem(pixels)
        for number in range(1, len(_BLOCKS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x

    def vectors_per_clip(self, num_frames: int) -> int:
        """One for every frame, or one in clip mode."""
        return 1 if self.config.mode == "clip" else num_frames

    def stages(self) -> list[list[nn.Module]]:
        """The stem with the first layer, then the others."""
        layers = [list(self.get_submodule(f"layer{number}").children()) for number in range(1, len(_BLOCKS) + 1)]
        return [[self.stem, *layers[0]], *layers[1:]]

    def as_maps(self, output: Tensor, clip: tuple[int, int, int]) -> Tensor:
        """Of frames (S * F, C, h, w)."""
        return maps_of_frames(output, clip[0])

    def zero_pixel(self) -> Tensor:
        """ImageNet's mean (3,)."""
        return self.get_buffer("_mean").flatten()

    def published_factors(self, *, is_continued: bool = False) -> dict[str, Factors]:
        """Linear weights learn five times as fast, also those of the temporal modules, unless training `is_continued`.

        Their biases learn twice as fast as the weights; biases and batch norms do not decay.
        """
        linear = 1.0 if is_continued else 5.0
        factors = {"classifier.weight": Factors(linear, 1.0), "classifier.bias": Factors(2 * linear, 0.0)}
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                factors[f"{name}.weight"] = Factors(linear if isinstance(module, nn.Linear) else 1.0, 1.0)
            elif isinstance(module, _BatchNorm):
                factors |= {f"{name}.{part}": Factors(1.0, 0.0) for part in ("weight", "bias")}
        return factors

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, 2048, v); raises UserError if the weights have no classifier.

        They are the mean of the vectors' scores.
        """
        return self.fc(features.mT).mean(1) if "fc" in self._modules else super().logits(features)


class Bottleneck(nn.Module):
    """Three convolutions with norms, a temporal adaptive module before the second, and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, num_frames: int) -> None:
        super().__init__()
        out = _EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.tam = TemporalAdaptiveModule(width, num_frames)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = None
        if channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(S * F, channels, H, W) to (S * F, 4 * width, H/stride, W/stride)."""
        y = self.tam(self.bn1(self.conv1(x)).relu_())
        y = self.bn2(self.conv2(y)).relu_()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu_()


class TemporalAdaptiveModule(nn.Module):
    """Mixes each frame with its two neighbours, by weights that depend on the clip (section 3).

    The kernel of a channel is the same for all frames and adds up to 1; the importance of each frame varies. There are
    zeros before the first frame and after the last one.
    """

    def __init__(self, channels: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        hidden, fewer = _ALPHA * num_frames, channels // _BETA
        self.kernel = nn.Sequential(
            nn.Linear(num_frames, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, _KERNEL, bias=False),
            nn.Softmax(1),
        )
        self.importance = nn.Sequential(
            nn.Conv1d(channels, fewer, 3, padding=1, bias=False),
            nn.BatchNorm1d(fewer),
            nn.ReLU(inplace=True),
            nn.Conv1d(fewer, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(S * F, C, H, W) to the same shape."""
        kernel, importance = self.branches(x)
        before, same, after = (kernel[:, :, place, None] for place in range(_KERNEL))

        def weights(part: Tensor, frames: Tensor) -> Tensor:
            return (part * frames).mT[..., None, None].to(x.dtype)  # (S, F', C, 1, 1)

        frames = x.reshape(-1, self.num_frames, *x.shape[1:])
        mixed = frames * weights(same, importance)
        mixed[:, 1:].addcmul_(frames[:, :-1], weights(before, importance[:, :, :-1]))
        mixed[:, :-1].addcmul_(frames[:, 1:], weights(after, importance[:, :, 1:]))
        return mixed.flatten(0, 1)

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The kernel (S, C, 3) and the importance (S, C, F) of frames (S * F, C, H, W)."""
        means = x.mean((2, 3)).reshape(-1, self.num_frames, x.shape[1]).mT  # (S, C, F)
        return self.kernel(means.flatten(0, 1)).reshape(*means.shape[:2], _KERNEL), self.importance(means)

    def own_products(self, x: Tensor) -> int:
        """Three for each value: the temporal kernel's."""
        return _KERNEL * x.numel()
