import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from actloc.commands import convert_annotations
from actloc.errors import UserError
from tests.toy import actloc, make_video

FILES = Path("tests/annotation_forms/files").absolute()


def test_a_file_is_converted_and_the_last_line_counts_what_was_left_out(tmp_path: Path) -> None:
    done = actloc(tmp_path, "convert-annotations", str(FILES / "project.boris"), "out.csv", "--form", "csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Wrote out.csv",
        "Read boris_project (a project of BORIS): 1 video, 3 actions of 2 classes; left out 2 of 5 rows",
    ]
    assert "clap at 5 s is a point; point_seconds makes it an action" in done.stderr
    assert "it was made live, so its 1 event cannot be placed in a video" in done.stderr
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "video,start,end,label",
        "clip_a.mp4,0.480000,2.000000,run",
        "clip_a.mp4,2.000000,3.520000,jump",
        "clip_a.mp4,7.200000,9.960000,run",
    ]
    again = actloc(tmp_path, "convert-annotations", "out.csv", "found", "--form", "elan", "--json")
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert events == [
        {
            "event": "done",
            "form": "csv_table",
            "videos": 1,
            "actions": 3,
            "classes": ["jump", "run"],
            "left_out": [],
            "files": ["found/clip_a.eaf"],
        }
    ]


def test_what_it_did_not_write_is_not_replaced(tmp_path: Path) -> None:
    line = ["convert-annotations", str(FILES / "clip_a.srt"), "out.csv", "--form", "csv"]
    assert actloc(tmp_path, *line).returncode == actloc(tmp_path, *line).returncode == 0
    (tmp_path / "out.csv").write_text("mine")
    done = actloc(tmp_path, *line)
    assert done.returncode == 2
    assert "out.csv is not as actloc wrote it" in done.stderr
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert actloc(tmp_path, *line, "--overwrite").returncode == 0
    assert (tmp_path / "out.csv").read_text().startswith("video,")


def convert(*words: str, form: str = "activitynet") -> int:
    source, target, *settings = words
    return convert_annotations.run(Path(source), Path(target), form, settings)


@pytest.mark.usefixtures("forked_decoders")
def test_with_the_videos_lengths_and_rates_are_known(tmp_path: Path) -> None:
    make_video(tmp_path / "my videos/clip_a.mp4", [], 12.0)
    fps = 30
    videos = f"videos={tmp_path / 'my videos'}"
    convert(str(FILES / "clip_a.srt"), str(tmp_path / "out.json"), videos)
    entry = json.loads((tmp_path / "out.json").read_text())["database"]["clip_a"]
    assert entry["duration"] == pytest.approx(12.0, abs=0.1)
    assert entry["fps"] == pytest.approx(fps)
    convert(str(FILES / "clip_a.srt"), str(tmp_path / "tasks.json"), videos, form="label-studio")
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert task["data"] == {"video": "clip_a.mp4", "fps": fps}
    assert task["predictions"][0]["result"][0]["value"]["ranges"] == [{"start": 15, "end": 60}]
    with pytest.raises(UserError, match=r"annotations_fps is 25, and .*clip_a\.mp4 has 30 frames per second"):
        convert(str(FILES / "label_studio.json"), str(tmp_path / "x.json"), videos, "dataset.annotations_fps=25")
    convert(str(FILES / "label_studio.json"), str(tmp_path / "own.json"), videos, "annotations_fps=video")
    assert json.loads((tmp_path / "own.json").read_text())["database"].keys() == {"clip_a"}
    make_video(tmp_path / "others/b.mp4", [], 1.0)
    with pytest.raises(UserError, match=r"clip_a\.srt:2: .*others has no video clip_a\."):
        convert(str(FILES / "clip_a.srt"), str(tmp_path / "out.json"), f"videos={tmp_path / 'others'}")


