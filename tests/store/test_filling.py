"""The list of the videos that failed, while a store is filled."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from actloc import files
from actloc.errors import VideoError
from actloc.store import filling
from actloc.store.info import FeatureInfo
from actloc.store.store import FeatureStore

NAMES = [f"video {number}" for number in range(20)]


def test_failures_are_listed_at_once_and_the_list_is_not_written_anew_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(tmp_path / "store")
    store.begin({"a": 1})
    sizes: list[int] = []

    def write(path: Path, rows: list[dict[str, Any]]) -> None:
        sizes.append(len(rows))
        files.write_text(path, "".join(f"{files.json_line(row)}\n" for row in rows))

    def outcomes() -> Generator[tuple[str, FeatureInfo | VideoError]]:
        for number, name in enumerate(NAMES):
            yield name, VideoError("damaged", f"detail {number}")
            listed = {row["id"]: row["detail"] for row in store.failed()}
            assert listed == {one: f"detail {place}" for place, one in enumerate(NAMES[: number + 1])}

    monkeypatch.setattr(files, "write_json_lines", write)
    before: dict[str, dict[str, str | None]] = {NAMES[0]: {"id": NAMES[0], "detail": "of an earlier call"}}
    rows = filling.fill(store, outcomes(), before, {name: Path(name) for name in NAMES}, lambda _: None)
    assert [row["id"] for row in rows] == NAMES
    assert sizes == [1, len(NAMES)]
    assert files.read_json_lines(store.failed_file()) == rows
