"""R(2+1)D-34, R(2+1)D-18 and R3D-18, with weights of TSP, TAC, IG-65M or torchvision.

Residual networks over clips, with 3-D convolutions whole (R3D) or split into space and time (Tran et al. 2018,
arXiv 1711.11248). TSP and TAC: Alwassel et al. 2021 (arXiv 2011.11479). IG-65M: Ghadiyaram et al. 2019.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from actloc.encoders.base import ClipEncoder, PublishedConfig, load_into
from actloc.video.frame_transforms import Crop, FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

_WIDTHS = (64, 64, 128, 256, 512)  # of the stem, then of the four layers
_FRAME_SIZE, _CROP = (128, 171), 112
_MEAN, _STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # of Kinetics-400, pixels between 0 and 1
_KINETICS_CLASSES = 400

_TSP = PublishedFile(
    "r2plus1d_34-tsp_on_activitynet-max_gvf-backbone_lr_0.0001-fc_lr_0.002-epoch_5-0d2cf854.pth",
    "github.com/HumamAlwassel/TSP, release model_weights, where also those for THUMOS14 are; "
    "IG-65M's is r2plus1d_34_clip8_ft_kinetics_from_ig65m-0aa0550b.pth of github.com/moabitcoin/ig65m-pytorch",
    "255 MB of weights",
)
_R2PLUS1D_18 = PublishedFile("r2plus1d_18-91a641e6.pth", "torchvision as R2Plus1D_18_Weights.KINETICS400_V1", "126 MB")
_R3D_18 = PublishedFile("r3d_18-b3b3357e.pth", "torchvision as R3D_18_Weights.KINETICS400_V1", "134 MB")


@dataclass(frozen=True)
class Variant:
    """What one network has otherwise than the next."""

    blocks: tuple[int, int, int, int]
    is_split: bool
    norm: Callable[[int], nn.Module]
    published: PublishedFile
    is_width_by_conv: bool = False
    """Whether the channels between a split's two halves follow from the convolution, and not from its block."""


# The 34 layers come from Caffe2, with its norms; torchvision has the others.
VARIANTS = {
    "r2plus1d_34": Variant(
        (3, 4, 6, 3), True, partial(nn.BatchNorm3d, eps=1e-3, momentum=0.9), _TSP, is_width_by_conv=True
    ),
    "r2plus1d_18": Variant((2, 2, 2, 2), True, nn.BatchNorm3d, _R2PLUS1D_18),
    "r3d_18": Variant((2, 2, 2, 2), False, nn.BatchNorm3d, _R3D_18),
}


class Config(PublishedConfig):
    """Settings of the residual networks that TSP learned with."""

    variant: Literal["r2plus1d_34", "r2plus1d_18", "r3d_18"] = "r2plus1d_34"
    """The network; its weights may be TSP's, TAC's, or those of Kinetics that these began with."""

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """The whole frame squashed to 128 x 171, then its centre."""
        return Resize("bilinear", size=_FRAME_SIZE), Crop(_CROP, "round")

    def network(self, num_classes: int = _KINETICS_CLASSES) -> "R2Plus1D":
        """The encoder with freshly drawn weights."""
        return R2Plus1D(self, num_classes)

    def build(self) -> "R2Plus1D":
        """The encoder with published weights, and the classifier of their classes."""
        path = published.locate(self.weights, VARIANTS[self.variant].published)
        tensors = trunk_and_classifier(published.read(path))
        network = self.network(len(tensors["fc.weight"]) if "fc.weight" in tensors else _KINETICS_CLASSES)
        load_into(network, tensors, path)
        return network.eval()

    @classmethod
    def small(cls) -> "Config":
        """The fewest layers."""
        return cls(variant="r2plus1d_18")


