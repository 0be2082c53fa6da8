"""`show`, `ls`, wrong settings and refusals answer without importing torch, which takes longer than all the rest."""

import json
import shutil
from pathlib import Path

import pytest

from tests.test_configs import LEFT_OPEN
from tests.torchless import outcomes
from tests.toy import CONFIG

CONFIGS = sorted(Path("configs").glob("**/*.yaml"))
RECOGNITION = "configs/ucf101_dualformer_t_16f.yaml"
LABELS = "video,start,end,label,subset\nv0.mp4,1.0,2.0,red,train\nv2.mp4,0.5,1.5,red,test\n"


def check(folder: Path, cases: list[list[str]], status: int) -> list[str]:
    """The output of each command, which ends with this status and never asks for torch."""
    found = outcomes([(folder, case) for case in cases])
    for case, (code, output) in zip(cases, found, strict=True):
        assert code == status, (case, output)
        assert "import of torch" not in output, (case, output)
        assert "Traceback" not in output, (case, output)
    return [output for _, output in found]


def test_show_of_every_shipped_config() -> None:
    every = check(Path.cwd(), [["show", str(path), *LEFT_OPEN.get(path.stem, ())] for path in CONFIGS], 0)
    assert all("run:" in output for output in every)


def test_show_of_own_settings_with_an_encoder_of_any_size_of_clips(folder: Path) -> None:
    others = ["features.clip_frames=4", "features.encoder.short_side=32"]
    check(folder, [["show", "toy.yaml"], ["show", "toy.yaml", *others], ["show", "toy.yaml", "--json"]], 0)


def test_show_of_the_small_pictures_that_init_may_choose(folder: Path) -> None:
    encoder = "{name: efficientnet_lite0, short_side: 128, crop: 112}"
    (output,) = check(folder, [["show", "toy.yaml", f"features.encoder={encoder}"]], 0)
    assert "# The encoder efficientnet_lite0: 4.63 million weights" in output


