import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actloc.encoders.huggingface import Config
from actloc.encoders.huggingface.network import HuggingFace
from actloc.errors import UserError
from actloc.layers.precision import computing_in
from tests.encoders import tiny_models

TOLERANCE = 1e-5  # of float32, relative to the largest number
KINDS = list(tiny_models.KINDS)
CLASSIFIERS = [kind for kind in KINDS if kind.endswith("_classifier")]
FRAMES = 4


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with all tiny models, and the models of transformers that were saved there."""
    folder = tmp_path_factory.mktemp("models")
    return folder, {kind: tiny_models.write(folder / kind, kind) for kind in KINDS}


def clips_for(encoder: HuggingFace, count: int = 2) -> Tensor:
    generator = np.random.default_rng(3)
    frames = generator.integers(0, 256, (count, FRAMES, 40, 52, 3), dtype=np.uint8)
    steps, made = encoder.config.frame_steps(), []
    for made_up in frames.reshape(-1, *frames.shape[2:]):
        frame = made_up
        for step in steps:
            frame = step.apply(frame)
        made.append(frame)
    return torch.from_numpy(np.stack(made)).unflatten(0, (count, FRAMES))


def pixels_of(clips: Tensor, folder: Path) -> Tensor:
    """What the values of the processor's file say, one after the other."""
    values = json.loads((folder / "preprocessor_config.json").read_text())
    pixels = clips.double() * values["rescale_factor"] - (1 if values.get("offset") else 0)
    pixels = (pixels - torch.tensor(values["image_mean"])) / torch.tensor(values["image_std"])
    return pixels.float().permute(0, 1, 4, 2, 3)


def outputs_of(model: Any, kind: str, pixels: Tensor) -> dict[str, Tensor]:
    """Every pooling, and the class scores, by the forward pass of transformers: (S, C) or (S, K)."""
    name = kind.removesuffix("_classifier")
    if name in ("dinov3", "siglip", "siglip2", "clip"):
        count = len(pixels)
        given: dict[str, Any] = {"pixel_values": pixels.flatten(0, 1)}
        if name == "siglip2":
            given = naflex(pixels.flatten(0, 1))
        base = model.vision_model if kind.endswith("_classifier") else model
        found = base(**given)
        prefix = {"dinov3": 3, "clip": 1}.get(name, 0)
        real = int(given["pixel_attention_mask"].sum(1)[0]) if name == "siglip2" else None
        each = {"mean": found.last_hidden_state[:, prefix:real].mean(1), "cls": found.last_hidden_state[:, 0]}
        each["pooler"] = found.pooler_output
        if kind.endswith("_classifier"):
            each["logits"] = model(**given).logits
        return {key: value.unflatten(0, (count, -1)).mean(1) for key, value in each.items()}
    base = getattr(model, name) if kind.endswith("_classifier") else model
    tokens = base(pixels).last_hidden_state
    prefix = 1 if name in ("timesformer", "vivit") else 0
    each = {"mean": tokens[:, prefix:].mean(1), "cls": tokens[:, 0]}
    if kind == "vivit":
        each["pooler"] = base(pixels).pooler_output
    if kind.endswith("_classifier"):
        each["logits"] = model(pixels).logits
    return each


