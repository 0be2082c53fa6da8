"""The index of a store: large stores open without their files, and nothing depends on it."""

import builtins
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.errors import UserError
from actloc.sources.stored import Config
from actloc.store import index
from actloc.store.store import FeatureStore
from tests.store.test_store import INFO, RECIPE, features

NAMES = [f"v{number}" for number in range(30)]
SETTINGS: dict[str, Any] = {"fps": 30.0, "clip_frames": 16, "stride_frames": 4}


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    found = FeatureStore(tmp_path / "store")
    found.begin(RECIPE)
    for name in NAMES:
        found.write(name, features(), replace(INFO, video_id=name))
    found.write_index()
    return FeatureStore(found.folder)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The feature files that are opened, by any of Python's ways."""
    names: list[str] = []

    def watched(open_: Callable[..., Any]) -> Callable[..., Any]:
        def open_and_note(file: Any, *arguments: Any, **how: Any) -> Any:
            if str(file).endswith(".h5"):
                names.append(Path(file).name)
            return open_(file, *arguments, **how)

        return open_and_note

    monkeypatch.setattr(io, "open", watched(io.open))
    monkeypatch.setattr(builtins, "open", watched(builtins.open))
    original = FeatureStore._opened
    monkeypatch.setattr(FeatureStore, "_opened", lambda self, name: (names.append(name), original(self, name))[1])
    return names


def source(folder: Path) -> Any:
    videos = {name: AnnotatedVideo(name, "train", duration_s=3.2) for name in NAMES}
    return Config(path=folder, **SETTINGS).build(Annotations(("run",), videos), "train")


def test_a_source_opens_no_file_of_a_listed_store(store: FeatureStore, opened: list[str]) -> None:
    built = source(store.folder)
    assert opened == []
    assert built.extent(0).step_s == pytest.approx(4 / 30)
    assert [store.source(name) for name in NAMES] == [(1234, "")] * len(NAMES)
    assert opened == []
    built.evaluation_sample(3)
    assert {name.removesuffix(".h5") for name in opened} == {built.videos[3].id}


def test_a_source_looks_at_each_file_once_and_at_the_folder_once(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    stat, scandir = Path.stat, os.scandir
    monkeypatch.setattr(Path, "stat", lambda path, **how: (asked.append(path.name), stat(path, **how))[1])
    monkeypatch.setattr(os, "scandir", lambda path: (asked.append("the folder"), scandir(path))[1])
    built = source(store.folder)
    assert sorted(name for name in asked if name in {f"{name}.h5" for name in NAMES}) == sorted(
        f"{name}.h5" for name in NAMES
    )
    assert asked.count("the folder") == 1
    asked.clear()
    assert [built.extent(number) for number in range(len(NAMES))]
    assert asked == []


def test_the_facts_are_those_of_the_files(store: FeatureStore) -> None:
    listed = {name: store.info(name) for name in NAMES}
    (store.folder / index.NAME).unlink()
    again = FeatureStore(store.folder)
    assert {name: again.info(name) for name in NAMES} == listed


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 2, "recipes": [], "files": {}}',
        b'{"version": 1, "recipes": [], "files": {"v1.h5": [1, 2, {}]}}',
        b"\xff\xfe",
        None,
    ],
)
def test_a_damaged_or_missing_index_costs_only_time(store: FeatureStore, content: bytes | None) -> None:
    path = store.folder / index.NAME
    path.unlink() if content is None else path.write_bytes(content)
    assert source(store.folder).in_channels == 6
    FeatureStore(store.folder).write_index()
    assert len(index.read(store.folder)) == len(NAMES)


def test_an_entry_with_a_recipe_that_is_not_there_costs_only_time(store: FeatureStore) -> None:
    path = store.folder / index.NAME
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "recipes": []}))
    assert index.read(store.folder) == {}


def test_a_file_that_changed_is_opened_itself_and_only_it(store: FeatureStore, opened: list[str]) -> None:
    store.write("v7", features(25), replace(INFO, video_id="v7"))
    opened.clear()
    fresh = FeatureStore(store.folder)
    assert [fresh.info(name).steps for name in NAMES] == [25 if name == "v7" else 21 for name in NAMES]
    assert {name.removesuffix(".h5") for name in opened} == {"v7"}
    fresh.write_index()
    opened.clear()
    assert FeatureStore(store.folder).info("v7").steps == 25
    assert opened == []


def test_a_file_replaced_by_another_of_the_same_size_and_time_is_noticed_when_it_is_read(store: FeatureStore) -> None:
    path = store.folder / "v7.h5"
    before = path.stat()
    store.write("v7", features(), replace(INFO, video_id="v7", source_bytes=4321))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    fresh = FeatureStore(store.folder)
    assert path.stat().st_size == before.st_size
    fresh.info("v7")
    with pytest.raises(UserError, match="not those that were there before"):
        fresh.read("v7")
    with pytest.raises(UserError, match="not those that were there before"):
        fresh.rows("v7", are_checked=False)
    (store.folder / index.NAME).unlink()
    assert FeatureStore(store.folder).read("v7").shape == (21, 6)


def test_a_damaged_file_is_found_when_it_is_read(store: FeatureStore) -> None:
    path = store.folder / "v7.h5"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source(store.folder).in_channels == 6
    with pytest.raises(UserError, match="are damaged"):
        FeatureStore(store.folder).read("v7")


def test_copied_stores_and_other_names_work(store: FeatureStore, tmp_path: Path) -> None:
    for number, copy in enumerate((shutil.copy, shutil.copy2)):
        copied = tmp_path / f"copy{number}"
        shutil.copytree(store.folder, copied, copy_function=copy)
        assert source(copied).in_channels == 6
    (copied / "v1.h5").replace(copied / "v2.h5")
    os.utime(copied / "v2.h5", ns=(0, index.read(copied)["v2.h5"].changed_ns))
    with pytest.raises(UserError):
        FeatureStore(copied).read("v2")


def test_writing_it_again_changes_nothing_and_a_folder_that_cannot_be_written_stays(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {path.name: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    store.write_index()
    assert {path.name: path.stat().st_mtime_ns for path in store.folder.iterdir()} == times
    (store.folder / index.NAME).unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)
    store.write_index()
    assert not (store.folder / index.NAME).exists()


def test_beginning_anew_deletes_it(store: FeatureStore) -> None:
    store.begin(RECIPE, overwrite=True)
    assert not (store.folder / index.NAME).exists()
