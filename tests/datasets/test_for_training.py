"""Which training videos and actions the settings leave out, and that it is printed."""

from pathlib import Path

import pytest

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.datasets.activitynet13 import Config
from actloc.datasets.base import for_training
from actloc.errors import UserError
from actloc.experiment import load

VIDEOS = {
    "both": AnnotatedVideo("both", "training", (Action(0, 1, "run"), Action(5, 50, "run")), 100.0),
    "exact": AnnotatedVideo("exact", "training", (Action(5, 6, "run"),), 100.0),
    "none": AnnotatedVideo("none", "training", (), 100.0),
    "scored": AnnotatedVideo("scored", "validation", (Action(5, 6, "run"),), 100.0),
    "short": AnnotatedVideo("short", "training", (Action(0, 0.5, "run"), Action(2, 2.9, "run")), 100.0),
}
ANNOTATIONS = Annotations(("run",), VIDEOS)


def settings(**values: float) -> Config:
    return Config(folder=Path("prepared"), annotations=Path("annotations.json"), **values)


def test_by_default_everything_is_used() -> None:
    assert for_training(settings(), ANNOTATIONS) is ANNOTATIONS


def test_training_videos_whose_actions_are_all_short_are_left_out_and_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    used = for_training(settings(min_longest_share=0.01), ANNOTATIONS)
    assert used.videos == {name: VIDEOS[name] for name in ("both", "scored")}
    printed = " ".join(capsys.readouterr().err.split())
    assert (
        "Left out 3 training videos without an action of more than 0.01 of the video (dataset.min_longest_share)"
        in printed
    )
    assert "exact, none, short" in printed


def test_short_actions_of_training_videos_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    used = for_training(settings(min_action_share=0.01), ANNOTATIONS)
    kept = {name: [action.start_s for action in video.actions] for name, video in used.videos.items()}
    assert kept == {"both": [5], "exact": [], "none": [], "scored": [5], "short": []}
    assert "Left out 4 training actions of no more than" in " ".join(capsys.readouterr().err.split())


def test_leaving_out_every_video_and_videos_without_a_duration_are_refused() -> None:
    with pytest.raises(UserError, match="No training action takes more than"):
        for_training(settings(min_longest_share=0.5), ANNOTATIONS)
    with pytest.raises(UserError, match=r"No training action takes more than 0\.9 of its video"):
        for_training(settings(min_action_share=0.9), ANNOTATIONS)
    timeless = Annotations(("run",), {"a": AnnotatedVideo("a", "training", (Action(0, 1, "run"),))})
    with pytest.raises(UserError, match="a has no duration"):
        for_training(settings(min_longest_share=0.5), timeless)


def test_the_config_of_etad_leaves_out_what_its_code_does() -> None:
    dataset = load("configs/activitynet13_tsp_etad.yaml").dataset
    assert (dataset.min_longest_share, dataset.min_action_share) == (0.01, 0)
