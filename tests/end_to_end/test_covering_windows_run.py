"""Training on all windows that cover the videos, through the command line."""

import json
from pathlib import Path

from tests.toy import CONFIG, actloc, copy_toy

SETTINGS = "max_steps: 8\n  training_overlap: 0.5\n  crop_ratio: null\n  window_steps: 8"
COVERING = CONFIG.replace("max_steps: 32", SETTINGS)
NO_AVERAGE = "average.decay=0.0"


def test_an_epoch_has_every_window_and_a_stopped_run_ends_with_the_same_weights(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    (folder / "toy.yaml").write_text(COVERING)
    planned = actloc(folder, "train", "toy.yaml", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    stopped = actloc(folder, "train", "toy.yaml", NO_AVERAGE, "run.name=stopped", ACTLOC_FAULT="step:11:kill")
    assert stopped.returncode != 0
    found = []
    for name in ("whole", "stopped"):
        done = actloc(folder, "train", "toy.yaml", NO_AVERAGE, f"run.name={name}")
        assert done.returncode == 0, done.stderr
        assert ("Resuming after step" in done.stderr) == (name == "stopped")
        assert "An epoch has" in done.stderr
        assert "are used as background" not in done.stderr
        done = actloc(folder, "eval", f"ckpt/{name}")
        assert done.returncode == 0, done.stderr
        found.append(json.loads(next((folder / f"ckpt/{name}").rglob("predictions.json")).read_text())["results"])
    assert found[0] == found[1]
    assert any(found[0].values())
