"""Features and actions without videos: prepared, trained on, and used for new videos with an encoder that is named."""

from pathlib import Path

import numpy as np
import pytest

from tests.toy import CONFIG, SCENES, TEST_VIDEOS, actloc, make_video

FEATURES = """\
dataset: {name: custom, folder: prepared, annotations: labels.csv}
features: {name: folders, path: feats, suffix: .csv, fps: 8, clip_frames: 2, stride_frames: 2, max_steps: 32}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with features of 6 channels in .csv, trained on for one epoch."""
    rows, generator = ["video,start,end,label,subset"], np.random.default_rng(0)
    (tmp_path / "feats").mkdir()
    for name, scene in SCENES.items():
        np.savetxt(tmp_path / f"feats/{name}.csv", generator.normal(size=(16, 6)), delimiter=",")
        subset = "test" if name in TEST_VIDEOS else "train"
        rows += [f"{name},{start},{end},{colour},{subset}" for colour, start, end in scene]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "own.yaml").write_text(FEATURES + CONFIG[CONFIG.index("detector:") :])
    for command in ("prepare", "train", "eval"):
        done = actloc(tmp_path, command, "own.yaml")
        assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.usefixtures("forked_decoders")
def test_a_new_video_needs_the_encoder_by_name_and_nothing_proves_it(run: Path) -> None:
    make_video(run / "new.mp4", [("red", 1.0, 2.0)])
    call = "predict", "ckpt/own", "new.mp4", "--set", "prediction.threshold=0"
    done = actloc(run, *call)
    assert done.returncode == 2
    assert "--set features.encoder.name=NAME" in done.stderr
    done = actloc(run, *call, "--set", "features.encoder.name=color")
    assert done.returncode == 0, done.stderr
    assert "cannot be proved that color makes the same" in " ".join(done.stderr.split())
    assert "new" in (run / "predictions/predictions.json").read_text()
    done = actloc(run, *call, "--set", "features.encoder.name=efficientnet_lite0")
    assert done.returncode == 2
    assert "gives 1280 channels" in done.stderr
    assert "was trained on features with 6" in done.stderr


def test_an_encoder_needs_videos_unless_features_are_in_files(run: Path) -> None:
    (run / "stored.yaml").write_text(CONFIG.replace("  videos: videos\n", ""))
    done = actloc(run, "prepare", "stored.yaml")
    assert done.returncode == 2
    assert "dataset.videos is missing, which features.encoder.name=color needs" in " ".join(done.stderr.split())
    np.savetxt(run / "feats/v0.csv", np.zeros((16, 5)), delimiter=",")
    done = actloc(run, "train", "own.yaml", "--overwrite")
    assert done.returncode == 2
    assert "have 6 channels, those of v0 5" in done.stderr
    for path in (run / "feats").iterdir():
        np.savetxt(path, np.zeros((16, 5)), delimiter=",")
    done = actloc(run, "eval", "own.yaml")
    assert done.returncode == 2
    assert "was trained on features with 6" in done.stderr
    done = actloc(run, "train", "own.yaml", "--resume", "ckpt_000003")
    assert done.returncode == 2
    assert "have 5 channels; ckpt/own started training on features with 6" in " ".join(done.stderr.split())
