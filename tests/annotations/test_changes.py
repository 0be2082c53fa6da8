"""What differs between two states of annotations, counted and named."""

from dataclasses import replace
from pathlib import Path

import pytest

from actloc.annotations.changes import changes
from actloc.annotations.model import Action, AnnotatedVideo, Annotations

OLD = Annotations(
    ("jump", "run"),
    {
        "a": AnnotatedVideo("a", "train", (Action(0, 10, "run"), Action(20, 30, "jump")), 60.0),
        "b": AnnotatedVideo("b", "test", (Action(5, 9, "run"),), 60.0),
        "c": AnnotatedVideo("c", "train", (), 60.0),
    },
)


def with_videos(*videos: AnnotatedVideo, classes: tuple[str, ...] = OLD.classes, without: str = "") -> Annotations:
    changed = {**OLD.videos, **{video.id: video for video in videos}}
    changed.pop(without, None)
    return Annotations(classes, dict(sorted(changed.items())))


def test_the_same_annotations_elsewhere_have_no_changes() -> None:
    moved = [replace(video, file=Path("/elsewhere") / video.id) for video in OLD.videos.values()]
    assert changes(OLD, with_videos(*moved)).lines == ()
    upper = replace(OLD.videos["a"], subset="TRAIN")  # subset names match in any case
    assert changes(OLD, with_videos(upper)).lines == ()


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        (
            with_videos(AnnotatedVideo("d", "test"), AnnotatedVideo("e", "train"), AnnotatedVideo("f", "train")),
            ["3 videos added (1 test, 2 train): d, e, f"],
        ),
        (with_videos(without="c"), ["1 video removed (1 train): c"]),
        (with_videos(replace(OLD.videos["a"], subset="test")), ["1 video moved from train to test: a"]),
        (
            with_videos(replace(OLD.videos["c"], actions=(Action(1, 2, "run"), Action(3, 4, "run")))),
            ["2 actions added in 1 video: c"],
        ),
        (with_videos(replace(OLD.videos["b"], actions=())), ["1 action removed in 1 video: b"]),
        (
            with_videos(replace(OLD.videos["b"], actions=(Action(5, 9.5, "run"), Action(1, 2, "jump")))),
            ["1 action added in 1 video: b", "1 action changed in 1 video: b"],
        ),
        (with_videos(classes=("jump", "run", "sit")), ["1 class added: sit"]),
        (with_videos(classes=("run", "jump")), ["the classes are in another order"]),
        (replace(OLD, variant="test set 212"), ["another variant: none before, test set 212 now"]),
        (
            with_videos(replace(OLD.videos["c"], duration_s=61.0)),
            ["1 video has another duration, rate or length in frames: c"],
        ),
    ],
)
def test_every_difference_is_counted_and_named(new: Annotations, lines: list[str]) -> None:
    assert list(changes(OLD, new).lines) == lines


def renamed(old: str, new: str) -> list[AnnotatedVideo]:
    return [
        replace(one, actions=tuple(replace(a, label=new if a.label == old else a.label) for a in one.actions))
        for one in OLD.videos.values()
    ]


def test_a_class_with_the_same_actions_under_another_name_is_renamed() -> None:
    found = changes(OLD, with_videos(*renamed("run", "sprint"), classes=("jump", "sprint")))
    assert found.lines == ("1 class renamed: run -> sprint",)
    assert found.renamed == {"run": "sprint"}


def test_classes_that_were_merged_or_split_are_not_renamed() -> None:
    merged = [
        replace(one, actions=tuple(replace(action, label="move") for action in one.actions))
        for one in OLD.videos.values()
    ]
    found = changes(OLD, with_videos(*merged, classes=("move",)))
    assert found.renamed == {}
    assert found.lines[:2] == ("1 class added: move", "2 classes removed: jump, run")
