import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actloc.errors import UserError
from actloc.weights import caffe2


def written(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(
    "module", [b"numpy._core.multiarray", b"numpy.core.multiarray"]
)  # numpy's name since 2.0 and before
def test_arrays_are_read_as_they_were_written_and_training_state_is_not_read(
    module: bytes, protocol: int, tmp_path: Path
) -> None:
    drawn = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    blobs = {
        "conv_w": drawn,
        "by_columns": np.asfortranarray(drawn),
        "double": drawn.astype(np.float64),
        "big_endian": drawn.astype(">f4"),
        "conv_w_momentum": drawn,
        "lr": np.float32(0.1),
        "model_iter": 7,
    }
    file = written(tmp_path / "x.pkl", {"blobs": blobs, "cfg": "text"}, protocol)
    if protocol == 2:  # later protocols store the length of the name
        file.write_bytes(re.sub(rb"numpy\.\w+\.multiarray", module, file.read_bytes()))
    found = caffe2.read(file)
    assert set(found) == {"conv_w", "by_columns", "double", "big_endian"}
    for tensor in found.values():
        np.testing.assert_array_equal(tensor.numpy(), drawn)
    found["conv_w"].add_(1)  # writable: it does not share the memory of the file


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_a_file_that_names_code_is_refused_and_none_of_it_runs(tmp_path: Path) -> None:
    file = written(tmp_path / "x.pkl", {"blobs": {"conv_w": np.zeros(1), "x": Attack(tmp_path / "made")}})
    with pytest.raises(UserError, match=r"was refused: it needs posix\.mkdir"):
        caffe2.read(file)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"weights": {}},
        {"blobs": {"conv_w": [1.0, 2.0]}},
        {"blobs": {"conv_w": np.array(["text"])}},
        {"blobs": {"conv_w": np.array([None])}},
        ["blobs"],
    ],
)
def test_a_pickle_without_arrays_of_numbers_under_blobs_is_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as Caffe2's weights"):
        caffe2.read(written(tmp_path / "x.pkl", content))


def test_an_array_with_less_content_than_its_shape_needs_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps({"blobs": {"conv_w": np.zeros(4, np.float32)}}, protocol=3)
    shape = b"K\x04\x85"  # (4,)
    assert content.count(shape) == 1
    (tmp_path / "x.pkl").write_bytes(content.replace(shape, b"K\x05\x85"))
    with pytest.raises(UserError, match="cannot be read"):
        caffe2.read(tmp_path / "x.pkl")


def test_a_file_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps({"blobs": {"conv_w": np.zeros(4, np.float32)}}, protocol=2)
    for length in range(2, len(content)):
        (tmp_path / "x.pkl").write_bytes(content[:length])
        with pytest.raises(UserError):
            caffe2.read(tmp_path / "x.pkl")


def test_an_object_number_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02}" + pickle.LONG_BINPUT + b"\xff\xff\xff\xff.")
    with pytest.raises(UserError, match="cannot be read"):
        caffe2.read(tmp_path / "x.pkl")


@pytest.mark.parametrize("is_zip", [True, False])
def test_files_of_torch_are_not_mistaken_for_caffe2s(is_zip: bool, tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pkl", _use_new_zipfile_serialization=is_zip)
    assert not caffe2.is_caffe2(tmp_path / "x.pkl")


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_plain_pickles_are_taken_for_caffe2s(protocol: int, tmp_path: Path) -> None:
    assert caffe2.is_caffe2(written(tmp_path / "x.pkl", {"blobs": {}}, protocol))
