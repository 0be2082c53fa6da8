import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from actloc.encoders.base import FromStage
from actloc.encoders.video_swin import SIZES, Config, OwnSize, published_name
from actloc.encoders.video_swin.network import VideoSwin
from actloc.end_to_end.memory import SavedBytes
from actloc.errors import UserError
from actloc.layers.shifted_windows import window_offsets
from actloc.video.frame_transforms import Crop, Resize
from tests.encoders.golden import FEATURES, filled, keys

TOLERANCE = 1e-5  # of the largest value; the fixtures' README allows 1e-4
GRADIENT_TOLERANCE = 1e-5
MB = 2**20
OWN_NETWORK = Config.small().network().eval()
OFFSETS = window_offsets((8, 7, 7))
KEY_LISTS = {"tiny": "video_swin_t", "base": "video_swin_b"}


def official(size: str) -> dict[str, Tensor]:
    """The published file's weights under its own names, with the tables of offsets that it also has."""
    shapes = keys(KEY_LISTS[size])
    tables = {name: OFFSETS for name in shapes if name.endswith("relative_position_index")}
    return filled({name: shape for name, shape in shapes.items() if name not in tables}) | tables


@pytest.fixture(scope="module")
def tiny() -> VideoSwin:
    network = Config(size="tiny").network().eval()
    network.load_state_dict(Config().in_our_names(official("tiny")))
    return network


def pixels(case: str, shape: tuple[int, ...], rule: str = "") -> Tensor:
    """The scaled input of a fixture, proven to be the recorded one."""
    made = ruled(f"input:{rule or case.removeprefix('video_')}", shape)
    assert np.array_equal(made.flatten()[:16], recorded(case)["input_head"])
    return torch.from_numpy(made)


