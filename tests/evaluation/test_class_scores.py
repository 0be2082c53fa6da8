import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from actloc.errors import NotFiniteError, UserError
from actloc.evaluation.class_scores import read, write
from actloc.evaluation.scored_windows import ScoredWindows
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


def test_softmax_is_applied_twice_or_once_to_tcanets_logits(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", **{"class": ["x", "y"]}, results={"a": [[0.0, 2.0], [9.0, 9.0]]})
    once = np.exp([0.0, 2.0]) / np.exp([0.0, 2.0]).sum()
    np.testing.assert_allclose(read(path, "tcanet").videos["a"], np.exp(once) / np.exp(once).sum())
    np.testing.assert_allclose(read(path, "tcanet_once").videos["a"], once)


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
        ("plain", {"classes": ["x"]}, "it has no results"),
        ("plain", {"classes": [], "results": {"a": [1.0]}}, "it has no classes"),
        ("plain", {"classes": ["x", "y", "x"], "results": {"a": [1, 1, 1]}}, "classes has x more than once"),
        ("plain", {"classes": ["x"], "results": {"a": [-1.0]}}, r"results\.a has a score of -1\."),
        ("plain", {"classes": ["x"], "windows": {"a": [[0, 1, [1, 2]]]}}, r"windows\.a\.0 has 2 scores for 1 class"),
        (
            "plain",
            {"classes": ["x"], "windows": {"a": [[0, 1, [1]], [2, 2, [1]]]}},
            r"windows\.a has a window that starts at 2 s and ends at 2",
        ),
        ("plain", {"classes": ["x"], "windows": {"a": [[0, "1", [1]]]}}, r"windows\.a\.0\.1: Input should be a valid"),
        (
            "plain",
            {"classes": ["x"], "windows": {"a": [[0, 1, 0.5]]}},
            r"windows\.a\.0\.2: Input should be a valid list",
        ),
        ("plain", {"classes": ["x"], "windows": {"a": []}}, r"windows\.a: List should have at least 1 item"),
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


CLASSES = ("jump", "run", "fly high")
RESULTS = {"a": np.array([0.1, 0.7, 0.2]), "sub/b": np.float32([0.1, 0.2, 0.7])}
WINDOWS = {
    "a": ScoredWindows(np.array([[0.0, 2.5], [2.5, 5.0]]), np.array([[0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])),
    "c": ScoredWindows(np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]), np.eye(3)),
}
FACTS = {"run": "tanet", "checkpoint": "ckpt_000030", "sha256": "0" * 64, "views": 6, "average": "probabilities"}


