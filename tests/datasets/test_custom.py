import json
import os
from pathlib import Path

import pytest

from actloc.annotations.model import Action, Annotations
from actloc.datasets.custom import Config
from actloc.errors import UserError
from actloc.extraction.preparing import prepare
from actloc.settings.sections import PreparationSettings
from actloc.video.headers import HeaderReader
from tests.toy import make_video

pytestmark = pytest.mark.usefixtures("forked_decoders")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("custom") / "videos"
    for name in ("a", "b", "c d", "é", "e", "f"):
        make_video(folder / f"{name}.mp4", [], duration_s=2.0)
    return folder


def collect(videos: Path, folder: Path, text: str, name: str = "labels.csv") -> Annotations:
    (folder / name).write_text(text, encoding="utf-8")
    return Config(folder=folder / "prepared", videos=videos, annotations=folder / name).collect()


def prepared(videos: Path, folder: Path, text: str) -> Annotations:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    config = Config(folder=folder / "prepared", videos=videos, annotations=folder / "labels.csv")
    return prepare(config, PreparationSettings())


def test_rows_become_actions_and_videos_without_rows_are_background(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "video,start,end,label,subset\na.mp4,0.5,1.0,run,train\nb,0:00:00.25,0:01.5,jump,test\nc d,0,1,run,train\n"
    found = collect(videos, tmp_path, text)
    assert found.classes == ("jump", "run")
    assert found.videos["a"].actions == (Action(0.5, 1.0, "run"),)
    assert found.videos["b"].actions == (Action(0.25, 1.5, "jump"),)
    assert found.videos["b"].subset == "test"
    assert found.videos["a"].duration_s == pytest.approx(2.0, abs=0.05)
    assert found.videos["a"].file == videos / "a.mp4"
    assert "3 of 6 videos have no annotations and are used as background: " in capsys.readouterr().err
    assert sorted(found.videos) == sorted(path.stem for path in videos.iterdir())
    monkeypatch.setattr(HeaderReader, "facts", lambda self, path: pytest.fail(f"the header of {path} is read again"))
    assert collect(videos, tmp_path, text) == found


def test_videos_without_rows_may_be_unlabelled_and_are_for_training_once_they_have_some(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(
        folder=tmp_path / "prepared", videos=videos, annotations=tmp_path / "labels.csv", unannotated="unlabelled"
    )
    head, rows = (
        "video,start,end,label,subset,annotated\n",
        "a,0.5,1.0,run,train,\nb,0.25,1.5,run,test,\ne,,,,train,0-1\n",
    )
    (tmp_path / "labels.csv").write_text(head + rows)
    found = prepare(config, PreparationSettings())
    subset_of = {video.id: video.subset for video in found.videos.values()}
    assert subset_of == {"a": "train", "b": "test", "e": "train", **dict.fromkeys(("c d", "f", "é"), "unlabelled")}
    printed = capsys.readouterr()
    assert "unlabelled: 3 videos (c d, f, é)" in printed.out
    assert "1 of 6 videos has no action in its annotated time, which is used as background: e" in printed.err
    (tmp_path / "labels.csv").write_text(f"{head}{rows}f,0,1,run,,0-1.5\nc d,,,,,0-0.5\n")
    found = prepare(config, PreparationSettings())
    subset_of = {video.id: video.subset for video in found.videos.values()}
    assert subset_of == {**dict.fromkeys(("a", "c d", "e", "f"), "train"), "b": "test", "é": "unlabelled"}
    assert "move videos to another subset" not in capsys.readouterr().err


def test_sides_are_chosen_once_and_kept_and_a_column_wins(videos: Path, tmp_path: Path) -> None:
    names = sorted(path.stem for path in videos.iterdir())
    text = "video,start,end,label\n" + "".join(f"{name},0,1,run\n" for name in names)
    found = prepared(videos, tmp_path, text)
    sides = {name: video.subset for name, video in found.videos.items()}
    assert set(sides.values()) == {"train", "test"}
    kept = (tmp_path / "prepared/subsets.csv").read_text().splitlines()
    assert kept == ["video,subset", *(f"{name}.mp4,{sides[name]}" for name in names)]
    other = next(name for name in names if sides[name] == "train")
    rows = "".join(f"{name},0,1,run,{'test' if name == other else ''}\n" for name in names)
    found = prepared(videos, tmp_path, f"video,start,end,label,subset\n{rows}")
    assert {name: video.subset for name, video in found.videos.items()} == {**sides, other: "test"}


def test_semicolons_decimal_commas_a_bom_and_synonyms_are_read(videos: Path, tmp_path: Path) -> None:
    text = "\ufeffFilename;Begin;Stop;Class;Split\r\na.mp4;0,5;1,25;run;train\r\nb.mp4;0;1;run;test\r\n"
    found = collect(videos, tmp_path, text)
    assert found.videos["a"].actions == (Action(0.5, 1.25, "run"),)


def test_every_wrong_row_is_reported_with_its_line(videos: Path, tmp_path: Path) -> None:
    text = (
        "video,start,end,label,subset\na,1,0.5,run,train\na,0,30,run,train\nb,x,1,run,test\nb,0,1,,test\n"
        "c d,0,1,run,tset\n,0,1,run,train\n../e,0,1,run,test\nf,nan,1,run,train\na,0,1,run,test\n"
    )
    with pytest.raises(UserError) as caught:
        collect(videos, tmp_path, text)
    message = str(caught.value)
    for part in (
        "labels.csv: 5 of 9 rows cannot be used, too many to leave out",
        "labels.csv:2: run 1-0.5 s ends before it starts",
        "labels.csv:3: 0-30 s of a ends 28.00 s after the video",
        "labels.csv:4: cannot read the time 'x'; expected seconds or H:MM:SS",
        "labels.csv:5: the label is empty",
        "labels.csv:6: unknown subset 'tset'. Did you mean test?",
        "labels.csv:7: the video is empty",
        "labels.csv:8: the id '../e' is empty or would leave its folder",
        "labels.csv:9: cannot read the time 'nan'",
        "labels.csv:10: a is in 'train' above and in 'test' here",
    ):
        assert part in message, message


def test_a_few_wrong_rows_are_listed_counted_and_left_out(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = "a,0,1,run,train\nb,0,1,run,test\nb,1,2,run,test\n"
    found = prepared(videos, tmp_path, f"video,start,end,label,subset\n{right}a,1,0.5,run,train\nb,x,1,run,test\n")
    assert {name: len(video.actions) for name, video in found.videos.items() if video.actions} == {"a": 1, "b": 2}
    printed, listing = capsys.readouterr(), tmp_path / "prepared/annotations_left_out.txt"
    assert "labels.csv:5: run 1-0.5 s ends before it starts" in printed.err
    assert printed.out.splitlines()[-1] == f"Left out 2 of 5 rows; all are listed in {listing}"
    assert [line.partition("labels.csv:")[2][:1] for line in listing.read_text().splitlines()] == ["5", "6"]
    # what must be corrected first is listed together with what would be left out
    with pytest.raises(UserError) as caught:
        prepared(videos, tmp_path, f"video,start,end,label,subset\n{right}a,1,0.5,run,train\nb,0,99,run,test\n")
    assert "has 2 problems" in caught.value.found
    assert "labels.csv:5: run 1-0.5 s ends" in caught.value.found
    prepared(videos, tmp_path, f"video,start,end,label,subset\n{right}")
    assert not listing.exists()


def test_an_end_a_little_past_the_video_is_clipped(videos: Path, tmp_path: Path) -> None:
    text = "video,start,end,label,subset\na,0.5,2.3,run,train\nb,0,1,run,test\n"
    assert collect(videos, tmp_path, text).videos["a"].actions[0].end_s == pytest.approx(2.0, abs=0.05)


def test_a_name_that_no_video_has_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    for name in ("v_Diving_g01", "v_Diving_g02", "b"):
        make_video(tmp_path / f"videos/{name}.mp4", [], 1.0)
    rows = "v_Divng_g01,0,1,run,train\nv_Divng_g01,0,1,run,train\nv_Diving_g02,0,1,run,train\nb,0,1,run,test\n"
    with pytest.raises(UserError) as caught:
        collect(tmp_path / "videos", tmp_path, f"video,start,end,label,subset\n{rows}gone.mp4,0,1,run,test\n")
    assert f"labels.csv:2: {tmp_path / 'videos'} has no video v_Divng_g01. Did you mean v_Diving_g01?" in str(
        caught.value
    )
    assert f"labels.csv:6: {tmp_path / 'videos'} has no video gone.mp4." in str(caught.value)
    assert "has 2 problems" in str(caught.value)
    database = {"B": {}, "v_Divng_g01": {}, "b": {}, "../x": {}}
    with pytest.raises(UserError) as caught:
        collect(tmp_path / "videos", tmp_path, json.dumps({"database": database}), "labels.json")
    for part in (
        "database['v_Divng_g01']: ",
        "has no video v_Divng_g01. Did you mean v_Diving_g01?",
        "database['b']: b is the same video as B",
        "database['../x']: the id '../x' is empty or would leave its folder",
    ):
        assert part in str(caught.value)


def test_an_unreadable_video_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(tmp_path / "videos/a.mp4", [], 1.0)
    (tmp_path / "videos/b.mp4").write_bytes(b"no video")
    text = "video,start,end,label,subset\na,0,1,run,train\nb,0,1,run,test\n"
    assert collect(tmp_path / "videos", tmp_path, text).videos["b"].duration_s is None
    assert "extract-features will list it in failed.jsonl" in capsys.readouterr().err.replace("\n", " ")


def test_videos_are_found_in_folders_and_equal_names_in_two_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    for name in ("P01/v0", "P02/videos/v1"):
        make_video(folder / f"{name}.mp4", [], 1.0)
    (folder / "P01/again").symlink_to(folder)
    text = "video,start,end,label,subset\nv0.mp4,0,1,run,train\nP02/V1.MP4,0,1,run,test\n"
    found = collect(folder, tmp_path, text)
    assert {video.id: video.file for video in found.videos.values()} == {
        "v0": folder / "P01/v0.mp4",
        "v1": folder / "P02/videos/v1.mp4",
    }
    make_video(folder / "P02/v0.mp4", [], 1.0)
    with pytest.raises(UserError, match=r"P01/v0\.mp4 and .*P02/v0\.mp4 would both have the id 'v0'"):
        collect(folder, tmp_path, text)


def test_videos_that_prepare_writes_are_not_taken_for_more(tmp_path: Path) -> None:
    text = "video,start,end,label,subset\nv0,0,1,run,train\nv1,0,1,run,test\n"
    for number in range(2):
        make_video(tmp_path / f"videos/v{number}.mp4", [], 1.0)
    (tmp_path / "labels.csv").write_text(text)
    preparation = PreparationSettings(videos="reencode", short_side=32)
    for folder in (tmp_path / "videos/prepared", tmp_path / "videos"):
        config = Config(folder=folder, videos=tmp_path / "videos", annotations=tmp_path / "labels.csv")
        for _ in range(2):
            found = prepare(config, preparation)
            assert sorted(found.videos) == ["v0", "v1"]
            assert all(video.file and video.file.parent.parent == folder for video in found.videos.values())


def test_features_without_videos_need_no_folder(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        "video,start,end,label\n" + "".join(f"/a/v{n}.mp4,0,1,run\n" for n in range(4))
    )
    config = Config(folder=tmp_path / "prepared", annotations=tmp_path / "labels.csv")
    found = prepare(config, PreparationSettings())
    assert sorted(found.videos) == ["v0", "v1", "v2", "v3"]
    assert {video.subset for video in found.videos.values()} == {"train", "test"}
    assert prepare(config, PreparationSettings()) == found


def test_a_json_without_subsets_gets_them(videos: Path, tmp_path: Path) -> None:
    entry = {"annotations": [{"segment": [0, 1], "label": "run"}]}
    found = collect(videos, tmp_path, json.dumps({"database": {"A.MP4": entry, "b": entry}}), "labels.json")
    assert {found.videos["a"].subset, found.videos["b"].subset} == {"train", "test"}


def test_a_stated_test_subset_may_have_no_actions_and_a_chosen_or_a_training_one_may_not(
    videos: Path, tmp_path: Path
) -> None:
    action = {"annotations": [{"segment": [0, 1], "label": "run"}]}
    train, test = {"subset": "train"}, {"subset": "test"}
    found = collect(videos, tmp_path, json.dumps({"database": {"a": {**train, **action}, "b": test}}), "labels.json")
    assert {video.subset for video in found.videos.values()} == {"train", "test"}
    with pytest.raises(UserError, match="no action is in the subset 'train'"):
        collect(videos, tmp_path, json.dumps({"database": {"a": train, "b": {**test, **action}}}), "labels.json")
    with pytest.raises(UserError, match=r"no action is in the subset '(train|test)'"):
        collect(videos, tmp_path, "video,start,end,label\na,0,1,run\n")


@pytest.mark.parametrize(
    ("factor", "unit"), [(30, "frames"), (1000, "milliseconds"), (77, "Are the times in seconds?")]
)
def test_times_in_another_unit_are_recognised(videos: Path, tmp_path: Path, factor: int, unit: str) -> None:
    rows = "".join(f"{name},{0.5 * factor},{1.9 * factor},run\n" for name in ("a", "b"))
    with pytest.raises(UserError) as caught:
        collect(videos, tmp_path, f"video,start,end,label\n{rows}")
    assert "labels.csv: 2 of 2 actions end after their video. " in str(caught.value)
    assert unit in str(caught.value)


def test_what_explains_all_problems_comes_first_in_a_json_too(videos: Path, tmp_path: Path) -> None:
    segments = [{"segment": [second * 30, second * 30 + 20], "label": "run"} for second in (0.5, 0.7, 1.2) * 8]
    database = {name: {"annotations": segments} for name in ("a", "b")}
    with pytest.raises(UserError) as caught:
        collect(videos, tmp_path, json.dumps({"database": database}), "labels.json")
    first = caught.value.found.splitlines()[1]
    assert "The times look like frames: divide them by the frames per second of each video" in first


@pytest.mark.parametrize("path", ["/home/me/clips/c d.mp4", "clips/c d", "C:\\clips\\c d.mp4"])
def test_the_file_name_of_a_path_counts(videos: Path, tmp_path: Path, path: str) -> None:
    text = f"video,start,end,label,subset\n{path},0,1,run,train\nb,0,1,run,test\n"
    found = collect(videos, tmp_path, text)
    assert found.videos["c d"].actions == (Action(0.0, 1.0, "run"),)
    assert found.videos["c d"].file == videos / "c d.mp4"


def test_two_paths_to_one_name_are_refused(videos: Path, tmp_path: Path) -> None:
    text = "video,start,end,label,subset\n/one/a.mp4,0,1,run,train\n/two/a.mp4,0,1,run,train\nb,0,1,run,test\n"
    with pytest.raises(UserError, match=r"labels.csv:3: a is /one/a.mp4 above and /two/a.mp4 here"):
        collect(videos, tmp_path, text)


def test_consequences_of_wrong_rows_are_not_reported_with_them(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        collect(videos, tmp_path, "video,start,end,label\na,x,1,run\nb,y,1,run\n")
    assert caught.value.found.count("expected seconds") == 2
    assert "no action is in the subset" not in str(caught.value)


def test_a_spreadsheet_is_refused_with_advice_to_save_it_as_csv(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        collect(videos, tmp_path, "PK", name="labels.xlsx")
    assert caught.value.fix.endswith(f"dataset.annotations={tmp_path / 'labels.csv'}")


def test_two_files_with_one_id_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    make_video(folder / "a.mp4", [], 1.0)
    make_video(folder / "a.mkv", [], 1.0)
    with pytest.raises(UserError, match="both have the id 'a'"):
        collect(folder, tmp_path, "video,start,end,label\na,0,1,run\n")


def test_missing_columns_are_reported_with_the_existing_ones(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column start or label; the columns are video, von, end"):
        collect(videos, tmp_path, "video,von,end\na,0,1\n")


def test_too_few_videos_for_a_test_subset_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    make_video(folder / "a.mp4", [], 1.0)
    with pytest.raises(UserError, match="no video is in the subset 'test'"):
        collect(folder, tmp_path, "video,start,end,label\na,0,0.5,run\n")


def test_activitynet_json_is_read_too(videos: Path, tmp_path: Path) -> None:
    action = [{"segment": [0, 1], "label": "run"}]
    database = {"a": {"subset": "train", "annotations": action}, "b": {"subset": "test", "annotations": action}}
    found = collect(videos, tmp_path, json.dumps({"database": database}), "labels.json")
    assert found.videos["a"].file == videos / "a.mp4"
    assert found.videos["b"].actions == (Action(0.0, 1.0, "run"),)


def test_more_cells_than_columns_are_reported_and_not_guessed(videos: Path, tmp_path: Path) -> None:
    text = "video,start,end,label\na,0,1,run, jump\nb,0,1,2,5,run\n"
    with pytest.raises(UserError) as caught:
        collect(videos, tmp_path, text)
    assert "labels.csv:2: 5 cells for 4 columns" in str(caught.value)
    assert "labels.csv:3: 6 cells for 4 columns" in str(caught.value)


def test_the_plainest_of_two_names_of_a_column_counts(videos: Path, tmp_path: Path) -> None:
    text = "id,video,start,end,label,subset\n1,a,0,1,run,train\n2,b,0,1,run,test\n"
    assert collect(videos, tmp_path, text).videos["a"].actions == (Action(0.0, 1.0, "run"),)


def test_an_unknown_subset_in_a_json_is_reported_with_the_setting_to_change(videos: Path, tmp_path: Path) -> None:
    action = [{"segment": [0, 1], "label": "run"}]
    database = {"a": {"subset": "fold 1", "annotations": action}, "b": {"subset": "test", "annotations": action}}
    with pytest.raises(
        UserError,
        match=r"unknown subset 'fold 1'; the videos are in fold 1, test, train; set dataset\.training_subset=",
    ):
        collect(videos, tmp_path, json.dumps({"database": database}), "labels.json")


def test_files_that_are_not_videos_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "videos"
    for name in ("a", "b"):
        make_video(folder / f"{name}.mp4", [], 1.0)
    (folder / "notes.txt").write_text("x")
    (folder / "deeper").mkdir()
    (folder / "deeper/more.txt").write_text("x")
    collect(folder, tmp_path, "video,start,end,label,subset\na,0,0.5,run,train\nb,0,0.5,run,test\n")
    printed = capsys.readouterr().err.replace("\n", " ")
    assert f"Ignored 2 entries of {folder}, which are not videos and hold none: deeper/, notes.txt" in printed


def test_a_table_without_rows_is_reported_as_that(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        collect(videos, tmp_path, "video,start,end,label\n")
    assert "has 1 problem:" in caught.value.found
    assert caught.value.found.endswith("labels.csv: it lists no action")


def test_videos_whose_names_are_no_text_are_left_out_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    for name in ("a", "b"):
        make_video(folder / f"{name}.mp4", [], 1.0)
    odd = os.fsdecode(b"caf\xe9")
    for path in (folder / f"{odd}.mp4", folder / odd / "c.mp4"):
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(folder / "a.mp4")
    found = prepared(folder, tmp_path, "video,start,end,label,subset\na,0,0.5,run,train\nb,0,0.5,run,test\n")
    assert sorted(found.videos) == ["a", "b"]
    told = " ".join(capsys.readouterr().err.split())
    assert f"Left out 2 videos of {folder} whose names are not UTF-8: " in told
    assert "udce9/c.mp4'" in told
    assert "udce9.mp4'" in told
    assert "rename them to use them" in told
    assert "Ignored" not in told
