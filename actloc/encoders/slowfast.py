"""SlowFast 8x8: a slow pathway on a quarter of the frames (2048 channels), a fast one on all of them (256).

Feichtenhofer et al. 2019 (arXiv 1812.03982), as PySlowFast publishes it: R50, and R101 with temporal kernels in all or
in the first 6 blocks of res4. Parameters have PySlowFast's names; those of Caffe2 and PyTorchVideo are converted.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.encoders.base import PublishedConfig
from actloc.encoders.base_network import ClipEncoder, load_into
from actloc.errors import UserError
from actloc.layers.precision import at_least_float32
from actloc.video.frame_transforms import Crop, FrameStep, LeftHalf, Place, Resize
from actloc.weights import caffe2, published
from actloc.weights.published import PublishedFile

_PIXEL_MEAN, _PIXEL_SCALE = 0.45 * 255, 0.225 * 255
_ALPHA = 4  # frames of the fast pathway per frame of the slow one
_BETA = 8  # channels of the slow pathway per channel of the fast one
_WIDTHS = (64, 256, 512, 1024, 2048)  # of the slow pathway after s1 to s5
_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # of s2 to s5
_FUSION_KERNEL = {50: 7, 101: 5}
_WINDOW = 7  # pixels of the published network's average pooling
_REDUCTION = 32  # pixels of the picture per pixel of the last feature map
_CHANNELS = _WIDTHS[-1] + _WIDTHS[-1] // _BETA
_KINETICS400 = {"projection": 400}
_CLASSIFIERS = ("projection", "projection_verb", "projection_noun")  # the last two: EPIC-Kitchens-100
_RES4_TEMPORAL = re.compile(  # under the names of each of the three forms
    r"s4\.pathway0_res\d+\.branch2\.a\.weight"
    r"|blocks\.3\.multipathway_blocks\.0\.res_blocks\.\d+\.branch2\.conv_a\.weight"
    r"|res4_\d+_branch2a_w"
)
_COUNTER = ".num_batches_tracked"
PUBLISHED = {
    50: PublishedFile(
        "SlowFast.pyth",
        "github.com/epic-kitchens/epic-kitchens-slowfast (README, trained on EPIC-Kitchens-100; for Kinetics-400 take "
        "SLOWFAST_8x8_R50.pkl of github.com/facebookresearch/SlowFast, MODEL_ZOO.md)",
        "138 MB, plus optimizer state",
    ),
    101: PublishedFile(
        "SLOWFAST_8x8_R101.pyth",
        "github.com/facebookresearch/pytorchvideo (docs/source/model_zoo.md, trained on Kinetics-400)",
        "251 MB, plus optimizer state",
    ),
}


class Config(PublishedConfig):
    """Settings of SlowFast; the defaults are those of PySlowFast's test of the R50."""

    depth: Literal[50, 101] = 50
    """Number of layers of the ResNets; must match the weights file."""
    res4_temporal_blocks: PositiveInt | None = None
    """Number of leading blocks of res4 with temporal kernels; null: all. An R101 of the variant 50_50 has 6."""
    left_half: bool = False
    """Use the left half of each frame: the left eye of stereo recordings (Ego4D)."""
    short_side: PositiveInt = 256
    """Short side in pixels after resizing; the long side keeps the aspect ratio, rounded down."""
    crop: PositiveInt = 256
    """Side in pixels of the square that the network sees."""
    crop_place: Place = "centre"
    """Place of the square along the longer side; three-view testing uses all three places."""
    crop_rounding: Literal["ceil", "round"] = "ceil"
    """Rounding of the square's position, where it falls on half a pixel: ceil as in PySlowFast, round (half to even)
    as in Ego4D."""
    pooling: Literal["global", "overlapping"] = "global"
    """Pooling of the last feature maps. global: the mean over all positions; overlapping: the mean of the means of all
    7 x 7 windows (Ego4D)."""
    output: Literal["features", "probabilities"] = "features"
    """Contents of a row. features; or class probabilities as in PySlowFast's test: a softmax per 7 x 7 window, then the
    mean over windows (EPIC-Kitchens: 97 verbs, then 300 nouns)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        blocks = _BLOCKS[self.depth][2]
        if self.crop > self.short_side:
            raise ValueError(f"crop {self.crop} is larger than short_side {self.short_side}")
        has_windows = self.pooling == "overlapping" or self.output == "probabilities"
        if has_windows and self.crop <= (_WINDOW - 1) * _REDUCTION:
            setting = "pooling: overlapping" if self.pooling == "overlapping" else "output: probabilities"
            raise ValueError(f"{setting} needs a crop of 193 pixels or more, found {self.crop}")
        if self.res4_temporal_blocks is not None and self.res4_temporal_blocks > blocks:
            raise ValueError(
                f"res4_temporal_blocks is {self.res4_temporal_blocks}, but depth {self.depth} has {blocks} in res4"
            )
        return self

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes (bilinear, without antialiasing), then crops the square."""
        resize = Resize("bilinear", short_side=self.short_side, rounding="floor")
        crop = Crop(self.crop, rounding=self.crop_rounding, place=self.crop_place)
        return (LeftHalf(), resize, crop) if self.left_half else (resize, crop)

    def network(self) -> "SlowFast":
        """The encoder with random weights and a classifier of Kinetics-400."""
        return SlowFast(self, _KINETICS400)

    def build(self) -> "SlowFast":
        """The encoder with the file's weights and classifiers."""
        path = published.locate(self.weights, PUBLISHED[self.depth])
        tensors = caffe2.read(path) if caffe2.is_caffe2(path) else published.read(path)
        _check_kind(self, tensors, path)
        tensors = _in_our_names(tensors, self)
        network = self.network_for(tensors)
        load_into(network, tensors, path)
        return network.eval()

    def network_for(self, weights: Mapping[str, Tensor]) -> "SlowFast":
        """The encoder with random weights and the classifiers that these, under our names, have."""
        return SlowFast(self, _classes(weights) or _KINETICS400)

    @classmethod
    def small(cls) -> "Config":
        """Small frames; the network has one width."""
        return cls(short_side=64, crop=64, left_half=True)


