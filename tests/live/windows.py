"""Windows of clips without a video: their frames are random and at hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actloc.detectors import actionformer
from actloc.detectors.actionformer import network as actionformer_network
from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.clip_window import ClipWindow
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.structures import Targets
from actloc.video.clip_reader import ClipReader
from actloc.video.windows import ClipLayout

NOT_READ: Any = None  # a ClipReader that nothing asks


def window(
    num_clips: int,
    shape: tuple[int, int, int, int],
    *,
    learning: set[int] | None = None,
    seed: int = 0,
    vectors_per_clip: int = 1,
    others_are_stored: bool = False,
) -> ClipWindow:
    """A whole video of clips (F, H, W, c) back to back; all of them learn, unless `learning` names some.

    It holds the frames of those that are encoded: of all, unless the others are stored.
    """
    learns = range(num_clips) if learning is None else learning
    held = len(learns) if others_are_stored else num_clips
    frames = np.random.default_rng(seed).integers(0, 256, (held, *shape), dtype=np.uint8)
    layout = ClipLayout(tuple(shape[0] * number for number in range(num_clips)), shape[0], 1, vectors_per_clip)
    return ClipWindow(
        Path("v.mp4"),
        num_clips * shape[0],
        layout,
        channels=0,
        first_row=0,
        num_rows=num_clips * vectors_per_clip,
        steps=(),
        frame_shape=shape[1:],
        dtype="uint8",
        learning=frozenset(learns),
        held=frames,
        others_are_stored=others_are_stored,
    )


def live(encoder: ClipEncoder, reader: ClipReader = NOT_READ, **settings: Any) -> LiveEncoder:
    """Full backpropagation in float32, unless the settings say otherwise."""
    usual: dict[str, Any] = {"precision": "float32", "route": "direct", "chunk": 2, "outside": "repeat"}
    return LiveEncoder(encoder.eval(), reader, **{**usual, **settings})


def rows_of(encoding: LiveEncoder, windows: list[ClipWindow]) -> list[Tensor]:
    """The features (C, T) of windows of which every clip is encoded."""
    return [window.rows(vectors) for window, vectors in zip(windows, encoding.vectors(windows), strict=True)]


def small_detector(channels: int, dtype: torch.dtype) -> actionformer_network.ActionFormer:
    """A detector with its own weights drawn, in training but without stochastic layers."""
    torch.manual_seed(1)
    config = actionformer.Config.small().model_copy(update={"drop_path": 0.0, "dropout": 0.0})
    detector = config.build(channels, 2, 64)
    assert isinstance(detector, actionformer_network.ActionFormer)
    return detector.to(dtype).train()


def gradient(encoding: LiveEncoder, windows: list[ClipWindow], detector: actionformer_network.ActionFormer) -> Tensor:
    """The gradient of the detector's losses for all of the encoder's weights, in one vector."""
    return gradient_of(encoding, lambda: rows_of(encoding, windows), detector)


def gradient_of(
    encoding: LiveEncoder, features_of: Callable[[], list[Tensor]], detector: actionformer_network.ActionFormer
) -> Tensor:
    """The same for features (C, T) of each window that `features_of` makes with the encoder."""
    encoding.encoder.zero_grad()
    detector.criterion.load_training_state({"normaliser": 100.0})  # every call moves it
    rows = features_of()
    lengths = [one.shape[1] for one in rows]
    steps = detector.padded_steps(max(lengths))
    features = torch.stack([torch.nn.functional.pad(one, (0, steps - one.shape[1])) for one in rows])
    mask = torch.arange(steps) < torch.tensor(lengths)[:, None]
    targets = [Targets(torch.tensor([[0.5, 2.5]]), torch.tensor([number % 2])) for number in range(len(rows))]
    losses = detector.losses(features, mask, targets)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    encoding.backward()
    return torch.cat([one.grad.flatten() for one in encoding.encoder.parameters() if one.grad is not None])


def difference(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference, relative to the norm of what is expected."""
    return float((torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)).detach())
