"""What `prepare` says of annotations, whatever the dataset."""

import json
from pathlib import Path
from typing import Any

import pytest

from actloc.annotations import prepared
from actloc.datasets import thumos14
from actloc.datasets.base import DatasetConfig
from actloc.errors import UserError
from actloc.extraction.preparing import prepare
from actloc.files import sha256_of_file
from actloc.settings.sections import PreparationSettings


def video(subset: str, *labels: str, start: float = 1.0) -> dict[str, Any]:
    actions = [{"segment": [start + number, start + number + 1], "label": label} for number, label in enumerate(labels)]
    return {"subset": subset, "duration": 60.0, "fps": 10.0, "annotations": actions}


def dataset(folder: Path, database: dict[str, Any], encoding: str = "utf-8") -> DatasetConfig:
    path = folder / "annotations.json"
    path.write_text(json.dumps({"database": database}), encoding=encoding)
    given = {"training_subset": "train", "evaluation_subset": "test"}
    return thumos14.Config(folder=folder / "prepared", annotations=path, test_set=213, **given)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_json_of_a_windows_editor_is_read(tmp_path: Path, encoding: str) -> None:
    config = dataset(tmp_path, {"v0": video("train", "Müde"), "v1": video("test", "Müde")}, encoding)
    assert prepare(config, PreparationSettings()).classes == ("Müde",)
    assert prepared.read(config.folder) == prepared.Prepared(
        annotations_sha256=sha256_of_file(config.annotations_file),
        sources={str(tmp_path / "annotations.json"): sha256_of_file(tmp_path / "annotations.json")},
    )


def test_classes_that_are_spelt_in_two_ways_or_cannot_be_learned_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataset(tmp_path, {"v0": video("train", "run", "Run ", "jump"), "v1": video("test", "run", "sit", "jump")})
    prepare(config, PreparationSettings())
    out, err = capsys.readouterr()
    assert "train: 1 video, 3 actions of 3 of 4 classes" in out
    assert "test: 1 video, 3 actions of 3 of 4 classes" in out
    printed = " ".join(err.split())
    assert "'Run ' and 'run' differ only in letter case, blanks, - or _, and are 2 classes" in printed
    assert "sit: 0 actions to learn from, 1 to score" in printed


@pytest.mark.parametrize(
    ("videos", "what"),
    [
        ({"v0": video("train"), "v1": video("test")}, "None of 2 videos has an action"),
        (
            {"v0": video("train", "run", start=100.0), "v1": video("test", "run", start=300.0)},
            "Every action starts after the end of its video. 2 of 2 actions end after their video. The times look like "
            "frames: divide them by the frames per second of each video.",
        ),
    ],
)
def test_annotations_to_learn_nothing_from_are_refused(tmp_path: Path, videos: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare(dataset(tmp_path, videos), PreparationSettings())
    assert what in caught.value.found
    assert not (tmp_path / "prepared/annotations.json").exists()


def test_a_test_subset_without_actions_is_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(dataset(tmp_path, {"v0": video("train", "run"), "v1": video("test")}), PreparationSettings())
    assert "test: 1 video, 0 actions of 0 of 1 class" in capsys.readouterr().out
