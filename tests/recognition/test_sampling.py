"""Sampled frames are those of TAM and of DualFormer, also where the video is short."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from actloc.recognition.sampling import Sampling, SamplingRule

GOLDEN = Path("tests/golden")
TAM = json.loads((GOLDEN / "tam/sampling_long.json").read_text())
DUALFORMER = json.loads((GOLDEN / "dualformer/sample_frames_k400.json").read_text())


class Lowest(random.Random):
    """Draws the lowest of what is possible."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        assert stop is None
        assert start > 0
        return 0


class Highest(Lowest):
    """Draws the highest."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return super().randrange(start, stop, step) + start - 1


def of_tam(case: dict[str, Any]) -> tuple[Sampling, int]:
    rule, _, clips = case["mode"].partition("-")
    return Sampling(rule, case["segments"]), int(clips or 0)


def case_name(case: dict[str, Any]) -> str:
    return " ".join(str(value) for value in case.values() if not isinstance(value, list))


@pytest.mark.parametrize("case", TAM, ids=case_name)
def test_frames_are_those_of_tam(case: dict[str, Any]) -> None:
    sampling, num_clips = of_tam(case)
    frames = case["num_frames"]
    if num_clips:
        found = {"test": [frame for clip in sampling.test(frames, num_clips) for frame in clip]}
    else:
        found = {
            "val": sampling.validation(frames),
            "train_low": sampling.training(frames, Lowest()),
            "train_high": sampling.training(frames, Highest()),
        }
    keys = {key for key, value in case.items() if isinstance(value, list)}
    assert keys == found.keys()
    for key, numbers in found.items():
        assert [number + 1 for number in numbers] == case[key]  # TAM counts from 1


@pytest.mark.parametrize("case", DUALFORMER, ids=case_name)
def test_frames_are_those_of_dualformer(case: dict[str, Any]) -> None:
    sampling = Sampling("interval", case["clip_len"], case["frame_interval"])
    frames = case["num_frames"]
    if case.get("test_mode"):
        clips = sampling.test(frames, case["num_clips"])
        assert [frame for clip in clips for frame in clip] == case["frame_inds"]
        if case["num_clips"] == 1:
            assert sampling.validation(frames) == case["frame_inds"]
    else:
        assert sampling.training(frames, Lowest()) == case["train_low"]
        assert sampling.training(frames, Highest()) == case["train_high"]


def test_the_recordings_hold_every_rule_and_use() -> None:
    assert {case["mode"] for case in TAM} >= {"dense", "uniform", "dense-10", "dense-1", "uniform-1", "uniform-2"}
    assert len(DUALFORMER) >= 12


@pytest.mark.parametrize(
    ("rule", "num_frames", "training", "validation", "test_of_two"),
    [
        # shorter than 8 x 8 frames: begins again, always at the start
        ("dense", 20, [0, 8, 16, 4, 12, 0, 8, 16], [0, 8, 16, 4, 12, 0, 8, 16], [[0, 8, 16, 4, 12, 0, 8, 16]] * 2),
        # fewer frames than segments: the first one, except in tests, which spread as ever
        ("uniform", 5, [0] * 8, [0] * 8, [[0, 0, 1, 1, 2, 3, 3, 4]] * 2),
        # as many: every one in training and in tests, but the first one in validation
        ("uniform", 8, list(range(8)), [0] * 8, [list(range(8))] * 2),
        ("interval", 5, [0, 2, 4, 1, 3, 0, 2, 4], [0, 2, 4, 1, 3, 0, 2, 4], [[0, 2, 4, 1, 3, 0, 2, 4]] * 2),
        ("dense", 1, [0] * 8, [0] * 8, [[0] * 8] * 2),
        ("interval", 1, [0] * 8, [0] * 8, [[0] * 8] * 2),
    ],
)
def test_short_videos_repeat_frames_as_the_published_code_does(
    rule: SamplingRule, num_frames: int, training: list[int], validation: list[int], test_of_two: list[list[int]]
) -> None:
    sampling = Sampling(rule, 8, 2 if rule == "interval" else 1)
    for generator in (Lowest(), Highest()):
        assert sampling.training(num_frames, generator) == training
    assert sampling.validation(num_frames) == validation
    assert sampling.test(num_frames, 2) == test_of_two


@pytest.mark.parametrize("rule", ["dense", "uniform", "interval"])
@pytest.mark.parametrize("frames", [1, 3, 8, 16])
def test_every_frame_is_inside_at_any_length(rule: SamplingRule, frames: int) -> None:
    sampling = Sampling(rule, frames, 3 if rule == "interval" else 1)
    generator = random.Random(0)
    for num_frames in (*range(1, 80), 1000):
        samples = [sampling.training(num_frames, generator), sampling.validation(num_frames)]
        for num_clips in (1, 2, 3, 10):
            clips = sampling.test(num_frames, num_clips)
            assert len(clips) == num_clips
            samples += clips
        for sample in samples:
            assert len(sample) == frames
            assert all(0 <= frame < num_frames for frame in sample)


def test_training_draws_every_start_equally_but_tams_last_one() -> None:
    generator = random.Random(0)
    for sampling, starts in ((Sampling("dense", 8), range(9)), (Sampling("interval", 32, 2), range(10))):
        drawn = Counter(sampling.training(73, generator)[0] for _ in range(4000))
        assert drawn.keys() == set(starts)
        assert max(abs(count - 4000 / len(starts)) for count in drawn.values()) < 5 * (4000 / len(starts)) ** 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dense", 65), "found 65 frames, expected at most 64 with the rule dense"),
        (("uniform", 0), "found 0 frames at interval 1"),
        (("interval", 8, 0), "found 8 frames at interval 0"),
        (("uniform", 8, 2), "found interval 2, which has no effect with the rule uniform"),
    ],
)
def test_numbers_that_no_rule_can_use_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(*arguments)
