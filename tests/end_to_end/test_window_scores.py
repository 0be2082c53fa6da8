"""Actions that a detector finds without their classes get these from a file with class scores of windows."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actloc.evaluation import class_scores
from actloc.evaluation.scored_windows import ScoredWindows
from tests.end_to_end.test_other_detectors import ETAD
from tests.toy import SCENES, TEST_VIDEOS, actloc, copy_toy

CLASSES = ("grey", "blue", "red")
WINDOW_S = 0.5
FUSED = ("fusion.rule=product", "fusion.top_k=1")


def scores_at(video_id: str, time_s: float) -> list[float]:
    """What a classifier that is nearly always right says of a moment; it takes the blue of v5 for red."""
    shown = next((colour for colour, start, end in SCENES[video_id] if start <= time_s < end), "grey")
    seen = "red" if (video_id, shown) == ("v5", "blue") else shown
    return [0.8 if name == seen else 0.1 for name in CLASSES]


def windows_of(video_id: str) -> ScoredWindows:
    starts = np.arange(0, 4, WINDOW_S)
    scores = [scores_at(video_id, start + WINDOW_S / 2) for start in starts]
    return ScoredWindows(np.stack([starts, starts + WINDOW_S], axis=1), np.array(scores))


def expected(video_id: str, segment: tuple[float, float]) -> dict[str, float]:
    """The mean of the windows centred inside, or the nearest one's: written down a second time, one by one."""
    windows = windows_of(video_id)
    centres = [sum(ends) / 2 for ends in windows.segments]
    rows = [row for centre, row in zip(centres, windows.scores, strict=True) if segment[0] <= centre <= segment[1]]
    if not rows:
        nearest = min(range(len(centres)), key=lambda number: abs(centres[number] - sum(segment) / 2))
        rows = [windows.scores[nearest]]
    means = dict(zip(CLASSES, np.mean(rows, axis=0), strict=True))
    return {name: means[name] for name in ("blue", "red")}  # the dataset's


@pytest.fixture(scope="module")
def folder(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ETAD on one class, and the scores as JSON and as HDF5."""
    folder = copy_toy(encoded, tmp_path_factory.mktemp("windows") / "toy")
    text = (folder / "toy.yaml").read_text().replace("max_steps: 32", "max_steps: 32\n  resize_to: 32")
    (folder / "toy.yaml").write_text(re.sub(r"detector:\n(  .*\n)+", ETAD, text))
    done = actloc(folder, "train", "toy.yaml", "dataset.class_agnostic=true", "schedule.epochs=2")
    assert done.returncode == 0, done.stderr
    for name in ("windows.json", "windows.h5"):
        windows = {video_id: windows_of(video_id) for video_id in TEST_VIDEOS}
        class_scores.write(folder / name, CLASSES, {}, windows, {"run": "tanet", "views": 1})
    return folder


def evaluated(folder: Path, *settings: str) -> tuple[dict[str, Any], dict[str, Any]]:
    done = actloc(folder, "eval", "ckpt/toy", *settings, "--json")
    assert done.returncode == 0, done.stderr
    results = (folder / json.loads(done.stdout.splitlines()[-1])["path"]).parent
    found, metrics = (json.loads((results / f"{name}.json").read_text()) for name in ("predictions", "metrics"))
    return found["results"], metrics


@pytest.mark.parametrize("name", ["windows.json", "windows.h5"])
def test_each_proposal_gets_the_class_of_the_windows_in_it(folder: Path, name: str) -> None:
    plain, _ = evaluated(folder, "fusion.scores=null")
    assert all(len(listed) > 1 for listed in plain.values())
    fused, metrics = evaluated(folder, f"fusion.scores={name}", "fusion.per=segment", *FUSED)
    for video_id, listed in plain.items():
        assert len(fused[video_id]) == len(listed)
        for one, own in zip(fused[video_id], listed, strict=True):
            shares = expected(video_id, own["segment"])
            assert one["segment"] == own["segment"]
            assert one["score"] == pytest.approx(own["score"] * max(shares.values()), rel=1e-9)
            assert shares[one["label"]] == pytest.approx(max(shares.values()))
    assert {one["label"] for one in fused["v2"]} == {"red", "blue"}
    classifier = metrics["classifier"]
    assert (classifier["file"], classifier["per"], classifier["form"]) == (name, "segment", "plain")
    assert classifier["facts"] == {"run": "tanet", "views": 1}
    assert classifier["top_1"] == 3 / 4  # the blue of v5 is taken for red
    of_videos = evaluated(folder, f"fusion.scores={name}", *FUSED)[1]["classifier"]
    assert (of_videos["per"], of_videos["top_1"]) == ("video", 1)


def test_a_file_of_predictions_and_the_report(folder: Path) -> None:
    plain, _ = evaluated(folder, "fusion.scores=null")
    (folder / "found.json").write_text(json.dumps({"results": plain}))
    settings = ("fusion.scores=windows.json", "fusion.per=segment", *FUSED)
    of_run, measured = evaluated(folder, *settings)
    of_file, other = evaluated(folder, *settings, "--predictions", "found.json")
    assert of_file == of_run
    assert other["classifier"] == measured["classifier"]
    done = actloc(folder, "report", "ckpt/toy")
    assert done.returncode == 0, done.stderr
    tables = (folder / "ckpt/toy/tables.md").read_text().replace("\\", "")
    assert "windows.json, product, top 1 | per segment | 75.00 |" in tables
    assert "Per segment: top-1 is the share of true actions whose class is the best in their segment" in tables


def test_new_videos_have_no_scores_in_the_file(folder: Path) -> None:
    evaluated(folder, "fusion.scores=null")
    own = folder / "ckpt/toy/eval/test/metrics.json"
    fused = evaluated(folder, "fusion.scores=windows.json", "fusion.per=segment", *FUSED)[1]
    own.write_text(json.dumps(fused))  # as older versions did
    by_file = ("predict", "ckpt/toy", "videos/v2.mp4", "--output", "out", "--set", "fusion.scores=windows.json")
    done = actloc(folder, *by_file)
    told = " ".join(done.stderr.split())
    assert done.returncode == 2
    assert "are of scores fused with windows.json. Expected those of scores fused with no class scores" in told
    assert "Run: actloc eval ckpt/toy fusion.scores=null; or set a number" in told
    evaluated(folder, "fusion.scores=null")
    done = actloc(folder, *by_file)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "fusion.scores=windows.json has no class scores of new videos: actions keep the class and score" in told
    found = json.loads((folder / "out/predictions.json").read_text())["results"]["v2"]
    assert {one["label"] for one in found} <= {"action"}


def test_a_file_without_windows_is_refused_before_anything_is_detected(folder: Path) -> None:
    (folder / "videos.json").write_text(json.dumps({"classes": CLASSES, "results": {"v2": [0, 0, 1], "v5": [0, 0, 1]}}))
    done = actloc(folder, "eval", "ckpt/toy", "fusion.scores=videos.json", "fusion.per=segment")
    assert done.returncode == 2
    told = " ".join(done.stderr.split())
    assert told.startswith("videos.json has scores of whole videos only, and fusion.per is segment.")
    assert "fusion.per=video" in told
    done = actloc(folder, "eval", "ckpt/toy", "fusion.scores=truth", "fusion.per=segment")
    assert done.returncode == 2
    assert "found segment, which needs fusion.scores=FILE; with truth, set fusion.per=video" in " ".join(
        done.stderr.split()
    )
