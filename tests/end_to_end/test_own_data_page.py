"""The commands of the page on annotation tools run as they are printed, on files as those tools write them."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.annotation_forms.reading_files import read, segments
from tests.end_to_end.test_docs import Shell, printed
from tests.toy import make_video

FILES = Path("tests/annotation_forms/files")
PAGE = Path("configs/OWN_DATA.md")
SCENE = [("red", 0.4, 1.67), ("blue", 1.67, 2.93), ("red", 6.0, 8.3)]  # as the export of Label Studio says
NAMES, MORE = [f"clip_{letter}" for letter in "abcdefghijkl"], "clip_m"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos of 11 seconds, at 30 frames per second, and exports of three tools that name all of them."""
    made = tmp_path_factory.mktemp("own_data")
    (made / "elan_files").mkdir()
    tasks = json.loads((FILES / "label_studio.json").read_text())
    project = json.loads((FILES / "project.boris").read_text())
    first = project["observations"].pop("first")
    for name in NAMES:
        make_video(made / f"my_videos/{name}.mp4", SCENE, 11.0)
        project["observations"][name] = json.loads(json.dumps(first).replace("clip_a", name))
        text = (FILES / "clip_a.eaf").read_text().replace("clip_a", name)
        (made / f"elan_files/{name}.eaf").write_text(text)
    text = json.dumps(tasks[0])
    (made / "tasks.json").write_text(json.dumps([json.loads(text.replace("clip_a", name)) for name in NAMES]))
    (made / "project.boris").write_text(json.dumps(project))
    make_video(made / "new_videos/new.mp4", SCENE, 11.0)
    return made


def quickened(config: Path) -> None:
    """Makes what `init` wrote small: the page is about the way, not about how much is learned on it."""
    text, epochs = re.subn(r"  epochs: \d+", "  epochs: 25", config.read_text())
    text, encoders = re.subn("(    name: efficientnet_lite0)\n", r"\1\n    short_side: 32\n    crop: 32\n", text)
    assert (epochs, encoders) == (1, 1)
    config.write_text(text.replace("warmup_epochs: 5", "warmup_epochs: 1"))


def test_the_commands_of_the_page_run_and_nothing_is_lost_on_the_way(folder: Path) -> None:
    shell, lines = Shell(folder), printed(PAGE)
    assert len(lines) == 7 + 6 + 6 + 3 + 3 + 2 + 6 + 3
    for line in lines:
        words = shlex.split(line)
        if shlex.join(words) in shell.ran:  # the five commands again
            shell.ran.clear()
            tasks = json.loads((folder / "tasks.json").read_text())
            more = json.loads(json.dumps(tasks[0]).replace(NAMES[0], MORE))
            (folder / "tasks.json").write_text(json.dumps([*tasks, more]))
            make_video(folder / f"my_videos/{MORE}.mp4", SCENE, 11.0)
        # after a few epochs, scores are low
        shell.run(f"{line} prediction.threshold=0" if {"predict", "suggest"} & {*words} else line)
        if "init" in words:
            quickened(folder / words[-1])
    for name, again, settings in (
        ("my_actions", "new_tasks.json", {"annotations_fps": 30.0}),
        ("boris_actions", "new.boris", {}),
        ("elan_actions", "new_elan_files", {}),
    ):
        truth = segments(read(folder / f"data/{name}/annotations.json"))
        assert sorted(truth) == ([*NAMES, MORE] if name == "my_actions" else NAMES)
        assert {label for _, _, label in truth["clip_a"]} >= {"run", "jump"}
        found = segments(read(folder / again, **settings))
        for video in NAMES:
            for ours, theirs in zip(found[video], truth[video], strict=True):
                assert ours[2] == theirs[2]
                assert ours[:2] == pytest.approx(theirs[:2], abs=1 / 30)
    assert (folder / "new_tasks.xml").exists()
    compared = (folder / "ckpt/report_of_my_actions_and_my_actions_more/tables.md").read_text()
    assert "mAP in percent: my_actions_more against my_actions" in compared.replace("\\", "")
    assert ("clap" in {label for _, _, label in segments(read(folder / "new.boris"))["clip_b"]}) is True
    for output, file, settings in (
        ("predictions", "predictions_label_studio.json", {"annotations_fps": 30.0}),
        ("found_boris", "predictions_boris_project.boris", {}),
        ("found_elan", "new.eaf", {}),
    ):
        shown = json.loads((folder / output / "predictions.json").read_text())["results"]["new"]
        assert shown
        opened = segments(read(folder / output / file, **settings))["new"]
        assert {label for _, _, label in opened} == {one["label"] for one in shown}
        assert len(opened) <= len(shown)  # ends that meet in a frame or a millisecond are one
