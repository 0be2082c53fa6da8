import json
from pathlib import Path

import pytest
import torch

from actloc.detectors.etad import Config
from actloc.errors import UserError
from actloc.experiment import load
from actloc.runs.official import encoder_weights
from actloc.runs.trained import load_official
from actloc.weights.files import check_fit
from actloc.weights.official_etad import read_official_etad
from tests.golden.cases import GOLDEN
from tests.weights.test_official_tallformer import state

KEYS = json.loads((GOLDEN / "etad" / "keys_etad_detector.json").read_text())["state_dict"]


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("entry", ["state_dict", None])
def test_an_official_file_fits_the_detector_strictly(tmp_path: Path, prefix: str, entry: str | None) -> None:
    path, given = tmp_path / "checkpoint.pth.tar", state({**KEYS, "backbone.stem.0.weight": [45, 3]}, prefix)
    torch.save(given if entry is None else {"epoch": 5, entry: given}, path)
    official = read_official_etad(path)
    with torch.device("meta"):
        detector = Config().build(512, 1, 128)
    check_fit(detector, official.weights, path)
    assert official.averaged is official.weights
    assert official.in_channels == 512
    assert list(official.encoder) == ["stem.0.weight"]
    # shapes alone do not tell these apart
    for ours, theirs in {
        "enhancement.forward_lstm.bias_hh_l0": "temporal_enhance.mem_f.bias_hh_l0",
        "enhancement.backward_branch.norm.weight": "temporal_enhance.layer2_b.1.weight",
        "stage_convs.2.bias": "stage_conv.2.0.bias",
        "stage_heads.1.boundary_class.6.weight": "stage_pem.1.cls_se_fc.6.weight",
        "stage_heads.0.center.6.bias": "stage_pem.0.reg_cw_fc.6.bias",
        "stage_heads.2.start_bins.weight": "stage_pem.2.reg_s_fc.0.weight",
        "stage_heads.2.end.4.weight": "stage_pem.2.reg_e_fc.6.weight",
        "stage_heads.2.start.2.weight": "stage_pem.2.reg_s_fc.4.weight",
    }.items():
        assert torch.equal(official.weights[ours], given[f"{prefix}base_detector.{theirs}"]), ours


def test_an_unknown_weight_is_reported_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": state({**KEYS, "base_detector.stage_pem.0.extra.weight": [4]})}, path)
    with torch.device("meta"):
        detector = Config().build(512, 1, 128)
    with pytest.raises(UserError, match=r"extra\.weight is unexpected"):
        check_fit(detector, read_official_etad(path).weights, path)
    for content in ({"state_dict": {"backbone.weight": torch.ones(2)}}, [1, 2], {"state_dict": 3}):
        torch.save(content, path)
        with pytest.raises(UserError, match="is not an official ETAD checkpoint"):
            read_official_etad(path)


FEATURES = (
    "{name: encoded, encoder: {name: r2plus1d, variant: r2plus1d_18}, fps: 15, clip_frames: 16, stride_frames: 16}"
)


@pytest.mark.parametrize("prefix", ["backbone.", "module.encoder.features.", ""])
def test_the_encoder_of_a_file_gets_its_weights_whatever_it_is_called_there(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "checkpoint.pth"
    yaml = "dataset: {name: custom, folder: prepared, videos: videos, annotations: a.csv, class_agnostic: true}\n"
    (tmp_path / "etad.yaml").write_text(f"{yaml}features: {FEATURES}\ndetector: {{name: etad}}\n")
    experiment = load(str(tmp_path / "etad.yaml"))
    assert experiment.features.encoder is not None
    network = experiment.features.encoder.network_for({})  # an official file has no classifier
    given = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": {**state(KEYS), **given}}, path)
    weights = encoder_weights(experiment, read_official_etad(path), path)
    assert weights.keys() == network.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    with pytest.raises(UserError, match="has no classifier of segments") as caught:
        load_official(experiment, path, ("fall", "run"))
    assert "dataset.class_agnostic=true" in caught.value.fix
