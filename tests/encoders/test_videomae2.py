from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actloc.encoders.videomae2 import SIZES, Config
from actloc.encoders.videomae2.network import VideoMAE2
from actloc.errors import UserError
from tests.encoders.golden import FEATURES, TOLERANCE, error, filled, keys

KEY_LISTS = {
    "small": "videomaev2_vit_small_patch16_224",
    "base": "videomaev2_vit_base_patch16_224",
    "giant": "videomaev2_vit_giant_patch14_224",
}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return filled(keys(KEY_LISTS["small"]))


@pytest.fixture(scope="module")
def encoder(weights: dict[str, Tensor]) -> VideoMAE2:
    network = Config.small().network().eval()
    network.load_state_dict(weights)
    return network


def noise(count: int, frames: int, side: int) -> Tensor:
    return torch.randint(0, 256, (count, frames, side, side, 3), generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize("size", KEY_LISTS)
def test_weights_have_the_official_names_shapes_and_order(size: str) -> None:
    with torch.device("meta"):
        network = Config.model_validate({"size": size}).network()
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert list(found.items()) == list(keys(KEY_LISTS[size]).items())


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_as_many_weights_as_its_file_is_said_to_have(size: str) -> None:
    with torch.device("meta"):
        network = Config.model_validate({"size": size}).network()
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert SIZES[size].published.size == f"{millions:,.0f} million weights"


def test_frames_are_squashed_to_224_and_not_normalised() -> None:
    video = np.random.RandomState(130).randint(0, 256, (3, 180, 320, 3), dtype=np.uint8)
    (step,) = Config().frame_steps()
    found = np.stack([step.apply(frame) for frame in video]).transpose(3, 0, 1, 2) / 255
    with np.load(FEATURES / "videomae_preprocess.npz") as arrays:
        case = {name: arrays[f"videomaev2_tal/180x320/{name}"] for name in ("shape", "sub5", "mean_std")}
    assert found.shape == tuple(case["shape"])
    assert np.abs(found[..., ::5, ::5] - case["sub5"]).max() < 1e-5
    assert np.abs([found.mean(), found.std()] - case["mean_std"]).max() < 1e-5


def test_features_and_class_scores_equal_those_of_another_implementation(encoder: VideoMAE2) -> None:
    coarse = np.random.RandomState(0).randint(0, 256, (1, 16, 14, 14, 3)).astype(np.uint8)
    clips = torch.from_numpy(coarse.repeat(16, axis=2).repeat(16, axis=3))
    with torch.inference_mode():
        features = encoder.encode(clips)
        scores = encoder.logits(features)
    recorded = np.load(FEATURES / "videomae_small_transformers.npz")
    assert error(features[:, :, 0], recorded["feature"]) < TOLERANCE
    assert error(scores, recorded["logits"]) < TOLERANCE


def test_only_positions_tell_tokens_apart(encoder: VideoMAE2, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = noise(1, 8, 32)
    turned = clips.unflatten(1, (4, 2)).flip(1).flatten(1, 2)  # pairs of frames in reverse
    with torch.inference_mode():
        assert not torch.allclose(encoder.encode(clips), encoder.encode(turned), atol=1e-3)
        monkeypatch.setitem(encoder._buffers, "positions", torch.zeros_like(encoder.positions))
        torch.testing.assert_close(encoder.encode(clips), encoder.encode(turned), atol=1e-5, rtol=0)


def test_positions_of_longer_clips_go_on_where_the_table_ends() -> None:
    network = Config.small().network()
    short = network.positions.clone()
    longer = network._positions_of(short.shape[1] + 5)
    assert torch.equal(longer[:, :-5], short)
    assert longer[0, -1, 1] == pytest.approx(np.cos(short.shape[1] + 4), abs=1e-6)


def test_gradients_reach_every_weight_but_the_classifiers(encoder: VideoMAE2) -> None:
    encoder.encode(noise(2, 4, 32)).square().sum().backward()
    without = {name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert without == {"head.weight", "head.bias"}
    encoder.zero_grad()


def test_pixels_are_normalised_where_the_settings_say_so(encoder: VideoMAE2, weights: dict[str, Tensor]) -> None:
    normalising = Config(size="small", normalise=True).network().eval()
    normalising.load_state_dict(weights)
    clips = noise(1, 2, 32)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    with torch.inference_mode():
        expected = encoder.encode((clips - mean) / std * 255)
        torch.testing.assert_close(normalising.encode(clips), expected, atol=1e-5, rtol=0)
        assert not torch.allclose(encoder.encode(clips), expected, atol=1e-2)


@pytest.mark.parametrize("entry", ["model", "module", None])
def test_a_checkpoint_loads_with_the_classes_that_it_has(
    entry: str | None, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    fine_tuned = weights | {"head.weight": weights["head.weight"][:400], "head.bias": weights["head.bias"][:400]}
    halved = {name: tensor.half() for name, tensor in fine_tuned.items()}  # as DeepSpeed writes them
    torch.save(halved if entry is None else {"epoch": 3, entry: halved}, tmp_path / "vit_s.pth")
    loaded = Config(size="small", weights=tmp_path / "vit_s.pth").build()
    assert not loaded.training
    assert loaded.weights_sha256 is not None
    assert loaded.logits(torch.zeros(1, 384, 1)).shape == (1, 400)
    assert all(weight.dtype == torch.float32 for weight in loaded.parameters())
    assert torch.equal(loaded.blocks[3].attn.q_bias, halved["blocks.3.attn.q_bias"].float())


def test_all_that_does_not_fit_is_listed(weights: dict[str, Tensor], tmp_path: Path) -> None:
    changed: dict[str, Any] = weights | {"norm.weight": torch.ones(384), "fc_norm.bias": torch.zeros(3)}
    del changed["blocks.2.attn.v_bias"]
    torch.save({"module": changed}, tmp_path / "vit_s.pth")
    with pytest.raises(UserError) as raised:
        Config(size="small", weights=tmp_path / "vit_s.pth").build()
    for fault in ("blocks.2.attn.v_bias is missing", "norm.weight is unexpected", "fc_norm.bias is (3,)"):
        assert fault in raised.value.found


def test_a_missing_file_is_reported_with_its_published_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"vit_g_hyrbid_pt_1200e_k710_ft\.pth"):
        Config().build()
