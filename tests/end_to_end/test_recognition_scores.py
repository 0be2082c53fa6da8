"""Class scores of clips and of the windows of untrimmed videos, saved by a recogniser and fused by a detector."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc import console
from actloc.evaluation import class_scores
from actloc.evaluation.class_scores import ClassScores
from tests.end_to_end.test_other_detectors import ETAD
from tests.end_to_end.test_recognition import metrics, ran, rows
from tests.end_to_end.test_several_processes import stderr_of_all, together
from tests.toy import SCENES, TEST_VIDEOS, actloc, copy_toy
from tests.toy_clips import CONFIG

SETTINGS = ("evaluation.clips=2", "evaluation.average=logits")
DURATION_S = 4.0
OF_ACTIONS = CONFIG.replace("custom_clips", "custom").replace("labels: labels.csv", "annotations: labels.csv")


def saved(folder: Path, run: str, file: str, *settings: str, status: int = 0) -> ClassScores:
    ran(folder, "eval", run, "--save-scores", file, *settings, status=status)
    return class_scores.read(folder / file, "plain")


@pytest.mark.parametrize("file", ["scores.json", "scores.h5"])
def test_whole_clips_have_the_probabilities_that_were_scored(recognizing: Path, tmp_path: Path, file: str) -> None:
    folder = copy_toy(recognizing, tmp_path / "toy")
    found = saved(folder, "ckpt/toy", file, *SETTINGS)
    assert found.classes == ("blue", "green", "red")
    assert not found.windows
    weights = folder / "ckpt/toy/ckpt_000009/averaged.safetensors"
    assert found.facts == {
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "run": "ckpt/toy",
        "checkpoint": "ckpt_000009",
        "weights": "averaged",
        "views": "2 clips x 1 crop",
        "average": "logits",
    }
    listed = rows(folder / "ckpt/toy/eval/test/clips.csv")
    assert [row["video"] for row in listed] == list(found.videos)
    for row in listed:
        scores = found.videos[row["video"]]
        assert scores.sum() == pytest.approx(1)
        assert found.classes[int(scores.argmax())] == row["predicted"]


@pytest.fixture(scope="module")
def folder(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untrimmed toy set with a recogniser of its actions, which need no files of their own."""
    folder = copy_toy(encoded, tmp_path_factory.mktemp("windows") / "toy")
    (folder / "actions.yaml").write_text(OF_ACTIONS)
    ran(folder, "train", "actions.yaml", "schedule.epochs=12", "clips.sampling=interval", "clips.interval=2")
    return folder


def test_actions_of_untrimmed_videos_are_clips(folder: Path) -> None:
    ran(folder, "eval", "ckpt/actions", "dataset.evaluation_subset=train")
    found = metrics(folder, "actions", "train")
    actions = [action for video, scene in SCENES.items() if video not in TEST_VIDEOS for action in scene]
    assert found["counts"]["clips"] == len(actions)
    assert found["top_1"] > 0.75  # chance is a half
    listed = rows(folder / "ckpt/actions/eval/train/clips.csv")
    assert [(row["true"], float(row["start_s"]), float(row["end_s"])) for row in listed] == actions


@pytest.mark.parametrize(
    ("window_s", "overlap", "count"), [(None, 0.5, 14), (1.0, 0.5, 7), (1.5, 0.0, 3), (9.0, 0.5, 1), (2.0, 0.9, 11)]
)
def test_windows_cover_a_video_and_the_last_one_ends_with_it(
    folder: Path, window_s: float | None, overlap: float, count: int
) -> None:
    settings = [f"evaluation.window_overlap={overlap}"]
    settings += [] if window_s is None else [f"evaluation.window_s={window_s}"]
    found = saved(folder, "ckpt/actions", "windows.h5", *settings)
    assert set(found.windows) == set(TEST_VIDEOS)
    num_clips = max(1, round(min(window_s or 0, DURATION_S) / (8 / 30)))
    assert found.facts["views_of_windows"] == f"{console.count(num_clips, 'clip')} x 1 crop"
    assert found.facts["window_s"] == (window_s or "8 frames")
    assert found.facts["window_overlap"] == overlap
    length_s = min(window_s or 8 / 30, DURATION_S)  # four frames, every second one
    for video_id, windows in found.windows.items():
        starts, ends = windows.segments.T
        if window_s is None:
            count = 1 + int(np.ceil((DURATION_S - length_s) / (length_s / 2)))
        assert len(starts) == count
        assert starts[0] == 0
        assert ends[-1] == pytest.approx(DURATION_S)
        np.testing.assert_allclose(ends - starts, length_s)
        assert (np.diff(starts) <= length_s * (1 - overlap) * (1 + 1e-5)).all()
        np.testing.assert_allclose(windows.scores.sum(1), 1)
        # a video's score of a class is the mean of its best windows
        best = np.sort(windows.scores, axis=0)[::-1][:3].mean(0)
        np.testing.assert_allclose(found.videos[video_id], best, rtol=1e-6)