def test_without_videos_nothing_is_stated_that_is_not_known(tmp_path: Path) -> None:
    convert(str(FILES / "clip_a.srt"), str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text())["database"]["clip_a"].keys() == {"annotations"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["annotations_fps=-1"], "annotations_fps: found -1"),
        (["unit=frames"], "unit: frames needs annotations_fps"),
        (["tier=a"], "tier is not a setting. Did you mean tiers?"),
        (["first_frame=2"], "first_frame: found 2"),
        (["videos=nowhere"], "videos=nowhere is no folder"),
        (["fps"], "found 'dataset.fps'"),
    ],
)
def test_settings_are_checked_before_anything_is_read(words: list[str], found: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        convert(str(tmp_path / "absent.csv"), str(tmp_path / "out.json"), *words)
    assert found in caught.value.found


def test_wrong_rows_of_a_table_are_left_out_with_their_lines_unless_they_are_the_most(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("video,start,end,label\nv,2,1,run\nv,x,1,run\n")
    with pytest.raises(UserError) as caught:
        convert(str(tmp_path / "a.csv"), str(tmp_path / "out.json"))
    assert "2 of 2 rows cannot be used, too many to leave out" in caught.value.found
    assert "a.csv:2: run 2-1 s ends before it starts" in caught.value.found
    assert "a.csv:3: cannot read the time 'x'" in caught.value.found
    assert not (tmp_path / "out.json").exists()
    (tmp_path / "a.csv").write_text("video,start,end,label\nv,2,1,run\nv,1,2,run\n")
    done = actloc(tmp_path, "convert-annotations", "a.csv", "out.json", "--form", "activitynet")
    assert done.returncode == 0, done.stderr
    assert "a.csv:2: run 2-1 s ends before it starts" in done.stderr
    assert done.stdout.splitlines()[-1].endswith("1 video, 1 action of 1 class; left out 1 of 2 rows")


def test_a_form_of_ones_own_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "plain_lines.py").write_text(
        textwrap.dedent(
            '''
            """Lines `video|start|end|label`."""

            from actloc.annotation_forms.base import FormConfig
            from actloc.annotations.rows import Listed, Row


            class Config(FormConfig):
                title = "lines with bars"
                suffix = ".bars"

                def recognises(self, file):
                    return file.head.count("|") >= 3

                def read(self, file, reading):
                    listed = Listed()
                    for number, line in enumerate(file.text.splitlines(), 1):
                        video, start, end, label = line.split("|")
                        listed.rows.append(Row(video, float(start), float(end), label, f"{file.path}:{number}"))
                    return listed

                def write(self, videos, target):
                    rows = [(video.name, one) for video in videos for one in video.segments]
                    text = "".join(f"{name}|{one.start_s}|{one.end_s}|{one.label}\\n" for name, one in rows)
                    return {target: text}
            '''
        )
    )
    own = ["--code", "plain_lines.py"]
    source = str(FILES / "clip_a.srt")
    done = actloc(tmp_path, "convert-annotations", source, "a.bars", "--form", "plain-lines", *own)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.bars").read_text().splitlines()[0] == "clip_a|0.48|2.0|run"
    done = actloc(tmp_path, "convert-annotations", "a.bars", "b.csv", "--form", "csv", *own)
    assert done.returncode == 0, done.stderr
    assert "Read plain_lines (lines with bars): 1 video, 3 actions of 2 classes" in done.stdout
    assert "is not used" not in done.stderr
    (tmp_path / "other.py").write_text("raise RuntimeError('imported')\n\n\nclass Config: ...\n")
    line = ["convert-annotations", "a.bars", "b.csv", "--form", "csv", *own, "--code", "other.py"]
    done = actloc(tmp_path, *line)
    assert done.returncode == 0, done.stderr
    assert "--code other.py is not used" in done.stderr
    for name in ("clip_a", "clip_b", "clip_c"):
        make_video(tmp_path / f"videos/{name}.mp4", [], 11.0)
    rows = (tmp_path / "a.bars").read_text()
    (tmp_path / "a.bars").write_text(rows + rows.replace("clip_a", "clip_b") + rows.replace("clip_a", "clip_c"))
    settings = ["dataset.videos=videos", "dataset.annotations=a.bars", "dataset.folder=prepared"]
    done = actloc(tmp_path, "prepare", "own_videos", *settings, *own)
    assert done.returncode == 0, done.stderr
    assert "is not used" not in done.stderr
    assert (
        len(json.loads((tmp_path / "prepared/annotations.json").read_text())["database"]["clip_b"]["annotations"]) == 3
    )


def test_it_starts_and_works_without_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not here')\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "actloc", "convert-annotations", str(FILES / "clip_a.eaf")),
            *("out", "--form", "vtt", "tiers=[notes]"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
    )
    assert done.returncode == 0, done.stderr
    assert "camera shakes" in (tmp_path / "out/clip_a.vtt").read_text()


def test_rates_that_boris_states_are_those_of_the_frames_for_label_studio(tmp_path: Path) -> None:
    assert convert(str(FILES / "project.boris"), str(tmp_path / "out.json"), form="label-studio") == 0
    (task,) = json.loads((tmp_path / "out.json").read_text())
    assert task["data"]["fps"] == 25.0
    assert task["predictions"][0]["result"][0]["value"]["ranges"] == [{"start": 13, "end": 50}]
