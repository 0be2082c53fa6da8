"""The network of R(2+1)D and R3D."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from actloc import console
from actloc.damage import refused
from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.r2plus1d import FEATURES, PUBLISHED, WIDTHS, Config
from actloc.errors import UserError
from actloc.layers.precision import at_least_float32
from actloc.weights.published import PublishedFile

_REGIONS = 2  # `Action` and `No action`, in the order of TSP's labels
_MEAN, _STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # of Kinetics-400, pixels between 0 and 1


@dataclass(frozen=True)
class Variant:
    """The differences between the networks."""

    blocks: tuple[int, int, int, int]
    is_split: bool
    norm: Callable[[int], nn.Module]
    published: PublishedFile
    is_width_by_conv: bool = False
    """Whether the channels between a split's two halves depend on the convolution, and not on its block."""


# The 34-layer network comes from Caffe2, with its norms; the others are torchvision's.
VARIANTS = {
    "r2plus1d_34": Variant(
        (3, 4, 6, 3),
        True,
        partial(nn.BatchNorm3d, eps=1e-3, momentum=0.9),
        PUBLISHED["r2plus1d_34"],
        is_width_by_conv=True,
    ),
    "r2plus1d_18": Variant((2, 2, 2, 2), True, nn.BatchNorm3d, PUBLISHED["r2plus1d_18"]),
    "r3d_18": Variant((2, 2, 2, 2), False, nn.BatchNorm3d, PUBLISHED["r3d_18"]),
}


class R2Plus1D(ClipEncoder):
    """512 channels per clip of (usually 16) frames, or the scores of a head.

    Parameters are named as in torchvision and IG-65M; the region head as in TSP, fc2.
    """

    channels = FEATURES
    cpu_batch = 1
    config: Config

    def __init__(self, config: Config, num_classes: int | None) -> None:
        super().__init__(config)
        variant = VARIANTS[config.variant]
        self.stem = stem(variant)
        for number, (blocks, (width, out)) in enumerate(zip(variant.blocks, pairwise(WIDTHS), strict=True), start=1):
            first = Block(variant, width, out, stride=1 if number == 1 else 2)
            self.add_module(
                f"layer{number}", nn.Sequential(first, *(Block(variant, out, out) for _ in range(1, blocks)))
            )
        self.fc = None if num_classes is None else nn.Linear(FEATURES, num_classes)
        if config.output == "region":
            self.fc2 = nn.Linear(FEATURES if config.global_features is None else 2 * FEATURES, _REGIONS)
        self.channels = {"features": FEATURES, "action": num_classes or 0, "region": _REGIONS}[config.output]
        self.register_buffer("_mean", 255 * torch.tensor(_MEAN).reshape(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(_STD).reshape(1, 3, 1, 1, 1), persistent=False)

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, 512, 1) of clips (S, F, H, W, 3), or a head's scores (S, K, 1).

        Those of a region head that takes global features are without these, which `video_term` gives.
        """
        x = self.stem(self.scaled(clips))
        for number in range(1, len(WIDTHS)):
            x = self.get_submodule(f"layer{number}")(x)
        features = at_least_float32(x).mean((2, 3, 4))[:, :, None]
        if self.config.output == "action":
            return self.logits(features)[:, :, None]
        if self.config.output == "region":
            return self.region_logits(features, features.new_zeros(self.fc2.in_features - FEATURES))[:, :, None]
        return features

    def stages(self) -> list[list[nn.Module]]:
        """The stem with the first layer, then the others; a head whose scores are the output belongs to the last."""
        layers = [list(self.get_submodule(f"layer{number}").children()) for number in range(1, len(WIDTHS))]
        head = {"features": None, "action": self.fc, "region": getattr(self, "fc2", None)}[self.config.output]
        return [[self.stem, *layers[0]], layers[1], layers[2], [*layers[3], *([] if head is None else [head])]]

    def zero_pixel(self) -> Tensor:
        """Kinetics' mean (3,)."""
        return self.get_buffer("_mean").flatten()

    def scaled(self, clips: Tensor) -> Tensor:
        """The network's input (S, 3, F, H, W) for clips (S, F, H, W, 3) between 0 and 255."""
        return (self.network_input(clips) - self.get_buffer("_mean")) / self.get_buffer("_std")

    def logits(self, features: Tensor) -> Tensor:
        """Scores (S, K) of features (S, 512, v): of Kinetics-400, or of the actions that TSP or TAC were trained on."""
        return super().logits(features) if self.fc is None else self.fc(features.mean(2))

    def region_logits(self, features: Tensor, global_features: Tensor) -> Tensor:
        """Scores (S, 2) of `Action` and `No action`, of features (S, 512, v) and their videos' (512,) or (S, 512).

        With output: region only. A head that learned without global features takes those of no channels, (0,).
        """
        own = features.mean(2)
        return self.fc2(torch.cat([own, global_features.to(own).expand(len(own), -1)], 1))

    def check_videos(self, videos: Mapping[str, Path]) -> None:
        """Raises UserError that names the videos without a global feature."""
        path = self.config.global_features
        if path is None:
            return
        with _opened(path) as stored:
            names = set(stored)
        missing = [video_id for video_id, file in videos.items() if names.isdisjoint((video_id, file.stem))]
        if missing:
            raise UserError(
                f"{path} has no global feature for {len(missing)} of {console.count(len(videos), 'video')}: "
                f"{console.first_ten(missing)}"
                f"{', ...' if len(missing) > 10 else ''}.",
                _EXPECTED_GLOBAL_FEATURES,
                _MAKE_GLOBAL_FEATURES,
            )

    def video_term(self, video_id: str, file: Path) -> NDArray[np.float32] | None:
        """What the video's global feature adds to its region scores (2,); None for a head without."""
        path = self.config.global_features
        if path is None:
            return None
        feature = torch.from_numpy(global_feature(path, video_id, file)).to(self.fc2.weight)
        with torch.inference_mode():
            term = F.linear(feature, self.fc2.weight[:, FEATURES:]).float()
        result: NDArray[np.float32] = term.cpu().numpy()
        return result


