import argparse
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from actloc.encoders.r2plus1d import Config, in_torchvisions_names
from actloc.encoders.r2plus1d.network import VARIANTS, R2Plus1D, global_feature
from actloc.errors import UserError
from actloc.experiment import load
from actloc.extraction.local import recipe
from actloc.layers.precision import computing_in
from actloc.settings.sections import MachineSettings
from actloc.video import windows
from actloc.video.windows import ClipSpacing
from tests.encoders import golden
from tests.extraction.in_memory import encode_video

KEYS = {"r2plus1d_34": "r2plus1d_34_ig65m_k400", "r2plus1d_18": "r2plus1d_18", "r3d_18": "r3d_18"}


def hollow(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of halves that take no room in a file."""
    return {key: torch.tensor(0.5).expand(shape) for key, shape in shapes.items()}


def trunk(variant: str) -> dict[str, tuple[int, ...]]:
    return {key: shape for key, shape in golden.keys(KEYS[variant]).items() if "fc" not in key}


def tsp_file(folder: Path, tensors: dict[str, Tensor]) -> Path:
    """A checkpoint as TSP's training saves it."""
    command_line = argparse.Namespace(backbone="r2plus1d_34", lr=2e-3, label_columns=["action-label"], output_dir=None)
    content = {"model": tensors, "optimizer": {"state": {}, "param_groups": []}, "lr_scheduler": {"last_epoch": 5}}
    torch.save({**content, "epoch": 5, "args": command_line}, folder / "tsp.pth")
    return folder / "tsp.pth"


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_have_the_official_names_and_shapes_in_order(variant: str) -> None:
    with torch.device("meta"):
        network = Config(variant=variant).network()
    found = [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]
    assert found == list(golden.keys(KEYS[variant]).items())


def test_tsps_names_are_those_of_its_trunk_and_its_action_classes() -> None:
    shapes = golden.keys("r2plus1d_34_tsp_anet")
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with_region = Config(output="region", global_features=Path("gvf.h5"))
    for config in (Config(), Config(output="action"), with_region):
        named = in_torchvisions_names(tensors, with_region=config.output == "region")
        with torch.device("meta"):
            network = config.network(num_classes=200)
        assert {name: tensor.shape for name, tensor in named.items()} == {
            name: tensor.shape for name, tensor in network.state_dict().items()
        }


@pytest.mark.parametrize(("recipe", "frames", "rows"), [("tsp_anet", 3784, 118), ("tsp_thumos", 1012, 491)])
def test_a_recipe_gives_the_published_number_of_rows(recipe: str, frames: int, rows: int) -> None:
    features = load(f"configs/features/{recipe}.yaml").features
    assert (features.decode_fps, features.fps) == (30.0, 15.0)
    taken = -(-frames // 2)
    assert windows.num_clips(taken, features.align, features.clip_frames, features.stride_frames) == rows


@pytest.mark.parametrize("case", ["tsp/180x320", "tsp/90x120"])
def test_frames_become_what_tsp_makes_of_them(case: str) -> None:
    seed, frames, height, width = {"tsp/180x320": (100, 4, 180, 320), "tsp/90x120": (102, 3, 90, 120)}[case]
    video = np.random.RandomState(seed).randint(0, 256, (frames, height, width, 3), dtype=np.uint8)
    network = Config(variant="r3d_18").network()
    made = iter([(frame, 1) for frame in video])
    for step in network.config.frame_steps():
        made = step.over(made)
    seen = network.scaled(torch.from_numpy(np.stack([frame for frame, _ in made]))[None])[0].numpy()
    arrays = np.load(golden.FEATURES / "tsp_preprocess.npz")
    assert seen.shape == tuple(arrays[f"{case}/shape"])
    np.testing.assert_allclose(seen[..., ::5, ::5], arrays[f"{case}/sub5"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(
        [seen.mean(dtype=np.float64), seen.std(dtype=np.float64)], arrays[f"{case}/mean_std"], atol=1e-5
    )


def check_numbers(network: R2Plus1D, fixture: str, given: np.ndarray, logits: str) -> None:
    """The network's features, class scores and every layer's output are those recorded from the official code."""
    arrays = golden.recorded(fixture, given)
    mean, std = network.get_buffer("_mean").double(), network.get_buffer("_std").double()
    clips = (torch.from_numpy(given) * std + mean).float().permute(0, 2, 3, 4, 1)  # scaled again, it is `given`
    probes = {}
    for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: probes.update({name: (output.shape, golden.probe(output))})
        )
    with torch.inference_mode():
        features = network.encode(clips)
        scores = network.logits(features)
    assert features.shape[2] == 1
    assert golden.error(features[:, :, 0], arrays["feature"]) < golden.TOLERANCE
    assert golden.error(scores, arrays[logits]) < golden.TOLERANCE
    for name, (shape, values) in probes.items():
        expected = arrays[f"probe/{name}"]
        assert shape == tuple(arrays[f"probeshape/{name}"])
        assert np.abs(values - expected).max() / expected[1] < golden.TOLERANCE


@pytest.mark.parametrize(("variant", "seed"), [("r2plus1d_18", 12), ("r3d_18", 13)])
def test_18_layers_compute_what_torchvisions_do(variant: str, seed: int, tmp_path: Path) -> None:
    torch.save(golden.filled(golden.keys(variant)), tmp_path / "weights.pth")
    network = Config(variant=variant, weights=tmp_path / "weights.pth").build()
    check_numbers(network, f"{variant}_16x112", golden.clip(seed, (1, 3, 16, 112, 112), 16), "logits")


@pytest.mark.slow
def test_the_heads_of_r2plus1d_34_compute_what_tsps_do(tmp_path: Path) -> None:
    """The recorded feature through the recorded rule's heads; a clip is only encoded once for both."""
    tensors = golden.filled(golden.keys("r2plus1d_34_tsp_anet"))
    weights, given = tsp_file(tmp_path, tensors), golden.clip(10, (2, 3, 16, 112, 112), 16)
    recorded = golden.recorded("r2plus1d_34_tsp_16x112", given)
    gvf = write_global_features(tmp_path / "gvf.h5", "v")["v"]
    network = Config(weights=weights, output="region", global_features=tmp_path / "gvf.h5").build()
    mean, std = network.get_buffer("_mean").double(), network.get_buffer("_std").double()
    with torch.inference_mode():
        found = network.encode((torch.from_numpy(given) * std + mean).float().permute(0, 2, 3, 4, 1))[:, :, 0].numpy()
    term = network.video_term("v", Path("v.mp4"))
    both = np.concatenate([recorded["feature"], np.tile(gvf, (2, 1))], 1)
    expected = both.astype(np.float64) @ tensors["fc2.weight"].numpy().T + tensors["fc2.bias"].numpy()
    assert golden.error(found + term, expected) < golden.TOLERANCE


@pytest.mark.slow
def test_r2plus1d_34_computes_what_tsps_does(tmp_path: Path) -> None:
    weights = tsp_file(tmp_path, golden.filled(golden.keys("r2plus1d_34_tsp_anet")))
    network = Config(weights=weights).build()
    check_numbers(network, "r2plus1d_34_tsp_16x112", golden.clip(10, (2, 3, 16, 112, 112), 16), "logits_action")


GOLDEN_HEADS = {"fc1.weight": (20, 512), "fc1.bias": (20,), "fc2.weight": (2, 1024), "fc2.bias": (2,)}
CLIPS = torch.randint(0, 256, (3, 4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def tsp_18(folder: Path, heads: dict[str, tuple[int, ...]]) -> tuple[Path, dict[str, Tensor]]:
    """A small checkpoint of TSP with these heads, and what it holds."""
    prefixed = {f"features.{key}": shape for key, shape in trunk("r2plus1d_18").items()}
    tensors = golden.filled({**prefixed, **heads})
    return tsp_file(folder, tensors), tensors


def write_global_features(path: Path, *names: str) -> dict[str, np.ndarray]:
    """A file in the form of TSP's, of made-up numbers."""
    generator = np.random.default_rng(0)
    made = {name: generator.gamma(2, 0.5, 512).astype(np.float32) for name in names}
    with h5py.File(path, "w") as file:
        for name, values in made.items():
            file.create_dataset(name, data=values, compression="gzip", compression_opts=9)
    return made


def encoded(config: Config) -> tuple[R2Plus1D, Tensor]:
    network = config.build()
    with torch.inference_mode():
        return network, network.encode(CLIPS)


def test_scores_of_actions_are_those_of_the_features(tmp_path: Path) -> None:
    weights, _ = tsp_18(tmp_path, GOLDEN_HEADS)
    plain, features = encoded(Config(variant="r2plus1d_18", weights=weights))
    scored, scores = encoded(Config(variant="r2plus1d_18", weights=weights, output="action"))
    assert (plain.channels, scored.channels) == (512, 20)
    assert scores.shape == (3, 20, 1)
    with torch.inference_mode():
        torch.testing.assert_close(scores[:, :, 0], plain.logits(features))


def test_the_region_head_sees_a_clip_and_the_largest_features_of_its_video(tmp_path: Path) -> None:
    weights, tensors = tsp_18(tmp_path, GOLDEN_HEADS)
    gvf = write_global_features(tmp_path / "gvf.h5", "v_one", "two")
    _, features = encoded(Config(variant="r2plus1d_18", weights=weights))
    config = Config(variant="r2plus1d_18", weights=weights, output="region", global_features=tmp_path / "gvf.h5")
    network, scores = encoded(config)
    assert network.channels == scores.shape[1] == 2
    files = {"one": Path("videos/v_one.mp4"), "two": Path("videos/two.mp4")}  # an id may be without its file's prefix
    network.check_videos(files)
    for video_id, name in (("one", "v_one"), ("two", "two")):
        both = torch.cat([features[:, :, 0], torch.from_numpy(gvf[name]).expand(3, -1)], 1)  # TSP: clip, then video
        official = torch.nn.functional.linear(both, tensors["fc2.weight"], tensors["fc2.bias"])
        found = scores[:, :, 0].numpy() + network.video_term(video_id, files[video_id])
        assert golden.error(found, official.numpy()) < golden.TOLERANCE
        with torch.inference_mode():
            direct = network.region_logits(features, torch.from_numpy(gvf[name]))
        assert golden.error(direct, official.numpy()) < golden.TOLERANCE


def test_a_region_head_without_global_features_needs_none(tmp_path: Path) -> None:
    weights, tensors = tsp_18(tmp_path, {**GOLDEN_HEADS, "fc2.weight": (2, 512)})
    _, features = encoded(Config(variant="r2plus1d_18", weights=weights))
    network, scores = encoded(Config(variant="r2plus1d_18", weights=weights, output="region"))
    official = torch.nn.functional.linear(features[:, :, 0], tensors["fc2.weight"], tensors["fc2.bias"])
    assert golden.error(scores[:, :, 0], official.numpy()) < golden.TOLERANCE
    assert network.video_term("any", Path("any.mp4")) is None
    network.check_videos({"any": Path("any.mp4")})


def test_a_head_that_is_asked_for_must_be_in_the_file_and_fit(tmp_path: Path) -> None:
    write_global_features(tmp_path / "gvf.h5", "v")
    region = {"variant": "r2plus1d_18", "output": "region", "weights": tmp_path / "tsp.pth"}
    with_global = {**region, "global_features": tmp_path / "gvf.h5"}
    only_fc1 = {name: shape for name, shape in GOLDEN_HEADS.items() if name.startswith("fc1")}
    cases: list[tuple[dict[str, tuple[int, ...]], dict[str, Any], str]] = [
        (GOLDEN_HEADS, region, r"needs global video features(.|\n)*encoder\.global_features=FILE"),
        ({**GOLDEN_HEADS, "fc2.weight": (2, 512)}, with_global, r"takes no global features(.|\n)*global_features=null"),
        (only_fc1, region, r"fc2\.weight is missing"),
        ({**GOLDEN_HEADS, "fc2.weight": (3, 1024)}, with_global, r"fc2\.weight is \(3, 1024\)"),
        ({**GOLDEN_HEADS, "fc2.weight": (2, 700)}, region, r"fc2\.weight is \(2, 700\), .* \(2, 512\)"),
    ]
    for heads, settings, told in cases:
        prefixed = {f"features.{key}": shape for key, shape in trunk("r2plus1d_18").items()}
        tsp_file(tmp_path, hollow({**prefixed, **heads}))
        with pytest.raises(UserError, match=told):
            Config(**settings).build()
    with pytest.raises(ValueError, match="global_features need output: region, but output is action"):
        Config(output="action", global_features=tmp_path / "gvf.h5")


def test_a_file_of_global_features_is_proven_before_and_while_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "gvf.h5"
    with h5py.File(path, "w") as file:
        file["short"] = np.zeros(511, np.float32)
        file["nan"] = np.full(512, np.nan, np.float32)
        file["words"] = ["a"] * 512
        file["link"] = h5py.ExternalLink("gvf.h5", "short")
        file["whole"] = np.arange(512)
    with torch.device("meta"):
        network = Config(output="region", global_features=path).network()
    with pytest.raises(UserError, match=r"no global feature for 1 of 2 videos: gone(.|\n)*--pool max"):
        network.check_videos({"whole": Path("whole.mp4"), "gone": Path("gone.mp4")})
    for name in ("short", "nan", "words", "link", "gone"):
        with pytest.raises(UserError, match=rf"contains .* for {name}(.|\n)*Expected 512 finite numbers"):
            global_feature(path, name, Path(f"{name}.mp4"))
    assert global_feature(path, "whole", Path("w.mp4")).dtype == np.float32
    path.write_text("text")
    with pytest.raises(UserError, match="Cannot read"):
        network.check_videos({"whole": Path("whole.mp4")})


def test_global_features_belong_to_the_recipe_and_not_where_they_lie(tmp_path: Path) -> None:
    weights, _ = tsp_18(tmp_path, GOLDEN_HEADS)
    recipes = []
    for folder, names in (("a", ["v"]), ("b", ["v"]), ("c", ["v", "w"])):
        (tmp_path / folder).mkdir()
        write_global_features(tmp_path / folder / "gvf.h5", *names)
        path = tmp_path / folder / "gvf.h5"
        encoder = Config(variant="r2plus1d_18", weights=weights, output="region", global_features=path).build()
        recipes.append(recipe(encoder, ClipSpacing(15.0, None, 16, 1, 16, "valid"), "float32"))
    assert recipes[0] == recipes[1] != recipes[2]
    assert recipes[0]["encoder"]["output"] == "region"
    assert "gvf.h5" not in str(recipes[0])


def test_rows_of_a_video_hold_its_region_scores(tmp_path: Path) -> None:
    weights, _ = tsp_18(tmp_path, GOLDEN_HEADS)
    shutil.copy("data/sample/juggling_ball.mp4", tmp_path / "v_ball.mp4")
    gvf = torch.from_numpy(write_global_features(tmp_path / "gvf.h5", "v_ball")["v_ball"])
    spacing = ClipSpacing(15.0, 30.0, clip_frames=8, frame_interval=1, stride_frames=60, align="valid")
    config = Config(variant="r2plus1d_18", weights=weights, output="region", global_features=tmp_path / "gvf.h5")
    network = config.build()
    rows, info = encode_video(tmp_path / "v_ball.mp4", network, spacing, MachineSettings())
    plain, _ = encode_video(
        tmp_path / "v_ball.mp4", Config(variant="r2plus1d_18", weights=weights).build(), spacing, MachineSettings()
    )
    with torch.inference_mode():
        expected = network.region_logits(torch.from_numpy(plain)[:, :, None], gvf)
    assert (info.channels, info.steps) == (2, len(plain)) == rows.shape[::-1]
    assert golden.error(rows, expected.numpy()) < golden.TOLERANCE
    shutil.copy("data/sample/juggling_ball.mp4", tmp_path / "other.mp4")
    with pytest.raises(UserError, match="no global feature for 1 of 1 video: other"):
        encode_video(tmp_path / "other.mp4", network, spacing, MachineSettings())


@pytest.mark.data
@pytest.mark.skipif("ACTLOC_DATA" not in os.environ, reason="ACTLOC_DATA names no folder")
def test_the_published_global_features_are_read() -> None:
    path = Path(os.environ["ACTLOC_DATA"]) / "thumos14/tsp_global_video_features.h5"
    with h5py.File(path) as file:
        for name in list(file)[::40]:
            assert np.array_equal(global_feature(path, name, Path(f"{name}.mp4")), file[name][()])


def published_forms() -> dict[str, tuple[str, dict[str, tuple[int, ...]], int]]:
    """Variant, names with shapes, and classes of the files that there are."""
    ig65m, tsp = golden.keys("r2plus1d_34_ig65m_k400"), golden.keys("r2plus1d_34_tsp_anet")
    forms = {"ig65m": ("r2plus1d_34", ig65m, 400), "tsp_activitynet": ("r2plus1d_34", tsp, 200)}
    without_gvf = {"fc1.weight": (20, 512), "fc1.bias": (20,), "fc2.weight": (2, 512), "fc2.bias": (2,)}
    forms["tsp_thumos14"] = ("r2plus1d_34", {**tsp, **without_gvf}, 20)
    for variant in ("r2plus1d_18", "r3d_18"):
        prefixed = {f"features.{key}": shape for key, shape in trunk(variant).items()}
        forms[f"{variant}_torchvision"] = (variant, golden.keys(variant), 400)
        forms[f"{variant}_tsp"] = (variant, {**prefixed, **without_gvf}, 20)
        forms[f"{variant}_tac"] = (variant, {**prefixed, "fc.weight": (200, 512), "fc.bias": (200,)}, 200)
    return forms


@pytest.mark.parametrize("form", published_forms())
def test_every_published_form_is_loaded(form: str, tmp_path: Path) -> None:
    variant, shapes, classes = published_forms()[form]
    if "features.stem.0.weight" in shapes:
        path = tsp_file(tmp_path, hollow(shapes))
    else:
        path = tmp_path / "weights.pth"
        torch.save(hollow(shapes), path)
    network = Config(variant=variant, weights=path).build()
    assert all((weight == 0.5).all() for weight in network.parameters())
    assert network.logits(torch.zeros(1, 512, 1)).shape == (1, classes)
    assert network.weights_sha256
    assert not network.training


def test_all_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    shapes = golden.keys("r2plus1d_18")
    del shapes["layer3.1.conv2.0.3.weight"]
    shapes |= {"layer5.weight": (1,), "layer2.0.conv2.0.0.weight": (288, 128, 1, 3, 3)}
    torch.save(hollow(shapes), tmp_path / "weights.pth")
    with pytest.raises(UserError) as caught:
        Config(variant="r2plus1d_18", weights=tmp_path / "weights.pth").build()
    assert "3 weights of" in str(caught.value)
    for wrong in (
        "layer3.1.conv2.0.3.weight is missing",
        "layer5.weight is unexpected",
        "layer2.0.conv2.0.0.weight is (288, 128, 1, 3, 3), the settings make it (230, 128, 1, 3, 3)",
    ):
        assert wrong in str(caught.value)


def test_weights_without_a_classifier_are_reported_as_such(tmp_path: Path) -> None:
    torch.save(hollow(trunk("r3d_18")), tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"(?s)2 weights of.*fc\.weight is missing"):
        Config(variant="r3d_18", weights=tmp_path / "weights.pth").build()


@pytest.mark.parametrize("variant", ["r2plus1d_18", "r3d_18"])
def test_other_memory_formats_and_precisions_give_the_same_features_up_to_rounding(variant: str) -> None:
    weights = golden.filled(golden.keys(KEYS[variant]))
    noise = torch.randint(0, 256, (2, 4, 32, 32, 3), generator=torch.Generator().manual_seed(0))
    found = {}
    for precision, channels_last in (("float32", False), ("float32", True), ("bfloat16", True)):
        network = Config(variant=variant, channels_last=channels_last).network().eval()
        network.load_state_dict(weights)
        with torch.inference_mode(), computing_in(precision, network.device):
            found[precision, channels_last] = network.encode(noise)
    exact = found["float32", False]
    assert all(features.dtype == torch.float32 for features in found.values())
    assert golden.error(found["float32", True], exact.numpy()) < 1e-4
    assert torch.cosine_similarity(found["bfloat16", True], exact).min() > 0.999
    assert not torch.equal(found["bfloat16", True], exact)
