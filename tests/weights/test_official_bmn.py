import json
from pathlib import Path

import pytest
import torch

from actloc.detectors.bmn import Config
from actloc.errors import UserError
from actloc.experiment import load
from actloc.runs.trained import load_official
from actloc.weights.files import check_fit
from actloc.weights.official_bmn import read_official_bmn
from tests.golden.cases import GOLDEN
from tests.weights.test_official_tallformer import state

LISTED = json.loads((GOLDEN / "bmn" / "state_dicts" / "activitynet.json").read_text())
SHAPES = {key: shape for key, shape, _, _ in LISTED if key != "sample_mask"}
MASK = {"sample_mask": [3, 4]}  # as in the authors' files, where it is (100, 320000)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_official_file_fits_the_detector_strictly_and_its_mask_is_left_out(tmp_path: Path, prefix: str) -> None:
    path, given = tmp_path / "checkpoint.pth.tar", state({**SHAPES, **MASK}, prefix)
    torch.save({"epoch": 9, "state_dict": given}, path)
    official = read_official_bmn(path)
    with torch.device("meta"):
        detector = Config().build(400, 1, 100)
    check_fit(detector, official.weights, path)
    assert official.weights.keys() == detector.state_dict().keys() == SHAPES.keys()
    assert official.averaged is official.weights
    assert official.in_channels == 400
    assert all(torch.equal(tensor, given[prefix + key]) for key, tensor in official.weights.items())


def test_an_official_file_can_be_scored_without_its_mask(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"epoch": 9, "state_dict": state({**SHAPES, **MASK}, "module.")}, path)
    trained = load_official(load("activitynet13_tsn_bmn"), path, ("action",))
    assert set(trained.localizer.detector.state_dict()) == SHAPES.keys()


def test_a_new_detector_is_initialised_as_the_official_one() -> None:
    torch.manual_seed(0)
    found = Config().build(400, 1, 100).state_dict()
    for key, shape, group, (low, high, spread) in LISTED:
        if group == "constant":
            continue
        assert list(found[key].shape) == shape
        if found[key].numel() > 100:
            assert [found[key].min().item(), found[key].max().item()] == pytest.approx([low, high], rel=0.1), key
            assert found[key].std().item() == pytest.approx(spread, rel=0.15), key


def test_other_files_and_unknown_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content in ({"state_dict": {"backbone.weight": torch.ones(2)}}, [1, 2], {"state_dict": 3}):
        torch.save(content, path)
        with pytest.raises(UserError, match="is not an official BMN checkpoint"):
            read_official_bmn(path)
    torch.save({"state_dict": state({**SHAPES, "x_1d_p.2.extra": [4]})}, path)
    with torch.device("meta"):
        detector = Config().build(400, 1, 100)
    with pytest.raises(UserError, match=r"x_1d_p\.2\.extra is unexpected"):
        check_fit(detector, read_official_bmn(path).weights, path)
