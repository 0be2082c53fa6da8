import random
from itertools import chain

import pytest
import torch

from actloc.structures import Grid, Sample, Targets, Visit
from actloc.training.loader import Loader


def load_sample(index: int, visit: Visit) -> Sample:
    features = torch.tensor([[index, visit.generator(index).random()]]).T
    return Sample(f"v{index}", features, Targets.none(), Grid(30.0, 4.0, 8.0))


def drawn(
    first: int, last: int, *, num_workers: int = 0, batch_size: int = 2, accumulate: int = 1, num: int = 7
) -> list[object]:
    loader = Loader(load_sample, num, batch_size, accumulate, seed=3, num_workers=num_workers)
    return [
        [sample.features.tolist() for batch in step for sample in batch.samples] for step in loader.batches(first, last)
    ]


def test_an_epoch_shows_each_sample_at_most_once_and_drops_the_partial_step() -> None:
    loader = Loader(load_sample, 7, 2, 1, seed=0, num_workers=0)
    assert loader.steps_per_epoch == 3
    ids = [id_ for step in loader.batches(0, 3) for batch in step for id_ in batch.video_ids]
    assert len(set(ids)) == 6


def test_resuming_in_the_middle_of_an_epoch_gives_the_same_samples() -> None:
    assert drawn(0, 8)[5:] == drawn(5, 8)


def test_the_number_of_workers_changes_nothing() -> None:
    assert drawn(0, 8) == drawn(0, 8, num_workers=1) == drawn(0, 8, num_workers=3)


def test_four_batches_of_one_have_the_samples_of_one_batch_of_four() -> None:
    whole, parts = drawn(0, 2, batch_size=4), drawn(0, 2, batch_size=1, accumulate=4)
    assert list(chain(whole)) == list(chain(parts))


def test_fewer_samples_than_a_batch_make_one_step() -> None:
    assert [len(step) for step in drawn(0, 2, batch_size=16)] == [7, 7]


def test_an_epoch_is_shuffled_once_and_not_in_each_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled, shuffle = [], random.Random.shuffle
    monkeypatch.setattr(
        random.Random, "shuffle", lambda self, order: (shuffled.append(len(order)), shuffle(self, order))
    )
    assert drawn(0, 20, num=19)[9:18] == drawn(9, 18, num=19)
    assert shuffled == [19, 19, 19]  # three epochs were begun
