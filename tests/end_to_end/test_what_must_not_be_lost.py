"""Nothing of the user's is destroyed, and nothing made from other inputs passes for the present ones."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from actloc.store.store import FeatureStore
from tests.toy import SCENES, actloc, copy_toy, make_video


def test_overwrite_never_empties_a_folder_that_is_no_run(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    done = actloc(folder, "train", "toy.yaml", "run.folder=.", "run.name=videos", "--overwrite")
    assert done.returncode == 2
    assert "is not a run" in done.stderr
    assert len(list((folder / "videos").iterdir())) == len(SCENES)


def test_overwrite_keeps_the_old_run_until_the_new_one_can_start(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", "features.path=nowhere", "--overwrite").returncode == 2
    assert actloc(folder, "train", "toy.yaml", "--overwrite", "--resume", "ckpt_000004").returncode == 2
    assert actloc(folder, "verify", "ckpt/toy").returncode == 0
    assert actloc(folder, "train", "toy.yaml", "optimizer.learning_rate=1e-3", "--overwrite").returncode == 0


def test_the_checkpoint_of_another_run_is_refused_and_costs_nothing(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", "run.name=wide", "detector.dim=32").returncode == 0
    before = sorted(path.name for path in (folder / "ckpt/toy").glob("ckpt_*"))
    done = actloc(folder, "train", "toy.yaml", "--resume", "ckpt/wide/ckpt_000004")
    assert done.returncode == 2
    assert sorted(path.name for path in (folder / "ckpt/toy").glob("ckpt_*")) == before


def test_a_finished_run_goes_on_from_a_named_checkpoint_to_the_same_end(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    end = folder / "ckpt/toy/ckpt_000008/weights.safetensors"
    before = end.read_bytes()
    assert actloc(folder, "train", "toy.yaml", "--resume", "ckpt_000004").returncode == 0
    assert end.read_bytes() == before


def test_a_finished_run_that_goes_on_and_is_killed_is_not_finished(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    killed = actloc(folder, "train", "toy.yaml", "--resume", "ckpt_000004", ACTLOC_FAULT="step:2:kill")
    assert killed.returncode == -signal.SIGKILL
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 0
    assert "Resuming after step 4" in done.stderr
    assert (folder / "ckpt/toy/ckpt_000008").is_dir()


def test_a_run_is_found_through_a_link(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    (folder / "latest").symlink_to("ckpt/toy")
    done = actloc(folder, "train", "latest")
    assert done.returncode == 0, done.stderr
    assert "ckpt/toy is trained" in done.stdout
    assert not (folder / "toy").exists()


def test_changed_annotations_do_not_slip_into_a_started_run(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="step:6:kill").returncode == -signal.SIGKILL
    labels = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join(line for line in labels if not line.startswith("v0")) + "\n")
    assert actloc(folder, "prepare", "toy.yaml", "--overwrite").returncode == 0
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 2
    assert "annotations have changed" in done.stderr


def test_a_replaced_video_is_encoded_again(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    store = FeatureStore(folder / "features")
    before = {video_id: store.read(video_id) for video_id in store.ids()}
    make_video(folder / "videos/v0.mp4", [("blue", 0.0, 3.5)])
    done = actloc(folder, "extract-features", "toy.yaml", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["id"] for event in events if event["event"] == "video_done"] == ["v0"]
    after = FeatureStore(folder / "features")
    assert (before["v0"] != after.read("v0")).any()
    assert (before["v1"] == after.read("v1")).all()


def test_features_follow_the_preparation(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    settings = ("preparation.videos=frames", "preparation.short_side=24", "preparation.fps=8")
    assert actloc(folder, "prepare", "toy.yaml", *settings, "--overwrite").returncode == 0
    done = actloc(folder, "extract-features", "toy.yaml", *settings)
    assert done.returncode == 0
    assert "Making features again for 6 videos with changed files: v0, v1, v2" in done.stderr
    assert FeatureStore(folder / "features").info("v0").reader == "images"


@pytest.mark.parametrize("form", ["frames", "reencode"])
def test_a_cut_off_video_does_not_pass_as_whole_after_preparation(toy: Path, tmp_path: Path, form: str) -> None:
    folder = copy_toy(toy, tmp_path / "toy")
    whole = folder / "videos/v4.mp4"
    make_faststart(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    settings = (f"preparation.videos={form}",)
    prepared = actloc(folder, "prepare", "toy.yaml", *settings)
    assert prepared.returncode == 0, prepared.stderr
    assert "v4" in prepared.stderr
    done = actloc(folder, "extract-features", "toy.yaml", *settings)
    assert done.returncode == 3
    failed = [json.loads(line) for line in (folder / "features/failed.jsonl").read_text().splitlines()]
    assert [(row["id"], row["reason"]) for row in failed] == [("v4", "truncated")]


def make_faststart(path: Path) -> None:
    """A noisy video whose index stands first, so that it opens when its end is cut off."""
    import subprocess

    from imageio_ffmpeg import get_ffmpeg_exe

    source = "testsrc2=s=64x48:r=30:d=4"
    arguments = ["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-movflags", "+faststart"]
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", *arguments, f"file:{path}"], check=True)


def test_features_of_other_encoder_settings_are_refused(encoded: Path) -> None:
    done = actloc(encoded, "train", "toy.yaml", "features.encoder.short_side=16", "run.name=other")
    assert done.returncode == 2
    assert "encoder.short_side is 48, the settings say 16" in done.stderr


def test_evaluation_with_another_network_is_refused(trained: Path) -> None:
    for setting in ("detector.windows=7", "detector.dim=32"):
        done = actloc(trained, "eval", "ckpt/toy", setting)
        assert done.returncode == 2, done.stderr
        assert setting.partition("=")[0] in done.stderr


def test_thresholds_of_other_weights_are_not_used(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    assert actloc(folder, "eval", "ckpt/toy", "evaluation.weights=raw").returncode == 0
    assert (folder / "ckpt/toy/eval/test-raw/metrics.json").exists()
    done = actloc(folder, "predict", "ckpt/toy", "videos/v2.mp4")
    assert done.returncode == 2
    assert "actloc eval ckpt/toy" in done.stderr


def test_commands_before_their_time_name_the_one_that_comes_first(toy: Path, encoded: Path) -> None:
    for command in (("extract-features", "--dry-run"), ("train",)):
        done = actloc(toy, *command, "toy.yaml", "run.seed=1")
        assert done.returncode == 2
        assert "Run: actloc prepare toy.yaml run.seed=1" in done.stderr
    done = actloc(encoded, "eval", "toy.yaml", "run.name=never")
    assert done.returncode == 2
    assert "actloc train" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "toy.yaml", "run.seed=99999999999999999999"),
        ("train", "toy.yaml", "features.crop_ratio=[1.0,0.5]"),
        ("train", "toy.yaml", "detector.name=."),
        ("train", "toy.yaml", "detector.dim="),
        ("train", "toy.yaml", "machine.device=cuda:7", "run.name=other"),
        ("train", "toy.yaml", "run.folder=labels.csv"),
        ("eval", "toy.yaml", "fusion.scores=nowhere.json"),
        ("eval", "toy.yaml", "--predictions", "nowhere.json"),
        ("train", "toy.yaml", "training.validation_subset=nonsense", "run.name=other"),
        ("report", "toy.yaml", "--output", "labels.csv"),
        ("verify", "videos"),
    ],
    ids=" ".join,
)
def test_ordinary_mistakes_end_with_status_2_and_no_bug_report(trained: Path, arguments: tuple[str, ...]) -> None:
    done = actloc(trained, *arguments)
    assert done.returncode == 2, done.stderr
    assert "bug" not in done.stderr


def test_a_report_is_found_by_the_configs_name_too(trained: Path, tmp_path: Path) -> None:
    folder = copy_toy(trained, tmp_path / "toy")
    assert actloc(folder, "eval", "toy.yaml").returncode == 0
    done = actloc(folder, "report", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert (folder / "ckpt/toy/report.html").exists()


def test_a_moved_store_still_serves_its_run(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    assert actloc(folder, "train", "toy.yaml", ACTLOC_FAULT="step:6:kill").returncode == -signal.SIGKILL
    shutil.move(folder / "features", folder / "moved")
    done = actloc(folder, "train", "toy.yaml", "features.path=moved")
    assert done.returncode == 0, done.stderr
