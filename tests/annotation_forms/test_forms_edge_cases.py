"""Rows of tiers that are not read, unknown options, where CVAT names the video, forms that do not fit."""

import json
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from actloc.annotation_forms.elan import Config
from actloc.annotations.model import AnnotatedVideo
from actloc.annotations.rows import Segment, WrittenVideo
from actloc.errors import UserError
from tests.annotation_forms.reading_files import read, segments


def _eaf(*tiers: str) -> str:
    slots = '<TIME_SLOT TIME_SLOT_ID="s0" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="s1"/>'
    slots += '<TIME_SLOT TIME_SLOT_ID="s2" TIME_VALUE="3000"/>'
    return (
        '<ANNOTATION_DOCUMENT><HEADER><MEDIA_DESCRIPTOR MEDIA_URL="v.mp4"/></HEADER>'
        f"<TIME_ORDER>{slots}</TIME_ORDER>{''.join(tiers)}</ANNOTATION_DOCUMENT>"
    )


def _tier(name: str, *ends: tuple[str, str]) -> str:
    annotations = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}{number}" TIME_SLOT_REF1="{first}" '
        f'TIME_SLOT_REF2="{last}"><ANNOTATION_VALUE>run</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>'
        for number, (first, last) in enumerate(ends)
    )
    return f'<TIER TIER_ID="{name}">{annotations}</TIER>'


def test_what_cannot_be_used_of_a_tier_counts_for_that_tier_alone(tmp_path: Path) -> None:
    path = tmp_path / "v.eaf"
    path.write_text(_eaf(_tier("acts", ("s0", "s2"), ("s0", "s1")), _tier("words", ("s0", "s2"), ("s1", "s2"))))
    with pytest.raises(UserError) as caught:
        read(path)
    assert caught.value.found == f"{path} has several tiers: acts (2 rows), words (2 rows)."
    found = read(path, tiers=["acts"])
    assert segments(found) == {"v": [(1, 3, "run")]}
    assert [str(one) for one in found.left_out] == [f"{path}: acts1 in tier acts: the time of s1 is not set"]


def test_escaped_blanks_in_the_addresses_of_elan_are_blanks(tmp_path: Path) -> None:
    escaped = 'MEDIA_URL="file:///C:/a%20b.mp4" RELATIVE_MEDIA_URL="./a%20b.mp4"'
    text = _eaf(_tier("acts", ("s0", "s2")))
    for written, name in ((escaped, "a b"), ('MEDIA_URL="a%20b.mp4"', "a%20b")):
        (tmp_path / "v.eaf").write_text(text.replace('MEDIA_URL="v.mp4"', written))
        assert segments(read(tmp_path / "v.eaf")) == {name: [(1, 3, "run")]}


def test_options_that_an_attribute_of_via_does_not_have_are_named(tmp_path: Path) -> None:
    attribute = {"1": {"aname": "A", "anchor_id": "FILE1_Z2_XY0", "type": 4, "options": {"0": "run"}}}
    labelled = ({"1": "0"}, {"1": "7"}, {"1": ""})
    metadata = {f"m{n}": {"vid": "1", "z": [n, n + 1.5], "xy": [], "av": av} for n, av in enumerate(labelled)}
    files, view = {"1": {"fname": "a.mp4"}}, {"1": {"fid_list": [1]}}
    content = {"project": {}, "attribute": attribute, "file": files, "view": view, "metadata": metadata}
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    found = read(path)
    assert segments(found) == {"a": [(0, 1.5, "run")]}
    assert sorted(map(str, found.left_out)) == [
        f"{path}: metadata['m1']: the attribute A has no option '7'",
        f"{path}: metadata['m2']: it has no label",
    ]


def test_the_video_of_cvat_is_named_in_its_task_or_beside_it(tmp_path: Path) -> None:
    meta = "<task><id>1</id><start_frame>0</start_frame><stop_frame>99</stop_frame></task><source>clips/a.mp4</source>"
    boxes = '<box frame="10" outside="0"/><box frame="50" outside="1"/>'
    track = f'<track id="0" label="run">{boxes}</track>'
    (tmp_path / "export.xml").write_text(f"<annotations><meta>{meta}</meta>{track}</annotations>")
    assert segments(read(tmp_path / "export.xml", annotations_fps=25)) == {"a": [(0.4, 2.0, "run")]}


def test_a_forced_form_of_which_a_text_has_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("video,start,end,label\na,1,2,run\n")
    with pytest.raises(UserError, match=r"a\.csv is not subtitles \(SRT\)"):
        read(tmp_path / "a.csv", annotations_form="srt")


