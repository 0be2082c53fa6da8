"""Optical flow by RAFT, paired with the frames it starts from.

It replaces TV-L1, and gives different features. Frame steps run in the decoding processes, without torch; this runs
in the encoder's process.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.errors import VideoError
from actloc.layers.raft import RAFT, SMALLEST_SIDE, correlation_bytes
from actloc.weights import files, published
from actloc.weights.published import PublishedFile

PUBLISHED = PublishedFile(
    "raft-sintel.pth", "github.com/princeton-vl/RAFT: its download_models.sh downloads it with four others", "21 MB"
)
_MOST_CORRELATION_BYTES = 96 << 20  # of pairs computed together: 9 pairs of 340 x 256
_FIX = "Set encoder.raft_weights to a file of princeton-vl/RAFT, or to torchvision's raft_large."
# From torchvision's names of raft_large, in this order.
_TORCHVISION: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^feature_encoder", "fnet"),
    (r"^context_encoder", "cnet"),
    (r"^([fc]net)\.conv\.", r"\1.conv2."),
    (r"convnormrelu(\d?)\.([01])\.", lambda found: f"{('conv', 'norm')[int(found[2])]}{found[1] or 1}."),
    (r"motion_encoder\.conv(?:([cf])(?:orr|low)(\d))?\.0", r"encoder.conv\1\2"),
    (r"recurrent_block\.convgru(\d)\.(conv[zrq])", r"gru.\2\1"),
    (r"^mask_predictor\.convrelu\.0", "update_block.mask.0"),
    (r"^mask_predictor\.conv\.", "update_block.mask.2."),
)


def read(path: Path) -> RAFT:
    """The network with weights from a file, in evaluation mode and frozen; raises UserError."""
    tensors = official_names(published.read(path))
    network = RAFT(is_small="fnet.layer1.0.conv3.weight" in tensors)
    files.load_part(network, tensors, path, _FIX)
    return network.eval().requires_grad_(False)


def official_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under princeton-vl's names, from those or from torchvision's of raft_large."""
    official = {}
    for name, tensor in tensors.items():
        is_shared = name.startswith("context_encoder") and ".downsample.1." in name
        for theirs, ours in _TORCHVISION:
            name = re.sub(theirs, ours, name)  # noqa: PLW2901 - rules apply in order
        official[name] = tensor
        if is_shared:  # the official files hold this norm twice
            official[name.replace("downsample.1", "norm3")] = tensor
    return official


def with_flow(frames: Iterator[NDArray[Any]], network: RAFT) -> Iterator[tuple[NDArray[Any], NDArray[np.float32]]]:
    """Every RGB frame (H, W, 3) of a video but the last, and its flow (H, W, 2) in pixels, x before y, to the next.

    Each pair is computed once, on the network's device, as many together as fit into a fixed amount of memory. Raises
    VideoError if frames are too small.
    """
    waiting: list[NDArray[Any]] = []
    for frame in frames:
        height, width = frame.shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            found = f"{width} x {height}"
            raise VideoError("unsupported", "the frame is too small for RAFT", f"{SMALLEST_SIDE} pixels", found)
        waiting.append(frame)
        if len(waiting) > max(_MOST_CORRELATION_BYTES // correlation_bytes(height, width), 1):
            yield from zip(waiting, _flows(waiting, network), strict=False)
            waiting = waiting[-1:]
    if len(waiting) > 1:
        yield from zip(waiting, _flows(waiting, network), strict=False)


def _flows(frames: list[NDArray[Any]], network: RAFT) -> NDArray[np.float32]:
    """Flow (N-1, H, W, 2) between N frames."""
    pictures = torch.from_numpy(np.stack(frames)).to(next(network.parameters()).device)
    with torch.inference_mode():
        flow = network(pictures.permute(0, 3, 1, 2).float())
    result: NDArray[np.float32] = flow.permute(0, 2, 3, 1).cpu().numpy()
    return result
