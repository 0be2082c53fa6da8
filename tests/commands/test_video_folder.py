"""A folder of videos without actions: features of whatever it holds, one command, no preparing by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from actloc.annotations import form as annotation_form
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.commands import extract_features, prepare, train
from actloc.errors import UserError
from actloc.experiment import Experiment, load
from actloc.store.store import FeatureStore
from tests.toy import SCENES, actloc

RECIPE = """\
# colours, 8 a second
dataset: {name: video_folder, folder: data/colours, videos: videos}
features:
  {name: stored, path: data/colours/features, encoder: {name: color, short_side: 32}, fps: 8, clip_frames: 4,
   stride_frames: 4}
machine: {device: cpu, decoders: 1}
"""
STORE = Path("data/colours/features")


@pytest.fixture(autouse=True)
def _recipe(folder: Path) -> None:
    Path("configs/features").mkdir(parents=True)
    Path("configs/features/colours.yaml").write_text(RECIPE)


def experiment(*overrides: str) -> Experiment:
    return load("colours", list(overrides))


def modified() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in STORE.glob("*.h5")}


def test_a_video_that_comes_later_is_done_and_the_others_stay() -> None:
    Path("later").mkdir()
    shutil.move("videos/v3.mp4", "later/v3.mp4")
    assert extract_features.run(experiment()) == 0
    before = modified()
    shutil.move("later/v3.mp4", "videos/v3.mp4")
    assert extract_features.run(experiment(), dry_run=True) == 0
    assert extract_features.run(experiment()) == 0
    after = modified()
    assert set(after) - set(before) == {"v3.h5"}
    assert {name: after[name] for name in before} == before


def test_another_folder_is_another_folder(capsys: pytest.CaptureFixture[str]) -> None:
    extract_features.run(experiment())
    Path("others").mkdir()
    shutil.copy("videos/v0.mp4", "others/new.mp4")
    assert extract_features.run(experiment("dataset.videos=others")) == 0
    assert f"{STORE}: features of 1 video\n" in capsys.readouterr().out
    assert FeatureStore(STORE).has("new")
    with pytest.raises(UserError, match=r"dataset.videos: the folder mistyped does not exist"):
        extract_features.run(experiment("dataset.videos=mistyped"))


def test_a_video_of_the_same_name_in_another_folder_is_done_again() -> None:
    extract_features.run(experiment())
    Path("others").mkdir()
    shutil.copy("videos/v0.mp4", "others/v1.mp4")
    before = FeatureStore(STORE).read("v1").copy()
    assert extract_features.run(experiment("dataset.videos=others")) == 0
    assert (FeatureStore(STORE).read("v1") == FeatureStore(STORE).read("v0")).all()
    assert (FeatureStore(STORE).read("v1") != before).any()


def test_before_anything_is_prepared_a_dry_run_reports_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert extract_features.run(experiment(), dry_run=True) == 0
    assert "To do: 6 videos of 0:00:24 in all; features of about 1 kB; " in capsys.readouterr().out
    assert not Path("data").exists()
    with pytest.raises(UserError, match="the folder mistyped does not exist"):
        extract_features.run(experiment("dataset.videos=mistyped"), dry_run=True)


def test_the_commands_printed_for_features_without_actions_run(folder: Path) -> None:
    done = actloc(folder, "extract-features", "colours", "features.encoder.crop=24", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["videos"] for event in events if event["event"] == "done"] == [6]
    assert "Next: actloc" not in done.stderr
    (printed,) = (line for line in done.stderr.splitlines() if "LABELS.csv" in line)
    command = (
        printed.partition(": actloc ")[2].replace("FOLDER", "videos").replace("LABELS.csv", "labels.csv", 1).split()
    )
    assert command[:2] == ["prepare", "own_videos"]
    assert {"recipe=colours", "features.encoder.crop=24", f"features.path={STORE}"} <= set(command)
    prepared = actloc(folder, *command)
    assert prepared.returncode == 0, prepared.stderr
    assert "train: 4 videos" in prepared.stdout
    found = actloc(folder, "extract-features", *command[1:])
    assert f"{STORE} is already complete" in found.stdout
    assert "Next: actloc train" in found.stderr


def test_ids_go_without_a_prefix_of_the_files() -> None:
    for path in Path("videos").iterdir():
        path.rename(path.with_name(f"v_{path.name}"))
    assert extract_features.run(experiment("dataset.prefix=v_")) == 0
    assert FeatureStore(STORE).ids() == ["v0", "v1", "v2", "v3", "v4", "v5"]
    shutil.copy("videos/v_v0.mp4", "videos/v0.mp4")
    with pytest.raises(UserError, match="would both have the id 'v0'"):
        extract_features.run(experiment("dataset.prefix=v_"))


def test_preparing_again_reads_the_videos_now_in_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.run(experiment()) == 0
    printed = capsys.readouterr()
    assert "0 actions" not in printed.out
    assert "Next: actloc extract-features" in printed.err
    Path("videos/v0.mp4").unlink()
    assert prepare.run(experiment()) == 0
    assert "v0" not in Path("data/colours/annotations.json").read_text()


def test_training_on_it_is_refused_with_the_reason() -> None:
    extract_features.run(experiment())
    with pytest.raises(UserError, match="and no action in them"):
        train.run(experiment())


def test_published_features_of_the_same_videos_are_imported_and_compared(folder: Path) -> None:
    for name in [*SCENES][1:]:
        Path(f"videos/{name}.mp4").unlink()
    grid = "fps: native, clip_frames: 16, stride_frames: 16, align: backpad"
    published = f"features: {{name: folders, path: published, suffix: _rgb.npy, {grid}}}\n"
    Path("pair.yaml").write_text(f"dataset: {{name: video_folder, folder: data/colours, videos: videos}}\n{published}")
    Path("published").mkdir()
    np.save("published/v0_rgb.npy", np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32))
    done = actloc(folder, "import-features", "pair.yaml", "theirs", "--recipe", "coloured by others")
    assert done.returncode == 0, done.stderr
    settings = [f"features.{pair.replace(': ', '=')}" for pair in grid.split(", ")]
    assert actloc(folder, "extract-features", "colours", "features.path=ours", *settings).returncode == 0
    compared = actloc(folder, "compare", "ours", "theirs")
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.startswith("theirs was imported: coloured by others\n1 video in both")
    assert "v0     8 " in compared.stdout
    Path("videos/v0.mp4").rename("videos/v9.mp4")
    other = actloc(folder, "import-features", "pair.yaml", "theirs", "--recipe", "coloured by others")
    assert other.returncode == 2
    assert "has features for none of 1 video: published/v9_rgb.npy is missing" in other.stderr


def test_annotations_that_name_no_files_are_refused_with_where_features_come_from() -> None:
    videos = {name: AnnotatedVideo(name, "train", (Action(0.5, 1.0, "red"),), 4.0) for name in SCENES}
    annotation_form.write(Path("prepared/annotations.json"), Annotations(("red",), videos))
    published = ("toy.yaml", ["recipe=colours", "features.path=elsewhere"])
    with pytest.raises(UserError, match=r"names no video files \(6 videos\)") as caught:
        extract_features.run(load(*published))
    assert "extract-features RECIPE dataset.videos=FOLDER features.path=elsewhere" in caught.value.fix
    extract_features.run(experiment("features.path=elsewhere"))
    assert extract_features.run(load(*published)) == 0
