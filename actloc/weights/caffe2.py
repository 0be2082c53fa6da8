"""Reads Caffe2's weights (`.pkl`): a pickle of arrays, of which nothing is run that the file names.

The pickles come from Python 2: a dict whose `blobs` are numpy arrays by name. Arrays are described to us by the file
and made by us; whatever else a file asks for is refused.
"""

import pickle
import pickletools
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from actloc.errors import UserError

_PICKLE_STARTS = (b"\x80", b"(", b"}")  # of protocol 2 and later, of protocol 0, of protocol 1
_TORCH_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6 wrote pickles too
_TRAINING_ONLY = ("lr", "model_iter")
_MOMENTUM = "_momentum"
_NUMBERS = {"f2", "f4", "f8"}
_DAMAGED = (  # what reading a damaged or hostile pickle can bring about
    *(pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(OverflowError, RecursionError, MemoryError),
)
_MOST_OBJECTS = 1_000_000  # a SlowFast R101 with its momenta has some 20,000


def is_caffe2(path: Path) -> bool:
    """Whether `path` is a plain pickle, which no file of torch.save is."""
    with path.open("rb") as file:
        start = file.read(len(_TORCH_START))
    return start.startswith(_PICKLE_STARTS) and start != _TORCH_START


def read(path: Path) -> dict[str, Tensor]:
    """The blobs of `path` by name, without what only training needs; raises UserError."""
    try:
        with path.open("rb") as file:
            _check_memo(file)
            file.seek(0)
            content = _ArrayUnpickler(file, encoding="latin1").load()
        blobs = content["blobs"]
        used = [name for name in blobs if not name.endswith(_MOMENTUM) and name not in _TRAINING_ONLY]
        return {name: blobs[name].tensor() for name in used}
    except _Refused as refused:
        raise UserError(
            f"{path} was refused: it needs {refused}.",
            "Expected a Caffe2 file with nothing in it but arrays.",
            "Ask its author for the weights alone: reading this file could run the code that it names.",
        ) from refused
    except _DAMAGED as error:
        raise UserError(
            f"{path} cannot be read as Caffe2's weights ({type(error).__name__}).",
            "Expected a whole pickle with arrays by name under `blobs`.",
            "Download or copy it again.",
        ) from error


def _check_memo(file: IO[bytes]) -> None:
    """Raises ValueError where an object is numbered beyond reason: pickle takes memory for all numbers below."""
    for operation, argument, _ in pickletools.genops(file):
        if operation.name.endswith("PUT") and (argument or 0) > _MOST_OBJECTS:
            raise ValueError(f"object {argument}")


class _Refused(Exception):  # noqa: N818 - no error of ours; its text is what the file asked for
    pass


class _Number:
    """What a file says about the type of an array's numbers."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code
        self.byte_order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:  # Any: whatever the file holds
        self.byte_order = state[1]


class _Array:
    """What a file says about an array."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:  # Any: whatever the file holds
        self.state = state

    def tensor(self) -> Tensor:
        """The array, once what is said about it holds together."""
        _, shape, number, is_fortran, content = self.state
        if number.code not in _NUMBERS or number.byte_order not in ("<", ">", "="):
            raise ValueError(f"an array of {number.byte_order}{number.code}")
        raw = content.encode("latin1") if isinstance(content, str) else content
        array = np.frombuffer(raw, number.byte_order + number.code).reshape(shape, order="F" if is_fortran else "C")
        return torch.from_numpy(array.astype(number.code, order="C"))


def _encode(text: str, _: str) -> bytes:
    """How Python 3 writes bytes into pickles for Python 2."""
    return text.encode("latin1")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Number,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Knows arrays and plain values only, and its own stand-ins for the arrays."""

    def find_class(self, module: str, name: str) -> Any:  # Any: what pickle asks for
        """The stand-in for what the file names; nothing is imported."""
        stand_in = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None:
            raise _Refused(f"{module}.{name}")
        return stand_in
