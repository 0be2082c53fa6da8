"""VideoMAE v2: a plain vision transformer over cubes of video (Wang et al., 2023, arXiv 2303.16727).

Features and preprocessing are those of its authors' script for temporal action localization (OpenGVLab/VideoMAEv2).
Checkpoints of VideoMAE (v1) that were fine-tuned for classification have the same names and can be loaded as well.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from actloc.encoders.base import PublishedConfig
from actloc.video.frame_transforms import FrameStep, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

if TYPE_CHECKING:
    from torch import Tensor

    from actloc.encoders.videomae2.network import VideoMAE2
PICTURE, FRAMES = 224, 16  # of the published weights' training
_KINETICS_CLASSES = 710  # of Kinetics-400, -600 and -700 combined


@dataclass(frozen=True)
class _Size:
    dim: int
    num_blocks: int
    num_heads: int
    patch: int
    mlp_dim: int
    published: PublishedFile


_ZOO = "github.com/OpenGVLab/VideoMAEv2, docs/MODEL_ZOO.md"
_UNNAMED = "github.com/OpenGVLab/VideoMAEv2 or github.com/MCG-NJU/VideoMAE, under another name"
SIZES = {
    "small": _Size(384, 12, 6, 16, 1536, PublishedFile("vit_s_k710_dl_from_giant.pth", _ZOO, "22 million weights")),
    "base": _Size(768, 12, 12, 16, 3072, PublishedFile("vit_b_k710_dl_from_giant.pth", _ZOO, "87 million weights")),
    # The names and shapes of large and huge were not compared with official files; those of the others were.
    "large": _Size(1024, 24, 16, 16, 4096, PublishedFile("videomae2_large.pth", _UNNAMED, "305 million weights")),
    "huge": _Size(1280, 32, 16, 16, 5120, PublishedFile("videomae2_huge.pth", _UNNAMED, "633 million weights")),
    "giant": _Size(
        1408, 40, 16, 14, 6144, PublishedFile("vit_g_hyrbid_pt_1200e_k710_ft.pth", _ZOO, "1,013 million weights")
    ),
}


class Config(PublishedConfig):
    """Settings of VideoMAE v2."""

    size: Literal["small", "base", "large", "huge", "giant"] = "giant"
    """Width and depth of the network; the published features come from giant."""
    normalise: bool = False
    """Normalise with ImageNet's mean and standard deviation, as in training; the published features do not."""

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Resizes to 224 x 224, ignoring the aspect ratio."""
        return (Resize("bilinear", size=(PICTURE, PICTURE)),)

    def network(self, num_classes: int = _KINETICS_CLASSES) -> VideoMAE2:
        """The encoder with random weights."""
        from actloc.encoders.videomae2.network import VideoMAE2

        return VideoMAE2(self, num_classes)

    def weights_files(self) -> list[Path]:
        """The published file, or the one in its place."""
        return [published.locate(self.weights, SIZES[self.size].published)]

    def build(self) -> VideoMAE2:
        """The encoder with its published weights and a classifier of their classes; raises UserError."""
        from actloc.encoders.base_network import load_into

        (path,) = self.weights_files()
        tensors = published.read(path)
        network = self.network_for(tensors)
        load_into(network, tensors, path)
        return network.eval()

    def network_for(self, weights: Mapping[str, Tensor]) -> VideoMAE2:
        """The encoder with random weights and a classifier of as many classes as that of these."""
        return self.network(len(weights["head.weight"]) if "head.weight" in weights else _KINETICS_CLASSES)

    @classmethod
    def small(cls) -> Config:
        """The smallest published size."""
        return cls(size="small")
