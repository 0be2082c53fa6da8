"""Damaged, unreadable, and our own mistake are three things, whatever library reads the file."""

import errno
import io
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from actloc import damage
from actloc.annotations import form
from actloc.errors import UserError
from actloc.evaluation import class_scores, prediction_files
from actloc.settings.choices import ScoreForm
from actloc.store import foreign_files
from actloc.store.foreign_files import FeatureFile, FeatureFileError
from actloc.weights import files as weight_files


def refusal(what: str) -> UserError:
    return UserError(what, "", "")


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ENFILE])
def test_what_the_system_refuses_passes_with_the_name_of_the_file(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError, match=r"x\.h5") as caught, damage.refused(tmp_path / "x.h5", refusal):
        raise OSError(number, "no")
    assert caught.value.errno == number


def test_what_a_library_raises_is_damage_and_what_we_raise_is_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="Expecting value"), damage.refused(tmp_path, refusal):
        json.loads("")
    np.save(tmp_path / "v.npy", np.ones((2, 3)))
    monkeypatch.setattr(foreign_files, "_Header", None)  # then our own isinstance raises TypeError
    with pytest.raises(TypeError):
        FeatureFile(tmp_path / "v.npy").shape()


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), IndexError("x")], ids=repr)
def test_a_mistake_in_the_feature_reader_is_not_a_damaged_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["v"] = np.ones((2, 3))
    source = "def hollow(dataset):\n    raise error\n"
    code = compile(source, str(Path(damage.__file__).with_name("mistake.py")), "exec")
    names: dict[str, Any] = {"error": error}
    exec(code, names)
    monkeypatch.setattr(foreign_files, "is_hollow", names["hollow"])
    with pytest.raises(type(error)):
        FeatureFile(tmp_path / "f.h5", "v").read()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_any_protocol_whole_or_cut_short_are_refused(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps({"weights": [1.0, "name", b"bytes", (None, True)] * 3}, protocol=protocol)
    for end in range(len(content)):
        (tmp_path / "w.pth").write_bytes(content[:end])
        with pytest.raises(UserError, match=r"w\.pth"):
            weight_files.load(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(content)
    if protocol > 2:
        with pytest.raises(UserError, match=f"pickle of protocol {protocol}") as caught:
            weight_files.load(tmp_path / "w.pth")
        assert "torch.save" in caught.value.fix


def test_a_cut_or_flipped_checkpoint_of_torch_is_refused_or_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"a": torch.arange(6.0)}, stream)
    content = stream.getvalue()
    for place in range(0, len(content), 17):
        for torn in (content[:place], content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]):
            (tmp_path / "w.pth").write_bytes(torn)
            with suppress(UserError):
                weight_files.load(tmp_path / "w.pth")


def test_unreadable_weights_are_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.arange(6.0)}, tmp_path / "w.pth")
    monkeypatch.setattr(torch, "load", raising(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(PermissionError, match=r"w\.pth"):
        weight_files.load(tmp_path / "w.pth")


def test_mangled_files_of_class_scores_are_refused_or_read(tmp_path: Path) -> None:
    rows = {"v": np.array([0.5, 0.5]), "w": np.array([0.1, 0.9])}
    windows = {"v": class_scores.ScoredWindows(np.array([[0.0, 1.0]]), np.array([[0.2, 0.8]]))}
    class_scores.write(tmp_path / "s.h5", ["a", "b"], rows, windows, {"run": "x"})
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).random((3, 101)))
    forms: list[tuple[str, bytes, ScoreForm]] = [
        ("s.h5", (tmp_path / "s.h5").read_bytes(), "plain"),
        ("s.npy", stream.getvalue(), "untrimmednet"),
        ("s.npy", b"PK\x03\x04" + stream.getvalue(), "untrimmednet"),
    ]
    for name, content, kind in forms:
        for place in range(0, len(content), max(1, len(content) // 150)):
            for torn in (content[:place], content[:place] + b"\xff" + content[place + 1 :]):
                (tmp_path / name).write_bytes(torn)
                with suppress(UserError):
                    class_scores.read(tmp_path / name, kind)


def test_a_dataset_that_claims_more_than_the_file_holds_takes_no_memory(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("v", (1 << 40, 64), np.float32, chunks=(256, 64), compression="gzip")
        file["v"][:1] = 1
    with pytest.raises(FeatureFileError, match="no values for it"):
        FeatureFile(tmp_path / "f.h5", "v").read()


def test_nan_in_one_place_hides_no_other_fault(tmp_path: Path) -> None:
    video = {"subset": "train", "duration": float("nan"), "annotations": [{"segment": [0, 1], "label": "run"}]}
    other = {"subset": "train", "duration": 5, "annotations": [{"segment": [3, 9**400], "label": "run"}]}
    third = {"subset": "train", "duration": 5, "annotations": [{"segment": [2, 1], "label": "run"}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"database": {"v": video, "w": other, "x": third}}))
    with pytest.raises(UserError) as caught:
        form.read(path)
    for place in ("database['v']", "database['w']", "database['x']"):
        assert place in caught.value.found


def test_every_refused_prediction_is_listed_with_its_video(tmp_path: Path) -> None:
    claim = {"label": "run", "score": 0.5, "segment": [0, 1]}
    results = {"v": [{**claim, "score": float("nan")}], "w": [{**claim, "segment": [0]}]}
    (tmp_path / "p.json").write_text(json.dumps({"results": results}))
    with pytest.raises(UserError) as caught:
        prediction_files.read(tmp_path / "p.json")
    assert "results.v.0.score" in caught.value.found
    assert "results.w.0.segment" in caught.value.found
    (tmp_path / "p.txt").write_text("v 0 1 run nan\nw 0 1\n")
    with pytest.raises(UserError, match=r"line 1, video v: .*\n.*line 2, video w"):
        prediction_files.read(tmp_path / "p.txt")


def test_a_chunk_without_bytes_does_not_kill_the_process(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        chunks = file.create_dataset("v", data=values, chunks=(4, 4), compression="gzip", shuffle=True, fletcher32=True)
        size = chunks.id.get_chunk_info(1).size
    content = (tmp_path / "f.h5").read_bytes()
    # the key of a chunk in the index: its size, its filters that were left out, its first element
    key = size.to_bytes(4, "little") + bytes(4) + (4).to_bytes(8, "little") + bytes(16)
    assert content.count(key) == 1
    (tmp_path / "f.h5").write_bytes(content.replace(key, bytes(8) + key[8:]))
    with pytest.raises(FeatureFileError, match="has no values for it"):
        FeatureFile(tmp_path / "f.h5", "v").read()
