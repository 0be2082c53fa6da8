"""How the outputs of detectors speak for one segment: what `explain` passes back to the pictures."""

import pytest
import torch
from torch import Tensor

from actloc.detectors.base import ClasslessConfig, DetectorConfig
from actloc.detectors.base_network import ClassifyingDetector, Detector
from actloc.errors import UserError
from actloc.ops.points import chosen_or_inside
from actloc.settings import parts
from actloc.structures import Targets

CHANNELS, CLASSES, STEPS = 6, 3, 64
SEGMENT = torch.tensor([20.0, 31.0])


def small(name: str) -> DetectorConfig:
    return parts.find("detectors", name).Config.small()


def built(name: str, num_classes: int = CLASSES) -> Detector:
    torch.manual_seed(0)
    return small(name).build(CHANNELS, num_classes, STEPS).eval()


def given(detector: Detector) -> tuple[Tensor, Tensor]:
    length = detector.padded_steps(STEPS)
    features = torch.randn(1, CHANNELS, length, generator=torch.Generator().manual_seed(1))
    features = features.to(next(detector.parameters()).dtype)
    return features.requires_grad_(), torch.arange(length)[None] < STEPS


@pytest.mark.parametrize("num_classes", [1, CLASSES])
@pytest.mark.parametrize("name", parts.available("detectors"))
def test_a_step_along_its_gradient_raises_the_score_of_the_segment(name: str, num_classes: int) -> None:
    detector = built(name, num_classes).double()
    features, mask = given(detector)
    outputs = detector(features, mask)
    scores = [detector.segment_score(outputs, SEGMENT, label) for label in range(num_classes)]
    assert all(score.shape == () for score in scores)
    assert len({score.item() for score in scores}) == num_classes
    (gradient,) = torch.autograd.grad(scores[-1], features)
    assert gradient[..., 20:32].abs().mean() > gradient[..., :4].abs().mean()
    length = 1e-6
    with torch.no_grad():
        moved = features + length * gradient / gradient.norm()
        raised = detector.segment_score(detector(moved, mask), SEGMENT, num_classes - 1) - scores[-1]
    # not exact: the gradient does not pass through the ends of refined segments
    assert raised.item() == pytest.approx(length * gradient.norm().item(), rel=0.05)


@pytest.mark.parametrize("name", ["actionformer", "temporalmaxer", "tridet", "dyfadet"])
def test_points_that_would_learn_the_action_are_added_up(name: str) -> None:
    detector = built(name)
    outputs = detector(*given(detector))
    expected = torch.zeros(())
    points, radius = outputs.points, detector.config.center_radius
    for place in range(len(points.steps)):
        step, stride = points.steps[place], points.strides[place]
        first, last = max(20.0, 25.5 - radius * stride), min(31.0, 25.5 + radius * stride)
        farther = max(step - 20.0, 31.0 - step)
        if first < step < last and points.nearest[place] <= farther <= points.farthest[place]:
            expected = expected + outputs.logits[0, place, 1]
    assert expected != 0
    torch.testing.assert_close(detector.segment_score(outputs, SEGMENT, 1), expected)


def test_where_no_point_would_learn_it_those_inside_speak_and_else_the_nearest() -> None:
    steps, is_real = torch.arange(8.0), torch.arange(8) < 6
    nothing = torch.zeros(8, dtype=torch.bool)

    def found(chosen: Tensor, start: float, end: float) -> list[int]:
        return chosen_or_inside(chosen, steps, is_real, torch.tensor([start, end])).nonzero().flatten().tolist()

    assert found(steps == 1, 2.0, 4.0) == [1]
    assert found(steps == 7, 2.0, 4.0) == [2, 3, 4]
    assert found(nothing, 4.5, 9.0) == [5]
    assert found(nothing, 3.2, 3.4) == [3]
    assert found(nothing, 6.5, 7.0) == [5]


def test_candidates_of_etad_are_those_that_overlap_the_segment_enough() -> None:
    config = small("etad")
    assert isinstance(config, ClasslessConfig)
    config = config.model_copy(update={"stage_tious": (0.7, 0.8)})
    torch.manual_seed(0)
    detector = config.build_classless(CHANNELS, STEPS).eval()
    outputs = detector(*given(detector))
    target = (SEGMENT + 0.5) / STEPS
    scores = torch.stack([stage.scores[0, :, :2] for stage in outputs.stages]).mean(0).prod(1)
    expected, count = torch.zeros(()), 0
    for (start, end), score in zip(outputs.stages[0].anchors[0], scores, strict=True):
        shared = (torch.minimum(end, target[1]) - torch.maximum(start, target[0])).clamp(min=0)
        if shared / (end - start + target[1] - target[0] - shared) >= 0.7:
            expected, count = expected + score, count + 1
    assert count > 3
    torch.testing.assert_close(detector.segment_score(outputs, SEGMENT, 0), expected)


def test_a_classifier_of_segments_speaks_by_its_own_logit() -> None:
    detector = built("etad")
    assert isinstance(detector, ClassifyingDetector)
    outputs = detector(*given(detector))
    logits = outputs.class_logits(0, SEGMENT[None])[0]
    torch.testing.assert_close(detector.segment_score(outputs, SEGMENT, 2), logits[2])


def test_a_detector_without_it_is_refused_with_the_method_it_needs() -> None:
    class Own(Detector):
        def forward(self, features: Tensor, mask: Tensor) -> Tensor:
            return features

        def select(self, outputs: Tensor) -> list[Targets]:
            return []

        def padded_steps(self, longest: int) -> int:
            return longest

    with pytest.raises(UserError, match="The detector Own does not say how its outputs speak for one segment"):
        Own().segment_score(torch.zeros(1), SEGMENT, 0)
