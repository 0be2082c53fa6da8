"""Every source, found by listing its folder, gives a subset's videos with their features and actions on one grid."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.settings import parts
from actloc.structures import Sample

VIDEOS = {
    "a": AnnotatedVideo("a", "train", (Action(0.5, 2.0, "run"), Action(3.0, 9.0, "jump")), 12.5),
    "b": AnnotatedVideo("b", "train", (), 4.0),
    "c": AnnotatedVideo("c", "test", (Action(1.0, 2.0, "jump"),), 6.0),
}
ANNOTATIONS = Annotations(("jump", "run"), VIDEOS)
MORE = replace(ANNOTATIONS, videos={**VIDEOS, "d": replace(VIDEOS["c"], id="d"), "e": replace(VIDEOS["a"], id="e")})


@pytest.fixture(params=list(parts.available("sources")))
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return parts.find("sources", request.param).Config.small(tmp_path, ANNOTATIONS)


def assert_equal(first: Sample, second: Sample) -> None:
    assert (first.video_id, first.grid) == (second.video_id, second.grid)
    for one, other in (
        (first.features, second.features),
        (first.targets.segments, second.targets.segments),
        (first.targets.labels, second.targets.labels),
    ):
        assert torch.equal(one, other)


def test_a_source_has_the_videos_of_its_subset_in_the_order_of_their_ids(config: Any) -> None:
    for subset, ids in (("train", ["a", "b"]), ("test", ["c"])):
        source = config.build(ANNOTATIONS, subset)
        assert [video.id for video in source.videos] == ids
        assert source.missing == []


def test_a_sample_is_the_whole_video_and_its_grid_gives_the_seconds_of_its_actions_back(config: Any) -> None:
    source = config.build(ANNOTATIONS, "train")
    for number, video in enumerate(source.videos):
        sample = source.evaluation_sample(number)
        assert sample.video_id == video.id
        assert sample.features.dtype == torch.float32
        assert sample.features.shape[0] == source.in_channels
        last = sample.grid.seconds(torch.tensor(float(sample.features.shape[1] - 1))).item()
        assert 0 < last <= video.duration_s
        expected = torch.tensor([[action.start_s, action.end_s] for action in video.actions]).reshape(-1, 2)
        torch.testing.assert_close(sample.grid.seconds(sample.targets.segments), expected)
        assert [ANNOTATIONS.classes[label] for label in sample.targets.labels] == [a.label for a in video.actions]
        assert_equal(sample, source.evaluation_sample(number))


def test_a_training_sample_is_a_window_that_depends_on_its_generator_alone(config: Any) -> None:
    source = config.build(ANNOTATIONS, "train")
    whole = source.evaluation_sample(0)
    assert whole.features.shape[1] > config.max_steps
    samples = [source.training_sample(0, random.Random(seed)) for seed in range(20)]
    for seed, sample in enumerate(samples):
        assert sample.features.shape == (source.in_channels, config.max_steps)
        assert_equal(sample, source.training_sample(0, random.Random(seed)))
        starts = [
            start
            for start in range(whole.features.shape[1] - config.max_steps + 1)
            if torch.equal(whole.features[:, start : start + config.max_steps], sample.features)
        ]
        assert len(starts) == 1
        for segment in sample.targets.segments + starts[0]:  # an action, or what the window leaves of it
            assert any(first - 1e-4 <= segment[0] < segment[1] <= last + 1e-4 for first, last in whole.targets.segments)
    assert len({sample.features[0, 0].item() for sample in samples}) > 1


def test_videos_without_features_are_named_and_left_out_only_if_the_settings_allow_it(config: Any) -> None:
    assert set(config.without_features(MORE)) <= {"d", "e"}
    with pytest.raises(UserError, match=r"missing: d\b"):
        config.build(MORE, "test")
    source = config.model_copy(update={"allow_missing": True}).build(MORE, "test")
    assert [video.id for video in source.videos] == ["c"]
    assert [video.id for video in source.missing] == ["d"]


def test_videos_whose_features_do_not_fit_their_duration_are_refused(config: Any) -> None:
    longer = {name: replace(video, duration_s=2 * video.duration_s) for name, video in VIDEOS.items()}
    with pytest.raises(UserError, match="do not fit"):
        config.build(replace(ANNOTATIONS, videos=longer), "train")


def test_settings_make_the_round_trip(config: Any) -> None:
    assert type(config).model_validate_json(config.model_dump_json()) == config
