"""`actloc init`: a settings file that loads, with choices that follow from the data."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from actloc.commands.init_choices import Choices, Seen
from actloc.experiment import load
from tests.toy import SCENES, actloc, make_toy, make_video


def seen(lengths: list[float], *, videos: int = 30, video_s: float = 40.0, **more: Any) -> Seen:
    facts = {
        "slowest_fps": 25.0,
        "num_training": round(videos * 0.8),
        "subsets": Counter(),
        "has_gpu": False,
        "cores": 2,
    }
    return Seen(sorted(lengths), Counter(run=len(lengths)), [video_s] * videos, num_videos=videos, **{**facts, **more})


def test_the_toy_set_gets_a_file_that_loads_and_prepares(tmp_path: Path) -> None:
    make_toy(tmp_path)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write(f"{next(iter(SCENES))},2,1,red\n")
    done = actloc(tmp_path, "init", "videos", "labels.csv", "--output", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert "red 2-1 s ends before it starts" in done.stderr
    first, chosen, wrote = done.stdout.splitlines()
    assert first.startswith("Read csv_table (a table of actions): 6 videos of 0.4 minutes, 8 actions of 2 classes")
    assert first.endswith("; left out 1 of 9 rows")
    assert chosen == "Chose 8 frames per second (0.25 s a step), 3 levels, 64 channels, 100 epochs"
    assert wrote == "Wrote mine.yaml"
    assert "Next: actloc prepare mine.yaml" in done.stderr
    text = (tmp_path / "mine.yaml").read_text()
    for fact in (
        "a table of actions (csv_table)",
        "test 2, train 3",
        "red 4, blue 4",
        "6 videos, 8 actions of 2 classes",
    ):
        assert fact in text
    assert max(map(len, text.splitlines())) <= 120
    assert actloc(tmp_path, "prepare", "mine.yaml").returncode == 0
    prepared = json.loads((tmp_path / "data/mine/annotations.json").read_text())
    assert len(prepared["database"]) == len(SCENES)
    experiment = load(str(tmp_path / "mine.yaml"))
    assert experiment.run.name == "mine"
    assert experiment.section("dataset").model_dump()["videos"] == Path("videos")


def test_settings_of_reading_and_odd_names_come_into_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "my: videos #1"
    make_video(folder / "a.mp4", [], 4.0)
    rows = ["video,start,end,label,tier", 'a,10,50,"run: ""fast"" #1",x', "a,60,90,other,y"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    words = ["unit=frames", "annotations_fps=30", "tiers=[x]"]
    done = actloc(tmp_path, "init", folder.name, *words)  # the annotations are those beside the videos
    assert done.returncode == 0, done.stderr
    dataset = load(str(tmp_path / "my_videos_1.yaml")).section("dataset").model_dump()
    assert dataset["annotations"] == Path(f"{folder.name}/labels.csv")
    assert (dataset["unit"], dataset["annotations_fps"], dataset["tiers"]) == ("frames", 30.0, ("x",))
    assert 'run: "fast" #1 1' in (tmp_path / "my_videos_1.yaml").read_text()


def test_what_it_did_not_write_is_not_replaced(tmp_path: Path) -> None:
    make_toy(tmp_path)
    line = ["init", "videos", "labels.csv", "--output", "mine.yaml"]
    assert actloc(tmp_path, *line).returncode == actloc(tmp_path, *line).returncode == 0
    before = (tmp_path / "mine.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(before + "# mine\n")
    refused = actloc(tmp_path, *line)
    assert (refused.returncode, "mine.yaml is not as actloc wrote it" in refused.stderr) == (2, True)
    assert actloc(tmp_path, *line, "--overwrite").returncode == 0
    assert (tmp_path / "mine.yaml").read_text() == before


def test_mistakes_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    make_video(tmp_path / "videos/a.mp4", [], 4.0)
    (tmp_path / "none.csv").write_text("video,start,end,label\n")
    (tmp_path / "other.csv").write_text("video,start,end,label\nb,1,2,run\n")
    for words, said in (
        (["absent"], "absent is not a folder."),
        (["videos"], "videos has no annotations beside the videos."),
        (["videos", "absent.csv"], "absent.csv does not exist."),
        (["videos", "none.csv"], "none.csv"),
        (["videos", "other.csv"], "videos has no video"),
        (["videos", "other.csv", "tier=[a]"], "Did you mean tiers?"),
        (["videos", "other.csv", "--output", "mine.txt"], "--output is mine.txt."),
    ):
        done = actloc(tmp_path, "init", *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not list(tmp_path.glob("*.yaml"))


def test_one_annotated_video_is_too_few_and_none_that_can_be_read_is_refused(tmp_path: Path) -> None:
    make_video(tmp_path / "videos/a.mp4", [], 4.0)
    (tmp_path / "videos/b.mp4").write_bytes(b"no video")
    for name, rows in (("one", "a,1,2,run\nb,1,2,run\n"), ("none", "b,1,2,run\n")):
        (tmp_path / f"{name}.csv").write_text(f"video,start,end,label\n{rows}")
    done = actloc(tmp_path, "init", "videos", "one.csv")
    assert (done.returncode, "Actions are in one video only, a," in done.stderr) == (0, True), done.stderr
    done = actloc(tmp_path, "init", "videos", "none.csv", "--output", "other.yaml")
    assert (done.returncode, "No video of videos that has actions can be read." in done.stderr) == (2, True)
    assert not (tmp_path / "other.yaml").exists()


def test_it_works_without_torch(tmp_path: Path) -> None:
    make_toy(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/torch.py").write_text("raise ImportError('torch is not here')\n")
    places = f"{tmp_path / 'broken'}{os.pathsep}{Path.cwd()}"
    done = subprocess.run(
        [sys.executable, "-m", "actloc", "init", "videos", "labels.csv", "--json"],
        check=False, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": places},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout.splitlines()[-1])
    assert (event["event"], event["path"], event["actions"]) == ("done", "videos.yaml", 8)


@pytest.mark.parametrize(
    ("lengths", "fps", "levels"),
    [
        ([2.0] * 9 + [5.0], 8.0, 4),  # half of 20 steps: levels reach 16
        ([0.3] * 10, 16.0, 3),
        ([0.1] * 10, 25.0, 3),  # no faster than the videos
        ([5.0] * 10, 4.0, 3),
        ([30.0] * 10, 2.0, 4),
        ([2.0] * 5 + [300.0] * 5, 8.0, 8),
    ],
)
def test_the_rate_follows_the_short_actions_and_the_levels_the_long_ones(
    lengths: list[float], fps: float, levels: int
) -> None:
    chosen = Choices.of(seen(lengths, video_s=600.0))
    assert (chosen.fps, chosen.num_levels) == (fps, levels)
    assert len(chosen.ranges) == levels
    assert chosen.ranges[0] == [0, 4]
    assert chosen.ranges[-1][1] == 10000
    assert chosen.max_steps % 2 ** (levels - 1) == 0
    assert chosen.max_steps * chosen.step_s >= 600 or chosen.max_steps > 2304 * 0.5
    assert chosen.max_steps * chosen.buffer_factor * chosen.step_s >= 4 * 3600


def test_network_and_schedule_follow_the_amount_of_data() -> None:
    numbers = {40: 64, 136: 128, 1000: 256, 5000: 512}
    assert {number: Choices.of(seen([2.0] * number)).dim for number in numbers} == numbers
    epochs = {4: 100, 20: 32, 200: 30, 5000: 15}
    assert {videos: Choices.of(seen([2.0] * 50, videos=videos)).epochs for videos in epochs} == epochs


def test_annotations_that_prepare_wrote_name_the_videos_by_their_files(tmp_path: Path) -> None:
    make_video(tmp_path / "videos/test_000-f730298d.mp4", [], 4.0)
    entry = {"subset": "test", "file": "elsewhere/test_000-f730298d.mp4"}
    entry |= {"annotations": [{"segment": [1.0, 2.0], "label": "run"}]}
    (tmp_path / "annotations.json").write_text(json.dumps({"database": {"test_000": entry}}))
    done = actloc(tmp_path, "init", "videos", "annotations.json")
    assert done.returncode == 0, done.stderr
    assert "1 video of 0.1 minutes, 1 action of 1 class" in done.stdout


def test_pictures_are_small_where_a_processor_would_encode_for_more_than_twelve_hours() -> None:
    hour = 3600.0
    for facts, is_small in (
        ({"videos": 50}, False),  # 50 hours of video at 8 frames per second: 6.7 hours
        ({"videos": 100}, True),
        ({"videos": 100, "has_gpu": True}, False),
        ({"videos": 100, "cores": 16}, False),
    ):
        given = seen([2.0] * 10, video_s=hour, **facts)
        assert Choices.of(given).has_small_pictures is is_small
    assert Choices.of(seen([2.0] * 10, video_s=hour, videos=100)).encoding_hours(
        seen([2.0] * 10, video_s=hour, videos=100)
    ) == pytest.approx(100 * 8 / 60 / 5)
