from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.localization.checks import check_actions, short_actions
from actloc.sources.folders import Config
from actloc.sources.stored import Config as StoredConfig

RUN, LATE = Action(1.0, 3.0, "run"), Action(42.0, 90.0, "run")


def annotations(test: tuple[Action, ...] = (RUN,), **training: tuple[Action, ...]) -> Annotations:
    videos = {name: AnnotatedVideo(name, "train", actions) for name, actions in training.items()}
    videos["t"] = AnnotatedVideo("t", "test", test)
    labels = {action.label for video in videos.values() for action in video.actions}
    return Annotations(tuple(sorted(labels)), videos, keeps_past_end=True)


def check(folder: Path, given: Annotations, **settings: Any) -> str:
    """Checks actions of videos whose features, 40 rows of half a second, end at 20 s."""
    for name in given.videos:
        np.save(folder / f"{name}.npy", np.zeros((40, 3), np.float32))
    config = Config(path=folder, fps=8, clip_frames=4, stride_frames=4, **settings)
    source = config.build(given, "train")
    check_actions(given, source, "train", "test")
    return short_actions(source)


def test_a_subset_without_actions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The subset 'train' has no action in its 2 videos"):
        check(tmp_path, annotations(a=(), b=()))


def test_classes_that_are_not_scored_are_nothing_to_learn(tmp_path: Path) -> None:
    sit = Action(1.0, 3.0, "sit")
    with pytest.raises(UserError, match="No class of the subset 'train' is scored: it has sit; 'test' has run"):
        check(tmp_path, annotations(a=(sit,)))
    check(tmp_path, annotations(a=(sit, RUN)))
    check(tmp_path, annotations(test=(), a=(sit,)))  # a test subset without annotations is only predicted


def test_actions_that_all_lie_after_the_features_are_refused_and_some_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as caught:
        check(tmp_path, annotations(a=(LATE,), b=(LATE, LATE)))
    assert caught.value.found == (
        "All 3 training actions start after the features of their videos end: run in a at 42 s, its features at 20.0 s."
    )
    assert "If the annotations count frames" in caught.value.fix
    check(tmp_path, annotations(a=(RUN,), b=(LATE, LATE)))
    assert "2 training actions start after the features of the video end: b" in capsys.readouterr().err


def test_actions_shorter_than_a_step_are_counted(tmp_path: Path) -> None:
    short = Action(2.0, 2.25, "run")
    assert check(tmp_path, annotations(a=(RUN, short), b=(short,))) == (
        "2 of 3 actions are shorter than a step of the features, 0.5 s"
    )
    assert check(tmp_path, annotations(a=(RUN,))) == ""
    fewer = check(tmp_path, annotations(a=(RUN,)), resize_to=8)
    assert fewer == "1 of 1 action is shorter than a step of the features, 2.5 s"


def test_a_store_says_where_its_features_end(tmp_path: Path) -> None:
    given = annotations(a=(LATE,))
    for number, video in enumerate(given.videos.values()):
        given.videos[video.id] = AnnotatedVideo(video.id, video.subset, video.actions, 20.0 + number)
    source = StoredConfig.small(tmp_path, given).build(given, "train")
    assert source.extent(0).end_s == pytest.approx(20.0)
    assert source.extent(0).step_s == pytest.approx(0.5)
    with pytest.raises(UserError, match="starts after the features"):
        check_actions(given, source, "train", "test")
