"""Videos in, a report and predictions out, as a user runs it."""

import base64
import csv
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import actloc as package
from tests.toy import TEST_VIDEOS, actloc, copy_toy


@pytest.fixture(scope="module")
def learned(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set trained until it knows its colours, evaluated and reported."""
    folder = copy_toy(encoded, tmp_path_factory.mktemp("learned") / "toy")
    for command in (
        ("train", "toy.yaml", "schedule.epochs=55", "schedule.warmup_epochs=5", "training.checkpoint_every_epochs=20"),
        ("eval", "ckpt/toy"),
        ("report", "ckpt/toy"),
    ):
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder


def test_the_toy_set_is_learned(learned: Path) -> None:
    metrics = json.loads((learned / "ckpt/toy/eval/test/metrics.json").read_text())
    assert metrics["average_map"] > 0.6
    assert metrics["counts"]["videos"] == len(TEST_VIDEOS)
    assert metrics["counts"]["truths"] == 4
    assert set(metrics["classes"]) == {"red", "blue"}


def test_predictions_are_in_activitynet_form(learned: Path) -> None:
    predictions = json.loads((learned / "ckpt/toy/eval/test/predictions.json").read_text())
    assert set(predictions["results"]) == set(TEST_VIDEOS)
    first = predictions["results"]["v2"][0]
    assert set(first) == {"label", "score", "segment"}
    assert 0 <= first["segment"][0] < first["segment"][1] <= 4.0


def test_the_report_stands_alone(learned: Path) -> None:
    page = (learned / "ckpt/toy/report.html").read_text()
    seen: list[tuple[str, dict[str, str | None]]] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, dict(attrs)))

    Parser().feed(page)
    assert not {tag for tag, _ in seen} & {"img", "link", "iframe"}
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)  # only the one that the page's policy names
    assert [attrs for tag, attrs in seen if tag == "script"] == [{}]
    policy = next(attrs["content"] for _, attrs in seen if attrs.get("http-equiv") == "Content-Security-Policy") or ""
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert not [
        value
        for _, attrs in seen
        for name, value in attrs.items()
        if name in ("src", "href") and value and value[0] != "#"
    ]
    assert "v2" in page
    assert "v5" in page
    assert (learned / "ckpt/toy/tables.md").exists()
    assert (learned / "ckpt/toy/tables.csv").exists()


def test_eval_stores_an_interval_and_a_paper_gets_its_table(learned: Path) -> None:
    metrics = json.loads((learned / "ckpt/toy/eval/test/metrics.json").read_text())
    about = metrics["uncertainty"]
    assert (about["draws"], about["seed"], about["level"], about["reason"]) == (1000, 0, 0.95, "")
    assert len(about["mean_ap"]) == len(metrics["tious"])
    assert about["average_map"]["low"] <= metrics["average_map"] <= about["average_map"]["high"]
    before = {path: path.read_bytes() for path in learned.rglob("*") if path.is_file()}
    done = actloc(learned, "report", "ckpt/toy", "--format", "latex")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("%")
    assert done.stdout.splitlines()[-1] == r"\end{table}"
    low, high = (f"{100 * about['average_map'][end]:.2f}" for end in ("low", "high"))
    assert f"{low}--{high}" in done.stdout
    assert before == {path: path.read_bytes() for path in learned.rglob("*") if path.is_file()}


def test_predict_finds_the_colours_of_a_video_it_never_saw(learned: Path) -> None:
    from tests.toy import make_video

    video = make_video(learned / "new video.mp4", [("red", 1.0, 2.0), ("blue", 2.75, 3.75)])
    done = actloc(learned, "predict", "ckpt/toy", video.name, "--output", "found")
    assert done.returncode == 0, done.stderr
    found = json.loads((learned / "found/predictions.json").read_text())["results"]["new video"]
    best = {one["label"]: one["segment"] for one in reversed(found)}
    assert best["red"] == pytest.approx([1.0, 2.0], abs=0.5)
    assert best["blue"] == pytest.approx([2.75, 3.75], abs=0.5)
    rows = list(csv.DictReader((learned / "found/segments.csv").read_text().splitlines()))
    assert len(rows) == len(found)
    assert "-->" in (learned / "found/new video.srt").read_text()
    assert "new video" in (learned / "found/timelines.html").read_text()
    assert "red" in done.stdout


def test_a_bad_video_among_others_does_not_stop_predict(learned: Path) -> None:
    (learned / "text.mp4").write_text("not a video")
    done = actloc(learned, "predict", "ckpt/toy", "text.mp4", "videos/v2.mp4", "--output", "mixed")
    assert done.returncode == 3
    assert "unreadable" in done.stderr
    assert list(json.loads((learned / "mixed/predictions.json").read_text())["results"]) == ["v2"]


def test_python_gives_the_same_as_the_command(learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(learned)
    found = package.load("ckpt/toy").predict("videos/v2.mp4")
    assert actloc(learned, "predict", "ckpt/toy", "videos/v2.mp4", "--output", "again").returncode == 0
    stored = json.loads((learned / "again/predictions.json").read_text())["results"]["v2"]
    assert [(one.label, one.score, [one.start_s, one.end_s]) for one in found] == [
        (one["label"], one["score"], one["segment"]) for one in stored
    ]


def test_predict_before_eval_says_what_to_run(trained: Path) -> None:
    done = actloc(trained, "predict", "ckpt/toy", "videos/v2.mp4")
    assert done.returncode == 2
    assert "actloc eval ckpt/toy" in done.stderr
    shown = actloc(trained, "predict", "ckpt/toy", "videos/v2.mp4", "--set", "prediction.threshold=0.0")
    assert shown.returncode == 0, shown.stderr


def test_eval_gives_the_same_for_any_number_of_workers(learned: Path) -> None:
    metrics = learned / "ckpt/toy/eval/test/metrics.json"
    before = json.loads(metrics.read_text())
    predictions = (learned / "ckpt/toy/eval/test/predictions.json").read_bytes()
    assert actloc(learned, "eval", "ckpt/toy", "machine.num_workers=3").returncode == 0
    after = json.loads(metrics.read_text())
    del before["created"], after["created"]
    assert before == after
    assert (learned / "ckpt/toy/eval/test/predictions.json").read_bytes() == predictions


def test_a_run_can_be_moved(learned: Path, tmp_path: Path) -> None:
    copy_toy(learned / "ckpt/toy", learned / "elsewhere")
    done = actloc(learned, "eval", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert "elsewhere" in done.stderr


def test_every_step_says_what_comes_next(encoded: Path, learned: Path) -> None:
    done = actloc(encoded, "prepare", "toy.yaml")
    assert "already complete" in done.stderr
    assert "Next: actloc extract-features toy.yaml" in done.stderr
    done = actloc(learned, "train", "ckpt/toy")
    assert done.returncode == 0
    assert "Next: actloc eval" in done.stderr


def test_verify_proves_a_run_and_a_store(learned: Path) -> None:
    for path in ("ckpt/toy", "features", str(sorted(learned.glob("ckpt/toy/ckpt_*"))[-1])):
        done = actloc(learned, "verify", path)
        assert done.returncode == 0, done.stderr
        assert "all intact" in done.stdout
