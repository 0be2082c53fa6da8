"""What a model card makes of hostile names, of intervals, of published figures and of what is missing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from actloc.annotations import form as annotation_form
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.evaluation.results import Results
from actloc.evaluation.uncertainty import Interval, Uncertainty
from actloc.localization import card as localization_card
from actloc.reports.model_card import NOT_STATED, Contents, Metric, card
from tests.reports.made_up_runs import CLASSES, write_run

HOSTILE = [
    "a | b",
    "`code`",
    "<script>alert(1)</script>",
    "# heading",
    "- item",
    "x\n---\nlicense: mit",
    "a: b #c",
    "ё",
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "made up", 0)
    checkpoint = folder / "ckpt_000030"
    checkpoint.mkdir()
    sums = {"averaged.safetensors": "a" * 64, "weights.safetensors": "b" * 64}
    (checkpoint / "manifest.json").write_text(json.dumps(sums))
    return folder


def written(run: Path, contents: Contents, classes: list[str]) -> tuple[dict[str, Any], str]:
    text = card(run, run / "ckpt_000030", {"classes": classes}, contents, None)
    _, front, rest = text.split("---\n", 2)
    return yaml.safe_load(front), rest


def test_hostile_names_are_text(run: Path) -> None:
    contents = localization_card.contents(run, run / "ckpt_000030")
    (measured,) = contents.measured
    odd = measured.results.model_copy(update={"dataset": HOSTILE[5], "subset": HOSTILE[2], "variant": HOSTILE[6]})
    limits = [f"Limit of {name}" for name in HOSTILE]
    contents = replace(contents, measured=[replace(measured, results=odd, limits=limits)])
    front, text = written(run, contents, HOSTILE)
    assert front["license"] == "unknown"
    assert front["model-index"][0]["results"][0]["dataset"]["type"] == "x --- license: mit"
    assert "<script>" not in text
    assert "\nlicense: mit" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and line.endswith("| \u2013 |")]
    listed = [row for row in rows if row.count(" | ") == 1]
    assert len(listed) == len(HOSTILE)
    assert r"| a \| b | " in text
    assert r"\`code\`" in text


def test_published_figures_are_marked_and_beside_the_measured_ones(run: Path) -> None:
    front, text = written(run, localization_card.contents(run, run / "ckpt_000030"), CLASSES)
    assert "published: the README of its authors; not measured here." in text
    assert "| measured | published | difference |" in text
    values = [one["value"] for one in front["model-index"][0]["results"][0]["metrics"]]
    assert 36.56 not in values
    assert front["model-index"][0]["results"][0]["dataset"]["type"] == "activitynet13"


def test_intervals_are_beside_the_numbers_where_they_were_measured(run: Path) -> None:
    contents = localization_card.contents(run, run / "ckpt_000030")
    (measured,) = contents.measured
    first, second, *_ = measured.metrics
    metrics: list[Metric] = [replace(first, interval=(30.125, 45.5)), replace(second, interval=None)]
    _, text = written(run, replace(contents, measured=[replace(measured, metrics=metrics, level=0.95)]), CLASSES)
    assert "measured, % | 95 % interval |" in text
    assert f"| {first.name} | {first.value:.2f} | 30.12 to 45.50 |" in text
    assert f"| {second.name} | {second.value:.2f} | \u2013 |" in text


def test_intervals_of_results_are_taken_over(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interval = Interval(low=0.1, high=0.2)
    found = Uncertainty(level=0.95, draws=1000, seed=0, mean_ap=[interval] * 10, average_map=None)
    original = localization_card.read_results

    def with_intervals(folder: Path) -> Results:
        return original(folder).model_copy(update={"uncertainty": found})

    monkeypatch.setattr(localization_card, "read_results", with_intervals)
    (measured,) = localization_card.contents(run, run / "ckpt_000030").measured
    assert measured.level == 0.95
    assert measured.metrics[0].interval is None
    assert measured.metrics[1].interval == pytest.approx((10.0, 20.0))


def test_results_of_another_checkpoint_are_left_out(run: Path) -> None:
    (run / "ckpt_000040").mkdir()
    assert localization_card.contents(run, run / "ckpt_000040").measured == []


def test_partly_annotated_videos_are_counted_and_are_a_limit(run: Path) -> None:
    videos = {
        name: AnnotatedVideo(name, "training", (Action(1, 2, "run"),), 120.0, annotated=annotated)
        for name, annotated in (("a", ((0, 60),)), ("b", ()))
    }
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("dataset:\n", "dataset:\n  training_subset: training\n"))
    annotation_form.write(run / "annotations.json", Annotations(("run",), videos))
    _, text = written(run, localization_card.contents(run, run / "ckpt_000030"), CLASSES)
    assert "Partly annotated: 1 of 2 videos, 0:01:00 of their 0:02:00; the rest is neither learned nor scored." in text
    assert "Of 1 training video it learned from the annotated time only." in text


def test_what_is_not_known_is_not_stated(run: Path) -> None:
    for name in ("config.yaml", "environment.json"):
        (run / name).unlink(missing_ok=True)
    front, text = written(run, localization_card.contents(run, run / "ckpt_000030"), CLASSES)
    assert front["license"] == "unknown"
    for what in ("Dataset", "Annotations: sha256", "These weights", "Command", "Machine", "Versions"):
        assert any(what in line and NOT_STATED in line for line in text.splitlines()), what


def test_numbers_that_are_no_results_of_the_model_are_not_for_the_hub(run: Path) -> None:
    """Those of videos that it was trained on are in the text, with the reason; those of true classes are nowhere."""
    path = run / "eval/validation/metrics.json"
    content = json.loads(path.read_text())
    content["trained"]["trained_videos"] = [content["videos"][0]["id"]]
    path.write_text(json.dumps(content))
    front, text = written(run, localization_card.contents(run, run / "ckpt_000030"), CLASSES)
    assert "model-index" not in front
    assert "so the results are too good" in text
    unknown = {"file": "truth", "sha256": None, "form": None, "rule": "sqrt", "top_k": 2, "top_1": 1.0}
    content["classifier"] = {**unknown, "true_class_mean_ap": [1.0] * 10, "is_upper_bound": True}
    path.write_text(json.dumps(content))
    assert localization_card.contents(run, run / "ckpt_000030").measured == []
