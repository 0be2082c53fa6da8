"""Nothing outside the annotated time is scored."""

import json
import re
from pathlib import Path
from typing import ClassVar
from unittest.mock import Mock

import pytest

from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.detectors.etad import Config as Etad
from actloc.errors import UserError
from actloc.evaluation import rescoring, scoring
from actloc.evaluation.predictions import Prediction, Predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.results import Results
from actloc.localization.checks import check_annotated
from actloc.settings.sections import EvaluationSettings
from actloc.sources.base_source import Source
from tests.toy import actloc, make_toy

SETTINGS = EvaluationSettings(tious=(0.5,))
VIDEOS = {
    "a": AnnotatedVideo("a", "test", (Action(0, 10, "run"),), 100.0, annotated=((0, 30), (60, 70))),
    "b": AnnotatedVideo("b", "test", (Action(0, 10, "run"),), 100.0),
}
ANNOTATIONS = Annotations(("run",), VIDEOS)
INSIDE: Predictions = {
    "a": [Prediction("run", 0.8, 0, 10), Prediction("run", 0.7, 62, 68), Prediction("run", 0.6, 25, 32)],
    "b": [Prediction("run", 0.95, 40, 50), Prediction("run", 0.5, 0, 10)],
}
OUTSIDE: Predictions = {"a": [Prediction("run", 0.99, 40, 50), Prediction("run", 0.9, 28, 33)]}
ALL = {"a": [*OUTSIDE["a"], *INSIDE["a"]], "b": INSIDE["b"]}


def scored(predictions: Predictions) -> Results:
    truth = scoring.truth_of(ANNOTATIONS, "test", PROTOCOLS[SETTINGS.protocol])
    return scoring.score("custom", "test", truth, predictions, scoring.Origin("file", "run"), SETTINGS)


def test_predictions_outside_are_neither_right_nor_wrong_and_are_counted() -> None:
    with_them, without = scored(ALL), scored(INSIDE)
    assert with_them.mean_ap == without.mean_ap
    assert with_them.thresholds == without.thresholds
    assert with_them.uncertainty == without.uncertainty
    assert with_them.counts.predictions == 5
    assert with_them.counts.cut_lines() == ["Predictions outside the annotated time: 2 left out"]
    assert without.counts.cut_lines() == []


def test_validation_and_rescoring_take_the_same_truth() -> None:
    results = scored(ALL)
    assert scoring.validation_scores(ANNOTATIONS, "test", ALL, SETTINGS)["average_mAP"] == results.average_map
    again = Results.model_validate_json(results.model_dump_json())
    assert again.videos[0].annotated == [[0, 30], [60, 70]]
    assert rescoring.hindrance(again, ALL) == "" == rescoring.hindrance(again, INSIDE)
    whole = again.model_copy(update={"videos": [again.videos[0].model_copy(update={"annotated": []}), again.videos[1]]})
    assert rescoring.hindrance(whole, ALL)


TABLE = """\
video,start,end,label,subset,annotated
v0,1,2,red,train,
v1,0.5,1.75,blue,train,0-2
v3,1,3,blue,train,
v4,,,,train,1-2
v2,0.5,1.5,red,test,0-1.75
v5,0.75,1.75,red,test,
v5,2.25,3.25,blue,test,
"""


def test_a_partly_annotated_dataset_is_trained_and_scored(tmp_path: Path) -> None:
    folder = make_toy(tmp_path)
    (folder / "labels.csv").write_text(TABLE)
    said = {}
    for command in ("prepare", "extract-features", "train", "eval"):
        done = actloc(folder, command, "toy.yaml")
        assert done.returncode == 0, done.stderr
        said[command] = " ".join((done.stdout + done.stderr).split())
    assert "Partly annotated: 3 of 6 videos, 0:00:05 of their" in said["prepare"]
    assert "1 video has no action in its annotated time, which is used as background: v4" in said["train"]
    run = folder / "ckpt" / "toy"
    results = Results.model_validate_json(next(run.glob("eval/*/metrics.json")).read_bytes())
    annotated = {video.id: video.annotated for video in results.videos}
    assert annotated["v2"] == [[0, 1.75]]
    assert annotated["v5"] == []
    assert results.counts.dropped["predictions outside the annotated time"] > 0
    report = actloc(folder, "report", "ckpt/toy")
    assert report.returncode == 0, report.stderr
    classless = "{name: etad, dim: 16, head_dim: 8, trunk_dim: 16, conv_groups: 2, norm_groups: 2}"
    other = actloc(folder, "train", "toy.yaml", f"detector={classless}", "run.name=other")
    assert other.returncode == 0, other.stderr


REPORTED = {"errors.csv", "curves.csv", "tables.csv"}


