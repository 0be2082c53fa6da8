import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from actloc import cli, experiment
from actloc.command_line.usage import Group
from tests import toy

EVERYWHERE = "--quiet/-q --verbose/-v --debug --json"
COMMANDS = {
    "init": "VIDEOS [ANNOTATIONS] [KEY=VALUE]... --output --code --overwrite",
    "prepare": "CONFIG [KEY.KEY=VALUE]... --code --overwrite",
    "extract-features": "CONFIG [KEY.KEY=VALUE]... --shard --engine --dry-run --code --allow-changed-code --overwrite",
    "convert-annotations": "IN OUT [KEY=VALUE]... --form --code --overwrite",
    "train": "CONFIG [KEY.KEY=VALUE]... --resume --dry-run --check --code --allow-changed-code --overwrite",
    "doctor": "[CONFIG] [KEY.KEY=VALUE]... --full --labels --folds --format --output --overwrite --code",
    "ls": "[KIND] --code",
    "show": "CONFIG [KEY.KEY=VALUE]... --code",
    "eval": "CONFIG [KEY.KEY=VALUE]... --predictions --name --save-scores --code",
    "report": "RUN... --output --format --card --license --overwrite --code",
    "predict": "RUN VIDEO... --output --shard --engine --format --video --clips --onnx --overwrite --set --code",
    "watch": "RUN SOURCE --output --every --longest-action --retry-for --overwrite --set --code",
    "suggest": "RUN [VIDEOS]... --minutes --window-s --output --format --dry-run --overwrite --set --code",
    "view": "RUN [VIDEOS]... --subset --annotations --port --no-browser --code",
    "convert-predictions": "IN OUT [KEY=VALUE]... --form --code --overwrite",
    "explain": "RUN VIDEO --label --at --layer --fps --output --overwrite --set --code",
    "import-features": "CONFIG STORE [KEY.KEY=VALUE]... --recipe --code --overwrite",
    "export": "STORE FILE --overwrite --pool",
    "compare": "STORE STORE --shift --output --overwrite",
    "convert": "SOURCE TARGET [CONFIG] [KEY.KEY=VALUE]... --code",
    "export-onnx": "RUN FILE --steps --encoder --overwrite --set --code",
    "verify": "PATH",
}
"""The whole command line. Users' scripts depend on it: whoever changes it here means it, and writes it into
.github/CHANGELOG.md."""
CONFIG = "configs/sample_efficientnet_actionformer.yaml"


def afresh(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "actloc", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", **environment},
    )


