"""ETAD's encoder at full size, R(2+1)D-34 of TSP, and its sampled gradients, compared with the official code."""

import dataclasses
import json
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from actloc.encoders.base import FromStage
from actloc.encoders.r2plus1d import Config, in_torchvisions_names
from actloc.encoders.r2plus1d.network import R2Plus1D
from actloc.end_to_end.choosing import number_of
from tests.encoders import golden
from tests.golden.cases import GOLDEN
from tests.live.windows import live, window

FACTS: dict[str, Any] = json.loads((GOLDEN / "etad/etad_replay.json").read_text())
OUTPUT_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3  # of the fixtures: of the largest value, and of each norm


@pytest.fixture(scope="module")
def encoder() -> R2Plus1D:
    """With the fixtures' weights, under the names of TSP's file."""
    tensors = in_torchvisions_names(golden.filled(golden.keys("r2plus1d_34_tsp_anet")), with_region=False)
    network = Config().network_for(tensors).eval()
    network.load_state_dict(tensors)
    return network


def ruled(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The fixtures' random numbers of this name."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def frames_of(encoder: R2Plus1D, clips: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clips (S, c, F, H, W) as frames (S, F, H, W, c) that the encoder scales to them."""
    mean, std = encoder.get_buffer("_mean").double(), encoder.get_buffer("_std").double()
    frames: NDArray[np.float32] = (torch.from_numpy(clips) * std + mean).float().permute(0, 2, 3, 4, 1).numpy()
    return frames


def test_the_encoder_is_the_official_one_with_batch_norms_that_divide_by_more(encoder: R2Plus1D) -> None:
    assert sum(one.numel() for name, one in encoder.named_parameters() if not name.startswith("fc")) == 63_491_975
    assert {module.eps for module in encoder.modules() if isinstance(module, nn.BatchNorm3d)} == {1e-3}


def test_a_snippet_gives_the_official_numbers_after_every_layer(encoder: R2Plus1D) -> None:
    facts = json.loads((GOLDEN / "etad/r2plus1d_34_16x112.json").read_text())
    given = ruled(facts["input_rule"], tuple(facts["input_shape"]))
    found: dict[str, torch.Tensor] = {}
    hooks = [
        encoder.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: found.update({name: output.clone()})
        )
        for name in facts["stages"]
    ]
    try:
        with torch.inference_mode():
            pooled = encoder.encode(torch.from_numpy(frames_of(encoder, given)))[:, :, 0].numpy()
    finally:
        for hook in hooks:
            hook.remove()
    for name, (shape, stats) in facts["stages"].items():
        values = found[name].double()
        assert list(values.shape) == shape
        ours = [values.mean(), values.std(correction=0), values.norm(), values.abs().max()]
        np.testing.assert_allclose(ours, stats, rtol=OUTPUT_TOLERANCE)
    with np.load(GOLDEN / "etad/r2plus1d_34_16x112.npz") as arrays:
        np.testing.assert_array_equal(given.flatten()[:16], arrays["input_head"])
        for ours, name in ((found["layer4"].numpy(), "output"), (pooled, "pooled")):
            np.testing.assert_allclose(ours, arrays[name], rtol=0, atol=OUTPUT_TOLERANCE * np.abs(arrays[name]).max())


def test_sampled_gradients_that_are_replayed_are_the_official_ones(encoder: R2Plus1D) -> None:
    count, shape = FACTS["snippets"], tuple(FACTS["clip"])
    given = ruled(FACTS["input_rule"], (FACTS["batch"], count, *shape))
    with np.load(GOLDEN / "etad/etad_replay.npz") as file:
        arrays = dict(file)
    np.testing.assert_array_equal(given.flatten()[:16], arrays["input_head"])
    learning = frozenset(arrays["sampled"][0].tolist())
    assert len(learning) == number_of(count, FACTS["ratio"], FACTS["chunk"]) == arrays["n_sampled"]
    channels, frames, height, width = shape
    clips = dataclasses.replace(
        window(count, (frames, height, width, channels)), learning=learning, held=frames_of(encoder, given[0])
    )
    encoder.set_trainable(FromStage(from_stage=2))
    statistics = [one.clone() for one in encoder.buffers()]
    encoding = live(encoder, route="replay", chunk=FACTS["chunk"])
    try:
        (vectors,) = encoding.vectors([clips])
        rows = clips.rows(vectors)
        expected = arrays["feature"][0]
        np.testing.assert_allclose(
            rows.detach().numpy(), expected, rtol=0, atol=OUTPUT_TOLERANCE * np.abs(expected).max()
        )
        rows.backward(torch.from_numpy(ruled(FACTS["feature_grad_rule"], (FACTS["batch"], *rows.shape))[0]))  # type: ignore[no-untyped-call]
        encoding.backward()
        gradients = {f"features.{name}": one.grad for name, one in encoder.named_parameters() if name[:2] != "fc"}
    finally:
        encoder.zero_grad()
    assert all(torch.equal(*pair) for pair in zip(statistics, encoder.buffers(), strict=True))
    official = {name: norm for name, norm in FACTS["grad_norm"].items() if norm is not None}  # null: it is frozen
    assert gradients.keys() == FACTS["grad_norm"].keys()
    norms = {name: float(one.norm()) for name, one in gradients.items() if one is not None}
    assert norms == pytest.approx(official, rel=GRADIENT_TOLERANCE)
    norm, shortcut = gradients["features.layer4.2.conv2.1.weight"], gradients["features.layer3.0.downsample.0.weight"]
    assert norm is not None
    assert shortcut is not None
    for ours, name in ((norm, "grad_layer4_2_conv2_bn"), (shortcut[:8].flatten(1), "grad_layer3_0_ds")):
        atol = GRADIENT_TOLERANCE * np.abs(arrays[name]).max()
        np.testing.assert_allclose(ours.numpy(), arrays[name], rtol=0, atol=atol)


def test_as_many_of_128_snippets_learn_as_officially() -> None:
    official = json.loads((GOLDEN / "etad/anchor_map.json").read_text())["snippets_trained"]
    for chunk in (2, 4, 8, 16):
        assert number_of(128, 0.3, chunk) == official[str(chunk)]
    assert number_of(128, 0.3, 4) == 40


def test_norms_learn_with_their_stages_unless_the_settings_keep_them(encoder: R2Plus1D) -> None:
    def learning(network: R2Plus1D) -> set[str]:
        network.set_trainable(FromStage(from_stage=2))
        return {name for name, one in network.named_parameters() if one.requires_grad}

    official = {name.removeprefix("features.") for name, norm in FACTS["grad_norm"].items() if norm is not None}
    with torch.device("meta"):
        of_norms = {
            f"{name}.{part}"
            for name, module in encoder.named_modules()
            if isinstance(module, nn.BatchNorm3d)
            for part in ("weight", "bias")
        }
        without = Config(train_norms=False).network()
    assert learning(encoder) == official
    assert official & of_norms
    assert learning(without) == official - of_norms
