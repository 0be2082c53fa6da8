"""--overwrite takes no features from a video that then cannot be read."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from actloc.store import filling
from actloc.store.old_features import set_aside
from actloc.store.store import FeatureStore
from tests.toy import actloc, copy_toy, digests, leftovers


def raising(error: Exception) -> Callable[[Path], str]:
    def refuse(_: Path) -> str:
        raise error

    return refuse


def of_names(folder: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f"*{suffix}"))


def test_a_video_that_cannot_be_read_keeps_its_features(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    before = digests(folder / "features")
    video = folder / "videos/v0.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[:2000])
    done = actloc(folder, "extract-features", "toy.yaml", "--overwrite")
    assert done.returncode == 3
    assert "v0 keeps its old features: new ones could not be made" in done.stderr
    assert "1 of 6 videos failed, 5 succeeded" in done.stderr
    assert digests(folder / "features") == before
    assert of_names(folder / "features", ".replaced") == []
    assert actloc(folder, "verify", "features").returncode == 0
    video.write_bytes(whole)
    assert actloc(folder, "extract-features", "toy.yaml").returncode == 0
    assert digests(folder / "features") == before


def test_old_features_of_other_settings_stay_beside_until_there_are_new_ones(encoded: Path, tmp_path: Path) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    old = (folder / "features/v0.h5").read_bytes()
    video = folder / "videos/v0.mp4"
    whole = video.read_bytes()
    video.write_bytes(b"no video")
    command = "extract-features", "toy.yaml", "features.fps=4"
    done = actloc(folder, *command, "--overwrite")
    assert done.returncode == 3
    assert (
        "The old features of v0, damaged or made with other settings, are kept: features/v0.h5.replaced" in done.stderr
    )
    assert of_names(folder / "features", ".h5") == [f"v{number}.h5" for number in range(1, 6)]
    assert (folder / "features/v0.h5.replaced").read_bytes() == old
    video.write_bytes(whole)
    assert actloc(folder, *command).returncode == 0
    assert of_names(folder / "features", ".h5") == [f"v{number}.h5" for number in range(6)]
    assert of_names(folder / "features", ".replaced") == []


@pytest.mark.parametrize("fault", ["replace:3:kill", "replace:9:kill", "replace:10:kill"])
def test_a_kill_while_features_are_replaced_loses_none(encoded: Path, tmp_path: Path, fault: str) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    before = digests(folder / "features")
    killed = actloc(folder, "extract-features", "toy.yaml", "--overwrite", ACTLOC_FAULT=fault)
    assert killed.returncode == -9
    there = of_names(folder / "features", ".h5") + of_names(folder / "features", ".replaced")
    assert {name.removesuffix(".replaced") for name in there} == set(before)
    done = actloc(folder, "extract-features", "toy.yaml")
    assert done.returncode == 0, done.stderr
    assert digests(folder / "features") == before
    assert of_names(folder / "features", ".replaced") == []
    assert leftovers(folder) == []


def test_files_of_others_are_not_renamed(tmp_path: Path) -> None:
    mine = tmp_path / "mine.h5.replaced"
    mine.write_bytes(b"\x89HDF\r\n\x1a\n of another program")
    ours = tmp_path / "v0.h5"
    ours.write_bytes(b"features")
    set_aside([ours])
    assert of_names(tmp_path, ".replaced") == ["mine.h5.replaced", "v0.h5.replaced"]
    assert not ours.exists()


def test_a_video_without_permission_is_its_own_failure_and_not_a_change(
    encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_toy(encoded, tmp_path / "toy")
    sources = {name: [folder / f"videos/{name}.mp4"] for name in ("v0", "v1")}
    sources["v0"][0].touch()  # newer than its features, and so may have changed
    denied = PermissionError(errno.EACCES, "Permission denied", str(sources["v0"][0]))
    monkeypatch.setattr(filling, "sha256_of_file", raising(denied))  # the tests may run as root, who may read all
    monkeypatch.setattr(os, "access", lambda path, _: path != sources["v0"][0])
    assert filling.to_make(FeatureStore(folder / "features"), sources) == ["v0"]  # extraction says why it fails
    assert "changed" not in capsys.readouterr().err
