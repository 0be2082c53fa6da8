"""Published recognition datasets: their lists, classes and splits, and what is said of missing videos."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from actloc.annotations.model import Action
from actloc.annotations.recognition_classes import DATASETS, NamesAsWritten, class_names
from actloc.datasets import diving48, hmdb51, kinetics, something_something, ucf101
from actloc.datasets.base import read_prepared
from actloc.errors import UserError
from actloc.extraction.preparing import prepare
from actloc.settings import parts
from actloc.settings.sections import PreparationSettings
from tests.datasets.raw import RAW, make_clips, write_files

pytestmark = pytest.mark.usefixtures("forked_decoders")
PUBLISHED = [kinetics, something_something, ucf101, hmdb51, diving48]
HASHES = {
    "kinetics400": "a8dafb93a1204d4ecfa904f943ce5ee0c62ddeeb1df71aa1f96983fca17d777e",
    "kinetics600": "5d9a560f98fcfed08f6129dd498f97e043edf729efb3c02dd96b482d2970f9c0",
    "something_something_v1": "28d842f1129a9320282494463f0e7bc09bf05ad9e06adab157a8f27e34466d87",
    "something_something_v2": "a31a2ad624a558d609762c50f4d5d4778246d3ace6717cf24b993b0bf2d9a68b",
    "hmdb51": "154ef596b60371212a4963ee5f33996f926eb53ca8e44fa2499c8267f9db561e",
    "ucf101": "3ec3894f84996395754fb9c47fe6decb6a3a713ab4621a9ab090802e4f316525",
    "diving48": "4f0abab23e5f7f25a53fe5cf89a40eae5f0d5aae204ccf6c969866adcd1c9bd6",
}


def small(module: Any, folder: Path, **settings: Any) -> Any:
    RAW[module.__name__.rpartition(".")[2]](folder)
    return module.Config.small(folder).model_copy(update=settings)


def labels_of(config: Any) -> dict[str, tuple[str, str]]:
    """Subset and label by id."""
    return {video.id: (video.subset, video.actions[0].label) for video in config.collect().videos.values()}


@pytest.mark.parametrize("dataset", DATASETS)
def test_class_names_are_the_published_ones_in_their_order(dataset: str) -> None:
    assert hashlib.sha256("\n".join(class_names(dataset)).encode()).hexdigest() == HASHES[dataset]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_name_is_found_in_each_form_that_lists_and_folders_write(dataset: str) -> None:
    names = NamesAsWritten(class_names(dataset))
    for name in class_names(dataset):
        for written in (name, name.replace(" ", "_"), f'"{name}"', name.replace("something", "[something]")):
            assert names.find(written) == name


def test_kinetics_finds_each_clip_by_id_and_times_in_any_folder(tmp_path: Path) -> None:
    config = small(kinetics, tmp_path)
    found = config.collect()
    assert len(found.classes) == 400
    assert {video.id: video.subset for video in found.videos.values()} == {
        "---QUuC4vJs_000084_000094": "train",
        "_cii-Z0dW2E_000002_000012": "train",
        "aa_b-cdefgh_000068_000078": "validation",
    }
    video = found.videos["_cii-Z0dW2E_000002_000012"]
    assert video.actions == (Action(0.0, 1.0, "massaging person's head"),)
    assert (video.duration_s, video.fps, video.frames) == (1.0, 30.0, 30)
    assert config.variant == "400 classes"


def test_other_headers_spellings_and_file_names_of_kinetics_are_read(tmp_path: Path) -> None:
    config = small(kinetics, tmp_path, num_classes=600)
    shutil.rmtree(tmp_path / "csv")
    write_files(
        tmp_path / "csv",
        {
            "train.csv": "\ufefflabel-name,video-id,start-time,end-time,is_cc\n"
            'passing_american_football_(not_in_game),---QUuC4vJs,84.0,94.0,0\n"passing American football (in game)",'
            "_cii-Z0dW2E,2,12,1\nbase_jumping,---QUuC4vJs,84,94,0\nbase_jumping,---QUuC4vJs,84,94,0\n",
            "kinetics_600_validate.csv": "label,youtube_id,time_start,time_end,split\n"
            "eating spaghetti,aa_b-cdefgh,68,78,validate\n",
            "notes.csv": "a\n",
        },
    )
    found = config.collect()
    labels = {video.id: [action.label for action in video.actions] for video in found.videos.values()}
    assert labels["---QUuC4vJs_000084_000094"] == ["passing american football (not in game)", "base jumping"]
    assert labels["_cii-Z0dW2E_000002_000012"] == ["passing American football (in game)"]
    assert found.videos["aa_b-cdefgh_000068_000078"].subset == "validation"


def test_every_wrong_row_of_kinetics_is_reported_with_its_line(tmp_path: Path) -> None:
    config = small(kinetics, tmp_path)
    rows = "testifing,---QUuC4vJs,84,94,train\nabseiling,_cii-Z0dW2E,two,12,train\nabseiling,_cii-Z0dW2E,2,12,trian\n"
    write_files(tmp_path / "csv", {"kinetics-400_train.csv": f"label,youtube_id,time_start,time_end,split\n{rows}"})
    with pytest.raises(UserError) as caught:
        config.collect()
    for part in (
        "kinetics-400_train.csv:2: unknown class 'testifing'. Did you mean testifying?",
        "kinetics-400_train.csv:3: cannot read the times 'two' and '12'; expected seconds",
        "kinetics-400_train.csv:4: unknown split 'trian'. Did you mean train?",
    ):
        assert part in str(caught.value)


def test_a_missing_and_an_unreadable_video_are_refused_with_the_setting_that_goes_on_without_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(kinetics, tmp_path)
    gone = next((tmp_path / "videos").rglob("---*"))
    gone.unlink()
    with pytest.raises(UserError) as caught:
        config.collect()
    assert "1 of 3 videos is missing or unreadable: ---QUuC4vJs_000084_000094." in caught.value.found
    assert "dataset.allow_missing=true" in caught.value.fix
    broken = next((tmp_path / "videos").rglob("_cii*"))
    broken.write_text("<html>Too many requests</html>")
    found = config.model_copy(update={"allow_missing": True}).collect()
    assert list(found.videos) == ["aa_b-cdefgh_000068_000078"]
    assert "2 of 3 videos are missing or unreadable, and left out" in capsys.readouterr().err.replace("\n", " ")
    first, second = (config.folder / "missing_videos.txt").read_text().splitlines()
    assert first == "---QUuC4vJs_000084_000094: no such video"
    assert second.startswith(f"{broken}: unreadable: ")
    make_clips(tmp_path / "videos", "_cii-Z0dW2E_000002_000012.avi", gone.name)
    broken.unlink()
    assert len(config.collect().videos) == 3
    assert not (config.folder / "missing_videos.txt").exists()


@pytest.mark.parametrize("module", PUBLISHED, ids=lambda module: module.__name__)
def test_without_any_of_the_videos_the_folder_is_named(module: Any, tmp_path: Path) -> None:
    config = small(module, tmp_path, allow_missing=True)
    shutil.rmtree(config.videos)
    config.videos.mkdir()
    with pytest.raises(UserError, match=r"has no readable video of \d clips? in .*, such as ") as caught:
        config.collect()
    assert caught.value.fix == "Set dataset.videos to the folder of the videos."


@pytest.mark.parametrize("module", PUBLISHED, ids=lambda module: module.__name__)
def test_without_its_lists_a_dataset_says_which_files_it_expects(module: Any, tmp_path: Path) -> None:
    config = small(module, tmp_path)
    shutil.rmtree(config.annotations)
    config.annotations.mkdir()
    with pytest.raises(UserError) as caught:
        config.collect()
    assert "Set dataset.annotations to " in caught.value.fix


def test_a_clip_that_two_files_could_be_is_refused(tmp_path: Path) -> None:
    config = small(kinetics, tmp_path)
    make_clips(tmp_path / "videos", "again/---QUuC4vJs_000084_000094.mp4")
    with pytest.raises(UserError, match="could both be the clip ---QUuC4vJs_000084_000094"):
        config.collect()


def test_the_order_of_something_something_v1_is_a_setting_and_part_of_the_variant(tmp_path: Path) -> None:
    config = small(something_something, tmp_path)
    alphabetical = config.collect()
    assert alphabetical.classes == class_names("something_something_v2")
    assert config.variant == "V1, classes alphabetical"
    other = config.model_copy(update={"class_order": "csv"})
    found = other.collect()
    assert found.classes == class_names("something_something_v1")
    assert other.variant == "V1, classes in the order of the labels CSV"
    assert found.videos == alphabetical.videos
    assert found.videos["74225"].actions == (Action(0.0, 2 / 25, "Holding something"),)


def test_something_something_v2_reads_templates_with_brackets_and_has_one_order(tmp_path: Path) -> None:
    rows = {
        "train": [{"id": "78687", "label": "holding a cup", "template": "Holding [something] next to [something]"}],
        "validation": [{"id": "74225", "template": "Spinning [something] so it continues spinning"}],
    }
    write_files(tmp_path, {f"lists/{name}.json": json.dumps(listed) for name, listed in rows.items()})
    make_clips(tmp_path / "videos", "78687.webm", "74225.webm")
    settings = {"folder": tmp_path / "prepared", "annotations": tmp_path / "lists", "videos": tmp_path / "videos"}
    assert labels_of(something_something.Config(**settings)) == {
        "74225": ("validation", "Spinning something so it continues spinning"),
        "78687": ("train", "Holding something next to something"),
    }
    with pytest.raises(ValidationError, match="found csv, which only version 1 has"):
        something_something.Config(**settings, class_order="csv")


def test_ucf101_reads_the_lists_of_its_split_and_checks_their_numbers(tmp_path: Path) -> None:
    config = small(ucf101, tmp_path)
    assert labels_of(config) == {
        "v_ApplyEyeMakeup_g01_c01": ("test", "ApplyEyeMakeup"),
        "v_ApplyEyeMakeup_g08_c01": ("train", "ApplyEyeMakeup"),
        "v_HandStandPushups_g08_c01": ("train", "HandstandPushups"),
    }
    lines = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 2\nDivng/x.avi 26\nx.avi 1\n"
    write_files(tmp_path / "lists", {"trainlist02.txt": lines, "testlist02.txt": ""})
    second = config.model_copy(update={"split": 2})
    assert second.variant == "split 2"
    with pytest.raises(UserError) as caught:
        second.collect()
    for part in (
        "trainlist02.txt:1: label 2 with ApplyEyeMakeup, whose number is 1",
        "trainlist02.txt:2: unknown class 'Divng'. Did you mean Diving?",
        "trainlist02.txt:3: found 'x.avi 1'; expected `Class/video.avi 1`",
    ):
        assert part in str(caught.value)


def test_hmdb51_leaves_out_what_its_split_does_not_use_and_reports_lines_that_it_cannot_read(tmp_path: Path) -> None:
    config = small(hmdb51, tmp_path)
    assert labels_of(config) == {
        "#1 a&b_run_f_cm_np1_ba_med_0": ("train", "run"),
        "x": ("train", "walk"),
        "x_run_1": ("test", "run"),
    }
    write_files(tmp_path / "lists", {"walk_test_split1.txt": "x.avi 3\n"})
    with pytest.raises(UserError, match=r"walk_test_split1.txt:1: found 'x.avi 3'; expected `video.avi 1`, 2 or 0"):
        config.collect()


def test_diving48_takes_its_labels_as_class_numbers(tmp_path: Path) -> None:
    config = small(diving48, tmp_path)
    assert labels_of(config) == {
        "b8NAjD1mTAg_00066": ("train", class_names("diving48")[12]),
        "b8NAjD1mTAg_00067": ("test", "Back+15som+05Twis+FREE"),
    }
    rows = [{"vid_name": "b8NAjD1mTAg_00067", "label": 48}]
    write_files(tmp_path / "lists", {"Diving48_V2_test.json": json.dumps(rows)})
    with pytest.raises(UserError, match=r"Diving48_V2_test.json\[0\]: label 48; expected 0 to 47"):
        config.collect()


def test_classes_without_a_training_clip_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(small(hmdb51, tmp_path), PreparationSettings())
    printed = capsys.readouterr().err.replace("\n", " ")
    assert "49 of 51 classes have no action to learn from in train: brush_hair, cartwheel, catch," in printed


@pytest.mark.parametrize("module", PUBLISHED, ids=lambda module: module.__name__)
def test_prepare_writes_lists_that_other_code_reads_and_twice_changes_no_file(module: Any, tmp_path: Path) -> None:
    config = small(module, tmp_path)
    found = prepare(config, PreparationSettings())
    names = (config.folder / "classes.txt").read_text().splitlines()
    assert tuple(names) == found.classes
    for subset in (config.training_subset, config.evaluation_subset):
        lines = (config.folder / f"{subset}_list.txt").read_text().splitlines()
        assert len(lines) == len(found.of_subset(subset))
        for line, video in zip(lines, found.of_subset(subset), strict=True):
            path, frames, label = line.rsplit(" ", 2)
            assert (Path(path), int(frames)) == (video.file, video.frames)
            assert names[int(label)] == video.actions[0].label
    before = {path: path.read_bytes() for path in config.folder.iterdir() if path.name != ".lock"}
    prepare(config, PreparationSettings())
    assert {path: path.read_bytes() for path in config.folder.iterdir() if path.name != ".lock"} == before


def test_annotations_of_one_order_of_classes_are_not_read_with_another(tmp_path: Path) -> None:
    config = small(something_something, tmp_path)
    prepare(config, PreparationSettings())
    with pytest.raises(UserError, match="the settings choose: V1, classes in the order of the labels CSV"):
        read_prepared(config.model_copy(update={"class_order": "csv"}), "CONFIG")


def test_the_datasets_of_the_page_are_settings_that_exist() -> None:
    blocks = re.findall(r"```yaml\n(dataset:.*?)```", Path("configs/recognition.md").read_text(), re.DOTALL)
    shown = [yaml.safe_load(block)["dataset"] for block in blocks]
    for settings in shown:
        parts.find("datasets", settings["name"]).Config.model_validate_json(json.dumps(settings), strict=True)
    assert {settings["name"] for settings in shown} >= {
        *(module.__name__.rpartition(".")[2] for module in PUBLISHED),
        "custom_clips",
        "clip_lists",
    }
