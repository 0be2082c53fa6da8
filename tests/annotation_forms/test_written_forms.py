"""What is written is read back as it was: any segments, with overlaps, and labels of any characters."""

import json
import tempfile
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actloc.annotations import writing
from actloc.annotations.rows import Segment, WrittenVideo
from actloc.errors import UserError
from tests.annotation_forms.reading_files import read, segments

FORMS = ("label-studio", "elan", "boris", "via", "fiftyone", "csv", "audacity", "textgrid", "srt", "vtt", "activitynet")
FPS = 30000 / 1001
ODD = (
    "=SUM(1)",
    "'=x",
    "''-",
    "-5",
    '"',
    '""',
    "<i>",
    "a<b>c",
    "&lt;",
    "&",
    "a\nb",
    "x (0.50)",
    "{\\an8}",
    "-->",
    ";,\t|",
)
ODD += (
    "спорт",
    "日本語",
    "🙂",
    "e\u0301",
    "label 2",
    "a  b",
    "NOTE x",
    "\\",
    "#",
    "1",
    "00:00:01,000 --> 00:00:02,000",
)

times_ms = st.tuples(st.integers(0, 60_000), st.integers(1, 20_000)).map(lambda found: (found[0], sum(found)))
characters = st.characters(exclude_categories=("Cs", "Cc", "Cn"), include_characters="\n")
text = st.text(characters, min_size=1, max_size=12).map(str.strip).filter(lambda label: label and label[0] != "\\")
labels = st.sampled_from(ODD) | text
listed = st.lists(st.tuples(times_ms, labels), min_size=1, max_size=12)


def apart(form: str, found: Any) -> Any:
    """Each once, and at times so far apart that no two become the same, which would be read once."""
    step = 40 if form == "label-studio" else 3
    made = {((start * step, end * step), unicodedata.normalize("NFC", label)) for (start, end), label in found}
    return sorted(made)


def video(name: str, found: Any, *, score: float | None = None) -> WrittenVideo:
    made = tuple(Segment(start / 1000, end / 1000, label, score) for (start, end), label in found)
    return WrittenVideo(name, f"{name}.mp4", made, 90.0, FPS)


def written(folder: Path, form: str, *videos: WrittenVideo) -> Path:
    target = folder / "out"
    for path, content in writing.texts(writing.named(form), videos, target).items():
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content, encoding="utf-8", newline="")
    return target


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=listed, second=listed)
def test_segments_make_the_round_trip(form: str, first: Any, second: Any) -> None:
    first, second = apart(form, first), apart(form, second)
    with tempfile.TemporaryDirectory() as folder:
        target = written(Path(folder), form, video("a 1", first), video("b.2", second))
        found = read(target, annotations_fps=FPS)
    assert found.problems == found.left_out == []
    assert found.videos.keys() == {"a 1", "b.2"}
    tolerance = 1 / FPS if form == "label-studio" else 0.001
    for name, truth in (("a 1", first), ("b.2", second)):
        expected = sorted((label, start / 1000, end / 1000) for (start, end), label in truth)
        actual = sorted((one.label, one.start_s, one.end_s) for one in found.videos[name].actions)
        assert [one[0] for one in actual] == [one[0] for one in expected]
        if form == "label-studio":  # rounding may change the order of those that are a frame apart
            for place in (1, 2):
                ends = [sorted(one[place] for one in side) for side in (actual, expected)]
                assert ends[0] == pytest.approx(ends[1], abs=tolerance)
        else:
            for ours, theirs in zip(actual, expected, strict=True):
                assert ours[1:] == pytest.approx(theirs[1:], abs=tolerance)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("score", [None, 0.25])
def test_odd_labels_make_the_round_trip_alone_and_with_a_score(form: str, score: float | None, tmp_path: Path) -> None:
    for number, label in enumerate(ODD):
        target = written(tmp_path / str(number), form, video("v", [((0, 1001), label)], score=score))
        assert [one.label for one in read(target, annotations_fps=FPS).videos["v"].actions] == [
            unicodedata.normalize("NFC", label)
        ]


@pytest.mark.parametrize("form", ["label-studio", "fiftyone", "csv", "srt", "vtt"])
def test_scores_are_kept_where_there_is_a_place_for_them(form: str, tmp_path: Path) -> None:
    target = written(tmp_path, form, video("v", [((0, 1000), "a (b)"), ((500, 2000), "c")], score=0.87))
    found = read(target, annotations_fps=FPS)
    assert found.scores == {("v", 0): 0.87, ("v", 1): 0.87}
    assert {one.label for one in found.videos["v"].actions} == {"a (b)", "c"}


