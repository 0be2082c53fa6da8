"""The original annotations of published datasets, their counts and defects; recorded conversions of two of them."""

import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.annotations import form as annotation_form
from actloc.annotations.model import Action, Annotations, FeatureRows
from actloc.datasets import activitynet13, charades, ego4d_mq, epic_kitchens100, hapt, multithumos, thumos14
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.store.store import FeatureStore
from tests.datasets.raw import GOLDEN, RAW

DATA = Path(os.environ.get("ACTLOC_DATA", "/nowhere"))
PUBLISHED = [thumos14, activitynet13, epic_kitchens100, ego4d_mq, multithumos, charades, hapt]


def small(module: Any, folder: Path, **settings: Any) -> Any:
    RAW[module.__name__.rpartition(".")[2]](folder)
    return module.Config.small(folder).model_copy(update=settings)


def defects_of(config: DatasetConfig) -> str:
    return (config.folder / "annotation_defects.txt").read_text()


@pytest.mark.parametrize("module", PUBLISHED, ids=lambda module: module.__name__)
def test_preparing_twice_changes_no_file(module: Any, tmp_path: Path) -> None:
    config = small(module, tmp_path)
    config.collect()
    before = {path: path.stat().st_mtime_ns for path in config.folder.rglob("*")}
    config.collect()
    assert {path: path.stat().st_mtime_ns for path in config.folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("test_set", "left"),
    [(213, {"4", "270", "1292", "1496"}), (212, {"4", "270", "1496"}), (211, {"4", "1496"}), (210, {"4"})],
)
def test_thumos_test_sets_differ_in_three_videos(test_set: int, left: set[str], tmp_path: Path) -> None:
    config = small(thumos14, tmp_path, test_set=test_set)
    found = config.collect()
    assert {str(int(video.id[-7:])) for video in found.of_subset("test")} == left
    assert config.variant == f"test set {test_set}"


def test_thumos_text_files_give_classes_without_ambiguous_and_keep_actions_past_the_end(tmp_path: Path) -> None:
    config = small(thumos14, tmp_path)
    found = config.collect()
    assert found.classes == ("CliffDiving", "Diving")
    assert found.videos["video_validation_0000160"].actions == ()
    assert found.videos["video_test_0000270"].actions == (Action(170.0, 181.0, "Diving"),)
    assert found.videos["video_test_0000004"].frames == 1012
    assert "video_test_0000270: Diving 170-181 s of 176.13 s: ends after its video (kept" in defects_of(config)
    assert "video_validation_0000160: 155.2-160.6 s: is Ambiguous" in defects_of(config)


def test_actionformers_json_keeps_its_numbers_and_its_past_ends(tmp_path: Path) -> None:
    action = {"label": "Diving", "label_id": 2, "segment": [1.0, 40.0], "segment(frames)": [30, 1200]}
    other = {"label": "Billiards", "label_id": 0, "segment": [1.0, 2.0]}
    database = {
        "video_test_0000004": {"subset": "Test", "duration": 33.8, "fps": 30.0, "annotations": [action, other]},
        "video_test_0000270": {"subset": "Test", "duration": 33.8, "fps": 30.0},
    }
    path = tmp_path / "thumos14.json"
    path.write_text(json.dumps({"version": "Thumos14-30fps", "database": database}))
    config = thumos14.Config(folder=tmp_path / "prepared", annotations=path, test_set=211)
    found = config.collect()
    assert found.classes == ("Billiards", "id_001", "Diving")
    assert list(found.videos) == ["video_test_0000004"]
    assert found.keeps_past_end
    path.write_text("[]")
    with pytest.raises(UserError, match="is an empty list"):
        config.collect()


def test_a_folder_without_thumos_files_and_a_torn_line_are_refused(tmp_path: Path) -> None:
    config = thumos14.Config(folder=tmp_path / "prepared", annotations=tmp_path)
    with pytest.raises(UserError, match=r"has no file like Diving_val\.txt"):
        config.collect()
    (tmp_path / "Diving_val.txt").write_text("video_validation_0000161 11.3\n")
    with pytest.raises(UserError, match=r"Diving_val\.txt:1: found"):
        config.collect()
    (tmp_path / "Diving_val.txt").write_text("video_validation_0000161 11.3 x\n")
    with pytest.raises(UserError, match="found 'x'"):
        config.collect()


