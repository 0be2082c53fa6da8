import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from actloc.commands.show_encoder import encoder_size
from actloc.encoders.base import FromStage
from actloc.encoders.base_network import check_clips, vectors_per_clip
from actloc.encoders.tanet import IMAGENET, PUBLISHED, Config, our_name, published_name
from actloc.encoders.tanet.network import TANet, TemporalAdaptiveModule
from actloc.errors import UserError
from actloc.sources import stored
from actloc.video.frame_transforms import Crop, Resize
from tests.encoders.golden import filled

TAM = Path("tests/golden/tam")
TOLERANCE = 5e-6  # ten times the recorded run's own error in float32
ROWS = json.loads((TAM / "keys_r50_8f_400.json").read_text())
OFFICIAL, MMACTION2, TORCHVISION = range(3)
SMALL = Config.small()


def shapes(column: int = OFFICIAL) -> dict[str, tuple[int, ...]]:
    """The tensors of a file, by the names in one of the three codes; torchvision has only some."""
    return {row[column]: tuple(row[3]) for row in ROWS if row[column]}


def in_file(column: int) -> dict[str, Tensor]:
    """The fixtures' weights by the names in one of the three codes."""
    official = filled(shapes())
    return {row[column]: official[row[OFFICIAL]] for row in ROWS if row[column]}


@pytest.fixture(scope="module")
def network() -> TANet:
    """With the fixtures' weights."""
    config = Config()
    weights = config.in_our_names(in_file(OFFICIAL))
    made = config.network_for(weights).eval()
    made.load_state_dict(weights)
    return made


