"""A run with a memory bank: the whole way through the commands, after kills, on a full disk, and in two processes."""

import hashlib
import json
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from actloc.store.store import FeatureStore
from tests.end_to_end.test_several_processes import logged, together
from tests.end_to_end.test_trained_encoder import E2E
from tests.end_to_end.test_training_faults import final_state
from tests.toy import (
    SCENES,
    TEST_VIDEOS,
    actloc,
    copy_toy,
    leftovers,
    make_video,
    rounding_after,
    start,
    training_rows,
)

BANK = E2E.replace("  preset: etad\n", "  preset: bank_replay\n  bank: stored\n  fraction: 0.4\n")
TRAIN = ("train", "toy.yaml", "detector.drop_path=0.0")


@pytest.fixture(scope="module")
def stored(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy with the features that banks start from."""
    folder = copy_toy(toy, tmp_path_factory.mktemp("bank") / "toy")
    (folder / "toy.yaml").write_text(BANK)
    done = actloc(folder, "prepare", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "Next: actloc extract-features toy.yaml" in done.stderr
    for command in (TRAIN, (*TRAIN, "--dry-run")):
        refused = actloc(folder, *command)
        assert refused.returncode == 2
        said = refused.stderr + refused.stdout
        assert "stored has features of 0 of 4 training videos" in said
        assert "Run: actloc extract-features toy.yaml" in said
    done = actloc(folder, "extract-features", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert "Next: actloc train toy.yaml" in done.stderr
    return folder


@pytest.fixture(scope="module")
def whole(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(stored, tmp_path_factory.mktemp("whole") / "toy")
    before = files_of(folder / "stored")
    done = actloc(folder, *TRAIN, "machine.num_workers=2")
    assert done.returncode == 0, done.stderr
    assert files_of(folder / "stored") == before, "a run never changes the features that its bank starts from"
    return folder


def files_of(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder, but for hidden ones."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def state_of(folder: Path) -> dict[str, str]:
    """What every undisturbed run shares: the last checkpoint, the log, and the bank."""
    return {**final_state(folder), **files_of(folder / "ckpt/toy/bank")}


def test_the_bank_holds_the_rows_that_the_encoder_made_last(whole: Path) -> None:
    run = whole / "ckpt/toy"
    last = sorted(run.glob("ckpt_*"))[-1]
    state = json.loads((last / "state.json").read_text())
    steps = {
        name.removeprefix("learner/"): tensor
        for name, tensor in safetensors.torch.load_file(last / "state.safetensors").items()
        if name.startswith("learner/")
    }
    origin = FeatureStore(whole / "stored")
    assert set(steps) == set(state["learner"]["bank"]["generations"]) < set(origin.ids())
    for video_id, generation in state["learner"]["bank"]["generations"].items():
        rows = FeatureStore(run / f"bank/{generation:06d}").read(video_id)
        is_copy = steps[video_id].numpy() == 0
        np.testing.assert_array_equal(rows[is_copy], origin.read(video_id)[is_copy])
        assert (rows[~is_copy] != origin.read(video_id)[~is_copy]).any()  # those of the first step are still equal
        assert 1 <= steps[video_id].max() <= state["step"]
    for row in training_rows(run):
        assert 0 < row["bank/median_age_steps"] <= row["step"]
        assert 0 <= row["bank/older_than_an_epoch"] <= 1
    for generation in (run / "bank").iterdir():
        assert actloc(whole, "verify", str(generation.relative_to(whole))).returncode == 0


def test_a_run_is_verified_with_its_bank(whole: Path, tmp_path: Path) -> None:
    folder = copy_toy(whole, tmp_path / "toy")
    assert actloc(folder, "verify", "ckpt/toy").returncode == 0
    (damaged, *_) = sorted((folder / "ckpt/toy/bank").glob("*/*.h5"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = actloc(folder, "verify", "ckpt/toy")
    assert done.returncode == 2
    assert f"{damaged.parent.relative_to(folder)}: {damaged.name}" in done.stderr


def test_a_run_with_a_bank_is_scored_reported_and_applied(whole: Path, tmp_path: Path) -> None:
    folder = copy_toy(whole, tmp_path / "toy")
    for command in ("eval", "report", "extract-features"):
        done = actloc(folder, command, "ckpt/toy")
        assert done.returncode == 0, done.stderr
    assert len(FeatureStore(folder / "ckpt/toy/features").ids()) == 6
    done = actloc(folder, "predict", "ckpt/toy", f"videos/{TEST_VIDEOS[0]}.mp4", "--json")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fault", ["step:2:kill", "step:4:kill", "replace:9:kill", "fsync:20:kill", "write:31:ENOSPC"])
def test_after_a_kill_or_a_full_disk_it_ends_in_the_same_bytes(
    whole: Path, stored: Path, tmp_path: Path, fault: str
) -> None:
    folder = copy_toy(stored, tmp_path / "toy")
    assert actloc(folder, *TRAIN, "machine.num_workers=2", ACTLOC_FAULT=fault).returncode != 0
    done = actloc(folder, *TRAIN, "machine.num_workers=0")
    assert done.returncode == 0, done.stderr
    assert state_of(folder) == state_of(whole)
    assert leftovers(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_a_random_moment_it_ends_in_the_same_bytes(
    whole: Path, stored: Path, tmp_path: Path, seed: int
) -> None:
    folder = copy_toy(stored, tmp_path / "toy")
    wait = random.Random(seed).uniform(0.2, 6.0)
    with start(folder, *TRAIN) as running:
        running.poll(wait)
        running.send_signal(signal.SIGKILL)
    done = actloc(folder, *TRAIN)
    assert done.returncode == 0, done.stderr
    assert state_of(folder) == state_of(whole)


def test_a_checkpoint_whose_rows_are_gone_is_not_resumed_but_can_be_scored(whole: Path, tmp_path: Path) -> None:
    folder = copy_toy(whole, tmp_path / "toy")
    run = folder / "ckpt/toy"
    older, newest = sorted(run.glob("ckpt_*"))[-2:]
    generations = json.loads((older / "state.json").read_text())["learner"]["bank"]["generations"]
    (gone,) = list((run / f"bank/{max(generations.values()):06d}").glob("*.h5"))[:1]
    gone.unlink()
    (run / "best").unlink(missing_ok=True)
    done = actloc(folder, *TRAIN, "--resume", older.name)
    assert done.returncode == 2
    assert "no longer has the rows of" in done.stderr
    assert "leave out --resume" in done.stderr
    assert newest.is_dir()
    (run / "best").symlink_to(older.name)
    assert actloc(folder, "eval", "ckpt/toy", "evaluation.checkpoint=best").returncode == 0
    shutil.rmtree(run / "bank")
    done = actloc(folder, *TRAIN, "--resume", newest.name)
    assert done.returncode == 2
    assert f"begin anew: actloc train {run.relative_to(folder)} --overwrite" in done.stderr


def test_two_processes_have_the_bank_of_one(whole: Path, stored: Path, tmp_path: Path) -> None:
    folder = copy_toy(stored, tmp_path / "two")
    for done in together(folder, 2, *TRAIN):
        assert done.returncode == 0, done.stderr
    rows = logged(folder)
    for step, (mine, theirs) in enumerate(zip(rows, logged(whole), strict=True)):
        assert mine["bank/median_age_steps"] == theirs["bank/median_age_steps"]
        for name in ("train/loss/total", "train/gradient_norm"):
            assert mine[name] == pytest.approx(theirs[name], rel=rounding_after(step + 2))
    for generation in (whole / "ckpt/toy/bank").iterdir():
        one, two = FeatureStore(generation), FeatureStore(folder / "ckpt/toy/bank" / generation.name)
        assert one.ids() == two.ids()
        for video_id in one.ids():
            expected = one.read(video_id)
            np.testing.assert_allclose(two.read(video_id), expected, atol=1e-3 * np.abs(expected).max())


def test_a_bank_does_not_start_from_features_of_other_files(stored: Path, tmp_path: Path) -> None:
    folder = copy_toy(stored, tmp_path / "toy")
    make_video(folder / "videos/v0.mp4", SCENES["v1"])
    for command in (TRAIN, (*TRAIN, "--dry-run")):
        refused = actloc(folder, *command)
        assert refused.returncode == 2
        assert "stored has features of other files than those of v0" in refused.stderr + refused.stdout
    assert actloc(folder, "extract-features", "toy.yaml").returncode == 0
    assert actloc(folder, *TRAIN).returncode == 0


def test_videos_without_rows_are_left_out_if_the_settings_allow_it_also_of_a_run_that_goes_on(
    stored: Path, tmp_path: Path
) -> None:
    folder = copy_toy(stored, tmp_path / "toy")
    FeatureStore(folder / "stored").delete("v0")
    refused = actloc(folder, *TRAIN)
    assert refused.returncode == 2
    assert "or leave these videos out: features.allow_missing=true" in refused.stderr
    assert actloc(folder, *TRAIN, "features.allow_missing=true", ACTLOC_FAULT="step:2:kill").returncode != 0
    done = actloc(folder, *TRAIN)
    assert done.returncode == 0, done.stderr
    assert "Resuming after step 1" in done.stderr
    assert "1 video has no features and is skipped: v0" in done.stderr
    state = json.loads((folder / "ckpt/toy/ckpt_000002/state.json").read_text())
    assert sorted(state["learner"]["bank"]["generations"]) == ["v1", "v3", "v4"]


def test_overwrite_does_not_delete_the_features_that_a_bank_starts_from(whole: Path, tmp_path: Path) -> None:
    folder = copy_toy(whole, tmp_path / "toy")
    (folder / "stored").rename(folder / "ckpt/toy/stored")
    before = files_of(folder)
    inside = "features.bank=ckpt/toy/stored"
    for command in ((*TRAIN, inside, "--overwrite"), ("extract-features", "toy.yaml", inside)):
        refused = actloc(folder, *command)
        assert refused.returncode == 2
        assert "in the folder of the run" in refused.stderr
        assert files_of(folder) == before