def actloc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return toy.actloc(Path.cwd(), *arguments, COLUMNS="100")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing torch fails."""
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not here')\n")
    return {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]], ids=str)
def test_help_works_without_torch_and_shows_examples(command: list[str], without_torch: dict[str, str]) -> None:
    done = afresh(*command, "--help", **without_torch)
    assert done.returncode == 0, done.stderr
    if command:
        assert len(re.findall(rf"actloc {command[0]} \S+|actloc ls", done.stdout)) >= 2
    assert len(done.stdout.splitlines()) <= 60


def test_the_commands_and_their_options_are_those_that_were_agreed() -> None:
    program = typer.main.get_command(cli.app)
    assert isinstance(program, Group)
    assert _options(program.params) == f"{EVERYWHERE} --version/-V --install-completion --show-completion"
    found = {}
    for name, one in program.commands.items():
        context = typer.Context(one, parent=typer.Context(program))
        arguments = [piece for piece in one.collect_usage_pieces(context) if piece != "[OPTIONS]"]
        found[name] = " ".join([*arguments, _options(one.get_params(context))])
    assert found == {name: f"{its_own} {EVERYWHERE} --help" for name, its_own in COMMANDS.items()}


def _options(parameters: list[Any]) -> str:
    return " ".join("/".join(one.opts) for one in parameters if one.param_type_name == "option")


def test_help_shows_the_commands_in_groups_and_first_steps_that_need_no_repository() -> None:
    page = actloc("--help").stdout
    titles = ["Your data", "Training", "Results", "For experts"]
    places = [page.index(f" {title} ") for title in titles]
    assert places == sorted(places)
    assert places[2] < page.index(" predict ") < places[3] < page.index(" import-features ")
    steps = re.findall(r"actloc [a-z]+ \w+", page.partition("First steps:")[2])
    assert steps[:2] == ["actloc ls configs", "actloc show own_videos"]
    assert all(actloc(*step.split()[1:]).returncode == 0 for step in steps[:2])


def test_ls_works_without_torch(without_torch: dict[str, str]) -> None:
    done = afresh("ls", **without_torch)
    assert done.returncode == 0, done.stderr
    for name in ("sample_efficientnet_actionformer", "actionformer", "efficientnet_lite0", "custom", "stored"):
        assert name in done.stdout


def test_ls_names_the_nearest_kind() -> None:
    done = actloc("ls", "detector")
    assert done.returncode == 2
    assert "actloc cannot list 'detector'." in done.stderr
    assert "Run: actloc ls detectors" in done.stderr


def test_a_wrong_setting_outside_the_parts_is_found_without_torch(without_torch: dict[str, str]) -> None:
    done = afresh("train", CONFIG, "optimizer.learnig_rate=1e-4", **without_torch)
    assert done.returncode == 2
    assert "Did you mean learning_rate?" in done.stderr
    assert "Traceback" not in done.stderr


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
    done = afresh("ls", NO_COLOR="")
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
    code = "from actloc.command_line import exit_status\nprint(exit_status.finish(lambda: 1 // 0))\n"
    done = python(code)
    assert done.stdout.strip() == "1"
    assert "This is a bug in actloc: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    written = re.search(r"with (\S+\.txt)", done.stderr)
    assert written
    assert "ZeroDivisionError" in Path(written[1]).read_text()
    Path(written[1]).unlink()


def test_debug_shows_where_a_bug_and_a_mistake_happened() -> None:
    code = "from actloc import console\nfrom actloc.command_line import exit_status\nconsole.use_tracebacks()\n"
    done = python(f"{code}print(exit_status.finish(lambda: 1 // 0))\n")
    assert done.stdout.strip() == "1"
    assert "Traceback" in done.stderr
    assert "This is a bug in actloc: ZeroDivisionError" in done.stderr
    assert ".txt" not in done.stderr
    for line in (["--debug", "eval", "ckpt/nowhere"], ["eval", "ckpt/nowhere", "--debug"]):
        done = actloc(*line)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert done.stderr.splitlines()[-3].startswith("ckpt/nowhere is not a run")


def test_quiet_prints_results_and_errors_and_verbose_prints_more() -> None:
    usual, quiet, verbose = (actloc("show", CONFIG, *option) for option in ([], ["-q"], ["--verbose"]))
    assert usual.stdout == quiet.stdout == verbose.stdout != ""
    assert quiet.stderr == ""
    assert "Change one on the command line" in usual.stderr
    assert "s of CPU time" not in usual.stderr
    assert f"Settings: {CONFIG}" in verbose.stderr
    assert "s of CPU time" in verbose.stderr
    assert "is not a run" in actloc("-q", "eval", "ckpt/nowhere").stderr


def test_show_prints_each_setting_as_an_event_and_json_may_come_before_the_command() -> None:
    before, after = actloc("--json", "show", CONFIG), actloc("show", CONFIG, "--json")
    assert before.returncode == 0, before.stderr
    assert before.stdout == after.stdout
    events = [json.loads(line) for line in before.stdout.splitlines()]
    shown = {event["name"]: event for event in events if event["event"] == "setting"}
    loaded = experiment.load(CONFIG).to_data()
    (encoder,) = [event for event in events if event["event"] != "setting"]
    assert len(shown) == len(events) - 1 > 80
    assert encoder["event"] == "encoder"
    assert encoder["weights"] - encoder["feature_weights"] == 1281 * 1000  # a classifier's
    assert encoder["clip"] == [2, 224, 224]
    assert shown["evaluation.tious"]["value"] == loaded["evaluation"]["tious"]
    assert shown["schedule.epochs"]["meaning"].startswith("Epochs after warm-up")


def test_version_is_printed() -> None:
    assert re.fullmatch(r"actloc \d+\.\d+\.\d+\n", actloc("--version").stdout)


def test_torch_stays_out_of_help() -> None:
    code = "import sys\nimport actloc.cli\nprint([m for m in ('torch', 'h5py', 'av', 'numpy') if m in sys.modules])\n"
    done = python(code)
    assert done.stdout.strip() == "[]"
