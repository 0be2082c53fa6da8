"""Every source, found by listing its folder, gives a subset's videos with their features and actions on one grid."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.settings import parts
from actloc.settings.sections import MachineSettings
from actloc.sources.base_source import Source
from actloc.store import on_disk
from actloc.structures import Batch, Sample, Targets

ACTIONS = (Action(0.5, 2.0, "run"), Action(3.0, 9.0, "jump"))
VIDEOS = {  # files are there where the source's `small` writes videos
    "a": AnnotatedVideo("a", "train", ACTIONS, 12.5, file=Path("a.mp4")),
    "b": AnnotatedVideo("b", "train", (), 4.0, file=Path("b.mp4")),
    "c": AnnotatedVideo("c", "test", (Action(1.0, 2.0, "jump"),), 6.0, file=Path("c.mp4")),
}
ANNOTATIONS = Annotations(("jump", "run"), VIDEOS)
MORE = replace(
    ANNOTATIONS, videos={**VIDEOS, "d": replace(VIDEOS["c"], id="d", file=None), "e": replace(VIDEOS["a"], id="e")}
)


Build = Callable[..., Source]
CPU = torch.device("cpu")


@pytest.fixture(params=list(parts.available("sources")))
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return parts.find("sources", request.param).Config.small(tmp_path, ANNOTATIONS)


@pytest.fixture
def build(config: Any) -> Iterator[Build]:
    """Builds the source of a subset; its encoder, if it has one, is shared by all."""
    live = config.live_encoder(CPU, MachineSettings(), "float32", None)
    yield lambda annotations, subset, config=config: config.build(annotations, subset, live)
    if live is not None:
        live.close()


def features_of(source: Source, sample: Sample) -> Tensor:
    return source.features(Batch((sample,)), sample.num_steps, CPU)[0]


def assert_equal(source: Source, first: Sample, second: Sample) -> None:
    assert (first.video_id, first.grid) == (second.video_id, second.grid)
    for one, other in (
        (features_of(source, first), features_of(source, second)),
        (first.targets.segments, second.targets.segments),
        (first.targets.labels, second.targets.labels),
    ):
        assert torch.equal(one, other)


def test_a_source_has_the_videos_of_its_subset_in_the_order_of_their_ids(config: Any, build: Build) -> None:
    for subset, ids in (("train", ["a", "b"]), ("test", ["c"])):
        source = build(ANNOTATIONS, subset)
        assert [video.id for video in source.videos] == ids
        assert source.missing == []


def test_a_sample_is_the_whole_video_and_its_grid_gives_the_seconds_of_its_actions_back(
    config: Any, build: Build
) -> None:
    source = build(ANNOTATIONS, "train")
    for number, video in enumerate(source.videos):
        sample = source.evaluation_sample(number)
        assert sample.video_id == video.id
        features = features_of(source, sample)
        assert features.dtype == torch.float32
        assert features.shape == (source.in_channels, sample.num_steps)
        last = sample.grid.seconds(torch.tensor(float(sample.num_steps - 1))).item()
        assert 0 < last <= video.duration_s
        expected = torch.tensor([[action.start_s, action.end_s] for action in video.actions]).reshape(-1, 2)
        torch.testing.assert_close(sample.grid.seconds(sample.targets.segments), expected)
        assert [ANNOTATIONS.classes[label] for label in sample.targets.labels] == [a.label for a in video.actions]
        assert_equal(source, sample, source.evaluation_sample(number))


def test_parts_of_long_videos_are_those_of_the_whole(
    config: Any, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_disk, "_MOST_BYTES", 0)
    source = build(ANNOTATIONS, "train")
    whole, long = source.evaluation_sample(0), source.detection_sample(0)
    assert_equal(source, whole, long)
    assert_equal(source, whole.part(3, 5, Targets.none()), long.part(3, 5, Targets.none()))


def test_a_training_sample_is_a_window_that_depends_on_its_generator_alone(config: Any, build: Build) -> None:
    source = build(ANNOTATIONS, "train")
    sample = source.evaluation_sample(0)
    whole, actions = features_of(source, sample), sample.targets.segments
    assert sample.num_steps > config.max_steps
    samples = [source.training_sample(0, random.Random(seed)) for seed in range(20)]
    seen = set()
    for seed, sample in enumerate(samples):
        features = features_of(source, sample)
        assert features.shape == (source.in_channels, config.max_steps)
        assert_equal(source, sample, source.training_sample(0, random.Random(seed)))
        assert torch.equal(whole[:, sample.first_step : sample.first_step + config.max_steps], features)
        seen.add(features[0, 0].item())
        for segment in sample.targets.segments + sample.first_step:  # an action, or what the window leaves of it
            assert any(first - 1e-4 <= segment[0] < segment[1] <= last + 1e-4 for first, last in actions)
    assert len(seen) > 1


def test_videos_without_features_are_named_and_left_out_only_if_the_settings_allow_it(
    config: Any, build: Build
) -> None:
    assert set(config.without_features(MORE)) <= {"d", "e"}
    with pytest.raises(UserError, match=r"missing: d\b"):
        build(MORE, "test")
    source = build(MORE, "test", config.model_copy(update={"allow_missing": True}))
    assert [video.id for video in source.videos] == ["c"]
    assert [video.id for video in source.missing] == ["d"]


def test_videos_whose_features_do_not_fit_their_duration_are_refused(build: Build) -> None:
    longer = {name: replace(video, duration_s=2 * video.duration_s) for name, video in VIDEOS.items()}
    with pytest.raises(UserError, match="do not fit"):
        build(replace(ANNOTATIONS, videos=longer), "train")


def test_settings_make_the_round_trip(config: Any) -> None:
    assert type(config).model_validate_json(config.model_dump_json()) == config
