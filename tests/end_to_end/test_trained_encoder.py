"""An encoder trained with its detector: the whole way through the commands, in two processes, and after a kill."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from actloc.store.store import FeatureStore
from tests.end_to_end.test_several_processes import logged, together
from tests.end_to_end.test_training_faults import final_state
from tests.toy import CONFIG, TEST_VIDEOS, actloc, copy_toy, rounding_after, training_rows

BEFORE, _, AFTER = CONFIG.partition("features:")
E2E = (
    BEFORE
    + """features:
  name: encoded
  preset: etad
  encoder: {name: efficientnet_lite0, short_side: 32, crop: 32, rate_factor: 0.01}
  fps: 8
  clip_frames: 2
  stride_frames: 2
  max_steps: 32
"""
    + AFTER[AFTER.index("detector:") :].replace("batch_size: 1", "batch_size: 2")
)


@pytest.fixture(scope="module")
def prepared(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(toy, tmp_path_factory.mktemp("end_to_end") / "toy")
    (folder / "toy.yaml").write_text(E2E)
    done = actloc(folder, "prepare", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "Next: actloc train toy.yaml" in done.stderr
    return folder


@pytest.fixture(scope="module")
def run(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(prepared, tmp_path_factory.mktemp("run") / "toy")
    done = actloc(folder, "train", "toy.yaml", "detector.drop_path=0.0")
    assert done.returncode == 0, done.stderr
    assert "of the time was spent waiting for data" in done.stderr
    return folder


def test_a_run_is_scored_applied_and_made_into_features_with_its_own_encoder(run: Path, tmp_path: Path) -> None:
    folder = copy_toy(run, tmp_path / "toy")
    told = {}
    for command in ("eval", "report", "extract-features"):
        done = actloc(folder, command, "ckpt/toy")
        assert done.returncode == 0, done.stderr
        told[command] = done.stderr
    video = f"videos/{TEST_VIDEOS[0]}.mp4"
    done = actloc(folder, "predict", "ckpt/toy", video, "--set", "prediction.threshold=0.0", "--json")
    assert done.returncode == 0, done.stderr
    (predicted,) = [json.loads(line) for line in done.stdout.splitlines() if '"video_done"' in line]
    scored = json.loads((folder / "ckpt/toy/eval/test/predictions.json").read_text())
    (mine,) = [listed for name, listed in scored["results"].items() if name == TEST_VIDEOS[0]]
    assert len(predicted["segments"]) == len(mine)
    np.testing.assert_allclose(
        sorted(one["score"] for one in predicted["segments"]),
        sorted(one["score"] for one in mine),
        rtol=1e-3,
        atol=1e-4,
    )
    store = FeatureStore(folder / "ckpt/toy/features")
    assert len(store.ids()) == 6
    assert "features.path=ckpt/toy/features" in told["extract-features"]
    again = actloc(folder, "extract-features", "ckpt/toy")
    assert "already complete" in again.stdout


def test_the_features_of_a_run_are_those_of_its_encoder_and_not_of_the_published_weights(
    run: Path, tmp_path: Path
) -> None:
    folder = copy_toy(run, tmp_path / "toy")
    assert actloc(folder, "extract-features", "ckpt/toy", "evaluation.weights=raw").returncode == 0
    assert actloc(folder, "train", "toy.yaml", "features.preset=frozen", "run.name=frozen").returncode == 0
    assert actloc(folder, "extract-features", "ckpt/frozen").returncode == 0
    tuned, published = (FeatureStore(folder / f"ckpt/{name}/features") for name in ("toy", "frozen"))
    assert np.abs(tuned.read("v0") - published.read("v0")).max() > 1e-5
    assert tuned.info("v0").weights_sha256 != published.info("v0").weights_sha256
    ray = actloc(folder, "extract-features", "ckpt/toy", "--engine", "ray", "--overwrite")
    assert ray.returncode == 2
    assert "Expected the local engine" in ray.stderr


def test_frozen_weights_are_stored_once_and_a_changed_file_of_them_is_refused(run: Path, tmp_path: Path) -> None:
    folder = copy_toy(run, tmp_path / "toy")
    frozen = folder / "ckpt/toy/frozen.safetensors"
    content = bytearray(frozen.read_bytes())
    content[-1] ^= 1
    frozen.write_bytes(content)
    done = actloc(folder, "eval", "ckpt/toy")
    assert done.returncode == 2
    assert "frozen.safetensors is changed" in done.stderr


@pytest.mark.parametrize("preset", ["chunked", "frozen", "full"])
def test_every_preset_trains_from_the_same_file(prepared: Path, tmp_path: Path, preset: str) -> None:
    folder = copy_toy(prepared, tmp_path / "toy")
    settings = (f"features.preset={preset}", "schedule.stop_after_epochs=1")
    done = actloc(folder, "train", "toy.yaml", *settings)
    assert done.returncode == 0, done.stderr
    assert (folder / "ckpt/toy/frozen.safetensors").is_file()  # the classifier at least
    assert f"preset: {preset}" in (folder / "ckpt/toy/config.yaml").read_text()


def test_chunked_training_takes_the_steps_of_full_backpropagation(prepared: Path, tmp_path: Path) -> None:
    logs = []
    for preset in ("full", "chunked"):
        folder = copy_toy(prepared, tmp_path / preset)
        arguments = ("toy.yaml", f"features.preset={preset}", "detector.drop_path=0.0")
        assert actloc(folder, "train", *arguments).returncode == 0
        logs.append(logged(folder))
    for step, (one, other) in enumerate(zip(*logs, strict=True)):
        for name in ("train/loss/total", "train/gradient_norm"):
            assert one[name] == pytest.approx(other[name], rel=rounding_after(step + 2))


@pytest.mark.parametrize(("preset", "fault"), [("etad", "step:3:kill"), ("chunked", "step:2:kill")])
def test_a_killed_run_resumes_to_identical_bytes(prepared: Path, tmp_path: Path, preset: str, fault: str) -> None:
    whole, killed = (copy_toy(prepared, tmp_path / name) for name in ("whole", "killed"))
    arguments = ("train", "toy.yaml", f"features.preset={preset}", "machine.num_workers=2")
    assert actloc(whole, *arguments).returncode == 0
    assert actloc(killed, *arguments, ACTLOC_FAULT=fault).returncode == -signal.SIGKILL
    done = actloc(killed, *arguments, "machine.num_workers=0")
    assert done.returncode == 0, done.stderr
    assert final_state(killed) == final_state(whole)


def test_two_processes_train_end_to_end_as_one_does(run: Path, prepared: Path, tmp_path: Path) -> None:
    folder = copy_toy(prepared, tmp_path / "two")
    for done in together(folder, 2, "train", "toy.yaml", "detector.drop_path=0.0", "run.name=two"):
        assert done.returncode == 0, done.stderr
    rows = training_rows(folder / "ckpt/two")
    for step, (mine, theirs) in enumerate(zip(rows, logged(run), strict=True)):
        for name in ("train/loss/total", "train/gradient_norm"):
            assert mine[name] == pytest.approx(theirs[name], rel=rounding_after(step + 2))
