"""Which pixels speak for an action: Grad-CAM from a detector back to the encoder that was trained with it.

The score is the class's logit at the points of the detector that would learn the segment, added up; its gradient is
taken at the last map of the encoder. (Selvaraju et al. 2017, arXiv 1610.02391.)
"""

from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc import console
from actloc.end_to_end.clip_window import ClipWindow
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import UserError, VideoError
from actloc.evaluation import fusion
from actloc.evaluation.predictions import Prediction
from actloc.experiment import Experiment
from actloc.extraction.converting import as_prepared
from actloc.layers.grad_cam import heat, resized
from actloc.layers.precision import computing_in, full_precision
from actloc.reports.explanations import Explanation, Saliency
from actloc.runs.grad_cam import layer_named, watching
from actloc.runs.trained import TrainedDetector, load_trained
from actloc.sources.base_source import Source
from actloc.structures import Batch, Sample, VideoDetections

Segment = tuple[float, float]
"""Start and end in seconds."""

_AROUND = 0.5  # of the segment's length: what is drawn before and after it
_MOST_PICTURES = 600  # all are in memory; a longer stretch is drawn in larger steps


def explain_detection(
    experiment: Experiment, video: Path, label: str | None, at: Segment | None, layer: str | None, fps: float
) -> Explanation:
    """Where a trained run sees that a video has an action of class `label` in the segment `at`.

    Without `at`, its best detection of the class is explained, or of any class; with `at` and without `label`, the
    class that speaks most for the segment. About `fps` pictures of each second are drawn. Raises UserError for what
    does not exist, for a video that cannot be read, and for a run on stored features.
    """
    if not experiment.features.trains_encoder:
        raise UserError(
            f"{experiment.run_folder} was trained on stored features: features.name={experiment.features.name}.",
            "Expected a run whose encoder makes the features in every step, so that the gradient of a detection "
            "reaches the pictures.",
            "Train one with features.name=encoded, such as: actloc show sample_video_swin_actionformer",
        )
    trained = load_trained(experiment)
    with closing(trained):
        assert trained.live is not None, "an encoded source has an encoder"
        if label is not None and label not in trained.classes:
            raise UserError(
                f"{experiment.run_folder} knows no class {label!r}{console.nearest(label, trained.classes)}",
                f"Expected one of its {console.count(len(trained.classes), 'class', 'classes')}.",
                "Name one with --label, or leave it out for the best one.",
            )
        named = layer_named(trained.live.encoder, layer)
        try:
            with as_prepared(video, experiment.preparation) as file:
                opened = _Opened(experiment, trained, trained.live, experiment.features.of_file(file, trained.live))
                return opened.explained(video, label, at, named, fps)
        except VideoError as error:
            raise UserError(
                f"{video}: {error}.",
                "Expected a video that can be decoded, and is as long as one clip of the encoder.",
                "Check that it plays, or re-encode it.",
            ) from error


@dataclass(frozen=True)
class _Opened:
    """A trained run with one video as its source."""

    experiment: Experiment
    trained: TrainedDetector
    live: LiveEncoder
    source: Source

    def explained(self, video: Path, label: str | None, at: Segment | None, layer: str, fps: float) -> Explanation:
        """The explanation; see `explain_detection`."""
        duration_s = self.source.videos[0].duration_s or 0.0
        example = f"--at 0 {int(10 * duration_s) / 10:g}"
        if at is not None and not 0 <= at[0] < at[1] <= duration_s:
            raise UserError(
                f"The segment from {at[0]:g} s to {at[1]:g} s is not in {video}, which lasts {duration_s:.2f} s.",
                "Expected a start at 0 s or later, and an end after it in the video.",
                f"Name a segment in the video, such as: {example}",
            )
        if at is not None:
            return self._explained(label, at, None, layer, fps)
        detections = [one for one in self._detections(duration_s) if label in (None, one.label)]
        if not detections:
            raise UserError(
                f"The run finds no action{'' if label is None else f' of class {label}'} in {video}.",
                "Expected a detection to explain, or a segment.",
                f"Name a segment: {example}",
            )
        best = max(detections, key=lambda one: one.score)
        return self._explained(best.label, (best.start_s, best.end_s), best.score, layer, fps)

    def _detections(self, duration_s: float) -> list[Prediction]:
        found = self.trained.localizer.detect_one(self.source, self.source.evaluation_samples(0), duration_s)
        video_id, classes = self.source.videos[0].id, self.trained.classes
        return fusion.to_predictions([VideoDetections(video_id, found)], classes, self.experiment.fusion)[video_id]

    def _explained(self, label: str | None, at: Segment, score: float | None, layer: str, fps: float) -> Explanation:
        """The explanation of a segment; `score` is that of its detection, if it is one."""
        sample, window = self._window_around(at)
        label, evidence, maps = self._backward(sample, window, label, at, layer)
        rate = self.live.reader.times(window.path).fps
        shown = _frames_to_draw(window, at, rate, fps)
        found, frames, values = _over_frames(window, maps, shown)
        return Explanation(
            label=label,
            score=evidence if score is None else score,
            score_name="evidence" if score is None else "score",
            layer=layer,
            segment_s=at,
            pictures=_pictures(self.live, window, shown),
            heat=heat(found[None])[0].numpy(),
            times_s=np.array(shown) / rate,
            curves=(Saliency(np.array(frames) / rate, np.array(values)),),
        )

    def _window_around(self, at: Segment) -> tuple[Sample, ClipWindow]:
        """The window that has most of the segment, the most central of several; the gradient reaches all its clips.

        The detector sees each window by itself.
        """

        def fit(sample: Sample) -> tuple[float, float]:
            start, end = _in_steps(sample, at).tolist()
            last = sample.num_steps - 1
            return min(end, last) - max(start, 0), -abs(start + end - last)

        sample = max(self.source.evaluation_samples(0), key=fit)
        window = sample.payload
        assert isinstance(window, ClipWindow)
        window = replace(window, learning=frozenset(window.clips))
        return replace(sample, payload=window), window

    def _backward(
        self, sample: Sample, window: ClipWindow, label: str | None, at: Segment, layer: str
    ) -> tuple[str, float, Tensor]:
        """The label, how much speaks for it (the evidence), and the layer's maps (S, t, h, w) of all clips."""
        localizer, encoder, classes = self.trained.localizer, self.live.encoder, self.trained.classes
        detector = localizer.detector.eval()
        for network in (detector, encoder):
            network.requires_grad_(False)  # the gradient is that of the maps alone
        with watching(encoder, layer) as maps:
            with computing_in(localizer.precision, localizer.device):
                features, mask = localizer.features(self.source, Batch((sample,)))
                outputs = detector(features, mask)
            with full_precision(localizer.device):
                segment = _in_steps(sample, at).to(localizer.device)
                numbers = range(len(classes)) if label is None else [classes.index(label)]
                scores = torch.stack([detector.segment_score(outputs, segment, number) for number in numbers])
            best = int(scores.argmax())
            if scores.requires_grad:  # else the layer did not run with gradient, which `of_clips` reports
                scores[best].backward()  # type: ignore[no-untyped-call]
                self.source.backward()
        num_frames, (height, width) = len(window.layout.frames_of(window.clips[0])), window.frame_shape[:2]
        found = maps.of_clips(len(window.clips), (num_frames, height, width))
        return classes[numbers[best]], scores[best].item(), found.cpu()


