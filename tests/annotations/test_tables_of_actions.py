"""Tables as people and other programs write them: encodings, separators, names of columns."""

import json
from pathlib import Path

import pytest

from actloc.annotations import own_actions
from actloc.annotations.model import Action
from actloc.annotations.video_names import VideoNames
from actloc.errors import UserError
from tests.annotation_forms.reading_files import read as read_with

SUBSETS = ["train", "test", "validation"]


def read(path: Path, content: str | bytes, *ids: str) -> own_actions.OwnActions:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return own_actions.read(path, SUBSETS, VideoNames(ids or ("v0",)), "vids has no video")


@pytest.mark.parametrize(
    "content",
    [
        b"video,start,end,label\nv0,2,4.5,run\n",
        b"video\tstart\tend\tlabel\r\nv0.mp4\t2\t4,5\trun\r\n",
        b"sep=;\r\nvideo;start;end;label;;\r\nv0;2;4,5;run;;\r\n",
        b"\nVideo,Start Time,End Time,Class\nv0,0:02,0:04.5,run\n",
        b"video,start (s),end (s),label\rv0,2,4.5,run\r",
        b"file name,start [sec],stop-time,Activity\nv0,2,4.5,run\n",
        b"video|From|To|Category\nv0|2|4.5|run\n",
        b"video,start,end,label\nv0,2e0,4.5E+00, run\xc2\xa0\n",
        b"video,start,end,label,split\nv0,2,4.5,run,TESTING\nv0,2,4.5,run,test\n",
        "\ufeffvideo,begin,stop,action\nv0,2,4.5,run\n".encode(),
        "\ufeffvideo\tstart\tend\tlabel\nv0\t2\t4.5\trun\n".encode("utf-16-le"),
        "\ufeffvideo\tstart\tend\tlabel\nv0\t2\t4.5\trun\n".encode("utf-16-be"),
        "video;start;end;label\nv0;2;4,5;run\n".encode("utf-16-le"),
        b"Tier\tBegin Time - hh:mm:ss.ms\tBegin Time - ss.msec\tEnd Time - ss.msec\tAnnotation\tFile\n"
        b"action\t00:00:02.000\t2\t4.5\trun\tC:\\data\\v0.eaf\n",
        b"Begin Time - hh:mm:ss.ms\tEnd Time - hh:mm:ss.ms\tAnnotation\tFile\n"
        b"00:00:02.000\t00:00:04.500\trun\tv0.mp4\n",
    ],
)
def test_tables_of_other_programs_are_read(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path / "labels.csv", content)
    assert found.problems == []
    assert {key: video.actions for key, video in found.videos.items()} == {"v0": (Action(2.0, 4.5, "run"),)}


def test_excels_csv_in_europe_is_read_with_its_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "video;start;end;label\nSchwimmbad Übung;2,5;4;Müde\n"
    found = read(tmp_path / "labels.csv", text.encode("cp1252"), "Schwimmbad Übung")
    assert found.videos["Schwimmbad Übung"].actions == (Action(2.5, 4.0, "Müde"),)
    assert "is not UTF-8; read as Windows-1252" in capsys.readouterr().err


def test_a_list_of_records_is_read(tmp_path: Path) -> None:
    records = ["x", *({"video": "v0.mp4", "start": second, "end": 4.5, "label": "run"} for second in (2, 3, 4, 5))]
    content = "\ufeff" + json.dumps([*records, {"video": "v0.mp4", "start": None}])
    found = read(tmp_path / "createml.json", content)
    assert found.videos["v0"].actions == tuple(Action(float(second), 4.5, "run") for second in (2, 3, 4))
    assert [str(one).partition("createml.json: ")[2] for one in found.left_out] == [
        "[0]: expected an object with video, start, end and label",
        "[4]: run 5-4.5 s ends before it starts",
        "[5]: cannot read the time ''; expected seconds or H:MM:SS",
    ]
    assert found.problems == []


@pytest.mark.parametrize(
    ("header", "unit", "cure"),
    [
        ("video,start_frame,end_frame,label", "start_frame and end_frame are frames", "frames per second"),
        ("video,start (frames),end (frames),label", "are frames", "frames per second"),
        ("video,start_ms,end,label", "the times in start_ms are milliseconds", "by 1000"),
    ],
)
def test_times_in_other_units_are_named_with_the_way_to_seconds(
    tmp_path: Path, header: str, unit: str, cure: str
) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path / "labels.csv", f"{header}\nv0,10,20,run\n")
    assert unit in caught.value.found
    assert cure in caught.value.fix


