import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from actloc.commands.show_encoder import encoder_size
from actloc.encoders.base import FromStage
from actloc.encoders.base_network import check_clips
from actloc.encoders.dualformer import SIZES, Config, OwnSize
from actloc.encoders.dualformer.network import DualFormer
from actloc.end_to_end.memory import SavedBytes
from actloc.errors import UserError
from actloc.layers.global_pyramid import Block, LocalAttention, PositionGenerator, PyramidAttention
from actloc.sources.encoded import Config as EncodedConfig
from actloc.video.frame_transforms import Crop, Resize
from actloc.video.windows import ClipSpacing
from actloc.weights.official_dualformer import published_name
from tests.encoders.golden import filled
from tests.golden.fill import fill

GOLDEN = Path("tests/golden/dualformer")
LOGITS_TOLERANCE, TOKENS_TOLERANCE = 5e-6, 1e-5  # of the fixtures
MINI = Config(
    size=OwnSize(
        dims=(8, 16, 24, 32),
        depths=(2, 3, 2, 2),
        heads=(1, 2, 3, 4),
        windows=((8, 6, 6), (4, 6, 6), (8, 6, 3), (8, 3, 3)),
        fine=((4, 6, 6), (8, 6, 6), (4, 3, 3), (8, 3, 3)),
        coarse=((4, 3, 3), (4, 1, 1)),
    ),
    frames=16,
    side=96,
    crop=96,
)
MB = 2**20
PUBLISHED = {"tiny": "tiny_k400_32f", "small": "small_k400_32f", "base": "base_k600_32f"}
SMALL = Config.small()
NEW_AT_16_FRAMES = [
    (0, 1, "lr.3"),
    (1, 1, "lr.3"),
    (0, 1, "sr"),
    (1, 1, "sr"),
    *((2, one, "sr") for one in range(1, 10, 2)),
]
"""The layers of the pyramid with other kernels than at 32 frames: stage, block, name."""


def published_shapes(case: str) -> dict[str, tuple[int, ...]]:
    """The official names and shapes of a network."""
    return {name: tuple(shape) for name, shape, _ in json.loads((GOLDEN / "keys.json").read_text())[case]}


def official(config: Config, case: str) -> DualFormer:
    """The network with the fixtures' weights."""
    weights = config.in_our_names(filled(published_shapes(case)))
    network = config.network_for(weights).eval()
    network.load_state_dict(weights)
    return network


@pytest.fixture(scope="module")
def mini() -> DualFormer:
    return official(MINI, "mini_16f_96px")


def recorded(case: str) -> dict[str, NDArray[Any]]:
    return dict(np.load(GOLDEN / f"{case}.npz"))


def clips_of(arrays: dict[str, NDArray[Any]]) -> Tensor:
    """The scaled pixels (B, 3, T, H, W) of a fixture."""
    seed, (count, frames, channels, height, width) = int(arrays["seed"]), arrays["clip_shape_BTCHW"].tolist()

    def drawn(more: int, *shape: int) -> NDArray[np.float64]:
        return np.random.RandomState(seed + more).standard_normal(shape)

    squares = drawn(2000, count, 1, channels, height // 8, width // 8).repeat(8, 3).repeat(8, 4)
    flicker = drawn(1000, count, frames, channels, 1, 1)
    made = drawn(0, count, frames, channels, height, width) + 2 * flicker + 2 * squares
    return torch.from_numpy(made.astype(np.float32)).transpose(1, 2)


def assert_summary(found: Tensor, arrays: dict[str, NDArray[Any]], name: str, tolerance: float) -> None:
    """The values are those whose shape, statistics and samples were recorded; the tolerance is of the largest one."""
    assert list(found.shape) == arrays[f"{name}/shape"].tolist(), name
    flat = found.detach().double().flatten()
    stats, expected = [flat.mean(), flat.std(correction=0), flat.abs().max()], arrays[f"{name}/stats"]
    atol = tolerance * max(1.0, expected[2])
    np.testing.assert_allclose(stats, expected, rtol=0, atol=atol, err_msg=name)
    samples = arrays[f"{name}/samples"]
    places = np.linspace(0, len(flat) - 1, len(samples)).astype(np.int64)
    np.testing.assert_allclose(flat[places], samples, rtol=0, atol=atol, err_msg=name)


def assert_equals_recording(network: DualFormer, case: str) -> None:
    """The output of every kind of layer in every stage, of the network and of its classifier."""
    arrays, seen = recorded(case), dict[str, Tensor]()
    watched: dict[str, nn.Module] = {}
    for stage, blocks in enumerate(network.blocks):
        watched[f"patch_embeds.{stage}"], watched[f"pos_block.{stage}"] = (
            network.patch_embeds[stage],
            network.pos_block[stage],
        )
        watched |= {f"blocks.{stage}.0": blocks[0], f"blocks.{stage}.1": blocks[1]}
        watched[f"blocks.{stage}.last"] = blocks[len(blocks) - 1]
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for name, module in watched.items()
    ]
    try:
        with torch.inference_mode():
            tokens = network.tokens(clips_of(arrays))
    finally:
        for hook in hooks:
            hook.remove()
    for name, output in seen.items():
        by_channel = output.permute(0, 4, 1, 2, 3) if name.startswith("blocks") else output.flatten(1, 3)
        assert_summary(by_channel, arrays, name, TOKENS_TOLERANCE)
    assert {name.partition("/")[0] for name in arrays if "." in name} == seen.keys()
    maps = tokens.permute(0, 4, 1, 2, 3)
    assert_summary(maps, arrays, "backbone", TOKENS_TOLERANCE)
    if "backbone/full" in arrays:
        np.testing.assert_allclose(maps, arrays["backbone/full"], rtol=0, atol=TOKENS_TOLERANCE)
    features = tokens.mean((2, 3)).mT
    np.testing.assert_allclose(features.mean(2), arrays["pooled"], rtol=0, atol=LOGITS_TOLERANCE)
    with torch.inference_mode():
        np.testing.assert_allclose(network.logits(features), arrays["logits"], rtol=0, atol=LOGITS_TOLERANCE)