def test_activitynet_tables_count_only_actions_and_the_blocked_video_is_out(tmp_path: Path) -> None:
    config = small(activitynet13, tmp_path)
    found = config.collect()
    assert found.classes == ("Beer pong", "Fun sliding down", "Kneeling")
    assert [len(video.actions) for video in found.videos.values()] == [2, 2, 1]
    assert [video.id for video in found.of_subset("training")] == ["sJFgo9H6zNo"]
    kinds = ["repeats an earlier one", "ends after its video", "has no length"]
    assert all(kind in defects_of(config) for kind in kinds)
    everything = small(activitynet13, tmp_path / "b", blocked=None)
    assert "F_EHrfbYsRE" in everything.collect().videos
    assert (config.variant, everything.variant) == ("without the videos of blocked.json", "no video blocked")


def test_etads_blocked_list_needs_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small(activitynet13, tmp_path, blocked="etad")
    assert sorted(config.collect().videos) == ["JDg--pjY5gg", "PLek2e8NlKc", "sJFgo9H6zNo"]
    assert config.variant == "without the 79 videos that ETAD blocks"
    assert "Excluded 1 video (blocked list: etad)" in capsys.readouterr().err
    listed = json.loads(activitynet13._BLOCKED_BY_ETAD.read_text())
    assert len(set(listed)) == 79
    assert all(len(video_id) == 11 for video_id in listed)
    written = activitynet13.Config.model_validate_json(config.model_dump_json())
    assert written.blocked == "etad"


def pairs(found: Annotations) -> dict[str, list[tuple[float, float, str]]]:
    return {v.id: [(a.start_s, a.end_s, a.label) for a in v.actions] for v in found.videos.values()}


def recorded(name: str) -> dict[str, Any]:
    database: dict[str, Any] = json.loads((GOLDEN / f"{name}.opentad.json").read_text())["database"]
    return database


@pytest.mark.parametrize("labels", ["verb", "noun"])
def test_epic_tables_equal_the_recorded_conversion(labels: str, tmp_path: Path) -> None:
    found = small(epic_kitchens100, tmp_path, labels=labels).collect()
    expected = recorded(f"epic_kitchens_{labels}")
    assert pairs(found) == {
        video_id: [(*item["segment"], item["label"]) for item in entry.get("annotations", [])]
        for video_id, entry in expected.items()
    }
    assert {v.id: v.duration_s for v in found.videos.values()} == {
        k: entry["duration"] for k, entry in expected.items()
    }
    assert len(found.classes) == {"verb": 97, "noun": 300}[labels]


def test_epic_class_names_come_from_the_official_table(tmp_path: Path) -> None:
    names = tmp_path / "EPIC_100_verb_classes.csv"
    names.write_text("id,key,instances,category\n31,lift,\"['lift']\",lift\n38,shake,[],x\n")
    found = small(epic_kitchens100, tmp_path, class_names=names).collect()
    assert [action.label for action in found.videos["P91_01"].actions] == ["lift", "shake"]
    assert found.classes[31] == "lift"
    assert found.classes[0] == "id_000"


def test_epic_training_rows_in_frames_replace_a_missing_official_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(epic_kitchens100, tmp_path)
    official = config.collect()
    (config.annotations / "EPIC_100_train.csv").unlink()
    (config.annotations / "c2").mkdir()
    (config.annotations / "c2/training.csv").write_text(
        "narration_id,video,start,stop,verb,noun,action\n"
        "P91_01_0,P91_01,37,135,31,17,0\nP91_01_1,P91_01,135,181,38,9,1\nP92_117_9,P92_117,111691,113399,10,5,2\n"
    )
    found = config.collect()
    assert "c2/training.csv instead" in capsys.readouterr().err
    assert found.classes == official.classes
    for video in official.videos.values():
        ours = found.videos[video.id]
        assert (ours.subset, ours.duration_s) == (video.subset, video.duration_s)
        for action, other in zip(ours.actions, video.actions, strict=True):
            assert action.label == other.label
            assert 0 <= other.start_s - action.start_s < 1 / 30
            assert 0 <= other.end_s - action.end_s < 1 / 30
    assert small(epic_kitchens100, tmp_path / "b", labels="noun").variant == "nouns"


