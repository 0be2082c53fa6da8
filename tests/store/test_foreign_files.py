"""Files of features: every format is read, and what is damaged, odd or dangerous is refused."""

import os
import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from actloc.errors import UserError
from actloc.store import foreign_files
from actloc.store.foreign_files import FeatureFile, FeatureFileError
from tests.sources.in_folders import array, source, video


def test_files_with_other_contents_are_refused(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"cube": np.zeros((2, 2, 2)), "objects": np.array([{"a": 1}], dtype=object)}
    for name, values in wrong.items():
        np.save(tmp_path / f"{name}.npy", values)
    np.savez(tmp_path / "two.npz", a=array(), b=array())
    torch.save({"run": print}, tmp_path / "code.pt")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValidationError, match=r"found '\.txt', expected text that ends with one of \.npy"):
        source(tmp_path, suffix=".txt")
    cases = {
        ("cube", ".npy"): "its shape is",
        ("objects", ".npy"): "cannot be read",
        ("two", ".npz"): "features.key is null, but the file contains a, b",
        ("code", ".pt"): "is not a plain .pt file",
        ("torn", ".npz"): "torn.npz",
    }
    for (name, suffix), message in cases.items():
        with pytest.raises(UserError) as caught:
            source(tmp_path, video(name), suffix=suffix)
        assert message in str(caught.value)
    np.savez_compressed(tmp_path / "flipped.npz", v=array())
    content = bytearray((tmp_path / "flipped.npz").read_bytes())
    content[150:160] = bytes(10)
    (tmp_path / "flipped.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"flipped\.npz"):
        source(tmp_path, video("flipped"), suffix=".npz").evaluation_sample(0)
    np.save(tmp_path / "v.npy", np.full((20, 3), np.nan))
    with pytest.raises(UserError, match="contains nan or inf"):
        source(tmp_path).evaluation_sample(0)
    np.save(tmp_path / "w.npy", array(20, 4))
    with pytest.raises(UserError, match="w have 4 channels, those of v 3"):
        source(tmp_path, video("v"), video("w"))


def test_what_is_no_array_of_numbers_is_told(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": [1, 2]}, tmp_path / "inner.pt")
    torch.save(torch.zeros(4, 3, dtype=torch.complex64), tmp_path / "complex.pt")
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["nothing"] = h5py.Empty("f4")
        file["number"] = 3.0
        file["words"] = [["a", "b"]]
    cases = {
        FeatureFile(tmp_path / "list.pt"): "it is list, no array",
        FeatureFile(tmp_path / "inner.pt"): "it is list, no array",
        FeatureFile(tmp_path / "complex.pt"): "it is of torch.complex64",
        FeatureFile(tmp_path / "words.npy"): "it is of <U1",
        FeatureFile(tmp_path / "all.h5", "nothing"): "no array",
        FeatureFile(tmp_path / "all.h5", "number"): "no array",
        FeatureFile(tmp_path / "all.h5", "words"): "it is of object",
    }
    for file, told in cases.items():
        with pytest.raises(FeatureFileError) as caught:
            file.read()
        assert told in str(caught.value)
        assert caught.value.reason == "unsupported"


FORMS = ("v.npy", "v.npz", "small.npz", "v.pt", "old.pth", "v.h5", "small.h5", "v.pkl", "v.csv")


@pytest.mark.filterwarnings("ignore")  # of torch, of the protocol of a mangled pickle
@pytest.mark.parametrize("form", FORMS)
def test_a_mangled_file_is_unreadable_or_odd_and_never_a_bug(form: str, tmp_path: Path) -> None:
    values = array(12, 8)
    np.save(tmp_path / "v.npy", values)
    np.savez(tmp_path / "v.npz", v=values)
    np.savez_compressed(tmp_path / "small.npz", v=values)
    torch.save(torch.from_numpy(values), tmp_path / "v.pt")
    torch.save(torch.from_numpy(values), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(values))
    np.savetxt(tmp_path / "v.csv", values, delimiter=",")
    for name, how in (("v.h5", {}), ("small.h5", {"compression": "gzip", "fletcher32": True})):
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("v", data=values, **how)
    whole, generator = (tmp_path / form).read_bytes(), random.Random(0)
    mangled = FeatureFile(tmp_path / f"mangled{Path(form).suffix}", "v" if form.endswith("h5") else None)
    told = 0
    for number in range(60):
        content = bytearray(whole)
        for _ in range(1 + number % 6):
            content[generator.randrange(min(len(content), 400) if number % 2 else len(content))] ^= 1 << number % 8
        mangled.path.write_bytes(content[: generator.randrange(len(content))] if number % 5 == 0 else content)
        for look in (mangled.shape, mangled.read, mangled.exists):
            try:
                look()
            except UserError:
                told += 1
    assert told > 12


def test_a_bug_of_ours_is_no_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "v.npy", array())
    with pytest.raises(TypeError):
        FeatureFile(tmp_path / "v.npy", part=(1.5,)).read()  # type: ignore[arg-type]
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["v"] = array()
    monkeypatch.setattr(foreign_files, "is_hollow", None)  # then our own line raises TypeError
    with pytest.raises(TypeError):
        FeatureFile(tmp_path / "v.h5", "v").read()


def test_an_hdf5_link_to_another_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["v"] = array()
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["v"] = h5py.ExternalLink("other.h5", "v")
    with pytest.raises(UserError, match="a link to elsewhere"):
        source(tmp_path / "all.h5")
    (tmp_path / "text.h5").write_text("x")
    with pytest.raises(UserError, match="is not an HDF5 file"):
        source(tmp_path / "text.h5")


def pickled(folder: Path, name: str, value: object, protocol: int = 4) -> FeatureFile:
    (folder / name).write_bytes(pickle.dumps(value, protocol=protocol))
    return FeatureFile(folder / name)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["<f4", "<f2", ">f8", "<i4"])
