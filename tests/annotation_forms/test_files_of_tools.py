"""One labelling in the forms of many tools: a video of 250 frames at 25 frames per second."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from actloc.annotations import own_files
from actloc.annotations.model import AnnotatedVideo
from actloc.annotations.source_file import SourceFile
from actloc.errors import UserError
from tests.annotation_forms.reading_files import read, segments

FILES = Path("tests/annotation_forms/files")
EXPECTED = json.loads((FILES / "expected.json").read_text())
LABELLING = [(0.48, 2.0, "run"), (2.0, 3.52, "jump"), (7.2, 9.96, "run")]
FORM_OF = {
    "activitynet.json": "activitynet",
    "boris_aggregated.tsv": "boris_aggregated",
    "boris_tabular.csv": "boris_tabular",
    "clip_a.TextGrid": "textgrid",
    "clip_a.eaf": "elan",
    "clip_a.srt": "srt",
    "clip_a.txt": "audacity",
    "clip_a.vtt": "webvtt",
    "createml.json": "createml",
    "cvat_images.xml": "cvat_images",
    "cvat_video.xml": "cvat_video",
    "elan_tab.txt": "csv_table",
    "fiftyone_labels.json": "fiftyone",
    "label_studio.json": "label_studio",
    "label_studio_audio.json": "label_studio",
    "mstcn/groundTruth/clip_a.txt": "ms_tcn",
    "project.boris": "boris_project",
    "segments.csv": "csv_table",
    "thumos/run_val.txt": "thumos_text",
    "via3_export.csv": "via",
    "via3_project.json": "via",
}


def settings_of(text: str) -> dict[str, Any]:
    """`tiers: [actions]`, `point_seconds: 0.4` and `fps 25` as keys of settings."""
    fps = re.search(r"fps (\d+)", text)
    tiers, points = re.search(r"tiers: \[(\w+)\]", text), re.search(r"point_seconds: ([\d.]+)", text)
    return {
        **({"annotations_fps": float(fps[1])} if fps else {}),
        **({"tiers": (tiers[1],)} if tiers else {}),
        **({"point_seconds": float(points[1])} if points else {}),
    }


@pytest.mark.parametrize("name", EXPECTED["files"])
def test_the_files_of_more_tools_hold_the_labelling(name: str) -> None:
    file, _, settings = name.partition(" ")
    expected = [tuple(one) for one in EXPECTED["files"][name]]
    found = read(FILES / file, "clip_a", **settings_of(settings))
    assert found.problems == []
    assert list(segments(found)) == ["clip_a"]
    for ours, theirs in zip(segments(found)["clip_a"], expected, strict=True):
        assert ours[2] == theirs[2]
        assert ours[:2] == pytest.approx(theirs[:2], abs=EXPECTED["tolerance_seconds"])


@pytest.mark.parametrize(
    ("file", "fps"),
    [
        ("activitynet.json", None),
        ("segments.csv", None),
        ("thumos", None),
        ("via3_project.json", None),
        ("label_studio.json", 25.0),
        ("cvat_video.xml", 25.0),
        ("fiftyone_labels.json", 25.0),
        ("mstcn", 25.0),
    ],
)
def test_the_files_of_the_field_hold_the_labelling(file: str, fps: float | None) -> None:
    found = read(FILES / file, "clip_a", "clip_b", annotations_fps=fps)
    assert found.problems == []
    assert segments(found)["clip_a"] == [
        (pytest.approx(a, abs=1e-3), pytest.approx(b, abs=1e-3), c) for a, b, c in LABELLING
    ]
    assert segments(found).get("clip_b", []) == []


@pytest.mark.parametrize("file", FORM_OF)
def test_each_file_is_of_one_form_whatever_its_suffix(file: str, tmp_path: Path) -> None:
    shutil.copy(FILES / file, tmp_path / "some.thing")
    fitting = [form.name for form in own_files.every() if form.recognises(SourceFile(tmp_path / "some.thing"))]
    assert fitting == [FORM_OF[file]]


def test_every_form_is_in_the_files() -> None:
    assert {form.name for form in own_files.every()} - {"elan_tab"} == set(FORM_OF.values())


def test_several_tiers_are_refused_with_their_names_and_counts() -> None:
    with pytest.raises(UserError) as caught:
        read(FILES / "clip_a.eaf")
    assert "several tiers: actions (3 rows), notes (1 row)" in caught.value.found
    assert caught.value.fix == "Choose, for example: 'dataset.tiers=[actions]'"
    with pytest.raises(UserError, match=r"no tier action\. Did you mean actions\?"):
        read(FILES / "clip_a.eaf", tiers=("action",))


def test_points_and_live_observations_are_left_out_and_named() -> None:
    found = read(FILES / "project.boris", "clip_a")
    assert [str(one).removeprefix(f"{FILES}/") for one in found.left_out] == [
        "project.boris: observation seen live: it was made live, so its 1 event cannot be placed in a video",
        "project.boris: observation first, event 5: clap at 5 s is a point; dataset.point_seconds makes it an action",
    ]
    assert read(FILES / "via3_export.csv", "clip_a").left_out == []  # a picture is no action


def test_points_are_cut_at_the_ends_of_the_video() -> None:
    found = read(FILES / "project.boris", "clip_a", point_seconds=12.0)
    assert (0.0, 10.0, "clap") in segments(found)["clip_a"]


@pytest.mark.parametrize("file", ["label_studio.json", "cvat_video.xml", "cvat_images.xml", "fiftyone_labels.json"])
def test_frames_need_the_rate_of_the_tool_and_of_the_video(file: str) -> None:
    at_hand = {"clip_a": AnnotatedVideo("clip_a", "", duration_s=10.0, fps=25.0, file=Path("vids/clip_a.mp4"))}
    with pytest.raises(UserError, match=r"count frames, and dataset\.annotations_fps is not set") as caught:
        read(FILES / file)
    assert caught.value.fix == "Set it, such as dataset.annotations_fps=25"
    with pytest.raises(UserError, match="annotations_fps is not set") as caught:
        read(FILES / file, "clip_a", at_hand=at_hand)
    assert caught.value.fix == "Set dataset.annotations_fps=25"
    with pytest.raises(UserError, match=r"annotations_fps is 24, and vids/clip_a\.mp4 has 25 frames per second"):
        read(FILES / file, "clip_a", at_hand=at_hand, annotations_fps=24.0)
    close = read(FILES / file, "clip_a", at_hand=at_hand, annotations_fps=25.02)
    own = read(FILES / file, "clip_a", at_hand=at_hand, annotations_fps="video")
    assert segments(own)["clip_a"] == LABELLING
    assert close.videos["clip_a"].actions[0].end_s == pytest.approx(2.0, rel=1e-3)


def test_a_folder_mixes_videos_not_forms(tmp_path: Path) -> None:
    for name in ("clip_a", "clip_b"):
        shutil.copy(FILES / "clip_a.srt", tmp_path / f"{name}.srt")
    (tmp_path / "clip_a.mp4").write_bytes(b"a video")
    (tmp_path / ".hidden").write_text("anything")
    assert segments(read(tmp_path)) == {"clip_a": LABELLING, "clip_b": LABELLING}
    shutil.copy(FILES / "clip_a.eaf", tmp_path / "clip_c.eaf")
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert "has files of several forms" in caught.value.found
    assert "clip_a.srt is subtitles (SRT)" in caught.value.found
    assert "clip_c.eaf is a project of ELAN" in caught.value.found
    (tmp_path / "clip_c.eaf").write_text("Dear reader, this is no annotation")
    with pytest.raises(UserError, match=r"clip_c\.eaf:1: no column video"):
        read(tmp_path)


def test_a_form_can_be_forced_and_its_name_is_checked(tmp_path: Path) -> None:
    (tmp_path / "clip_a.txt").write_text("12 0.5 1.5\n")
    assert segments(read(tmp_path / "clip_a.txt"))["12"] == [(0.5, 1.5, "clip")]
    (tmp_path / "clip_a.txt").write_text("12\t0.5\t1.5\n")  # a label track, or THUMOS' rows of a video named 12
    forced = read(tmp_path / "clip_a.txt", annotations_form="thumos_text")
    assert segments(forced)["12"] == [(0.5, 1.5, "clip")]
    assert read(FILES / "project.boris", annotations_form="boris").form == "boris_project"
    with pytest.raises(
        ValidationError, match=r"annotations_form: found 'elam', expected one of .*\. Did you mean elan\?"
    ):
        read(FILES / "clip_a.eaf", annotations_form="elam")


def test_what_a_companion_holds_is_said_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    notes = read(FILES / "mstcn", annotations_fps=25.0).notes
    assert any("mapping.txt belongs to the annotations and has no segments" in note for note in notes)
    assert any("frames that are no action: background (105)" in note for note in notes)