def test_the_mini_network_has_the_recorded_outputs(mini: DualFormer) -> None:
    assert_equals_recording(mini, "net_mini_16x96")


def test_tiny_has_the_recorded_outputs() -> None:
    assert_equals_recording(official(Config(), "tiny_k400_32f"), "net_tiny_32f_k400")


MODULES = {
    "lw": LocalAttention(12, 3, (4, 3, 2)),
    "gp_single": PyramidAttention(16, 2, (2, 2, 2), None),
    "gp_direct": PyramidAttention(16, 4, None, None),
    "peg": PositionGenerator(10),
}


@pytest.mark.parametrize("case", MODULES)
def test_a_layer_alone_has_the_recorded_output(case: str) -> None:
    arrays, layer = recorded("modules"), MODULES[case]
    if hasattr(layer, "norm1"):
        layer.norm1 = nn.Identity()  # it belongs to the block there
    weights = layer.state_dict().items()
    layer.load_state_dict({name: torch.from_numpy(fill(f"{case}.{name}", tuple(one.shape))) for name, one in weights})
    shape = arrays[f"{case}/in_shape"]
    given = np.random.RandomState(int(arrays[f"{case}/seed"])).standard_normal(shape).astype(np.float32)
    grid = torch.from_numpy(given).unflatten(1, arrays[f"{case}/DHW"].tolist())
    with torch.inference_mode():
        assert_summary(layer(grid).flatten(1, 3), arrays, f"{case}/out", LOGITS_TOLERANCE)


@pytest.mark.parametrize("case", [*PUBLISHED.values(), "mini_16f_96px"])
def test_weights_have_the_official_names_and_shapes(case: str) -> None:
    sizes = {name: size for size, name in PUBLISHED.items()}
    config = Config.model_validate({"size": sizes[case]}) if case in sizes else MINI
    with torch.device("meta"):
        listed = {name: torch.empty(shape) for name, shape in published_shapes(case).items()}
        network = config.network_for(config.in_our_names(listed))
    ours = {published_name(name): tensor.shape for name, tensor in network.state_dict().items()}
    assert ours == {name: tensor.shape for name, tensor in listed.items()}


def number_of_weights(**settings: object) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in Config.model_validate(settings).network().parameters())


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_as_many_weights_as_published_and_as_its_file_is_said_to_have(size: str) -> None:
    found = number_of_weights(size=size)
    assert found == {"tiny": 21_767_360, "small": 48_908_064, "base": 86_837_632}[size]
    assert SIZES[size].published.size == f"{found / 1e6:,.0f} million weights"


