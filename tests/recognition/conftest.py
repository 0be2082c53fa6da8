from pathlib import Path

import pytest

from actloc.commands import prepare
from actloc.experiment import load
from actloc.video import reader
from tests.forked_decoder import ForkingSubprocess, decoder_server
from tests.toy import copy_toy
from tests.toy_clips import make_toy_clips


@pytest.fixture(scope="session")
def toy_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips and labels for recognition, prepared; copy it before breaking it."""
    folder = make_toy_clips(tmp_path_factory.mktemp("toy_clips") / "toy")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(reader, "subprocess", ForkingSubprocess(decoder_server()))
        prepare.run(load("toy.yaml"))
    return folder


@pytest.fixture
def folder(toy_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forked_decoders: None) -> Path:
    """A copy of it, which is the working folder."""
    copied = copy_toy(toy_clips, tmp_path / "toy")
    monkeypatch.chdir(copied)
    return copied