class R2Plus1D(ClipEncoder):
    """512 channels per clip of (usually 16) frames; its parameters have the names of torchvision's and IG-65M's."""

    channels = _WIDTHS[-1]
    cpu_batch = 1

    def __init__(self, config: Config, num_classes: int) -> None:
        super().__init__(config)
        variant = VARIANTS[config.variant]
        self.stem = stem(variant)
        for number, (blocks, (width, out)) in enumerate(zip(variant.blocks, pairwise(_WIDTHS), strict=True), start=1):
            first = Block(variant, width, out, stride=1 if number == 1 else 2)
            self.add_module(
                f"layer{number}", nn.Sequential(first, *(Block(variant, out, out) for _ in range(1, blocks)))
            )
        self.fc = nn.Linear(self.channels, num_classes)
        self.register_buffer("_mean", 255 * torch.tensor(_MEAN).reshape(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(_STD).reshape(1, 3, 1, 1, 1), persistent=False)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, 512, 1) of clips (S, F, H, W, 3)."""
        x = self.stem(self.scaled(clips))
        for number in range(1, len(_WIDTHS)):
            x = self.get_submodule(f"layer{number}")(x)
        return x.float().mean((2, 3, 4))[:, :, None]

    def scaled(self, clips: Tensor) -> Tensor:
        """What the network sees (S, 3, F, H, W) of clips (S, F, H, W, 3) between 0 and 255."""
        return (self.network_input(clips) - self.get_buffer("_mean")) / self.get_buffer("_std")

    def logits(self, features: Tensor) -> Tensor:
        """Scores (S, K) of features (S, 512, v): of Kinetics-400, or of the actions that TSP or TAC learned."""
        return self.fc(features.mean(2))


class Block(nn.Module):
    """Two convolutions with norms around a shortcut, which is a 1 x 1 x 1 convolution where the size changes."""

    def __init__(self, variant: Variant, width: int, out: int, stride: int = 1) -> None:
        super().__init__()
        middle = _middle(width, out)
        second_middle = _middle(out, out) if variant.is_width_by_conv else middle
        first, second = convolution(variant, width, middle, out, stride), convolution(variant, out, second_middle, out)
        self.conv1 = nn.Sequential(first, variant.norm(out), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(second, variant.norm(out))
        self.downsample = None
        if stride > 1:
            shortcut = nn.Conv3d(width, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, variant.norm(out))

    def forward(self, x: Tensor) -> Tensor:
        """(S, width, F, H, W) to (S, out, F/stride, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return (self.conv2(self.conv1(x)) + shortcut).relu()


def stem(variant: Variant) -> nn.Sequential:
    """The first convolution, which halves height and width."""
    norm, width, middle = variant.norm, _WIDTHS[0], 45
    if not variant.is_split:
        whole = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        return nn.Sequential(whole, norm(width), nn.ReLU(inplace=True))
    space = nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    time = nn.Conv3d(middle, width, (3, 1, 1), padding=(1, 0, 0), bias=False)
    return nn.Sequential(space, norm(middle), nn.ReLU(inplace=True), time, norm(width), nn.ReLU(inplace=True))


def convolution(variant: Variant, width: int, middle: int, out: int, stride: int = 1) -> nn.Module:
    """A 3 x 3 x 3 convolution: whole, or over space to `middle` channels and from these over time."""
    if not variant.is_split:
        return nn.Conv3d(width, out, 3, stride, padding=1, bias=False)
    space = nn.Conv3d(width, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    time = nn.Conv3d(middle, out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)
    return nn.Sequential(space, variant.norm(middle), nn.ReLU(inplace=True), time)


def _middle(width: int, out: int) -> int:
    """Channels with which a split convolution has as many weights as a whole one (Tran et al. 2018, section 3.5)."""
    return 27 * width * out // (9 * width + 3 * out)


def trunk_and_classifier(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """TSP's and TAC's tensors under torchvision's names, without the head that tells actions from background."""
    plain = {name.removeprefix("features."): tensor for name, tensor in tensors.items() if not name.startswith("fc2.")}
    return {name.replace("fc1.", "fc."): tensor for name, tensor in plain.items()}
