from pathlib import Path

import pytest

from actloc.annotations import form as annotation_form
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from tests.toy import SCENES, actloc, copy_toy, digests, make_toy


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and annotations; no features."""
    folder = make_toy(tmp_path_factory.mktemp("extraction") / "toy")
    videos = {
        name: AnnotatedVideo(name, "train", (Action(0.5, 1.0, "red"),), 4.0, file=Path(f"videos/{name}.mp4"))
        for name in SCENES
    }
    annotation_form.write(folder / "prepared" / "annotations.json", Annotations(("blue", "red"), videos))
    return folder


@pytest.fixture(autouse=True)
def _quickly(forked_decoders: None) -> None:
    pass


@pytest.fixture
def folder(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy folder of its own, which is the working folder."""
    copied = copy_toy(toy, tmp_path / "toy")
    monkeypatch.chdir(copied)
    return copied


@pytest.fixture(scope="session")
def reference(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """sha256 of every feature file of an undisturbed run."""
    copied = copy_toy(toy, tmp_path_factory.mktemp("reference") / "toy")
    done = actloc(copied, "extract-features", "toy.yaml")
    assert done.returncode == 0, done.stderr
    return digests(copied / "features")
