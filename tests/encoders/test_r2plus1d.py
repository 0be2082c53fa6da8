import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from actloc.encoders.r2plus1d import VARIANTS, Config, R2Plus1D, trunk_and_classifier
from actloc.errors import UserError
from actloc.experiment import load
from actloc.layers.precision import computing_in
from actloc.video import windows
from tests.encoders import golden

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
    named = trunk_and_classifier({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    with torch.device("meta"):
        network = Config().network(num_classes=200)
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
def test_r2plus1d_34_computes_what_tsps_does(tmp_path: Path) -> None:
    weights = tsp_file(tmp_path, golden.filled(golden.keys("r2plus1d_34_tsp_anet")))
    network = Config(weights=weights).build()
    check_numbers(network, "r2plus1d_34_tsp_16x112", golden.clip(10, (2, 3, 16, 112, 112), 16), "logits_action")


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


def test_weights_without_a_classifier_are_told_as_such(tmp_path: Path) -> None:
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
