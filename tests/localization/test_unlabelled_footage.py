"""Which footage is unlabelled, and why other videos are left out."""

from pathlib import Path

import pytest

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.localization.suggesting.footage import (
    by_place,
    held_out,
    intervals,
    known_video,
    labelled,
    of_dataset,
    of_files,
    tiled,
    usual_window_s,
)

JUMP = Action(1.0, 3.5, "jump")
VIDEOS = [
    AnnotatedVideo("background", "train", duration_s=20.0),
    AnnotatedVideo("held", "test", duration_s=20.0, annotated=((0.0, 5.0),)),
    AnnotatedVideo("hidden", "Testing", duration_s=20.0),
    AnnotatedVideo("open", "unlabelled", duration_s=50.0),
    AnnotatedVideo("partly", "train", (JUMP,), 100.0, annotated=((0.0, 10.0), (40.0, 60.5), (61.0, 99.5))),
    AnnotatedVideo("unknown", "unlabelled"),
    AnnotatedVideo("whole", "train", (JUMP,), 30.0),
]
ANNOTATIONS = Annotations(("jump",), {video.id: video for video in VIDEOS})
USES = {"test": "eval scores"}


def test_what_is_unlabelled_and_what_is_left_out() -> None:
    found = of_dataset(ANNOTATIONS, "train", held_out(ANNOTATIONS, USES))
    # half a second is no use
    assert found.spans == {"open": [(0.0, 50.0)], "partly": [(10.0, 40.0)]}
    assert found.seconds == 80.0
    assert dict(found.left_out) == {
        "annotated already": ["background", "whole"],
        "in the subset 'test', which eval scores": ["held"],
        "in the subset 'Testing', a test set by its name": ["hidden"],
        "of unknown length": ["unknown"],
    }
    assert "Left out 2 videos, annotated already: background, whole" in found.sentences()
    found.leave_out("open", "without features")
    assert [video.id for video in found.videos] == list(found.spans) == ["partly"]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0.0, 60.0), [(0, 30), (30, 60)]),
        ((5.0, 54.9), [(5, 35), (35, 54.9)]),
        ((5.0, 49.0), [(5, 49)]),
        ((0.0, 7.0), [(0, 7)]),
    ],
)
def test_windows_cover_a_stretch_once(span: tuple[float, float], expected: list[tuple[float, float]]) -> None:
    assert tiled([span], 30.0) == expected


def test_a_window_holds_the_longest_training_action() -> None:
    assert usual_window_s(VIDEOS, "Train") == (30.0, 2.5)
    long = AnnotatedVideo("long", "train", (Action(0.0, 45.2, "jump"),), 100.0)
    tested = AnnotatedVideo("tested", "test", (Action(0.0, 90.0, "jump"),), 100.0)
    assert usual_window_s([long, tested], "train") == (46.0, 45.2)


def test_the_annotated_time_has_the_old_intervals_and_the_new_windows() -> None:
    picked = [("open", (30.0, 50.0)), ("partly", (10.0, 40.0)), ("open", (0.0, 10.0))]
    assert intervals(ANNOTATIONS, picked) == {
        "held": ((0.0, 5.0),),
        "open": ((0.0, 10.0), (30.0, 50.0)),
        "partly": ((0.0, 60.5), (61.0, 99.5)),
    }
    assert labelled(VIDEOS[:1] + VIDEOS[4:6]) == {"background": [(0.0, 20.0)], "partly": list(VIDEOS[4].annotated)}


def test_files_are_known_by_path_or_by_name_and_size(tmp_path: Path) -> None:
    own, copy, other = tmp_path / "a.mp4", tmp_path / "copies" / "a.mp4", tmp_path / "others" / "a.mp4"
    for path, text in ((own, "123"), (copy, "123"), (other, "12345")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    video = AnnotatedVideo("a", "test", duration_s=9.0, file=own)
    gone = AnnotatedVideo("gone", "train", duration_s=9.0, annotated=((0.0, 2.0),), file=tmp_path / "gone.mp4")
    annotations = Annotations(("jump",), {"a": video, "gone": gone})
    places = by_place(annotations)
    assert known_video(annotations, places, "renamed", own) is video
    assert known_video(annotations, places, "a", copy) is video
    assert known_video(annotations, places, "a", other) is None
    held = held_out(annotations, USES)
    new = tmp_path / "new.mp4"
    found, used = of_files(annotations, "train", held, {"a": copy, "gone": tmp_path / "moved.mp4", "new": new})
    assert used == {"gone": tmp_path / "moved.mp4", "new": new}
    assert [one.id for one in found.videos] == ["gone"]
    assert dict(found.left_out) == {"in the subset 'test', which eval scores": ["a"]}
    found, used = of_files(annotations, "train", held, {"a": other})
    assert not used
    assert list(found.left_out) == ["whose name another video of the dataset has"]