def test_times_that_are_no_whole_milliseconds_move_by_less_than_one(tmp_path: Path) -> None:
    segment = Segment(1.2344996, 1.2346, "x")
    for form in FORMS:
        target = written(tmp_path / form, form, WrittenVideo("v", "v.mp4", (segment,), fps=FPS))
        (found,) = read(target, annotations_fps=FPS).videos["v"].actions
        tolerance = 1 / FPS if form == "label-studio" else 1e-3
        assert (found.start_s, found.end_s) == pytest.approx((segment.start_s, segment.end_s), abs=tolerance)


def test_overlaps_get_tiers_and_subjects(tmp_path: Path) -> None:
    one = video("v", [((0, 2000), "run"), ((1000, 3000), "run"), ((1500, 2500), "jump"), ((2000, 4000), "run")])
    root = ElementTree.fromstring((written(tmp_path / "e", "elan", one) / "v.eaf").read_text().partition("?>")[2])
    assert [tier.get("TIER_ID") for tier in root.iter("TIER")] == ["label", "label 2", "label 3"]
    project = json.loads(written(tmp_path / "b", "boris", one).read_text())
    assert [one["name"] for one in project["subjects_conf"].values()] == ["1", "2"]
    assert [one["code"] for one in project["behaviors_conf"].values()] == ["jump", "run"]
    assert {tuple(event[1:3]) for event in project["observations"]["v"]["events"]} == {
        ("1", "run"),
        ("2", "run"),
        ("", "jump"),
    }
    assert segments(read(tmp_path / "e/out", tiers=("label",))) == segments(read(tmp_path / "e/out"))


def test_label_studio_gets_its_configuration_with_the_rate(tmp_path: Path) -> None:
    target = tmp_path / "tasks.json"
    one = video("v", [((0, 1000), "a<b")], score=0.5)
    made = writing.texts(writing.named("label_studio"), [one], target)
    assert list(made) == [target, tmp_path / "tasks.xml"]
    root = ElementTree.fromstring(made[tmp_path / "tasks.xml"].partition("?>")[2])
    assert [label.get("value") for label in root.iter("Label")] == ["a<b"]
    assert [element.get("frameRate") for element in root.iter("Video")] == ["29.97002997"]
    (task,) = json.loads(made[target])
    (prediction,) = task["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("actloc", 0.5)
    assert prediction["result"][0]["value"] == {"ranges": [{"start": 1, "end": 30}], "timelinelabels": ["a<b"]}
    for path, content in made.items():
        path.write_text(content)
    assert segments(read(tmp_path, annotations_fps=FPS)).keys() == {"v"}  # the configuration is passed over
    other = WrittenVideo("w", "w.mp4", one.segments, fps=25.0)
    mixed = writing.texts(writing.named("label_studio"), [one, other], target)
    assert 'frameRate="$fps"' in mixed[tmp_path / "tasks.xml"]
    with pytest.raises(UserError, match=r"rate of x\.mp4 is not known, and Label Studio counts frames"):
        writing.texts(writing.named("label_studio"), [WrittenVideo("x", "x.mp4", one.segments)], target)


def test_forms_of_one_video_become_a_folder_or_the_file_that_is_named(tmp_path: Path) -> None:
    one, empty = video("v", [((0, 1000), "run")]), WrittenVideo("w", "w.mp4", ())
    srt, csv = writing.named("srt"), writing.named("csv")
    assert list(writing.texts(srt, [one, empty], tmp_path / "my.srt")) == [tmp_path / "my.srt"]
    assert list(writing.texts(srt, [one, empty], tmp_path / "my")) == [tmp_path / "my/v.srt"]
    with pytest.raises(UserError, match="no segment to write"):
        writing.texts(srt, [empty], tmp_path / "my")
    with pytest.raises(UserError, match="is a folder, and a table of actions holds all videos in one file"):
        writing.texts(csv, [one], tmp_path)
    with pytest.raises(UserError, match="is read and not written"):
        writing.named("cvat-video")


def test_what_no_program_can_show_is_replaced(tmp_path: Path) -> None:
    for form in FORMS:
        target = written(tmp_path / form, form, video("v", [((0, 1000), "a\x00b\x1b[1m\r\nc\ud800")]))
        (found,) = read(target, annotations_fps=FPS).videos["v"].actions
        assert found.label == "a\ufffdb\ufffd[1m\nc\ufffd"
