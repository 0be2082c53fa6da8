"""Detectors other than the usual one on the command line: with shared weights, anchors on windows, class scores."""

import json
import re
from pathlib import Path

from tests.end_to_end.test_several_processes import together
from tests.toy import actloc, copy_toy

TEMPORALMAXER = """\
detector:
  name: temporalmaxer
  dim: 16
  num_branch_blocks: 2
  regression_ranges: [[0, 4], [4, 8], [8, 10000]]
  neck_norm: channel
  kept_share: 0.5
"""


def test_temporalmaxer_says_that_its_passes_count_apart_and_finds_actions(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    text = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(re.sub(r"detector:\n(  .*\n)+", TEMPORALMAXER, text))
    done = actloc(folder, "train", "toy.yaml", "training.accumulate=2")
    assert done.returncode == 0, done.stderr
    assert "With training.accumulate=2 a step differs from one pass" in " ".join(done.stderr.split())
    done = actloc(folder, "eval", "ckpt/toy")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "ckpt/toy/eval/test/predictions.json").read_text())["results"]
    assert all(found.values())


TRIDET = """\
detector:
  name: tridet
  dim: 16
  windows: 3
  window_factor: 1.5
  mlp_dim: 24
  num_stem_blocks: 1
  num_branch_blocks: 2
  initial_conv_std: 0.1
  regression_ranges: [[0, 4], [4, 8], [8, 10000]]
  num_bins: 4
"""


