"""A network that knows one length gives what the detector gives, for every video that it takes.

The network is torch's here, in the place of an ONNX file: what differs is how videos are padded and cut.
"""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from actloc.annotations.model import AnnotatedVideo
from actloc.detectors import actionformer, bmn, dyfadet, etad, tadtr, tridet
from actloc.detectors.base import DetectorConfig, PointConfig
from actloc.detectors.base_network import Detector, PointDetector
from actloc.errors import TooLongError, UserError
from actloc.ops.pointwise import PointOutputs
from actloc.runs import localizer as localizer_module
from actloc.runs.localizer import Localizer
from actloc.runs.long_videos import equal_windows
from actloc.runs.one_video import OneVideo
from actloc.runs.onnx_detector import OnnxDetector
from actloc.runs.onnx_file import OnnxNetwork
from actloc.settings.detections import SuppressionSettings
from actloc.sources import stored
from actloc.structures import Detections, Grid
from tests.golden.cases import unmatched
from tests.runs.test_long_videos import ACTIONFORMER, CPU, NARROW, TEMPORALMAXER, build

POSITIONS = actionformer.Config.small().model_copy(update={"dropout": 0.0})


@dataclass
class OfOneLength:
    """What an ONNX file of a detector does, by torch."""

    detector: Detector
    steps: int
    calls: int = 0

    @property
    def record(self) -> SimpleNamespace:
        return SimpleNamespace(inputs={"features": [1, 6, self.steps]})

    def __call__(self, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        assert features.shape[2] == mask.shape[1] == self.steps
        self.calls += 1
        return self.detector.tensors_of(self.detector(features, mask))


def found(detector: Detector, num_steps: int) -> Detections:
    features = torch.randn(6, num_steps, generator=torch.Generator().manual_seed(num_steps))
    config = stored.Config(path=Path("unused"), fps=8.0, clip_frames=4, stride_frames=4, max_steps=64)
    source = OneVideo(config, AnnotatedVideo("v", ""), features, Grid(8.0, 4.0, 2.0))
    localizer = Localizer(detector, CPU, "float32", SuppressionSettings(method="none"), 64)
    return localizer.detect_one(source, source.evaluation_samples(0), None)


def with_one_length(detector: Detector, num_steps: int) -> tuple[OnnxDetector, OfOneLength]:
    network = OfOneLength(detector, detector.padded_steps(num_steps))
    return OnnxDetector(detector, cast(OnnxNetwork, network)).eval(), network


@pytest.mark.parametrize(
    ("base", "changes", "has_reach"),
    [
        (ACTIONFORMER, NARROW, True),
        (ACTIONFORMER, NARROW | {"first_level": 1, "regression_ranges": ((0, 8), (8, 10000))}, True),
        (TEMPORALMAXER, {}, True),
        (POSITIONS, {}, False),
        (tridet.Config.small(), {}, False),
        (dyfadet.Config.small(), {}, False),
    ],
    ids=lambda one: one.name if isinstance(one, PointConfig) else "",
)
def test_segments_are_those_of_the_detector_itself(
    base: PointConfig, changes: dict[str, Any], has_reach: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = build(base, changes)
    one_length, network = with_one_length(detector, 64)
    monkeypatch.setattr(localizer_module, "longest_whole", lambda _: None)  # torch sees the whole
    for num_steps in (3, 47, 64, 70, 603) if has_reach else (3, 47, 64):
        network.calls = 0
        segments = found(one_length, num_steps)
        assert (network.calls > 1) == (num_steps > 64)
        assert len(segments)
        assert unmatched(segments, found(detector, num_steps), seconds=1e-4, score=1e-5) == ([], [])


def test_a_longer_video_is_refused_where_windows_would_give_other_numbers_and_taken_by_a_longer_file() -> None:
    for base in (POSITIONS, tridet.Config.small(), ACTIONFORMER.model_copy(update={"windows": (19, 19, 19)})):
        detector = build(base, {})
        one_length, _ = with_one_length(detector, 64)
        with pytest.raises(TooLongError, match="v: A video has 90 feature steps") as refused:
            found(one_length, 90)
        assert "actloc export-onnx RUN FILE --steps 90" in refused.value.fix
    for base in (tridet.Config.small(), ACTIONFORMER):
        detector = build(base, NARROW if base is ACTIONFORMER else {})
        longer, _ = with_one_length(detector, 90)
        assert unmatched(found(longer, 90), found(detector, 90), seconds=1e-4, score=1e-5) == ([], [])
    with pytest.raises(TooLongError, match="64 steps"):
        one_length.padded_steps(300)
    tridet_of_90, _ = with_one_length(build(tridet.Config.small(), {}), 90)
    with pytest.raises(TooLongError, match="pads to 64"):  # its averages are over the padding too
        found(tridet_of_90, 40)


@pytest.mark.parametrize("padded", [68, 100, 104, 640])
def test_equal_windows_keep_every_step_once_with_a_margin_on_both_sides(padded: int) -> None:
    cut = equal_windows(padded, 64, 20)
    assert [step for window in cut for step in window.kept] == list(range(padded))
    for window in cut:
        assert len(window.seen) == 64
        assert window.seen.start == 0 or window.kept.start - window.seen.start >= 20
        assert window.seen.stop == padded or window.seen.stop - window.kept.stop >= 20


def test_tadtr_selects_from_the_last_layer_unless_it_has_actionness() -> None:
    plain = tadtr.Config.small().model_copy(update={"actionness": False}).build(6, 3, 64).eval()
    one_length, _ = with_one_length(plain, 64)
    assert unmatched(found(one_length, 40), found(plain, 40), seconds=1e-5, score=1e-6) == ([], [])
    usual = tadtr.Config.small().build(6, 3, 64).eval()
    with pytest.raises(UserError, match="TadTR is not written as ONNX: how many samples"):
        usual.tensors_of(usual(torch.zeros(1, 6, 64), torch.ones(1, 64, dtype=torch.bool)))


@pytest.mark.parametrize("num_classes", [1, 3])
def test_bmn_and_its_classifier_select_from_what_the_network_gives(num_classes: int) -> None:
    detector = bmn.Config.small().build(6, num_classes, 64).eval()
    one_length, _ = with_one_length(detector, 64)
    segments, expected = found(one_length, 40), found(detector, 40)
    assert unmatched(segments, expected, seconds=1e-5, score=1e-6) == ([], [])
    assert segments.class_scores is None or torch.equal(segments.class_scores, expected.class_scores)


def test_a_detector_whose_work_depends_on_the_features_says_so() -> None:
    class Own(PointDetector):
        def forward(self, features: Tensor, mask: Tensor) -> object:
            raise NotImplementedError

    config: DetectorConfig = etad.Config.small()
    detector = config.build(6, 3, 32).eval()
    with pytest.raises(UserError, match="Etad is not written as ONNX: how many samples"):
        detector.tensors_of(detector(torch.zeros(1, 6, 32), torch.ones(1, 32, dtype=torch.bool)))
    with pytest.raises(UserError, match="it has no method `tensors_of`"):
        Own(ACTIONFORMER, 3, 64).tensors_of(cast(PointOutputs, SimpleNamespace()))
