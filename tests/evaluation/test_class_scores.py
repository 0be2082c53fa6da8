import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.errors import UserError
from actloc.evaluation.class_scores import read
from actloc.settings.choices import ScoreForm


def written(path: Path, **content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(("form", "key"), [("cuhk", "class"), ("plain", "classes"), ("plain", "class")])
def test_scores_are_aligned_by_the_names_of_classes_and_videos(tmp_path: Path, form: ScoreForm, key: str) -> None:
    path = written(
        tmp_path / "a.json", **{key: ["jump", "run", "fly"]}, results={"a": [0.1, 0.7, 0.2], "v_b": [0, 1, 0]}
    )
    scores = read(path, form).aligned(path, ["run", "jump"], ["v_a", "b"])
    assert {video: row.tolist() for video, row in scores.items()} == {"v_a": [0.7, 0.1], "b": [1.0, 0.0]}


def test_everything_that_is_missing_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", classes=["jump"], results={"a": [1.0]})
    with pytest.raises(UserError, match=r"no scores for 2 classes \(run, fly\) and 1 video \(b\)\."):
        read(path, "plain").aligned(path, ["run", "jump", "fly"], ["a", "b"])


def test_softmax_is_applied_twice_to_tcanets_logits(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", **{"class": ["x", "y"]}, results={"a": [[0.0, 2.0], [9.0, 9.0]]})
    once = np.exp([0.0, 2.0]) / np.exp([0.0, 2.0]).sum()
    np.testing.assert_allclose(read(path, "tcanet").videos["a"], np.exp(once) / np.exp(once).sum())


def test_untrimmednets_rows_are_video_numbers_and_its_columns_ucf101_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    table = np.zeros((1574, 101), dtype=np.float32)
    table[3, 96], table[3, 6] = 0.75, 0.5
    np.save(path, table)
    scores = read(path, "untrimmednet")
    aligned = scores.aligned(path, ["VolleyballSpiking", "BaseballPitch", "Diving"], ["video_test_0000004"])
    assert aligned["video_test_0000004"].tolist() == [0.75, 0.5, 0.0]


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("plain", {"results": {"a": [1.0]}}, "classes"),
        ("cuhk", {"class": ["x"], "results": {"a": [1.0, 2.0]}}, "a has 2 scores for 1 class"),
        ("cuhk", {"class": ["x"], "results": {"a": ["1"]}}, r"results\.a\.0"),
        ("tcanet", {"class": ["x"], "results": {"a": [1.0]}}, r"results\.a\.0"),
        ("untrimmednet", {}, "untrimmednet"),
    ],
)
def test_a_file_in_another_format_is_refused(
    tmp_path: Path, form: ScoreForm, content: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(written(tmp_path / "a.json", **content), form)


def test_an_array_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 20), dtype=np.float32))
    with pytest.raises(UserError, match="not an array of 101 columns of finite floats"):
        read(tmp_path / "a.npy", "untrimmednet")
