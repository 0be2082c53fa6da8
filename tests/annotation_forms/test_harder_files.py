"""What files of tools may also hold: several media, references, gaps, other encodings, steps, what is broken."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from actloc.annotations import source_file
from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError
from tests.annotation_forms.reading_files import Segments, read, segments

FILES = Path("tests/annotation_forms/files")


def whys(found: Any) -> list[str]:
    return [one.what for one in found.left_out]


def eaf(slots: dict[str, int | None], tiers: str, media: str = "") -> str:
    order = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{key}"{"" if time is None else f" TIME_VALUE={chr(34)}{time}{chr(34)}"}/>'
        for key, time in slots.items()
    )
    header = media or '<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/my%20videos/v%201.mp4" MIME_TYPE="video/mp4"/>'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds">{header}</HEADER>'
        f"<TIME_ORDER>{order}</TIME_ORDER>{tiers}</ANNOTATION_DOCUMENT>"
    )


def alignable(key: str, first: str, last: str, value: str) -> str:
    ends = f'TIME_SLOT_REF1="{first}" TIME_SLOT_REF2="{last}"'
    inner = f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE>"
    return f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{key}" {ends}>{inner}</ALIGNABLE_ANNOTATION></ANNOTATION>'


def reference(key: str, to: str, value: str) -> str:
    inner = f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE>"
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{key}" ANNOTATION_REF="{to}">{inner}</REF_ANNOTATION></ANNOTATION>'
    )


class TestElan:
    def test_an_annotation_that_refers_to_another_has_its_times(self, tmp_path: Path) -> None:
        tiers = (
            f'<TIER TIER_ID="meaning">{reference("b1", "a1", "walks")}{reference("b2", "zz", "lost")}</TIER>'
            f'<TIER TIER_ID="sounds">{alignable("a1", "t1", "t2", "w")}</TIER>'
            f'<TIER TIER_ID="more">{reference("c1", "b1", "walks on")}</TIER>'
        )
        (tmp_path / "x.eaf").write_text(eaf({"t1": 500, "t2": 1500}, tiers))
        found = read(tmp_path / "x.eaf", tiers=("meaning", "more"))
        assert segments(found) == {"v 1": [(0.5, 1.5, "walks"), (0.5, 1.5, "walks on")]}
        assert whys(found) == ["it refers to zz, which has no times"]

    def test_missing_time_slots_and_empty_values_are_left_out_and_named(self, tmp_path: Path) -> None:
        rows = (
            alignable("a1", "t1", "t2", "run") + alignable("a2", "t2", "t3", "jump") + alignable("a3", "t1", "t3", " ")
        )
        (tmp_path / "x.eaf").write_text(eaf({"t1": 0, "t2": None, "t3": 900}, f'<TIER TIER_ID="t">{rows}</TIER>'))
        found = read(tmp_path / "x.eaf")
        assert found.videos == {}
        assert [str(one).partition("x.eaf: ")[2] for one in found.left_out] == [
            "a1 in tier t: the time of t2 is not set",
            "a2 in tier t: the time of t2 is not set",
            "a3 in tier t: it has no label",
        ]

    def test_the_time_line_may_begin_later_in_the_video(self, tmp_path: Path) -> None:
        media = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///a.wav" MIME_TYPE="audio/x-wav"/>'
        media += '<MEDIA_DESCRIPTOR RELATIVE_MEDIA_URL="./b.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="2000"/>'
        tier = f'<TIER TIER_ID="t">{alignable("a1", "t1", "t2", "run")}</TIER>'
        (tmp_path / "x.eaf").write_text(eaf({"t1": 500, "t2": 1500}, tier, media))
        assert segments(read(tmp_path / "x.eaf")) == {"b": [(2.5, 3.5, "run")]}

    def test_its_preferences_beside_a_project_are_passed_over(self, tmp_path: Path) -> None:
        tier = f'<TIER TIER_ID="t">{alignable("a1", "t1", "t2", "run")}</TIER>'
        (tmp_path / "x.eaf").write_text(eaf({"t1": 500, "t2": 1500}, tier))
        (tmp_path / "x.pfsx").write_text("<preferences version='1.1'><pref/></preferences>")
        assert segments(read(tmp_path)) == {"v 1": [(0.5, 1.5, "run")]}

    @pytest.mark.parametrize(
        "line",
        [
            "action\t0.5\t1.5\t1.0\trun",
            "action\t\t00:00:00.500\t0.5\t00:00:01.500\t1.5\t00:00:01.000\t1.0\trun",
            "action\t00:00:00.500\t00:00:01.500\t00:00:01.000\trun",
            "action\t00:00:00.500\t0.5\t00:00:01.500\t1.5\t1.0\trun\tclip.mp4",
            "action\t\t0.500\t500\t1.500\t1500\t1.000\t1000\trun",
            "action\t\t00:00:00.500\t500\t00:00:01.500\t1500\t00:00:01.000\t1000\trun",
            "Tier\tBegin Time - msec\tEnd Time - msec\tDuration - msec\tAnnotation\naction\t500\t1500\t1000\trun",
            "Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\tDuration - ss.msec\tAnnotation\naction\t0.5\t1.5\t1\trun",
        ],
    )
    def test_its_export_to_text_is_read_with_names_and_without(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "clip.txt").write_text(f"{line}\n")
        found = read(tmp_path / "clip.txt")
        assert found.form == "elan_tab"
        assert segments(found) == {"clip": [(0.5, 1.5, "run")]}

    def test_whole_numbers_without_a_name_need_a_unit(self, tmp_path: Path) -> None:
        (tmp_path / "clip.txt").write_text("action\t500\t1500\t1000\trun\naction\t2000\t3000\t1000\trun\n")
        with pytest.raises(UserError, match="are whole numbers without a unit") as caught:
            read(tmp_path / "clip.txt")
        assert caught.value.fix.startswith("Set dataset.unit=milliseconds or dataset.unit=seconds")
        facts = AnnotatedVideo("clip", "", duration_s=3.0)
        with pytest.raises(UserError, match=r"The last one is 3000, and the video has 3\.0 s") as caught:
            read(tmp_path / "clip.txt", "clip", at_hand={"clip": facts})
        assert caught.value.fix == "Set dataset.unit=milliseconds"
        expected = {"clip": [(0.5, 1.5, "run"), (2.0, 3.0, "run")]}
        assert segments(read(tmp_path / "clip.txt", unit="milliseconds")) == expected
        assert segments(read(tmp_path / "clip.txt", unit="seconds"))["clip"][0] == (500, 1500, "run")
        (tmp_path / "clip.txt").write_text("action\t0\t1.5\t1.5\trun\naction\t2\t3\t1\trun\n")  # as other lines say
        assert segments(read(tmp_path / "clip.txt")) == {"clip": [(0, 1.5, "run"), (2, 3, "run")]}


class TestXml:
    def test_a_document_type_declaration_is_refused(self, tmp_path: Path) -> None:
        bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">]>'
        for name in ("clip_a.eaf", "cvat_video.xml", "cvat_images.xml"):
            text = (FILES / name).read_text()
            head, _, rest = text.partition("?>")
            (tmp_path / name).write_text(f"{head}?>{bomb}{rest}")
            with pytest.raises(UserError, match="has a document type declaration"):
                read(tmp_path / name, annotations_fps=25.0)

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_other_encodings_are_read(self, tmp_path: Path, encoding: str) -> None:
        text = (FILES / "clip_a.eaf").read_text().replace('encoding="UTF-8"', f'encoding="{encoding[:6]}"')
        (tmp_path / "a.eaf").write_bytes(text.replace(">run<", ">läuft<").replace("utf-8-", "utf-8").encode(encoding))
        found = read(tmp_path / "a.eaf", tiers=("actions",))
        assert [one[2] for one in segments(found)["clip_a"]] == ["läuft", "jump", "läuft"]

    def test_a_file_that_is_cut_off_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.eaf").write_text((FILES / "clip_a.eaf").read_text()[:-200])
        with pytest.raises(UserError, match="is not well-formed XML: unclosed token"):
            read(tmp_path / "a.eaf")


class TestText:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
    @pytest.mark.parametrize("name", ["clip_a.TextGrid", "clip_a.srt", "clip_a.vtt", "clip_a.txt", "segments.csv"])
    def test_text_is_read_in_each_encoding(self, tmp_path: Path, name: str, encoding: str) -> None:
        text = (FILES / name).read_text().replace("jump", "спрыгнуть").replace("\n", "\r\n")
        (tmp_path / name).write_bytes(text.encode(encoding))
        assert segments(read(tmp_path / name))["clip_a"][1] == (2.0, 3.52, "спрыгнуть")

    def test_the_short_textgrid_and_points_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "v.TextGrid").write_text(
            'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n3.5\n<exists>\n2\n'
            '"IntervalTier"\n"a ""b"""\n0\n3.5\n3\n0\n1\n""\n1\n2.5\n"say ""hi""\nthere"\n2.5\n3.5\n""\n'
            '"TextTier"\n"marks"\n0\n3.5\n1\n3.25\n"clap"\n',
            encoding="utf-16",
        )
        with pytest.raises(UserError, match=r'several tiers: a "b" \(1 row\), marks \(1 row\)'):
            read(tmp_path / "v.TextGrid")
        found = read(tmp_path / "v.TextGrid", tiers=('a "b"', "marks"), point_seconds=0.5)
        assert segments(found) == {"v": [(1.0, 2.5, 'say "hi"\nthere'), (3.0, 3.5, "clap")]}
        (tmp_path / "v.TextGrid").write_text(
            'File type = "ooTextFile"\n"TextGrid"\n0\n3\n<exists>\n1\n"IntervalTier"\n'
        )
        with pytest.raises(UserError, match="is not a whole TextGrid"):
            read(tmp_path / "v.TextGrid")

    def test_spectral_lines_of_audacity_are_skipped_and_moments_are_points(self, tmp_path: Path) -> None:
        text = "0.5\t1.5\trun\n\\\t100.0\t2000.0\n2\t2\tclap\n3\t4\t\n5 6 seven\n"
        (tmp_path / "v.txt").write_text(text)
        found = read(tmp_path / "v.txt")
        assert segments(found) == {"v": [(0.5, 1.5, "run")]}
        assert [str(one).partition("v.txt:")[2] for one in found.left_out] == [
            "4: it has no label",
            "5: expected start, end and label, with tabs between them",
            "3: clap at 2 s is a point; dataset.point_seconds makes it an action",
        ]

    def test_webvtt_with_hours_notes_styles_and_settings(self, tmp_path: Path) -> None:
        (tmp_path / "v.vtt").write_text(
            "WEBVTT\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nNOTE 00:01.000 --> 00:02.000\nno cue\n\n"
            "intro\n01:00:00.500 --> 01:00:01.500 align:start line:0\n<v Bob>run <i>fast</i>\n"
            "<00:01.000>&amp; far</v>\n\n"
            "00:05.000 --> 00:06.000\n\n00:07.000 --> 8\nx\n"
        )
        found = read(tmp_path / "v.vtt")
        assert segments(found) == {"v": [(3600.5, 3601.5, "run fast & far")]}
        assert sorted(whys(found)) == ["cannot read the times '00:07.000 --> 8'", "it has no text"]

    def test_srt_with_tags_and_cues_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "v.mp4.srt").write_text(
            "1\n00:00:01,000 --> 00:00:02,000  X1:10\n{\\an8}<i>run</i>\n\n\n2\n0:00:03.5 --> 0:00:04\nwalk\n\n"
            "3\n00:00:05,000 --> 00:00:06,000\n<b></b>\n"
        )
        found = read(tmp_path / "v.mp4.srt")
        assert segments(found) == {"v": [(1, 2, "run")]}
        assert whys(found) == ["cannot read the times '0:00:03.5 --> 0:00:04'", "it has no text"]

    def test_a_column_of_frames_is_read_at_the_rate_that_is_set(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("video,start_frame,end_frame,label\nv0,12,49,run\n")
        assert segments(read(tmp_path / "a.csv", annotations_fps=25.0)) == {"v0": [(0.48, 2.0, "run")]}
        assert segments(read(tmp_path / "a.csv", annotations_fps=25.0, first_frame=1)) == {"v0": [(0.44, 1.96, "run")]}
        (tmp_path / "a.csv").write_text(
            "video,start,end,label\nv0,12,49,run\nv0,a,2,run\nv0,50.0,60,run\nv0,1.5,3,run\n"
        )
        found = read(tmp_path / "a.csv", annotations_fps=25.0, unit="frames")
        assert segments(found) == {"v0": [(0.48, 2.0, "run"), (2.0, 2.44, "run")]}
        expected = "expected the whole number of a frame"
        assert whys(found) == [f"cannot read the time {bad!r}; {expected}" for bad in ("a", "1.5")]
        assert found.problems == []
        with pytest.raises(ValueError, match="frames needs annotations_fps"):
            read(tmp_path / "a.csv", unit="frames")

    def test_apostrophes_before_formulas_are_taken_off(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("video,start,end,label,score\n'=v,1,2,'+run,0.5\nw,1,2,'quoted',\nx,1,2,-5,\n")
        found = read(tmp_path / "a.csv")
        assert segments(found) == {"=v": [(1, 2, "+run")], "w": [(1, 2, "'quoted'")], "x": [(1, 2, "-5")]}
        assert found.scores == {("=v", 0): 0.5}


class TestCvat:
    def images(self, numbers: dict[int, str], meta: str) -> str:
        listed = "".join(
            f'<image id="{number}" name="f"><tag label="{tag}"/></image>' for number, tag in numbers.items()
        )
        return f"<annotations><version>1.1</version><meta>{meta}</meta>{listed}</annotations>"

    @pytest.mark.parametrize(
        ("numbers", "size", "start", "expected"),
        [
            ((0, 1, 2, 4), 20, 0, [(0.0, 0.6, "run"), (0.8, 1.0, "run")]),
            ((0, 1, 2, 4), 20, 10, [(0.4, 1.0, "run"), (1.2, 1.4, "run")]),
            ((0, 5, 10, 95), 20, 0, [(0.0, 0.6, "run"), (3.8, 4.0, "run")]),
        ],
    )
    def test_images_of_a_task_with_a_step(
        self, tmp_path: Path, numbers: tuple[int, ...], size: int, start: int, expected: list[Any]
    ) -> None:
        meta = f"<task><size>{size}</size><start_frame>{start}</start_frame><stop_frame>99</stop_frame>"
        meta += "<frame_filter>step=5</frame_filter><source>v.mp4</source></task>"
        (tmp_path / "a.xml").write_text(self.images(dict.fromkeys(numbers, "run"), meta))
        assert segments(read(tmp_path / "a.xml", annotations_fps=25.0)) == {"v": expected}

    def test_tags_of_one_image_are_runs_of_their_own(self, tmp_path: Path) -> None:
        images = '<image id="0"><tag label="a"/></image><image id="1"><tag label="a"/><tag label="b"/></image>'
        text = f"<annotations><meta><task><source>v.mp4</source></task></meta>{images}</annotations>"
        (tmp_path / "a.xml").write_text(text)
        assert segments(read(tmp_path / "a.xml", annotations_fps=10.0)) == {"v": [(0, 0.2, "a"), (0.1, 0.2, "b")]}

    def test_a_track_may_open_again_and_lasts_to_the_end_if_it_stays_open(self, tmp_path: Path) -> None:
        boxes = [(10, 0), (19, 0), (20, 1), (30, 0), (40, 1), (50, 0)]
        listed = "".join(f'<box frame="{frame}" outside="{outside}"/>' for frame, outside in boxes)
        meta = "<task><start_frame>0</start_frame><stop_frame>99</stop_frame><source>v.mp4</source></task>"
        text = f'<annotations><meta>{meta}</meta><track id="7" label="run">{listed}</track></annotations>'
        (tmp_path / "a.xml").write_text(text)
        found = read(tmp_path / "a.xml", annotations_fps=10.0)
        assert segments(found) == {"v": [(1, 2, "run"), (3, 4, "run"), (5, 10, "run")]}

    def test_tracks_of_a_project_belong_to_their_task(self, tmp_path: Path) -> None:
        tasks = "".join(
            f"<task><id>{one}</id><stop_frame>9</stop_frame><source>{one}.mp4</source></task>" for one in (3, 4)
        )
        track = '<track task_id="4" label="run"><box frame="2" outside="0"/><box frame="5" outside="1"/></track>'
        meta = f"<meta><project><tasks>{tasks}</tasks></project></meta>"
        (tmp_path / "a.xml").write_text(f"<annotations>{meta}{track}</annotations>")
        assert segments(read(tmp_path / "a.xml", annotations_fps=10.0)) == {"4": [(0.2, 0.5, "run")]}


class TestLabelStudio:
    def task(self, video: str, *regions: dict[str, Any], **more: Any) -> dict[str, Any]:
        result = [{"type": "timelinelabels", "from_name": "t", **one} for one in regions]
        return {"data": {"video": video}, "annotations": [{"result": result}], **more}

    def region(self, first: int, last: int, label: str = "run") -> dict[str, Any]:
        return {"value": {"ranges": [{"start": first, "end": last}], "timelinelabels": [label]}}

    def write(self, path: Path, *tasks: dict[str, Any]) -> Path:
        path.write_text(json.dumps(tasks))
        return path

    def test_digits_of_an_upload_are_taken_off_only_if_the_video_without_them_is_there(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.json", self.task("/data/upload/1/ab12cd34-v.mp4", self.region(1, 25)))
        expected: Segments = {"v": [(0, 1, "run")]}
        assert segments(read(path, "v", annotations_fps=25.0)) == expected
        for ids in (("v", "ab12cd34-v"), ()):
            assert list(segments(read(path, *ids, annotations_fps=25.0))) == ["ab12cd34-v"]
        problem = read(path, "ab12cd34", annotations_fps=25.0).problems[0]
        assert problem.what == "vids has no video ab12cd34-v.mp4. Did you mean ab12cd34?"

    def test_what_is_no_stretch_of_time_is_left_out_and_overlaps_stay(self, tmp_path: Path) -> None:
        path = self.write(
            tmp_path / "a.json",
            self.task("s3://bucket/my%20v.mp4?x=1", self.region(1, 25), self.region(10, 30), self.region(10, 30, " ")),
            self.task(
                "/data/local-files/?d=x/w.mp4", {"type": "choices", "id": "c", "value": {"choices": ["good"]}}, id=9
            ),
            self.task("u.mp4", {"value": {"ranges": [{"start": "a", "end": 3}], "timelinelabels": ["run"]}}),
            {"data": {"video": "x.mp4"}, "annotations": [], "predictions": [{"result": [self.region(1, 2)]}]},
        )
        found = read(path, annotations_fps=25.0)
        assert segments(found) == {"my v": [(0, 1, "run"), (0.36, 1.2, "run")]}
        assert sorted(whys(found)) == [
            "cannot read the ranges [{'start': 'a', 'end': 3}]",
            "it has no label",
            "it is of the type choices, which is no stretch of time with a label",
        ]
        assert found.notes == [f"{path}: 1 of 4 tasks without an annotation"]

    def test_several_controls_are_tiers(self, tmp_path: Path) -> None:
        path = self.write(
            tmp_path / "a.json",
            self.task("v.mp4", self.region(1, 25), {**self.region(26, 50, "day"), "from_name": "u"}),
        )
        with pytest.raises(UserError, match=r"several tiers: t \(1 row\), u \(1 row\)"):
            read(path, annotations_fps=25.0)
        assert segments(read(path, annotations_fps=25.0, tiers=("u",))) == {"v": [(1, 2, "day")]}


class TestOthers:
    def test_via_checkboxes_texts_and_the_export_of_temporal_segments(self, tmp_path: Path) -> None:
        content = json.loads((FILES / "via3_project.json").read_text())
        content["attribute"]["1"]["type"] = 2
        content["metadata"]["1_m0"]["av"]["1"] = "1,2"
        content["metadata"]["1_m1"]["av"] = {}
        content["metadata"]["1_m2"]["vid"] = "9"
        (tmp_path / "a.json").write_text(json.dumps(content))
        found = read(tmp_path / "a.json")
        assert segments(found) == {"clip_a": [(0.48, 2.0, "jump"), (0.48, 2.0, "run")]}
        assert whys(found) == ["it has no label", "the view '9' has no file"]
        (tmp_path / "t.csv").write_text(
            "# Exported using VGG Image Annotator\n"
            "# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata\n"
            '"1_a","[""clip_a.mp4""]",0.5,1.5,"{""Activity"":""run, fast""}"\n'
        )
        assert segments(read(tmp_path / "t.csv")) == {"clip_a": [(0.5, 1.5, "run, fast")]}

    def test_fiftyone_with_names_timestamps_scores_and_videos_without_detections(self, tmp_path: Path) -> None:
        detections = [
            {"label": "run", "timestamps": [0.5, 1.5], "confidence": 0.25},
            {"label": 7, "timestamps": [1, 2]},
            {"label": "run", "support": [1]},
        ]
        (tmp_path / "labels.json").write_text(json.dumps({"classes": None, "labels": {"v": detections, "w": None}}))
        found = read(tmp_path / "labels.json")
        assert segments(found) == {"v": [(0.5, 1.5, "run")], "w": []}
        assert found.scores == {("v", 0): 0.25}
        assert whys(found) == ["the label 7 is neither a name nor the number of a class", "cannot read its ends [1]"]

    def test_entries_that_are_none_are_left_out_of_lists_of_tools(self, tmp_path: Path) -> None:
        content = {"classes": ["run"], "labels": {"v": [{"label": 0, "timestamps": [1, 2]}, 5], "w": 3}}
        (tmp_path / "f.json").write_text(json.dumps(content))
        found = read(tmp_path / "f.json")
        assert segments(found) == {"v": [(1, 2, "run")], "w": []}
        assert whys(found) == ["expected an object, found 5", "expected a list, found 3"]
        value = {"ranges": [{"start": 1, "end": 25}, {"start": 0, "end": 5}], "timelinelabels": ["run"]}
        task = {"data": {"video": "v.mp4"}, "annotations": [{"result": [{"type": "timelinelabels", "value": value}]}]}
        (tmp_path / "l.json").write_text(json.dumps([task, task | {"data": {"video": "w.mp4"}}, "x"]))
        found = read(tmp_path / "l.json", annotations_fps=25.0)
        assert segments(found) == {"v": [(0, 1, "run")], "w": [(0, 1, "run")]}
        below = "run -0.04-0.2 s starts before the video; if frames count from 0, set dataset.first_frame=0"
        assert whys(found) == ["expected an object with data and annotations", below, below]

    def test_a_json_above_the_limit_is_refused_with_its_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(source_file, "_MOST_BYTES", 2**20)
        (tmp_path / "a.json").write_text(json.dumps(["x" * 2**21]))
        with pytest.raises(UserError, match=r"a\.json has 2 MB\."):
            read(tmp_path / "a.json")
        (tmp_path / "b.boris.gz").write_bytes(gzip.compress(b"[" + b" " * 2**24))  # 16 MB of 16 kB
        with pytest.raises(UserError, match=r"b\.boris\.gz has 0 MB, packed\."):
            read(tmp_path / "b.boris.gz")

    def test_segments_without_a_length_are_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "v.srt").write_text(
            "1\n00:00:01,000 --> 00:00:01,000\nrun\n\n2\n00:00:01,000 --> 00:00:02,000\nrun\n"
        )
        found = read(tmp_path / "v.srt")
        assert segments(found) == {"v": [(1, 2, "run")]}
        assert whys(found) == ["run 1-1 s has no length"]
        (tmp_path / "a.csv").write_text("video,start,end,label\nv,1,1,run\nv,1,2,run\n")
        found = read(tmp_path / "a.csv")
        assert segments(found) == {"v": [(1, 2, "run")]}
        assert whys(found) == ["run 1-1 s has no length"]

    def test_one_video_listed_in_two_files_is_a_problem(self, tmp_path: Path) -> None:
        for name in ("a.json", "b.json"):
            (tmp_path / name).write_text('{"database": {"v": {"annotations": []}}}')
        (problem,) = read(tmp_path).problems
        assert (
            str(problem) == f"{tmp_path / 'b.json'}: database['v']: v is also in {tmp_path / 'a.json'}: database['v']"
        )
