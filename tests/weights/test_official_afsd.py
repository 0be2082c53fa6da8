import json
from pathlib import Path

import pytest
import torch

from actloc.detectors.afsd import Config
from actloc.errors import UserError
from actloc.weights.files import check_fit
from actloc.weights.official_afsd import read_official_afsd
from tests.golden.cases import GOLDEN
from tests.weights.test_official_tallformer import ENCODER, state

KEYS = json.loads((GOLDEN / "tallformer" / "keys_anet_afsd_head.json").read_text())["state_dict"]


def test_an_official_file_fits_detector_and_encoder_strictly(tmp_path: Path) -> None:
    path, given = tmp_path / "epoch_10_weights.pth", state(KEYS | ENCODER)
    torch.save({"meta": {"epoch": 10}, "state_dict": given}, path)
    official = read_official_afsd(path)
    with torch.device("meta"):
        detector = Config().build(1024, 200, 384)
    check_fit(detector, official.weights, path)
    assert official.averaged is official.weights
    assert official.in_channels == 1024
    assert "patch_embed.proj.weight" in official.encoder
    # shapes alone do not tell these apart
    for ours, theirs in {
        "pyramid.halving.4.conv.weight": "pyramids.2.layer5.0.conv.weight",
        "pyramid.top_down.lateral_convs.5.bn.bias": "pyramids.3.lateral_convs.5.gn.bias",
        "fine_grid.1.norm.weight": "deconv.4.weight",
        "segment_tower.1.norm.bias": "loc_tower.1.1.bias",
        "confidence_refinement.point.conv.bias": "conf_proposal_branch.cur_point_conv.0.conv1d.bias",
        "segment_refinement.fine.norm.weight": "loc_proposal_branch.roi_conv.1.weight",
        "distance_head.bias": "loc_head.conv1d.bias",
        "refined_confidence_head.bias": "prop_conf_head.conv1d.bias",
        "scales.3": "loc_heads.3.scale",
    }.items():
        assert torch.equal(official.weights[ours], given[f"coarse_pyramid_detection.{theirs}"]), ours


def test_an_unknown_weight_is_reported_by_its_official_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": state({**KEYS, "coarse_pyramid_detection.deconv.9.weight": [4]})}, path)
    with torch.device("meta"):
        detector = Config().build(1024, 200, 384)
    with pytest.raises(UserError, match=r"deconv\.9\.weight is unexpected"):
        check_fit(detector, read_official_afsd(path).weights, path)
