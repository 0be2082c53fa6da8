"""Long videos are seen window by window: the same outputs and segments as from the whole, in bounded memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from actloc.annotations.model import AnnotatedVideo
from actloc.detectors import actionformer, dyfadet, temporalmaxer, tridet
from actloc.detectors.actionformer.network import ActionFormer
from actloc.detectors.base import PointConfig
from actloc.detectors.base_network import PointDetector
from actloc.errors import TooLongError
from actloc.ops.points import KEPT_PER_LEVEL
from actloc.ops.pointwise import PointOutputs, part_of
from actloc.runs import localizer as localizer_module
from actloc.runs.localizer import Localizer
from actloc.runs.long_videos import longest_whole, margin_of, windows
from actloc.runs.one_video import OneVideo
from actloc.settings.detections import SuppressionSettings
from actloc.sources import stored
from actloc.store.on_disk import FeaturesOnDisk
from actloc.structures import Detections, Grid, Payload
from tests.golden.cases import unmatched, weight

ACTIONFORMER = actionformer.Config.small().model_copy(update={"dropout": 0.0, "position_embedding": False})
TEMPORALMAXER = temporalmaxer.Config.small()
CPU = torch.device("cpu")
LONG = 603  # steps; no multiple of any stride
NARROW = {"windows": 3}  # each of few keys counts, so that the farthest step within reach can be seen in the outputs
ONE_LEVEL_LESS = {"first_level": 1, "regression_ranges": ((0, 8), (8, 10000))}
VARIANTS: list[tuple[PointConfig, dict[str, Any]]] = [
    (ACTIONFORMER, NARROW),
    (ACTIONFORMER, NARROW | {"num_embedding_convs": 3}),
    (ACTIONFORMER, NARROW | {"neck": "fpn"}),
    (ACTIONFORMER, {"windows": 4}),
    (ACTIONFORMER, {"backbone": "conv"}),
    (ACTIONFORMER, {"backbone": "conv", "neck": "fpn", "num_stem_blocks": 2}),
    (ACTIONFORMER, {"windows": (5, 3, 3), "relative_positions": True}),
    (ACTIONFORMER, NARROW | ONE_LEVEL_LESS | {"neck": "fpn", "neck_norm": False}),
    (ACTIONFORMER, NARROW | {"scale_factor": 4}),
    (ACTIONFORMER, {"windows": (-1, 3, 3), "num_stem_blocks": 0}),
    (ACTIONFORMER, NARROW | {"projection": ((4, 10), (2, 6)), "embedding_norm": False, "head_norm": False}),
    (TEMPORALMAXER, {}),
    (TEMPORALMAXER, {"neck_norm": "none", "num_embedding_convs": 3}),
]
variants = pytest.mark.parametrize(("base", "changes"), VARIANTS, ids=lambda one: str(one) if type(one) is dict else "")


def build(base: PointConfig, changes: dict[str, Any]) -> PointDetector:
    """A detector of 3 classes on 6 channels, at most 64 steps in training, in which every layer and branch matters."""
    config = type(base).model_validate(base.model_dump() | {"max_buffer_factor": 100} | changes)
    detector = config.build(6, 3, 64)
    assert isinstance(detector, PointDetector)
    detector.load_state_dict(
        {
            name: torch.ones_like(old) if "drop_path" in name else weight("gain", name, tuple(old.shape))
            for name, old in detector.state_dict().items()
        }
    )
    return detector.eval()


def inputs(detector: PointDetector, num_steps: int) -> tuple[Tensor, Tensor]:
    video = torch.randn(6, num_steps, generator=torch.Generator().manual_seed(0))
    padded_steps = detector.padded_steps(num_steps)
    mask = torch.arange(padded_steps) < num_steps
    return torch.nn.functional.pad(video, (0, padded_steps - num_steps))[None], mask[None]


def largest_difference(detector: PointDetector, margin: int) -> float:
    """Between logits and offsets of the whole video and those of windows with this margin."""
    features, mask = inputs(detector, LONG)
    strides, largest = detector.config.strides, 0.0
    with torch.inference_mode():
        whole = detector(features, mask)
        cut = windows(LONG, features.shape[2], 2 * margin + 8 * strides[-1], margin)
        assert len(cut) > 3
        for window in cut:
            seen = slice(window.seen.start, window.seen.stop)
            start, end = window.kept.start - seen.start, window.kept.stop - seen.start
            part = part_of(detector(features[..., seen], mask[:, seen]), strides, start, end)
            expected = part_of(whole, strides, window.kept.start, window.kept.stop)
            assert part.level_lengths == expected.level_lengths
            torch.testing.assert_close(part.points.steps + seen.start, expected.points.steps, rtol=0, atol=0)
            torch.testing.assert_close(part.mask, expected.mask, rtol=0, atol=0)
            for name in ("logits", "offsets"):
                difference = getattr(part, name) - getattr(expected, name)
                largest = max(largest, float(difference.abs().max()))
    return largest


@variants
def test_windows_give_what_the_whole_video_gives_and_a_smaller_margin_does_not(
    base: PointConfig, changes: dict[str, Any]
) -> None:
    detector = build(base, changes)
    margin = margin_of(detector)
    assert margin is not None
    assert largest_difference(detector, margin) < 1e-5
    assert largest_difference(detector, margin - detector.config.strides[-1]) > 1e-5


@variants
def test_the_reach_is_the_distance_of_the_farthest_step_that_matters(
    base: PointConfig, changes: dict[str, Any]
) -> None:
    detector = build(base, changes).double()
    features, mask = inputs(detector, LONG)
    coarsest, middle = detector.config.strides[-1], 304  # a point of the coarsest level, and of all others
    reach = detector.config.reach_steps
    assert reach is not None

    def moved(distance: int) -> float:
        """How far the outputs of the point at `middle` move, at most, if a step on either side of it changes."""
        other = features.double()
        other[..., middle - distance] = -7.0
        other[..., middle + distance] = 7.0
        with torch.inference_mode():
            before, after = detector(features.double(), mask), detector(other, mask)
        place = (before.points.steps == middle) & (before.points.strides == coarsest)
        return float((after.logits - before.logits)[:, place].abs().max())

    assert moved(reach) > 1e-9
    assert moved(reach + 1) < 1e-12


def test_the_published_settings_reach_as_far_as_they_say() -> None:
    assert actionformer.Config().reach_steps == 707
    assert actionformer.Config(windows=9).reach_steps == 387
    assert temporalmaxer.Config(neck_norm="channel").reach_steps == 2 + 31 + 96


@pytest.mark.parametrize(
    "config",
    [
        actionformer.Config(windows=-1),
        actionformer.Config(windows=(7, 7, 7, 7, 7, -1)),
        actionformer.Config(position_embedding=True),
        temporalmaxer.Config(),  # its norm is over all steps
        tridet.Config(dim=16),  # so are the means of its blocks
        dyfadet.Config(dim=16),
    ],
    ids=["global", "global in one level", "positions", "group norm", "means", "means of the same blocks"],
)
def test_what_depends_on_the_whole_video_sees_it_whole(config: PointConfig) -> None:
    detector = config.build(6, 3, 64)
    assert config.reach_steps is None
    assert isinstance(detector, PointDetector)
    assert longest_whole(detector) is None


class Watched:
    """A detector, with the steps of each of its calls and the rows that were read for them."""

    def __init__(self, detector: PointDetector, monkeypatch: pytest.MonkeyPatch) -> None:
        self.detector = detector
        self.seen: list[int] = []
        self.read: list[int] = []
        forward = detector.forward

        def watched(features: Tensor, mask: Tensor) -> PointOutputs:
            self.seen.append(features.shape[2])
            outputs: PointOutputs = forward(features, mask)
            return outputs

        monkeypatch.setattr(detector, "forward", watched)

    def found(self, num_steps: int, every: int = 1, features: Payload | None = None) -> Detections:
        """What it finds in a video of noise, `every`-th row of which are its features, unless these are given."""
        rows = noise(num_steps * every)

        def read(start: int, end: int) -> Tensor:
            self.read.append(end - start)
            return rows[start:end]

        config = stored.Config(
            path=Path("unused"), fps=8.0, clip_frames=4, stride_frames=4, max_steps=64, downsample=every
        )
        features = FeaturesOnDisk(read, 6, num_steps, every) if features is None else features
        source = OneVideo(config, AnnotatedVideo("v", ""), features, Grid(8.0, 4.0 * every, 2.0))
        localizer = Localizer(self.detector, CPU, "float32", SuppressionSettings(method="none"), 64)
        return localizer.detect_one(source, source.evaluation_samples(0), None)


def noise(num_rows: int) -> Tensor:
    return torch.randn(num_rows, 6, generator=torch.Generator().manual_seed(1))


def detector(base: PointConfig, **changes: Any) -> PointDetector:
    return build(base, (NARROW if base is ACTIONFORMER else {}) | changes)


both = pytest.mark.parametrize("base", [ACTIONFORMER, TEMPORALMAXER], ids=["actionformer", "temporalmaxer"])


@both
@pytest.mark.parametrize("kept", [None, 40])
def test_segments_and_limits_are_those_of_the_whole_video(
    base: PointConfig, kept: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(detector(base, kept_per_level=kept), monkeypatch)
    in_windows = watched.found(LONG)
    assert len(watched.seen) > 3
    monkeypatch.setattr(localizer_module, "longest_whole", lambda _: None)
    whole = watched.found(LONG)
    assert watched.seen[-1] >= LONG
    assert unmatched(in_windows, whole, seconds=1e-4, score=1e-5) == ([], [])
    assert in_windows.cut_by == whole.cut_by == (set() if kept is None else {KEPT_PER_LEVEL})


@both
@pytest.mark.parametrize("every", [1, 3])
def test_no_call_sees_and_no_read_takes_more_than_a_window(
    base: PointConfig, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(detector(base), monkeypatch)
    longest = longest_whole(watched.detector)
    assert longest is not None
    watched.found(2000, every)
    assert max(watched.seen) <= longest
    assert max(watched.read) <= longest * every
    assert sum(watched.read) < 3 * 2000 * every


@both
def test_a_video_as_long_as_a_window_is_seen_and_read_once_and_whole(
    base: PointConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(detector(base), monkeypatch)
    longest = longest_whole(watched.detector)
    assert longest is not None
    read_in_one = watched.found(longest)
    assert (len(watched.seen), watched.read) == (1, [longest])
    in_memory = watched.found(longest, features=noise(longest).T.contiguous())
    assert torch.equal(read_in_one.segments, in_memory.segments)
    assert torch.equal(read_in_one.scores, in_memory.scores)


def test_too_long_a_video_is_refused_by_name_before_a_step_of_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(detector(ACTIONFORMER, max_buffer_factor=2), monkeypatch)
    with pytest.raises(TooLongError, match="v: A video has 603 feature steps"):
        watched.found(LONG)
    assert watched.read == watched.seen == []


class OwnRules(ActionFormer):
    """A user's detector that keeps a single segment."""

    def select(self, outputs: PointOutputs) -> list[Detections]:
        return [Detections(one.segments[:1], one.scores[:1], one.labels[:1]) for one in super().select(outputs)]


def test_a_detector_with_its_own_selection_sees_the_whole_video(monkeypatch: pytest.MonkeyPatch) -> None:
    config = actionformer.Config.model_validate(ACTIONFORMER.model_dump() | NARROW | {"max_buffer_factor": 100})
    watched = Watched(OwnRules(config, 6, 3, 64).eval(), monkeypatch)
    assert len(watched.found(LONG)) == 1
    assert len(watched.seen) == 1
