import pytest

from actloc import experiment
from actloc.settings.names import meant

NAMES = [*experiment.setting_names(), "detector.dim", "encoder.weights", "features.path", "dataset.folder"]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("training.epochs", "schedule.epochs"),
        ("epochs", "schedule.epochs"),
        ("optimizer.seed", "run.seed"),
        ("lr", "optimizer.learning_rate"),
        ("optimizer.lr", "optimizer.learning_rate"),
        ("training.lr", "optimizer.learning_rate"),
        ("bs", "training.batch_size"),
        ("batch", "training.batch_size"),
        ("num-epochs", "schedule.epochs"),
        ("gpu", "machine.device"),
        ("machine.gpus", "machine.device"),
        ("workers", "machine.num_workers"),
        ("seed", "run.seed"),
        ("dataset.path", "dataset.folder"),
        ("optimizer.learnig_rate", "optimizer.learning_rate"),
        ("machin.device", "machine.device"),
        ("learnig_rate", "optimizer.learning_rate"),
        ("dim", "detector.dim"),
        ("evaluation.tiou", "evaluation.tious"),
        ("suppression.max_keep", "suppression.max_kept"),
    ],
)
def test_a_wrong_name_is_answered_with_the_setting_that_is_meant(typed: str, name: str) -> None:
    assert meant(typed, NAMES) == [name]


def test_the_same_word_in_two_sections_offers_both_and_a_strange_word_nothing() -> None:
    assert meant("tiou", ["suppression.tiou", "matching.tiou"]) == ["suppression.tiou", "matching.tiou"]
    assert meant("frobnication", NAMES) == []


def test_each_typing_mistake_of_one_letter_in_a_setting_is_answered_with_it() -> None:
    missed = []
    names = experiment.setting_names()
    for name in names:
        section, _, word = name.partition(".")
        for place in range(len(word)):
            wrong = f"{section}.{word[:place]}{word[place + 1 :]}"
            if wrong not in names and name not in meant(wrong, names):
                missed.append((wrong, meant(wrong, names)))
    assert len(missed) <= 0.05 * sum(len(name.partition(".")[2]) for name in names), missed
