"""The network of I3D."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from actloc import raft_flow
from actloc.damage import refused
from actloc.encoders.base_network import ClipEncoder
from actloc.encoders.i3d import CROP, FRAMES, INPUT_CHANNELS, VECTOR, Config, Stream
from actloc.errors import UserError
from actloc.layers.precision import at_least_float32
from actloc.layers.raft import RAFT
from actloc.layers.same import SameMaxPool3d, pad_same
from actloc.video.frame_transforms import Crop
from actloc.weights import published

_BATCH_NORM_EPS, _BATCH_NORM_MOMENTUM = 1e-3, 0.01  # TensorFlow's
# Output channels of each branch: b0, b1a, b1b, b2a, b2b, b3b.
_MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
# video_features crops the centre of RAFT's flow before it removes the padding: if a side is odd, its end is padded
# by one pixel more than its start, so flow is shifted by one pixel from RGB.
_RAFT_FLOW_CROP = {"viashin": Crop(CROP, "ceil")}


class I3D(ClipEncoder):
    """1024 channels per stream and clip: the output of the average pooling, before dropout and classifier."""

    cpu_batch = 1

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.streams = nn.ModuleDict(
            {stream: InceptionI3D(INPUT_CHANNELS[stream], config.num_classes) for stream in config.streams}
        )
        self.channels = VECTOR * len(self.streams)
        self.raft: RAFT | None = RAFT().requires_grad_(False) if config.has_raft else None
        self.makes_frames = config.has_raft
        _, self._coding, self._after = FRAMES[config.frames]
        self._flow_crop = _RAFT_FLOW_CROP.get(config.frames)
        self._has_ten_crops = config.frames == "finspire_ten_crop"

    def frames(self, frames: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """The frames unchanged; if RAFT computes flow, frames (H, W, 5) of RGB and flow, without the last one."""
        return frames if self.raft is None else self._with_raft(frames, self.raft)

    def _with_raft(self, frames: Iterator[NDArray[Any]], raft: RAFT) -> Iterator[NDArray[Any]]:
        for frame, flow in raft_flow.with_flow(frames, raft):
            item = self._coding.with_flow(frame, flow)
            for step in self._after:
                item = step.apply(item)
            if self._flow_crop is not None:
                item[..., 3:] = self._coding.coded(self._flow_crop.apply(flow))
            yield item

    def encode(self, clips: Tensor) -> Tensor:
        """Features (S, 1024 or 2048, 1) of clips (S, F, H, W, c): RGB, then flow, of the streams in use."""
        x = self.network_input(clips) * (2 / 255) - 1  # (S, c, F, H, W)
        if not self._has_ten_crops:
            return self._vectors(x)[:, :, None]
        return torch.stack([self._vectors(crop) for crop in ten_crops(x)]).mean(0)[:, :, None]

    def _vectors(self, x: Tensor) -> Tensor:
        """(S, C) of (S, c, F, H, W)."""
        parts = {"rgb": x[:, :3], "flow": x[:, 3:]}
        return at_least_float32(torch.cat([network(parts[stream]) for stream, network in self.streams.items()], 1))

    def stages(self) -> list[list[nn.Module]]:
        """Of all streams: the first three convolutions, then the Inception blocks at each resolution."""
        stages: list[list[nn.Module]] = [[], [], [], []]
        for stream in self.streams.values():
            for name, layer in stream.named_children():
                if name != "logits":
                    number = int(re.search(r"\d", name.removeprefix("Conv3d"))[0])  # type: ignore[index]  # of its maps
                    stages[max(number - 2, 0)].append(layer)
        return stages

    def map_layers(self) -> dict[str, nn.Module]:
        """The layers of the flow, then those of the RGB stream, if there are both."""
        return dict(sorted(super().map_layers().items(), key=lambda one: one[0].startswith("streams.rgb.")))

    def zero_pixel(self) -> Tensor:
        """The middle of the range."""
        return torch.tensor(127.5)

    def logits(self, features: Tensor) -> Tensor:
        """Kinetics class scores (S, K) of features (S, C, v): the sum of both streams'."""
        parts = features.mean(2).chunk(len(self.streams), 1)
        scores = [
            stream.get_submodule("logits")(part) for stream, part in zip(self.streams.values(), parts, strict=True)
        ]
        return torch.stack(scores).sum(0)