def test_every_form_of_ls(tmp_path: Path) -> None:
    kinds = ("configs", "recipes", "datasets", "encoders", "detectors", "sources", "tasks", "runs")
    check(tmp_path, [["ls"], *(["ls", kind] for kind in kinds), ["ls", "--json"]], 0)
    (wrong,) = check(tmp_path, [["ls", "confgs"]], 2)
    assert "actloc ls configs" in wrong


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Settings, labels and annotations of a toy, without its videos, features and runs."""
    (tmp_path / "toy.yaml").write_text(CONFIG)
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "videos").mkdir()
    return tmp_path


WRONG = [
    *(f"{section}.nosuchkey=1" for section in ("run", "dataset", "preparation", "features", "detector", "optimizer")),
    *(f"{section}.nosuchkey=1" for section in ("schedule", "average", "training", "suppression", "evaluation")),
    *(f"{section}.nosuchkey=1" for section in ("fusion", "prediction", "machine", "features.encoder", "nosuchsection")),
    *("run.seed=a", "dataset.class_agnostic=3", "features.fps=fast", "features.encoder.short_side=x"),
    *("detector.dim=wide", "optimizer.learning_rate=high", "schedule.epochs=many", "average.decay=x"),
    *("training.batch_size=x", "suppression.sigma=x", "evaluation.tious=x", "fusion.rule=x", "prediction.threshold=x"),
    *("machine.num_workers=x", "machine.device=tpu"),
    *("optimizer.learning_rate=-1", "schedule.epochs=-1", "average.decay=2", "training.batch_size=0"),
    *("features.clip_frames=0", "detector.dim=0", "machine.num_workers=-1", "features.encoder.short_side=-5"),
    *("features.encoder.name=nosuch", "detector.name=nosuch", "features.name=nosuch", "dataset.name=nosuch"),
    *("task.name=nosuch", "features.encoder.trainable=adapters", "features.resize_by=roi_align"),
]


def test_wrong_settings_of_every_section(folder: Path) -> None:
    check(folder, [["train", "toy.yaml", setting] for setting in WRONG], 2)


@pytest.mark.parametrize("command", ["prepare", "extract-features", "eval", "show", "verify"])
def test_a_wrong_setting_in_each_command(folder: Path, command: str) -> None:
    (output,) = check(folder, [[command, "toy.yaml", "detector.dim=wide"]], 2)
    assert "dim" in output


def test_wrong_settings_of_recognition() -> None:
    wrong = ("network.nosuch=1", "clips.frames=x", "clips.encoder.size=huge", "token_labels.nosuch=1", "clips.frames=7")
    check(Path.cwd(), [["train", RECOGNITION, setting] for setting in wrong], 2)


def test_missing_files_and_names(folder: Path) -> None:
    cases = [
        *([command, "nosuch.yaml"] for command in ("train", "eval", "show", "prepare", "extract-features", "report")),
        ["predict", "ckpt/nosuch", "a.mp4"],
        ["predict", "toy.yaml", "nosuch.mp4"],
        ["suggest", "ckpt/nosuch"],
        ["explain", "toy.yaml", "nosuch.mp4"],
        ["compare", "nosuch", "nosuch2"],
        ["export", "nosuch", "x.h5"],
        ["convert", "nosuch.pth", "ckpt/new"],
        ["convert", "videos", "x.pth"],
        ["report", "ckpt/nosuch"],
        ["train"],
        ["nosuchcommand"],
        ["train", "toy.yaml", "--nosuch"],
    ]
    check(folder, cases, 2)


def test_refusals_before_there_are_annotations(folder: Path) -> None:
    """`extract-features` and `train` prepare nothing here: there are no videos."""
    for output in check(folder, [["train", "toy.yaml"], ["eval", "toy.yaml"]], 2):
        assert "actloc prepare" in output
    check(folder, [["prepare", "toy.yaml"]], 2)


@pytest.fixture
def prepared(folder: Path) -> Path:
    """With annotations, as `prepare` writes them."""
    from actloc.annotations import form as annotation_form
    from actloc.annotations.model import Action, AnnotatedVideo, Annotations

    videos = {
        name: AnnotatedVideo(name, subset, (Action(0.5, 1.0, "red"),), 4.0, file=Path(f"videos/{name}.mp4"))
        for name, subset in (("v0", "train"), ("v2", "test"))
    }
    annotation_form.write(folder / "prepared" / "annotations.json", Annotations(("red",), videos))
    return folder


def test_refusals_without_features(prepared: Path) -> None:
    (output,) = check(prepared, [["train", "toy.yaml"]], 2)
    assert "extract-features" in output


def test_refusals_without_a_run_or_a_checkpoint(prepared: Path) -> None:
    run = prepared / "ckpt" / "toy"
    video = prepared / "videos" / "v0.mp4"
    video.write_bytes(b"")
    commands = [
        ["eval", "toy.yaml"],
        ["predict", "toy.yaml", str(video)],
        ["suggest", "toy.yaml"],
        ["explain", "toy.yaml", str(video)],
    ]
    for output in check(prepared, commands, 2):
        assert "actloc train" in output
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG)
    (run / "environment.json").write_text("{}")
    of_run = [
        ["eval", "ckpt/toy"],
        ["predict", "ckpt/toy", str(video)],
        ["suggest", "ckpt/toy"],
        ["convert", "ckpt/toy", "x.pth"],
    ]
    for output in check(prepared, [*of_run, ["report", "ckpt/toy"]], 2):
        assert "actloc" in output
    check(prepared, [["train", "ckpt/toy", "--resume", "ckpt_000009"]], 2)
    check(prepared, [["train", "toy.yaml", "--resume", "ckpt_000009", "--overwrite"]], 2)


def test_refusals_of_a_run_with_other_settings(prepared: Path) -> None:
    run = prepared / "ckpt" / "toy"
    checkpoint = run / "ckpt_000002"
    checkpoint.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG)
    (run / "environment.json").write_text("{}")
    about = {"settings": {"detector.dim": 16}, "classes": ["red"], "in_channels": 3}
    (checkpoint / "state.json").write_text(json.dumps({"step": 2, "about": about}))
    (checkpoint / "manifest.json").write_text("{}")
    video = prepared / "videos" / "v0.mp4"
    video.write_bytes(b"")
    other = "detector.dim=32"
    outputs = check(prepared, [["train", "toy.yaml", other], ["eval", "toy.yaml", other]], 2)
    assert all("detector.dim" in output for output in outputs)
    shutil.rmtree(run / "ckpt_000002")
    (run / "notes.txt").write_text("")
    (run / "config.yaml").unlink()
    (run / "environment.json").unlink()
    (output,) = check(prepared, [["train", "toy.yaml"]], 2)
    assert "is not a run" in output


def test_refusals_of_extraction(prepared: Path) -> None:
    cases = [
        ["extract-features", "toy.yaml", "features.encoder=null"],
        ["extract-features", "toy.yaml", "--shard", "3/2"],
        ["extract-features", "toy.yaml", "--shard", "1/2", "--overwrite"],
        ["extract-features", "toy.yaml", "--engine", "nosuch"],
        ["extract-features", "toy.yaml", "recipe=tanet_8f"],
        ["extract-features", "toy.yaml", "recipe=i3d_thumos"],
        ["extract-features", "toy.yaml", "recipe=tsp_thumos"],
        ["extract-features", "toy.yaml", "recipe=nosuch"],
    ]
    outputs = check(prepared, cases, 2)
    assert "The encoder's weights are missing" in outputs[4]


def test_refusals_of_predictions_files(prepared: Path) -> None:
    (prepared / "damaged.json").write_text("{")
    cases = [["eval", "toy.yaml", "--predictions", name] for name in ("nosuch.json", "damaged.json", "videos")]
    check(prepared, [*cases, ["eval", "toy.yaml", "--name", "own"]], 2)