def _in_steps(sample: Sample, at: Segment) -> Tensor:
    """The segment (2,) in steps of the sample."""
    return sample.grid.steps(torch.tensor(at)) - sample.first_step


def _seen(window: ClipWindow) -> dict[int, list[tuple[int, int]]]:
    """By frame of the video, in order: the clips that see it, counted from the window's first, and its place there."""
    seen = defaultdict[int, list[tuple[int, int]]](list)
    for number, clip in enumerate(window.clips):
        for place, frame in enumerate(window.layout.frames_of(clip)):
            if 0 <= frame < window.num_frames:
                seen[frame].append((number, place))
    return dict(sorted(seen.items()))


def _frames_to_draw(window: ClipWindow, at: Segment, rate: float, fps: float) -> list[int]:
    """Frames that the encoder saw in the segment and around it, about `fps` in each second of the video."""
    around = _AROUND * (at[1] - at[0])
    seen = list(_seen(window))
    near = [frame for frame in seen if at[0] - around <= frame / rate <= at[1] + around]
    near = near or [min(seen, key=lambda frame: abs(frame / rate - sum(at) / 2))]
    wanted = min(max(round((near[-1] - near[0]) / rate * fps) + 1, 1), len(near), _MOST_PICTURES)
    return [near[place] for place in np.linspace(0, len(near) - 1, wanted).round().astype(int)]


def _over_frames(window: ClipWindow, maps: Tensor, shown: list[int]) -> tuple[Tensor, list[int], list[float]]:
    """The maps (N, H, W) at the shown frames, and all frames with the sum of each one's map over height and width.

    Of a frame that several clips see, the mean. Maps are (S, t, h, w); they are resized clip by clip.
    """
    height, width = window.frame_shape[:2]
    seen = _seen(window)
    totals, found = dict.fromkeys(seen, 0.0), {frame: torch.zeros(height, width) for frame in shown}
    by_clip = defaultdict[int, list[tuple[int, int]]](list)
    for frame, places in seen.items():
        for number, place in places:
            by_clip[number].append((frame, place))
    for number, frames in by_clip.items():
        num_frames = len(window.layout.frames_of(window.clips[number]))
        of_clip = resized(maps[number : number + 1], (num_frames, height, width))[0]
        sums = of_clip.sum((1, 2)).tolist()
        for frame, place in frames:
            totals[frame] += sums[place] / len(seen[frame])
            if frame in found:
                found[frame] += of_clip[place] / len(seen[frame])
    return torch.stack(list(found.values())), list(totals), list(totals.values())


def _pictures(live: LiveEncoder, window: ClipWindow, frames: list[int]) -> NDArray[np.uint8]:
    """The frames (N, H, W, 3) as the encoder saw them; raises UserError if it saw no colours, only optical flow."""
    read = live.reader.read(window.path, frames, 1, steps=window.steps)[:, 0]
    if read.shape[3] < 3:
        raise UserError(
            f"The encoder {live.encoder.config.name} sees optical flow only.",
            "Expected an encoder that sees pictures, to draw on them.",
            "Explain a run of another encoder: actloc ls encoders",
        )
    return read[..., :3].clip(0, 255).round().astype(np.uint8)
