import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.encoders.i3d import Config
from actloc.encoders.i3d.network import I3D, official_names, ten_crops
from actloc.errors import UserError
from actloc.experiment import load
from actloc.extraction.local import recipe
from actloc.video.windows import num_clips
from tests.encoders import golden

SHAPES = {"rgb": golden.keys("i3d_rgb")}
SHAPES["flow"] = {**SHAPES["rgb"], "Conv3d_1a_7x7.conv3d.weight": (64, 2, 7, 7, 7)}  # checked: all that differs
UNITS = [tuple(row) for row in json.loads((golden.FEATURES / "i3d_units.json").read_text())]
PREPROCESSING = dict(np.load(golden.FEATURES / "i3d_preprocess.npz"))


@pytest.fixture(scope="module")
def tensors() -> dict[str, dict[str, Tensor]]:
    return {stream: golden.filled(shapes) for stream, shapes in SHAPES.items()}


@pytest.fixture(scope="module")
def files(tensors: dict[str, dict[str, Tensor]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    for stream, state in tensors.items():
        torch.save(state, folder / f"{stream}_imagenet.pt")
    return folder


@pytest.fixture(scope="module")
def two_streams(files: Path) -> I3D:
    return Config(stream="both", weights=files / "rgb_imagenet.pt", flow_weights=files / "flow_imagenet.pt").build()


def to_clips(x: NDArray[np.float32]) -> Tensor:
    """Frames between 0 and 255 that the encoder scales to x (S, c, F, H, W)."""
    return torch.from_numpy((x.astype(np.float64) + 1) * 127.5).float().permute(0, 2, 3, 4, 1)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_parameters_have_the_official_names_shapes_and_order(stream: str) -> None:
    with torch.device("meta"):
        network = Config(stream=stream).network().streams[stream]
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert list(found.items()) == list(SHAPES[stream].items())


def test_features_class_scores_and_every_probe_are_the_recorded_ones(two_streams: I3D, files: Path) -> None:
    x = golden.clip(0, (1, 3, 16, 224, 224), 32)
    recorded = golden.recorded("i3d_rgb_16x224", x)
    encoder = Config(weights=files / "rgb_imagenet.pt").build()
    probes = {}
    for name, layer in encoder.streams["rgb"].named_children():
        layer.register_forward_hook(lambda _, __, output, name=name: probes.update({name: golden.probe(output)}))
    with torch.inference_mode():
        features = encoder.encode(to_clips(x))
        scores = encoder.logits(features)
    assert features.shape == (1, 1024, 1)
    assert golden.error(features[:, :, 0], recorded["feature"]) < golden.TOLERANCE
    assert golden.error(scores, recorded["logits"]) < golden.TOLERANCE
    names = [key.removeprefix("probe/") for key in recorded if key.startswith("probe/")]
    assert len(names) == 16
    for name in names:
        assert golden.error(probes[name], recorded[f"probe/{name}"]) < golden.TOLERANCE, name


def test_two_streams_are_concatenated_and_their_scores_are_summed(two_streams: I3D, files: Path) -> None:
    clips = torch.randint(0, 256, (1, 8, 64, 64, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    weights = {"weights": files / "rgb_imagenet.pt", "flow_weights": files / "flow_imagenet.pt"}
    only_rgb, only_flow = (Config(stream=stream, **weights).build() for stream in ("rgb", "flow"))
    with torch.inference_mode():
        together, rgb, flow = two_streams.encode(clips), only_rgb.encode(clips[..., :3]), only_flow.encode(clips)
        behind = clips[..., 3:].permute(0, 4, 1, 2, 3) * (2 / 255) - 1
        assert torch.equal(flow[..., 0], only_flow.streams["flow"](behind))
        assert torch.equal(together, torch.cat([rgb, flow], 1))
        torch.testing.assert_close(two_streams.logits(together), only_rgb.logits(rgb) + only_flow.logits(flow))
    assert (two_streams.channels, only_rgb.channels, only_flow.channels) == (2048, 1024, 1024)


def test_longer_clips_are_averaged_over_windows_as_class_scores_are(two_streams: I3D) -> None:
    network = two_streams.streams["rgb"]
    maps = {}
    network.Mixed_5c.register_forward_hook(lambda _, __, output: maps.update(last=output))
    x = torch.rand(1, 3, 24, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = network(x)
    last = maps["last"].mean((3, 4))  # (1, 1024, 3)
    torch.testing.assert_close(found, (last[..., 0] + 2 * last[..., 1] + last[..., 2]) / 4)


# Three forms of the same weights


def tensorflow_names(state: dict[str, Tensor], scope: str) -> dict[str, NDArray[np.float32]]:
    """What DeepMind's checkpoint holds: other names, another spacing, no scale of batch norms."""
    variables = {}
    for ours, _, theirs in UNITS:
        kernel = state[f"{ours}.conv3d.weight"].permute(2, 3, 4, 1, 0)
        variables[f"{scope}{theirs}/conv_3d/w"] = kernel.numpy()
        if ours == "logits":
            variables[f"{scope}{theirs}/conv_3d/b"] = state["logits.conv3d.bias"].numpy()
            continue
        for name, mine in (("beta", "bias"), ("moving_mean", "running_mean"), ("moving_variance", "running_var")):
            variables[f"{scope}{theirs}/batch_norm/{name}"] = state[f"{ours}.bn.{mine}"].reshape(1, 1, 1, 1, -1).numpy()
    return variables


def hassony2_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = {ours: hassony2 for ours, hassony2, _ in UNITS}
    renamed = {}
    for name, tensor in state.items():
        unit, part, parameter = name.rsplit(".", 2)
        renamed[f"{theirs[unit]}.{part.replace('bn', 'batch3d')}.{parameter}"] = tensor
    return renamed


def without_gain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones_like(tensor) if name.endswith("bn.weight") else tensor for name, tensor in state.items()}


def assert_holds(encoder: I3D, stream: str, expected: dict[str, Tensor]) -> None:
    found = encoder.streams[stream].state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_hassony2s_names_load(tensors: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    state = hassony2_names(tensors["rgb"])
    assert "mixed_5b.branch_2.1.batch3d.running_var" in state
    torch.save(state, tmp_path / "model_rgb.pth")
    assert_holds(Config(weights=tmp_path / "model_rgb.pth").build(), "rgb", tensors["rgb"])


def test_a_file_of_an_old_pytorch_under_module_loads(tensors: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in tensors["flow"].items() if "num_batches" not in name}
    torch.save({"state_dict": state}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert_holds(Config(stream="flow", flow_weights=tmp_path / "old.pt").build(), "flow", tensors["flow"])


@pytest.mark.parametrize(("stream", "scope"), [("rgb", "RGB/inception_i3d/"), ("flow", "Flow/inception_i3d/")])
def test_tensorflows_variables_load(
    stream: str, scope: str, tensors: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    variables = tensorflow_names(tensors[stream], scope)
    assert f"{scope}Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w" in variables
    np.savez(tmp_path / "variables.npz", **variables)  # type: ignore[arg-type]
    encoder = Config(stream=stream, **{_setting(stream): tmp_path / "variables.npz"}).build()
    assert_holds(encoder, stream, without_gain(tensors[stream]))


def _setting(stream: str) -> str:
    return "weights" if stream == "rgb" else "flow_weights"


def test_kinetics_600s_variables_have_no_scope_and_more_classes(tensors: dict[str, dict[str, Tensor]]) -> None:
    state = {**tensors["rgb"], "logits.conv3d.weight": torch.rand(600, 1024, 1, 1, 1)}
    variables = {name: torch.from_numpy(array) for name, array in tensorflow_names(state, "").items()}
    found = official_names(variables, "rgb")
    assert found.keys() == state.keys()
    network = Config(num_classes=600).network().streams["rgb"]
    network.load_state_dict({**found, "logits.conv3d.bias": torch.rand(600)})
    assert torch.equal(network.state_dict()["logits.conv3d.weight"], state["logits.conv3d.weight"])


def test_another_streams_file_is_refused_with_all_that_does_not_fit(
    files: Path, tensors: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    with pytest.raises(
        UserError,
        match=r"(?s)1 weight of .* does not fit the settings:.*Conv3d_1a_7x7.conv3d.weight is \(64, 2, 7, 7, 7\)",
    ):
        Config(weights=files / "flow_imagenet.pt").build()
    both = {**tensorflow_names(tensors["rgb"], "RGB/inception_i3d/"), "Flow/inception_i3d/Conv3d_1a_7x7/b": np.ones(1)}
    np.savez(tmp_path / "both.npz", **both)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"Flow/inception_i3d/Conv3d_1a_7x7/b is unexpected"):
        Config(weights=tmp_path / "both.npz").build()
    lacking = {name: tensor for name, tensor in tensors["rgb"].items() if not name.startswith("Mixed_4e.b2b.")}
    torch.save(lacking, tmp_path / "lacking.pt")
    with pytest.raises(UserError, match=r"(?s)Mixed_4e.b2b.conv3d.weight is missing.*Mixed_4e.b2b.bn.bias is missing"):
        Config(weights=tmp_path / "lacking.pt").build()


@pytest.mark.parametrize("name", ["model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001"])
def test_a_tensorflow_checkpoint_is_refused_with_the_two_lines_that_convert_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)load_checkpoint\(\".*/model\.ckpt\"\).*numpy\.savez\(\"flow\.npz\""):
        Config(stream="flow", flow_weights=tmp_path / name).build()


@pytest.mark.parametrize("content", [b"no archive", None])
def test_a_broken_npz_is_the_users_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "variables.npz"
    if content is None:
        np.savez(path, w=np.array([{}], dtype=object))  # what only pickle reads
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match="Cannot read"):
        Config(weights=path).build()


def test_a_recipe_names_weights_by_their_digests_alone(two_streams: I3D) -> None:
    features = load("configs/features/i3d_thumos.yaml").features
    text = json.dumps(recipe(two_streams, features.spacing, features.dtype))
    assert "imagenet.pt" not in text
    assert two_streams.weights_sha256 is not None
    assert two_streams.weights_sha256 in text
    swapped = Config.model_fields.keys() - json.loads(text)["encoder"].keys()
    training = {"trainable", "train_norms", "rate_factor", "weight_decay"}
    assert swapped == {"weights", "flow_weights", "raft_weights"} | training


# Frames


def scaled(config: Config, frames: Iterator[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """What the network sees, (c, F, H, W), of frames that are past FFmpeg's resizing."""
    steps = [step for step in config.frame_steps() if getattr(step, "method", "") != "swscale_bicubic"]
    shown = ((frame, 1) for frame in frames)
    for step in steps:
        shown = step.over(shown)
    clip = torch.from_numpy(np.stack([frame for frame, _ in shown]))[None]
    seen = {}
    encoder = config.network()
    encoder._vectors = lambda x: seen.update(x=x) or torch.zeros(len(x), 1024)  # type: ignore[method-assign]
    encoder.encode(clip)
    return seen["x"][0].numpy()


@pytest.mark.parametrize(
    ("case", "frames", "seed", "shape"),
    [
        ("i3d_finspire/centre_crop", "finspire_center_crop", 140, (3, 256, 340, 3)),
        ("i3d_finspire/resize", "finspire_resize", 140, (3, 256, 340, 3)),
        ("i3d_piergiaj/180x320", "piergiaj", 150, (2, 180, 320, 3)),
        ("i3d_viashin/180x320", "viashin", 160, (2, 180, 320, 3)),
    ],
)
def test_frames_are_made_as_recorded(case: str, frames: str, seed: int, shape: tuple[int, ...]) -> None:
    video = np.random.RandomState(seed).randint(0, 256, shape, dtype=np.uint8)
    found = scaled(Config(frames=frames), iter(video))
    assert found.shape == tuple(PREPROCESSING[f"{case}/shape"])
    assert np.abs(found[..., ::5, ::5] - PREPROCESSING[f"{case}/sub5"]).max() < 1e-5
    mean, deviation = PREPROCESSING[f"{case}/mean_std"]
    assert found.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-6)
    assert found.std(dtype=np.float64) == pytest.approx(deviation, abs=1e-6)


def test_deepminds_frames_are_viashins_and_its_flow_is_not_rounded() -> None:
    deepmind, viashin = Config(frames="deepmind", stream="both"), Config(frames="viashin", stream="both")
    assert [step for step in deepmind.frame_steps() if step not in viashin.frame_steps()] == [
        type(deepmind.frame_steps()[1])("linear")
    ]
    assert [type(step).__name__ for step in deepmind.frame_steps()] == ["Resize", "OpticalFlow", "Crop"]


@pytest.mark.parametrize("frames", ["finspire_resize", "finspire_center_crop", "finspire_ten_crop"])
def test_flow_is_computed_on_the_forks_whole_frames(frames: str) -> None:
    first, second, *_ = Config(frames=frames, stream="flow").frame_steps()
    assert first.target(180, 320) == (256, 340)  # type: ignore[attr-defined]
    assert second.form == "eight_bit"  # type: ignore[attr-defined]


def test_ten_crops_are_in_the_forks_order_and_mirrored_flow_keeps_its_sign() -> None:
    x = torch.rand(1, 5, 2, 256, 340)
    crops = ten_crops(x)
    places = [(0, 0), (0, 116), (16, 58), (32, 0), (32, 116)]
    mirrored = torch.from_numpy(x.numpy()[..., ::-1].copy())
    for crop, (frames, (top, left)) in zip(crops, [(f, p) for f in (x, mirrored) for p in places], strict=True):
        assert torch.equal(crop, frames[..., top : top + 224, left : left + 224])


def test_the_features_of_ten_crops_are_averaged(two_streams: I3D) -> None:
    encoder = Config(frames="finspire_ten_crop").network().eval()
    clips = torch.randint(0, 256, (1, 2, 256, 340, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    crops = ten_crops(clips.permute(0, 4, 1, 2, 3) * (2 / 255) - 1)
    with torch.inference_mode():
        expected = torch.stack([encoder.streams["rgb"](crop) for crop in crops]).mean(0)
        found = encoder.encode(clips)
    assert found.shape == (1, 1024, 1)
    torch.testing.assert_close(found[..., 0], expected)


# Recipes


@pytest.mark.parametrize(
    ("name", "fps", "stride", "frames"),
    [
        ("i3d_thumos", "native", 4, "finspire_resize"),
        ("i3d_anet", 25.0, 16, "finspire_resize"),
        ("i3d_25fps", 25.0, 4, "deepmind"),
    ],
)
def test_a_recipe_is_what_its_set_was_made_with(name: str, fps: float | str, stride: int, frames: str) -> None:
    experiment = load(f"configs/features/{name}.yaml")
    features, encoder = experiment.features, experiment.features.encoder
    assert (features.fps, features.clip_frames, features.stride_frames, features.align) == (fps, 16, stride, "valid")
    assert isinstance(encoder, Config)
    assert (encoder.stream, encoder.frames, encoder.flow) == ("both", frames, "tvl1")


@pytest.mark.parametrize("stride", [4, 16])
def test_rows_are_as_many_as_the_fork_makes(stride: int) -> None:
    counts = json.loads((golden.FEATURES / "clip_sampling.json").read_text())["clips [count, last start frame]"]
    recorded = {int(frames): row for frames, row in counts[f"finspire_stride{stride}"].items() if row}
    assert recorded[5091][0] == {4: 1269, 16: 318}[stride]
    for frames, (count, _) in recorded.items():
        assert num_clips(frames, "valid", 16, stride) == count


def test_all_missing_files_are_reported_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        Config(stream="both", flow="raft").build()
    for setting in ("weights", "flow_weights", "raft_weights"):
        assert f"encoder.{setting}=FILE" in caught.value.fix
    for name in ("rgb_imagenet.pt", "flow_imagenet.pt"):
        assert f"data/weights/{name}" in caught.value.found
    assert "raft-sintel.pth (21 MB)" in caught.value.expected
