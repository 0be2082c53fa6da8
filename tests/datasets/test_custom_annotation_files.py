"""A dataset of one's own whose annotations are files of annotation tools."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from actloc.annotations.model import Action
from actloc.datasets.custom import Config
from actloc.errors import UserError
from actloc.extraction.preparing import prepare
from actloc.settings.sections import PreparationSettings
from tests.toy import make_video

pytestmark = pytest.mark.usefixtures("forked_decoders")
FILES = Path("tests/annotation_forms/files")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools") / "videos"
    for name in ("clip_a", "clip_b", "clip_c"):
        make_video(folder / f"{name}.mp4", [], duration_s=11.0)
    return folder


def test_a_folder_with_a_file_for_each_video_is_read_as_one(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "srt").mkdir()
    for name in ("clip_a", "clip_b"):
        shutil.copy(FILES / "clip_a.srt", tmp_path / f"srt/{name}.srt")
    config = Config(folder=tmp_path / "prepared", videos=videos, annotations=tmp_path / "srt")
    found = config.collect()
    assert found.classes == ("jump", "run")
    assert found.videos["clip_b"].actions[0] == Action(0.48, 2.0, "run")
    assert found.videos["clip_c"].actions == ()
    assert set(config.sources()) >= {tmp_path / "srt/clip_a.srt", tmp_path / "srt/clip_b.srt"}


def test_annotations_may_be_among_the_videos_and_what_is_no_annotation_is_named(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    for name in ("clip_a", "clip_b", "clip_c"):
        shutil.copy(FILES / "clip_a.vtt", folder / f"{name}.vtt")
    config = Config(folder=folder / "prepared", videos=folder, annotations=folder)
    prepare(config, PreparationSettings())
    assert "Ignored" not in capsys.readouterr().err
    assert len(config.collect().videos["clip_c"].actions) == 3  # what `prepare` wrote is not read
    (folder / "notes.txt").write_text("call Ann\n")
    with pytest.raises(UserError, match=r"notes\.txt:1: no column video"):
        config.collect()


def test_frames_are_compared_with_the_videos_own_rate(videos: Path, tmp_path: Path) -> None:
    settings = {"folder": tmp_path / "prepared", "videos": videos, "annotations": FILES / "label_studio.json"}
    with pytest.raises(UserError, match=r"annotations_fps is 25, and .*clip_a\.mp4 has 30 frames per second"):
        Config(**settings, annotations_fps=25.0).collect()
    with pytest.raises(UserError) as caught:
        Config(**settings).collect()
    assert caught.value.fix == "Set dataset.annotations_fps=30"
    tasks = json.loads((FILES / "label_studio.json").read_text())
    for name in ("clip_b", "clip_c"):
        tasks.append(json.loads(json.dumps(tasks[0]).replace("clip_a", name)))
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    found = Config(**{**settings, "annotations": tmp_path / "tasks.json"}, annotations_fps=30.0).collect()
    assert found.videos["clip_a"].actions[0] == Action(12 / 30, 50 / 30, "run")


def test_what_is_left_out_is_named_and_counted_and_all_of_it_is_listed(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = json.loads((FILES / "project.boris").read_text())
    first = project["observations"]["first"]
    first["events"] += [[at / 10, "", "clap", "", ""] for at in range(30)]
    project["observations"]["b"] = json.loads(json.dumps(first).replace("clip_a", "clip_b"))
    (tmp_path / "p.boris").write_text(json.dumps(project))
    config = Config(folder=tmp_path / "prepared", videos=videos, annotations=tmp_path / "p.boris")
    assert len(prepare(config, PreparationSettings()).videos["clip_a"].actions) == 3
    assert "Left out 63 of 69 rows; all are listed in" in capsys.readouterr().out.splitlines()[-1]
    listing = (tmp_path / "prepared/annotations_left_out.txt").read_text().splitlines()
    assert len(listing) == 63
    assert "observation seen live: it was made live" in listing[0]


def test_rows_beyond_the_end_and_unknown_videos_are_refused_with_their_place(videos: Path, tmp_path: Path) -> None:
    text = (FILES / "clip_a.srt").read_text().replace("00:00:09,960", "00:00:19,960")
    (tmp_path / "clip_a.srt").write_text(text)
    with pytest.raises(UserError, match=r"clip_a\.srt:10: 7\.2-19\.96 s of clip_a ends 8\.96 s after the video"):
        Config(folder=tmp_path / "prepared", videos=videos, annotations=tmp_path / "clip_a.srt").collect()
    (tmp_path / "clip_x.srt").write_text(text)
    with pytest.raises(UserError, match=r"clip_x\.srt:2: .* has no video clip_x\. Did you mean clip_"):
        Config(folder=tmp_path / "prepared", videos=videos, annotations=tmp_path / "clip_x.srt").collect()


def test_without_videos_lengths_are_those_that_the_annotations_state(tmp_path: Path) -> None:
    project = json.loads((FILES / "project.boris").read_text())
    first = json.dumps(project["observations"]["first"])
    for name in ("b", "c", "d", "e"):
        project["observations"][name] = json.loads(first.replace("clip_a", f"clip_{name}"))
    (tmp_path / "p.boris").write_text(json.dumps(project))
    found = Config(folder=tmp_path / "prepared", annotations=tmp_path / "p.boris").collect()
    assert found.videos["clip_a"].duration_s == 10.0


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"unit": "frames"}, "frames needs annotations_fps"),
        ({"annotations_fps": 0.0}, "greater than 0"),
        ({"first_frame": 2}, "Input should be 0 or 1"),
        ({"point_seconds": -1.0}, "greater than 0"),
    ],
)
def test_settings_are_checked_before_anything_is_opened(tmp_path: Path, settings: dict[str, object], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Config.model_validate({"folder": tmp_path / "p", "annotations": tmp_path / "absent.csv", **settings})


def test_annotations_are_not_read_where_they_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"is dataset\.folder, where `prepare` writes"):
        Config(folder=tmp_path, annotations=tmp_path)