class Block(nn.Module):
    """Two convolutions with norms, and a shortcut, which is a 1 x 1 x 1 convolution if the size changes."""

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
    norm, width, middle = variant.norm, WIDTHS[0], 45
    if not variant.is_split:
        whole = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        return nn.Sequential(whole, norm(width), nn.ReLU(inplace=True))
    space = nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    time = nn.Conv3d(middle, width, (3, 1, 1), padding=(1, 0, 0), bias=False)
    return nn.Sequential(space, norm(middle), nn.ReLU(inplace=True), time, norm(width), nn.ReLU(inplace=True))


def convolution(variant: Variant, width: int, middle: int, out: int, stride: int = 1) -> nn.Module:
    """A 3 x 3 x 3 convolution: full, or split into one over space to `middle` channels and one over time."""
    if not variant.is_split:
        return nn.Conv3d(width, out, 3, stride, padding=1, bias=False)
    space = nn.Conv3d(width, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    time = nn.Conv3d(middle, out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)
    return nn.Sequential(space, variant.norm(middle), nn.ReLU(inplace=True), time)


def _middle(width: int, out: int) -> int:
    """Channels for which a split convolution has as many weights as a full one (Tran et al. 2018, section 3.5)."""
    return 27 * width * out // (9 * width + 3 * out)


_EXPECTED_GLOBAL_FEATURES = (
    f"Expected {FEATURES} finite numbers, the largest of each feature over the video's clips, "
    "under the name of each video or of its file without suffix."
)
_MAKE_GLOBAL_FEATURES = "Download the file again, or make one: actloc export STORE FILE --pool max"


def global_feature(path: Path, video_id: str, file: Path) -> NDArray[np.float32]:
    """A video's 512 numbers under its id, or under its file's name as in TSP; raises UserError if they are missing."""
    with _opened(path) as stored:
        # a link could read any other file
        names = [name for name in (video_id, file.stem) if isinstance(stored.get(name, getlink=True), h5py.HardLink)]
        values = np.asarray(stored[names[0]] if names else None)
    if values.dtype.kind not in "iuf" or values.shape != (FEATURES,) or not np.isfinite(values).all():
        found = f"{values.dtype} {values.shape}" if names else "nothing"
        raise UserError(f"{path} contains {found} for {video_id}.", _EXPECTED_GLOBAL_FEATURES, _MAKE_GLOBAL_FEATURES)
    return values.astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Opens the file of global features; raises UserError if it is damaged."""

    def refusal(what: str) -> UserError:
        return UserError(f"Cannot read {path}: {what}.", _EXPECTED_GLOBAL_FEATURES, _MAKE_GLOBAL_FEATURES)

    with refused(path, refusal), h5py.File(path, "r") as stored:
        yield stored