def counted(folder: Path, name: str) -> dict[str, str]:
    """What every analysis of results counts, in the files that `eval` and `report` write, without names and dates."""
    run = folder / "ckpt" / name
    (of_eval,) = run.glob("eval/*/errors.json")
    metrics = json.loads(of_eval.with_name("metrics.json").read_text())
    skipped = ("name", "checkpoint", "created", "predictions_sha256", "counts", "classifier")
    file = r"predictions \w+\.json, sha256 \w+"
    listed = {path.name: re.sub(file, "FILE", path.read_text().replace(name, "RUN")) for path in run.glob("*.csv")}
    classifier = metrics["classifier"] or {}
    return {
        **listed,
        "errors": json.dumps(
            {key: value for key, value in json.loads(of_eval.read_text()).items() if key not in skipped}
        ),
        "metrics": json.dumps({key: value for key, value in metrics.items() if key not in skipped}),
        "classifier": json.dumps([classifier.get("top_1"), classifier.get("true_class_mean_ap")]),
        "predictions": of_eval.with_name("predictions.json").read_text(),
    }


def test_no_analysis_counts_predictions_outside_with_or_without_other_classes(tmp_path: Path) -> None:
    videos = tmp_path / "annotations"
    videos.mkdir()
    database = {
        name: {
            "subset": "test" if name < "e" else "train",
            "duration": 100.0,
            "annotations": [
                {"segment": [start, start + 10], "label": label} for start, label in ((0, "run"), (60, "jump"))
            ],
            **({"annotated": [[0, 30], [60, 75]]} if name in "ab" else {}),
        }
        for name in "abcde"
    }
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    (tmp_path / "set.yaml").write_text(
        "dataset: {name: custom, folder: prepared, annotations: labels.json}\n"
        "features: {name: folders, path: features, fps: 10, clip_frames: 8, stride_frames: 8}\n"
        "detector: {name: actionformer}\n"
    )
    inside = {
        name: [
            {"label": label, "score": round(0.9 - 0.1 * number - place / 50, 3), "segment": [start, start + 9.0]}
            for number, (start, label) in enumerate([(15.0, "run"), (0.0, "run"), (62.0, "run"), (61.0, "jump")])
        ]
        for place, name in enumerate("abcd")
    }
    outside = [
        {"label": "run", "score": 0.99, "segment": [40.0, 50.0]},
        {"label": "jump", "score": 0.55, "segment": [74, 80]},
    ]
    everything = {name: [*outside, *listed] if name in "ab" else listed for name, listed in inside.items()}
    for name, predictions in (("inside", inside), ("everything", everything)):
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"version": "x", "results": predictions, "external_data": {}})
        )
    scores = {"classes": ["jump", "run"], "results": {name: [0.3, 0.7] for name in "abcd"}}
    windows = {name: [[0, 30, [0.2, 0.8]], [30, 100, [0.9, 0.1]]] for name in "abcd"}
    (tmp_path / "scores.json").write_text(json.dumps({**scores, "windows": windows}))
    prepared = actloc(tmp_path, "prepare", "set.yaml")
    assert prepared.returncode == 0, prepared.stderr
    for kind, settings in {
        "plain": (),
        "video": ("fusion.scores=scores.json", "fusion.top_k=2"),
        "segment": ("fusion.scores=scores.json", "fusion.per=segment", "fusion.top_k=1"),
        "true": ("fusion.scores=truth",),
    }.items():
        found = []
        for name in ("inside", "everything"):
            run = f"{kind}_{name}"
            done = actloc(tmp_path, "eval", "set.yaml", *settings, "--predictions", f"{name}.json", "--name", run)
            assert done.returncode == 0, done.stderr
            assert ("Predictions outside the annotated time" in done.stdout + done.stderr) == (name == "everything")
            if kind == "plain":
                report = actloc(tmp_path, "report", f"ckpt/{run}")
                assert report.returncode == 0, report.stderr
                assert {path.name for path in (tmp_path / "ckpt" / run).glob("*.csv")} == REPORTED
            found.append(counted(tmp_path, run))
        assert found[0] == found[1], kind


class OfOnesOwn(Etad):
    """A detector that says nothing of unlabelled time."""

    ignores_unlabelled: ClassVar[bool] = False


def test_a_detector_that_would_learn_the_rest_as_background_is_refused() -> None:
    partly, whole = (Mock(spec=Source, videos=[VIDEOS[name]]) for name in "ab")
    check_annotated(OfOnesOwn(), whole)
    check_annotated(Etad(), partly)
    with pytest.raises(UserError, match=r"1 training video is partly annotated \(a\)"):
        check_annotated(OfOnesOwn(), partly)
