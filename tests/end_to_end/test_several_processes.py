"""Training and evaluation by several gloo processes: the same numbers as one, and only the first writes and tells."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch.distributed

from tests.end_to_end.test_training_faults import final_state
from tests.toy import ROOT, actloc, copy_toy, rounding_after, start, training_rows

ARGUMENTS = ("toy.yaml", "detector.drop_path=0.0", "training.batch_size=2")
STEPS = 4


def by_torchrun(folder: Path, size: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in `folder` in `size` processes, started by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    settings = {"NO_COLOR": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [*command, "-m", "actloc", *arguments],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def together(folder: Path, size: int, *arguments: str, **environment: str) -> list[subprocess.CompletedProcess[str]]:
    """The command line in `folder` in `size` processes, with the environment that torchrun gives them."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    job |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), **environment}
    with ExitStack() as ended_in_the_end:
        ranks = [
            ended_in_the_end.enter_context(start(folder, *arguments, **job, RANK=str(rank), LOCAL_RANK=str(rank)))
            for rank in range(size)
        ]
        outputs = [running.communicate() for running in ranks]
    return [
        subprocess.CompletedProcess(arguments, running.returncode or 0, *output)
        for running, output in zip(ranks, outputs, strict=True)
    ]


def stderr_of_all(done: list[subprocess.CompletedProcess[str]]) -> str:
    return "".join(process.stderr for process in done)


def logged(folder: Path) -> list[dict[str, object]]:
    return training_rows(folder / "ckpt/toy")


@pytest.fixture(scope="module")
def one(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(encoded, tmp_path_factory.mktemp("one") / "toy")
    done = actloc(folder, "train", *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def two(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(encoded, tmp_path_factory.mktemp("two") / "toy")
    done = by_torchrun(folder, 2, "train", *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is trained") == 1
    assert done.stderr.count("Next: actloc eval") == 1
    return folder


def test_two_processes_take_the_steps_of_one(one: Path, two: Path) -> None:
    assert [row["step"] for row in logged(two)] == list(range(1, STEPS + 1))
    for step, (mine, theirs) in enumerate(zip(logged(two), logged(one), strict=True)):
        assert mine.pop("event") == theirs.pop("event") == "step"
        assert mine == pytest.approx(theirs, rel=rounding_after(step))


def test_evaluation_is_the_same_for_any_number_of_processes(one: Path, tmp_path: Path) -> None:
    written = []
    for size in (1, 2, 3):  # two videos: the third process has none
        folder = copy_toy(one, tmp_path / str(size))
        done = together(folder, size, "eval", *ARGUMENTS) if size > 1 else [actloc(folder, "eval", *ARGUMENTS)]
        assert [process.returncode for process in done] == [0] * size, stderr_of_all(done)
        assert stderr_of_all(done).count("Wrote ") == 1
        written.append((folder / "ckpt/toy/eval/test/predictions.json").read_bytes())
    assert written[0] == written[1] == written[2]
    assert len(written[0]) > 1000


def test_disturbed_twice_and_started_again_gives_the_same_bytes(encoded: Path, two: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    stopped = together(folder, 2, "train", *ARGUMENTS, ACTLOC_FAULT="step:1:term")
    assert [process.returncode for process in stopped] == [143, 143]
    assert stderr_of_all(stopped).count("Run the same command again to continue.") == 1
    assert [path.name for path in (folder / "ckpt/toy").glob("ckpt_*")] == ["ckpt_000001"]
    # only the first process renames files: it is killed, and the other notices and says so
    killed = by_torchrun(folder, 2, "train", *ARGUMENTS, ACTLOC_FAULT="replace:5:kill")
    assert killed.stderr.count("Another process of this job has ended") == 1
    assert not (folder / "ckpt/toy/finished.json").exists()
    again = together(folder, 2, "train", *ARGUMENTS)
    assert [process.returncode for process in again] == [0, 0], stderr_of_all(again)
    assert final_state(folder) == final_state(two)


def test_a_mistake_is_told_once(two: Path) -> None:
    refused = together(two, 2, "train", *ARGUMENTS, "optimizer.learning_rate=1e-3")
    assert [process.returncode for process in refused] == [2, 2]
    assert stderr_of_all(refused).count("was trained with other settings") == 1
