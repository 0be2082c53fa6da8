"""What projects and exports of BORIS may also hold: several media, clocks, open states, older columns."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError
from tests.annotation_forms.reading_files import read, segments

FILES = Path("tests/annotation_forms/files")


def whys(found: Any) -> list[str]:
    return [one.what for one in found.left_out]


def boris(folder: Path, observations: dict[str, Any], name: str = "p.boris") -> Path:
    content = json.loads((FILES / "project.boris").read_text())
    first = content["observations"]["first"]
    content["observations"] = {key: {**first, **one} for key, one in observations.items()}
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_media_of_one_player_run_on_and_an_interval_is_cut_at_the_joint(tmp_path: Path) -> None:
    events = [[8, "c", "run", "", ""], [10.5, "c", "clap", "", ""], [12, "c", "run", "", ""]]
    events += [[15, "c", "jump", "", ""], [16, "c", "jump", "", ""], [10, "c", "clap", "", ""]]
    events += [[9, "d", "jump", "", ""], [10, "d", "jump", "", ""]]
    media = {"length": {"x/a.mp4": 10.0, "x/b.mp4": 12.0}, "fps": {}}
    two = {"file": {"1": ["x/a.mp4", "x/b.mp4"]}, "events": events, "media_info": media}
    one = {"file": {"1": ["c.mp4"]}, "events": [[1, "", "run", "", ""], [2, "", "run", "", ""]]}
    found = read(boris(tmp_path, {"two": two, "one": one}), point_seconds=0.5)
    assert segments(found) == {
        "a": [(8.0, 10.0, "run"), (9.0, 10.0, "jump")],
        "b": [(0.0, 0.25, "clap"), (0.0, 2.0, "run"), (0.25, 0.75, "clap"), (5.0, 6.0, "jump")],
        "c": [(1.0, 2.0, "run")],
    }
    assert [note.partition(": ")[2] for note in found.notes] == [
        "observation two, event 1: run is in x/a.mp4 and x/b.mp4, and is cut where they meet"
    ]


def test_lengths_that_are_not_stated_come_from_the_videos_or_the_row_is_left_out(tmp_path: Path) -> None:
    events = [[11, "", "run", "", ""], [12, "", "run", "", ""], [1, "", "run", "", ""], [2, "", "run", "", ""]]
    path = boris(tmp_path, {"o": {"file": {"1": ["a.mp4", "b.mp4"]}, "events": events, "media_info": {}}})
    assert whys(read(path)) == ["the length of a.mp4 is not known, and other media follow it"] * 2
    at_hand = {"a": AnnotatedVideo("a", "", duration_s=10.0)}
    assert segments(read(path, "a", "b", at_hand=at_hand)) == {"a": [(1, 2, "run")], "b": [(1, 2, "run")]}


def test_states_are_paired_per_subject_code_and_modifiers_and_open_ones_are_named(tmp_path: Path) -> None:
    events = [
        *([1, "x", "run", "fast", ""], [2, "x", "run", "slow", ""], [3, "x", "run", "fast", ""]),
        *([4, "x", "run", "slow", ""], [2, "y", "run", "fast", ""], [5, "y", "run", "fast", ""]),
        *([6, "y", "jump", "", ""], [7, "y", "sleep", "", ""], ["NA", "y", "run", "", ""], [3, "y"]),
    ]
    found = read(boris(tmp_path, {"o": {"events": events}}))
    assert segments(found) == {"clip_a": [(1, 3, "run"), (2, 4, "run"), (2, 5, "run")]}
    assert sorted(whys(found)) == [
        "cannot read ['NA', 'y', 'run', '', '']",
        "cannot read [3, 'y']",
        "jump starts at 6 s and does not stop",
        "the project has no behaviour 'sleep'",
    ]


def test_a_packed_project_is_read_and_pictures_have_no_video(tmp_path: Path) -> None:
    (tmp_path / "p.boris.gz").write_bytes(gzip.compress((FILES / "project.boris").read_bytes()))
    assert segments(read(tmp_path / "p.boris.gz")) == segments(read(FILES / "project.boris"))
    found = read(boris(tmp_path, {"o": {"type": "IMAGES", "events": [[1, "", "run", "", ""]]}}))
    assert whys(found) == ["it is of pictures, so its 1 event cannot be placed in a video"]
    (tmp_path / "cut.boris.gz").write_bytes((tmp_path / "p.boris.gz").read_bytes()[:-40])
    with pytest.raises(UserError, match="cannot be unpacked"):
        read(tmp_path / "cut.boris.gz")


def test_aggregated_rows_are_moved_to_their_medium(tmp_path: Path) -> None:
    header = "Observation id,Source,Media duration (s),Subject,Behavior,Modifier #1,Behavior type,Start (s),Stop (s)\n"
    rows = [
        "o,player #1:a.mp4;b.mp4,10.000;12.000,x,run,fast,STATE,8.0,12.0",
        'o,player #1:a.mp4;b.mp4,10.000;12.000,x,"jump, high",,STATE,11.0,12.5',
        "o,player #1:a.mp4;b.mp4,10.000;12.000,x,run,,STATE,11.0,NA",
        "live,Live observation,NA,x,run,,STATE,1,2",
    ]
    (tmp_path / "a.csv").write_text(header + "\n".join(rows) + "\n")
    found = read(tmp_path / "a.csv")
    assert segments(found) == {"a": [(8, 10, "run")], "b": [(0, 2, "run"), (1, 2.5, "jump, high")]}
    assert whys(found) == ["cannot read the times '11.0' and 'NA'", "Live observation names no medium"]


def test_older_aggregated_and_tabular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(
        "Observation id\tMedia file\tTotal length\tFPS\tSubject\tBehavior\tBehavior type\tStart (s)\tStop (s)\n"
        "o\tC:/x/a.mp4\t10\t25\t\trun\tSTATE\t1,5\t2,25\n"
    )
    assert segments(read(tmp_path / "a.tsv")) == {"a": [(1.5, 2.25, "run")]}
    (tmp_path / "t.csv").write_text(
        "Observation id,first\n\nMedia file(s)\nPlayer #1,x/a.mp4\nObservation date,2026-01-05\n\n"
        "Time,Media file path,Total length,FPS,Subject,Behavior,Behavioral category,Modifiers,Comment,Status\n"
        "0.5,x/a.mp4,10,25,,run,,,,START\n1.0,x/a.mp4,10,25,,clap,,,,POINT\n2.0,x/a.mp4,10,25,,run,,,,STOP\n"
        "3.0,x/a.mp4,10,25,,run,,,,STOP\n4.0,x/a.mp4,10,25,,jump,,,,START\n5.0,x/a.mp4,10,25,,jump,,,,START\n"
    )
    found = read(tmp_path / "t.csv", point_seconds=1.0)
    assert segments(found) == {"a": [(0.5, 1.5, "clap"), (0.5, 2.0, "run")]}
    assert [str(one).partition("t.csv:")[2] for one in found.left_out] == [
        "11: run stops at 3 s and did not start",
        "12: jump starts at 4 s and does not stop",
        "13: jump starts at 5 s and does not stop",
    ]
