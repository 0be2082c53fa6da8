import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    "prepare",
    "extract-features",
    "import-features",
    "train",
    "eval",
    "report",
    "predict",
    "convert",
    "ls",
    "show",
    "verify",
]
CONFIG = "configs/sample_efficientnet_actionformer.yaml"


def actloc(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "actloc", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", **environment},
    )


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing torch fails."""
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not here')\n")
    return {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]], ids=str)
def test_help_works_without_torch_and_shows_examples(command: list[str], without_torch: dict[str, str]) -> None:
    done = actloc(*command, "--help", **without_torch)
    assert done.returncode == 0, done.stderr
    if command:
        assert len(re.findall(rf"actloc {command[0]} \S+|actloc ls", done.stdout)) >= 2
    assert len(done.stdout.splitlines()) <= 60


def test_ls_works_without_torch(without_torch: dict[str, str]) -> None:
    done = actloc("ls", **without_torch)
    assert done.returncode == 0, done.stderr
    for name in ("sample_efficientnet_actionformer", "actionformer", "efficientnet_lite0", "custom", "stored"):
        assert name in done.stdout


def test_ls_names_the_nearest_kind() -> None:
    done = actloc("ls", "detector")
    assert done.returncode == 2
    assert "Did you mean detectors?" in done.stderr


def test_a_wrong_setting_outside_the_parts_is_found_without_torch(without_torch: dict[str, str]) -> None:
    done = actloc("train", CONFIG, "optimizer.learnig_rate=1e-4", **without_torch)
    assert done.returncode == 2
    assert "Did you mean learning_rate?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistyped_command_gets_the_nearest_one() -> None:
    done = actloc("trian")
    assert done.returncode == 2
    assert "train" in done.stderr


def test_show_prints_settings_that_load_back(tmp_path: Path) -> None:
    done = actloc("show", CONFIG, "schedule.epochs=3")
    assert done.returncode == 0, done.stderr
    shown = tmp_path / "shown.yaml"
    shown.write_text(done.stdout)
    again = actloc("show", str(shown))
    assert again.returncode == 0, again.stderr
    assert again.stdout.replace('"shown"', '"sample_efficientnet_actionformer"') == done.stdout
    assert "epochs: 3  # Epochs after warm-up" in done.stdout


def test_no_colour_reaches_a_file() -> None:
    done = actloc("ls", NO_COLOR="")
    assert "\x1b" not in done.stdout + done.stderr


def test_a_closed_pipe_ends_quietly() -> None:
    done = subprocess.run(
        f"{sys.executable} -m actloc show {CONFIG} | head -1",
        check=False,
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "Error" not in done.stderr


def test_an_unknown_run_is_the_users_error_and_a_json_event() -> None:
    done = actloc("eval", "ckpt/nowhere", "--json")
    assert done.returncode == 2
    event = json.loads(done.stdout.splitlines()[-1])
    assert event["event"] == "error"
    assert event["status"] == 2


def test_an_exception_of_ours_is_one_line_and_a_file() -> None:
    code = "from actloc import exit_status\nprint(exit_status._status_of(lambda: 1 // 0))\n"
    done = python(code)
    assert done.stdout.strip() == "1"
    assert "This is a bug in actloc: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    written = re.search(r"with (\S+\.txt)", done.stderr)
    assert written
    assert "ZeroDivisionError" in Path(written[1]).read_text()
    Path(written[1]).unlink()


def test_version_is_printed() -> None:
    assert re.fullmatch(r"actloc \d+\.\d+\.\d+\n", actloc("--version").stdout)


def test_torch_stays_out_of_help() -> None:
    code = "import sys\nimport actloc.cli\nprint([m for m in ('torch', 'h5py', 'av', 'numpy') if m in sys.modules])\n"
    done = python(code)
    assert done.stdout.strip() == "[]"
