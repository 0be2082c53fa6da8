"""Detectors other than the usual one on the command line: with shared weights, with anchors on windows."""

import json
import re
from pathlib import Path

from tests.end_to_end.test_several_processes import together
from tests.toy import actloc, copy_toy

DETECTOR = """\
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
    (folder / "toy.yaml").write_text(re.sub(r"detector:\n(  .*\n)+", DETECTOR, text))
    done = actloc(folder, "train", "toy.yaml", "training.accumulate=2")
    assert done.returncode == 0, done.stderr
    assert "With training.accumulate=2 a step differs from one pass" in " ".join(done.stderr.split())
    done = actloc(folder, "eval", "ckpt/toy")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "ckpt/toy/eval/test/predictions.json").read_text())["results"]
    assert all(found.values())


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
    done = actloc(folder, "train", "toy.yaml", "optimizer={name: sgd, learning_rate: 0.01, decays: all}", SLOWLY)
    assert done.returncode == 0, done.stderr
    done = actloc(folder, "eval", "ckpt/toy")
    assert done.returncode == 2
    assert "Set features.window_steps=12" in done.stderr
    done = actloc(folder, "eval", "ckpt/toy", "features.window_steps=12")  # how to look does not change the weights
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "ckpt/toy/eval/test/predictions.json").read_text())["results"]
    assert all(found.values())
    refused = together(folder, 2, "train", "toy.yaml", "run.name=two", "training.batch_size=2")
    assert [process.returncode for process in refused] == [2, 2]
    assert sum("batch norms learn their statistics" in process.stderr for process in refused) == 1
    done = together(folder, 2, "train", "toy.yaml", "run.name=two", "detector.norm_statistics=fixed", SLOWLY)
    assert [process.returncode for process in done] == [0, 0], [process.stderr for process in done]
