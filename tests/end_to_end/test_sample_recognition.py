"""The shipped config of recognition on the sample's clips, on few and short videos: to class scores of windows."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.toy import actloc

CONFIG = "sample_dualformer_recognition"
SMALL = (
    "dataset.num_training_videos=3",
    "dataset.num_evaluation_videos=1",
    "dataset.shortest_s=8",
    "dataset.longest_s=17",
    "schedule.epochs=2",
    "schedule.warmup_epochs=1",
)
SPAN_S = 8 * 4 / 25  # frames, from each to the next, frames per second


@pytest.mark.slow
def test_segments_of_untrimmed_videos_give_class_scores_of_windows(tmp_path: Path) -> None:
    for command in (("prepare",), ("train",), ("eval", "--save-scores", "scores.json")):
        done = actloc(tmp_path, command[0], CONFIG, *SMALL, *command[1:])
        assert done.returncode == 0, done.stderr
    annotations = json.loads((tmp_path / "data/spliced_sample/annotations.json").read_text())
    [(video_id, video)] = [(name, one) for name, one in annotations["database"].items() if one["subset"] == "test"]
    metrics = json.loads((tmp_path / f"ckpt/{CONFIG}/eval/test/metrics.json").read_text())
    assert metrics["counts"]["clips"] == len(video["annotations"]) > 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["classes"] == annotations["classes"]
    assert scores["facts"]["views_of_windows"] == "1 clip x 1 crop", "one for each span, however many eval has"
    starts, ends, rows = zip(*scores["windows"][video_id], strict=True)
    np.testing.assert_allclose(np.subtract(ends, starts), SPAN_S)
    assert (starts[0], ends[-1]) == pytest.approx((0.0, video["duration"]))
    assert np.diff(starts).max() <= SPAN_S / 2 + 1e-9
    np.testing.assert_allclose(np.sum(rows, axis=1), 1)
