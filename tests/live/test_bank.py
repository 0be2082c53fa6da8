"""The memory bank: what it reads and writes, what it costs, and what survives a kill or a full disk."""

import errno
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.bank import Bank
from actloc.end_to_end.live_encoder import LiveEncoder
from actloc.errors import NotFiniteError, UserError
from actloc.store.filling import describe
from actloc.store.store import FeatureStore
from actloc.training.distributed import ALONE
from actloc.video.windows import ClipSpacing
from tests.live.test_gradients import ENCODERS, encoder
from tests.live.windows import difference, gradient_of, live, small_detector, window

__all__ = ["encoder"]  # the fixture
SPACING = ClipSpacing(8.0, None, 4, 1, 4, "valid")


def filled_store(folder: Path, rows: dict[str, Any], dtype: Any = "float32") -> FeatureStore:
    """A store of these rows (T, C) by video."""
    store = FeatureStore(folder)
    store.begin({"features": {"dtype": dtype}})
    for video_id, features in rows.items():
        info = describe(
            video_id,
            (0, ""),
            encoder="noise",
            weights_sha256="0" * 64,
            recipe={"features": {"dtype": dtype}},
            spacing=SPACING,
            fps=8.0,
            frame_count=4 * len(features),
            duration_s=len(features) / 2,
            reader="none",
        )
        store.write(video_id, np.asarray(features, np.float32), info, dtype)
    return store


def new_bank(folder: Path, rows: dict[str, Any], **settings: Any) -> Bank:
    """A bank that begins with these rows."""
    dtype = settings.get("dtype", "float32")
    bank = Bank(folder / "bank", **{"dtype": "float32", **settings})
    bank.begun(bank.begin(filled_store(folder / "origin", rows, dtype), sorted(rows)))
    return bank


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def committed(bank: Bank, step: int, video_id: str, first_rows: list[int], vectors: Tensor) -> None:
    bank.start_step()
    bank.add(video_id, first_rows, vectors)
    bank.commit(step, 10, ALONE)


