"""Files of TALLFormer's memory bank: numbers without a header, whose shapes are in one JSON file beside them."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from actloc import files
from actloc.errors import UserError
from actloc.store.foreign_files import FeatureFile, FeatureFileError

ROWS, CHANNELS = 20, 3


def array(number: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(number).normal(size=(ROWS, CHANNELS)).astype(np.float32)


def entry(steps: Any = ROWS, channels: Any = CHANNELS, frames: Any = 2 * ROWS - 1) -> dict[str, Any]:
    return {"num_frames": frames, "feat_shape": [steps, channels]}


def bank(folder: Path, meta: Any = None, meta_name: str = "meta_val.json", num_videos: int = 1) -> FeatureFile:
    """Files v0.mmap, v1.mmap ... and the JSON file; returns the first."""
    for number in range(num_videos):
        (folder / f"v{number}.mmap").write_bytes(array(number).tobytes())
    content = {f"v{number}": entry() for number in range(num_videos)} if meta is None else meta
    (folder / meta_name).write_text(content if isinstance(content, str) else json.dumps(content))
    return FeatureFile(folder / "v0.mmap")


@pytest.mark.parametrize("meta_name", ["meta_val.json", "meta.json", "meta_training.json"])
def test_the_shape_comes_from_the_json_beside_and_the_numbers_from_the_file(tmp_path: Path, meta_name: str) -> None:
    file = bank(tmp_path, meta_name=meta_name)
    assert file.exists()
    assert file.shape() == (ROWS, CHANNELS)
    np.testing.assert_array_equal(file.read(), array())
    part = FeatureFile(file.path, part=(slice(5, 15),))
    assert part.shape() == (10, CHANNELS)
    np.testing.assert_array_equal(part.read(), array()[5:15])


@pytest.mark.parametrize("meta_name", ["meta_val.json", "meta.json"])
def test_a_known_name_is_preferred_to_others(tmp_path: Path, meta_name: str) -> None:
    (tmp_path / "meta_test.json").write_text("{}")
    assert bank(tmp_path, meta_name=meta_name).shape() == (ROWS, CHANNELS)


def test_a_shape_needs_no_numbers_and_the_json_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank(tmp_path, num_videos=5)
    read, asked = files.read_json, []
    monkeypatch.setattr(files, "read_json", lambda path, **options: asked.append(path) or read(path, **options))
    with monkeypatch.context() as patch:
        patch.setattr(np, "memmap", None)
        for number in range(5):
            assert FeatureFile(tmp_path / f"v{number}.mmap").shape() == (ROWS, CHANNELS)
    for number in range(5):
        np.testing.assert_array_equal(FeatureFile(tmp_path / f"v{number}.mmap").read(), array(number))
    assert asked == [tmp_path / "meta_val.json"]


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    file = bank(tmp_path)
    file.path.write_bytes(np.full((ROWS, CHANNELS), np.nan, np.float32).tobytes())
    with pytest.raises(FeatureFileError, match="contains nan or inf"):
        file.read()


NO_SHAPE = "has no shape for v0.mmap"
ODD = "for v0.mmap."
NO_FIT = f"v0.mmap has {ROWS * CHANNELS * 4} bytes"
REFUSED: dict[str, tuple[Any, str, str]] = {
    "another video": ({"v": entry(), "v0.mmap": entry()}, "unsupported", NO_SHAPE),
    "no video": ({}, "unsupported", NO_SHAPE),
    "a list": ([entry()], "unreadable", "is not a JSON object"),
    "no JSON": ("{'v0': 1}", "unreadable", "is not valid JSON"),
    "twice": ('{"v0": {}, "v0": {}}', "unreadable", "appears twice"),
    "nan": ('{"v0": NaN}', "unsupported", ODD),
    "too deep": ("[" * 5000 + "]" * 5000, "unreadable", "is not valid JSON"),
    "no entry": ({"v0": None}, "unsupported", ODD),
    "no shape": ({"v0": {"num_frames": 39}}, "unsupported", ODD),
    "no frames": ({"v0": {"feat_shape": [ROWS, CHANNELS]}}, "unsupported", ODD),
    "one number": ({"v0": {"num_frames": 39, "feat_shape": ROWS}}, "unsupported", ODD),
    "three numbers": ({"v0": {"num_frames": 39, "feat_shape": [ROWS, CHANNELS, 1]}}, "unsupported", ODD),
    "text": ({"v0": entry("20")}, "unsupported", ODD),
    "fractions": ({"v0": entry(20.0)}, "unsupported", ODD),
    "inf": ('{"v0": {"num_frames": 1e999, "feat_shape": [20, 3]}}', "unsupported", ODD),
    "true": ({"v0": entry(channels=True)}, "unsupported", ODD),
    "zero": ({"v0": entry(0)}, "unsupported", ODD),
    "negative": ({"v0": entry(-20, -3)}, "unsupported", ODD),
    "more rows than frames": ({"v0": entry(frames=ROWS - 1)}, "unsupported", ODD),
    "too large": ({"v0": entry(channels=10**30)}, "truncated", NO_FIT),
    "too many rows": ({"v0": entry(ROWS + 1)}, "truncated", NO_FIT),
    "too few rows": ({"v0": entry(ROWS - 1)}, "unsupported", NO_FIT),
    "too many digits": ('{"v0": ' + "9" * 5000 + "}", "unsupported", ODD),
}


@pytest.mark.parametrize(("meta", "reason", "found"), REFUSED.values(), ids=REFUSED)
def test_a_shape_that_cannot_be_is_refused(tmp_path: Path, meta: Any, reason: str, found: str) -> None:
    file = bank(tmp_path, meta)
    for look in (file.shape, file.read, file.shape):
        with pytest.raises(FeatureFileError) as caught:
            look()
        assert caught.value.reason == reason
        assert found in caught.value.found
        assert caught.value.expected
        assert caught.value.fix


def test_a_bank_without_a_shape_file_or_with_several_is_refused(tmp_path: Path) -> None:
    file = bank(tmp_path, meta_name="shapes.json")
    with pytest.raises(FeatureFileError, match="has no JSON file of their shapes") as caught:
        file.shape()
    assert "Expected one of meta_val.json, meta.json, or a single meta*.json" in caught.value.expected
    for names in (("meta_a.json", "meta_b.json"), ("meta_val.json", "meta.json")):
        folder = tmp_path / names[0]
        folder.mkdir()
        for name in names:
            file = bank(folder, meta_name=name)
        with pytest.raises(FeatureFileError, match=f"has {names[0]} and {names[1]}"):
            file.shape()


def test_mangled_files_are_refused_or_have_other_numbers_and_are_never_a_bug(tmp_path: Path) -> None:
    generator, refused = random.Random(0), 0
    for number in range(120):
        folder = tmp_path / str(number)  # the shapes of a folder are read once
        folder.mkdir()
        file = bank(folder)
        mangled = folder / "meta_val.json" if number % 2 else file.path
        content = bytearray(mangled.read_bytes())
        for _ in range(1 + number % 6):
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        mangled.write_bytes(content[: generator.randrange(len(content))] if number % 5 == 0 else content)
        for look in (file.shape, file.read):
            try:
                look()
            except UserError:
                refused += 1
    assert refused > 60
