"""Training killed, stopped, spoiled and repeated: the reliability cases of `train` and `eval` (spec section 6)."""

import hashlib
import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.toy import Running, actloc, copy_toy, rounding_after, run_afresh, start, training_rows

STEPS = 8


def final_state(folder: Path) -> dict[str, str]:
    """Digests of what an undisturbed run must share with every other."""
    run = folder / "ckpt/toy"
    last = sorted(run.glob("ckpt_*"))[-1]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(last.iterdir())}
    # every number as it is written, but times, speed and memory; a run that was stopped has more events
    digests["log.jsonl"] = hashlib.sha256(json.dumps(training_rows(run)).encode()).hexdigest()
    return {"last": last.name, **digests}


@pytest.fixture(scope="module")
def reference(trained: Path) -> dict[str, str]:
    state = final_state(trained)
    assert state["last"] == f"ckpt_{STEPS:06d}"
    return state


@pytest.mark.slow
@pytest.mark.parametrize("fault", [f"step:{n}:kill" for n in range(1, STEPS + 1)])
def test_killed_at_any_step_and_started_again_gives_the_same_bytes(
    encoded: Path, tmp_path: Path, reference: dict[str, str], fault: str
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", ACTLOC_FAULT=fault).returncode == -signal.SIGKILL
    assert actloc(folder, "train", "toy.yaml").returncode == 0
    assert final_state(folder) == reference


@pytest.mark.slow
def test_killed_at_any_rename_and_started_again_gives_the_same_bytes(
    encoded: Path, tmp_path: Path, reference: dict[str, str]
) -> None:
    for number in range(1, 100):
        folder = copy_toy(encoded, tmp_path / f"toy{number}")
        status = actloc(folder, "train", "toy.yaml", ACTLOC_FAULT=f"replace:{number}:kill").returncode
        if status == 0:
            break
        assert status == -signal.SIGKILL
        for checkpoint in (folder / "ckpt/toy").glob("ckpt_*"):
            assert actloc(folder, "verify", str(checkpoint)).returncode == 0
        assert actloc(folder, "train", "toy.yaml").returncode == 0
        assert final_state(folder) == reference
        assert not [path for path in (folder / "ckpt/toy").iterdir() if path.name.endswith(".part")]
        shutil.rmtree(folder)
    assert number > 10


def test_killed_in_the_middle_of_an_epoch_logs_each_step_once(
    encoded: Path, tmp_path: Path, reference: dict[str, str]
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="step:7:kill").returncode == -signal.SIGKILL
    again = run_afresh(folder, "train", "toy.yaml", "machine.num_workers=3", PYTHONHASHSEED="7", LC_ALL="C")
    assert again.returncode == 0, again.stderr
    steps = [row["step"] for row in training_rows(folder / "ckpt/toy")]
    assert steps == list(range(1, STEPS + 1))
    assert final_state(folder) == reference


def test_a_damaged_checkpoint_that_is_not_the_newest_does_not_matter(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    command = ("train", "toy.yaml", "schedule.epochs=2")
    assert actloc(folder, *command, ACTLOC_FAULT="step:11:kill").returncode == -signal.SIGKILL
    (folder / "ckpt/toy/ckpt_000004/state.json").write_text("{")
    done = actloc(folder, *command)
    assert done.returncode == 0, done.stderr
    assert "Resuming after step 8" in done.stderr


def test_sigterm_saves_the_finished_step_and_the_rest_is_the_same(
    encoded: Path, tmp_path: Path, reference: dict[str, str]
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    stopped = actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="step:3:term")
    assert stopped.returncode == 143, stopped.stderr
    assert (folder / "ckpt/toy/ckpt_000003").is_dir()
    assert actloc(folder, "train", "toy.yaml").returncode == 0
    assert final_state(folder) == reference


def wait_for_step(folder: Path, training: Running) -> None:
    """Until two steps are logged, however long the machine takes; a training that ends before fails the test."""
    log = folder / "ckpt/toy/log.jsonl"
    while not log.exists() or log.read_text().count('"event": "step"') < 2:
        assert training.poll(0.02) is None, training.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGUSR1, 138)])
def test_one_signal_stops_training_after_saving(encoded: Path, tmp_path: Path, number: int, status: int) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    with start(folder, "train", "toy.yaml", "schedule.epochs=5000") as training:
        wait_for_step(folder, training)
        training.send_signal(number)
        _, told = training.communicate()
    assert training.returncode == status
    assert "Run the same command again to continue." in told
    assert actloc(folder, "verify", "ckpt/toy").returncode == 0


