"""Rows that are kept for a detector: in one block or in a file, and never the arrays that the network gave."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from actloc.extraction import rows as module
from actloc.extraction.rows import RowsInFile, RowsInMemory
from tests.store.test_store import INFO, features


@pytest.mark.parametrize("kind", [RowsInMemory, RowsInFile])
def test_what_the_network_gave_is_not_kept(kind: type[RowsInMemory] | type[RowsInFile]) -> None:
    sink: RowsInMemory | RowsInFile = kind()
    given = []
    for _ in range(5):
        batch = features(8, 6)
        given.append(weakref.ref(batch))
        for row in batch:
            sink.append(row[None])
        del batch, row
    assert [one() for one in given] == [None] * 5  # else small arrays split the memory that frames are freed from
    sink.discard()


def test_rows_in_memory_are_one_array_after_the_last() -> None:
    expected, sink = features(700, 6), RowsInMemory()
    for start in range(0, 700, 3):
        sink.append(expected[start : start + 3])
    assert sink.finish(INFO) == replace(INFO, steps=700, channels=6)
    sink.discard()
    np.testing.assert_array_equal(sink.features, expected)


@pytest.mark.parametrize("most_bytes", [1, 1000, 1 << 20])
def test_rows_in_a_file_are_read_from_any_place_wherever_they_are(
    most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES_IN_MEMORY", most_bytes)
    expected = features(100, 6)
    with RowsInFile() as sink:
        for row in expected:
            sink.append(row[None])
        assert sink.finish(INFO) == replace(INFO, steps=100, channels=6)
        sink.discard()  # as extraction does at the end of each video
        for start, end in ((0, 100), (99, 100), (40, 60), (3, 4)):
            assert torch.equal(sink.read(start, end), torch.from_numpy(expected[start:end]))


def test_rows_that_are_not_finished_are_deleted() -> None:
    with RowsInFile() as sink:
        sink.append(features(2, 6))
        sink.discard()
        with pytest.raises(ValueError, match="closed file"):
            sink.read(0, 1)
        sink.discard()
