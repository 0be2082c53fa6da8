"""`actloc eval --predictions`: no model, no features, only annotations and a file."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actloc.annotations import form
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.commands import evaluate, list_, report
from actloc.errors import UserError
from actloc.evaluation.results_files import read_results
from actloc.experiment import Experiment, load
from actloc.runs.chosen_checkpoint import refuse_other_settings
from actloc.store.store import FeatureStore
from actloc.training import checkpoint as checkpoints
from actloc.training.checkpoint import Checkpoint
from tests.store.test_store import INFO, features

CONFIG = """\
dataset: {name: custom, folder: FOLDER, videos: nowhere, annotations: nowhere.csv}
features: {name: stored, path: nowhere, fps: 4, clip_frames: 1, stride_frames: 1}
detector: {name: actionformer}
run: {folder: FOLDER/ckpt}
"""
VIDEOS = {
    "a": AnnotatedVideo("a", "test", (Action(0, 10, "run"), Action(20, 30, "jump")), 60.0),
    "b": AnnotatedVideo("b", "test", (Action(5, 9, "run"),), 60.0),
    "c": AnnotatedVideo("c", "train", (Action(5, 9, "run"),), 60.0),
}
LINES = ["a 0 10 run 0.9", "a 20 30 jump 0.8", "a 21 40 jump 0.8", "c 5 9 run 0.95", "a 0 1 fly 0.5"]


def experiment(folder: Path, *overrides: str) -> Experiment:
    form.write(folder / "annotations.json", Annotations(("jump", "run"), VIDEOS))
    (folder / "toy.yaml").write_text(CONFIG.replace("FOLDER", str(folder)))
    return load(str(folder / "toy.yaml"), list(overrides))


def measured(folder: Path, lines: list[str], *overrides: str) -> dict[str, Any]:
    path = folder / "found.txt"
    path.write_text("\n".join(lines))
    assert evaluate.run(experiment(folder, *overrides), predictions=path) == 0
    metrics: dict[str, Any] = json.loads((last_results(folder) / "metrics.json").read_text())
    return metrics


def last_results(folder: Path) -> Path:
    """The folder that was written last."""
    return max(folder.glob("ckpt/*/eval/*/metrics.json"), key=lambda path: path.stat().st_mtime_ns).parent


def test_a_file_is_scored_without_a_model_and_says_what_it_is(tmp_path: Path) -> None:
    metrics = measured(tmp_path, LINES)
    # of jump's two equal scores the later row, 21-40 s, goes first; run is preceded by a false one of video c
    assert [row[2] for row in metrics["class_ap"]] == [0.5, 0.25]
    assert metrics["protocol"] == "actionformer"
    assert metrics["checkpoint"].startswith("predictions found.txt, sha256 ")
    assert metrics["weights"] is metrics["seed"] is None
    counts = metrics["counts"]
    assert counts["predictions"] == 5
    assert counts["predictions_of_unknown_videos"] == 1
    assert counts["unknown_labels"] == 1
    assert counts["ties"] == 2
    assert counts["videos_without_predictions"] == ["b"]


def test_a_report_can_be_made_of_it(tmp_path: Path) -> None:
    measured(tmp_path, LINES)
    assert report.run([tmp_path / "ckpt/toy"]) == 0
    assert "predictions found.txt" in (tmp_path / "ckpt/toy/report.html").read_text()


def test_shuffling_the_file_changes_no_metric(tmp_path: Path) -> None:
    draw = random.Random(0)
    lines = [
        f"{draw.choice('abc')} {i % 9} {i % 9 + i % 4 + 1} {draw.choice(['run', 'jump'])} 0.{i % 5}" for i in range(90)
    ]
    first, second = (measured(tmp_path, order) for order in (lines, draw.sample(lines, len(lines))))
    for key in ("class_ap", "mean_ap", "thresholds", "counts"):
        assert first[key] == second[key]


def test_the_protocol_of_the_settings_is_used_and_named(tmp_path: Path) -> None:
    metrics = measured(tmp_path, LINES, "evaluation.protocol=thumos")
    assert metrics["protocol"] == "thumos"
    assert metrics["class_ap"][0][2] == 1.0


def test_without_classes_every_prediction_counts_as_an_action(tmp_path: Path) -> None:
    metrics = measured(tmp_path, LINES, "dataset.class_agnostic=true")
    assert metrics["classes"] == ["action"]
    assert metrics["counts"]["unknown_labels"] == 0


def test_a_subset_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no video in 'validation'[\s\S]*its subsets: test, train"):
        measured(tmp_path, LINES, "dataset.evaluation_subset=validation")
    without = {name: replace(video, actions=()) for name, video in VIDEOS.items()}
    ours = experiment(tmp_path)
    form.write(tmp_path / "annotations.json", Annotations(("jump", "run"), without))
    with pytest.raises(UserError, match="no ground truth"):
        evaluate.run(ours, predictions=tmp_path / "found.txt")


def scores_file(folder: Path, **results: list[float]) -> str:
    path = folder / "scores.json"
    path.write_text(json.dumps({"class": ["run", "jump"], "results": results}))
    return f"fusion.scores={path}"


CLASSIFIED = {"a": [0.81, 0.19], "b": [0.4, 0.6], "c": [1.0, 0.0]}


def test_fusion_gives_detections_classes_and_reports_the_classifiers_accuracy(tmp_path: Path) -> None:
    file = scores_file(tmp_path, **CLASSIFIED)
    lines = ["a 0 10 action 0.9", "a 20 30 action 0.8", "b 5 9 action 0.5"]
    metrics = measured(tmp_path, lines, "dataset.class_agnostic=true", file, "fusion.form=cuhk", "fusion.rule=product")
    assert metrics["classes"] == ["jump", "run"]
    assert metrics["counts"]["predictions"] == 6
    assert metrics["classifier"]["top_1"] == 0.5
    assert metrics["classifier"]["form"] == "cuhk"
    # with the classes of the truth, jump finds its action second and run its two first and third
    assert metrics["classifier"]["true_class_mean_ap"][0] == pytest.approx((1 / 2 + (1 + 2 / 3) / 2) / 2)
    found = json.loads((last_results(tmp_path) / "predictions.json").read_text())["results"]["a"]
    assert [one["label"] for one in found] == ["run", "run", "jump", "jump"]
    assert found[0]["score"] == pytest.approx(0.9 * 0.81)
    report.run([tmp_path / "ckpt/toy"])
    assert "fusion.scores=scores.json | scores.json, product, top 2 | per video | 50.00 |" in tables_of(tmp_path)
    assert "the upper bound gives detections the true classes of their video" in tables_of(tmp_path)
    assert "true classes (upper bound)" in (tmp_path / "ckpt/toy/report.html").read_text()
    assert "mAP with true classes," in (tmp_path / "ckpt/toy/tables.csv").read_text()


def tables_of(folder: Path) -> str:
    return (folder / "ckpt/toy/tables.md").read_text().replace("\\", "")


def test_predictions_of_a_file_get_the_classes_of_the_windows_in_their_segment(tmp_path: Path) -> None:
    path = tmp_path / "windows.json"
    windows = {"a": [[0, 10, [0.7, 0.3]], [10, 20, [0.5, 0.5]], [20, 30, [0.2, 0.8]]], "b": [[0, 10, [0.4, 0.6]]]}
    path.write_text(json.dumps({"classes": ["run", "jump"], "windows": windows}))
    lines = ["a 0 10 action 0.9", "a 20 30 action 0.8", "b 5 9 action 0.5"]
    settings = ("dataset.class_agnostic=true", f"fusion.scores={path}", "fusion.rule=product", "fusion.top_k=1")
    with pytest.raises(UserError, match=r"windows only, and fusion.per is video[\s\S]*fusion.per=segment"):
        measured(tmp_path, lines, *settings)
    classifier = measured(tmp_path, lines, *settings, "fusion.per=segment")["classifier"]
    found = json.loads((last_results(tmp_path) / "predictions.json").read_text())["results"]
    assert [(one["label"], one["score"]) for one in found["a"]] == [
        ("run", pytest.approx(0.63)),
        ("jump", pytest.approx(0.64)),
    ]
    assert [(one["label"], one["score"]) for one in found["b"]] == [("jump", pytest.approx(0.3))]
    assert (classifier["per"], classifier["top_1"], classifier["labels"]) == (
        "segment",
        pytest.approx(2 / 3),
        "replace",
    )
    assert classifier["true_class_mean_ap"][0] == 1
    report.run([tmp_path / "ckpt/toy"])
    assert "fusion.top_k=1 | windows.json, product, top 1 | per segment | 66.67 |" in tables_of(tmp_path)
    assert "the class of the true action that it overlaps most" in tables_of(tmp_path)
    assert "Per segment: top-1 is the share of true actions" in (tmp_path / "ckpt/toy/report.html").read_text()
    assert "mAP with true classes per segment," in (tmp_path / "ckpt/toy/tables.csv").read_text()


def test_without_a_rule_detections_keep_their_scores_and_the_upper_bound_is_reported(tmp_path: Path) -> None:
    plain = measured(tmp_path, LINES)
    compared = measured(tmp_path, LINES, scores_file(tmp_path, **CLASSIFIED), "fusion.rule=none")
    assert compared["class_ap"] == plain["class_ap"]
    assert plain["classifier"] is None
    assert compared["classifier"]["top_1"] == 0.5


def test_fusion_names_the_videos_missing_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no scores for 1 video \(b\)"):
        measured(tmp_path, LINES, scores_file(tmp_path, a=[0.5, 0.5], c=[0.5, 0.5]))


def test_the_older_name_of_the_setting_still_works(tmp_path: Path) -> None:
    file = scores_file(tmp_path, **CLASSIFIED).replace("fusion.scores", "fusion.file")
    assert measured(tmp_path, LINES, file)["classifier"]["file"] == "scores.json"
    assert measured(tmp_path, LINES, "fusion.file=none")["classifier"] is None


def test_true_classes_are_an_upper_bound_with_results_apart(tmp_path: Path) -> None:
    lines = ["a 0 10 jump 0.9", "a 20 30 run 0.8", "b 5 9 jump 0.5", "z 5 9 run 0.99"]
    plain = measured(tmp_path, lines)
    path = tmp_path / "found.txt"
    assert evaluate.run(experiment(tmp_path, "fusion.scores=truth", "fusion.rule=product"), predictions=path) == 0
    folder = last_results(tmp_path)
    assert folder.name == "test-file-truth-fusion.rule=product"
    metrics = json.loads((folder / "metrics.json").read_text())
    found = json.loads((folder / "predictions.json").read_text())["results"]
    # the first true class of a is run; nothing is known of z, which is no video of the subset
    assert [(one["label"], one["score"]) for one in found["a"]] == [("run", 0.9), ("run", 0.8)]
    assert [(one["label"], one["score"]) for one in found["b"]] == [("run", 0.5)]
    assert found["z"] == []
    classifier = metrics["classifier"]
    assert (classifier["file"], classifier["top_1"], classifier["is_upper_bound"]) == ("truth", 1.0, True)
    assert classifier["sha256"] is classifier["form"] is None
    assert json.loads((tmp_path / "ckpt/toy/eval/test-file/metrics.json").read_text()) == plain
    report.run([tmp_path / "ckpt/toy"])
    tables = (tmp_path / "ckpt/toy/tables.md").read_text()
    assert "| found.txt, fusion.rule=product, fusion.scores=truth, true classes: upper bound |" in tables
    assert "The runs differ in data, protocol or use of true classes, so the best is not marked." in tables
    assert "true classes: upper bound" in (tmp_path / "ckpt/toy/report.html").read_text()
    assert "mAP, upper bound" in (tmp_path / "ckpt/toy/tables.csv").read_text()


def test_a_predictions_file_has_no_class_scores_of_a_detector(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fusion.scores is own, but .*found.txt has no class scores"):
        measured(tmp_path, LINES, "detector.name=afsd", "fusion.scores=own")


def test_recall_at_multiples_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    lines = ["a 40 50 run 0.9", "a 0 10 run 0.8", "a 20 30 jump 0.8"]
    metrics = measured(tmp_path, lines, "evaluation.recall_at=[1, 5]")
    assert metrics["recall_multiples"] == [1, 5]
    assert [row[0] for row in metrics["recall"]] == [0.5, 0.75]
    assert measured(tmp_path, lines)["recall"] == []
    # two videos have 3 segments, so that N = 1 is 2 of them, which overlap one of 3 actions; all segments overlap two
    both = measured(tmp_path, lines, "evaluation.recall_at=[1, 5]", "evaluation.average_recall_at=[1, 100]")
    assert metrics["proposals"] is None
    assert [row[0] for row in both["proposals"]["recall"]] == pytest.approx([1 / 3, 2 / 3])
    report.run([tmp_path / "ckpt/toy"])
    for name in ("report.html", "tables.md", "tables.csv"):
        for measure in ("Recall@5x", "AR@1", "AR@100", "AUC"):
            assert measure in (tmp_path / "ckpt/toy" / name).read_text()


SMALL = ("dim=16", "num_heads=2", "windows=3", "num_branch_blocks=2", "regression_ranges=[[0, 4], [4, 8], [8, 10000]]")


def run_trained_on(
    folder: Path, weights_sha256: str | None, detector: tuple[str, ...] = SMALL, max_steps: int = 64, *more: str
) -> Experiment:
    """A run on features of 6 channels, made with encoder weights of this sha256, beside features made with aaaa..."""
    settings = [f"features.path={folder}/features", f"features.max_steps={max_steps}", *more]
    ours = experiment(folder, *settings, *(f"detector.{one}" for one in detector))
    store = FeatureStore(folder / "features")
    store.begin({})
    grid = {"fps": 4.0, "clip_frames": 1, "stride_frames": 1, "frame_count": 240, "duration_s": 60.0}
    for video_id in ("a", "b"):
        info = replace(INFO, video_id=video_id, weights_sha256="a" * 64, offset_frames=0.5, recipe="{}", **grid)
        store.write(video_id, features(240), info)
    state = ours.detector.build(6, 2, max_steps).state_dict()
    about = {
        "classes": ["jump", "run"],
        "in_channels": 6,
        "encoder_weights_sha256": weights_sha256,
        "settings": ours.shaping("weights"),
    }
    checkpoints.save(ours.run_folder, Checkpoint(1, state, state, {}, {"about": about}))
    return ours


def test_features_of_other_weights_are_refused(tmp_path: Path) -> None:
    for name, weights_sha256 in (("same", "a" * 64), ("unknown", None)):  # None: the features were made elsewhere
        assert evaluate.run(run_trained_on(tmp_path / name, weights_sha256)) == 0
    other = run_trained_on(tmp_path / "other", "b" * 64)
    with pytest.raises(UserError, match="made with encoder weights of sha256 aaaa"):
        evaluate.run(other)
    assert not (other.run_folder / "eval").exists()


def test_a_run_older_than_a_setting_is_scored_with_the_settings_default(tmp_path: Path) -> None:
    ours = experiment(tmp_path)
    ours.run_folder.mkdir(parents=True)
    (ours.run_folder / "config.yaml").write_text((tmp_path / "toy.yaml").read_text())
    trained = {key: value for key, value in ours.shaping("weights").items() if key != "features.frame_interval"}
    refuse_other_settings(ours, trained)
    other = experiment(tmp_path, "features.frame_interval=1", "features.clip_frames=2")
    with pytest.raises(UserError, match=r"features\.clip_frames: 1 in the run, 2 now"):
        refuse_other_settings(other, trained)
    with pytest.raises(UserError, match=r"features\.frame_interval: 1 in the run, 2 now"):
        refuse_other_settings(experiment(tmp_path, "features.frame_interval=2"), trained)


def test_videos_of_which_a_limit_left_out_detections_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    ours = run_trained_on(tmp_path, "a" * 64, SMALL, 64, "suppression.max_kept=3")
    line = "suppression.max_kept=3 left out detections of lower scores in 2 of 2 videos"
    assert evaluate.run(ours) == 0
    assert line in capsys.readouterr().err
    (written,) = ours.run_folder.glob("eval/*/metrics.json")
    metrics = json.loads(written.read_text())
    assert metrics["counts"]["cut_videos"] == {"suppression.max_kept=3": 2}
    report.run([ours.run_folder])
    assert line in " ".join(capsys.readouterr().err.split())
    assert "left out by suppression.max_kept=3" in (ours.run_folder / "report.html").read_text()
    assert evaluate.run(load(ours.typed, [*ours.overrides, "suppression.max_kept=null"])) == 0
    assert "left out" not in capsys.readouterr().err
    fused = ["fusion.scores=truth", "fusion.most_detections=2"]
    assert evaluate.run(load(ours.typed, [*ours.overrides, *fused])) == 0
    assert "fusion.most_detections=2 left out detections of lower scores in 2 of 2" in capsys.readouterr().err


AFSD = ("name=afsd", "dim=16", "consistency_heads=2", "norm_groups=4", "regression_ranges=[[0, 30], [15, 240]]")


def test_a_detectors_own_class_scores_give_its_detections_their_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = run_trained_on(tmp_path, "a" * 64, AFSD, 240, "suppression.method=none", "fusion.rule=product")
    assert evaluate.run(ours) == 0
    plain_folder = last_results(tmp_path)
    plain = json.loads((plain_folder / "predictions.json").read_text())["results"]
    fused_by = load(ours.typed, [*ours.overrides, "fusion.scores=own"])
    assert evaluate.run(fused_by) == 0
    folder = last_results(tmp_path)
    assert folder != plain_folder
    fused = json.loads((folder / "predictions.json").read_text())["results"]
    for video_id, listed in plain.items():
        number = len(listed)
        assert 0 < number <= 60 + 30
        best, other = fused[video_id][:number], fused[video_id][number:]
        assert {one["label"] for one in best} == {one["label"] for one in listed} != {one["label"] for one in other}
        assert [one["segment"] for one in best] == [one["segment"] for one in other]
        shares = [
            [one["score"] / own["score"] for one, own in zip(part, listed, strict=True)] for part in (best, other)
        ]
        # chances of the video's two classes; what is missing from 1 is background's
        assert np.ptp(shares, axis=1) == pytest.approx([0, 0], abs=1e-5)
        assert shares[0][0] > shares[1][0]
        assert 0 < shares[0][0] + shares[1][0] < 1
    classifier = json.loads((folder / "metrics.json").read_text())["classifier"]
    assert (classifier["file"], classifier["form"], classifier["is_upper_bound"]) == ("own", None, False)
    report.run([ours.run_folder])
    assert "the detector's class scores, product, top 2" in (ours.run_folder / "tables.md").read_text()


def test_predictions_of_several_tools_are_kept_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = measured(tmp_path, LINES)
    assert first["name"] == "found.txt"
    ours, turn = experiment(tmp_path), tmp_path / "turn.txt"
    turn.write_text("a 0 10 run 0.9")
    assert evaluate.run(ours, predictions=turn, name="TURN-TAP") == 0
    named = json.loads((tmp_path / "ckpt/TURN-TAP/eval/test-file/metrics.json").read_text())
    assert named["name"] == "TURN-TAP"
    assert evaluate.run(ours, predictions=turn) == 0  # without a name, beside the file that was scored before
    assert json.loads((tmp_path / "ckpt/toy/eval/test-file/metrics.json").read_text()) == first
    assert json.loads((last_results(tmp_path) / "metrics.json").read_text())["name"] == "turn.txt"
    assert last_results(tmp_path).name == "test-file-turn"
    assert report.run([tmp_path / "ckpt/TURN-TAP", tmp_path / "ckpt/toy"]) == 0
    tables = (tmp_path / "ckpt/report_of_TURN-TAP_and_toy/tables.md").read_text().replace("\\", "")
    assert all(f"| {name} |" in tables for name in ("TURN-TAP", "found.txt", "turn.txt"))
    capsys.readouterr()
    assert list_.run("runs") == 0
    assert re.search(r"ckpt/TURN-TAP .* predictions only  test-file: average mAP", capsys.readouterr().out)
    for name, found in (("../x", "letters, digits"), ("TURN-TAP", "without --predictions")):
        with pytest.raises(UserError, match=found):
            evaluate.run(ours, predictions=None if name == "TURN-TAP" else turn, name=name)


def test_results_name_the_settings_that_they_were_measured_with(tmp_path: Path) -> None:
    plain = measured(tmp_path, LINES)
    assert plain["changed"] == {}
    assert plain["settings"]["evaluation.tious"] == [0.3, 0.4, 0.5, 0.6, 0.7]
    one = measured(tmp_path, LINES, "evaluation.tious=[0.5]", "suppression.method=hard")
    assert one["changed"] == {"evaluation.tious": [0.5]}  # a file is not suppressed again
    assert last_results(tmp_path).name == "test-file-evaluation.tious=0.5"
    assert json.loads((tmp_path / "ckpt/toy/eval/test-file/metrics.json").read_text()) == plain
    report.run([tmp_path / "ckpt/toy"])
    tables = (tmp_path / "ckpt/toy/tables.md").read_text().replace("\\", "")
    assert "| found.txt, evaluation.tious=[0.5] |" in tables
    assert "The averages are over different tIoUs, so they cannot be compared" in tables


def test_a_video_too_long_for_the_detector_is_missed_until_a_setting_that_shapes_no_weight_is_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = run_trained_on(tmp_path, "a" * 64, SMALL, 16)
    (ours.run_folder / "config.yaml").write_text(ours.to_yaml())
    (ours.run_folder / "environment.json").write_text("{}")
    with pytest.raises(UserError, match=r"Set detector.max_buffer_factor=15, which needs no new training."):
        evaluate.run(ours)
    short = {**VIDEOS, "b": replace(VIDEOS["b"], duration_s=15.0)}
    form.write(tmp_path / "annotations.json", Annotations(("jump", "run"), short))
    info = replace(INFO, video_id="b", weights_sha256="a" * 64, offset_frames=0.5, recipe="{}", fps=4.0, clip_frames=1)
    info = replace(info, stride_frames=1, frame_count=60, duration_s=15.0)
    next((tmp_path / "features").glob("b*.h5")).unlink()
    FeatureStore(tmp_path / "features").write("b", features(60), info)
    assert evaluate.run(ours) == 3
    assert "a: A video has 240 feature steps" in capsys.readouterr().err
    metrics = json.loads((ours.run_folder / "eval/test/metrics.json").read_text())
    assert metrics["counts"]["names"] == {"videos too long for the detector": ["a"]}
    assert metrics["counts"]["predictions"] > 0
    longer = load(ours.typed, [*ours.overrides, "detector.max_buffer_factor=15", "detector.kept_per_level=50"])
    assert evaluate.run(longer) == 0
    metrics = json.loads((last_results(tmp_path) / "metrics.json").read_text())
    assert metrics["changed"] == {"detector.max_buffer_factor": 15.0, "detector.kept_per_level": 50}
    assert metrics["counts"]["predictions"] > 0
    other = load(ours.typed, [*ours.overrides, "detector.windows=5"])
    with pytest.raises(UserError, match=r"detector\.windows: 3 in the run, 5 now"):
        evaluate.run(other)


def test_files_of_older_versions_still_read(tmp_path: Path) -> None:
    metrics = measured(tmp_path, LINES)
    for key in ("settings", "changed", "annotations_sha256", "trained"):
        del metrics[key]
    folder = tmp_path / "ckpt/toy/eval/test-file"
    (folder / "metrics.json").write_text(json.dumps(metrics))
    read = read_results(folder)
    assert (read.settings, read.changed, read.annotations_sha256, read.trained) == ({}, {}, None, None)
    assert report.run([tmp_path / "ckpt/toy"]) == 0
