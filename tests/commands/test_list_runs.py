"""The list of runs: what it shows of each, in subfolders too, and of damaged and old ones."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actloc.commands import list_
from actloc.commands.list_runs import listed
from actloc.evaluation.results import Results
from actloc.evaluation.results_files import write_results
from tests.reports.conftest import make_results
from tests.toy import ROOT

__all__ = ["make_results"]  # a fixture
RECORD = {
    "command": ["actloc", "train", "own_videos"],
    "run": {
        "config": "own_videos",
        "task": "localization",
        "dataset": "custom",
        "network": "actionformer",
        "videos": 1,
        "actions": 12,
        "classes": 3,
    },
}
CONFIG = "task:\n  name: recognition\ndataset:\n  name: ucf101\nclips:\n  encoder:\n    name: tanet\n"


def make_run(folder: Path, step: int = 217, *, finished: bool = False, record: object = RECORD, at: int = 0) -> Path:
    """A run of 1500 steps with ten in an epoch; its files were changed `at` seconds after a fixed time."""
    checkpoint = folder / f"ckpt_{step:06d}"
    checkpoint.mkdir(parents=True)
    state = {"step": step, "num_steps": 1500, "steps_per_epoch": 10}
    (checkpoint / "state.json").write_text(json.dumps(state))
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "environment.json").write_text(json.dumps(record))
    if finished:
        (folder / "finished.json").write_text(json.dumps({"step": step, "checkpoint": checkpoint.name}))
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (1_700_000_000 + at,) * 2)
    return folder


def test_a_run_is_shown_with_date_data_config_and_how_far_it_came(
    tmp_path: Path, make_results: Callable[..., Results]
) -> None:
    make_run(tmp_path / "stopped")
    make_run(tmp_path / "group/deeper/done", 1500, finished=True, at=60)
    write_results(tmp_path / "group/deeper/done/eval/test", make_results())
    os.utime(tmp_path / "group/deeper/done/eval/test/metrics.json", (1_700_000_120,) * 2)
    make_run(tmp_path / "new", at=30)
    (tmp_path / "new/ckpt_000217/state.json").unlink()
    (tmp_path / "new/ckpt_000217").rmdir()
    os.utime(tmp_path / "new", (1_700_000_030,) * 2)
    stopped, new, done = listed(tmp_path)
    assert [one.folder.name for one in (stopped, new, done)] == ["stopped", "new", "done"]
    assert [one.worked.timestamp() - 1_700_000_000 for one in (stopped, new, done)] == [0, 30, 120]
    assert stopped.progress == "stopped at 217 of 1500, epoch 21 of 150"
    assert new.progress == "no checkpoint yet"
    assert done.progress == "finished, 150 epochs, 1500 steps"
    assert stopped.data() == "custom, 1 video"
    assert (stopped.facts["config"], stopped.facts["network"], stopped.facts["actions"]) == (
        "own_videos",
        "actionformer",
        12,
    )
    assert stopped.results == []
    assert done.results == ["test: average mAP 60.00 over 3 of 4 classes"]
    assert stopped.num_bytes == sum(path.stat().st_size for path in (tmp_path / "stopped").rglob("*.*"))
    assert not stopped.faults + new.faults + done.faults


@pytest.mark.parametrize(
    ("command", "config"),
    [
        (["actloc", "train", "my.yaml", "run.name=b"], "my.yaml"),
        (["actloc", "--json", "train", "--code", "net.py", "run.seed=1", "my.yaml"], "my.yaml"),
        (["actloc", "convert", "a.pth", "ckpt/b"], None),
        (None, None),
    ],
)
def test_a_run_of_an_older_version_is_shown_by_its_settings_and_command(
    tmp_path: Path, command: object, config: str | None
) -> None:
    make_run(tmp_path / "old", record={"command": command})
    (row,) = listed(tmp_path)
    assert (row.facts["task"], row.facts["dataset"], row.facts["network"]) == ("recognition", "ucf101", "tanet")
    assert row.facts.get("config") == config
    assert row.data() == "ucf101"


def test_damaged_runs_are_listed_with_their_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "ckpt"
    make_run(folder / "good")
    (make_run(folder / "no_record") / "environment.json").write_text("{")
    (make_run(folder / "no_settings", record=[]) / "config.yaml").write_text("task: [")
    (make_run(folder / "no_state") / "ckpt_000217/state.json").write_text("[1]")
    (make_run(folder / "no_results") / "eval/test").mkdir(parents=True)
    (folder / "no_results/eval/test/metrics.json").write_text('{"task": "localization"}')
    rows = {row.folder.name: row for row in listed(folder)}
    assert len(rows) == 5
    assert not rows["good"].faults
    assert "environment.json" in rows["no_record"].faults[0]
    assert rows["no_record"].progress == "stopped at 217 of 1500, epoch 21 of 150"
    assert any("config.yaml" in fault for fault in rows["no_settings"].faults)
    assert rows["no_state"].progress == "stopped at step 217"
    assert "state.json" in rows["no_state"].faults[0]
    assert rows["no_results"].results == ["test: unreadable"]
    assert "metrics.json" in rows["no_results"].faults[0]


def test_a_link_that_leads_back_is_followed_once(tmp_path: Path) -> None:
    make_run(tmp_path / "group/run")
    (tmp_path / "group/again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "group/loop").symlink_to("loop")
    assert [row.folder.name for row in listed(tmp_path)] == ["run"]


def test_a_thousand_runs_are_listed_without_reading_their_large_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        make_run(tmp_path / f"{number % 10}/{number}", at=number)
    opened: list[str] = []
    whole = Path.open

    def noted(path: Path, *arguments: object, **options: object) -> object:
        opened.append(path.name)
        return whole(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", noted)
    rows = listed(tmp_path)
    assert [row.folder.name for row in rows] == [str(number) for number in range(1000)]
    assert set(opened) <= {"environment.json", "state.json"}


def test_the_table_in_a_file_cuts_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a_run_with_a_name_that_is_longer_than_eighty_columns_because_it_says_which_settings_it_has"
    make_run(tmp_path / "ckpt" / name)
    assert list_.run("runs") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if name in line)
    worked = time.strftime("%Y-%m-%d %H:%M", time.localtime(1_700_000_000))
    assert line.split("  ")[0].strip() == f"ckpt/{name}"
    for cell in (worked, "own_videos", "custom, 1 video", "actionformer", "epoch 21 of 150", "not scored yet"):
        assert f"  {cell}" in line or f", {cell}" in line


def test_runs_are_listed_as_json_without_importing_torch(tmp_path: Path) -> None:
    make_run(tmp_path / "ckpt/group/one")
    code = (
        "import sys; from actloc.cli import main; sys.argv = ['actloc', 'ls', 'runs', '--json']\n"
        "try:\n main()\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["event"] == "item"
    assert (row["kind"], row["name"], row["config"]) == ("runs", "ckpt/group/one", "own_videos")
    assert (row["progress"], row["results"], row["faults"]) == ("stopped at 217 of 1500, epoch 21 of 150", [], [])
    assert row["worked"].startswith("2023-11-1")
    assert row["bytes"] > 0