@pytest.mark.parametrize(
    ("size", "frames", "weights", "multiply_adds"),
    [
        ("tiny", 32, 21.77, 59.86),
        ("small", 32, 48.91, 158.26),
        ("base", 32, 86.84, 267.39),
        ("tiny", 16, 21.76, 29.75),
    ],
)
def test_a_clip_costs_what_the_official_network_costs(
    size: str, frames: int, weights: float, multiply_adds: float
) -> None:
    """Four times that of 32 frames is what the authors publish for four views, less norms and softmax."""
    found = encoder_size(Config.model_validate({"size": size, "frames": frames}), frames)
    assert found is not None
    assert found.multiply_adds is not None
    assert (found.clip, found.feature_weights) == ((frames, 224, 224), found.weights)
    assert (round(found.weights / 1e6, 2), round(found.multiply_adds / 1e9, 2)) == (weights, multiply_adds)


def test_sixteen_frames_have_a_pyramid_of_their_own_and_longer_clips_a_larger_one(mini: DualFormer) -> None:
    """The published shapes are those of 32 frames: pooling over time is half as long here."""
    with torch.device("meta"):
        network = Config(frames=16).network()
    kernels = {name: tuple(one.shape[2:]) for name, one in network.state_dict().items() if one.dim() == 5}
    assert [kernels[f"blocks.{stage}.1.attn.sr.weight"] for stage in range(3)] == [(1, 8, 8), (1, 4, 4), (1, 2, 2)]
    assert [kernels[f"blocks.{stage}.1.attn.lr.3.weight"] for stage in range(2)] == [(2, 2, 2), (2, 1, 1)]
    assert "blocks.3.1.attn.sr.weight" not in kernels
    with torch.inference_mode():
        assert mini.tokens(torch.randn(1, 3, 32, 96, 192)).shape == (1, 16, 3, 6, 32)


@pytest.mark.parametrize("size", SIZES)
def test_stochastic_depth_has_the_official_rates(size: str) -> None:
    listed = json.loads((GOLDEN / "drop_path.json").read_text())[size[0].upper()]
    with torch.device("meta"):
        network = Config.model_validate({"size": size}).network()
    for blocks, rates in zip(network.blocks, listed["per_block"], strict=True):
        assert [block.drop_path.rate for block in blocks] == pytest.approx(rates)
    with torch.device("meta"):
        own = Config.model_validate({"size": size, "drop_path": 0.4}).network()
    assert own.blocks[3][len(own.blocks[3]) - 1].drop_path.rate == pytest.approx(0.4)


def test_stochastic_depth_is_off_where_nothing_learns() -> None:
    encoder = SMALL.network().eval()
    encoder.set_trainable(FromStage(from_stage=2))
    encoder.drop_branches(True)
    blocks = [module for module in encoder.modules() if isinstance(module, Block)]
    assert [block.drop_path.training for block in blocks] == [False] * 3 + [True] * 4
    assert not any(part.training for stage in encoder.stages() for part in stage)
    encoder.drop_branches(False)
    assert not any(module.training for module in encoder.modules())


def own_weights() -> dict[str, Tensor]:
    """The small network's weights under the published names, with a classifier."""
    torch.manual_seed(0)
    return {published_name(name): one for name, one in SMALL.network(num_classes=7).state_dict().items()}


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_published_file_loads_strictly_with_its_classifier(tmp_path: Path, wrapped: bool) -> None:
    weights, file = own_weights(), tmp_path / "dualformer.pth"
    config = SMALL.model_copy(update={"weights": file})
    torch.save({"meta": {"epoch": 30}, "state_dict": weights} if wrapped else weights, file)
    encoder = config.build()
    assert not encoder.training
    assert encoder.weights_sha256 is not None
    loaded = {published_name(name): one for name, one in encoder.state_dict().items()}
    assert all(torch.equal(one, weights[name]) for name, one in loaded.items())
    features = torch.randn(2, 32, 8)
    expected = features.mean(2) @ weights["cls_head.fc_cls.weight"].T + weights["cls_head.fc_cls.bias"]
    torch.testing.assert_close(encoder.logits(features), expected)
    del weights["backbone.pos_block.2.proj.0.bias"]
    torch.save(weights | {"teacher.norm.bias": torch.zeros(32)}, file)
    with pytest.raises(UserError) as raised:
        config.build()
    assert "pos_block.2.proj.0.bias is missing" in raised.value.found
    assert "teacher.norm.bias is unexpected" in raised.value.found


