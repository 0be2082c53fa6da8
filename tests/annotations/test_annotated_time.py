"""Partly annotated videos: how the time is written, read, checked, and kept from form to form."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from actloc.annotations import annotated_time, form
from actloc.annotations.changes import changes
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.commands import convert_annotations
from actloc.datasets.custom import Config
from actloc.errors import UserError


def custom(folder: Path, table: str, **settings: Path) -> Config:
    (folder / "labels.csv").write_text(table)
    return Config(folder=folder / "prepared", annotations=folder / "labels.csv", **settings)


TABLE = """\
video,start,end,label,subset,annotated
a,1,2,run,train,0-30;0:50-1:10
a,55,60,jump,train,20-40
b,,,,train,5-9.5
c,1,2,run,test,
c,1,4,jump,test,
"""


def test_a_column_states_the_annotated_time_merged_and_also_of_background(tmp_path: Path) -> None:
    videos = custom(tmp_path, TABLE).collect().videos
    assert videos["a"].annotated == ((0, 40), (50, 70))
    assert len(videos["a"].actions) == 2
    assert videos["b"].annotated == ((5, 9.5),)
    assert videos["b"].actions == ()
    assert videos["b"].subset == "train"
    assert videos["c"].annotated == ()
    assert len(videos["c"].actions) == 2


def test_the_file_of_the_setting_says_the_same_and_is_no_annotation_itself(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "one.csv").write_text("video,start,end,label,subset\na,1,2,run,train\nc,1,2,run,test\n")
    (labels / "annotated.csv").write_text("video,start,end\na,0,0:30\na,20,40\n")
    dataset = Config(folder=tmp_path / "prepared", annotations=labels, annotated=labels / "annotated.csv")
    assert dataset.collect().videos["a"].annotated == ((0, 40),)
    assert labels / "annotated.csv" in dataset.sources()
    (labels / "annotated.csv").write_text("video,start,end\na,zero,30\n")
    with pytest.raises(UserError, match="cannot read the time 'zero'"):
        dataset.collect()


@pytest.mark.parametrize(
    ("cell", "what"),
    [("from 3", "annotated: found 'from 3'"), ("9-3", "ends before or at its start"), ("30-40", "is outside its")],
)
def test_what_cannot_be_annotated_time_is_named_with_its_place(tmp_path: Path, cell: str, what: str) -> None:
    table = f"video,start,end,label,subset,annotated\na,1,2,run,train,{cell}\nc,1,2,run,test,\n"
    with pytest.raises(UserError, match=what):
        custom(tmp_path, table).collect()


def test_an_action_that_crosses_the_border_extends_the_time_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "video,start,end,label,subset,annotated\na,8,12,run,train,0-10\nc,1,2,run,test,\n"
    assert custom(tmp_path, table).collect().videos["a"].annotated == ((0, 12),)
    printed = capsys.readouterr()
    assert "Actions cross the border of the annotated time of 1 video" in printed.out + printed.err


def partly(**changed: object) -> Annotations:
    video = AnnotatedVideo("a", "train", (Action(1, 2, "run"),), 100.0, annotated=((0, 10), (20.5, 30)))
    return Annotations(("run",), {"a": replace(video, **changed)})  # type: ignore[arg-type]


def test_the_own_form_keeps_it_and_refuses_what_is_beyond_the_video(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    form.write(path, partly())
    assert form.read(path) == partly()
    form.write(path, partly(annotated=((0, 10), (20.5, 100.4))))
    assert form.read(path).videos["a"].annotated == ((0, 10), (20.5, 100))
    form.write(path, partly(annotated=((0, 10), (20.5, 101))))
    with pytest.raises(UserError, match="ends after the video"):
        form.read(path)
    content = json.loads(form.to_text(partly()))
    content["database"]["a"]["annotated"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="leave out the key"):
        form.read(path)


def test_another_annotated_time_is_a_change_that_reuse_names() -> None:
    assert changes(partly(), partly(annotated=())).lines == ("1 video has another annotated time: a",)


@pytest.mark.parametrize("name", ["csv", "activitynet"])
def test_conversion_keeps_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "labels.csv").write_text(TABLE)
    first, second = tmp_path / "first", tmp_path / "second.csv"
    first = first.with_suffix(".csv" if name == "csv" else ".json")
    assert convert_annotations.run(tmp_path / "labels.csv", first, name, []) == 0
    assert convert_annotations.run(first, second, "csv", []) == 0
    (tmp_path / "labels.csv").write_text(second.read_text())
    videos = custom(tmp_path, second.read_text()).collect().videos
    assert [videos[one].annotated for one in "abc"] == [((0, 40), (50, 70)), ((5, 9.5),), ()]


def test_a_form_that_cannot_keep_it_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labels.csv").write_text(TABLE)
    for form_name, is_kept in (("csv", True), ("activitynet", True), ("elan", False), ("label-studio", False)):
        # Label Studio counts frames
        out = tmp_path / f"of_{form_name}"
        convert_annotations.run(tmp_path / "labels.csv", out, form_name, ["annotations_fps=25"])
        printed = " ".join("".join(capsys.readouterr()).split())
        said = "cannot say which time is annotated, so that of 2 partly annotated videos is not written: a, b"
        assert (said not in printed) == is_kept, printed


def test_the_summary_says_how_much_of_how_many_videos_is_annotated() -> None:
    videos = {"a": partly().videos["a"], "b": AnnotatedVideo("b", "train", (), 300.0)}
    said = "Partly annotated: 1 of 2 videos, 0:00:20 of their 0:01:40; the rest is neither learned nor scored"
    assert annotated_time.summary(Annotations(("run",), videos)) == said
    of_unknown_length = Annotations(("run",), {"a": replace(videos["a"], duration_s=None)})
    assert "1 of 1 video, 0:00:20; the rest" in annotated_time.summary(of_unknown_length)
    assert annotated_time.summary(partly(annotated=())) == ""


def test_only_the_annotated_time_of_a_video_without_actions_is_called_background(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    custom(tmp_path, TABLE).collect()
    printed = "".join(capsys.readouterr())
    assert "1 of 3 videos has no action in its annotated time, which is used as background: b" in printed
    assert "no annotations" not in printed


def test_gaps_are_the_rest_and_a_segment_is_outside_by_its_larger_part() -> None:
    inf = float("inf")
    assert annotated_time.gaps(((0, 10), (20, 30))) == [(-inf, 0), (10, 20), (30, inf)]
    assert annotated_time.gaps(()) == []
    within = ((0.0, 10.0), (20.0, 30.0))
    assert not annotated_time.is_mostly_outside(within, 8, 12)
    assert annotated_time.is_mostly_outside(within, 9, 12)
    assert not annotated_time.is_mostly_outside(within, 5, 25)
    assert annotated_time.is_mostly_outside(within, 15, 15)
    assert not annotated_time.is_mostly_outside((), 8, 12)
