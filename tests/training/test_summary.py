"""What a training reports at its end, from made-up histories of each kind."""

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from actloc.training.summary import advice, history, lines

LONGER = "schedule.epochs=60"
MANY = {"videos": 9, "actions": 900, "classes": 3}


def rows(loss: Callable[[float], float], steps: int = 400, noise: float = 0.1, per_epoch: int = 10) -> list[Any]:
    """The log of a training whose loss is a function of the share of steps done."""
    chance = random.Random(0)
    return [
        {
            "event": "step",
            "step": step,
            "epoch": step / per_epoch,
            "time": f"2026-01-01T00:{step // 60:02}:{step % 60:02}.000+00:00",
            "train/loss/total": loss(step / steps) * (1 + noise * chance.uniform(-1, 1)),
        }
        for step in range(1, steps + 1)
    ]


def told(given: list[Any], size: dict[str, int] = MANY) -> str:
    return " ".join(advice(history(given), longer=LONGER, learning_rate=1e-3, size=size))


def falling(x: float) -> float:
    return 0.05 + 2 * math.exp(-12 * x)


def test_a_loss_that_fell_is_left_to_eval() -> None:
    said = told(rows(falling))
    assert said.startswith("The loss fell to ")
    assert "`eval` measures" in said
    assert "=" not in said  # no setting to change


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_loss_that_stays_is_high_whatever_its_size(noise: float) -> None:
    for size in (0.01, 1.0, 300.0):
        said = told(rows(lambda x, size=size: size * (2 - 0.1 * x), noise=noise))
        assert said.startswith("The loss is high: it ended at ")
        assert "optimizer.learning_rate=0.003 or 0.0003" in said
        assert LONGER not in said


def test_a_running_normaliser_that_settles_is_no_rising_loss() -> None:
    """As ActionFormer's: it starts at 100 and goes on to the number of positive points, here 8."""
    given = rows(lambda x: 16 / (8 + 92 * 0.9 ** (400 * x)))
    assert given[0]["train/loss/total"] < 0.3
    assert told(given).startswith("The loss is high: it ended at ")


def test_a_loss_that_still_falls_asks_for_more_steps() -> None:
    said = told(rows(lambda x: 2 * 0.15**x))
    assert "The loss still fell at the end" in said
    assert f"If `eval` gives low scores, train longer: {LONGER} run.name=ANOTHER" in said


def test_a_loss_that_rose_again_asks_for_a_lower_rate() -> None:
    said = told(rows(lambda x: falling(x) + 3 * max(0.0, x - 0.5)))
    assert said.startswith("The loss rose again, from 0.0")
    assert "optimizer.learning_rate=0.0003 run.name=ANOTHER" in said


@pytest.mark.parametrize("steps", [1, 2, 9, 49, 50, 51, 99])
def test_short_trainings_say_little(steps: int) -> None:
    assert told(rows(falling, steps)).startswith(f"The loss of {steps} step")
    assert LONGER in told(rows(falling, steps))


def test_few_examples_are_told_for_each_task() -> None:
    few = "12 actions of 3 classes are few to learn from: more labelled videos help more than more epochs."
    assert few in told(rows(falling), {"videos": 6, "actions": 12, "classes": 3})
    assert "29 clips of 3 classes are few" in told(rows(falling), {"videos": 6, "clips": 29, "classes": 3})
    assert "few" not in told(rows(falling), {"videos": 6, "actions": 30, "classes": 3})
    assert "few" not in told(rows(falling), {})


def test_what_was_done_is_told() -> None:
    (line,) = lines(history(rows(lambda x: 2 - x, noise=0)))
    assert line == (
        "400 steps (40 epochs) in 0:06:39; loss 1.95 at its highest and 1.04 at the end, each the mean of a tenth of "
        "the steps"
    )
    parts = [
        {"event": "step", "step": step, "train/loss/total": 3.0, "train/loss/a": 1.0, "train/loss/b": 2.0}
        for step in (1, 2)
    ]
    (line,) = lines(history(parts))
    assert line == "2 steps; loss 3 at its highest and 3 at the end (a 1, b 2), each the mean of a tenth of the steps"


def test_validations_are_told_with_the_best() -> None:
    given = rows(falling)
    for step, score in ((100, 0.25), (200, 0.5), (400, 0.4321)):
        scores = {"validation/average_mAP": score, "validation/mAP/0.50": 0.9}
        given.append({"event": "validation", "step": step, "time": given[-1]["time"], **scores})
    assert lines(history(given))[1] == (
        "Validation average_mAP in percent: 43.21 at the end, 50.00 at its best (after 200 steps)"
    )


def test_the_time_between_sessions_is_not_counted() -> None:
    given = [
        {"event": "start", "step": 0, "time": "2026-01-01T00:00:00+00:00"},
        {"event": "step", "step": 1, "time": "2026-01-01T00:00:10+00:00", "train/loss/total": 1.0},
        {"event": "resume", "step": 1, "time": "2026-01-03T00:00:00+00:00"},
        {"event": "step", "step": 2, "time": "2026-01-03T01:00:00+00:00", "train/loss/total": 1.0},
    ]
    assert history(given).seconds == 3610
    assert "in 1:00:10" in lines(history(given))[0]


def test_logs_of_older_versions_and_odd_rows_are_read() -> None:
    old = [json.loads('{"event": "step", "step": 1, "train/loss/total": 2.0}'), {"event": "odd"}, {}]
    found = history([*old, {"event": "step", "step": 1, "train/loss/total": 1.0}, {"event": "step", "step": 2}])
    assert (found.losses, found.seconds, found.epochs) == ([1.0], None, None)
    assert history([]).losses == []
    assert lines(history([])) == advice(history([]), longer=LONGER, learning_rate=1e-3, size={}) == []
