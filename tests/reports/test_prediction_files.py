import json
from pathlib import Path
from typing import Any

import pytest

from actloc.datasets import thumos14
from actloc.errors import UserError
from actloc.evaluation.prediction_files import read
from actloc.evaluation.predictions import Prediction


def text(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_thumos_text_may_name_classes_by_official_number_or_by_words(tmp_path: Path) -> None:
    path = text(tmp_path / "a.txt", "v2 1 2.5 7 0.5", "", "v1 0 1 clean and jerk 1e-3", "v2 3 4 97 0.25")
    assert read(path) == {
        "v2": [Prediction("BaseballPitch", 0.5, 1, 2.5), Prediction("VolleyballSpiking", 0.25, 3, 4)],
        "v1": [Prediction("clean and jerk", 0.001, 0, 1)],
    }


def test_a_number_that_is_a_class_of_the_dataset_stays_a_number(tmp_path: Path) -> None:
    path = text(tmp_path / "a.txt", "v 0 1 7 0.5", "v 0 1 9 0.5")
    assert [one.label for one in read(path, ("7", "8"))["v"]] == ["7", "BasketballDunk"]


def test_the_twenty_classes_of_thumos_are_in_alphabetical_order() -> None:
    assert len(thumos14.CLASSES) == 20
    assert list(thumos14.CLASSES.values()) == sorted(thumos14.CLASSES.values())


@pytest.mark.parametrize("key", ["score", "scores"])
def test_activitynet_json_may_contain_other_keys(tmp_path: Path, key: str) -> None:
    claim = {"label": "run", key: 1, "segment": [0.5, 2], "more": None}
    path = text(tmp_path / "a.json", json.dumps({"version": "VERSION 1.3", "results": {"v": [claim], "w": []}}))
    assert read(path) == {"v": [Prediction("run", 1.0, 0.5, 2.0)], "w": []}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "v 1 2 run", "line 1: 4 fields instead of video, start, end, class and score"),
        ("a.txt", "v 1 2 run 0.5\nv 1 two run 0.5", "line 2: could not convert"),
        ("a.txt", "v 1 nan run 0.5", "line 1: a time or the score is not finite"),
        ("a.txt", "v 1 2 1 0.5", "line 1: 1 is not an official class number"),
        ("a.json", "[]", "top level"),
        ("a.json", '{"results": {"v": [{"label": "run", "score": "1", "segment": [0, 1]}]}}', "results.v.0.score"),
        ("a.json", '{"results": {"v": [{"label": "run", "score": 1, "segment": [0]}]}}', "results.v.0.segment"),
        (
            "a.json",
            '{"results": {"v": [{"label": "run", "score": NaN, "segment": [0, 1]}]}}',
            "v.0.score: Input should be a finite number",
        ),
    ],
)
def test_a_file_in_another_format_is_refused_with_the_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(text(tmp_path / name, content))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for name in ("a.txt", "a.json"):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)


def test_the_first_twenty_problems_of_a_text_are_listed(tmp_path: Path) -> None:
    rows: list[Any] = [f"v 1 2 {number} 0.5" for number in range(100, 125)]
    with pytest.raises(UserError, match="and 5 more"):
        read(text(tmp_path / "a.txt", *rows))
