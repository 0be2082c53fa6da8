import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from actloc.detectors.tallformer import Config
from actloc.errors import UserError
from actloc.weights.files import check_fit
from actloc.weights.official_tallformer import read_official_tallformer
from tests.golden.cases import GOLDEN

KEYS = json.loads((GOLDEN / "tallformer" / "keys_thumos_neck_head.json").read_text())["state_dict"]
ENCODER = {
    "backbone.patch_embed.proj.weight": [8, 3, 2, 4, 4],
    "backbone.layers.0.blocks.0.attn.relative_position_bias_table": [2535, 3],
    "backbone.layers.0.blocks.0.attn.relative_position_index": [392, 392],
    "backbone.layers.0.blocks.0.dummy_tensor": [1],
}


def state(shapes: dict[str, list[int]], prefix: str = "") -> dict[str, Tensor]:
    """Tensors of these shapes that take a file no space: each is one number, repeated."""
    numbered = enumerate(shapes.items())
    return {f"{prefix}{name}": torch.tensor(float(number)).expand(shape) for number, (name, shape) in numbered}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("entry", ["state_dict", None])
def test_an_official_file_fits_detector_and_encoder_strictly(tmp_path: Path, prefix: str, entry: str | None) -> None:
    path, given = tmp_path / "epoch_1000_weights.pth", state(KEYS | ENCODER, prefix)
    torch.save(given if entry is None else {"meta": {"epoch": 1000}, entry: given, "optimizer": {}}, path)
    official = read_official_tallformer(path)
    with torch.device("meta"):
        detector = Config().build(1024, 20, 240)
    check_fit(detector, official.weights, path)
    assert official.averaged is official.weights
    assert official.in_channels == 1024
    assert sorted(official.encoder) == [
        "layers.0.blocks.0.attn.relative_position_bias_table",
        "patch_embed.proj.weight",
    ]
    weight = official.weights["neck.2.trans_layers.3.self_attn.in_proj.weight"]
    assert torch.equal(weight, given[f"{prefix}neck.2.trans_layers.3.self_attn.in_proj_weight"])
    assert torch.equal(official.weights["head.retina_reg.bias"], given[f"{prefix}head.retina_reg.bias"])


def test_weights_for_longer_windows_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": state(KEYS)}, path)
    with torch.device("meta"):
        detector = Config().build(1024, 20, 480)
    with pytest.raises(UserError, match=r"bias_table is \(119, 16\), the settings make it \(239, 16\)"):
        check_fit(detector, read_official_tallformer(path).weights, path)


@pytest.mark.parametrize(
    "content",
    [
        [1],
        {"state_dict": state(ENCODER)},
        {"state_dict": {"neck.0.conv1.weight": "a"}},
        {"state_dict": 3},
        {"epoch": 3},
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=r"is not an official TALLFormer checkpoint"):
        read_official_tallformer(path)
