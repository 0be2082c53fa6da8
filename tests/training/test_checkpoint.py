from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from actloc.errors import UserError
from actloc.training import checkpoint as checkpoints
from actloc.training.checkpoint import Checkpoint


def make(step: int) -> Checkpoint:
    return Checkpoint(
        step,
        {"detector/w": torch.full((2, 3), float(step))},
        {"detector/w": torch.zeros(2, 3)},
        {"generator/cpu": torch.arange(4)},
        {"best": None},
    )


def test_a_checkpoint_reads_back_as_it_was_written(tmp_path: Path) -> None:
    loaded = checkpoints.load(checkpoints.save(tmp_path, make(3)))
    assert loaded.step == 3
    assert torch.equal(loaded.weights["detector/w"], make(3).weights["detector/w"])
    assert torch.equal(loaded.state["generator/cpu"], torch.arange(4))
    assert loaded.numbers == {"best": None}


def test_weights_without_a_module_are_the_detectors(tmp_path: Path) -> None:
    old = Checkpoint(1, {"head.bias": torch.ones(2)}, {"head.bias": torch.zeros(2)}, {}, {})
    loaded = checkpoints.load(checkpoints.save(tmp_path, old))
    assert list(loaded.weights) == list(loaded.averaged) == ["detector/head.bias"]


def test_a_weight_that_two_layers_share_is_written_under_both_names(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 3)
    state = torch.nn.ModuleList([layer, layer]).state_dict()
    shared = {f"encoder/{name}": tensor for name, tensor in state.items()}
    weights = checkpoints.load(checkpoints.save(tmp_path, Checkpoint(1, shared, shared, {}, {}))).weights
    assert weights.keys() == shared.keys()
    assert all(torch.equal(weights[name], shared[name]) for name in shared)


def test_the_two_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        folder = checkpoints.save(tmp_path, make(step))
        if step == 2:
            checkpoints.mark_best(tmp_path, folder)
        checkpoints.prune(tmp_path)
    assert [folder.name for folder in checkpoints.steps(tmp_path)] == ["ckpt_000002", "ckpt_000004", "ckpt_000005"]
    assert checkpoints.best(tmp_path).name == "ckpt_000002"


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "manifest.json"])
def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_it_is_used(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints.save(tmp_path, make(1))
    newest = checkpoints.save(tmp_path, make(2))
    content = (newest / name).read_bytes()
    (newest / name).write_bytes(content[: len(content) // 2])
    newest = checkpoints.newest_whole(tmp_path)
    assert newest is not None
    loaded = checkpoints.load(newest)
    assert loaded is not None
    assert loaded.step == 1
    assert "ckpt_000002 is damaged" in capsys.readouterr().err
    assert [folder.name for folder in checkpoints.steps(tmp_path)] == ["ckpt_000001"]


@pytest.mark.parametrize("what", ["EACCES", "EIO", "EMFILE"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_checkpoint_that_cannot_be_read_now_is_never_set_aside(
    tmp_path: Path, set_fault: Callable[[str], None], what: str, number: int
) -> None:
    checkpoints.save(tmp_path, make(1))
    checkpoints.save(tmp_path, make(2))
    set_fault(f"read:{number}:{what}")
    with pytest.raises(OSError):  # noqa: PT011 - the fault that was set
        checkpoints.newest_whole(tmp_path)
    set_fault("")
    assert [folder.name for folder in checkpoints.steps(tmp_path)] == ["ckpt_000001", "ckpt_000002"]
    assert all(checkpoints.problems(folder) == [] for folder in checkpoints.steps(tmp_path))


def extra(step: int) -> Checkpoint:
    return replace(make(step), numbers={"best": None, "is_extra": True})


def test_signals_leave_one_extra_checkpoint_until_the_next_of_the_schedule(tmp_path: Path) -> None:
    def after(*made: Checkpoint) -> list[int]:
        for one in made:
            checkpoints.save(tmp_path, one)
            checkpoints.prune(tmp_path)
        return [checkpoints.step_of(folder) for folder in checkpoints.steps(tmp_path)]

    assert after(extra(1), extra(2)) == [1, 2]  # two to resume from, whatever they are
    assert after(make(10), make(20)) == [10, 20]
    assert after(extra(23)) == [10, 20, 23]
    assert len(checkpoints.newest_numbers(tmp_path)) == 3
    assert after(extra(27)) == [10, 20, 27]
    assert after(make(30)) == [20, 30]


def test_a_copy_that_a_user_made_of_a_checkpoint_is_none(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, make(1))
    (tmp_path / "ckpt_000001 (copy)").mkdir()
    assert [folder.name for folder in checkpoints.steps(tmp_path)] == ["ckpt_000001"]


def test_one_flipped_bit_is_detected(tmp_path: Path) -> None:
    folder = checkpoints.save(tmp_path, make(1))
    content = bytearray((folder / "averaged.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "averaged.safetensors").write_bytes(content)
    assert checkpoints.problems(folder) == ["averaged.safetensors is changed"]
    with pytest.raises(UserError, match=r"averaged\.safetensors is changed"):
        checkpoints.load(folder)


def test_a_checkpoint_that_does_not_exist_is_an_error_that_lists_those_that_do(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, make(1))
    with pytest.raises(UserError, match="ckpt_000001"):
        checkpoints.named(tmp_path, "missing.pt")


def test_a_failing_disk_leaves_earlier_checkpoints_intact(tmp_path: Path, set_fault: Callable[[str], None]) -> None:
    checkpoints.save(tmp_path, make(1))
    for number in range(1, 6):
        set_fault(f"write:{number}:ENOSPC")
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save(tmp_path, make(2))
        assert [path.name for path in tmp_path.iterdir()] == ["ckpt_000001"]
        assert checkpoints.problems(tmp_path / "ckpt_000001") == []


def test_the_only_checkpoints_are_never_deleted_for_their_damage(tmp_path: Path) -> None:
    for step in (1, 2):
        (checkpoints.save(tmp_path, make(step)) / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"Every checkpoint of .* is damaged") as error:
        checkpoints.newest_whole(tmp_path)
    assert all(f"ckpt_00000{step}: weights.safetensors is changed" in str(error.value) for step in (1, 2))
    assert [folder.name for folder in checkpoints.steps(tmp_path)] == ["ckpt_000001", "ckpt_000002"]


@pytest.mark.parametrize("content", ['{"step": 2, "about": 3}', '{"step": 2, "about": {"settings": {}}}', "{"])
def test_numbers_of_a_changed_checkpoint_are_not_believed(tmp_path: Path, content: str) -> None:
    checkpoints.save(tmp_path, make(1))
    (checkpoints.save(tmp_path, make(2)) / "state.json").write_text(content)
    assert [numbers["step"] for numbers in checkpoints.newest_numbers(tmp_path)] == [1]
