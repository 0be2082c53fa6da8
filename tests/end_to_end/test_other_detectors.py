"""A detector that shares weights between levels and counts positive points in its outputs, on the command line."""

import json
import re
from pathlib import Path

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