class SlowFast(ClipEncoder):
    """2304 channels per clip: 2048 of the slow pathway, then 256 of the fast one; or the classes' probabilities."""

    channels = _CHANNELS
    clip_multiple = _ALPHA
    cpu_batch = 1
    config: Config

    def __init__(self, config: Config, classes: Mapping[str, int]) -> None:
        super().__init__(config)
        kernel = _FUSION_KERNEL[config.depth]
        self.s1 = _stems()
        self.s1_fuse = Fusion(_WIDTHS[0] // _BETA, kernel)
        for number, blocks in enumerate(_BLOCKS[config.depth], start=2):
            temporal = config.res4_temporal_blocks if number == 4 else None
            self.add_module(f"s{number}", _stage(number, blocks, blocks if temporal is None else temporal))
            if number < 5:
                self.add_module(f"s{number}_fuse", Fusion(_WIDTHS[number - 1] // _BETA, kernel))
        self.head = nn.ModuleDict({name: nn.Linear(_CHANNELS, count) for name, count in classes.items()})
        if config.output == "probabilities":
            self.channels = sum(classes.values())

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, 2304, 1) or probabilities (S, K, 1) of clips (S, F, H, W, 3), F a multiple of 4."""
        frames = (self.network_input(clips) - _PIXEL_MEAN) / _PIXEL_SCALE
        return self.features(frames) if self.config.output == "features" else self.probabilities(frames)

    def stages(self) -> list[list[nn.Module]]:
        """The stems with res2, then res3, res4 and res5, each with the fusion after it."""
        stages: list[list[nn.Module]] = [[], [], [], []]
        for name, part in self.named_children():
            if name != "head":
                stages[max(int(name[1]) - 2, 0)] += [part] if isinstance(part, Fusion) else part.children()
        if self.config.output == "probabilities":
            stages[-1] += self.head.children()
        return stages

    def map_layers(self) -> dict[str, nn.Module]:
        """The blocks of the fast pathway, then those of the slow one."""
        blocks = [(name, module) for name, module in self.named_modules() if isinstance(module, Block)]
        return dict(sorted(blocks, key=lambda one: ".pathway1" not in one[0]))

    def zero_pixel(self) -> Tensor:
        """The mean of all channels."""
        return torch.tensor(_PIXEL_MEAN)

    def features(self, frames: Tensor) -> Tensor:
        """Features (S, 2304, 1) of normalised frames (S, 3, F, H, W)."""
        return torch.cat([_pooled(maps, self.config.pooling) for maps in self._maps(frames)], dim=1)[:, :, None]

    def probabilities(self, frames: Tensor) -> Tensor:
        """Class probabilities (S, K, 1) of normalised frames (S, 3, F, H, W): the mean over all windows.

        The windows are those of the published average pooling: four for 256 x 256 pixels. The probabilities of each
        classifier (Kinetics; or verbs, then nouns) add up to 1.
        """
        vectors = torch.cat([_windows(maps) for maps in self._maps(frames)], dim=1).flatten(2).mT  # (S, windows, 2304)
        of_windows = torch.cat([classifier(vectors).softmax(2) for classifier in self.head.values()], dim=2)
        return at_least_float32(of_windows).mean(1)[:, :, None]

    def _maps(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The last maps (S, C, F, H, W) of the slow and of the fast pathway."""
        length = frames.shape[2]
        # PySlowFast's sampling, which is not every fourth frame; on the CPU, for the same rounding as published
        shown = torch.linspace(0, length - 1, length // _ALPHA).long()
        pathways = frames[:, :, shown.to(frames.device)], frames
        for name, stage in self.named_children():
            if name != "head":
                pathways = stage(*pathways)
        return pathways

    def logits(self, features: Tensor) -> Tensor:
        """Class scores (S, K) of features (S, 2304, v): Kinetics' 400, or EPIC's 97 verbs and then its 300 nouns."""
        return torch.cat([classifier(features.mean(2)) for classifier in self.head.values()], dim=1)


class Pathways(nn.ModuleDict):
    """Modules of both pathways, named pathway0_* (slow) and pathway1_* (fast)."""

    def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
        """Each pathway's maps (S, C, F, H, W) through its own modules."""
        for name, module in self.items():
            if name.startswith("pathway0"):
                slow = module(slow)
            else:
                fast = module(fast)
        return slow, fast


class Fusion(nn.Module):
    """Concatenates the fast pathway's maps to the slow one's (section 3.4: time-strided convolution)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv_f2s = nn.Conv3d(
            width, 2 * width, (kernel, 1, 1), stride=(_ALPHA, 1, 1), padding=(kernel // 2, 0, 0), bias=False
        )
        self.bn = nn.BatchNorm3d(2 * width)

    def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
        """Slow maps (S, C, F/4, H, W) with 2c more channels, and the fast maps (S, c, F, H, W) unchanged."""
        lateral = F.relu(self.bn(self.conv_f2s(fast)), inplace=True)
        return torch.cat([slow, lateral], dim=1), fast


class Block(nn.Module):
    """A bottleneck block: reduction with a temporal kernel (a), spatial kernel (b), expansion (c), and a shortcut."""

    def __init__(self, width: int, out: int, temporal: int, stride: int, *, has_projection: bool) -> None:
        super().__init__()
        if has_projection:
            self.branch1 = _convolution(width, out, (1, 1, 1), stride)
            self.branch1_bn = nn.BatchNorm3d(out)
        self.has_projection = has_projection
        inner = out // 4
        layers = OrderedDict[str, nn.Module](
            a=_convolution(width, inner, (temporal, 1, 1)),
            a_bn=nn.BatchNorm3d(inner),
            a_relu=nn.ReLU(inplace=True),
            b=_convolution(inner, inner, (1, 3, 3), stride),
            b_bn=nn.BatchNorm3d(inner),
            b_relu=nn.ReLU(inplace=True),
            c=_convolution(inner, out, (1, 1, 1)),
            c_bn=nn.BatchNorm3d(out),
        )
        self.branch2 = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(S, width, F, H, W) to (S, out, F, H/stride, W/stride)."""
        shortcut = self.branch1_bn(self.branch1(x)) if self.has_projection else x
        return F.relu(shortcut + self.branch2(x), inplace=True)


def _convolution(width: int, out: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Conv3d:
    """A convolution that keeps the length and divides height and width by `stride`."""
    time, height, across = kernel
    padding = time // 2, height // 2, across // 2
    return nn.Conv3d(width, out, kernel, stride=(1, stride, stride), padding=padding, bias=False)


def _stems() -> Pathways:
    """The first layers of both pathways; they divide height and width by 4."""
    stems = Pathways()
    for pathway, (width, temporal) in enumerate(((_WIDTHS[0], 1), (_WIDTHS[0] // _BETA, 5))):
        layers = OrderedDict[str, nn.Module](
            conv=_convolution(3, width, (temporal, 7, 7), stride=2),
            bn=nn.BatchNorm3d(width),
            relu=nn.ReLU(inplace=True),
            pool_layer=nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )
        stems[f"pathway{pathway}_stem"] = nn.Sequential(layers)
    return stems


def _stage(number: int, blocks: int, temporal_blocks: int) -> Pathways:
    """The residual stage s`number` of both pathways; only its first `temporal_blocks` blocks have temporal kernels."""
    before, out = _WIDTHS[number - 2], _WIDTHS[number - 1]
    widths = (before + 2 * before // _BETA, out), (before // _BETA, out // _BETA)
    stage = Pathways()
    for pathway, (width, pathway_out) in enumerate(widths):
        is_temporal = pathway == 1 or number >= 4  # the slow pathway has temporal kernels in its last two stages only
        for block in range(blocks):
            stage[f"pathway{pathway}_res{block}"] = Block(
                width if block == 0 else pathway_out,
                pathway_out,
                temporal=3 if is_temporal and block < temporal_blocks else 1,
                stride=2 if block == 0 and number > 2 else 1,
                has_projection=block == 0,
            )
    return stage


def _pooled(maps: Tensor, pooling: str) -> Tensor:
    """Means (S, C) float32 over time and picture of maps (S, C, F, H, W)."""
    return (_windows(maps) if pooling == "overlapping" else at_least_float32(maps).mean(2)).mean((2, 3))


def _windows(maps: Tensor) -> Tensor:
    """Means (S, C, H - 6, W - 6) float32 over time and every window of 7 x 7 of maps (S, C, F, H, W)."""
    return F.avg_pool2d(at_least_float32(maps).mean(2), _WINDOW, stride=1)


def _classes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The number of classes of each classifier in a file's tensors, under our names."""
    weights = {name: tensors.get(f"head.{name}.weight") for name in _CLASSIFIERS}
    return {name: len(weight) for name, weight in weights.items() if weight is not None and weight.dim() == 2}


def _check_kind(config: Config, tensors: dict[str, Tensor], path: Path) -> None:
    """Raises UserError if depth or temporal blocks of the weights differ from the settings."""
    kernels = [
        tensor.shape[2] for name, tensor in tensors.items() if _RES4_TEMPORAL.fullmatch(name) and tensor.dim() == 5
    ]
    depth = next((depth for depth, blocks in _BLOCKS.items() if blocks[2] == len(kernels)), None)
    temporal = sum(kernel > 1 for kernel in kernels)
    expected = config.depth, config.res4_temporal_blocks or _BLOCKS[config.depth][2]
    if depth is None or (depth, temporal) == expected:
        return  # weights that are not a SlowFast's are listed one by one when they are loaded
    raise UserError(
        f"{path} contains a SlowFast of depth {depth} with temporal blocks in res4: {temporal}.",
        f"Expected depth {expected[0]} with {expected[1]}, as in the settings.",
        f"Set features.encoder.depth={depth} features.encoder.res4_temporal_blocks={temporal}, or use another "
        "file: features.encoder.weights=FILE",
    )


def _in_our_names(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The file's tensors under PySlowFast's names; unknown names do not change."""
    with torch.device("meta"):
        ours = config.network().state_dict()
    for theirs in (lambda name: caffe2_name(name, config.depth), pytorchvideo_name):
        names = {theirs(name): name for name in ours}
        if not names.keys().isdisjoint(tensors):
            tensors = {names.get(name, name): tensor for name, tensor in tensors.items()}
    if not any(
        name.endswith(_COUNTER) for name in tensors
    ):  # Caffe2 does not count batches, and the counts are not used
        tensors |= {name: torch.tensor(0) for name in ours if name.endswith(_COUNTER)}
    return tensors


def caffe2_name(name: str, depth: int) -> str:
    """The Caffe2 blob of one of our parameters."""
    last_block = dict(zip("234", (blocks - 1 for blocks in _BLOCKS[depth]), strict=False))
    return _replaced(
        name,
        (r"^s1_fuse", r"t_pool1_subsample"),
        (r"^s(\d)_fuse", lambda found: f"t_res{found[1]}_{last_block[found[1]]}_branch2c_bn_subsample"),
        (r"^s1\.pathway(\d)_stem\.bn", r"\1res_conv1.bn"),
        (r"^s1\.pathway(\d)_stem", r"\1conv1"),
        (r"^s(\d)\.pathway(\d)_res(\d+)\.", r"\2res\1_\3_"),
        (r"^0", ""),
        (r"^1", "t_"),
        (r"^head\.projection", "pred"),
        (r"\.(conv|conv_f2s)\.", "."),
        (r"branch2\.", "branch2"),
        (r"[._]bn\.weight$", "_bn_s"),
        (r"[._]bn\.", "_bn_"),
        (r"\.weight$", "_w"),
        (r"[._]bias$", "_b"),
        (r"running_mean$", "rm"),
        (r"running_var$", "riv"),
    )


def pytorchvideo_name(name: str) -> str:
    """PyTorchVideo's name of one of our parameters."""
    return _replaced(
        name,
        (r"^s(\d)", lambda found: f"blocks.{int(found[1]) - 1}"),
        (r"_fuse\.", ".multipathway_fusion."),
        (r"pathway(\d)_stem", r"multipathway_blocks.\1"),
        (r"pathway(\d)_res(\d+)", r"multipathway_blocks.\1.res_blocks.\2"),
        (r"conv_f2s", "conv_fast_to_slow"),
        (r"branch1_bn", "branch1_norm"),
        (r"branch1\.", "branch1_conv."),
        (r"branch2\.([abc])_bn", r"branch2.norm_\1"),
        (r"branch2\.([abc])\.", r"branch2.conv_\1."),
        (r"\.bn\.", ".norm."),
        (r"^head\.projection", "blocks.6.proj"),
    )


def _replaced(name: str, *rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