def ten_crops(x: Tensor) -> list[Tensor]:
    """Squares of 224 from (..., H, W): the corners with the centre in between, then the same of the mirrored frames.

    Mirrored flow keeps its sign, as in the fork.
    """
    bottom, right = (size - CROP for size in x.shape[-2:])
    places = ((0, 0), (0, right), (bottom // 2, right // 2), (bottom, 0), (bottom, right))
    return [frames[..., top : top + CROP, left : left + CROP] for frames in (x, x.flip(-1)) for top, left in places]


class InceptionI3D(nn.Module):
    """One stream, with pytorch-i3d's names; the classifier comes first."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.logits = Classifier(num_classes)
        self.add_module("Conv3d_1a_7x7", Unit(in_channels, 64, 7, stride=2))
        self.add_module("MaxPool3d_2a_3x3", SameMaxPool3d((1, 3, 3), (1, 2, 2)))
        self.add_module("Conv3d_2b_1x1", Unit(64, 64, 1))
        self.add_module("Conv3d_2c_3x3", Unit(64, 192, 3))
        self.add_module("MaxPool3d_3a_3x3", SameMaxPool3d((1, 3, 3), (1, 2, 2)))
        width = 192
        for name, branches in _MIXED.items():
            if name == "4b":
                self.add_module("MaxPool3d_4a_3x3", SameMaxPool3d((3, 3, 3), (2, 2, 2)))
            if name == "5b":
                self.add_module("MaxPool3d_5a_2x2", SameMaxPool3d((2, 2, 2), (2, 2, 2)))
            self.add_module(f"Mixed_{name}", Mixed(width, *branches))
            b0, _, b1b, _, b2b, b3b = branches
            width = b0 + b1b + b2b + b3b

    def forward(self, x: Tensor) -> Tensor:
        """(S, 1024) of (S, c, F, H, W) between -1 and 1: the mean over every window of 2 x 7 x 7 of the last map.

        16 frames of 224 x 224 have one such window; a map smaller than a window is averaged as a whole.
        """
        for layer in self.children():
            if layer is not self.logits:
                x = layer(x)
        window = [min(size, most) for size, most in zip(x.shape[2:], (2, 7, 7), strict=True)]
        return F.avg_pool3d(x, window, stride=1).mean((2, 3, 4))


class Classifier(nn.Module):
    """Kinetics' classes from one stream's vector."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(VECTOR, num_classes, 1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores (S, K) of vectors (S, 1024): of a mean over windows, which is the mean of the windows' scores."""
        return self.conv3d(vectors[:, :, None, None, None]).flatten(1)


class Mixed(nn.Module):
    """Four parallel branches (Inception v1, inflated); a and b are the layers of a branch."""

    def __init__(self, width: int, b0: int, b1a: int, b1b: int, b2a: int, b2b: int, b3b: int) -> None:
        super().__init__()
        self.b0 = Unit(width, b0, 1)
        self.b1a = Unit(width, b1a, 1)
        self.b1b = Unit(b1a, b1b, 3)
        self.b2a = Unit(width, b2a, 1)
        self.b2b = Unit(b2a, b2b, 3)
        self.b3a = SameMaxPool3d((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(width, b3b, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(S, width, F, H, W) to (S, b0 + b1b + b2b + b3b, F, H, W)."""
        ways = self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))
        return torch.cat(ways, 1)


class Unit(nn.Module):
    """Convolution with SAME padding, batch norm, ReLU."""

    def __init__(self, width: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0  # a stride above 1 is padded in `forward`
        self.conv3d = nn.Conv3d(width, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(out, eps=_BATCH_NORM_EPS, momentum=_BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """(S, width, F, H, W) to (S, out, F / stride, H / stride, W / stride), rounded up."""
        if self.conv3d.stride[0] > 1:
            x = pad_same(x, self.conv3d.kernel_size, self.conv3d.stride)
        return F.relu(self.bn(self.conv3d(x)), inplace=True)


def read_stream(path: Path) -> dict[str, Tensor]:
    """The tensors of a stream's file, as it names them; raises UserError."""
    if path.suffix != ".npz":
        return published.read(path)

    def refusal(what: str) -> UserError:
        return UserError(
            f"Cannot read {path}: {what}.",
            "Expected named arrays of numbers, written by numpy.savez.",
            "Write or copy it again.",
        )

    with refused(path, refusal), path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        arrays = {name: file[name] for name in file.files} if isinstance(file, np.lib.npyio.NpzFile) else {}
    odd = [name for name, array in arrays.items() if not _is_numbers(array)]
    if odd or not arrays:
        raise refusal(f"{odd[0]} is no array of numbers" if odd else "it has no arrays by name")
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _is_numbers(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "biuf" and array.dtype.isnative and array.itemsize <= 8


def official_names(tensors: Mapping[str, Tensor], stream: Stream) -> dict[str, Tensor]:
    """The stream's tensors under pytorch-i3d's names and in its layout, from any of the three forms.

    TensorFlow's batch norms have no scale, so it is set to 1; a missing counter of batches is set to 0.
    """
    official = {}
    for name, tensor in tensors.items():
        is_kernel = name.endswith("conv_3d/w") and tensor.dim() == 5  # (t, h, w, in, out)
        value = tensor.permute(4, 3, 0, 1, 2).contiguous() if is_kernel else tensor
        official[_official_name(name, stream)] = value.flatten() if "/" in name and not is_kernel else value
        if name.endswith("batch_norm/beta"):
            official[_official_name(name, stream).replace("bias", "weight")] = torch.ones(tensor.numel())
    for name in [name for name in official if name.endswith("running_mean")]:
        official.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return official


def _official_name(name: str, stream: Stream) -> str:
    """One name: hassony2's and TensorFlow's are translated, pytorch-i3d's stays as it is."""
    scope = {"rgb": "RGB", "flow": "Flow"}[stream]
    name = name.removeprefix(f"{scope}/inception_i3d/")  # the Kinetics-600 checkpoint has no scope
    name = re.sub(r"^(Logits/Conv3d|conv3d)_0c_1x1", "logits", name)
    # The second convolution of Mixed_5b's branch 2 is also called 0a: the kernel size distinguishes them.
    name = re.sub(r"/Branch_(\d)/Conv3d_0[ab]_(\d)x\d", lambda found: _way(found[1], found[2] == "3"), name)
    name = re.sub(r"\.branch_(\d)(?:\.(\d))?", lambda found: _way(found[1], found[2] == "1"), name)
    name = re.sub(r"^(conv3d|mixed)_", lambda found: f"{found[1].capitalize()}_", name)
    for theirs, official in _TENSOR_NAMES.items():
        name = name.replace(theirs, official)
    return name


def _way(branch: str, is_second: bool) -> str:
    return {"0": ".b0", "3": ".b3b"}.get(branch, f".b{branch}{'b' if is_second else 'a'}")


_TENSOR_NAMES = {
    ".batch3d.": ".bn.",
    "/conv_3d/w": ".conv3d.weight",
    "/conv_3d/b": ".conv3d.bias",
    "/batch_norm/beta": ".bn.bias",
    "/batch_norm/moving_mean": ".bn.running_mean",
    "/batch_norm/moving_variance": ".bn.running_var",
}