def clips(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Scaled clips (B, F, 3, H, W) as the fixtures' README makes them."""
    videos, frames, channels, height, width = shape
    coarse = videos, 1, channels, height // 8, width // 8
    fine, colours, squares = (
        np.random.RandomState(seed + 1000 * number).standard_normal(size)
        for number, size in enumerate([shape, (videos, frames, channels, 1, 1), coarse])
    )
    made = fine + 2 * colours + 2 * squares.repeat(8, 3).repeat(8, 4)
    return torch.from_numpy(made.astype(np.float32))


def assert_summary(found: Tensor, name: str, arrays: dict[str, NDArray[Any]]) -> None:
    """The shape, the statistics and 64 values of a tensor are those recorded."""
    assert tuple(found.shape) == tuple(arrays[f"{name}/shape"])
    flat = found.contiguous().flatten().double()
    stats = [flat.mean().item(), flat.std(correction=0).item(), flat.abs().max().item()]
    samples = flat[np.linspace(0, len(flat) - 1, 64).astype(np.int64)]
    allowed = TOLERANCE * arrays[f"{name}/stats"][2]
    assert np.abs(np.array(stats) - arrays[f"{name}/stats"]).max() <= allowed, name
    assert np.abs(samples.numpy() - arrays[f"{name}/samples"]).max() <= allowed, name


def test_a_module_has_the_recorded_branches_and_output() -> None:
    module = TemporalAdaptiveModule(16, 8).eval()
    theirs = {name: name.replace("kernel", "G").replace("importance", "L") for name in module.state_dict()}
    weights = filled({theirs[name]: tuple(tensor.shape) for name, tensor in module.state_dict().items()})
    module.load_state_dict({name: weights[theirs[name]] for name in theirs})
    recorded = np.load(TAM / "module_c16_t8_eval.npz")
    x = torch.from_numpy(recorded["x"])
    with torch.inference_mode():
        kernel, importance = module.branches(x)
        y = module(x)
    for found, name in ((kernel, "kernel"), (importance, "importance"), (y, "y")):
        assert tuple(found.shape) == recorded[name].shape
        assert np.abs(found.numpy() - recorded[name]).max() <= TOLERANCE


def test_the_network_has_the_recorded_layers_and_logits(network: TANet) -> None:
    arrays = dict(np.load(TAM / "net_r50_8f_400.npz"))
    names = ("maxpool", "layer1.0.tam", "layer1", "layer2", "layer3.0.tam", "layer3", "layer4")
    seen: dict[str, Tensor] = {}

    def keep(name: str, place: str) -> Any:
        return network.get_submodule(place).register_forward_hook(
            lambda module, inputs, output: seen.update({name: output.clone()})
        )

    hooks = [keep("conv1", "stem.conv1"), *(keep(name, name.replace("maxpool", "stem.maxpool")) for name in names)]
    shape = tuple(arrays["input_shape"].tolist())
    with torch.inference_mode():
        maps = network.maps(clips(int(arrays["seed"]), shape).flatten(0, 1))
        vectors = maps.mean((2, 3))
        seen["avgpool"] = vectors[:, :, None, None]
        seen["new_fc"] = torch.cat([network.logits(vector[None, :, None]) for vector in vectors])
        logits = network.logits(vectors.unflatten(0, shape[:2]).mT)
    for hook in hooks:
        hook.remove()
    assert seen.keys() == {name.partition("/")[0] for name in arrays if "/" in name}
    for name, tensor in seen.items():
        assert_summary(tensor, name, arrays)
    assert np.abs(seen["new_fc"].numpy() - arrays["frame_logits"][0]).max() <= TOLERANCE
    assert np.abs(logits.numpy() - arrays["logits"]).max() <= TOLERANCE


def test_rows_are_of_the_clip_or_of_its_frames(network: TANet) -> None:
    of_clips = Config(mode="clip").network_for(network.state_dict()).eval()
    of_clips.load_state_dict(network.state_dict())
    pictures = torch.randint(0, 256, (2, 8, 64, 64, 3), dtype=torch.uint8)
    scaled = (pictures / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = network.maps(scaled.permute(0, 1, 4, 2, 3).flatten(0, 1)).mean((2, 3)).unflatten(0, (2, 8)).mT
        tokens, clip = network.encode(pictures), of_clips.encode(pictures)
        assert tokens.shape == (2, 2048, network.vectors_per_clip(8)) == (2, 2048, 8)
        assert clip.shape == (2, 2048, of_clips.vectors_per_clip(8)) == (2, 2048, 1)
        torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(clip[:, :, 0], expected.mean(2), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(network.logits(tokens), of_clips.logits(clip))
    with pytest.raises(ValueError, match="found clips of 16 frames, expected 8"):
        network.encode(torch.zeros(1, 16, 32, 32, 3, dtype=torch.uint8))
    torch.testing.assert_close(network.zero_pixel(), torch.tensor([123.675, 116.28, 103.53]))


def test_the_names_of_three_codes_are_converted_to_ours() -> None:
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in Config().network().state_dict().items()}
    for row in ROWS:
        name = our_name(row[OFFICIAL])
        assert ours[name] == tuple(row[3])
        assert published_name(name) == row[OFFICIAL]
        assert our_name(row[MMACTION2]) == name
        assert our_name(row[OFFICIAL].replace(".net.", ".")) == name
        assert our_name(row[OFFICIAL].replace("tam.G", "self_conv.conv_f").replace("tam.L", "self_conv.conv_g")) == name
        assert row[TORCHVISION] is None or our_name(row[TORCHVISION]) == name
    assert len(ours) == len(ROWS) == 544
    assert our_name("base_model.fc.weight") == "fc.weight"


def built(content: dict[str, Any], folder: Path, **settings: Any) -> TANet:
    torch.save(content, folder / "weights.pth")
    return SMALL.model_copy(update={"weights": folder / "weights.pth", **settings}).build()


def assert_equal_weights(found: TANet, expected: TANet) -> None:
    assert found.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(found.state_dict()[name], one) for name, one in expected.state_dict().items())


def test_official_and_mmaction2_checkpoints_load(network: TANet, tmp_path: Path) -> None:
    with_prefix = {f"module.{name}": tensor for name, tensor in in_file(OFFICIAL).items()}
    official = {"epoch": 100, "arch": "resnet50", "state_dict": with_prefix, "optimizer": {"state": {}}}
    encoder = built({**official, "best_prec1": 76.1}, tmp_path)
    assert_equal_weights(encoder, network)
    assert not encoder.training
    assert encoder.weights_sha256 is not None
    assert_equal_weights(built({"meta": {}, "state_dict": in_file(MMACTION2)}, tmp_path), network)


def test_any_number_of_classes_and_none_loads(tmp_path: Path) -> None:
    trunk = {name: tensor for name, tensor in in_file(OFFICIAL).items() if not name.startswith("new_fc")}
    head = {"new_fc.weight": torch.randn(7, 2048), "new_fc.bias": torch.randn(7)}
    features = torch.randn(2, 2048, 3)
    scores = built({"state_dict": trunk | head}, tmp_path).logits(features)
    expected = features.mean(2) @ head["new_fc.weight"].T + head["new_fc.bias"]
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=0)  # the scores are sums of 2048 numbers, about 26
    with pytest.raises(UserError, match="has no classifier"):
        built({"state_dict": trunk}, tmp_path).logits(features)


