from pathlib import Path

import pytest

from actloc.errors import UserError
from actloc.experiment import load
from tests.toy import CONFIG, actloc, make_toy

RECIPE = """\
# colours: 15 frames per second out of 30
dataset: {name: video_folder, folder: data/colours, videos: my_videos}
features:
  name: stored
  encoder: {name: color, short_side: 32, crop: 24}
  path: data/colours/features
  fps: 15
  decode_fps: 30
  clip_frames: 4
  stride_frames: 4
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "configs/features").mkdir(parents=True)
    (tmp_path / "configs/features/colours.yaml").write_text(RECIPE)
    (tmp_path / "toy.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", sorted(Path("configs/features").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_shipped_recipe_loads(file: Path) -> None:
    assert load(str(file)).features.path == Path("data", file.stem, "features")
    assert file.read_text().startswith("# ")


def made(experiment_name: str, *overrides: str) -> dict[str, object]:
    features: dict[str, object] = load(experiment_name, list(overrides)).to_data()["features"]
    encoder = features["encoder"]
    assert isinstance(encoder, dict)
    return {**encoder, **features}


def test_on_the_command_line_a_recipe_overrides_the_file(folder: Path) -> None:
    found = made("toy.yaml", "recipe=colours", "features.encoder.crop=16", "features.max_steps=64")
    expected = {"short_side": 32, "crop": 16, "fps": 15.0, "decode_fps": 30.0, "clip_frames": 4, "max_steps": 64}
    assert {key: found[key] for key in expected} == expected
    assert found["path"] == "prepared/colours"
    assert made("toy.yaml", "recipe=colours", "features.path=here")["path"] == "here"


def test_in_a_file_a_recipe_supplies_what_the_file_leaves_out(folder: Path) -> None:
    Path("toy.yaml").write_text(CONFIG + "recipe: colours\n")
    found = made("toy.yaml")
    expected = {"short_side": 48, "crop": 24, "fps": 8, "decode_fps": 30.0, "stride_frames": 2, "path": "features"}
    assert {key: found[key] for key in expected} == expected


def test_a_recipe_is_an_experiment_by_its_name(folder: Path) -> None:
    assert made("colours")["path"] == "data/colours/features"
    assert load("colours").detector.name == "actionformer"


def test_an_unknown_recipe_is_reported_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)no recipe colour\b.*colours"):
        load("toy.yaml", ["recipe=colour"])


def test_features_of_a_plain_folder_need_one_command(tmp_path: Path) -> None:
    copy = make_toy(tmp_path / "copy")
    (copy / "colours.yaml").write_text(RECIPE)
    done = actloc(copy, "extract-features", "colours.yaml", "dataset.videos=videos")
    assert done.returncode == 0, done.stderr
    assert "features of 6 videos" in done.stdout
    missing = actloc(copy, "extract-features", "colours.yaml", "dataset.folder=other")
    assert missing.returncode == 2
    assert "dataset.videos: the folder my_videos does not exist" in missing.stderr


def test_your_own_videos_train_on_another_recipe(tmp_path: Path) -> None:
    copy = make_toy(tmp_path / "copy")
    (copy / "configs/features").mkdir(parents=True)
    (copy / "configs/features/colours.yaml").write_text(RECIPE)
    for command in ("prepare", "extract-features", "train"):
        done = actloc(copy, command, "toy.yaml", "recipe=colours")
        assert done.returncode == 0, done.stderr
    assert (copy / "prepared/colours/store.json").is_file()
    assert "decode_fps: 30" in (copy / "ckpt/toy/config.yaml").read_text()


def test_a_block_that_is_not_a_mapping_is_refused(folder: Path) -> None:
    for block in ("features: {encoder: colours}", "encoder: 5", "features: [fps, 8]"):
        name = "features.encoder" if "encoder" in block else "features"
        Path("wrong.yaml").write_text(
            f"dataset: {{name: video_folder, folder: a, videos: b}}\n{block}\nrecipe: colours\n"
        )
        with pytest.raises(UserError, match=f"{name} is missing its name"):
            load("wrong.yaml")


def test_a_recipe_replaces_files_read_in_place_and_keeps_the_settings_of_training(folder: Path) -> None:
    in_place = "features: {name: folders, path: archive, prefix: v_, suffix: .npz, fps: 30, fps_from: annotations"
    text = CONFIG.partition("features:")[0] + f"{in_place}, clip_frames: 16, stride_frames: 4, max_steps: 48}}\n"
    Path("toy.yaml").write_text(text)
    found = made("toy.yaml", "recipe=colours", "features.path=store", "features.encoder.crop=16")
    expected = {"name": "stored", "path": "store", "fps": 15.0, "clip_frames": 4, "max_steps": 48, "crop": 16}
    assert {key: found[key] for key in expected} == expected
    Path("toy.yaml").write_text(text.replace("prefix", "prefixx"))
    with pytest.raises(UserError, match=r"features\.prefixx is not a setting"):
        made("toy.yaml", "recipe=colours")
    with pytest.raises(UserError, match=r"features\.suffix is not a setting"):
        made("toy.yaml", "recipe=colours", "features.suffix=.npy")