def test_a_second_train_of_the_same_run_is_refused_and_the_first_goes_on(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    with start(folder, "train", "toy.yaml", "schedule.epochs=5000") as first:
        wait_for_step(folder, first)
        second = actloc(folder, "train", "toy.yaml", "schedule.epochs=5000")
        assert second.returncode == 4
        assert f"pid {first.pid}" in second.stderr
        assert first.poll() is None
        first.send_signal(signal.SIGINT)
        first.communicate()
    assert first.returncode == 130


def test_a_finished_run_is_left_as_it_is(trained: Path, reference: dict[str, str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (trained / "ckpt/toy").rglob("*")}
    done = actloc(trained, "train", "toy.yaml")
    assert done.returncode == 0
    assert f"ckpt/toy/ckpt_{STEPS:06d}" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (trained / "ckpt/toy").rglob("*")} == before


def test_a_run_from_before_a_setting_existed_is_taken_up_with_its_default(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    recorded = folder / "ckpt/toy/config.yaml"
    text = recorded.read_text()
    assert "  precision: float32\n" in text
    recorded.write_text(re.sub(r"^ +precision: float32\n", "", text, flags=re.MULTILINE))
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 0, done.stderr
    done = actloc(folder, "train", "toy.yaml", "training.precision=bfloat16")
    assert "training.precision: float32 in the run, bfloat16 now" in done.stderr


def test_other_settings_are_refused_with_each_difference(trained: Path, reference: dict[str, str]) -> None:
    done = actloc(trained, "train", "toy.yaml", "optimizer.learning_rate=1e-3", "detector.dim=32")
    assert done.returncode == 2
    assert "optimizer.learning_rate: 0.005 in the run, 0.001 now" in done.stderr
    assert "detector.dim: 16 in the run, 32 now" in done.stderr
    assert final_state(trained) == reference


def test_a_named_checkpoint_that_does_not_exist_is_an_error(trained: Path) -> None:
    done = actloc(trained, "train", "toy.yaml", "--resume", "missing.pt")
    assert done.returncode == 2
    assert "missing.pt" in done.stderr
    assert f"ckpt_{STEPS:06d}" in done.stderr


def test_a_torn_newest_checkpoint_costs_only_the_steps_since_the_one_before(
    encoded: Path, tmp_path: Path, reference: dict[str, str]
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="step:6:term").returncode == 143
    torn = folder / "ckpt/toy/ckpt_000006/weights.safetensors"
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 0
    assert "ckpt_000006 is damaged" in done.stderr
    assert final_state(folder) == reference


def test_a_full_disk_while_saving_leaves_the_earlier_checkpoint_whole(
    encoded: Path, tmp_path: Path, reference: dict[str, str]
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    # 3 records and 4 log lines come before the first checkpoint's five files, 4 more lines before the second's
    full = actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="write:18:ENOSPC")
    assert full.returncode == 4, full.stderr
    assert "No space left" in full.stderr
    assert actloc(folder, "verify", "ckpt/toy").returncode == 0
    assert actloc(folder, "train", "toy.yaml").returncode == 0
    assert final_state(folder) == reference


def test_a_loss_that_is_not_finite_stops_with_the_videos_named(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    done = actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="step:6:nan")
    assert done.returncode == 5
    assert "Step 6: loss not finite" in done.stderr
    bad = json.loads((folder / "ckpt/toy/bad_batch.json").read_text())
    assert bad["step"] == 6
    assert bad["videos"]
    assert bad["videos"][0] in done.stderr
    assert actloc(folder, "verify", "ckpt/toy/ckpt_000004").returncode == 0


def test_a_huge_learning_rate_ends_in_status_5(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    done = actloc(folder, "train", "toy.yaml", "optimizer.learning_rate=1e30", "schedule.warmup_epochs=0")
    assert done.returncode == 5, done.stderr
    assert "not finite" in done.stderr


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_one_flipped_bit_in_the_features_stops_train_and_eval(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    for video, command in (("v0", "train"), ("v2", "eval")):
        flip_a_bit(folder / f"features/{video}.h5")
        done = actloc(folder, command, "toy.yaml", *(["run.name=other"] if command == "train" else []))
        assert done.returncode == 2, done.stderr
        assert video in done.stderr
        assert "features" in done.stderr
    done = actloc(folder, "verify", "features")
    assert done.returncode == 2
    assert "v0" in done.stderr
    assert "v2" in done.stderr
    assert "v1" not in done.stderr


def test_features_of_another_grid_are_refused_with_the_number_that_is_off(encoded: Path) -> None:
    done = actloc(encoded, "train", "toy.yaml", "features.stride_frames=4", "run.name=other")
    assert done.returncode == 2
    assert "stride_frames is 2, the settings say 4" in done.stderr


def test_a_missing_video_is_named_or_counted_as_missed(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    (folder / "features/v2.h5").unlink()
    done = actloc(folder, "eval", "toy.yaml")
    assert done.returncode == 2
    assert "v2" in done.stderr
    done = actloc(folder, "eval", "toy.yaml", "features.allow_missing=true")
    assert done.returncode == 0, done.stderr
    counts = json.loads((folder / "ckpt/toy/eval/test/metrics.json").read_text())["counts"]
    assert counts["videos_without_features"] == ["v2"]
    assert counts["truths"] == 4
    assert counts["truths_missed_there"] >= 2


def test_four_batches_of_one_train_like_one_batch_of_four(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    losses = {}
    for name, size, accumulate in (("whole", 4, 1), ("parts", 1, 4)):
        settings = (f"training.batch_size={size}", f"training.accumulate={accumulate}", "detector.drop_path=0.0")
        done = actloc(folder, "train", "toy.yaml", f"run.name={name}", "schedule.epochs=5", *settings)
        assert done.returncode == 0, done.stderr
        rows = training_rows(folder / f"ckpt/{name}")
        losses[name] = [row["train/loss/total"] for row in rows]
    for step, (whole, parts) in enumerate(zip(losses["whole"], losses["parts"], strict=True)):
        assert whole == pytest.approx(parts, rel=rounding_after(step))


def test_validation_keeps_the_best_checkpoint(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    settings = ("training.validation_subset=test", "training.validate_every_epochs=2", "schedule.epochs=9")
    assert actloc(folder, "train", "toy.yaml", *settings).returncode == 0
    rows = training_rows(folder / "ckpt/toy")
    scores = {row["step"]: row["validation/average_mAP"] for row in rows if row["event"] == "validation"}
    best = max(scores, key=lambda step: (scores[step], -step))
    assert (folder / "ckpt/toy/best").readlink().name == f"ckpt_{best:06d}"
    assert actloc(folder, "eval", "toy.yaml", *settings, "evaluation.checkpoint=best").returncode == 0