def test_ego4d_moments_equal_the_recorded_conversion(tmp_path: Path) -> None:
    found = small(ego4d_mq, tmp_path, clips="opentad").collect()
    expected = recorded("ego4d")
    assert pairs(found) == {
        video_id: [(*item["segment"], item["label"]) for item in entry.get("annotations", [])]
        for video_id, entry in expected.items()
    }
    assert {v.id: v.frames for v in found.videos.values()} == {k: entry["frame"] for k, entry in expected.items()}
    assert all(video.rows is None for video in found.videos.values())


def test_ego4d_clips_are_cut_from_whole_videos_by_actionformers_rule(tmp_path: Path) -> None:
    config = small(ego4d_mq, tmp_path)
    found = config.collect()
    # clip-1: frames 3000-17400 begin 8 frames after row 187; 17400 is extended to 1088 * 16, less one clip of 32
    assert {video.id: video.rows for video in found.videos.values()} == {
        "clip-1": FeatureRows("vid-a", 187, 1086),
        "clip-3": FeatureRows("vid-b", 219 // 16, 239 - 2),
        "clip-4": FeatureRows("vid-c", 0, 898),
    }
    shift_s = 8 / 30
    assert found.videos["clip-1"].actions == (
        Action(round(110.5 - 100.0211 + shift_s, 2), round(121.25 - 100.0211 + shift_s, 2), "use_phone"),
        Action(round(111.0 - 100.0211 + shift_s, 2), round(120.0 - 100.0211 + shift_s, 2), "use_phone"),
    )
    # with 8 frames in front and 8 behind, or 11 and 5: the whole strides that the rows were cut from
    assert {video.id: (video.duration_s, video.frames) for video in found.videos.values()} == {
        "clip-1": (480.53, 14416),
        "clip-3": (120.53, 3616),
        "clip-4": (480.0, 14400),
    }
    assert found.videos["clip-3"].actions == (Action(13.06, 24.06, "wash_hands"),)
    assert found.videos["clip-4"].actions == ()
    assert "clip-1: wash_hands 100.25-100.45 s: is shorter than 0.25 s (left out)" in defects_of(config)
    assert "clip-2: has no primary moment (left out)" in defects_of(config)
    assert config.variant == "clips of actionformer"


def test_ego4d_clips_without_a_row_or_with_unusual_rates_are_reported(tmp_path: Path) -> None:
    config = small(ego4d_mq, tmp_path)
    path = config.annotations / "moments_val.json"
    form = json.loads(path.read_text())
    short, slow = (dict(form["videos"][0]["clips"][0]) for _ in range(2))
    short.update(clip_uid="short", video_end_sec=7.9688, video_end_frame=239)
    slow.update(clip_uid="slow", video_end_frame=219 + 600)
    form["videos"][0]["clips"] += [short, slow]
    path.write_text(json.dumps(form))
    assert sorted(config.collect().videos) == ["clip-1", "clip-3", "clip-4"]
    assert "short: is too short for a row of features (left out)" in defects_of(config)
    assert "slow: has 5 frames per second (left out)" in defects_of(config)
    del form["videos"][0]["clips"][0]["video_start_sec"]
    path.write_text(json.dumps(form))
    with pytest.raises(UserError, match=r"moments_val\.json does not have the form of Ego4D's moments"):
        config.collect()


def test_numbered_classes_get_names_from_the_users_list_and_reversed_actions_are_left_out(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("c000 Holding some clothes\nc020 Closing a laptop\n")
    config = small(charades, tmp_path, class_names=names)
    found = config.collect()
    assert len(found.classes) == 157
    assert found.videos["S9KOH"].actions == (Action(0.0, 9.0, "Closing a laptop"),)
    assert found.videos["7UPGT"].actions == (Action(16.0, 22.2, "c156"),)
    assert "18-10 s: ends before its start (left out)" in defects_of(config)
    multi = small(multithumos, tmp_path)
    assert {a.label for v in multi.collect().videos.values() for a in v.actions} == {"class_01", "class_12", "class_65"}
    (tmp_path / "multithumos.json").write_text('{"v": {"subset": "training", "duration": 1, "actions": [[0, 0, 1]]}}')
    with pytest.raises(UserError, match="classes 1 to 65"):
        multi.collect()


def test_charades_official_tables_are_read(tmp_path: Path) -> None:
    header = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
    row = '{},HR43,Kitchen,6,7,Yes,"A person, cooking.",food,x,{},{}\n'
    (tmp_path / "Charades_v1_train.csv").write_text(
        header + row.format("46GP8", "c092 11.90 21.20;c147 0.00 12.60", "24.83") + row.format("N11GT", "", "18.33")
    )
    test = tmp_path / "Charades_v1_test.csv"
    test.write_text(header + row.format("YSKX3", "c000 0.00 9.00", "8.5"))
    found = charades.Config(folder=tmp_path / "prepared", annotations=tmp_path).collect()
    assert found.videos["46GP8"].actions == (Action(11.9, 21.2, "c092"), Action(0.0, 12.6, "c147"))
    assert (found.videos["N11GT"].actions, found.videos["N11GT"].subset) == ((), "training")
    assert [video.id for video in found.of_subset("testing")] == ["YSKX3"]
    test.write_text(header + row.format("YSKX3", "c157 0.00 9.00", "8.5"))
    with pytest.raises(UserError, match=r"'c157 0\.00 9\.00' is not an action"):
        charades.Config(folder=tmp_path / "prepared", annotations=tmp_path).collect()


def test_multithumos_official_text_files_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    folder.mkdir()
    names = [f"Class{number:02d}" for number in range(65, 0, -1)]
    for name in names:
        (folder / f"{name}.txt").write_text("video_validation_0000051 1.5 2.5\nvideo_test_0000004 0 1\n")
    class_list = tmp_path / "class_list.txt"
    class_list.write_text("".join(f"{number} {name}\n" for number, name in enumerate(names, 1)))
    config = multithumos.Config(folder=tmp_path / "prepared", annotations=folder, class_names=class_list)
    found = config.collect()
    assert found.classes == tuple(names)
    assert [(video.subset, len(video.actions)) for video in found.videos.values()] == [
        ("testing", 65),
        ("training", 65),
    ]
    (folder / "Class07.txt").unlink()
    with pytest.raises(UserError, match=r"has 64 text files; missing or unexpected: Class07\."):
        config.collect()


def test_multithumos_has_its_frame_rates_from_thumos14s_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = tmp_path / "thumos14.json"
    config = small(multithumos, tmp_path, frame_rates=rates)
    known = {"video_test_0000896": {"subset": "Test", "duration": 226.77, "fps": 25.0, "annotations": []}}
    rates.write_text(json.dumps({"database": known}))
    found = config.collect().videos
    assert {video.id: (video.fps, video.subset, len(video.actions)) for video in found.values()} == {
        "video_test_0000896": (25.0, "testing", 1),
        "video_validation_0000161": (None, "training", 2),
    }
    assert "no frame rate of video_validation_0000161" in " ".join(capsys.readouterr().err.split())
    rates.write_text(json.dumps({"database": {"other": known["video_test_0000896"]}}))
    with pytest.raises(UserError, match="the frame rate of none of 2 videos"):
        config.collect()


def test_the_names_of_ego4d_keep_the_order_and_the_quotes_of_the_label_map(tmp_path: Path) -> None:
    names = tmp_path / "label_map.txt"
    names.write_text('000\t"wash_(a,_b)"\n001\tuse_phone\n002\twash_hands\n')
    found = small(ego4d_mq, tmp_path, class_names=names).collect()
    assert found.classes == ('"wash_(a,_b)"', "use_phone", "wash_hands")


def test_hapt_windows_are_scored_by_training_statistics_channel_after_channel(tmp_path: Path) -> None:
    config = small(hapt, tmp_path)
    found = config.collect()
    assert found.classes == ("WALKING", "SITTING")
    assert found.videos["exp01_user01"].actions == (Action(0.2, 1.2, "WALKING"), Action(1.2, 2.6, "SITTING"))
    assert [(v.subset, v.duration_s) for v in found.videos.values()] == [("train", 2.42), ("test", 2.44)]
    assert "exp09_user02: WALKING: names a missing recording" in defects_of(config)
    assert "exp01_user01: SITTING 1.2-2.6 s of 2.42 s: ends after its video" in defects_of(config)
    store = FeatureStore(config.features_folder)
    assert store.ids() == ["exp01_user01", "exp02_user02"]
    assert store.verify() == []
    features = store.read("exp02_user02")
    assert features.shape == ((122 - 50) // 25 + 1, 300)
    trained, signal = (
        np.concatenate([np.loadtxt(tmp_path / f"hapt/RawData/{s}_{name}.txt") for s in ("acc", "gyro")], axis=1)
        for name in ("exp01_user01", "exp02_user02")
    )
    scored = (signal - trained.mean(0)) / trained.std(0)
    np.testing.assert_allclose(features[1], scored[25:75].T.ravel(), atol=1e-5)


@pytest.mark.parametrize("suffix", [".tar.xz", ".zip"])
def test_hapt_archives_are_read_without_unpacking_and_other_members_are_skipped(suffix: str, tmp_path: Path) -> None:
    config = small(hapt, tmp_path)
    expected = config.collect()
    archive = tmp_path / f"hapt{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in (tmp_path / "hapt").rglob("*.txt"):
                packed.write(path, path.relative_to(tmp_path))
            packed.writestr("../evil.txt", "x")
    else:
        with tarfile.open(archive, "w:xz") as tar:
            tar.add(tmp_path / "hapt", "hapt")
            link = tarfile.TarInfo("../labels.txt")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    other = config.model_copy(update={"raw": archive, "folder": tmp_path / "other"})
    assert other.collect() == expected
    names = {path.name for path in tmp_path.rglob("*")}
    assert "evil.txt" not in names


def test_a_changed_hapt_recording_gets_new_features(tmp_path: Path) -> None:
    config = small(hapt, tmp_path)
    config.collect()
    before = FeatureStore(config.features_folder).read("exp02_user02")
    signal = tmp_path / "hapt/RawData/acc_exp02_user02.txt"
    np.savetxt(signal, np.loadtxt(signal) + 1.0)
    config.collect()
    assert (FeatureStore(config.features_folder).read("exp02_user02") != before).any()


def test_hapt_reports_what_is_missing_torn_or_different(tmp_path: Path) -> None:
    config = small(hapt, tmp_path)
    config.collect()
    with pytest.raises(UserError, match="has features of other recordings or other windows"):
        config.model_copy(update={"window_samples": 40}).collect()
    signal = tmp_path / "hapt/RawData/acc_exp01_user01.txt"
    signal.write_text("1 2\n")
    with pytest.raises(UserError, match="does not have three finite numbers"):
        config.collect()
    signal.unlink()
    with pytest.raises(UserError, match=r"acc_exp01_user01\.txt is missing"):
        config.collect()
    (tmp_path / "hapt/RawData/labels.txt").unlink()
    with pytest.raises(UserError, match=r"does not contain labels\.txt"):
        config.collect()
    torn = tmp_path / "torn.tar.xz"
    torn.write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read"):
        config.model_copy(update={"raw": torn}).collect()


COUNTS: list[tuple[Any, dict[str, Any], dict[str, tuple[int, int]]]] = [
    (
        thumos14,
        {"annotations": "thumos14/official_txt", "metadata": "thumos14"},
        {"validation": (200, 3007), "test": (212, 3358)},
    ),
    (thumos14, {"annotations": "thumos14/thumos14.json"}, {"validation": (200, 3007), "test": (212, 3358)}),
    (activitynet13, {"annotations": "activitynet13"}, {"training": (10024, 15410), "validation": (4926, 7654)}),
    (
        activitynet13,
        {"annotations": "activitynet13", "blocked": "activitynet13/blocked_79.json"},
        {"training": (9976, 15352), "validation": (4895, 7613)},
    ),
    (
        epic_kitchens100,
        {"annotations": "epic_kitchens100"},
        {"training": (495, 67217), "validation": (138, 9668), "test": (67, 0)},
    ),
    (
        multithumos,
        {"annotations": "multithumos/multithumos.json"},
        {"training": (200, 18482), "testing": (213, 20208)},
    ),
    (charades, {"annotations": "multithumos/charades.json"}, {"training": (7985, 49802), "testing": (1863, 16691)}),
    (hapt, {"raw": "hapt/hapt_raw.tar.xz"}, {"train": (42, 849), "test": (19, 365)}),
]


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="ACTLOC_DATA names no folder")
@pytest.mark.parametrize(("module", "files", "counts"), COUNTS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_real_files_have_the_published_counts(
    module: Any, files: dict[str, str], counts: dict[str, tuple[int, int]], tmp_path: Path
) -> None:
    config = module.Config(folder=tmp_path, **{key: DATA / name for key, name in files.items()})
    found = config.collect()
    annotation_form.write(config.annotations_file, found)
    assert annotation_form.read(config.annotations_file) == found
    for subset, (videos, actions) in counts.items():
        members = found.of_subset(subset)
        assert (len(members), sum(len(video.actions) for video in members)) == (videos, actions)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="ACTLOC_DATA names no folder")
def test_etads_blocked_list_is_the_given_one(tmp_path: Path) -> None:
    annotations, given = DATA / "activitynet13", DATA / "activitynet13/blocked_79.json"
    configs = [
        activitynet13.Config(folder=tmp_path, annotations=annotations, blocked=blocked) for blocked in ("etad", given)
    ]
    assert configs[0].collect() == configs[1].collect()


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="ACTLOC_DATA names no folder")
def test_real_epic_rows_in_frames_have_the_official_times(tmp_path: Path) -> None:
    official = epic_kitchens100.Config(folder=tmp_path / "a", annotations=DATA / "epic_kitchens100").collect()
    tables = tmp_path / "tables"
    (tables / "c2").mkdir(parents=True)
    shutil.copy(DATA / "epic_kitchens100/EPIC_100_video_info.csv", tables)
    shutil.copy(DATA / "epic_kitchens100/c2/validation.csv", tables / "c2/training.csv")
    found = epic_kitchens100.Config(folder=tmp_path / "b", annotations=tables).collect()
    for video in official.of_subset("validation"):
        ours = found.videos[video.id].actions
        assert [action.label for action in ours] == [action.label for action in video.actions]
        ends = [[(a.start_s, a.end_s) for a in actions] for actions in (ours, video.actions)]
        np.testing.assert_allclose(*ends, atol=1 / 30 + 1e-9)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="ACTLOC_DATA names no folder")
def test_real_hapt_features_and_annotations_equal_the_recorded_ones(tmp_path: Path) -> None:
    config = hapt.Config(folder=tmp_path, raw=DATA / "hapt/hapt_raw.tar.xz")
    found, store = config.collect(), FeatureStore(config.features_folder)
    recorded_folder = DATA.parent / "parity/actionformer_hapt"
    with np.load(recorded_folder / "features.npz") as arrays:
        for name in arrays:
            np.testing.assert_allclose(store.read(name), arrays[name], atol=1e-5, rtol=0)
    expected = annotation_form.read(recorded_folder / "hapt.json")
    assert found.classes == expected.classes
    for video in expected.videos.values():
        ours = found.videos[video.id]
        assert ours.duration_s == pytest.approx(video.duration_s)
        assert [a.label for a in ours.actions] == [a.label for a in video.actions]
        ends = [[(a.start_s, a.end_s) for a in v.actions] for v in (ours, video)]
        np.testing.assert_allclose(*ends, atol=1e-9)
