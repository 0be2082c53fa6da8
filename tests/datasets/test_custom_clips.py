"""Clips of one's own in folders or a CSV, and ready-made list files."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from actloc.annotations.model import Action, Annotations
from actloc.datasets import clip_lists, custom_clips
from actloc.errors import UserError
from actloc.extraction.preparing import prepare
from actloc.settings.sections import PreparationSettings
from actloc.video.headers import HeaderReader
from tests.datasets.raw import make_clips, make_frames, write_files
from tests.toy import make_video

pytestmark = pytest.mark.usefixtures("forked_decoders")
SHARED = Path(os.environ.get("ACTLOC_DATA", "/nowhere")) / "videos/ucf101"


def own(folder: Path, **settings: Any) -> custom_clips.Config:
    return custom_clips.Config(folder=folder / "prepared", videos=folder / "videos", **settings)


def lists(folder: Path, **settings: Any) -> clip_lists.Config:
    named = {key: folder / value if key.endswith("list") else value for key, value in settings.items()}
    return clip_lists.Config(folder=folder / "prepared", videos=folder / "videos", **named)


def sides_of(annotations: Annotations, videos: Path) -> dict[str, str]:
    return {str(one.file.relative_to(videos)): one.subset for one in annotations.videos.values() if one.file}


def problems_of(config: Any) -> str:
    with pytest.raises(UserError) as caught:
        config.collect()
    return str(caught.value)


def test_folders_name_subsets_and_classes_and_repeated_names_get_their_folders_as_ids(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "train/run/1.mp4", "train/walk/1.mp4", "val/run/2.mp4", "Test/run/1.mp4")
    make_frames(tmp_path / "videos/train/run/few", 5, "{:06d}.png")
    found = own(tmp_path).collect()
    assert found.classes == ("run", "walk")
    assert {video.id: (video.subset, video.actions[0].label) for video in found.videos.values()} == {
        "Test__run__1": ("test", "run"),
        "few": ("train", "run"),
        "train__run__1": ("train", "run"),
        "train__walk__1": ("train", "walk"),
        "2": ("validation", "run"),
    }
    few = found.videos["few"]
    assert (few.duration_s, few.fps, few.frames, few.actions) == (0.2, 25.0, 5, (Action(0.0, 0.2, "run"),))


def test_folders_of_classes_alone_are_split_so_that_each_class_is_on_both_sides_for_good(tmp_path: Path) -> None:
    names = [f"{label}/{number}.mp4" for label in ("run", "train") for number in range(3)]
    make_clips(tmp_path / "videos", *names)
    sides = sides_of(prepare(own(tmp_path), PreparationSettings()), tmp_path / "videos")
    for label in ("run", "train"):  # a class may have the name of a subset
        assert {side for name, side in sides.items() if name.startswith(label)} == {"train", "test"}
    kept = (tmp_path / "prepared/subsets.csv").read_text().splitlines()[1:]
    assert kept == [f"{name},{sides[name]}" for name in sorted(names)]
    make_clips(tmp_path / "videos", "walk/0.mp4", "walk/9.mp4")  # ids become other ones: run__0, walk__0
    shutil.move(tmp_path / "videos/run/1.mp4", tmp_path / "videos/walk/run1.mp4")
    shutil.move(tmp_path / "videos/run/2.mp4", tmp_path / "videos/walk/2.mp4")
    grown = sides_of(prepare(own(tmp_path), PreparationSettings()), tmp_path / "videos")
    assert grown["walk/2.mp4"] == sides["run/2.mp4"]  # a corrected label
    assert {name: grown[name] for name in names if name in grown} == {
        name: sides[name] for name in names if name not in ("run/1.mp4", "run/2.mp4")
    }


def test_a_csv_that_states_some_subsets_keeps_them(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "a.mp4", "b.mp4", "c.mp4")
    write_files(tmp_path, {"labels.csv": "video,label,subset\na,run,train\na,jump,\nb,run,\nc.mp4,jump,\n"})
    found = own(tmp_path, labels=tmp_path / "labels.csv").collect()
    assert {video.id: video.subset for video in found.videos.values()} == {"a": "train", "b": "test", "c": "test"}


def test_a_clip_at_another_depth_is_reported_with_the_depth_that_is_expected(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "run/1.mp4", "run/more/2.mp4", "3.mp4")
    message = problems_of(own(tmp_path))
    for name in ("run/more/2.mp4", "3.mp4"):
        assert f"{tmp_path}/videos/{name}: expected class/video.mp4 below {tmp_path}/videos" in message


def test_a_missing_subset_is_reported_with_the_setting_or_the_folder_to_change(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "train/run/1.mp4", "val/run/2.mp4")
    assert "no video is in the subset 'test'; assign one in folders train and test" in (problems_of(own(tmp_path)))
    found = own(tmp_path, evaluation_subset="validation").collect()
    assert [video.id for video in found.of_subset("validation")] == ["2"]
    found = own(tmp_path, training_subset="Val", evaluation_subset="train").collect()
    assert [video.subset for video in found.videos.values()] == ["train", "Val"]


def test_a_folder_to_write_to_among_the_clips_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "prepared"):
        with pytest.raises(ValidationError, match="where its videos would be taken for clips"):
            custom_clips.Config(folder=folder, videos=tmp_path)


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    assert "no video is in the subset 'train'" in problems_of(own(tmp_path))


def test_a_csv_names_clips_by_id_name_or_path_and_may_give_several_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_clips(tmp_path / "videos", "a b.mp4", "deep/c.mp4", "deep/d.mp4", "unused.mp4")
    text = "File;Class;Split\na b;run;train\n/else/where/c.mp4;run;val\nc;jump;valid\ndeep/d.mp4;jump;test\n"
    write_files(tmp_path, {"labels.csv": text})
    message = problems_of(own(tmp_path, labels=tmp_path / "labels.csv"))
    assert f"labels.csv:4: c is the same file as /else/where/c.mp4 ({tmp_path}/labels.csv:3)" in message
    write_files(tmp_path, {"labels.csv": text.replace("/else/where/c.mp4", "c")})
    found = own(tmp_path, labels=tmp_path / "labels.csv").collect()
    assert found.videos["c"].actions == (Action(0.0, 1.0, "run"), Action(0.0, 1.0, "jump"))
    printed = capsys.readouterr().err.replace("\n", " ")
    assert f"1 of 4 clips in {tmp_path}/videos is not listed in {tmp_path}/labels.csv, and not used: " in printed
    assert {video.id: video.subset for video in found.videos.values()} == {
        "a b": "train",
        "c": "validation",
        "d": "test",
    }


def test_every_wrong_row_of_a_csv_is_reported_with_its_line(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "a.mp4", "b.mp4")
    rows = "a,,train\n,run,train\na,run,train,more\na,run,train\nb,run,test\na,run,train\nb,run,train\n"
    write_files(tmp_path, {"labels.csv": f"video,label,subset\n{rows}"})
    config = own(tmp_path, labels=tmp_path / "labels.csv")
    message = problems_of(config)
    for part in (":2: the label is empty", ":3: the video is empty", ":4: 4 cells for 3 columns"):
        assert f"labels.csv{part}" in message
    assert f"labels.csv:8: b is in 'train' here and in 'test' in {tmp_path}/labels.csv:6" in message
    write_files(tmp_path, {"labels.csv": "video,label,subset\na,run,train\nb,run,test\na,run,train\n"})
    assert "labels.csv:4: a is listed above as run" in problems_of(config)
    write_files(tmp_path, {"labels.csv": "video,label,subset\na,run,train\nb,run,tset\n"})
    assert "unknown subset 'tset'" in problems_of(config)


def test_a_csv_does_not_take_a_clip_from_the_folder_of_another_class(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "run/1.mp4", "walk/2.mp4", "walk/3.mp4")
    write_files(tmp_path, {"labels.csv": "video,label,subset\nwalk/1.mp4,walk,train\nwalk/2.mp4,walk,test\n"})
    message = problems_of(own(tmp_path, labels=tmp_path / "labels.csv"))
    assert "1 of 2 videos is missing or unreadable: walk/1.mp4." in message


def test_lists_of_videos_and_frames_take_their_classes_from_a_dataset_or_a_file(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "run/a b.mp4", "run/d.mp4")
    make_frames(tmp_path / "videos/jump/c", 5, "img_{:05d}.png")
    write_files(tmp_path, {"train.txt": "run/a b.mp4 30 26\njump/c 5 1\n", "test.txt": "/data/all/run/d.mp4 30 26\n"})
    given = {"training_list": "train.txt", "test_list": "test.txt"}
    found = lists(tmp_path, **given, classes="ucf101").collect()
    assert {video.id: video.actions for video in found.videos.values()} == {
        "a b": (Action(0.0, 1.0, "Drumming"),),
        "c": (Action(0.0, 0.2, "ApplyLipstick"),),
        "d": (Action(0.0, 1.0, "Drumming"),),
    }
    write_files(tmp_path, {"names.txt": "1 run\n2 jump high\n"})
    message = problems_of(lists(tmp_path, **given, classes=tmp_path / "names.txt"))
    assert "train.txt:1: label 26; expected 0 to 1" in message
    write_files(tmp_path, {"train.txt": "run/a b.mp4 30 0\njump/c 5 1\n", "test.txt": "d 30 0\n"})
    assert lists(tmp_path, **given, classes=tmp_path / "names.txt").collect().classes == ("run", "jump high")
    write_files(tmp_path, {"names.txt": "run\nrun\n"})
    assert "has the class 'run' twice" in problems_of(lists(tmp_path, **given, classes=tmp_path / "names.txt"))


def test_folders_that_miss_frames_or_have_fewer_than_their_list_says_are_unreadable(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        make_frames(tmp_path / "videos" / name, 5)
    (tmp_path / "videos/c/00002.jpg").unlink()
    (tmp_path / "videos/d/00005.jpg").rename(tmp_path / "videos/d/00000.jpg")
    write_files(tmp_path, {"train.txt": "a 0 5 0\nb 1 5 0\nb 0 2 0\nc 0 5 0\nd 0 5 0\n"})
    assert "3 of 4 videos are missing or unreadable" in problems_of(lists(tmp_path, training_list="train.txt"))
    listed = (tmp_path / "prepared/missing_videos.txt").read_text().replace(f"{tmp_path}/", "").splitlines()
    assert listed == [
        "videos/b: has 5 frames, and train.txt:2 says 6",
        "videos/c: has 4 of 5 frames",
        "videos/d: the frames are numbered from 0; expected numbers from 1",
    ]


def test_an_offset_makes_segments_of_a_video(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "a.mp4", "b.mp4")
    write_files(tmp_path, {"train.txt": "a 0 12 1\na 12 18 0\n", "test.txt": "b 3 28 1\n"})
    config = lists(tmp_path, training_list="train.txt", test_list="test.txt")
    found = prepare(config, PreparationSettings())
    assert found.videos["a"].actions == (Action(0.0, 0.4, "class_001"), Action(0.4, 1.0, "class_000"))
    assert found.videos["b"].actions == (Action(0.1, 1.0, "class_001"),)  # a frame more than the video has
    written = (config.folder / "train_list.txt").read_text()
    assert written == f"{tmp_path}/videos/a.mp4 0 12 1\n{tmp_path}/videos/a.mp4 12 18 0\n"
    write_files(tmp_path, {"train.txt": "a 0 12 1\na 60 18 0\n"})
    assert "train.txt:2: 2-2.6 s of a ends 1.60 s after the video, which is 1.00 s long" in problems_of(config)


def test_headers_that_were_read_are_not_read_again_unless_their_files_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clips(tmp_path / "videos", "train/run/a.mp4", "train/run/b.mp4", "test/run/c.mp4")
    (tmp_path / "videos/train/run/b.mp4").write_bytes(b"no video")
    assert "missing or unreadable" in problems_of(own(tmp_path))
    probed: list[str] = []
    read = HeaderReader.facts
    monkeypatch.setattr(HeaderReader, "facts", lambda self, path: probed.append(path.name) or read(self, path))
    make_clips(tmp_path / "videos", "train/run/b.mp4")
    with (tmp_path / "prepared/video_facts.jsonl").open("a") as stream:
        stream.write('{"file": "cut o')
    make_video(tmp_path / "videos/test/run/c.mp4", [], 2.0)
    found = own(tmp_path).collect()
    assert sorted(probed) == ["b.mp4", "c.mp4"]
    assert [video.duration_s for video in found.videos.values()] == [1.0, 1.0, 2.0]
    assert own(tmp_path).collect() == found
    assert len(probed) == 2


def test_several_labels_of_a_line_are_written_as_they_are_read(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "a.mp4", "b.mp4")
    write_files(tmp_path, {"train.txt": "a.mp4 30 2 0\nb.mp4 30 1\n"})
    config = lists(tmp_path, training_list="train.txt", columns="path frames label", multi_label=True)
    prepare(config, PreparationSettings())
    folder = tmp_path / "videos"
    assert (config.folder / "train_list.txt").read_text() == f"{folder}/a.mp4 30 2 0\n{folder}/b.mp4 30 1\n"


def test_the_lists_that_prepare_writes_are_read_to_the_same_clips(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "train/run/a b.mp4", "test/run/1.mp4", "train/walk/2 3.mp4")
    first = own(tmp_path)
    expected = prepare(first, PreparationSettings())
    written = {"training_list": "prepared/train_list.txt", "test_list": "prepared/test_list.txt"}
    again = lists(tmp_path, **written, classes=tmp_path / "prepared/classes.txt").collect()
    assert again == expected


def test_lists_of_extracted_frames_name_the_folders_and_their_own_counts(tmp_path: Path) -> None:
    make_clips(tmp_path / "videos", "train/run/a.mp4", "test/run/b.mp4")
    config = own(tmp_path)
    found = prepare(config, PreparationSettings(videos="frames", fps=10.0, short_side=32))
    file = found.videos["a"].file
    assert file is not None
    count = json.loads((file / "frames.json").read_text())["count"]
    assert count == 10
    assert (config.folder / "train_list.txt").read_text() == f"{file} 10 0\n"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "expected at least one of training_list, validation_list and test_list"),
        ({"training_list": "a", "multi_label": True}, "multi_label=true needs them"),
        (
            {"training_list": "a", "validation_list": "b"},
            "found test, which has no list; set evaluation_subset=validation or test_list",
        ),
    ],
)
def test_lists_that_cannot_be_used_are_refused(settings: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=problem):
        lists(tmp_path, **settings)


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason="ACTLOC_DATA is not set")
def test_real_clips_of_ucf101_in_folders_of_ones_own(tmp_path: Path) -> None:
    for path in SHARED.glob("*/*.avi"):
        subset = "test" if path.stem[-1] in "45" else "train"
        copy = tmp_path / "videos" / subset / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    found = own(tmp_path).collect()
    assert found.classes == ("ApplyEyeMakeup", "BenchPress", "Diving")
    assert (len(found.of_subset("train")), len(found.of_subset("test"))) == (9, 6)
    video = found.videos["v_ApplyEyeMakeup_g01_c01"]
    assert (video.fps, video.frames, video.actions) == (25.0, 164, (Action(0.0, 6.56, "ApplyEyeMakeup"),))
