"""ETAD trained with its encoder on clips spread over each video, by the commands."""

import json
import re
from pathlib import Path

from actloc.store.store import FeatureStore
from tests.end_to_end.test_other_detectors import ETAD
from tests.end_to_end.test_trained_encoder import E2E
from tests.toy import TEST_VIDEOS, actloc, copy_toy, predicts_as_it_scored


def test_etad_is_trained_on_spread_clips_scored_and_applied(toy: Path, tmp_path: Path) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    text = re.sub(r"detector:\n(  .*\n)+", ETAD, E2E).replace("dataset:\n", "dataset:\n  class_agnostic: true\n")
    text = text.replace("max_steps: 32", "max_steps: 24\n  resize_to: 24\n  resize_by: clips")
    (folder / "toy.yaml").write_text(text)
    assert actloc(folder, "prepare", "toy.yaml").returncode == 0
    dry = actloc(folder, "train", "toy.yaml", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    (plan,) = [json.loads(line) for line in dry.stdout.splitlines() if '"plan"' in line]
    assert plan["missing"] == []
    assert plan["bytes"]["frames"] == 4 * 2 * 32 * 32 * 3  # one call: 4 clips of 2 frames

    done = actloc(folder, "train", "toy.yaml", "schedule.epochs=2")
    assert done.returncode == 0, done.stderr
    for command in ("eval", "extract-features"):
        done = actloc(folder, command, "ckpt/toy")
        assert done.returncode == 0, done.stderr
    assert FeatureStore(folder / "ckpt/toy/features").info("v0").steps == 16  # 32 frames, at stride_frames
    assert predicts_as_it_scored(folder, TEST_VIDEOS[1])


def test_actionformer_too_learns_from_spread_clips_and_other_places_are_refused(toy: Path, tmp_path: Path) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    text = E2E.replace("max_steps: 32", "max_steps: 32\n  resize_to: 16\n  resize_by: clips")
    (folder / "toy.yaml").write_text(text)
    for command in (("prepare", "toy.yaml"), ("train", "toy.yaml"), ("eval", "ckpt/toy")):
        done = actloc(folder, *command)
        assert done.returncode == 0, done.stderr
    refused = actloc(folder, "eval", "ckpt/toy", "features.align=padded")
    assert refused.returncode == 2
    assert "features.align: found padded, expected valid" in refused.stderr