def test_a_file_without_a_classifier_gives_features_alone(tmp_path: Path) -> None:
    weights = {name: one for name, one in own_weights().items() if not name.startswith("cls_head")}
    torch.save(weights, tmp_path / "dualformer.pth")
    encoder = SMALL.model_copy(update={"weights": tmp_path / "dualformer.pth"}).build()
    with pytest.raises(UserError, match="has no classifier"):
        encoder.logits(torch.zeros(1, 32, 8))


def test_weights_of_another_number_of_frames_are_refused_with_that_number(tmp_path: Path) -> None:
    file = tmp_path / "dualformer.pth"
    torch.save({"backbone.blocks.0.1.attn.sr.weight": torch.zeros(64, 1, 2, 8, 8)}, file)
    with pytest.raises(UserError, match="is made for 32 frames") as raised:
        Config(frames=16, weights=file).build()
    assert raised.value.fix.startswith("Set features.encoder.frames=32. To train from them with 16 frames, set ")


def test_weights_of_another_number_of_frames_start_training_with_a_new_pyramid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the authors' training on UCF101, where what does not fit keeps its initial values."""
    file = tmp_path / "dualformer.pth"
    trained = Config().network(num_classes=3)
    torch.save({published_name(name): tensor for name, tensor in trained.state_dict().items()}, file)
    config = Config(frames=16, pyramid="new", weights=file)
    found, again = config.build().state_dict(), config.build().state_dict()
    new = {name for name, tensor in trained.state_dict().items() if found[name].shape != tensor.shape}
    assert new == {f"blocks.{stage}.{block}.attn.{part}.weight" for stage, block, part in NEW_AT_16_FRAMES}
    for name, tensor in trained.state_dict().items():
        assert torch.equal(found[name], again[name] if name in new else tensor), name
    assert all(found[name].std() > 0 for name in new)
    printed = " ".join(capsys.readouterr().err.split())
    assert "is for another number of frames: 9 convolutions of the pyramid start with random weights" in printed
    with pytest.raises(UserError, match=r"features\.encoder\.pyramid is new, and the pyramid of .* fits"):
        Config(frames=32, pyramid="new", weights=file).build()
    with pytest.raises(UserError, match="is made for 32 frames"):  # a checkpoint to score has all weights
        config.for_checkpoint(file).build()


def test_a_missing_file_is_reported_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"dualformer_tiny_kinetics400\.pth"):
        Config().build()
    assert SMALL.build().weights_sha256 is None


