"""Reads Caffe2's weights (`.pkl`), a pickle of arrays, without running any code that the file names.

The pickles come from Python 2: a dict whose `blobs` are numpy arrays by name. The file only describes its arrays, this
module creates them; anything else that a file asks for is refused.
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
_DAMAGED = (  # what reading a damaged or hostile pickle can raise
    *(pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(OverflowError, RecursionError, MemoryError),
)
_MOST_OBJECTS = 1_000_000  # a SlowFast R101 with its momenta has about 20,000


def is_caffe2(path: Path) -> bool:
    """Whether `path` is a plain pickle; files of torch.save are not."""
    with path.open("rb") as file:
        start = file.read(len(_TORCH_START))
    return start.startswith(_PICKLE_STARTS) and start != _TORCH_START


def read(path: Path) -> dict[str, Tensor]:
    """Reads the blobs of `path` by name, except those that only training needs; raises UserError."""
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
            "Expected a Caffe2 file that contains only arrays.",
            "Ask its author for a file with only the weights: reading this one could run the code that it names.",
        ) from refused
    except _DAMAGED as error:
        raise UserError(
            f"{path} cannot be read as Caffe2's weights ({type(error).__name__}).",
            "Expected a complete pickle with arrays by name under `blobs`.",
            "Download or copy it again.",
        ) from error


def _check_memo(file: IO[bytes]) -> None:
    """Raises ValueError for an implausible object number: pickle allocates memory for all numbers below it."""
    for operation, argument, _ in pickletools.genops(file):
        if operation.name.endswith("PUT") and (argument or 0) > _MOST_OBJECTS:
            raise ValueError(f"object {argument}")


class _Refused(Exception):  # noqa: N818 - never leaves this module; its text is what the file asked for
    pass


class _Number:
    """The type of an array's numbers, as the file describes it."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code
        self.byte_order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:  # Any: whatever the file holds
        self.byte_order = state[1]


class _Array:
    """An array, as the file describes it."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:  # Any: whatever the file holds
        self.state = state

    def tensor(self) -> Tensor:
        """Creates the array; raises ValueError if its description is inconsistent."""
        _, shape, number, is_fortran, content = self.state
        if number.code not in _NUMBERS or number.byte_order not in ("<", ">", "="):
            raise ValueError(f"an array of {number.byte_order}{number.code}")
        raw = content.encode("latin1") if isinstance(content, str) else content
        array = np.frombuffer(raw, number.byte_order + number.code).reshape(shape, order="F" if is_fortran else "C")
        return torch.from_numpy(array.astype(number.code, order="C"))


def _encode(text: str, _: str) -> bytes:
    """Decodes bytes, which Python 3 writes as text into pickles for Python 2."""
    return text.encode("latin1")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Number,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain values and arrays only, arrays as the stand-ins defined here."""

    def find_class(self, module: str, name: str) -> Any:  # Any: what pickle asks for
        """Returns the stand-in for what the file names; imports nothing."""
        stand_in = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None:
            raise _Refused(f"{module}.{name}")
        return stand_in