def test_pickled_arrays_of_every_protocol_are_read(protocol: int, kind: str, tmp_path: Path) -> None:
    values = (100 * array()).astype(kind)
    for stored in (values, np.asfortranarray(values)):
        found = pickled(tmp_path, "v.pkl", stored, protocol).read()
        np.testing.assert_array_equal(found, values.astype(np.float32))
    both = pickled(tmp_path, "v.pkl", {"rgb": values, "fps": 25}, protocol)
    np.testing.assert_array_equal(replace(both, key="rgb").read(), values.astype(np.float32))


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    content = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n"
        b"(I1\n(I2\nI1\ntp6\ncnumpy\ndtype\np7\n(S'f4'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'<'\np11\nNNNI-1\nI-1\nI0\ntp12\n"
        b"bI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\np13\ntp14\nb."
    )
    (tmp_path / "v.pkl").write_bytes(content)
    assert FeatureFile(tmp_path / "v.pkl").read().tolist() == [[1.0], [2.0]]


class Dangerous:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def test_a_pickle_runs_nothing_and_what_is_no_plain_array_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cases: dict[str, object] = {
        "it names posix.mkdir, and only plain NumPy arrays are read": Dangerous(),
        "it names posix.mkdir": {"a": array(), "b": [Dangerous()]},
        "an array of something else than numbers": np.array([[{"a": 1}]], dtype=object),
        "it names torch._utils._rebuild_tensor_v2": torch.zeros(2, 3),
        "it is list, no array": [[1.0, 2.0]],
        "an array of 'V8'": np.zeros((2, 3), dtype=[("a", "f4"), ("b", "f4")]),
        "its shape is (2, 3, 4)": np.zeros((2, 3, 4)),
    }
    for told, value in cases.items():
        with pytest.raises(FeatureFileError) as caught:
            pickled(tmp_path, "v.pkl", value).read()
        assert told in str(caught.value)
    assert not (tmp_path / "pwned").exists()
    whole = (tmp_path / "v.pkl").read_bytes()
    grown = whole.replace(b"K\x02K\x03K\x04\x87", b"K\xffK\xffK\xff\x87")
    assert grown != whole
    (tmp_path / "v.pkl").write_bytes(grown)
    with pytest.raises(FeatureFileError, match="bytes do not fit its shape"):
        FeatureFile(tmp_path / "v.pkl").read()
    (tmp_path / "v.pkl").write_bytes(b"\x80\x04]r\xff\xff\xff\x7f.")  # a place of the memo that takes 32 GB in C
    with pytest.raises(FeatureFileError, match="it is list, no array"):
        FeatureFile(tmp_path / "v.pkl").read()
    (tmp_path / "v.pkl").write_bytes(b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f.")  # a bytearray of an exabyte
    with pytest.raises(FeatureFileError, match=r"v\.pkl"):
        FeatureFile(tmp_path / "v.pkl").read()


@pytest.mark.parametrize(
    ("head", "delimiter", "first"),
    [
        ("", ",", ""),
        ("a,b,c\n", ",", ""),
        ("0,1,2\n", ",", ""),
        (",0,1,2\n", ",", "7,"),
        ("", ";", ""),
        ("", "\t", ""),
        ("", " ", ""),
    ],
)
def test_a_table_of_text_is_read_with_any_delimiter_and_head(
    head: str, delimiter: str, first: str, tmp_path: Path
) -> None:
    rows = [f"{first}{delimiter.join(f'{value:.9g}' for value in row)}" for row in array()]
    (tmp_path / "v.csv").write_text("\ufeff" + head + "\r\n".join(rows) + "\n\n", encoding="utf-8")
    file = FeatureFile(tmp_path / "v.csv")
    assert file.shape() == (20, 3)
    np.testing.assert_array_equal(file.read(), array())


def test_a_table_with_a_wrong_line_is_named(tmp_path: Path) -> None:
    for text, told in (
        ("1,2\n3,x\n", "'x'"),
        ("1,2\n3\n", "row 2"),
        ("1,2\n3,4,5\n", "row 2"),
        ("", "its shape is"),
        ("1,2\n3,nan\n", "nan or inf"),
    ):
        (tmp_path / "v.csv").write_text(text)
        with pytest.raises(FeatureFileError, match=r"v\.csv") as caught:
            FeatureFile(tmp_path / "v.csv").read()
        assert told in str(caught.value)


@pytest.mark.parametrize("form", ["v.npy", "v.npz", "v.pt", "v.pkl", "v.h5"])
@pytest.mark.parametrize("shape", [(1, 20, 3), (20, 1, 3), (20, 3, 1, 1), (1, 20, 3, 1)])
def test_axes_of_one_are_left_out(form: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values, path = array().reshape(shape), tmp_path / form
    if form == "v.npy":
        np.save(path, values)
    elif form == "v.npz":
        np.savez(path, values)
    elif form == "v.pt":
        torch.save(torch.from_numpy(values), path)
    elif form == "v.pkl":
        pickled(tmp_path, form, values)
    else:
        with h5py.File(path, "w") as stored:
            stored["v"] = values
    file = FeatureFile(path, "v" if form == "v.h5" else None)
    assert file.shape() == (20, 3)
    np.testing.assert_array_equal(file.read(), array())
