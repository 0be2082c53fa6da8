"""Commands that work go on without anybody who reads, and end with their own status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLOSED = """
import os, sys
for number in sys.argv[1]:
    os.close(int(number))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
WORK = """
import sys
from actloc import console
from actloc.command_line import streams
from actloc.command_line.exit_status import finish
streams.make_reliable()
console.use_json_lines()
def work():
    for number in range(20_000):
        console.emit("step", number=number)
        console.say(number)
        console.stdout.print(number)
    open("worked", "w").close()
    return 3
sys.exit(finish(work))
"""


def run(arguments: list[str], folder: Path, closed: str = "") -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", CLOSED, closed, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("reads", ["stdout", "stderr", "neither"])
def test_a_reader_that_goes_away_does_not_end_the_work(tmp_path: Path, reads: str) -> None:
    with run(["-c", WORK], tmp_path) as process:
        assert process.stdout
        assert process.stderr
        if reads != "stdout":
            process.stdout.readline()
            process.stdout.close()
        if reads != "stderr":
            process.stderr.readline()
            process.stderr.close()
        left = {"stdout": process.stdout, "stderr": process.stderr}.get(reads)
        if left:
            left.read()
        assert process.wait(120) == 3
    assert (tmp_path / "worked").exists()


@pytest.mark.parametrize("closed", ["1", "2", "12", "012"])
def test_streams_that_were_never_there_are_not_needed(tmp_path: Path, closed: str) -> None:
    with run(["-c", WORK], tmp_path, closed) as process:
        process.communicate(timeout=120)
    assert process.returncode == 3
    assert (tmp_path / "worked").exists()


def test_help_cut_short_is_no_failure(tmp_path: Path) -> None:
    with run(["-m", "actloc", "train", "--help"], tmp_path) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(120) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_results_that_cannot_be_written_are_a_problem_of_the_machine(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "actloc", "ls"], cwd=tmp_path, env=environment, stdout=full, check=False
        )
    assert done.returncode == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize(("full", "status"), [("stdout", 4), ("stderr", 0)])
def test_work_goes_on_where_its_output_cannot_be_written(tmp_path: Path, full: str, status: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    work = WORK.replace("return 3", "return 0")
    with Path("/dev/full").open("wb") as device:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, full: device}
        done = subprocess.run([sys.executable, "-c", work], cwd=tmp_path, env=environment, check=False, **streams)
    assert (tmp_path / "worked").exists()
    assert done.returncode == status
    if full == "stdout":
        assert b"Could not write all results to stdout: No space left on device." in done.stderr
