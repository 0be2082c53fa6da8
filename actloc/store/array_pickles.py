"""Reads pickled NumPy arrays without running anything from the file, and without NumPy's own unpickling.

A pickle names functions and classes to call. Here the few names that arrays use stand for small records of ours, which
only keep what they are given; every other name is refused. The arrays are then made from the recorded bytes.
"""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = frozenset("biuf")


class _Dtype:
    """The arguments and the state of a pickled numpy.dtype."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code, self.order, self.is_plain = code, "", True

    def __setstate__(self, state: Any) -> None:  # Any: whatever the file holds
        match state:
            case (int(), ("<" | ">" | "|" | "=") as order, None, None, None, *_):
                self.order = order.replace("=", "")
            case _:
                self.is_plain = False

    def dtype(self) -> np.dtype[Any]:
        code = self.code.decode("latin-1") if isinstance(self.code, bytes) else self.code
        if not self.is_plain or not isinstance(code, str) or code[:1] not in _KINDS or not code[1:].isdecimal():
            raise pickle.UnpicklingError(f"it has an array of {str(code)[:20]!r}, which are no plain numbers")
        try:
            return np.dtype(f"{self.order if code[1:] != '1' else ''}{code}")
        except (TypeError, ValueError, OverflowError) as error:
            raise pickle.UnpicklingError(f"it has an array of {code[:20]!r}, which NumPy does not have") from error


class _Array:
    """The arguments and the state of a pickled numpy.ndarray."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None  # Any: whatever the file holds

    def __setstate__(self, state: Any) -> None:  # Any: as above
        self.state = state

    def array(self) -> NDArray[Any]:
        match self.state:
            case (int(), tuple(shape), _Dtype() as kind, is_fortran, bytes() | bytearray() | str() as content):
                pass
            case _:
                raise pickle.UnpicklingError("it has an array of something else than numbers")
        if isinstance(content, str):  # Python 2 wrote bytes as text
            content = _as_bytes(content)
        dtype = kind.dtype()
        sizes = [size for size in shape if isinstance(size, int) and size >= 0]
        if len(sizes) != len(shape) or math.prod(sizes) * dtype.itemsize != len(content):
            raise pickle.UnpicklingError("it has an array whose bytes do not fit its shape")
        return np.frombuffer(content, dtype).reshape(sizes, order="F" if is_fortran else "C")


def _as_bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise pickle.UnpicklingError("it has text in the place of bytes") from error


def _reconstructed(*_: object) -> _Array:
    return _Array()


def _from_buffer(content: object, kind: object, shape: object, order: object = "C") -> _Array:
    array = _Array()
    array.state = (1, shape, kind, order == "F", content)
    return array


def _encoded(text: object, encoding: object) -> bytes:
    """Pickles of older protocols write bytes as text."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it encodes something else than bytes")
    return _as_bytes(text)


_STAND_INS: dict[tuple[str, str], Any] = {  # Any: classes and functions
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encoded,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstructed for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Unpickler(pickle._Unpickler):
    """The one in Python: the one in C takes memory for any place of its memo that the file names."""

    def find_class(self, module: str, name: str) -> Any:  # Any: a class or function
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only plain NumPy arrays are read")
        return _STAND_INS[module, name]


def read(path: Path) -> Any:  # Any: whatever the file holds
    """The array of a pickle, or its dictionary of arrays by name; other values as they are.

    Raises pickle.UnpicklingError for anything but plain values and arrays of numbers, and what `pickle` raises on
    files that are cut short or mangled.
    """
    with path.open("rb") as stream:
        try:
            found = _Unpickler(stream, encoding="latin-1").load()
        except MemoryError as error:
            raise pickle.UnpicklingError("it asks for more memory than there is") from error
    if isinstance(found, dict):
        return {name: value.array() if isinstance(value, _Array) else value for name, value in found.items()}
    return found.array() if isinstance(found, _Array) else found
