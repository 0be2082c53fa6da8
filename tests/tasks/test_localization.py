from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from actloc.annotations.model import Annotations
from actloc.detectors.temporalmaxer import Config
from actloc.settings.sections import SuppressionSettings
from actloc.sources.base import Source
from actloc.structures import Batch, Grid, Sample, Targets
from actloc.tasks.localization import LocalizationLearner, Localizer
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
    def __init__(self) -> None:
        self.videos = []

    def evaluation_sample(self, index: int) -> Sample:
        raise AssertionError("there is no video")


def learner(kept_share: float, processes: Processes) -> LocalizationLearner:
    config = Config.model_validate({**Config.small().model_dump(), "kept_share": kept_share})
    localizer = Localizer(config.build(6, 2, 64).train(), torch.device("cpu"), "float32", SuppressionSettings())
    annotations = Annotations(("run", "jump"), {})
    return LocalizationLearner(localizer, NoSource(), annotations, lambda _: 0.0, processes)


BATCH = Batch((Sample("v", torch.randn(6, 40), Targets(torch.tensor([[3.0, 9.0]]), torch.tensor([0])), Grid(8, 4, 2)),))


def test_a_step_of_several_processes_moves_the_criterion_by_the_weight_of_all() -> None:
    second = learner(1.0, Second(sum_of_all=250.0))
    second.start_step([BATCH])
    assert second.training_state() == {"normaliser": pytest.approx(0.9 * 100 + 0.1 * 250)}


def test_where_each_process_counts_by_itself_all_go_on_from_the_first_ones_numbers() -> None:
    second = learner(0.5, Second(of_others={"normaliser": 42.0}))
    second.losses(*second.features(BATCH), BATCH)
    second.start_step([BATCH])
    assert second.training_state() == {"normaliser": 42.0}