def checkpoint(bank: Bank, step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the trainer does at a checkpoint; returns what it keeps."""
    bank.save(step)
    kept = json.loads(json.dumps(bank.state(step))), {name: one.clone() for name, one in bank.tensors().items()}
    bank.saved(step)
    return kept


GOLDEN = json.loads(Path("tests/golden/tallformer/membank_ops.json").read_text())


@pytest.mark.parametrize("number", range(len(GOLDEN["cases"])))
def test_rows_are_read_and_written_as_the_official_code_does(tmp_path: Path, number: int) -> None:
    with np.load("tests/golden/tallformer/membank_ops.npz") as arrays:
        recorded = {name: arrays[name] for name in arrays}
    case = GOLDEN["cases"][number]
    size, offset = case["chunk_size"], case["f_offset"]
    first_rows = [offset + size * clip for clip in case["chunk_ids"]]
    bank = new_bank(tmp_path, {"v": recorded["bank"]})
    np.testing.assert_array_equal(bank.read("v", first_rows, size).numpy(), recorded[f"load{number}"])
    shape = (len(first_rows), recorded["bank"].shape[1], size)
    new = (
        np.random.RandomState(zlib.crc32(f"new:membank_ops:{number}".encode()))
        .standard_normal(shape)
        .astype(np.float32)
    )
    committed(bank, 1, "v", first_rows, torch.from_numpy(new))
    np.testing.assert_array_equal(
        bank.read("v", list(range(len(recorded["bank"]))), 1)[:, :, 0].numpy(), recorded[f"written{number}"]
    )


@pytest.mark.parametrize("encoder", ["efficientnet_lite0", "videomae2"], indirect=True)
def test_a_bank_of_fresh_rows_gives_the_gradient_of_full_backpropagation_with_the_others_detached(
    encoder: ClipEncoder, tmp_path: Path
) -> None:
    shape = ENCODERS[encoder.config.name]
    whole = [window(3, shape, seed=1), window(2, shape, seed=2)]
    learning = [{0, 2}, {1}]
    detector = small_detector(encoder.channels, torch.float64)
    encoding = live(encoder, chunk=5)
    with torch.no_grad():
        fresh = [one.rows(made).T for one, made in zip(whole, encoding.vectors(whole), strict=True)]
    bank = new_bank(tmp_path, {f"v{number}": rows.numpy() for number, rows in enumerate(fresh)})
    stored = [rows.float().double() for rows in fresh]

    def detached() -> list[Tensor]:
        """Everything in one pass, with the rows of clips that do not learn as the bank has them."""
        features = []
        for one, made, known, learns in zip(whole, encoding.vectors(whole), stored, learning, strict=True):
            kept = known.T.clone()
            kept[:, sorted(learns)] = one.rows(made)[:, sorted(learns)]
            features.append(kept)
        return features

    full = gradient_of(encoding, detached, detector)
    parts = [
        replace(one, learning=frozenset(learns), others_are_stored=True, held=one.held[sorted(learns)])
        for one, learns in zip(whole, learning, strict=True)
        if one.held is not None
    ]
    for settings in ({"chunk": 3}, {"chunk": 1, "route": "replay"}):
        banked = live(encoder, **settings)

        def completed(banked: LiveEncoder = banked) -> list[Tensor]:
            bank.start_step()
            made = zip(parts, banked.vectors(parts), strict=True)
            return [one.rows(bank.completed(f"v{number}", one, own)) for number, (one, own) in enumerate(made)]

        assert difference(gradient_of(banked, completed, detector), full) <= 1e-10


def test_rows_that_were_never_encoded_again_stay_and_others_have_the_step_of_their_clip(tmp_path: Path) -> None:
    bank = new_bank(tmp_path, {"a": noise(12, 3), "b": noise(6, 3, seed=1)})
    before = bank.read("a", range(12), 1)
    committed(bank, 3, "a", [4, 10], torch.ones(2, 3, 4))
    after = bank.read("a", range(12), 1)
    assert torch.equal(after[:4], before[:4])
    assert torch.equal(after[8:10], before[8:10])
    assert (after[[4, 5, 6, 7, 10, 11]] == 1).all()
    assert bank.tensors()["a"].tolist() == [0, 0, 0, 0, 3, 3, 3, 3, 0, 0, 3, 3]
    assert bank.tensors()["b"].tolist() == [0] * 6


def test_a_step_that_was_not_taken_leaves_the_bank_as_it_was(tmp_path: Path) -> None:
    bank = new_bank(tmp_path, {"a": noise(8, 3)})
    before = bank.read("a", range(8), 1)
    bank.add("a", [0], torch.ones(1, 3, 4))
    bank.start_step()
    assert bank.commit(1, 10, ALONE) == {}
    assert torch.equal(bank.read("a", range(8), 1), before)


def test_the_log_has_the_age_of_the_rows_that_the_step_read(tmp_path: Path) -> None:
    bank = new_bank(tmp_path, {"a": noise(8, 3)})
    committed(bank, 1, "a", [0], torch.ones(1, 3, 4))
    bank.start_step()
    bank.read("a", [-2, 4], 4)  # two rows that were written in step 1, and four of the copy
    assert bank.commit(12, 11, ALONE) == {
        "bank/median_age_steps": 12.0,
        "bank/older_than_an_epoch": pytest.approx(4 / 6),
    }


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_resumed_run_reads_the_numbers_that_the_first_one_read(tmp_path: Path, dtype: Any) -> None:
    rows = {"a": noise(12, 3), "b": noise(7, 3, seed=1)}
    bank = new_bank(tmp_path, rows, dtype=dtype)
    committed(bank, 1, "a", [0], torch.from_numpy(noise(1, 3, 4, seed=2)))
    state, tensors = checkpoint(bank, 1)
    assert state == {"generations": {"a": 1, "b": 0}}
    expected = [bank.read(name, range(len(rows[name])), 1) for name in rows]
    committed(bank, 2, "b", [2], torch.ones(1, 3, 4))  # lost in the kill

    resumed = Bank(bank.folder, dtype=dtype)
    resumed.load(state, tensors)
    resumed.keep([state])
    for name, known in zip(rows, expected, strict=True):
        assert torch.equal(resumed.read(name, range(len(rows[name])), 1), known)
    assert resumed.tensors()["a"].tolist() == [1] * 4 + [0] * 8


def test_generations_are_kept_while_a_checkpoint_names_them(tmp_path: Path) -> None:
    bank = new_bank(tmp_path, {"a": noise(4, 3), "b": noise(4, 3, seed=1)})
    states = []
    for step, name in enumerate(("a", "b", "b"), start=1):
        committed(bank, step, name, [0], torch.full((1, 3, 4), float(step)))
        states.append(checkpoint(bank, step))
        bank.keep([state for state, _ in states[-2:]])
    generations = {path.name: FeatureStore(path).ids() for path in bank.folder.iterdir()}
    assert generations == {"000001": ["a"], "000002": ["b"], "000003": ["b"]}
    assert not any(FeatureStore(path).verify() for path in bank.folder.iterdir())
    resumed = Bank(bank.folder, dtype="float32")
    resumed.load(*states[1])
    assert (resumed.read("b", [0], 4) == 2).all()
    resumed.keep([states[1][0]])
    assert not (bank.folder / "000003").exists()  # of a checkpoint that the run does not continue from
    with pytest.raises(UserError, match="no longer has the rows of b that the checkpoint names"):
        Bank(bank.folder, dtype="float32").load(*states[2])


def test_beyond_the_limit_changed_rows_are_in_a_file_with_the_same_numbers(tmp_path: Path) -> None:
    rows = {name: noise(40, 16, seed=number) for number, name in enumerate("abcd")}
    banks = [new_bank(tmp_path / str(limit), rows, memory_bytes=limit) for limit in (512 << 20, 2 * 40 * 16 * 4)]
    for bank in banks:
        for step, name in enumerate("abcda", start=1):
            committed(bank, step, name, [8 * step], torch.full((1, 16, 8), float(step)))
    assert [bank._changed.num_in_file for bank in banks] == [0, 2]
    for name in rows:
        assert torch.equal(*(bank.read(name, range(40), 1) for bank in banks))
    assert [path.name for path in banks[1].folder.iterdir()] == ["000000"]
    states = [checkpoint(bank, 5) for bank in banks]
    assert states[0][0] == states[1][0]
    assert torch.equal(*(bank.read("d", range(40), 1) for bank in banks))


def test_more_videos_may_change_than_files_may_be_open(tmp_path: Path) -> None:
    rows = {f"v{number}": noise(4, 2, seed=number) for number in range(40)}
    bank = new_bank(tmp_path, rows, memory_bytes=0)
    before = len(list(Path("/dev/fd").iterdir()))
    for step, name in enumerate(rows, start=1):
        committed(bank, step, name, [0], torch.full((1, 2, 2), float(step)))
    assert len(list(Path("/dev/fd").iterdir())) <= before + 1
    checkpoint(bank, 40)
    assert len(list(Path("/dev/fd").iterdir())) <= before
    for step, (name, known) in enumerate(rows.items(), start=1):
        np.testing.assert_array_equal(bank.read(name, [0], 4)[0].T, [[step] * 2, [step] * 2, *known[2:]])


def test_a_full_disk_during_a_commit_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = new_bank(tmp_path, {"a": noise(8, 3), "b": noise(8, 3, seed=1)})
    committed(bank, 1, "a", [0], torch.ones(1, 3, 4))
    state, tensors = checkpoint(bank, 1)
    for name in "ab":
        committed(bank, 2, name, [4], torch.full((1, 3, 4), 2.0))
    now = [bank.read(name, range(8), 1) for name in "ab"]
    write = FeatureStore.write
    written = []

    def full_after_one(self: FeatureStore, *args: Any) -> Any:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(args[0])
        return write(self, *args)

    monkeypatch.setattr(FeatureStore, "write", full_after_one)
    with pytest.raises(OSError, match="No space"):
        bank.save(2)
    monkeypatch.undo()
    before = Bank(bank.folder, dtype="float32")
    before.load(state, tensors)
    assert (before.read("a", [0], 4) == 1).all()
    assert not (before.read("a", [4], 4) == 2).any()
    bank.save(2)  # with space again
    bank.saved(2)
    assert all(torch.equal(bank.read(name, range(8), 1), known) for name, known in zip("ab", now, strict=True))


def test_features_beyond_the_stored_type_are_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    bank = new_bank(tmp_path, {"a": noise(8, 3)}, dtype="float16")
    with pytest.raises(UserError, match="as large as 1e\\+05") as error:
        bank.add("a", [0], torch.full((1, 3, 4), 1e5))
    assert "features.dtype=float32" in error.value.fix


def test_features_that_are_not_finite_stop_the_training_as_a_loss_does(tmp_path: Path) -> None:
    bank = new_bank(tmp_path, {"a": noise(8, 3)}, dtype="float16")
    for value in (float("nan"), float("inf")):
        with pytest.raises(NotFiniteError, match="features of a that are not finite"):
            bank.add("a", [0], torch.full((1, 3, 4), value))


def test_damaged_rows_are_named_with_what_to_do(tmp_path: Path) -> None:
    bank = new_bank(tmp_path, {"a": noise(8, 3)})
    (file,) = (bank.folder / "000000").glob("*.h5")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="are damaged") as error:
        bank.read("a", [0], 4)
    assert "Resume from the checkpoint before" in error.value.fix


class TwoProcesses:
    """Stands in for two processes, of which the other one has encoded something else."""

    def __init__(self, other: Any) -> None:
        self.other = other

    def gather(self, item: Any) -> list[Any]:
        return [item, self.other]


def test_processes_exchange_their_new_rows(tmp_path: Path) -> None:
    rows = {"a": noise(8, 3), "b": noise(8, 3, seed=1)}
    first, second = (new_bank(tmp_path / name, rows) for name in ("first", "second"))
    first.add("a", [0], torch.ones(1, 3, 4))
    second.add("b", [4], torch.full((1, 3, 4), 2.0))
    empty = np.empty(0, np.int32)
    sent = [list(bank._fresh) for bank in (first, second)]
    first.commit(1, 10, TwoProcesses((sent[1], empty)))
    second.commit(1, 10, TwoProcesses((sent[0], empty)))
    for name in rows:
        assert torch.equal(first.read(name, range(8), 1), second.read(name, range(8), 1))
    assert (first.read("b", [4], 4) == 2).all()
