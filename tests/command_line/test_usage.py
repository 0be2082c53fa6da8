"""What a mistake on the command line is answered with: exit status 2, three lines, and the command that was meant."""

from pathlib import Path

import pytest

from tests.toy import actloc


def answer(*typed: str, folder: Path | None = None) -> list[str]:
    done = actloc(folder or Path.cwd(), *typed)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "─" not in done.stderr  # Typer's boxes
    lines = done.stderr.splitlines()
    assert len(lines) == 3, done.stderr
    assert all(line.startswith("  ") for line in lines[1:])
    return [line.strip() for line in lines]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("infer ckpt/x v.mp4", "actloc predict ckpt/x v.mp4"),
        ("detect ckpt/x v.mp4", "actloc predict ckpt/x v.mp4"),
        ("gradcam ckpt/x v.mp4", "actloc explain ckpt/x v.mp4"),
        ("extract own_videos --shard 1/2", "actloc extract-features own_videos --shard 1/2"),
        ("fit own_videos schedule.epochs=3", "actloc train own_videos schedule.epochs=3"),
        ("evaluate own_videos", "actloc eval own_videos"),
        ("test own_videos", "actloc eval own_videos"),
        ("cat own_videos", "actloc show own_videos"),
        ("list runs", "actloc ls runs"),
        ("runs", "actloc ls runs"),
        ("create", "actloc show own_videos > my.yaml"),
        ("quickstart videos", "actloc init videos"),
        ("cp own_videos my.yaml", "actloc show own_videos > my.yaml"),
        ("validate my.yaml machine.device=cpu", "actloc show my.yaml machine.device=cpu"),
        ("checks own_videos", "actloc doctor own_videos"),
        ("status own_videos", "actloc ls runs, or: actloc extract-features own_videos --dry-run"),
        ("download own_videos", "actloc extract-features own_videos --dry-run"),
        ("trian own_videos", "actloc train own_videos"),
        ("extract-feature own_videos", "actloc extract-features own_videos"),
    ],
)
def test_the_verbs_people_try_are_answered_with_the_command_that_does_it(typed: str, meant: str) -> None:
    found, _, todo = answer(*typed.split())
    assert found.startswith(f"actloc has no command {typed.split(maxsplit=1)[0]}.")
    assert todo == f"Run: {meant}"


def test_every_other_word_is_answered_with_the_commands_there_are() -> None:
    found, expected, todo = answer("frobnicate")
    assert found == "actloc has no command frobnicate."
    assert expected.startswith("Expected one of init, prepare, convert-annotations, extract-features")
    assert todo == "See what each of them does: actloc --help"


def test_help_and_version_are_commands_too() -> None:
    def out(*typed: str) -> str:
        done = actloc(Path.cwd(), *typed)
        assert done.returncode == 0
        return done.stdout

    assert out("help") == out("--help") == out()
    assert out("help", "train") == out("train", "--help")
    assert out("version") == out("--version") == out("-V")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train own_videos --epochs 3", "train own_videos schedule.epochs=3"),
        ("train own_videos --epochs=3 --gpu 0", "train own_videos schedule.epochs=3 machine.device=cuda:0"),
        ("train own_videos --device cuda:1", "train own_videos machine.device=cuda:1"),
        ("train --cpu own_videos", "train own_videos machine.device=cpu"),
        (
            "train own_videos --lr 1e-3 --batch-size 4",
            "train own_videos optimizer.learning_rate=1e-3 training.batch_size=4",
        ),
        ("train own_videos --dim 64", "train own_videos detector.dim=64"),
        ("train --config own_videos", "train own_videos"),
        ("train run.seed=1 --config own_videos", "train own_videos run.seed=1"),
        ("train own_videos --overwite", "train own_videos --overwrite"),
        ("train own_videos --force", "train own_videos --overwrite"),
        ("extract-features own_videos --dry", "extract-features own_videos --dry-run"),
        ("predict --run ckpt/x --input v.mp4 --conf 0.3", "predict ckpt/x v.mp4 prediction.threshold=0.3"),
        # --video is an option of actloc's own, which takes no value: the file after it is still the video
        ("predict --run ckpt/x --video v.mp4 --conf 0.3", "predict ckpt/x --video v.mp4 prediction.threshold=0.3"),
        ("report ckpt/x --out folder", "report ckpt/x --output folder"),
    ],
)
def test_an_option_that_is_a_setting_or_another_tools_is_answered_with_the_line_that_was_meant(
    typed: str, meant: str
) -> None:
    found, expected, todo = answer(*typed.split())
    assert found.startswith(f"actloc {typed.split(maxsplit=1)[0]} has no option")
    assert f"actloc {typed.split(maxsplit=1)[0]} [OPTIONS]" in expected
    assert todo == f"Run: actloc {meant}"


def test_an_option_that_means_nothing_is_answered_with_those_there_are() -> None:
    found, _, todo = answer("verify", "ckpt/x", "--epochs", "3")
    assert found == "actloc verify has no option --epochs."
    assert todo == "It has --quiet, --verbose, --debug, --json, --help. See: actloc verify --help"


def test_what_is_missing_too_much_or_out_of_bounds_has_three_lines_too() -> None:
    assert answer("train") == [
        "Missing argument 'CONFIG'.",
        "Expected: actloc train [OPTIONS] CONFIG [KEY.KEY=VALUE]...",
        "See the configs: actloc ls configs; the help: actloc train --help",
    ]
    assert answer("ls", "runs", "configs")[0].startswith("Got unexpected extra argument")
    assert "--shift" in answer("compare", "a", "b", "--shift", "-1")[0]
    assert "'local'" in answer("extract-features", "own_videos", "--engine", "slurm")[0]
    assert answer("--epochs", "3")[0] == "actloc has no option --epochs."


def test_a_mistake_of_usage_is_a_json_event_too() -> None:
    for typed in (["train", "--foo", "--json"], ["--json", "frobnicate"]):
        done = actloc(Path.cwd(), *typed)
        assert done.returncode == 2
        assert '"event": "error"' in done.stdout
