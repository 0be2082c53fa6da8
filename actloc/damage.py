"""Tells a damaged file from one that cannot be read now, and both from a bug of ours.

A library that reads a mangled file raises whatever its code stumbles over. So it is not the class of an error that
shows whose fault it is, but the place where it was raised: in the library, or in a line of actloc.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actloc import files
from actloc.errors import ActlocError, Stopped, VideoError

_TIGHTEST_PACKING = 1100  # bytes that gzip, the tightest filter of HDF5, makes of one, and some more
_PACKAGE = str(Path(__file__).parent)
_NOT_NOW = {
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ESTALE),
    *(errno.ETIMEDOUT, errno.EREMOTEIO, errno.EROFS, errno.EINTR, errno.ENOENT),
}


def is_of_the_system(error: BaseException) -> bool:
    """Whether the system refused to read a file, which says nothing about what the file holds."""
    return isinstance(error, OSError) and error.errno in _NOT_NOW


def is_ours(error: BaseException) -> bool:
    """Whether a line of actloc raised the error, and not a library that it called."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def is_hollow(dataset: Any) -> bool:  # Any: an h5py.Dataset; h5py is not imported for other files
    """Whether an HDF5 dataset claims more values than the bytes that the file has for it can hold, packed or not.

    Or has a chunk without a byte: reading it kills the process, at least with HDF5 2.0.
    """
    if dataset.nbytes > _TIGHTEST_PACKING * dataset.id.get_storage_size():
        return True
    sizes: list[int] = []
    if dataset.chunks is not None:
        dataset.id.chunk_iter(lambda chunk: sizes.append(chunk.size))
    return 0 in sizes


@contextmanager
def refused(path: Path, refusal: Callable[[str], Exception], passing: type[Exception] = ActlocError) -> Iterator[None]:
    """Raises `refusal(what)` for what a library raises that reads the file's content; other errors pass.

    So do those `passing`, whose meaning the caller knows.
    The block calls the library; what it does with the result is outside, where an error is a bug.
    """
    try:
        yield
    except (ActlocError, VideoError, Stopped, passing):
        raise
    except MemoryError as error:
        raise refusal("it asks for more memory than there is") from error
    except Exception as error:
        if is_of_the_system(error):
            with files.naming(path):
                raise
        if is_ours(error):
            raise
        lines = str(error).strip().splitlines()
        raise refusal(lines[0] if lines else type(error).__name__) from error
