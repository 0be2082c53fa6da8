"""Which pixels of a clip's views speak for a class: Grad-CAM of a recognition network (arXiv 1610.02391)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.encoders.base import ClipEncoder
from actloc.layers.grad_cam import heat, resized
from actloc.layers.precision import at_least_float32
from actloc.reports.explanations import Explanation, Saliency
from actloc.runs.grad_cam import layer_named, watching


@dataclass(frozen=True)
class ViewMaps:
    """What speaks for a class in S views."""

    label: int
    probability: float
    """Of the class: the mean over the views."""
    layer: str
    maps: Tensor
    """(S, F, H, W), at least 0: where the layer's map raises the probability."""


def explain_views(
    encoder: ClipEncoder,
    logits: Callable[[Tensor], Tensor],
    clips: Tensor,
    label: int | None = None,
    layer: str | None = None,
    *,
    chunk: int = 1,
) -> ViewMaps:
    """Where views of one video (S, F, H, W, c) speak for the class `label`, or for the most probable one.

    `logits` gives the class scores (N, K) of N views; it runs the `encoder`, in evaluation mode, whose `layer` is
    looked at (None: its last map), on `chunk` views at a time. The score is the probability of the class, averaged over
    the views. Weights get no gradient. Raises UserError for a layer that the encoder does not have.
    """
    named = layer_named(encoder, layer)
    with watching(encoder, named) as maps, torch.enable_grad():
        scores = torch.cat([logits(part.to(encoder.device)) for part in torch.split(clips, chunk)])
        probabilities = at_least_float32(scores).softmax(1).mean(0)
        chosen = int(probabilities.argmax()) if label is None else label
        maps.backward(probabilities[chosen])
    frames, height, width = clips.shape[1:4]
    found = resized(maps.of_clips(len(clips), (frames, height, width)), (frames, height, width))
    return ViewMaps(chosen, probabilities[chosen].item(), named, found.cpu())


def explanation_of(found: ViewMaps, name: str, clips: Tensor, times_s: NDArray[np.float64]) -> Explanation:
    """What `explanations.write` draws: all views (S, F, H, W, 3), one after the other, each on its own scale.

    `name` is the class's; the frames are at `times_s` (S, F) of the video.
    """
    pictures = clips[..., :3].clamp(0, 255).round().to(torch.uint8)
    sums = found.maps.sum((2, 3)).double().numpy()
    return Explanation(
        label=name,
        score=found.probability,
        score_name="probability",
        layer=found.layer,
        segment_s=None,
        pictures=pictures.flatten(0, 1).numpy(),
        heat=heat(found.maps).flatten(0, 1).numpy(),
        times_s=times_s.flatten(),
        curves=tuple(Saliency(*view) for view in zip(times_s, sums, strict=True)),
    )
