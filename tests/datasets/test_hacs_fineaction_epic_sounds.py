"""HACS, FineAction and EPIC-Sounds from made-up files in the official form: the real ones were not at hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from actloc.annotations import form as annotation_form
from actloc.annotations.model import Action
from actloc.datasets import epic_sounds, fineaction, hacs
from actloc.errors import UserError
from tests.datasets.raw import RAW


def small(module: Any, folder: Path, **settings: Any) -> Any:
    RAW[module.__name__.rpartition(".")[2]](folder)
    return module.Config.small(folder).model_copy(update=settings)


def defects_of(config: Any) -> list[str]:
    return (config.folder / "annotation_defects.txt").read_text().splitlines()


@pytest.mark.parametrize("module", [hacs, fineaction, epic_sounds], ids=lambda module: module.__name__)
def test_preparing_twice_changes_no_file_and_what_is_written_is_what_was_read(module: Any, tmp_path: Path) -> None:
    config = small(module, tmp_path)
    found = config.collect()
    annotation_form.write(config.annotations_file, found)
    assert annotation_form.read(config.annotations_file) == found
    before = {path: path.stat().st_mtime_ns for path in config.folder.rglob("*")}
    config.collect()
    assert {path: path.stat().st_mtime_ns for path in config.folder.rglob("*")} == before


def test_hacs_durations_are_text_and_defects_are_listed_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(hacs, tmp_path)
    found = config.collect()
    assert {video.id[-1]: (video.subset, video.duration_s) for video in found.videos.values()} == {
        "0": ("training", 90.5),
        "1": ("validation", 60.0),
        "2": ("testing", 12.34),
    }
    assert found.classes == ("Archery", "Beer pong")
    assert found.videos["aaaaaaaaaa1"].actions == (Action(50, 61.25, "Beer pong"), Action(5, 5, "Archery"))
    kinds = ["repeats an earlier one", "ends after its video", "has no length"]
    assert [kind in line for kind, line in zip(kinds, defects_of(config), strict=True)] == [True] * 3
    printed = " ".join(capsys.readouterr().err.split())
    assert "has 2 classes, the official file 200; is it a part of the official file?" in printed
    assert "has 1 validation video, the official v1.1.1 5,981" in printed


def test_the_other_version_of_hacs_is_refused_and_results_name_the_version(tmp_path: Path) -> None:
    config = small(hacs, tmp_path)
    video = {"subset": "validation", "duration": "9.5", "annotations": [{"segment": [1, 2], "label": "Archery"}]}
    config.annotations.write_text(json.dumps({"database": {f"v{number:010d}": video for number in range(5982)}}))
    with pytest.raises(UserError, match=r"5,982 validation videos, as v1\.1 has") as error:
        config.collect()
    assert "dataset.version=v1.1," in error.value.fix
    older = config.model_copy(update={"version": "v1.1"})
    assert len(older.collect().of_subset("validation")) == 5982
    assert (config.variant, older.variant) == ("v1.1.1", "v1.1")


def test_fineaction_is_read_and_a_reversed_segment_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small(fineaction, tmp_path)
    found = config.collect()
    assert [len(found.of_subset(name)) for name in ("training", "validation", "testing")] == [1, 1, 1]
    assert found.videos["v_00000002"].actions == (Action(8, 10.5, "pass basketball"),)
    assert ["left out" in line for line in defects_of(config)] == [False, True]
    assert "has 2 classes, the official file 106" in " ".join(capsys.readouterr().err.split())


def test_epic_sounds_has_44_classes_by_number_and_durations_from_epics_table(tmp_path: Path) -> None:
    config = small(epic_sounds, tmp_path)
    found = config.collect()
    assert len(found.classes) == 44
    assert [found.classes[number] for number in (0, 3, 4, 43)] == ["id_000", "click", "rustle", "water"]
    video = found.videos["P91_01"]
    assert video.actions == (Action(1.089, 3.5, "rustle"), Action(3723.1, 3724.25, "click"))
    assert (video.subset, video.duration_s, video.fps) == ("training", 4000.5, 59.94)
    assert (found.videos["P93_02"].subset, found.videos["P93_02"].actions) == ("test", ())
    assert ["ends after its video" in line for line in defects_of(config)] == [True]
    assert small(epic_sounds, tmp_path / "b", video_info=None).collect().videos["P91_01"].duration_s is None


def test_epic_sounds_says_what_is_missing_or_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small(epic_sounds, tmp_path)
    tables = config.annotations
    (tables / "EPIC_Sounds_detection_test_videos.csv").unlink()
    assert not config.collect().of_subset("test")
    assert "the subset 'test' is empty" in " ".join(capsys.readouterr().err.split())
    table = tables / "EPIC_Sounds_train.csv"
    text = table.read_text()
    for old, new, expected in [
        ("click,3", "click,44", "class_id 44"),
        ("click,3", "rustle,3", "give the name 'rustle' to several class_id"),
        ("00:00:01.089", "1.089", "'1.089' is not a time"),
    ]:
        table.write_text(text.replace(old, new))
        with pytest.raises(UserError, match=expected):
            config.collect()
    for path in tables.glob("EPIC_Sounds_*.csv"):
        path.unlink()
    with pytest.raises(UserError, match="has none of EPIC_Sounds_train"):
        config.collect()
