import contextlib
import ctypes
import gc
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from actloc import fault_injection
from actloc.video import reader
from tests.forked_decoder import ForkingSubprocess, decoder_server
from tests.videos import Clips

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>


def pytest_configure() -> None:
    """Keeps freed memory in the process, for the next network: new pages from the kernel take a sixth of the time."""
    with contextlib.suppress(OSError, AttributeError):  # no mallopt outside glibc
        libc = ctypes.CDLL(None)
        for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            libc.mallopt(parameter, 1 << 30)
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on the garbage collector leaves out the million objects of what is imported and collected."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Videos by name; treat them as read-only."""
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def set_fault(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the n-th operation of its kind fail, counted from now on: `write:2:ENOSPC`."""

    def set_to(fault: str) -> None:
        fault_injection.reset()
        monkeypatch.setenv("ACTLOC_FAULT", fault)

    return set_to


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> "list[subprocess.Popen[bytes]]":
    """The processes that the test has this one start, in their order."""
    processes = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return processes


@pytest.fixture
def forked_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders are forked where all they need is imported, which takes a tenth of the time of starting them."""
    monkeypatch.setattr(reader, "subprocess", ForkingSubprocess(decoder_server()))