def test_time_slots_for_elan_are_in_the_order_of_time_and_the_file_has_a_date() -> None:
    listed = (Segment(1, 3, "run"), Segment(5, 9, "run"), Segment(2, 6, "jump"))
    ((_, text),) = Config().write([WrittenVideo("a", "a.mp4", listed)], Path("a.eaf")).items()
    root = ElementTree.fromstring(text)
    times = [int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")]
    assert times == [1000, 2000, 3000, 5000, 6000, 9000]
    assert len({slot.get("TIME_SLOT_ID") for slot in root.iter("TIME_SLOT")}) == 6
    assert datetime.fromisoformat(root.get("DATE", "")).tzinfo is not None


def test_a_state_of_boris_that_stops_when_it_starts_again_is_two(tmp_path: Path) -> None:
    head = "Observation id,Source,Media duration (s),Subject,Behavior,Behavior type,Time\n"
    rows = (("START", 2), ("START", 4), ("STOP", 4), ("STOP", 6), ("START", 7), ("STOP", 7))
    (tmp_path / "t.csv").write_text(head + "".join(f"o,player #1:a.mp4,10,,run,{kind},{at}\n" for kind, at in rows))
    found = read(tmp_path / "t.csv")
    assert segments(found) == {"a": [(2, 4, "run"), (4, 6, "run")]}
    assert [one.what for one in found.left_out] == ["run 7-7 s has no length"]


def test_what_is_before_the_first_medium_is_cut_or_named(tmp_path: Path) -> None:
    head = "Observation id\tSource\tMedia duration (s)\tBehavior\tBehavior type\tStart (s)\tStop (s)\n"
    rows = ((-1, 2), (-4, -3), (0, 0))
    (tmp_path / "t.tsv").write_text(head + "".join(f"o\tplayer #1:a.mp4\t10\trun\tSTATE\t{s}\t{e}\n" for s, e in rows))
    found = read(tmp_path / "t.tsv")
    assert segments(found) == {"a": [(0, 2, "run")]}
    assert found.notes == [f"{tmp_path / 't.tsv'}:2: run starts 1 s before a.mp4, and is cut there"]
    assert [one.what for one in found.left_out] == [
        "run from -4 to -3 s is outside its media or has no length",
        "run from 0 to 0 s is outside its media or has no length",
    ]


def test_cues_of_subtitles_without_a_blank_line_between_them_stay_apart(tmp_path: Path) -> None:
    cues = "1\n00:00:01,000 --> 00:00:05,000\nrun\n2\n00:00:06,000 --> 00:00:07,000\n40\nyards\n"
    (tmp_path / "v.srt").write_text(cues)
    assert segments(read(tmp_path / "v.srt")) == {"v": [(1, 5, "run"), (6, 7, "40 yards")]}


def test_a_database_may_have_durations_as_text_and_wrong_segments_are_left_out(tmp_path: Path) -> None:
    segments_in = (["1", 2], [2, 1], [1, 2], [3, 4], [5, 6], [float("nan"), 6], [-1, 6])
    listed = [{"segment": one, "label": "run"} for one in segments_in] + [{"segment": [1, 2], "label": " "}]
    listed += [{"segment": [second, second + 1], "label": "run"} for second in (6, 7)]
    entry = {"subset": "training", "duration": "10.5", "annotations": listed}
    (tmp_path / "a.json").write_text(json.dumps({"database": {"v": entry}}))
    found = read(tmp_path / "a.json")
    assert found.videos["v"].duration_s == 10.5
    assert found.problems == []
    place = f"{tmp_path / 'a.json'}: database['v'].annotations"
    assert [str(one).removeprefix(place) for one in found.left_out] == [
        "[0]: segment: found ['1', 2], expected [start, end] in seconds",
        "[1]: run 2-1 s ends before it starts",
        "[5]: segment: found [nan, 6], expected [start, end] in seconds",
        "[6]: run -1-6 s starts before the video",
        "[7]: the label is empty",
    ]
    assert found.places["v"][0] == f"{place}[2]"


def test_points_of_praat_end_with_the_grid_or_with_the_video(tmp_path: Path) -> None:
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
    (tmp_path / "v.TextGrid").write_text(f'{head}0\n10\n<exists>\n1\n"TextTier"\n"claps"\n0\n10\n1\n9.9\n"clap"\n')
    found = read(tmp_path / "v.TextGrid", point_seconds=0.4)
    assert segments(found) == {"v": [(9.7, 10.0, "clap")]}
    assert found.videos["v"].duration_s is None
    at_hand = {"v": AnnotatedVideo("v", "", duration_s=10.05)}
    assert segments(read(tmp_path / "v.TextGrid", "v", at_hand=at_hand, point_seconds=0.4)) == {
        "v": [(9.7, 10.05, "clap")]
    }


def test_files_that_systems_keep_in_folders_are_no_annotations(tmp_path: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "~$clip.csv", "._clip_a.srt"):
        (tmp_path / name).write_bytes(b"\0\1no annotations")
    (tmp_path / "clip_a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nrun\n")
    assert segments(read(tmp_path)) == {"clip_a": [(1, 2, "run")]}


def test_times_of_boris_may_be_clocks(tmp_path: Path) -> None:
    names = "Observation id\tSource\tSubject\tBehavior\tBehavior type\tStart (s)\tStop (s)"
    row = "first\tplayer #1:v.mp4\t\trun\tSTATE\t0:01:02.500\t00:01:04"
    (tmp_path / "a.tsv").write_text(f"{names}\n{row}\n")
    found = read(tmp_path / "a.tsv")
    assert found.form == "boris_aggregated"
    assert segments(found) == {"v": [(62.5, 64, "run")]}
    names = "Observation id,Source,Subject,Behavior,Behavior type,Time"
    rows = "".join(f"first,player #1:v.mp4,,run,{kind},{time}\n" for kind, time in (("START", "0:02"), ("STOP", "3.5")))
    (tmp_path / "t.csv").write_text(f"{names}\n{rows}")
    assert segments(read(tmp_path / "t.csv")) == {"v": [(2, 3.5, "run")]}
