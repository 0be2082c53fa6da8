"""The network of SlowFast."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.slowfast import BLOCKS, WINDOW, Config
from actloc.layers.precision import at_least_float32

_PIXEL_MEAN, _PIXEL_SCALE = 0.45 * 255, 0.225 * 255
_ALPHA = 4  # frames of the fast pathway per frame of the slow one
_BETA = 8  # channels of the slow pathway per channel of the fast one
_WIDTHS = (64, 256, 512, 1024, 2048)  # of the slow pathway after s1 to s5
_FUSION_KERNEL = {50: 7, 101: 5}
_CHANNELS = _WIDTHS[-1] + _WIDTHS[-1] // _BETA
_COUNTER = ".num_batches_tracked"


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
        for number, blocks in enumerate(BLOCKS[config.depth], start=2):
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
    return F.avg_pool2d(at_least_float32(maps).mean(2), WINDOW, stride=1)


def in_our_names(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
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
    last_block = dict(zip("234", (blocks - 1 for blocks in BLOCKS[depth]), strict=False))
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
