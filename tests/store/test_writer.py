import itertools
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actloc.errors import VideoError
from actloc.store.store import FeatureStore
from tests.store.test_store import INFO, features

ROWS = features(700, 6)
"""More than two chunks of 256 rows."""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, len(ROWS)), max_size=8), dtype=st.sampled_from(["float32", "float16"]))
def test_the_bytes_do_not_depend_on_how_rows_arrive(tmp_path: Path, cuts: list[int], dtype: str) -> None:
    whole, pieces = FeatureStore(tmp_path / "whole"), FeatureStore(tmp_path / "pieces")
    whole.write("v", ROWS, INFO, dtype)  # type: ignore[arg-type]
    ends = [0, *sorted(cuts), len(ROWS)]
    with pieces.writer("v", dtype) as writer:  # type: ignore[arg-type]
        for start, end in itertools.pairwise(ends):
            writer.append(ROWS[start:end])
        info = writer.finish(INFO)
    assert (info.steps, info.channels) == ROWS.shape
    assert (pieces.folder / "v.h5").read_bytes() == (whole.folder / "v.h5").read_bytes()
    assert [path.name for path in pieces.folder.iterdir()] == ["v.h5"]
    assert pieces.read("v").shape == ROWS.shape


def test_memory_holds_one_chunk_of_rows_and_not_the_video(tmp_path: Path) -> None:
    rows = np.zeros((1, 1024), np.float32)  # of 4 kB: a chunk is 1 MB, the video 10 MB
    tracemalloc.start()
    try:
        with FeatureStore(tmp_path).writer("v") as writer:
            for _ in range(2600):
                writer.append(rows)
            written = sum(path.stat().st_size for path in tmp_path.iterdir())
            writer.finish(INFO)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written >= 2560 * rows.nbytes
    assert most_bytes < 4 * 256 * rows.nbytes


def test_a_writer_that_does_not_finish_leaves_no_files(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    with store.writer("v") as writer:
        writer.append(ROWS)
    assert list(store.folder.iterdir()) == []
    bad = ROWS.copy()
    bad[600, 3] = np.nan
    with store.writer("v") as writer:
        writer.append(bad[:600])
        with pytest.raises(VideoError, match="non_finite"):
            writer.append(bad[600:])
    assert list(store.folder.iterdir()) == []


DISK_THAT_FILLS = """
import resource, sys
from pathlib import Path
import numpy as np
from actloc.store.store import FeatureStore
from tests.store.test_writer import ROWS
from tests.store.test_store import INFO
store = FeatureStore(Path(sys.argv[1]))
store.write("v", ROWS, INFO)
size = (store.folder / "v.h5").stat().st_size
before = (store.folder / "v.h5").read_bytes()
for limit in range(100, size, size // 40):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.write("v", ROWS + 1, INFO)
    except OSError as error:
        print(error.errno)
    assert [path.name for path in store.folder.iterdir()] == ["v.h5"]
    assert (store.folder / "v.h5").read_bytes() == before
"""


def test_a_disk_that_fills_up_at_any_byte_raises_oserror_and_keeps_the_old_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DISK_THAT_FILLS, tmp_path / "store"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 40


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_whose_columns_are_contiguous_are_stored_as_any_others(tmp_path: Path, dtype: str) -> None:
    usual, by_columns = FeatureStore(tmp_path / "usual"), FeatureStore(tmp_path / "by_columns")
    usual.write("v", ROWS, INFO, dtype)  # type: ignore[arg-type]
    by_columns.write("v", np.asfortranarray(ROWS), INFO, dtype)  # type: ignore[arg-type]
    assert (by_columns.folder / "v.h5").read_bytes() == (usual.folder / "v.h5").read_bytes()