def test_tridet_is_tried_trained_scored_and_converted_both_ways(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    text = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(re.sub(r"detector:\n(  .*\n)+", TRIDET, text))
    for command in (("train", "toy.yaml", "--dry-run"), ("train", "toy.yaml"), ("eval", "ckpt/toy")):
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr
    found = json.loads((folder / "ckpt/toy/eval/test/predictions.json").read_text())["results"]
    assert all(found.values())
    results = json.loads((folder / "ckpt/toy/eval/test/metrics.json").read_text())
    done = actloc(folder, "convert", "ckpt/toy", "toy.pth.tar")
    assert done.returncode == 0, done.stderr
    done = actloc(folder, "eval", "toy.yaml", "evaluation.weights_file=toy.pth.tar", "run.name=official")
    assert done.returncode == 0, done.stderr
    again = json.loads((folder / "ckpt/official/eval/test/metrics.json").read_text())
    assert again["mean_ap"] == results["mean_ap"]


TALLFORMER = """\
detector:
  name: tallformer
  dim: 16
  consistency_layers: 1
  consistency_heads: 4
  windows: [5]
  num_heads: 2
  head_dim: 8
suppression:
  method: weighted
  tiou: 0.5
"""
SLOWLY = "schedule={name: cosine_restarts, epochs: 2, warmup_epochs: 0, restart_epochs: 1, warmup_steps: 3}"


def test_tallformer_is_trained_on_windows_and_in_one_process_if_its_batch_norms_learn(
    encoded: Path, tmp_path: Path
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    text = re.sub(r"detector:\n(  .*\n)+", TALLFORMER, (folder / "toy.yaml").read_text())
    text = text.replace("max_steps: 32", "max_steps: 12")
    (folder / "toy.yaml").write_text(text)
    refused = actloc(folder, "train", "toy.yaml", "training.validation_subset=test")
    assert refused.returncode == 2
    assert "Set features.window_steps=12" in refused.stderr
    assert not (folder / "ckpt/toy/config.yaml").exists()
    done = actloc(folder, "train", "toy.yaml", "optimizer={name: sgd, learning_rate: 0.01, decays: all}", SLOWLY)
    assert done.returncode == 0, done.stderr
    done = actloc(folder, "eval", "ckpt/toy")
    assert done.returncode == 2
    assert "Set features.window_steps=12" in done.stderr
    done = actloc(folder, "eval", "ckpt/toy", "features.window_steps=12")  # how to look does not change the weights
    assert done.returncode == 0, done.stderr
    windows = folder / "ckpt/toy/eval/test-features.window_steps=12"
    found = json.loads((windows / "predictions.json").read_text())["results"]
    assert all(found.values())
    refused = together(folder, 2, "train", "toy.yaml", "run.name=two", "training.batch_size=2")
    assert [process.returncode for process in refused] == [2, 2]
    assert sum("batch norms learn their statistics" in process.stderr for process in refused) == 1
    done = together(folder, 2, "train", "toy.yaml", "run.name=two", "detector.norm_statistics=fixed", SLOWLY)
    assert [process.returncode for process in done] == [0, 0], [process.stderr for process in done]


AFSD = """\
detector:
  name: afsd
  dim: 16
  consistency_heads: 2
  consistency_layers: 1
  norm_groups: 4
  regression_ranges: [[0, 8], [4, 32]]
suppression:
  sigma: 0.85
  min_score: 1e-9
  multiclass: false
  voting_threshold: 0
fusion:
  scores: own
  rule: product
"""


def test_afsd_names_the_classes_of_what_it_finds_by_its_own_class_scores(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    text = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(re.sub(r"detector:\n(  .*\n)+", AFSD, text))
    done = actloc(folder, "train", "toy.yaml", "training.accumulate=2", "training.validation_subset=test")
    assert done.returncode == 0, done.stderr
    assert "a step differs from one pass" not in " ".join(done.stderr.split())
    done = actloc(folder, "eval", "ckpt/toy")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "ckpt/toy/eval/test/metrics.json").read_text())["classifier"]["file"] == "own"
    found = json.loads((folder / "ckpt/toy/eval/test/predictions.json").read_text())["results"]
    assert all({one["label"] for one in listed} == {"red", "blue"} for listed in found.values())
    done = actloc(folder, "report", "ckpt/toy")
    assert done.returncode == 0, done.stderr
    done = actloc(folder, "predict", "ckpt/toy", "videos/v5.mp4", "--output", "out", "--set", "prediction.threshold=0")
    assert done.returncode == 0, done.stderr
    predicted = json.loads((folder / "out/predictions.json").read_text())["results"]["v5"]
    for one, other in zip(predicted, found["v5"], strict=True):
        assert one["label"] == other["label"]
        assert abs(one["score"] - other["score"]) <= 1e-4


ETAD = """\
detector:
  name: etad
  dim: 16
  head_dim: 8
  trunk_dim: 16
  conv_groups: 1
  norm_groups: 2
suppression:
  sigma: 0.35
  min_score: 0
  multiclass: false
  voting_threshold: 0
"""


def test_etad_learns_from_the_same_candidates_after_a_stop_and_finds_classes_itself(
    encoded: Path, tmp_path: Path
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    text = (folder / "toy.yaml").read_text().replace("max_steps: 32", "max_steps: 32\n  resize_to: 32")
    (folder / "toy.yaml").write_text(re.sub(r"detector:\n(  .*\n)+", ETAD, text))
    train = ("train", "toy.yaml", "schedule.epochs=2")
    assert actloc(folder, *train, "run.name=stopped", ACTLOC_FAULT="step:6:kill").returncode != 0
    for name in ("whole", "stopped"):
        done = actloc(folder, *train, f"run.name={name}")
        assert done.returncode == 0, done.stderr
        assert ("Resuming after step" in done.stderr) == (name == "stopped")
        done = actloc(folder, "eval", f"ckpt/{name}", "fusion.scores=own")
        assert done.returncode == 0, done.stderr
    whole, stopped = (
        json.loads(next((folder / f"ckpt/{name}").rglob("predictions.json")).read_text())["results"]
        for name in ("whole", "stopped")
    )
    assert whole == stopped
    assert {one["label"] for listed in whole.values() for one in listed} == {"red", "blue"}
    done = actloc(folder, "predict", "ckpt/whole", "videos/v2.mp4")  # whose scores are not fused, unlike those of eval
    assert done.returncode == 2
    assert "ckpt/whole has no score thresholds" in done.stderr
    assert actloc(folder, "eval", "ckpt/whole").returncode == 0  # beside the other results
    assert actloc(folder, "predict", "ckpt/whole", "videos/v2.mp4").returncode == 0


def test_etad_finds_actions_of_one_class_that_get_their_classes_from_elsewhere(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    text = (folder / "toy.yaml").read_text().replace("max_steps: 32", "max_steps: 32\n  resize_to: 32")
    (folder / "toy.yaml").write_text(re.sub(r"detector:\n(  .*\n)+", ETAD, text))
    done = actloc(folder, "train", "toy.yaml", "dataset.class_agnostic=true", "schedule.epochs=2", "run.name=one")
    assert done.returncode == 0, done.stderr
    done = actloc(folder, "eval", "ckpt/one", "fusion.scores=truth")
    assert done.returncode == 0, done.stderr
    found = json.loads(next((folder / "ckpt/one").rglob("predictions.json")).read_text())["results"]
    assert all({one["label"] for one in listed} <= {"red", "blue"} for listed in found.values())
    assert any(found.values())


BMN = """\
detector:
  name: bmn
  dim: 8
  conv_groups: 1
  sampled_dim: 8
  map_dim: 8
  num_samples: 4
fusion:
  scores: own
"""


def test_bmn_learns_in_windows_draws_the_same_after_a_stop_and_says_that_passes_count_alone(
    encoded: Path, tmp_path: Path
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    text = (folder / "toy.yaml").read_text().replace("max_steps: 32", "max_steps: 32\n  window_steps: 32")
    (folder / "toy.yaml").write_text(re.sub(r"detector:\n(  .*\n)+", BMN, text))
    train = ("train", "toy.yaml", "schedule.epochs=2", "training.accumulate=2")
    assert actloc(folder, *train, "run.name=stopped", ACTLOC_FAULT="step:3:kill").returncode != 0
    for name in ("whole", "stopped"):
        done = actloc(folder, *train, f"run.name={name}")
        assert done.returncode == 0, done.stderr
        assert "a step differs from one pass" in " ".join(done.stderr.split())
        assert ("Resuming after step" in done.stderr) == (name == "stopped")
        done = actloc(folder, "eval", f"ckpt/{name}")
        assert done.returncode == 0, done.stderr
    whole, stopped = (
        json.loads(next((folder / f"ckpt/{name}").rglob("predictions.json")).read_text())["results"]
        for name in ("whole", "stopped")
    )
    assert whole == stopped
    assert {one["label"] for listed in whole.values() for one in listed} == {"red", "blue"}


TADTR = """\
detector:
  name: tadtr
  dim: 32
  num_heads: 4
  encoder_layers: 1
  decoder_layers: 2
  hidden_dim: 32
  num_queries: 6
suppression:
  method: between_windows
  tiou: 0.4
  min_score: 0
"""
WINDOWS = "max_steps: 12\n  training_overlap: 0.5\n  crop_ratio: null\n  window_steps: 12\n  window_overlap: 0.25"


def test_tadtr_learns_on_windows_goes_on_after_a_stop_and_needs_no_suppression(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    text = re.sub(r"detector:\n(  .*\n)+", TADTR, (folder / "toy.yaml").read_text())
    (folder / "toy.yaml").write_text(text.replace("max_steps: 32", WINDOWS))
    train = ("train", "toy.yaml", "optimizer.decays=all", "schedule.epochs=3")
    assert actloc(folder, *train, ACTLOC_FAULT="step:8:kill").returncode != 0
    done = actloc(folder, *train)
    assert done.returncode == 0, done.stderr
    assert "Resuming after step" in done.stderr
    for settings in ((), ("suppression.method=none",)):
        done = actloc(folder, "eval", "ckpt/toy", *settings)
        assert done.returncode == 0, done.stderr
    merged, every = (
        json.loads((folder / f"ckpt/toy/eval/{name}/predictions.json").read_text())["results"]
        for name in ("test", "test-suppression.method=none")
    )
    assert sum(map(len, every.values())) >= sum(map(len, merged.values())) > 0
    done = actloc(folder, "predict", "ckpt/toy", "videos/v5.mp4", "--output", "out", "--set", "prediction.threshold=0")
    assert done.returncode == 0, done.stderr
    predicted = json.loads((folder / "out/predictions.json").read_text())["results"]["v5"]
    assert abs(predicted[0]["score"] - merged["v5"][0]["score"]) <= 1e-4
