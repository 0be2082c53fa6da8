"""The commands of the page on annotation tools run as they are printed, on files as those tools write them."""

import json
from pathlib import Path

import pytest

from tests.annotation_forms.reading_files import read, segments
from tests.end_to_end.test_docs import Shell, printed
from tests.toy import make_video

FILES = Path("tests/annotation_forms/files")
PAGE = Path("configs/OWN_DATA.md")
NAMES = [f"clip_{letter}" for letter in "abcdef"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of 11 seconds, at 30 frames per second, and exports of three tools that name all of them."""
    made = tmp_path_factory.mktemp("own_data")
    (made / "elan_files").mkdir()
    tasks = json.loads((FILES / "label_studio.json").read_text())
    project = json.loads((FILES / "project.boris").read_text())
    first = project["observations"].pop("first")
    for name in NAMES:
        make_video(made / f"my_videos/{name}.mp4", [], 11.0)
        project["observations"][name] = json.loads(json.dumps(first).replace("clip_a", name))
        text = (FILES / "clip_a.eaf").read_text().replace("clip_a", name)
        (made / f"elan_files/{name}.eaf").write_text(text)
    text = json.dumps(tasks[0])
    (made / "tasks.json").write_text(json.dumps([json.loads(text.replace("clip_a", name)) for name in NAMES]))
    (made / "project.boris").write_text(json.dumps(project))
    return made


def test_the_commands_of_the_page_run_and_nothing_is_lost_on_the_way(folder: Path) -> None:
    shell, lines = Shell(folder), printed(PAGE)
    assert len(lines) == 9
    for line in lines:
        shell.run(line)
    for prepared, again, settings in (
        ("data/own_videos", "new_tasks.json", {"annotations_fps": 30.0}),
        ("data/boris", "new.boris", {}),
        ("data/elan", "new_elan_files", {}),
    ):
        truth = segments(read(folder / prepared / "annotations.json"))
        assert sorted(truth) == NAMES
        assert {label for _, _, label in truth["clip_a"]} >= {"run", "jump"}
        found = segments(read(folder / again, **settings))
        for name in NAMES:
            for ours, theirs in zip(found[name], truth[name], strict=True):
                assert ours[2] == theirs[2]
                assert ours[:2] == pytest.approx(theirs[:2], abs=1 / 30)
    assert (folder / "new_tasks.xml").exists()
    assert ("clap" in {label for _, _, label in segments(read(folder / "new.boris"))["clip_b"]}) is True