def test_detections_without_classes_get_them_from_the_windows_in_them(folder: Path) -> None:
    text = (folder / "toy.yaml").read_text().replace("max_steps: 32", "max_steps: 32\n  resize_to: 32")
    before, _, rest = text.partition("detector:")
    after = rest[rest.index("optimizer:") :]
    (folder / "etad.yaml").write_text(before + ETAD + after)
    scores = saved(folder, "ckpt/actions", "scores.json", "evaluation.window_s=0.5")
    ran(folder, "train", "etad.yaml", "dataset.class_agnostic=true")

    def evaluated(*settings: str) -> tuple[dict[str, Any], dict[str, Any]]:
        done = actloc(folder, "eval", "ckpt/etad", *settings, "--json")
        assert done.returncode == 0, done.stderr
        results = (folder / json.loads(done.stdout.splitlines()[-1])["path"]).parent
        found, measured = (json.loads((results / f"{name}.json").read_text()) for name in ("predictions", "metrics"))
        return found["results"], measured

    plain, _ = evaluated("fusion.scores=null")
    fusion = "fusion.scores=scores.json", "fusion.per=segment", "fusion.rule=product", "fusion.top_k=1"
    fused, measured = evaluated(*fusion)
    assert sum(map(len, plain.values())) > 2
    for video_id, listed in plain.items():
        windows = scores.windows[video_id]
        centres = windows.segments.mean(1)
        for one, own in zip(fused[video_id], listed, strict=True):
            start, end = own["segment"]
            inside = (centres >= start) & (centres <= end)
            if not inside.any():
                inside = np.abs(centres - (start + end) / 2) == np.abs(centres - (start + end) / 2).min()
            shares = windows.scores[inside].mean(0)
            assert one["segment"] == own["segment"]
            assert one["score"] == pytest.approx(own["score"] * shares.max(), rel=1e-6)
            assert shares[scores.classes.index(one["label"])] == pytest.approx(shares.max())
    facts = measured["classifier"]["facts"]
    last = max(path.name for path in (folder / "ckpt/actions").glob("ckpt_*"))
    assert (facts["run"], facts["checkpoint"]) == ("ckpt/actions", last)


def test_a_video_that_one_action_fills_has_windows_where_another_is_not_filled(folder: Path, tmp_path: Path) -> None:
    filled = copy_toy(folder, tmp_path / "toy")
    lines = [line for line in (filled / "labels.csv").read_text().splitlines() if not line.startswith("v2.")]
    (filled / "labels.csv").write_text("\n".join([*lines, f"v2.mp4,0,{DURATION_S},red,test"]) + "\n")
    ran(filled, "prepare", "actions.yaml", "--overwrite")
    told = ran(filled, "eval", "ckpt/actions", "--save-scores", "scores.json", "evaluation.window_s=1")
    assert "Wrote class scores of 2 of 2 videos" in told
    read = class_scores.read(filled / "scores.json", "plain", "segment")
    found = read.aligned_windows(filled / "scores.json", read.classes, TEST_VIDEOS)
    assert {video: len(windows.scores) for video, windows in found.items()} == dict.fromkeys(TEST_VIDEOS, 7)
    best = np.sort(found["v2"].scores, axis=0)[-3:].mean(0)
    assert not np.allclose(read.videos["v2"], best)  # measured on the whole of it


def test_several_processes_write_the_windows_of_one(folder: Path, tmp_path: Path) -> None:
    written = []
    for size in (1, 2):
        copied = copy_toy(folder, tmp_path / str(size))
        (copied / "videos/v4.mp4").write_bytes(b"")
        command = ("eval", "ckpt/actions", "--save-scores", "s.json", "dataset.evaluation_subset=train")
        done = together(copied, size, *command) if size > 1 else [actloc(copied, *command)]
        assert [process.returncode for process in done] == [3] * size, stderr_of_all(done)
        assert stderr_of_all(done).count("v4: unreadable") == 1
        written.append((copied / "s.json").read_bytes())
    assert written[0] == written[1]


def test_a_video_without_actions_that_cannot_be_read_is_counted(folder: Path, tmp_path: Path) -> None:
    broken = copy_toy(folder, tmp_path / "toy")
    (broken / "videos/v4.mp4").write_bytes(b"")
    told = ran(broken, "eval", "ckpt/actions", "--save-scores", "s.json", "dataset.evaluation_subset=train", status=3)
    assert "v4: unreadable" in told
    assert "Wrote class scores of 3 of 4 videos to s.json" in told
