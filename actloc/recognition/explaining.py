"""Which pixels of a clip's views speak for a class: Grad-CAM of a recognition network (arXiv 1610.02391)."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc import console
from actloc.annotations.model import AnnotatedVideo
from actloc.encoders.base_network import ClipEncoder
from actloc.errors import UserError, VideoError
from actloc.experiment import Experiment
from actloc.extraction.converting import as_prepared
from actloc.layers.grad_cam import heat, resized
from actloc.layers.precision import at_least_float32, computing_in
from actloc.recognition.clips import LabelledClip
from actloc.recognition.networks import clip_source, load_trained, views_of
from actloc.reports.explanations import Explanation, Saliency
from actloc.runs.grad_cam import layer_named, watching
from actloc.video.clip_files import id_of


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


def explain_video(
    experiment: Experiment, video: Path, label: str | None, at: tuple[float, float] | None, layer: str | None
) -> Explanation:
    """Where a run saw the class `label` in a video, or in its part `at` in seconds; without `label` the best class.

    The views are those of the evaluation. Raises UserError for what does not exist, and for an unreadable video.
    """
    trained, views, source = load_trained(experiment), views_of(experiment), clip_source(experiment)
    if label is not None and label not in trained.classes:
        raise UserError(
            f"{label!r} is not a class of {experiment.run_folder}{console.nearest(label, trained.classes)}",
            f"Expected one of its {console.count(len(trained.classes), 'class', 'classes')}.",
            "Name one of them with --label, or leave it out for the best one.",
        )
    with closing(source.reader):
        try:
            with as_prepared(video, experiment.preparation, takes_frames=True) as file:
                annotated = AnnotatedVideo(id_of(video), "", file=file)
                times = source.times(annotated)
                if at is not None and not 0 <= at[0] < at[1] <= times.duration_s:
                    raise UserError(
                        f"--at is {at[0]:g} to {at[1]:g} s, and {video} lasts {times.duration_s:.2f} s.",
                        "Expected a start before an end, both inside the video.",
                        "Correct --at, or leave it out for the whole video.",
                    )
                clip = LabelledClip(annotated, ()) if at is None else LabelledClip(annotated, (), *at)
                read = torch.from_numpy(views.read(source, clip))
                first, count = clip.frames(times)
                chosen = np.array(source.sampling.test(count, views.clips), dtype=np.float64)
        except VideoError as error:
            raise UserError(
                f"{video}: {error}.", "Expected a video that can be decoded.", "Replace the file."
            ) from error
    encoder, number = trained.recognizer.encoder, None if label is None else trained.classes.index(label)
    trained.recognizer.requires_grad_(False)  # the gradient is that of the maps alone
    with computing_in(trained.scorer.precision, trained.scorer.device):
        found = explain_views(encoder, trained.recognizer, read, number, layer)
    times_s = np.repeat((first + chosen) / times.fps, views.num_crops, axis=0)
    explanation = explanation_of(found, trained.classes[found.label], read, times_s)
    return explanation if at is None else replace(explanation, segment_s=at)
