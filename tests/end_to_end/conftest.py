from pathlib import Path

import pytest

from tests.toy import actloc, copy_toy, make_toy
from tests.toy_clips import make_toy_clips


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and labels; nothing has run on them. Copy it before breaking it."""
    return make_toy(tmp_path_factory.mktemp("toy") / "toy")


@pytest.fixture(scope="session")
def encoded(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set prepared and with features."""
    folder = copy_toy(toy, tmp_path_factory.mktemp("encoded") / "toy")
    for command in ("prepare", "extract-features"):
        done = actloc(folder, command, "toy.yaml")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def trained(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy set trained without disturbance, 8 steps."""
    folder = copy_toy(encoded, tmp_path_factory.mktemp("trained") / "toy")
    done = actloc(folder, "train", "toy.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def toy_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips and labels for recognition, prepared; copy it before breaking it."""
    folder = make_toy_clips(tmp_path_factory.mktemp("toy_clips") / "toy")
    done = actloc(folder, "prepare", "toy.yaml")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def recognizing(toy_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips with a run that was trained without disturbance, 9 steps, and scored."""
    folder = copy_toy(toy_clips, tmp_path_factory.mktemp("recognizing") / "toy")
    for command in ("train", "eval"):
        done = actloc(folder, command, "toy.yaml")
        assert done.returncode == 0, done.stderr
    return folder
