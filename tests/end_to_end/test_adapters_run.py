"""Adapters of a vision transformer trained with the detector by the commands: only they change in the encoder."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.end_to_end.test_trained_encoder import E2E
from tests.toy import TEST_VIDEOS, actloc, copy_toy, predicts_as_it_scored

SETTINGS = """  preset: adatad
  encoder:
    name: videomae
    size: {dim: 24, blocks: 4, heads: 2, patch: 8}
    short_side: 32
    crop: 32
    adapters: {}
    rate_factor: 10
  fps: 8
  clip_frames: 4
  stride_frames: 4
  align: padded
  steps_per_clip: 4
  step_time: start
  clip_origin: step
  encode_padding: true
  outside: repeat_window
  max_steps: 32
  window_steps: 32
"""
ADATAD = E2E[: E2E.index("  preset: etad")] + SETTINGS + E2E[E2E.index("detector:") :]


@pytest.mark.parametrize("ladder", [False, True])
def test_adapters_are_trained_scored_and_applied(toy: Path, tmp_path: Path, ladder: bool) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    text = ADATAD.replace("adapters: {}", "adapters: {ladder: true}") if ladder else ADATAD
    (folder / "toy.yaml").write_text(text)
    assert actloc(folder, "prepare", "toy.yaml").returncode == 0
    dry = actloc(folder, "train", "toy.yaml", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    (plan,) = [json.loads(line) for line in dry.stdout.splitlines() if '"plan"' in line]
    assert plan["missing"] == []
    assert plan["bytes"]["frames"] == 8 * 4 * 32 * 32 * 3  # one call: a window's 8 clips of 4 frames

    done = actloc(folder, "train", "toy.yaml", "schedule.epochs=2")
    assert done.returncode == 0, done.stderr
    newest = sorted((folder / "ckpt/toy").glob("ckpt_*"))[-1]
    stored = load_file(newest / "weights.safetensors")
    learned = [name for name in stored if name.startswith("encoder/")]
    assert len(learned) == 4 * 9
    assert all(".adapter." in name for name in learned)
    assert all(stored[name].any() for name in learned if name.endswith("up_proj.weight"))

    done = actloc(folder, "eval", "ckpt/toy")
    assert done.returncode == 0, done.stderr
    refused = actloc(folder, "extract-features", "ckpt/toy")
    assert refused.returncode == 2
    assert "mixes the clips of a window" in refused.stderr
    assert predicts_as_it_scored(folder, TEST_VIDEOS[1])
