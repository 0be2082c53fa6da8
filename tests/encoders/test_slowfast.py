import hashlib
import json
import lzma
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from actloc import experiment
from actloc.encoders.slowfast import Config
from actloc.encoders.slowfast.network import SlowFast, caffe2_name, pytorchvideo_name
from actloc.errors import UserError, VideoError
from actloc.sources.base import SourceConfig
from actloc.video import windows
from actloc.weights import published
from tests.clips import clip_starts, clips
from tests.golden.fill import fill

GOLDEN = Path("tests/golden/features")
OFFICIAL: dict[str, Any] = json.loads(lzma.decompress((GOLDEN / "slowfast_names.json.xz").read_bytes()))
KINDS = {
    "r50": Config(),
    "r101_101_101": Config(depth=101),
    "r101_50_50": Config(depth=101, res4_temporal_blocks=6),
}
STAGES = ("s1", "s1_fuse", "s2", "s2_fuse", "s3", "s3_fuse", "s4", "s4_fuse", "s5")
RECIPES = ("slowfast_epic", "slowfast_ego4d")


def rows(config: Config) -> list[list[Any]]:
    """Name, shape and type of every tensor, as the official lists have them."""
    with torch.device("meta"):
        state = config.network().state_dict()
    return [[name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in state.items()]


def clip(seed: int, shape: tuple[int, ...], block: int, scale: float = 1000) -> NDArray[np.float32]:
    """The input of a fixture (tests/golden/README.md)."""
    *outer, height, width = shape
    drawn = np.random.RandomState(seed).standard_normal((*outer, -(-height // block), -(-width // block)))
    large = drawn.astype(np.float32).repeat(block, -2).repeat(block, -1)[..., :height, :width]
    return np.ascontiguousarray(large * np.float32(scale))


def filled(encoder: SlowFast) -> SlowFast:
    for name, tensor in encoder.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(fill(name, tuple(tensor.shape))))
    return encoder.eval()


def stages_of(encoder: SlowFast, frames: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """The features of normalised frames, and what each stage gave."""
    seen: dict[str, Any] = {}
    hooks = [
        encoder.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
        for name in STAGES
    ]
    with torch.inference_mode():
        features = encoder.features(frames)
    for hook in hooks:
        hook.remove()
    return features, seen


def distance(found: NDArray[Any], official: NDArray[Any]) -> float:
    return float(np.abs(found - official).max() / official.std())


@pytest.fixture(scope="module")
def r50() -> SlowFast:
    return filled(Config().network())


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_have_the_official_names_shapes_and_order(kind: str) -> None:
    assert rows(KINDS[kind]) == OFFICIAL[f"{kind}.keys"]["keys"]


@pytest.mark.parametrize("kind", ["r50", "r101_101_101"])
def test_every_row_of_the_name_maps_holds(kind: str) -> None:
    caffe2, pytorchvideo = (OFFICIAL[f"{kind}.{form}_map"]["rows"] for form in ("caffe2", "pytorchvideo"))
    assert [[name, caffe2_name(name, KINDS[kind].depth)] for name, _ in caffe2] == caffe2
    assert [[name, pytorchvideo_name(name)] for name, _ in pytorchvideo] == pytorchvideo
    mapped = {name for name, *_ in rows(KINDS[kind]) if not name.endswith("num_batches_tracked")}
    assert {name for name, _ in caffe2} == {name for name, _ in pytorchvideo} == mapped


def test_pytorchvideos_r101_is_the_one_with_temporal_kernels_everywhere() -> None:
    ours = {(pytorchvideo_name(name), tuple(shape), kind) for name, shape, kind in rows(KINDS["r101_101_101"])}
    official = OFFICIAL["r101_pytorchvideo.keys"]["keys"]
    assert ours == {(name, tuple(shape), kind) for name, shape, kind in official}


def test_features_logits_and_every_stage_equal_the_official_network(r50: SlowFast) -> None:
    official = np.load(GOLDEN / "slowfast_8x8_r50_32x224.npz")
    frames = clip(20, (1, 3, 32, 224, 224), 32)
    assert hashlib.sha256(frames.tobytes()).digest() == official["input_sha256"].tobytes()
    features, seen = stages_of(r50, torch.from_numpy(frames))
    assert distance(features[:, :, 0].numpy(), official["feature"]) < 2e-5
    with torch.inference_mode():
        logits = r50.logits(features)
    assert distance(logits.numpy(), official["logits"]) < 2e-5
    assert np.abs(logits.softmax(1).numpy() - official["softmax"]).max() < 1e-6
    probes = [name for name in official.files if name.startswith("probe/")]
    assert len(probes) == 2 * len(STAGES)
    for probe in probes:
        _, stage, pathway = probe.split("/")
        maps = seen[stage][int(pathway)].numpy()
        assert list(maps.shape) == official[f"probeshape/{stage}/{pathway}"].tolist()
        mean, deviation, *values = official[probe].tolist()
        places = np.random.RandomState(0).randint(0, maps.size, len(values))
        assert np.abs(maps.reshape(-1)[places] - values).max() / deviation < 2e-5
        assert maps.mean() == pytest.approx(mean, abs=1e-4 * deviation)
        assert maps.std() == pytest.approx(deviation, rel=1e-4)


def test_overlapping_pooling_is_the_mean_of_the_four_windows(r50: SlowFast) -> None:
    frames = torch.from_numpy(clip(21, (1, 3, 8, 256, 256), 32))
    features, seen = stages_of(r50, frames)
    overlapping = Config(pooling="overlapping").network().eval()
    overlapping.load_state_dict(r50.state_dict())
    official = [
        F.avg_pool3d(maps, (maps.shape[2], 7, 7), stride=1).flatten(2) for maps in seen["s5"]
    ]  # as published: (S, C, 4)
    whole = torch.cat([maps.mean((2, 3, 4)) for maps in seen["s5"]], 1)
    assert official[0].shape == (1, 2048, 4)
    torch.testing.assert_close(features[:, :, 0], whole)
    with torch.inference_mode():
        found = overlapping.features(frames)[:, :, 0]
    torch.testing.assert_close(found, torch.cat(official, 1).mean(2))
    assert distance(found.numpy(), whole.numpy()) > 0.01


def test_probabilities_equal_the_official_networks(r50: SlowFast) -> None:
    official = np.load(GOLDEN / "slowfast_8x8_r50_32x224.npz")
    with torch.inference_mode():
        found = r50.probabilities(torch.from_numpy(clip(20, (1, 3, 32, 224, 224), 32)))
    assert np.abs(found[:, :, 0].numpy() - official["softmax"]).max() < 1e-6


def of_epic(r50: SlowFast, **settings: Any) -> SlowFast:
    """The network with EPIC's classifiers, of which no class is sure."""
    encoder = SlowFast(Config(**settings), {"projection_verb": 97, "projection_noun": 300}).eval()
    trunk = {name: tensor for name, tensor in r50.state_dict().items() if not name.startswith("head.")}
    generator = torch.Generator().manual_seed(0)
    heads = {
        name: torch.randn(tensor.shape, generator=generator) / 20_000
        for name, tensor in encoder.state_dict().items()
        if name.startswith("head.")
    }
    encoder.load_state_dict(trunk | heads)
    return encoder


def test_probabilities_are_averaged_over_the_places_of_the_published_pooling(r50: SlowFast) -> None:
    encoder = of_epic(r50, output="probabilities")
    frames = torch.from_numpy(clip(21, (2, 3, 8, 256, 288), 32))
    _, seen = stages_of(encoder, frames)
    with torch.inference_mode():
        found = encoder.probabilities(frames)
        # PySlowFast's head in a test: pool, classify every place, softmax, mean over places
        pooled = [F.avg_pool3d(maps, (maps.shape[2], 7, 7), stride=1) for maps in seen["s5"]]
        places = torch.cat(pooled, 1).permute(0, 2, 3, 4, 1)  # (S, 1, 2, 3, C)
        verbs, nouns = (head(places).softmax(4).mean((1, 2, 3)) for head in encoder.head.values())
        of_mean = torch.cat([head(places.mean((1, 2, 3))).softmax(1) for head in encoder.head.values()], 1)
    assert places.shape[1:4] == (1, 2, 3)
    torch.testing.assert_close(found[:, :, 0], torch.cat([verbs, nouns], 1), rtol=1e-4, atol=1e-7)
    assert (found[:, :, 0] / of_mean - 1).abs().max() > 1e-3  # which a softmax of the mean would be
    torch.testing.assert_close(found[:, :97].sum(1), torch.ones(2, 1))
    torch.testing.assert_close(found[:, 97:].sum(1), torch.ones(2, 1))


def test_rows_of_probabilities_are_as_wide_as_the_weights_have_classes(r50: SlowFast, tmp_path: Path) -> None:
    epic = of_epic(r50)
    torch.save({"model_state": epic.state_dict()}, tmp_path / "SlowFast.pyth")
    encoder = Config(output="probabilities", crop=224, weights=tmp_path / "SlowFast.pyth").build()
    clips = torch.randint(0, 256, (1, 4, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = encoder.encode(clips), epic.logits(epic.encode(clips))
    assert encoder.channels == found.shape[1] == 397
    softmaxes = torch.cat([expected[:, :97].softmax(1), expected[:, 97:].softmax(1)], 1)
    torch.testing.assert_close(found[:, :, 0], softmaxes, rtol=1e-4, atol=1e-7)


def test_probabilities_need_the_files_own_classifier(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in constants(Config()).items() if not name.startswith("head.")}
    torch.save(state, tmp_path / "trunk.pyth")
    with pytest.raises(UserError, match=r"head\.projection\.weight is missing"):
        Config(output="probabilities", weights=tmp_path / "trunk.pyth").build()


@pytest.mark.parametrize("frames", [32, 64])
def test_the_slow_pathway_sees_the_official_frames(r50: SlowFast, frames: int) -> None:
    official = json.loads((GOLDEN / "clip_sampling.json").read_text())["slow_pathway"]
    seen: list[Tensor] = []
    hook = r50.s1.register_forward_pre_hook(lambda _, pathways: seen.extend(pathways))
    numbered = torch.arange(frames, dtype=torch.float32)[None, None, :, None, None].expand(1, 3, frames, 32, 32)
    with torch.inference_mode():
        r50.features(numbered)
    hook.remove()
    slow, fast = (pathway[0, 0, :, 0, 0].tolist() for pathway in seen)
    assert slow == official[f"slow_pathway_of_{frames}"]
    assert fast == list(range(frames))


def prepared(config: Config, seed: int) -> NDArray[np.float32]:
    """What the frame steps make of the video of a fixture: (4, H, W, 3), 0 to 255."""
    video = np.random.RandomState(seed).randint(0, 256, (4, 180, 320, 3), dtype=np.uint8)
    frames = iter([(frame, 1) for frame in video])
    for step in config.frame_steps():
        frames = step.over(frames)
    return np.stack([frame for frame, _ in frames])


def check_prepared(case: str, normalised: NDArray[np.float32]) -> None:
    """Compares (C, T, H, W) with the official result, of which every tenth row and column is kept."""
    official = np.load(GOLDEN / "preprocess_slowfast.npz")
    assert list(normalised.shape) == official[f"{case}/shape"].tolist()
    assert np.abs(normalised[..., ::10, ::10] - official[f"{case}/sub10"]).max() < 1e-5
    whole = normalised.astype(np.float64)
    np.testing.assert_allclose([whole.mean(), whole.std()], official[f"{case}/mean_std"], atol=1e-6)


EGO4D = Config(crop_rounding="round", pooling="overlapping")


@pytest.mark.parametrize(
    ("case", "config", "seed"),
    [
        ("pyslowfast/180x320_c256_centre", Config(), 110),
        ("pyslowfast/180x320_c256_right", Config(crop_place="end"), 110),
        ("ego4d_slowfast/180x320", EGO4D, 120),
    ],
)
def test_frames_reach_the_network_as_officially(
    case: str, config: Config, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        encoder = config.network()
    monkeypatch.setattr(encoder, "features", lambda frames: frames)
    (frames,) = encoder.encode(torch.from_numpy(prepared(config, seed)[None]))
    check_prepared(case, frames.numpy())


def test_omnivores_frames_are_the_same_but_for_the_crop_and_the_colours() -> None:
    frames = prepared(EGO4D.model_copy(update={"crop": 224}), 120)
    normalised = (frames / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    check_prepared("ego4d_omnivore/180x320", normalised.transpose(3, 0, 1, 2).astype(np.float32))


def test_of_stereo_recordings_the_left_half_is_used() -> None:
    config = Config(left_half=True, short_side=8, crop=8)
    frame = np.zeros((8, 33, 3), np.uint8)
    frame[:, 16:] = 255
    for step in config.frame_steps():
        frame = step.apply(frame)
    assert frame.shape == (8, 8, 3)
    assert not frame.any()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"crop": 257}, "crop 257 is larger than short_side 256"),
        ({"crop": 192, "pooling": "overlapping"}, "pooling: overlapping needs a crop of 193 pixels or more, found 192"),
        (
            {"crop": 192, "output": "probabilities"},
            "output: probabilities needs a crop of 193 pixels or more, found 192",
        ),
        ({"res4_temporal_blocks": 7}, "res4_temporal_blocks is 7, but depth 50 has 6 in res4"),
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Config(**settings)


def constants(config: Config, classes: dict[str, int] | None = None) -> dict[str, Tensor]:
    """A whole state in a few kB: every tensor is one number, drawn from its name, without memory of its own."""
    with torch.device("meta"):
        network = SlowFast(config, classes or {"projection": 400})
    return {
        name: torch.tensor(zlib.crc32(name.encode()) % 9973, dtype=tensor.dtype).expand(tensor.shape)
        for name, tensor in network.state_dict().items()
    }


def check_loaded(encoder: SlowFast, state: dict[str, Tensor]) -> None:
    loaded = encoder.state_dict()
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert encoder.weights_sha256
    assert not encoder.training


def test_a_pyslowfast_file_loads(tmp_path: Path) -> None:
    state = constants(Config())
    file = tmp_path / "SLOWFAST_8x8_R50.pyth"
    torch.save({"epoch": 1, "model_state": state, "optimizer_state": {}, "cfg": "TRAIN:"}, file)
    check_loaded(Config(weights=file).build(), state)


def test_epics_two_classifiers_load_and_verbs_come_before_nouns(tmp_path: Path) -> None:
    state = constants(Config(), {"projection_verb": 97, "projection_noun": 300})
    file = tmp_path / "SlowFast.pyth"
    torch.save({"model_state": dict(sorted(state.items()))}, file)  # nouns first
    encoder = Config(weights=file).build()
    check_loaded(encoder, state)
    logits = encoder.logits(torch.zeros(2, 2304, 1))
    biases = [state[f"head.projection_{part}.bias"] for part in ("verb", "noun")]
    assert torch.equal(logits, torch.cat(biases).expand(2, 397))


def test_a_pytorchvideo_file_loads_into_the_r101(tmp_path: Path) -> None:
    config = Config(depth=101)
    state = constants(config)
    file = tmp_path / "SLOWFAST_8x8_R101.pyth"
    torch.save({"model_state": {pytorchvideo_name(name): tensor for name, tensor in state.items()}}, file)
    check_loaded(config.model_copy(update={"weights": file}).build(), state)


class Python2Pickler(pickle._Pickler):
    """Writes texts and bytes as Python 2's strings, as Caffe2 did."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, content: str | bytes) -> None:
        raw = content.encode("latin1") if isinstance(content, str) else content
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(content)

    dispatch[str] = dispatch[bytes] = save_string


def test_a_caffe2_file_loads(tmp_path: Path) -> None:
    state = constants(Config())
    blobs = {
        caffe2_name(name, 50): tensor.numpy() for name, tensor in state.items() if not name.endswith("batches_tracked")
    }
    training = {"conv1_w_momentum": np.zeros(3, np.float32), "lr": np.zeros(1, np.float32), "model_iter": np.zeros(1)}
    file = tmp_path / "SLOWFAST_8x8_R50.pkl"
    with file.open("wb") as stream:
        Python2Pickler(stream, 2).dump({"blobs": blobs | training})
    expected = {name: tensor if tensor.is_floating_point() else torch.tensor(0) for name, tensor in state.items()}
    check_loaded(Config(weights=file).build(), expected)


def test_all_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    state = constants(Config())
    del state["s1.pathway0_stem.conv.weight"]
    state["s9.weight"] = torch.zeros(1)
    state["s1_fuse.conv_f2s.weight"] = torch.zeros(16, 8, 5, 1, 1)
    file = tmp_path / "other.pyth"
    torch.save({"model_state": state}, file)
    with pytest.raises(UserError) as caught:
        Config(weights=file).build()
    assert "s1.pathway0_stem.conv.weight is missing" in caught.value.found
    assert "s9.weight is unexpected" in caught.value.found
    assert "s1_fuse.conv_f2s.weight is (16, 8, 5, 1, 1), the settings make it (16, 8, 7, 1, 1)" in caught.value.found


NAMES = {
    "pyslowfast": "s4.pathway0_res{}.branch2.a.weight",
    "pytorchvideo": "blocks.3.multipathway_blocks.0.res_blocks.{}.branch2.conv_a.weight",
    "caffe2": "res4_{}_branch2a_w",
}


@pytest.mark.parametrize("form", NAMES)
@pytest.mark.parametrize(
    ("config", "blocks", "temporal", "fix"),
    [
        (Config(), 23, 23, "features.encoder.depth=101 features.encoder.res4_temporal_blocks=23"),
        (Config(depth=101), 6, 6, "features.encoder.depth=50 features.encoder.res4_temporal_blocks=6"),
        (Config(depth=101), 23, 6, "features.encoder.depth=101 features.encoder.res4_temporal_blocks=6"),
    ],
)
def test_weights_of_another_depth_name_their_own(
    form: str, config: Config, blocks: int, temporal: int, fix: str, tmp_path: Path
) -> None:
    kernels = [3] * temporal + [1] * (blocks - temporal)
    file = tmp_path / "weights.pyth"
    torch.save(
        {NAMES[form].format(block): torch.zeros(1, 1, kernel, 1, 1) for block, kernel in enumerate(kernels)}, file
    )
    with pytest.raises(UserError, match="contains a SlowFast of depth") as caught:
        config.model_copy(update={"weights": file}).build()
    assert fix in caught.value.fix


@pytest.mark.parametrize(("depth", "name"), [(50, "SlowFast.pyth"), (101, "SLOWFAST_8x8_R101.pyth")])
def test_a_missing_file_is_reported_with_its_name(
    depth: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=name):
        Config.model_validate({"depth": depth}).build()


@pytest.mark.parametrize("recipe", RECIPES)
class TestRecipe:
    def features(self, recipe: str) -> SourceConfig:
        features: SourceConfig = experiment.load(recipe).features
        return features

    def test_it_sets_what_was_published(self, recipe: str) -> None:
        features = self.features(recipe)
        assert (features.fps, features.clip_frames, features.stride_frames) == (30.0, 32, 16)
        settings = {"slowfast_epic": Config(), "slowfast_ego4d": EGO4D.model_copy(update={"depth": 101})}
        assert experiment.load(recipe).features.encoder == settings[recipe]

    def test_it_starts_clips_where_the_official_code_does(self, recipe: str) -> None:
        settings = self.features(recipe)
        official = json.loads((GOLDEN / "clip_sampling.json").read_text())[
            "ego4d start frames (video frames at 30 fps)"
        ]
        official["39"] = [0, 7]  # spec: features 2.6
        for frames, starts in official.items():
            arguments = int(frames), settings.align, settings.clip_frames, settings.stride_frames
            assert clip_starts(*arguments) == starts
        last = list(clips(map(np.array, range(39)), *arguments[1:]))[-1]
        assert last.tolist() == list(range(7, 39))

    def test_it_gives_epics_first_video_as_many_rows_as_published(self, recipe: str) -> None:
        settings = self.features(recipe)
        for frames in (49564, 49565):  # 1652.15 s
            arguments = settings.align, settings.clip_frames, settings.stride_frames
            assert windows.num_clips(frames, *arguments) == 3097

    def test_a_video_of_31_frames_is_too_short(self, recipe: str) -> None:
        settings = self.features(recipe)
        with pytest.raises(VideoError) as caught:
            list(clips([np.zeros(1)] * 31, settings.align, settings.clip_frames, settings.stride_frames))
        assert caught.value.reason == "too_short"
