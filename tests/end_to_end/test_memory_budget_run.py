"""A run with `features.memory_gb`: its choice is recorded, and kept when the run is resumed."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.end_to_end.test_several_processes import logged, stderr_of_all, together
from tests.end_to_end.test_trained_encoder import E2E
from tests.end_to_end.test_training_faults import final_state
from tests.toy import actloc, copy_toy, rounding_after

RECORD = "ckpt/toy/memory_budget.json"
TRAIN = ("train", "toy.yaml", "features.preset=chunked", "detector.drop_path=0.0")
KEPT = "as chosen when the run began"


@pytest.fixture(scope="module")
def prepared(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(toy, tmp_path_factory.mktemp("budget") / "toy")
    (folder / "toy.yaml").write_text(E2E.replace("short_side: 32, crop: 32", "short_side: 64, crop: 64"))
    assert actloc(folder, "prepare", "toy.yaml").returncode == 0
    return folder


@pytest.fixture(scope="module")
def budget(prepared: Path) -> str:
    """As much as chunks of two clips need, with blocks that are computed again."""
    settings = ("features.checkpoint_blocks=true", "features.chunk=2")
    done = actloc(prepared, *TRAIN, *settings, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    return f"features.memory_gb={json.loads(done.stdout.splitlines()[-1])['bytes']['peak'] / 2**30}"


@pytest.fixture(scope="module")
def run(prepared: Path, budget: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_toy(prepared, tmp_path_factory.mktemp("run") / "toy")
    done = actloc(folder, *TRAIN, budget)
    assert done.returncode == 0, done.stderr
    assert "checkpoint_blocks=true, chunk=2; the largest step needs " in done.stderr
    return folder


@pytest.fixture
def killed(prepared: Path, budget: str, tmp_path: Path) -> Path:
    """The same run, killed in the third of its four steps; there is a checkpoint of the second."""
    folder = copy_toy(prepared, tmp_path / "killed")
    assert actloc(folder, *TRAIN, budget, ACTLOC_FAULT="step:3:kill").returncode == -signal.SIGKILL
    return folder


def features(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "ckpt/toy/config.yaml").read_text())["features"])


def test_the_choice_is_written_to_the_run(run: Path) -> None:
    assert (features(run)["checkpoint_blocks"], features(run)["chunk"]) == (True, 2)
    assert json.loads((run / RECORD).read_text())["free"] == ["kept_chunks", "checkpoint_blocks", "chunk"]


@pytest.mark.parametrize("named", ["toy.yaml", "ckpt/toy"])
def test_a_killed_run_keeps_its_choice_and_ends_with_the_same_bytes(
    run: Path, killed: Path, budget: str, named: str
) -> None:
    arguments = (*TRAIN[2:], budget) if named == "toy.yaml" else ()
    done = actloc(killed, "train", named, *arguments)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint_blocks=true, chunk=2; {KEPT}" in done.stderr
    assert final_state(killed) == final_state(run)


def test_a_resumed_run_takes_the_recorded_choice_and_not_todays(killed: Path, budget: str) -> None:
    record = json.loads((killed / RECORD).read_text())
    (killed / RECORD).write_text(json.dumps({**record, "chunk": 1}))  # as if it needed more where the run began
    done = actloc(killed, *TRAIN, budget)
    assert f"checkpoint_blocks=true, chunk=1; {KEPT}" in done.stderr
    assert features(killed)["chunk"] == 1


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_another_budget_is_chosen_for_anew(killed: Path, more: tuple[str, ...]) -> None:
    done = actloc(killed, "train", "ckpt/toy", "features.memory_gb=100", "--dry-run")
    assert "features.memory_gb=100: kept_chunks=8, checkpoint_blocks=false, chunk=4; the largest" in done.stdout
    done = actloc(killed, "train", "ckpt/toy", "features.memory_gb=100", *more)
    assert done.returncode == 0, done.stderr
    assert (
        "features.memory_gb=100: kept_chunks=8, checkpoint_blocks=false, chunk=4; the largest step needs "
        in done.stderr
    )
    assert ("Resuming after step 2" in done.stderr) == (not more)


def test_overwriting_a_run_chooses_anew(run: Path, tmp_path: Path, budget: str) -> None:
    folder = copy_toy(run, tmp_path / "toy")
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "chunk": 1}))
    done = actloc(folder, *TRAIN, budget, "--overwrite")
    assert "checkpoint_blocks=true, chunk=2; the largest step needs " in done.stderr
    assert final_state(folder) == final_state(run)


def test_what_is_stated_when_a_run_is_resumed_is_taken(killed: Path, budget: str) -> None:
    done = actloc(killed, *TRAIN, budget, "features.chunk=1")
    assert done.returncode == 0, done.stderr
    assert "checkpoint_blocks=true, chunk=1; the largest step needs " in done.stderr


def test_estimating_changes_no_number_of_the_run(prepared: Path, tmp_path: Path) -> None:
    states = []
    for name, more in {"without": (), "with": ("features.memory_gb=100",)}.items():
        folder = copy_toy(prepared, tmp_path / name)
        done = actloc(folder, "train", "toy.yaml", *more)  # with dropped paths, which are drawn
        assert done.returncode == 0, done.stderr
        states.append(final_state(folder))
    assert states[0] == states[1]


def test_two_processes_keep_the_choice_of_one_although_they_need_more(run: Path, killed: Path, budget: str) -> None:
    refused = together(killed, 2, *TRAIN, budget, "run.name=two")
    assert [one.returncode for one in refused] == [2, 2]
    assert stderr_of_all(refused).count("The largest training step needs at least ") == 1
    done = together(killed, 2, *TRAIN, budget)
    assert [one.returncode for one in done] == [0, 0], stderr_of_all(done)
    assert stderr_of_all(done).count(f"checkpoint_blocks=true, chunk=2; {KEPT}") == 1
    for step, (mine, theirs) in enumerate(zip(logged(killed), logged(run), strict=True)):
        for name in ("train/loss/total", "train/gradient_norm"):
            assert mine[name] == pytest.approx(theirs[name], rel=rounding_after(step + 2))


def test_a_budget_that_is_too_small_ends_with_status_2_and_writes_nothing(prepared: Path, tmp_path: Path) -> None:
    folder = copy_toy(prepared, tmp_path / "toy")
    done = actloc(folder, *TRAIN, "features.memory_gb=0.01")
    assert done.returncode == 2
    assert "The largest training step needs at least " in done.stderr
    assert "features.memory_gb is 0.01." in done.stderr
    assert not (folder / "ckpt/toy/config.yaml").exists()