def test_training_starts_from_a_resnet_of_torchvision(tmp_path: Path) -> None:
    resnet = in_file(TORCHVISION)
    classifier = {"fc.weight": torch.randn(1000, 2048), "fc.bias": torch.randn(1000)}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    encoder = built(resnet | classifier, tmp_path, weights_of="imagenet")
    assert torch.equal(torch.get_rng_state(), before)
    assert len(resnet) == 318
    for name, tensor in resnet.items():
        assert torch.equal(encoder.state_dict()[our_name(name)], tensor)
    assert encoder.state_dict().keys() == encoder.config.network().state_dict().keys()
    assert not any(name.startswith("fc.") for name in encoder.state_dict())
    older = {name: tensor for name, tensor in resnet.items() if "num_batches" not in name}
    assert_equal_weights(built(older | classifier, tmp_path, weights_of="imagenet"), encoder)
    older.pop("layer3.1.bn2.bias")
    with pytest.raises(UserError, match=r"layer3\.1\.bn2\.bias is missing"):
        built(older, tmp_path, weights_of="imagenet")


def test_files_of_another_kind_are_named_with_the_setting_that_reads_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without temporal adaptive modules") as raised:
        built(in_file(TORCHVISION), tmp_path)
    assert "features.encoder.weights_of=imagenet" in raised.value.fix
    with pytest.raises(UserError, match="has temporal adaptive modules") as raised:
        built(in_file(OFFICIAL), tmp_path, weights_of="imagenet")
    assert raised.value.fix == "Set features.encoder.weights_of=tanet"
    file = tmp_path / "trained.pth"
    torch.save(in_file(OFFICIAL), file)
    scored = Config(weights_of="imagenet").for_checkpoint(file)  # eval scores a checkpoint with the training's settings
    assert_equal_weights(scored.build(), built(in_file(OFFICIAL), tmp_path))
    with pytest.raises(UserError, match="was trained with 8 frames") as raised:
        built(in_file(MMACTION2), tmp_path, frames=16)
    assert "features.encoder.frames=8" in raised.value.fix
    changed = in_file(OFFICIAL) | {"new_fc.extra": torch.ones(1)}
    del changed["base_model.layer1.0.tam.G.3.weight"]
    with pytest.raises(UserError) as raised:
        built(changed, tmp_path)
    assert "fc.extra is unexpected" in raised.value.found
    assert "layer1.0.tam.kernel.3.weight is missing" in raised.value.found


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, PUBLISHED[8].name),
        ({"frames": 16}, PUBLISHED[16].name),
        ({"weights_of": "imagenet"}, IMAGENET.name),
    ],
)
def test_missing_files_are_reported_with_their_published_names(
    settings: dict[str, Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=name):
        Config.model_validate(settings).build()


@pytest.mark.parametrize(
    ("frames", "side", "classes", "weights", "shown"),
    [
        (8, 224, 400, 25_590_320, "25.59 million weights, 24.77 million of them for features; 32.76 G"),
        (8, 224, 174, 25_127_246, "25.13 million weights, 24.77 million of them for features; 32.76 G"),
        (8, 256, 400, 25_590_320, "25.59 million weights, 24.77 million of them for features; 42.78 G"),
        (16, 224, 400, 25_597_744, "25.60 million weights, 24.78 million of them for features; 65.52 G"),
        (16, 256, 400, 25_597_744, "25.60 million weights, 24.78 million of them for features; 85.57 G"),
        (8, 112, 400, 25_590_320, "25.59 million weights, 24.77 million of them for features; 8.64 G"),
    ],
)
def test_sizes_are_those_measured_on_the_official_code(
    frames: int, side: int, classes: int, weights: int, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate({"frames": frames, "crop": side})
    monkeypatch.setattr(Config, "network", lambda self: TANet(self, classes))
    size = encoder_size(config, frames)
    assert size is not None
    assert size.weights == weights
    assert size.weights - size.feature_weights == 2049 * classes
    assert str(size) == f"{shown} multiply-adds for a clip of {frames} x {side} x {side}"
    of_modules = size.feature_weights - 23_508_032  # torchvision's ResNet-50 without its classifier
    assert of_modules == {8: 1_262_688, 16: 1_270_112}[frames]


def test_frames_are_resized_and_cropped_as_for_one_official_view() -> None:
    resize, crop = Config().frame_steps()
    assert (resize, crop) == (Resize("pil_bilinear", short_side=256, rounding="floor"), Crop(224, "round"))
    for case in json.loads((TAM / "full_res_three_crops.json").read_text()):
        assert isinstance(resize, Resize)
        assert resize.target(case["image_h"], case["image_w"])[::-1] == tuple(case["scaled_w_h"])


@pytest.mark.parametrize(
    ("settings", "fault"),
    [({"frames": 12}, "Input should be 8 or 16"), ({"short_side": 128}, "crop 224 is larger than short_side 128")],
)
def test_settings_that_make_no_network_are_refused(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Config.model_validate(settings)


GRID = {"name": "stored", "path": "features", "fps": 30.0, "stride_frames": 64}


@pytest.mark.parametrize(
    ("clip_frames", "interval", "fault"),
    [
        (64, 4, "found 64 with frame_interval 4, expected clip_frames 32, or frame_interval 8"),
        (60, 8, "found 60 with frame_interval 8, expected clip_frames 64: .* tanet takes clips of 8 frames"),
        (61, 8, "found 61 with frame_interval 8, expected clip_frames 64:"),
        (16, 1, "found 16 with frame_interval 1, expected clip_frames 8, or frame_interval 2"),
    ],
)
def test_clips_of_other_lengths_are_refused_with_the_settings(clip_frames: int, interval: int, fault: str) -> None:
    grid = {**GRID, "clip_frames": clip_frames, "frame_interval": interval}
    with pytest.raises(ValidationError, match=fault):
        stored.Config.model_validate({**grid, "encoder": {"name": "tanet"}})


@pytest.mark.parametrize(("frames", "interval"), [(8, 8), (16, 4)])
def test_a_clip_has_a_row_for_each_of_its_frames(frames: int, interval: int) -> None:
    grid = {**GRID, "clip_frames": 64, "frame_interval": interval}
    config = stored.Config.model_validate({**grid, "encoder": {"name": "tanet", "frames": frames}})
    with torch.device("meta"):
        encoder = config.encoder.network()
    check_clips(encoder, config.spacing)
    assert vectors_per_clip(encoder, config.spacing) == frames


def test_norms_and_modules_of_early_stages_do_not_learn() -> None:
    encoder = SMALL.model_copy(update={"train_norms": False}).network().eval()
    encoder.set_trainable(FromStage(from_stage=2))
    learning = {name for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert {name.partition(".")[0] for name in learning} == {"layer3", "layer4"}
    assert "layer3.0.tam.kernel.0.weight" in learning
    assert not any(".bn" in name or "kernel.1" in name or "importance.1" in name for name in learning)
    before = {name: one.clone() for name, one in encoder.named_buffers()}
    encoder.encode(torch.randint(0, 256, (1, 8, 32, 32, 3), dtype=torch.uint8)).sum().backward()
    assert all(torch.equal(one, before[name]) for name, one in encoder.named_buffers())


def test_gradients_reach_every_weight_in_bfloat16() -> None:
    encoder = SMALL.model_copy(update={"channels_last": True}).network().eval()
    pictures = torch.randint(0, 256, (1, 8, 64, 64, 3), dtype=torch.uint8)
    exact = encoder.encode(pictures)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder.encode(pictures)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()
    rounded.square().sum().backward()
    weights = {name: one for name, one in encoder.named_parameters() if not name.startswith("fc.")}
    assert not [name for name, one in weights.items() if one.grad is None or not one.grad.any()]
