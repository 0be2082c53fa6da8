"""Recognition from clips to the report by the commands: prepare, train, eval, report, predict, explain, convert."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from actloc import experiment
from actloc.errors import UserError
from tests.end_to_end.test_training_faults import final_state
from tests.toy import actloc, copy_toy, training_rows
from tests.toy_clips import COLOURS, DUALFORMER, TEST, TRAINING

STEPS = 9
CLASSES = sorted(COLOURS)


def ran(folder: Path, *arguments: str, status: int = 0, **environment: str) -> str:
    """What a command printed, both to stdout and stderr, in one line."""
    done = actloc(folder, *arguments, **environment)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())


def metrics(folder: Path, run: str = "toy", subset: str = "test") -> dict[str, Any]:
    return json.loads((folder / f"ckpt/{run}/eval/{subset}/metrics.json").read_text())  # type: ignore[no-any-return]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(recognizing: Path, tmp_path: Path) -> Path:
    """A trained and scored run to work on."""
    return copy_toy(recognizing, tmp_path / "toy")


def test_it_learns_and_says_what_was_measured(folder: Path) -> None:
    found = metrics(folder)
    assert found["task"] == "recognition"
    assert found["classes"] == CLASSES
    assert found["top_1"] > 2 / 3  # chance is a third
    assert found["counts"] == {"clips": TEST * 3, "unreadable": {}, "clips_left_out": 0}
    assert (found["views"], found["average"]) == ("1 clip x 1 crop", "probabilities")
    assert (found["checkpoint"], found["weights"], found["seed"]) == (f"ckpt_{STEPS:06d}", "averaged", 0)
    listed = rows(folder / "ckpt/toy/eval/test/clips.csv")
    assert [row["true"] for row in listed] == [name for name in CLASSES for _ in range(TEST)]
    right = [row["true"] == row["predicted"] for row in listed]
    assert found["top_1"] == sum(right) / len(right)
    for number, name in enumerate(CLASSES):
        own = [row["true"] == row["predicted"] for row in listed if row["true"] == name]
        assert found["per_class"][number] == {"clips": TEST, "top_1": sum(own) / TEST, "top_5": 1.0}
        confused = [one for one in found["confusion"] if one["true"] == number]
        assert sum(one["clips"] for one in confused) == TEST
    ran(folder, "eval", "toy.yaml", "dataset.evaluation_subset=train")
    assert metrics(folder, subset="train")["counts"]["clips"] == TRAINING * 3
    assert metrics(folder, subset="train")["top_1"] > 2 / 3


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(recognizing: Path, tmp_path: Path) -> None:
    again = copy_toy(recognizing, tmp_path / "again")
    ran(again, "train", "toy.yaml", "--overwrite", "machine.num_workers=2")
    assert final_state(again) == final_state(recognizing)
    ran(again, "train", "toy.yaml", "--overwrite", "run.seed=1")
    assert final_state(again)["weights.safetensors"] != final_state(recognizing)["weights.safetensors"]


@pytest.mark.parametrize(("fault", "status"), [("step:5:kill", -signal.SIGKILL), ("step:5:term", 128 + signal.SIGTERM)])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    toy_clips: Path, recognizing: Path, tmp_path: Path, fault: str, status: int
) -> None:
    folder = copy_toy(toy_clips, tmp_path / "toy")
    ran(folder, "train", "toy.yaml", status=status, ACTLOC_FAULT=fault)
    assert "Resuming after step" in ran(folder, "train", "toy.yaml")
    assert final_state(folder) == final_state(recognizing)


def test_other_settings_and_annotations_do_not_slip_into_a_started_run(folder: Path) -> None:
    told = ran(folder, "train", "toy.yaml", "clips.mirror=0", status=2)
    assert "clips.mirror: 0.5 in the run, 0.0 now" in told
    assert "is trained" in ran(folder, "train", "toy.yaml", "clips.allow_missing=true", "prediction.top_k=1")
    labels = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join(line for line in labels if not line.startswith("red0")) + "\n")
    ran(folder, "prepare", "toy.yaml", "--overwrite")
    told = ran(folder, "train", "toy.yaml", "--resume", "ckpt_000006", status=2)
    assert "The annotations have changed since ckpt/toy was trained: 1 video removed (1 train): red0" in told
    ran(folder, "train", "toy.yaml", "--overwrite")
    (folder / "labels.csv").write_text("\n".join(labels).replace(",red,", ",rot,") + "\n")
    ran(folder, "prepare", "toy.yaml", "--overwrite")
    told = ran(folder, "eval", "toy.yaml")
    assert "1 class renamed: red -> rot" in told
    assert metrics(folder)["classes"] == ["blue", "green", "rot"]
    (folder / "labels.csv").write_text("\n".join(line for line in labels if ",red," not in line) + "\n")
    ran(folder, "prepare", "toy.yaml", "--overwrite")
    told = ran(folder, "eval", "toy.yaml", status=2)
    assert "The run was trained on the classes blue, green, red." in told
    assert "actloc train toy.yaml --overwrite" in told


def test_a_test_subset_without_labels_gets_classes(folder: Path) -> None:
    was_right = [row["predicted"] for row in rows(folder / "ckpt/toy/eval/test/clips.csv")]
    path = folder / "prepared/annotations.json"
    form = json.loads(path.read_text())
    for video in form["database"].values():
        if video["subset"] == "test":
            video["annotations"] = []
    path.write_text(json.dumps(form))
    told = ran(folder, "eval", "toy.yaml", "--save-scores", "scores.json")
    assert "There is nothing to score: no video of test has a label." in told
    assert f"Wrote the classes of {TEST * 3} videos to ckpt/toy/eval/test/clips.csv" in told
    listed = rows(folder / "ckpt/toy/eval/test/clips.csv")
    assert [row["predicted"] for row in listed] == was_right
    assert {row["true"] for row in listed} == {""}
    assert not (folder / "ckpt/toy/eval/test/metrics.json").exists()
    assert len(json.loads((folder / "scores.json").read_text())["results"]) == TEST * 3
    (folder / f"videos/{listed[0]['video']}.mp4").unlink()
    ran(folder, "eval", "toy.yaml", status=3)
    assert "no video in" not in ran(folder, "eval", "toy.yaml", "dataset.evaluation_subset=fold", status=2)


def test_the_report_shows_accuracies_confusion_views_and_provenance(folder: Path) -> None:
    ran(folder, "report", "ckpt/toy")
    assert "| class | clips | top-1 | top-5 |" in (folder / "ckpt/toy/tables.md").read_text()
    ran(folder, "eval", "ckpt/toy", "evaluation.clips=2", "evaluation.crops=three_along")
    more = "test-evaluation.clips=2-evaluation.crops=three_along"
    told = ran(folder, "report", "ckpt/toy")
    assert "2 clips x 3 crops" in told
    page = (folder / "ckpt/toy/report.html").read_text()
    for shown in ("2 clips x 3 crops", "mean of probabilities", "Accuracy in percent per class", *CLASSES, "actloc"):
        assert shown in page
    assert '-matrix">Confusion matrix</h2>' in page
    is_perfect = all(metrics(folder, subset=name)["top_1"] == 1 for name in ("test", more))
    assert ("Classes taken for others" in page) != is_perfect
    tables = (folder / "ckpt/toy/tables.md").read_text()
    assert "| toy | 1 clip x 1 crop |" in tables
    assert "custom\\_clips test, 6 clips" in tables
    listed = rows(folder / "ckpt/toy/tables.csv")[len(CLASSES) + 1 :]
    assert [row["class"] for row in listed] == ["", *CLASSES]
    assert listed[0]["top-1"] == f"{100 * metrics(folder, subset=more)['top_1']:.2f}"
    assert (listed[0]["views"], listed[0]["origin"]) == ("2 clips x 3 crops", "measured")
    assert "test: top-1" in ran(folder, "ls", "runs")


def test_show_has_the_sections_of_the_task_and_the_size_of_the_encoder(toy_clips: Path) -> None:
    done = actloc(toy_clips, "show", "toy.yaml")
    sections = [line.rstrip(":") for line in done.stdout.splitlines() if line.endswith(":") and line[:1].isalpha()]
    expected = ["task", "run", "dataset", "preparation", "network", "clips", "token_labels", "optimizer", "schedule"]
    assert sections == [*expected, "average", "training", "evaluation", "prediction", "machine"]
    assert "# The encoder dualformer: 0.02 million weights;" in done.stdout
    assert "for a clip of 4 x 32 x 32" in done.stdout


def test_new_videos_get_names_and_what_cannot_be_read_is_listed(folder: Path) -> None:
    (folder / "bad.mp4").write_bytes((folder / "videos/red5.mp4").read_bytes()[:300])
    videos = ("videos/red5.mp4", "bad.mp4", "videos/blue5.mp4")
    done = actloc(folder, "predict", "ckpt/toy", *videos, "--output", "out", "--json", "prediction.top_k=2")
    assert done.returncode == 3
    assert "1 of 3 videos failed, 2 succeeded; see out/failed.jsonl" in done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["video_done", "video_failed", "video_done", "done"]
    listed = rows(folder / "out/classes.csv")
    assert [(row["video"], row["rank"]) for row in listed] == [(v, r) for v in ("red5", "blue5") for r in "12"]
    scored = {row["video"]: row for row in rows(folder / "ckpt/toy/eval/test/clips.csv")}
    for event in (events[0], events[2]):
        assert event["label"] == scored[event["id"]]["predicted"]
        assert event["probability"] == pytest.approx(float(scored[event["id"]]["score"]), rel=1e-4)
    failed = [json.loads(line) for line in (folder / "out/failed.jsonl").read_text().splitlines()]
    assert [(row["id"], row["path"]) for row in failed] == [("bad", "bad.mp4")]
    scores = json.loads((folder / "out/class_scores.json").read_text())
    assert scores["classes"] == CLASSES
    assert all(sum(row) == pytest.approx(1) for row in scores["results"].values())
    # scores before softmax that are averaged are still written as probabilities
    done = actloc(folder, "predict", "ckpt/toy", videos[0], "--output", "logits", "--json", "evaluation.average=logits")
    assert json.loads(done.stdout.splitlines()[0])["probability"] == pytest.approx(events[0]["probability"], rel=1e-4)


def test_pictures_of_what_speaks_for_a_class(folder: Path) -> None:
    told = ran(folder, "explain", "ckpt/toy", "videos/red5.mp4", "--label", "red", "--at", "0.2", "1")
    assert "red, 0.20 s to 1.00 s, probability" in told
    assert (folder / "explanations/red5.gif").stat().st_size > 1000
    assert (folder / "explanations/red5.png").stat().st_size > 1000
    given = ("ckpt/toy", "videos/red5.mp4", "--set", "evaluation.weights_file=official.pth")
    assert "Expected a run; only `eval` takes the file" in ran(folder, "explain", *given, status=2)
    assert "Did you mean red?" in ran(folder, "explain", "ckpt/toy", "videos/red5.mp4", "--label", "rde", status=2)


def test_a_folder_of_frames_is_predicted_and_explained_like_its_video(folder: Path) -> None:
    ran(folder, "prepare", "toy.yaml", "preparation.videos=png", "dataset.folder=png")
    (stored,) = (folder / "png/frames_png").glob("red5-*")
    frames = folder / "frames/red5.v2"
    frames.mkdir(parents=True)
    for number, picture in enumerate(sorted(stored.glob("*.png")), 1):
        picture.rename(frames / f"img_{number:05d}.png")
    ran(folder, "predict", "ckpt/toy", "frames/red5.v2", "videos/red5.mp4")
    found = json.loads((folder / "predictions/class_scores.json").read_text())["results"]
    assert found["red5.v2"] == pytest.approx(found["red5"], rel=1e-5)
    ran(folder, "explain", "ckpt/toy", "frames/red5.v2")
    assert (folder / "explanations/red5.v2.gif").stat().st_size > 1000
    ran(folder, "predict", "ckpt/toy", "frames", "--output", "below")
    assert json.loads((folder / "below/class_scores.json").read_text())["results"].keys() == {"red5.v2"}
    (folder / "empty").mkdir()
    told = ran(folder, "predict", "ckpt/toy", "empty", status=2)
    assert "empty is a folder." in told
    assert "Expected video files or folders of frames, or folders of them, on this machine." in told


def test_a_run_becomes_an_official_file_and_a_run_again(folder: Path) -> None:
    ran(folder, "convert", "ckpt/toy", "official.pth")
    ran(folder, "eval", "toy.yaml", "evaluation.weights_file=official.pth")
    of_file = metrics(folder, "toy_official", "test-file")
    assert (of_file["checkpoint"], of_file["weights"], of_file["seed"]) == ("official.pth", None, None)
    ran(folder, "convert", "official.pth", "ckpt/back", "toy.yaml")
    ran(folder, "eval", "ckpt/back")
    written = [
        (folder / f"ckpt/{name}/clips.csv").read_bytes()
        for name in ("toy/eval/test", "toy_official/eval/test-file", "back/eval/test")
    ]
    assert written[0] == written[1] == written[2]
    told = ran(folder, "train", "toy.yaml", "run.name=back", "--resume", "ckpt_000000", status=2)
    assert "was converted from an official checkpoint" in told
    assert "exists" in ran(folder, "convert", "ckpt/toy", "official.pth", status=2)
    told = ran(folder, "predict", "toy.yaml", "videos/red5.mp4", "evaluation.weights_file=official.pth", status=2)
    assert "Make a run of it: actloc convert official.pth" in told
    # a new run starts from the file, with its classifier or with a new one
    started = ("network.start=file", "clips.encoder.weights=official.pth", "schedule.epochs=1")
    ran(folder, "train", "toy.yaml", "run.name=further", *started, "network.classifier=file")
    ran(folder, "train", "toy.yaml", "run.name=tuned", *started)
    losses = [training_rows(folder / f"ckpt/{name}")[0]["train/loss/total"] for name in ("toy", "further", "tuned")]
    assert losses[1] < losses[0]
    assert losses[1] < losses[2]


def test_a_run_is_resumed_with_the_weights_that_it_started_from(folder: Path) -> None:
    ran(folder, "convert", "ckpt/toy", "first.pth")
    ran(folder, "convert", "ckpt/toy/ckpt_000006", "second.pth")
    ran(folder, "train", "toy.yaml", "network.start=file", "clips.encoder.weights=first.pth", "--overwrite")
    again = ("train", "toy.yaml", "network.start=file", "--resume", "ckpt_000006")
    told = ran(folder, *again, "clips.encoder.weights=second.pth", status=2)
    assert "The weights that clips.encoder starts from have changed since ckpt/toy started training." in told
    (folder / "moved.pth").write_bytes((folder / "first.pth").read_bytes())
    ran(folder, *again, "clips.encoder.weights=moved.pth")


def test_validation_is_logged_and_keeps_the_best_checkpoint(folder: Path) -> None:
    validated = ("training.validation_subset=test", "training.validate_every_epochs=1")
    ran(folder, "train", "toy.yaml", "--overwrite", *validated)
    listed = training_rows(folder / "ckpt/toy")
    scores = {row["step"]: row["validation/top_1"] for row in listed if row["event"] == "validation"}
    assert list(scores) == [3, 6, 9]
    best = max(scores, key=lambda step: (scores[step], -step))
    assert (folder / "ckpt/toy/best").resolve().name == f"ckpt_{best:06d}"
    ran(folder, "eval", "ckpt/toy", "evaluation.checkpoint=best")
    found = metrics(folder, subset="test-best")
    assert (found["checkpoint"], found["top_1"]) == (f"ckpt_{best:06d}", scores[best])


def test_an_unreadable_video_ends_training_unless_it_may_be_left_out(toy_clips: Path, tmp_path: Path) -> None:
    folder = copy_toy(toy_clips, tmp_path / "toy")
    (folder / "videos/red0.mp4").write_bytes((folder / "videos/red0.mp4").read_bytes()[:300])
    (folder / "videos/blue4.mp4").unlink()
    told = ran(folder, "train", "toy.yaml", status=2)
    assert "videos/red0.mp4: " in told
    assert "clips.allow_missing=true" in told
    told = ran(folder, "train", "toy.yaml", "clips.allow_missing=true")
    assert told.count("red0 is left out") == 1
    listed = training_rows(folder / "ckpt/toy")
    assert sum(row.get("train/replaced_samples", 0) for row in listed) == 3  # once in each epoch
    told = ran(folder, "eval", "toy.yaml", status=3)
    assert "1 clip is in no accuracy: the videos cannot be read (blue4)" in told
    counts = metrics(folder)["counts"]
    assert (counts["clips"], counts["clips_left_out"], list(counts["unreadable"])) == (TEST * 3 - 1, 1, ["blue4"])
    for video in (folder / "videos").glob("*4.mp4"):
        video.unlink()
    for video in (folder / "videos").glob("*5.mp4"):
        video.write_bytes(b"")
    assert "None of 6 clips can be read." in ran(folder, "eval", "toy.yaml", status=2)


WRONG = [
    (["clips.frames=6"], "clips.frames: found 6, expected a multiple of 4, which the encoder dualformer takes"),
    (["clips.frames=8"], "clips.frames: found 8, expected 4, the clips.encoder.frames that the weights are made for"),
    (["clips.frames=null"], "clips.frames: found null, expected a multiple of 4: the encoder dualformer takes any"),
    (["clips.frames=128", "clips.sampling=dense"], "clips.frames: found 128, expected at most 64, the span of a dense"),
    (["clips.interval=2"], "clips.interval: found 2, which has no effect with clips.sampling=uniform"),
    (
        ["clips.encoder={name: tanet}"],
        "toy.yaml:13: clips.frames: found 4, expected 8 or null, because the",
    ),
    (
        ["clips.encoder={name: color}", "evaluation.crops=three_across"],
        "evaluation.crops: found three_across, expected",
    ),
    (["evaluation.crop=64"], "evaluation.short_side: found 32, expected at least 64, the side of a crop in pixels"),
    (
        ["evaluation.crop=48", "evaluation.short_side=48"],
        "evaluation.crop: found 48, expected a multiple of 32, which the encoder dualformer takes",
    ),
    (
        ["clips.encoder={name: videomae, adapters: {}}", "clips.frames=16"],
        "clips.encoder: found videomae, which mixes neighbouring clips, expected one that sees",
    ),
    (["network.classifier=file"], "network.classifier: found file, expected new, because network.start=random reads"),
    (
        ["clips.encoder.weights=x.pth"],
        "toy.yaml:9: network.start: found random, expected file, because clips.",
    ),
    (["token_labels.top_k=2"], "token_labels.top_k: found 2, which has no effect without token_labels.annotator"),
    (["clips.encoder.crip=2"], "clips.encoder.crip is not a setting. Did you mean crop?"),
    (["encoder.crop=32"], "features.encoder is not a setting. Did you mean clips.encoder?"),
    (["features.encoder.crop=32"], "features.encoder is not a setting. Did you mean clips.encoder?"),
    (["detector.dim=8"], "detector is a section of the task localization, and task.name is recognition"),
]


@pytest.mark.parametrize(("settings", "expected"), WRONG, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_settings_that_do_not_fit_each_other_are_refused_with_place_and_reason(
    toy_clips: Path, settings: list[str], expected: str
) -> None:
    with pytest.raises(UserError) as caught:
        experiment.load(str(toy_clips / "toy.yaml"), settings)
    where = str(toy_clips / "toy.yaml") if expected.startswith("toy.yaml") else "command line: "
    assert f"\n  {where}{expected.removeprefix('toy.yaml')}" in caught.value.found
    assert caught.value.expected == "Correct the lines above."


def test_a_wrong_setting_in_the_file_is_reported_with_its_line(toy_clips: Path, tmp_path: Path) -> None:
    text = (toy_clips / "toy.yaml").read_text()
    line = text.splitlines().index("  frames: 4") + 1
    (tmp_path / "toy.yaml").write_text(text.replace("  frames: 4", "  frames: 6"))
    assert f"toy.yaml:{line}: clips.frames: found 6, expected a multiple of 4" in ran(
        tmp_path, "train", "toy.yaml", status=2
    )


LATER = [
    (["network.partial_batch_norm=true"], "network.partial_batch_norm is true, and the encoder dualformer has no 2-D"),
    (
        ["network.start=file", "network.classifier=file"],
        "The weights of clips.encoder, which is dualformer, have no classifier. Expected a classifier of 3 classes, "
        "those of the annotations. Choose weights of these classes, in the same order; or set network.classifier=new",
    ),
    (
        ["network.start=file", "clips.encoder={name: dualformer}", "clips.frames=32"],
        "or set its path: clips.encoder.weights=FILE",
    ),
    (["clips.encoder.trainable={from_stage: 9}"], "clips.encoder.trainable.from_stage is 9. Expected at most 3"),
    (
        [f"token_labels.annotator={DUALFORMER}"],
        "The weights of token_labels.annotator, which is dualformer, have no classifier.",
    ),
    (["token_labels.annotator={name: dualformer}"], "or set its path: token_labels.annotator.weights=FILE"),
    (["token_labels.annotator={name: color}"], "token_labels.annotator is color, which has no map of tokens."),
    (
        ["clips.encoder={name: color}", f"token_labels.annotator={DUALFORMER}"],
        "clips.encoder is color, which has no map of tokens.",
    ),
    (["network.groups=published", "clips.encoder={name: color}"], "network.groups is published, and the encoder is c"),
    (
        ["clips.encoder={name: videomae, adapters: {}, size: small}", "clips.frames=16"],
        "clips.encoder: found videomae, which mixes neighbouring clips",
    ),
    (
        ["dataset.training_subset=trian"],
        "those that have some: train, test. Name one of these: dataset.training_subset",
    ),
    (["training.validation_subset=val"], "Name one of these: training.validation_subset=NAME"),
    (["training.precision=float16"], "training.precision is float16 and the device is the CPU."),
]


@pytest.mark.parametrize(("settings", "expected"), LATER, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_what_does_not_fit_the_network_or_the_data_is_refused_before_the_run_is_made(
    toy_clips: Path, settings: list[str], expected: str
) -> None:
    told = ran(toy_clips, "train", "toy.yaml", "run.name=wrong", *settings, status=2)
    assert expected in told
    assert "features.encoder" not in told
    assert not list((toy_clips / "ckpt").glob("wrong/ckpt_*"))


@pytest.mark.parametrize("command", [("extract-features",), ("import-features", "STORE")])
def test_commands_on_features_say_that_the_task_has_none(toy_clips: Path, command: tuple[str, ...]) -> None:
    told = ran(toy_clips, command[0], "toy.yaml", *command[1:], status=2)
    assert "toy.yaml has no features: its task is recognition." in told


def test_options_of_other_tasks_are_refused(folder: Path, trained: Path) -> None:
    told = ran(folder, "eval", "toy.yaml", "--predictions", "found.json", status=2)
    assert "Remove --predictions; score an official checkpoint with evaluation.weights_file=FILE" in told
    for option in (["--video"], ["--clips", "clips"]):
        told = ran(folder, "predict", "toy.yaml", "videos", *option, status=2)
        assert f"{option[0]} was given, and the task is recognition." in told
    assert "Remove --save-scores" in ran(trained, "eval", "ckpt/toy", "--save-scores", "scores.json", status=2)
    told = ran(folder, "eval", "toy.yaml", "--save-scores", "scores.txt", status=2)
    assert "Expected a file name that ends in .json, .h5 or .hdf5." in told
    told = ran(folder, "eval", "toy.yaml", "dataset.evaluation_subset=val", status=2)
    assert "Name one of these: dataset.evaluation_subset=NAME" in told