def ruled(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def recorded(case: str) -> dict[str, NDArray[Any]]:
    return dict(np.load(FEATURES / f"{case}.npz"))


def stats(values: Tensor) -> list[float]:
    """Mean, standard deviation, norm and largest size."""
    flat = values.detach().double()
    return [flat.mean().item(), flat.std(correction=0).item(), flat.norm().item(), flat.abs().max().item()]


def assert_near(found: Tensor, expected: NDArray[Any]) -> None:
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.detach().numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


def assert_equals_recording(network: VideoSwin, x: Tensor, case: str, stages: list[list[float]]) -> Tensor:
    """The final tokens of `x`, proven to be those recorded, as are the statistics after each stage."""
    seen: list[list[float]] = []
    modules = [network.patch_embed, *network.layers, network.norm]
    hooks = [module.register_forward_hook(lambda *call: seen.append(stats(call[2]))) for module in modules]
    try:
        tokens = network.tokens(x)
    finally:
        for hook in hooks:
            hook.remove()
    for found, expected in zip(seen, stages, strict=True):
        assert np.abs(np.subtract(found, expected)[[0, 1, 3]]).max() <= TOLERANCE * expected[3]
        assert found[2] == pytest.approx(expected[2], rel=TOLERANCE)
    arrays = recorded(case)
    pooled = tokens.mean((2, 3)).mT
    assert_near(pooled[:, :: pooled.shape[1] // arrays["pooled"].shape[1]], arrays["pooled"])
    for group, expected in zip(
        tokens[0].flatten(0, 2).unflatten(1, (16, -1)).unbind(1), arrays["groups16"], strict=True
    ):
        assert_near(torch.tensor(stats(group)[:3]), expected)
    return tokens


def test_small_clips_have_the_recorded_outputs_and_gradients(tiny: VideoSwin) -> None:
    """Windows are cut in space here, so biases are those of the full window's first rows."""
    case = "video_swin_t_16x64"
    listed = json.loads((FEATURES / f"{case}.json").read_text())
    x = pixels(case, (1, 3, 16, 64, 64))
    tokens = assert_equals_recording(tiny, x, case, [stage[1] for stage in listed["stages"].values()])
    out = tokens.permute(0, 4, 1, 2, 3)
    arrays = recorded(case)
    assert_near(out[0, :8], arrays["slice8"])
    (out * torch.from_numpy(ruled("cotangent:swin_t_16x64", tuple(out.shape)))).sum().backward()
    found = {name: weight.grad for name, weight in tiny.named_parameters()}
    names = Config().in_our_names(
        {name: torch.tensor(norm, dtype=torch.float64) for name, norm in listed["grad_norm"].items()}
    )
    assert found.keys() == names.keys()
    for name, norm in names.items():
        assert found[name].double().norm().item() == pytest.approx(norm.item(), rel=GRADIENT_TOLERANCE), name
    assert_near(found["layers.1.blocks.1.attn.relative_position_bias_table"], arrays["grad_bias_table"])
    assert_near(found["patch_embed.proj.bias"], arrays["grad_patch_bias"])
    tiny.zero_grad()


def test_clips_of_the_published_size_have_the_recorded_outputs(tiny: VideoSwin) -> None:
    case = "video_swin_t_32x224"
    with torch.inference_mode():
        assert_equals_recording(tiny, pixels(case, (1, 3, 32, 224, 224)), case, recorded(case)["stages"].tolist())


def test_chunks_of_long_clips_have_the_recorded_outputs(tiny: VideoSwin) -> None:
    """A video's clips of 32 frames, the last filled with zeros after the scaling, give ceil(T / 2) vectors."""
    case = "video_swin_t_chunks"
    x = pixels(case, (2, 3, 64, 32, 32), rule="chunk_64")
    chunked = in_chunks(tiny, x)
    assert_near(chunked[:, ::4], recorded(case)["output"])
    cut = in_chunks(tiny, x[:, :, :45])
    assert cut.shape == (2, 768, 23)
    torch.testing.assert_close(cut[:, :, :16], chunked[:, :, :16], atol=1e-5, rtol=0)


def in_chunks(network: VideoSwin, x: Tensor) -> Tensor:
    """Vectors (B, C, ceil(T/2)) of scaled pixels (B, 3, T, H, W), clip by clip."""
    frames = x.shape[2]
    padded = F.pad(x, (0, 0, 0, 0, 0, -frames % 32))
    clips = padded.unflatten(2, (-1, 32)).transpose(1, 2)  # (B, S, 3, 32, H, W)
    with torch.inference_mode():
        vectors = network.tokens(clips.flatten(0, 1)).mean((2, 3)).unflatten(0, clips.shape[:2])  # (B, S, 16, C)
    return vectors.flatten(1, 2).mT[:, :, : -(-frames // 2)]


def test_base_has_the_recorded_outputs() -> None:
    network = Config(size="base").network().eval()
    network.load_state_dict(Config().in_our_names(official("base")))
    case = "video_swin_b_32x96"
    with torch.inference_mode():
        assert_equals_recording(network, pixels(case, (1, 3, 32, 96, 96)), case, recorded(case)["stages"].tolist())


@pytest.mark.parametrize("size", KEY_LISTS)
def test_weights_have_the_official_shapes_and_order(size: str) -> None:
    with torch.device("meta"):
        network = Config.model_validate({"size": size}).network()
        listed = {name: torch.empty(shape) for name, shape in keys(KEY_LISTS[size]).items() if "_index" not in name}
    expected = Config().in_our_names(listed)
    assert {name: one.shape for name, one in network.state_dict().items()} == {
        name: one.shape for name, one in expected.items()
    }
    count = sum(weight.numel() for weight in network.parameters())
    assert count == json.loads((FEATURES / f"{KEY_LISTS[size]}.keys.json").read_text())["n_params"]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_as_many_weights_as_its_file_is_said_to_have(size: str) -> None:
    with torch.device("meta"):
        network = Config.model_validate({"size": size}).network()
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert SIZES[size].published.size == f"{millions:,.0f} million weights"


def own() -> dict[str, Tensor]:
    """The small network's weights and tables of offsets, as in a published file."""
    weights = {published_name(key): value for key, value in OWN_NETWORK.state_dict().items()}
    tables = {key.replace("bias_table", "index"): OFFSETS for key in weights if key.endswith("bias_table")}
    return weights | tables


SMALL = Config.small()


def loaded(content: dict[str, Any], folder: Path) -> VideoSwin:
    torch.save(content, folder / "swin.pth")
    return SMALL.model_copy(update={"weights": folder / "swin.pth"}).build()


CLASSIFIER = {"cls_head.fc_cls.weight": torch.randn(7, 128), "cls_head.fc_cls.bias": torch.randn(7)}


def test_a_published_file_loads_with_its_classifier(tmp_path: Path) -> None:
    encoder = loaded({"meta": {"epoch": 30}, "state_dict": own() | CLASSIFIER}, tmp_path)
    assert not encoder.training
    assert encoder.weights_sha256 is not None
    for name, weight in OWN_NETWORK.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], weight)
    features = torch.randn(2, 128, 8)
    expected = features.mean(2) @ CLASSIFIER["cls_head.fc_cls.weight"].T + CLASSIFIER["cls_head.fc_cls.bias"]
    torch.testing.assert_close(encoder.logits(features), expected)


def test_tallformers_copy_of_a_published_file_loads(tmp_path: Path) -> None:
    unused = {"backbone.layers.0.blocks.1.dummy_tensor": torch.zeros(1)}
    encoder = loaded(own() | unused, tmp_path)
    assert encoder.state_dict().keys() == OWN_NETWORK.state_dict().keys()
    with pytest.raises(UserError, match="has no classifier"):
        encoder.logits(torch.zeros(1, 128, 8))


def test_all_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    content = own() | {"neck.weight": torch.ones(3), "backbone.norm.bias": torch.zeros(3)}
    content["backbone.layers.0.blocks.0.attn.relative_position_index"] = OFFSETS.flip(0)
    del content["backbone.layers.1.blocks.0.norm1.weight"]
    with pytest.raises(UserError) as raised:
        loaded(content, tmp_path)
    for fault in (
        "layers.1.blocks.0.attn.norm.weight is missing",
        "neck.weight is unexpected",
        "norm.bias is (3,)",
        "layers.0.blocks.0.attn.relative_position_index is unexpected",
    ):
        assert fault in raised.value.found


def test_a_missing_file_is_reported_with_its_published_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"swin_base_patch244_window877_kinetics400_22k\.pth"):
        Config().build()
    assert SMALL.build().weights_sha256 is None


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"size": {"dim": 24, "depths": [1, 1, 2, 1], "heads": [5, 2, 4, 8]}}, "5 does not divide the 24 of stage 0"),
        ({"side": 128}, "crop 224 is larger than side 128"),
        ({"drop_path": 1.0}, "less than 1"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Config.model_validate(settings)


def test_frames_become_squares_whose_centre_is_scaled() -> None:
    assert Config().frame_steps() == (Resize("swscale_bicubic", size=(256, 256)), Crop(224))
    assert Config(side=128, crop=112).frame_steps() == (Resize("swscale_bicubic", size=(128, 128)), Crop(112))
    clips = torch.randint(0, 256, (1, 4, 32, 32, 3), dtype=torch.uint8)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    with torch.inference_mode():
        scaled = ((clips - mean) / std).permute(0, 4, 1, 2, 3)
        expected = OWN_NETWORK.tokens(scaled).mean((2, 3)).mT
        torch.testing.assert_close(OWN_NETWORK.encode(clips), expected)
    torch.testing.assert_close(OWN_NETWORK.zero_pixel(), mean)


def test_sizes_that_patches_do_not_divide_are_filled_with_zeros() -> None:
    x = torch.randn(1, 3, 5, 30, 37)
    with torch.inference_mode():
        assert torch.equal(OWN_NETWORK.tokens(x), OWN_NETWORK.tokens(F.pad(x, (0, 3, 0, 2, 0, 1))))


def test_checkpointed_training_of_the_last_two_stages_keeps_as_little_as_the_official_code() -> None:
    encoder = Config(size="tiny").network().eval()
    encoder.set_trainable(FromStage(from_stage=2))
    encoder.recompute_blocks()
    peaks = []
    for clips in (1, 2):
        with SavedBytes([*encoder.parameters(), *encoder.buffers()]) as saved:
            encoder.encode(torch.zeros(clips, 16, 112, 112, 3, dtype=torch.uint8)).sum().backward()
        peaks.append(saved.peak / MB)
    assert peaks[0] + 8 * (peaks[1] - peaks[0]) <= 150  # the official code keeps 147 MB of 9 clips


def test_stochastic_depth_rises_from_the_first_block_and_is_off_where_nothing_learns() -> None:
    encoder = Config(size="tiny").network()
    blocks = [block for stage in encoder.layers for block in stage.blocks]
    assert [block.drop_path.rate for block in blocks] == pytest.approx(np.linspace(0, 0.1, 12))
    encoder.eval().set_trainable(FromStage(from_stage=2))
    encoder.drop_branches(True)
    assert [block.drop_path.training for block in blocks] == [False] * 4 + [True] * 8
    assert not any(part.training for stage in encoder.stages() for part in stage)
    encoder.drop_branches(False)
    assert not any(module.training for module in encoder.modules())


@pytest.mark.parametrize("size", [OwnSize(dim=24, depths=(1, 1, 2, 1), heads=(1, 2, 4, 8))])
def test_gradients_reach_every_weight_in_bfloat16(size: OwnSize) -> None:
    encoder = Config(size=size, side=64, crop=64).network().eval()
    clips = torch.randint(0, 256, (1, 16, 64, 64, 3), dtype=torch.uint8)
    exact = encoder.encode(clips)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder.encode(clips)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()
    rounded.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in encoder.parameters())


def test_random_weights_are_the_same_each_time_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (Config.small().build().state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
