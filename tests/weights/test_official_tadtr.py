import argparse
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actloc.detectors.tadtr import Config
from actloc.errors import UserError
from actloc.weights.files import check_fit
from actloc.weights.official_tadtr import read_official_tadtr
from tests.golden.tadtr_cases import Case, state_entries
from tests.weights.test_official_tallformer import state

SHARED = {name: group.removeprefix("same as ") for name, _, group in state_entries("thumos14_i3d2s") if "same" in group}


def weights(prefix: str = "") -> dict[str, Any]:
    found = state({name: shape for name, shape, _ in state_entries("thumos14_i3d2s")}, prefix)
    return found | {f"{prefix}{name}": found[f"{prefix}{other}"] for name, other in SHARED.items()}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings as the official code stores them: an EasyDict, of a package that is not there when they are read."""

    class EasyDict(dict[str, Any]):
        def __setitem__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            super().__setitem__(name, value)

    EasyDict.__module__, EasyDict.__qualname__ = "easydict", "EasyDict"
    package = types.ModuleType("easydict")
    package.EasyDict = EasyDict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "easydict", package)
    made = EasyDict()
    made["lr"], made["inner"] = 2e-4, EasyDict()
    return made


@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_official_file_fits_the_detector_strictly_and_none_of_its_code_runs(
    tmp_path: Path, prefix: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, given = tmp_path / "model_best.pth", weights(prefix)
    args = argparse.Namespace(cfg="configs/thumos14_i3d2s_tadtr.yml", resume=None)
    torch.save({"model": given, "epoch": 15, "args": args, "cfg": settings, "best_metric": np.float64(56.7)}, path)
    monkeypatch.delitem(sys.modules, "easydict")
    official = read_official_tadtr(path)
    with torch.device("meta"):
        detector = Config().build(2048, 20, 128)
    check_fit(detector, official.weights, path)
    assert official.averaged is official.weights
    assert (official.epoch, official.in_channels, official.encoder) == (15, 2048, {})
    name = "transformer.decoder.layers.2.cross_attn.sampling_offsets.bias"
    assert torch.equal(official.weights[name], given[f"{prefix}{name}"])


def test_files_that_are_no_checkpoint_of_tadtr_or_contradict_themselves_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content in ({"state_dict": weights()}, {"model": {"a": torch.ones(2)}}, [1], {"model": 3}):
        torch.save(content, path)
        with pytest.raises(UserError, match="is not an official TadTR checkpoint"):
            read_official_tadtr(path)
    name = "transformer.decoder.segment_embed.1.layers.0.bias"
    torch.save({"model": weights() | {name: torch.ones(256)}}, path)
    with pytest.raises(UserError, match=f"two values of the same weight: {name}"):
        read_official_tadtr(path)
    torch.save({"model": weights(), "cfg": Case}, path)
    with pytest.raises(UserError, match=r"it needs tests\.golden\.tadtr_cases\.Case"):
        read_official_tadtr(path)
