"""Weights over pictures as the start of DualFormer's, which is over clips."""

import json
from pathlib import Path

import torch
from torch import nn

from actloc.weights.official_dualformer import published_name
from tests.encoders.test_dualformer import GOLDEN, MINI, SMALL, assert_summary, recorded
from tests.golden.fill import fill


def test_image_weights_become_those_of_clips() -> None:
    shapes = {name: tuple(shape) for name, shape in json.loads((GOLDEN / "inflate_mini_2d_keys.json").read_text())}
    pictures = {
        name: torch.tensor(0) if name.endswith("tracked") else torch.from_numpy(fill(f"2d.{name}", shape))
        for name, shape in shapes.items()
    }
    weights = MINI.in_our_names(pictures | {"head.weight": torch.zeros(1000, 32), "head.bias": torch.zeros(1000)})
    network = MINI.network_for(weights)
    network.load_state_dict(weights)
    found = {published_name(name).removeprefix("backbone."): one for name, one in network.state_dict().items()}
    arrays = recorded("inflate_mini")
    checked = {name.partition("/")[0] for name in arrays}
    assert checked == {
        name for name, one in found.items() if one.dim() == 5 or (".lr." in name and "tracked" not in name)
    }
    for name in checked:
        assert_summary(found[name], arrays, name, 1e-7)
    for name in found.keys() - checked:
        assert torch.equal(found[name], pictures[name])


def test_a_clip_of_one_picture_starts_as_the_picture(tmp_path: Path) -> None:
    """A file of weights over pictures loads; the first tokens of equal pictures are those of one."""
    pictures = {
        published_name(name).removeprefix("backbone."): one[:, :, 0] if one.dim() == 5 else one
        for name, one in SMALL.network().state_dict().items()
        if ".lr.3." not in name
    }
    torch.save({"model": pictures}, tmp_path / "pictures.pth")
    encoder = SMALL.model_copy(update={"weights": tmp_path / "pictures.pth"}).build()
    picture = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        proj = encoder.patch_embeds[0].proj(picture[:, :, None].expand(1, 3, 4, 64, 64))
        weight, bias = pictures["patch_embeds.0.proj.weight"], pictures["patch_embeds.0.proj.bias"]
        expected = nn.functional.conv2d(picture, weight, bias, stride=4)
        torch.testing.assert_close(proj, expected[:, :, None].expand_as(proj))
