from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from actloc.annotations.model import Annotations
from actloc.detectors.base_network import Detector
from actloc.detectors.temporalmaxer import Config
from actloc.runs.localizer import LocalizationLearner, Localizer
from actloc.settings.detections import SuppressionSettings
from actloc.sources.base_source import Source
from actloc.structures import Batch, Detections, Grid, Sample, Targets
from actloc.training.distributed import Processes


@dataclass(frozen=True)
class Second(Processes):
    """The second of two processes; the first one gives `of_others`, and weights add up to `sum_of_all`."""

    rank: int = 1
    size: int = 2
    of_others: Any = None
    sum_of_all: float = 0.0

    def of_first(self, make: Callable[[], Any]) -> Any:
        return self.of_others

    def total(self, value: float) -> float:
        return self.sum_of_all


class NoSource(Source):
    num_training_samples = 0

    def __init__(self) -> None:
        self.videos = []

    def evaluation_sample(self, index: int) -> Sample:
        raise AssertionError("there is no video")


def learner(kept_share: float, processes: Processes) -> LocalizationLearner:
    config = Config.model_validate({**Config.small().model_dump(), "kept_share": kept_share})
    localizer = Localizer(config.build(6, 2, 64).train(), torch.device("cpu"), "float32", SuppressionSettings(), 64)
    annotations = Annotations(("run", "jump"), {})
    return LocalizationLearner(localizer, NoSource(), annotations, lambda _: 0.0, processes)


BATCH = Batch((Sample("v", torch.randn(6, 40), Targets(torch.tensor([[3.0, 9.0]]), torch.tensor([0])), Grid(8, 4, 2)),))


def test_a_step_of_several_processes_moves_the_criterion_by_the_weight_of_all() -> None:
    second = learner(1.0, Second(sum_of_all=250.0))
    second.start_step([BATCH])
    assert second.training_state(1) == ({"normaliser": pytest.approx(0.9 * 100 + 0.1 * 250)}, {})


def test_where_each_process_counts_by_itself_all_go_on_from_the_first_ones_numbers() -> None:
    second = learner(0.5, Second(of_others={"normaliser": 42.0}))
    second.losses(*second.features(BATCH), BATCH)
    second.start_step([BATCH])
    assert second.training_state(1) == ({"normaliser": 42.0}, {})


class TwoWindows(Detector):
    """Finds one action in a window and two in the next, with the class scores that it is given."""

    def __init__(self, *class_scores: Tensor | None) -> None:
        super().__init__()
        self.listed = [
            Detections(
                torch.tensor([[1.0, 3.0]] * count), torch.ones(count), torch.zeros(count, dtype=torch.long), rows
            )
            for count, rows in zip((1, 2), class_scores, strict=True)
        ]

    def forward(self, features: Tensor, mask: Tensor) -> Detections:
        return self.listed.pop(0)

    def select(self, outputs: Detections) -> list[Detections]:
        return [outputs]

    def padded_steps(self, longest: int) -> int:
        return longest


def merged(*class_scores: Tensor | None) -> Detections:
    """What is found in two windows of 8 steps."""
    windows = [Sample("v", torch.zeros(6, 8), Targets.none(), Grid(8, 4, 2), first_step=first) for first in (0, 8)]
    detector, suppression = TwoWindows(*class_scores), SuppressionSettings(method="none")
    localizer = Localizer(detector, torch.device("cpu"), "float32", suppression, 64)
    return localizer.detect_one(NoSource(), windows, None)


def test_segments_of_several_windows_keep_their_class_scores_and_those_of_videos_are_averaged() -> None:
    assert merged(None, None).class_scores is None
    of_video = merged(torch.tensor([[0.2, 0.8]]), torch.tensor([[0.6, 0.4]]))
    torch.testing.assert_close(of_video.class_scores, torch.tensor([[0.4, 0.6]]))
    rows = torch.tensor([[0.2, 0.8], [0.6, 0.4], [0.5, 0.1]])
    of_segments = merged(rows[:1], rows[1:])
    assert of_segments.class_scores.tolist() == rows.tolist()
    assert of_segments.segments[:, 0].tolist() == pytest.approx([0.75, 4.75, 4.75])


@pytest.mark.parametrize("shape", [(2,), (2, 3), (0, 3)])
def test_class_scores_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError, match=r"class_scores \(1, K\) or \(N, K\), here N is 1"):
        merged(torch.zeros(shape), None)