OWN = {"dims": [16, 32, 64, 128], "depths": [2, 2, 2, 2], "heads": [1, 2, 4, 8]}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"crop": 256}, "crop: found 256, expected a multiple of 224,"),
        ({"crop": 448}, "crop: found 448, expected at most the 256 of side"),
        ({"frames": 30}, "frames: found 30, expected a multiple of 16,"),
        ({"drop_path": 1.0}, "less than 1"),
        ({"size": OWN | {"heads": [5, 2, 4, 8]}}, "5 does not divide the 16 of stage 0"),
        ({"size": OWN, "crop": 96}, "crop: found 96, expected a multiple of 224,"),
        ({"size": OWN | {"coarse": [[4, 4, 4], [4, 5, 5]]}}, r"size.coarse: found \[4, 5, 5\] for stage 1"),
    ],
)
def test_settings_that_make_no_network_are_refused(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Config.model_validate(settings)


def back_to_back(frames: int) -> ClipSpacing:
    return ClipSpacing(15.0, None, frames, 1, frames, "valid")


def test_clips_that_windows_do_not_cover_are_refused(mini: DualFormer) -> None:
    with torch.device("meta"):
        encoder = Config().network()
    with pytest.raises(UserError, match=r"features.clip_frames is 30") as raised:
        check_clips(encoder, back_to_back(30))
    assert "a multiple of 16" in raised.value.expected
    check_clips(encoder, back_to_back(32))
    settings = {"encoder": {"name": "dualformer"}, "fps": 15.0, "clip_frames": 60, "stride_frames": 60}
    with pytest.raises(ValidationError, match="clip_frames: found 60 with frame_interval 2, expected a multiple of 32"):
        EncodedConfig.model_validate(settings | {"frame_interval": 2})
    EncodedConfig.model_validate(settings | {"frame_interval": 2, "clip_frames": 64, "stride_frames": 64})
    for shape in ((15, 96, 96), (16, 96, 100), (16, 64, 96)):
        with pytest.raises(UserError, match=f"{shape[0]} frames of {shape[2]} x {shape[1]} pixels") as raised:
            mini.tokens(torch.zeros(1, 3, *shape))
        assert "a multiple of 16 frames, 16 or more, and of 96 pixels a side, 96 or more" in raised.value.expected
    size = OwnSize(dims=(8, 8, 8, 8), depths=(2, 2, 2, 2), heads=(1, 1, 1, 1), windows=((1, 7, 7),) * 4)
    pooling = Config(size=size, frames=32).network().eval()  # four steps of time become one
    with pytest.raises(UserError, match="4 frames of 224 x 224 pixels") as raised:
        pooling.tokens(torch.zeros(1, 3, 4, 224, 224))
    assert "a multiple of 2 frames, 8 or more" in raised.value.expected
    with torch.inference_mode():
        assert pooling.tokens(torch.zeros(1, 3, 10, 224, 224)).shape == (1, 5, 7, 7, 8)


def test_a_vector_for_two_frames_or_for_the_clip() -> None:
    encoder = SMALL.network().eval()
    by_clip = SMALL.model_copy(update={"mode": "clip"}).network().eval()
    by_clip.load_state_dict(encoder.state_dict())
    assert (encoder.vectors_per_clip(8), by_clip.vectors_per_clip(8)) == (4, 1)
    clips = torch.randint(0, 256, (2, 8, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        tokens, vector = encoder.encode(clips), by_clip.encode(clips)
    assert (tokens.shape, vector.shape) == ((2, 32, 4), (2, 32, 1))
    torch.testing.assert_close(tokens.mean(2, keepdim=True), vector)
    overlapping = dataclasses.replace(back_to_back(8), stride_frames=4)
    check_clips(by_clip, overlapping)
    with pytest.raises(UserError, match="makes 4 vectors of each clip"):
        check_clips(encoder, overlapping)


@pytest.mark.parametrize(
    ("scaling", "mean", "std"),
    [
        ("imagenet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("fine_tuned", (104.0, 117.0, 128.0), (1.0, 1.0, 1.0)),
    ],
)
def test_pixels_are_scaled(scaling: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    encoder = SMALL.model_copy(update={"scaling": scaling}).network().eval()
    clips = torch.randint(0, 256, (1, 4, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        scaled = ((clips - torch.tensor(mean)) / torch.tensor(std)).permute(0, 4, 1, 2, 3)
        torch.testing.assert_close(encoder.encode(clips), encoder.tokens(scaled).mean((2, 3)).mT)
    torch.testing.assert_close(encoder.zero_pixel(), torch.tensor(mean))


def test_frames_keep_their_aspect_ratio_or_become_squares() -> None:
    assert Config().frame_steps() == (Resize("rounded_bilinear", short_side=256, rounding="nearest"), Crop(224))
    square = Config(resize="square", side=224)
    assert square.frame_steps() == (Resize("rounded_bilinear", size=(224, 224)), Crop(224))


def test_checkpointed_blocks_keep_as_little_as_those_of_the_official_network() -> None:
    peaks = []
    for checkpointed in (False, True):
        with torch.device("meta"):
            encoder, clip = Config().network().eval(), torch.zeros(1, 32, 224, 224, 3)
        if checkpointed:
            encoder.recompute_blocks()
        with SavedBytes([*encoder.parameters(), *encoder.buffers()]) as saved:
            encoder.encode(clip).sum().backward()
        peaks.append(saved.peak / MB)
    assert peaks[1] <= 74 + 348 < peaks[0] / 5  # the official inputs of blocks, and its largest block


def test_gradients_reach_every_weight_in_bfloat16() -> None:
    torch.manual_seed(0)
    encoder = SMALL.network().eval()
    clips = torch.randint(0, 256, (1, 8, 64, 64, 3), dtype=torch.uint8)
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
    first, second = (SMALL.build().state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_start_as_published() -> None:
    torch.manual_seed(0)
    size = OwnSize(dims=(64, 64, 64, 64), depths=(2, 2, 2, 2), heads=(2, 2, 2, 2))
    for name, weight in Config(size=size).network(num_classes=400).named_parameters():
        if weight.dim() == 2:
            assert weight.std().item() == pytest.approx(0.01 if name.startswith("cls_head") else 0.02, rel=0.05), name
        elif "norm" in name or ".lr.1." in name:
            assert torch.equal(weight, torch.full_like(weight, float(name.endswith("weight")))), name
        elif any(part in name for part in (".q.", ".qkv.", ".kv.", ".attn.proj.", ".fc")):
            assert not weight.any(), name
        else:
            assert weight.dim() == 5 or weight.std().item() > 0, name  # PyTorch's own for convolutions