def naflex(pixels: Tensor) -> dict[str, Tensor]:
    """Patches as transformers' own processor cuts and pads them."""
    from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches, pad_along_first_dim

    padded = [pad_along_first_dim(convert_image_to_patches(one.numpy(), 8), 20) for one in pixels]
    shape = [pixels.shape[2] // 8, pixels.shape[3] // 8]
    return {
        "pixel_values": torch.from_numpy(np.stack([patches for patches, _ in padded])),
        "pixel_attention_mask": torch.from_numpy(np.stack([mask for _, mask in padded])),
        "spatial_shapes": torch.tensor([shape] * len(pixels)),
    }


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_features_and_class_scores_equal_the_forward_pass_of_transformers(
    kind: str, seed: int, models: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, model = models[0] / kind, models[1][kind]
    if seed:
        folder = tmp_path / kind
        model = tiny_models.write(folder, kind, seed)
    usual = Config(model=str(folder)).build()
    clips = clips_for(usual)
    with torch.inference_mode():
        expected = outputs_of(model, kind, pixels_of(clips, folder))
        compared = 0
        for pooling in usual.family.pools:
            if pooling not in expected:
                continue
            encoder = Config(model=str(folder), pooling=pooling).build()
            features = encoder.encode(clips)
            assert features.shape == (2, 24, 1)
            assert error(features[:, :, 0], expected[pooling]) < TOLERANCE, pooling
            compared += 1
        assert compared >= 1
        if kind in CLASSIFIERS:
            assert usual.class_names == tiny_models.CLASSES
            assert error(usual.logits(usual.encode(clips)), expected["logits"]) < TOLERANCE
    assert usual.weights_sha256


@pytest.mark.parametrize("kind", ["videomae", "vjepa2", "timesformer", "vivit", "dinov3", "clip"])
def test_with_keep_time_the_mean_over_time_is_the_vector_of_the_clip(
    kind: str, models: tuple[Path, dict[str, Any]]
) -> None:
    encoder = Config(model=str(models[0] / kind), pooling="mean", keep_time=True).build()
    whole = Config(model=str(models[0] / kind), pooling="mean").build()
    clips = clips_for(encoder)
    with torch.inference_mode():
        features = encoder.encode(clips)
        assert (
            features.shape[2]
            == encoder.vectors_per_clip(FRAMES)
            == (2 if kind in ("videomae", "vjepa2", "vivit") else 4)
        )
        assert error(features.mean(2), whole.encode(clips)[:, :, 0]) < TOLERANCE


@pytest.mark.parametrize("kind", ["videomae", "vjepa2", "timesformer", "vivit"])
def test_steps_of_time_are_in_order(kind: str, models: tuple[Path, dict[str, Any]]) -> None:
    """Embeddings alone, without blocks that mix tokens: a change of the last frame changes the last vector only."""
    encoder = Config(model=str(models[0] / kind), pooling="mean", keep_time=True).build()
    blocks = encoder.backbone.get_submodule(encoder.family.layers)
    del blocks[:]
    clips = clips_for(encoder, 1)
    changed = clips.clone()
    changed[:, -1] = 255 - changed[:, -1]
    with torch.inference_mode():
        difference = (encoder.encode(clips) - encoder.encode(changed)).abs().amax((0, 1))
    assert difference[-1] > 1e-3
    assert (difference[:-1] == 0).all()


def test_only_the_chosen_pooling_has_class_scores(models: tuple[Path, dict[str, Any]]) -> None:
    encoder = Config(model=str(models[0] / "videomae_classifier"), pooling="mean").build()
    with pytest.raises(UserError, match=r"pooling=pooler"):
        encoder.logits(torch.zeros(1, 24, 1))
    with pytest.raises(UserError, match="no classifier"):
        Config(model=str(models[0] / "dinov3")).build().logits(torch.zeros(1, 24, 1))


def test_what_changes_in_a_folder_changes_its_sha256_and_moving_it_does_not(tmp_path: Path) -> None:
    tiny_models.write(tmp_path / "one", "dinov3")
    tiny_models.write(tmp_path / "two", "dinov3")
    first, second = (Config(model=str(tmp_path / name)).folder() for name in ("one", "two"))
    assert first.sha256() == second.sha256()
    file = tmp_path / "two/preprocessor_config.json"
    file.write_text(file.read_text().replace("0.485", "0.486"))
    assert first.sha256() != second.sha256()
    tiny_models.write(tmp_path / "three", "dinov3", seed=1)
    assert Config(model=str(tmp_path / "three")).folder().sha256() != first.sha256()


def test_models_of_other_kinds_and_their_code_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match=r"(?s)type bert.*VideoMAE.*write your own encoder"):
        Config(model=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": {"AutoModel": "code.Model"}}))
    with pytest.raises(UserError, match=r"(?s)its own code.*never runs code"):
        Config(model=str(tmp_path))


def test_a_model_of_the_hub_is_read_from_its_download_and_its_commit_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    tiny_models.write(repository / "snapshots" / commit, "dinov3")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder = Config(model="someone/tiny").build()
    assert encoder.revision == commit
    assert encoder.weights_sha256 == Config(model=str(repository / "snapshots" / commit)).build().weights_sha256
    with pytest.raises(UserError, match=r"(?s)neither a folder nor.*allow_download"):
        Config(model="someone/else").build()


def test_wrong_settings_are_refused_with_what_fits(models: tuple[Path, dict[str, Any]]) -> None:
    folder = models[0]
    for kind, settings, message in (
        ("videomae", {"pooling": "cls"}, "expected one of mean"),
        ("vjepa2", {"pooling": "pooler"}, "without a classifier"),
        ("timesformer", {"keep_time": True}, "set pooling=mean"),
        ("vivit_classifier", {"pooling": "pooler"}, "xpected one of cls, mean"),
        ("dinov3", {"trainable": "adapters"}, "has none"),
    ):
        with pytest.raises((UserError, ValueError), match=message):
            Config(model=str(folder / kind), **settings).build()
    assert Config(model=str(folder / "videomae")).exact_frames == FRAMES
    assert Config(model=str(folder / "vjepa2")).exact_frames is None
    assert Config(model=str(folder / "vjepa2")).clip_multiple == 2
    with pytest.raises(UserError, match="does not exist"):
        Config(model=str(folder / "nowhere")).build()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_stage_and_blocks_can_be_computed_again(
    kind: str, models: tuple[Path, dict[str, Any]]
) -> None:
    encoder = Config(model=str(models[0] / kind)).build().double()
    clips = clips_for(encoder)
    gradients = []
    for recomputed in (False, True):
        encoder.set_trainable("all")
        encoder.zero_grad()
        encoder.recompute_blocks(recomputed)
        encoder.encode(clips).square().sum().backward()
        gradients.append(
            {name: weight.grad.clone() for name, weight in encoder.named_parameters() if weight.grad is not None}
        )
    for stage in encoder.stages():
        for block in stage:
            assert any(
                weight.grad is not None and weight.grad.abs().sum() > 0 for weight in block.parameters()
            ) or not list(block.parameters())
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-9, atol=1e-12)
    encoder.set_trainable("none")
    assert not any(weight.requires_grad for weight in encoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_clips_one_by_one_is_that_of_all_at_once(
    kind: str, models: tuple[Path, dict[str, Any]]
) -> None:
    encoder = Config(model=str(models[0] / kind)).build().double()
    encoder.set_trainable("all")
    clips = clips_for(encoder, 3)
    encoder.encode(clips).square().sum().backward()
    whole = {name: weight.grad.clone() for name, weight in encoder.named_parameters() if weight.grad is not None}
    encoder.zero_grad()
    for clip in clips:
        encoder.encode(clip[None]).square().sum().backward()
    for name, gradient in whole.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(encoder.get_parameter(name).grad, gradient, rtol=0, atol=1e-7 * scale + 1e-12)


@pytest.mark.parametrize("kind", ["vjepa2", "timesformer", "dinov3", "siglip2", "clip"])
def test_every_family_has_maps_of_its_blocks(kind: str, models: tuple[Path, dict[str, Any]]) -> None:
    encoder = Config(model=str(models[0] / kind)).build()
    clips = clips_for(encoder, 1)
    outputs: list[Tensor] = []
    layer = list(encoder.map_layers().values())[-1]
    layer.register_forward_hook(lambda _, __, output: outputs.append(output))
    encoder.encode(clips)
    maps = encoder.as_maps(outputs[0], tuple(clips.shape[1:4]))
    steps = 2 if kind == "vjepa2" else 4
    assert maps.shape == (1, 24, steps, clips.shape[2] // 8, clips.shape[3] // 8)


def test_bfloat16_gives_float32_features_that_are_close(models: tuple[Path, dict[str, Any]]) -> None:
    encoder = Config(model=str(models[0] / "vjepa2")).build()
    clips = clips_for(encoder)
    with torch.inference_mode():
        exact = encoder.encode(clips)
        with computing_in("bfloat16", torch.device("cpu")):
            rounded = encoder.encode(clips)
    assert rounded.dtype == torch.float32
    assert error(rounded, exact) < 0.1


def test_without_the_extra_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.write(tmp_path, "dinov3")
    config = Config(model=str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for ask in (config.require_weights, config.build, config.network):
        with pytest.raises(UserError, match=r'pip install "actloc\[hf\]"'):
            ask()