@pytest.mark.parametrize("name", ["scores.json", "scores.h5", "scores.HDF5"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, CLASSES, RESULTS, WINDOWS, FACTS, best_windows=2)
    assert h5py.is_hdf5(path) == (name != "scores.json")
    scores = read(path, "plain", "segment")
    assert (scores.classes, scores.facts) == (CLASSES, FACTS)
    # the video that has only windows is given what the best two of each class say
    expected = {"c": [0.5, 0.5, 0.5], **{video_id: row.tolist() for video_id, row in RESULTS.items()}}
    assert {video_id: row.tolist() for video_id, row in scores.videos.items()} == expected
    assert scores.windows.keys() == WINDOWS.keys()
    for video_id, windows in scores.windows.items():
        assert windows.segments.tolist() == WINDOWS[video_id].segments.tolist()
        assert windows.scores.tolist() == WINDOWS[video_id].scores.tolist()
    aligned = scores.aligned_windows(path, ["fly high", "jump"], ["v_a"])["v_a"]
    assert aligned.scores.tolist() == [[0.1, 0.1], [0.4, 0.3]]
    with pytest.raises(UserError, match=r"has no windows with scores for 1 class \(fly\) and 1 video \(sub/b\)\."):
        scores.aligned_windows(path, ["jump", "fly"], ["a", "sub/b"])


@pytest.mark.parametrize("name", ["scores.json", "scores.h5"])
def test_without_windows_segments_have_no_scores_and_with_windows_alone_videos_have_none(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    write(path, CLASSES, RESULTS, {}, FACTS)
    assert read(path, "plain").windows == {}
    with pytest.raises(UserError, match=r"scores of whole videos only[\s\S]*windows[\s\S]*fusion.per=video"):
        read(path, "plain", "segment")
    alone = written(tmp_path / "alone.json", classes=["x"], windows={"a": [[0, 1, [1]]]})
    assert read(alone, "plain", "segment").videos == {}
    with pytest.raises(UserError, match=r"scores of windows only[\s\S]*results[\s\S]*fusion.per=segment"):
        read(alone, "plain")


@pytest.mark.parametrize("name", ["scores.json", "scores.h5"])
def test_scores_that_are_not_finite_are_not_written(tmp_path: Path, name: str) -> None:
    broken = ScoredWindows(np.array([[0.0, 1.0]]), np.array([[0.1, np.nan, 0.2]]))
    for results, windows in (({"b": np.array([np.inf, 0, 0])}, {}), ({"b": np.ones(3)}, {"b": broken})):
        with pytest.raises(NotFiniteError, match=r"(results|windows)\.b has a score of (inf|nan)"):
            write(tmp_path / name, CLASSES, results, windows, FACTS)
    assert list(tmp_path.iterdir()) == []


def _with(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.pop("classes"), "classes is missing"),
        (lambda file: file.pop("windows/scores"), "windows/scores is missing"),
        (lambda file: (file.pop("results"), file.pop("windows")), "it has no results"),
        (_with("results", 3), "results/videos cannot be opened|results/videos is missing"),
        (_with("classes", 3), r"classes has shape \(\), expected 1 dimension"),
        (_with("classes", np.zeros(3)), "classes is not text"),
        (_with("results/scores", h5py.SoftLink("/windows/scores")), "results/scores is missing or a link"),
        (_with("results/scores", h5py.ExternalLink("other.h5", "x")), "results/scores is missing or a link"),
        (_with("results/videos", ["a"]), "1 different video id for 3 videos"),
        (_with("results/scores", np.full((3, 3), np.nan)), r"results\.a has a score of nan"),
        (_with("results/scores", np.ones((3, 2))), r"results\.a has 2 scores for 3 classes"),
        (_with("windows/counts", np.array([2, 2])), "windows/counts does not add up"),
        (_with("windows/counts", np.array([6, -1])), "windows/counts does not add up"),
        (_with("windows/segments", np.zeros((5, 3))), "windows/segments has 3 columns, expected 2"),
        (_with("windows/segments", np.zeros((5, 2))), r"windows\.a has a window that starts at 0 s and ends at 0 s"),
        (lambda file: file.attrs.update(run=np.zeros(3)), "attribute run is neither text nor a number"),
    ],
)
def test_hdf5_of_another_form_is_refused(tmp_path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    path = tmp_path / "scores.h5"
    write(path, CLASSES, RESULTS, WINDOWS, FACTS)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(UserError, match=message):
        read(path, "plain", "segment")


@pytest.mark.parametrize(("kept", "per"), [("results", "video"), ("windows", "segment")])
def test_hdf5_of_videos_or_of_windows_alone_is_read(tmp_path: Path, kept: str, per: Any) -> None:
    path = tmp_path / "scores.h5"
    write(path, CLASSES, RESULTS, WINDOWS, FACTS)
    with h5py.File(path, "r+") as file:
        del file["windows" if kept == "results" else "results"]
    scores = read(path, "plain", per)
    assert (len(scores.videos), len(scores.windows)) == ((3, 0) if kept == "results" else (0, 2))


def test_a_damaged_hdf5_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.h5"
    write(path, CLASSES, RESULTS, WINDOWS, FACTS)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot be read as plain scores"):
        read(path, "plain")
    path.write_text("{}")
    with pytest.raises(UserError, match="cannot be read as plain scores"):
        read(path, "plain")