@pytest.mark.parametrize(
    ("header", "settings"),
    [
        ("video,start_ms,end_ms,label", {}),
        ("video,Begin Time - msec,End Time - msec,label", {}),
        ("video,start [ms],end [ms],label", {}),
        ("video,start,end,label", {"unit": "milliseconds"}),
    ],
)
def test_milliseconds_are_read_where_columns_or_settings_say_so(
    tmp_path: Path, header: str, settings: dict[str, str]
) -> None:
    (tmp_path / "labels.csv").write_text(f"{header}\nv0,500,1250,run\nv0,1s,2,run\n")
    found = read_with(tmp_path / "labels.csv", **settings)
    assert found.videos["v0"].actions == (Action(0.5, 1.25, "run"),)
    assert [one.what for one in found.left_out] == ["cannot read the time '1s'; expected milliseconds"]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.json", '{"_via_img_metadata": {}}', r"is an export of VGG Image Annotator \(VIA\)"),
        ("a.json", '{"images": [], "categories": []}', "is COCO's form"),
        ("a.json", '{"version": 1, "results": {}}', "is a file of predictions"),
        ("a.json", '{"a": 1}', "is an object with a"),
        ("a.eaf", "<xml/>", "is XML whose root is <xml>"),
        ("a.csv", 'video,start,end,label\nv0,1,2,"run\nv0,3,4,run\n', "a.csv:3: unexpected end of data"),
        ("a.csv", b"video,label\nv0,\x81\xff\n", "is not such text"),
        ("a.csv", b"PK\x03\x04\x14", "is a spreadsheet"),
        ("a.tsv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "is a spreadsheet"),
        ("a.csv", b"", "is empty, which is no form of annotations"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str | bytes, what: str) -> None:
    with pytest.raises(UserError, match=what):
        read(tmp_path / name, content)


def test_a_quotation_mark_that_swallows_rows_is_reported(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", 'video,start,end,label\nv0,1,2,"run\nv0,3,4,"\nv0,5,6,run\n')
    assert [problem.what for problem in found.problems] == ["a cell of several lines; is a quotation mark not closed?"]


def test_wrong_rows_are_left_out_unless_they_are_the_most(tmp_path: Path) -> None:
    wrong = "v0,x,2,run\nv0,1,2,\n,1,2,run\nv0,1,2,run,fast\nv0,1\nv0,-1,2,run\n"
    right = "".join(f"v0,{second},{second + 1},run\n" for second in range(6))
    found = read(tmp_path / "a.csv", f"video,start,end,label\n{right}{wrong}")
    assert [str(one).partition("a.csv:")[2] for one in found.left_out] == [
        "8: cannot read the time 'x'; expected seconds or H:MM:SS",
        "9: the label is empty",
        "10: the video is empty",
        "11: 5 cells for 4 columns",
        "12: cannot read the time ''; expected seconds or H:MM:SS",
        "13: run -1-2 s starts before the video",
    ]
    assert found.problems == []
    assert len(found.videos["v0"].actions) == 6
    found = read(tmp_path / "a.csv", f"video,start,end,label\n{right}{wrong}v0,5,4,run\n")
    assert str(found.problems[0]).endswith("a.csv: 7 of 13 rows cannot be used, too many to leave out")
    assert (len(found.problems), found.left_out) == (8, [])


def test_one_broken_cell_brings_one_problem(tmp_path: Path) -> None:
    rows = "v0,x,2,run\n/home/me/v0.mp4,1,2,run\n/home/me/gone.mp4,1,2,run\n/home/me/gone.mp4,3,4,run\n"
    found = read(tmp_path / "a.csv", f"video,start,end,label\n{rows}")
    assert [str(one).partition("a.csv:")[2] for one in (*found.left_out, *found.problems)] == [
        "2: cannot read the time 'x'; expected seconds or H:MM:SS",
        "4: vids has no video /home/me/gone.mp4.",
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("V0", "v0"),
        ("V0.MP4", "v0"),
        ("v0.avi", "v0"),
        ("P01/v0.mp4", "v0"),
        ("C:\\data\\V0.mp4", "v0"),
        ("a.b", "a.b"),
        ("v0.2", None),
        ("v 0", None),
        ("../v0", None),
        ("e\u0301", "é"),
        ("ID", None),
        ("iD", "iD"),
        ("", None),
    ],
)
def test_a_name_means_a_video_of_the_same_letters(text: str, meant: str | None) -> None:
    assert VideoNames({"v0", "a.b", "é", "iD", "Id"}).find(text) == meant


def test_an_action_that_is_listed_twice_is_taken_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "v0,1,2,run\nv0,1.0004,2,run\nv0,1,2,jump\nv0,1,2.1,run\nv0.mp4,1,2,run\n"
    found = read(tmp_path / "a.csv", f"video,start,end,label\n{rows}")
    assert [(one.end_s, one.label) for one in found.videos["v0"].actions] == [(2.0, "run"), (2.0, "jump"), (2.1, "run")]
    assert found.places["v0"] == [f"{tmp_path}/a.csv:{line}" for line in (2, 4, 5)]
    assert "2 actions of" in (told := " ".join(capsys.readouterr().err.split()))
    assert "are listed twice, and taken once: 3, 6" in told
    twice = json.dumps({"database": {"v0": {"annotations": [{"segment": [1, 2], "label": "run"}] * 2}}})
    assert len(read(tmp_path / "a.json", twice).videos["v0"].actions) == 1


def test_labels_that_only_look_alike_are_one(tmp_path: Path) -> None:
    rows = "v0,1,2,sch\u00f6n\nv0,2,3,scho\u0308n \n"
    found = read(tmp_path / "a.csv", f"video,start,end,label\n{rows}")
    assert {one.label for one in found.videos["v0"].actions} == {"sch\u00f6n"}
    segments = [{"segment": [1, 2], "label": " sch\u00f6n"}, {"segment": [2, 3], "label": "scho\u0308n"}]
    found = read(tmp_path / "a.json", json.dumps({"database": {"v0": {"annotations": segments}}}))
    assert {one.label for one in found.videos["v0"].actions} == {"sch\u00f6n"}


def test_an_unknown_subset_is_reported_once(tmp_path: Path) -> None:
    rows = "v0,1,2,run,fold 3\nv0,3,4,run,fold 3\nv0,5,6,run,tset\n"
    found = read(tmp_path / "a.csv", f"video,start,end,label,subset\n{rows}")
    assert [str(problem).partition("a.csv:")[2] for problem in found.problems] == [
        "2: unknown subset 'fold 3', also in 1 more row. Known: test, train, validation",
        "4: unknown subset 'tset'. Did you mean test?",
    ]
