"""VideoMAE for detection, with and without AdaTAD's adapters, against its authors' outputs and by its own rules."""

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

from actloc.encoders.videomae import SIZES, Adapters, Config, OwnSize
from actloc.encoders.videomae.network import VideoMAE
from actloc.errors import UserError
from actloc.layers.positions import sinusoid_table
from actloc.layers.temporal_adapter import TemporalAdapter
from actloc.video.frame_transforms import Crop, Resize
from tests.encoders import golden
from tests.encoders.golden import filled
from tests.golden.fill import fill
from tests.live.windows import window

GOLDEN = Path("tests/golden/adatad")
TOLERANCE = 1e-5  # of the largest value; the fixtures' README allows 1e-4
GRADIENT_TOLERANCE = 1e-4  # of the norm; it allows 1e-3
SMALL = Config(size="small")
OWN = Config(size=OwnSize(dim=16, blocks=5, heads=2), short_side=48, crop=48, drop_path=0.0)


def listed(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / f"{name}.json").read_text()))


def ruled(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def assert_near(found: Tensor, expected: NDArray[Any]) -> None:
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.detach().numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    """The weights of the authors' ViT-S with adapters under mmaction2's names, the table of positions among them."""
    shapes = {name: tuple(shape) for name, shape in listed("keys_vit_s_adapter")["state_dict"].items()}
    assert listed("keys_vit_s_adapter")["not_filled"] == ["backbone.pos_embed"]
    table = sinusoid_table(8 * 14 * 14, 384).mT
    return {
        "backbone.pos_embed": table,
        **filled({name: one for name, one in shapes.items() if "pos_embed" not in name}),
    }


@pytest.fixture(scope="module")
def adapted(official: dict[str, Tensor]) -> VideoMAE:
    config = Config(size="small", adapters=Adapters(), trainable="adapters")
    network = config.network().eval()
    network.load_state_dict(config.in_our_names(official))
    network.set_trainable(config.trainable)
    return network


def test_an_adapter_has_the_recorded_output() -> None:
    adapter = TemporalAdapter(384, 96)
    shapes = {name: tuple(one.shape) for name, one in adapter.state_dict().items()}
    adapter.load_state_dict({name: torch.from_numpy(fill(f"adapter.{name}", shape)) for name, shape in shapes.items()})
    x = ruled("input:tia", (2, 48, 384))
    with np.load(GOLDEN / "tia.npz") as arrays:
        assert np.array_equal(x.flatten()[:16], arrays["input_head"])
        with torch.inference_mode():
            found = torch.from_numpy(x) + adapter(torch.from_numpy(x), 8)
        assert_near(found[:, :, ::8], arrays["out"])


def test_outputs_and_gradients_are_the_recorded_ones(adapted: VideoMAE) -> None:
    """Two clips of one video: the adapters mix them; only the adapters have gradients."""
    case = listed("adatad_vit_s")
    x = ruled("input:adatad_vit_s", tuple(case["input_shape"]))
    with np.load(GOLDEN / "adatad_vit_s.npz") as arrays:
        assert np.array_equal(x.flatten()[:16], arrays["input_head"])
        tokens = adapted.tokens(torch.from_numpy(x))
        out = tokens.permute(0, 4, 1, 2, 3)
        assert list(out.shape) == case["output_shape"]
        pooled = out.mean((3, 4))
        assert_near(pooled[:, ::4], arrays["pooled"])
        of_two_clips = window(2, (16, 1, 1, 3), vectors_per_clip=case["total_frames"] // 2)  # steps, in its layout
        assert_near(of_two_clips.rows(pooled)[None, ::4], arrays["sequence"])
        assert_near(out[:, :8, :, ::2, ::2], arrays["slice8"])
        for group, expected in zip(out.detach().unflatten(1, (16, -1)).unbind(1), arrays["groups16"], strict=True):
            flat = group.double()
            found = torch.stack([flat.mean(), flat.std(correction=0), torch.linalg.vector_norm(flat)])
            assert_near(found, expected)
    (out * torch.from_numpy(ruled("cotangent:adatad_vit_s", tuple(out.shape)))).sum().backward()
    names = SMALL.in_our_names(
        {
            name: torch.tensor(float("nan") if norm is None else norm, dtype=torch.float64)
            for name, norm in case["grad_norm"].items()
        }
    )
    gradients = {name: one.grad for name, one in adapted.named_parameters()}
    assert gradients.keys() == names.keys()
    for name, norm in names.items():
        if norm.isnan():
            assert gradients[name] is None, name
        else:
            assert gradients[name].double().norm().item() == pytest.approx(norm.item(), rel=GRADIENT_TOLERANCE), name
    adapted.zero_grad()


def test_weights_have_the_authors_shapes_and_the_adapters_alone_learn(
    adapted: VideoMAE, official: dict[str, Tensor]
) -> None:
    expected = SMALL.in_our_names(official)
    assert {name: one.shape for name, one in adapted.state_dict().items()} == {
        name: one.shape for name, one in expected.items()
    }
    trainable = SMALL.in_our_names({name: torch.tensor(0) for name in listed("keys_vit_s_adapter")["trainable"]})
    unused = {"fc_norm.weight", "fc_norm.bias"}  # free there, but without a gradient
    assert {name for name, one in adapted.named_parameters() if one.requires_grad} == set(trainable) - unused
    assert sum(one.numel() for one in adapted.parameters() if one.requires_grad) == 1_006_860


def own(seed: int = 0, **settings: Any) -> VideoMAE:
    """A small network in float64 whose adapters, if there are some, change what it gives."""
    torch.manual_seed(seed)
    config = OWN.model_copy(update=settings)
    network = config.network().double().eval()
    for adapter in [module for module in network.modules() if isinstance(module, TemporalAdapter)]:
        torch.nn.init.normal_(adapter.up_proj.weight, std=0.3)
    network.set_trainable(config.trainable)
    return network


def noise(count: int, frames: int = 4, side: int = 48) -> Tensor:
    return torch.randint(0, 256, (count, frames, side, side, 3), generator=torch.Generator().manual_seed(0)).byte()


ADAPTED: dict[str, Any] = {"adapters": Adapters(), "trainable": "adapters"}
LADDER: dict[str, Any] = {"adapters": Adapters(ladder=True, width=0.125), "trainable": "adapters"}


def test_class_scores_equal_those_of_another_implementation() -> None:
    """Of the recorded network without adapters, whose frames were not normalised; at 224 x 224 positions stay."""
    weights = filled(golden.keys("videomaev2_vit_small_patch16_224"))
    network = SMALL.network(num_classes=710).eval()
    network.load_state_dict(SMALL.in_our_names(weights))
    coarse = np.random.RandomState(0).randint(0, 256, (1, 16, 14, 14, 3)).astype(np.float32)
    pixels = torch.from_numpy(coarse.repeat(16, axis=2).repeat(16, axis=3)).permute(0, 4, 1, 2, 3) / 255
    with torch.inference_mode():
        scores = network.logits(network.tokens(pixels).mean((2, 3)).mT)
    with np.load(golden.FEATURES / "videomae_small_transformers.npz") as arrays:
        assert golden.error(scores, arrays["logits"]) < golden.TOLERANCE


def test_positions_of_other_sizes_are_resized_in_each_step_and_go_on_after_the_table() -> None:
    network = SMALL.network()
    table = sinusoid_table(10 * 14 * 14, 384).mT
    assert torch.equal(network._positions_of(8, 14, 14), table[:, : 8 * 14 * 14])
    torch.testing.assert_close(network._positions_of(10, 14, 14), table)
    last = network._positions_of(10, 10, 12)[0, -10 * 12 :].mT.reshape(1, 384, 10, 12)
    whole = table[:, -14 * 14 :].mT.reshape(1, 384, 14, 14)
    expected = torch.nn.functional.interpolate(whole, size=(10, 12), mode="bicubic", align_corners=False)
    torch.testing.assert_close(last, expected)


def test_frames_are_resized_as_opencv_does_then_scaled() -> None:
    cv2 = pytest.importorskip("cv2")
    resizing, crop = Config(short_side=160, crop=128).frame_steps()
    assert crop == Crop(128)
    assert isinstance(resizing, Resize)
    frame = np.random.default_rng(0).integers(0, 256, (90, 123, 3), dtype=np.uint8)
    found = resizing.apply(frame)
    assert found.shape == (160, int(123 * 160 / 90 + 0.5), 3)
    assert found.dtype == np.uint8
    expected = cv2.resize(frame, found.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(found.astype(int) - expected).max() <= 1
    network = own()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    clips = noise(1)
    scaled = ((clips.double() - mean) / std).permute(0, 4, 1, 2, 3)
    with torch.inference_mode():
        torch.testing.assert_close(network.encode(clips), network.tokens(scaled).mean((2, 3)).mT, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(network.zero_pixel().float(), mean)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_as_many_weights_as_its_file_is_said_to_have(size: str) -> None:
    with torch.device("meta"):
        network = Config.model_validate({"size": size}).network()
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert SIZES[size].published.size == f"{millions:,.0f} million weights"


def in_mmaction2s_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for name, tensor in tensors.items():
        theirs = name.replace("patch_embed.proj.", "patch_embed.projection.")
        theirs = theirs.replace(".mlp.fc1.", ".mlp.layers.0.0.").replace(".mlp.fc2.", ".mlp.layers.1.")
        named["cls_head.fc_cls." + name[5:] if name.startswith("head.") else f"backbone.{theirs}"] = tensor
    return named


@pytest.mark.parametrize("entry", ["state_dict", "module", None])
def test_files_of_mmaction2_and_of_videomaes_authors_load_with_their_classifier(
    entry: str | None, tmp_path: Path
) -> None:
    weights = OWN.network(num_classes=7).state_dict()
    given = weights
    if entry == "state_dict":
        given = in_mmaction2s_names(weights) | {"backbone.pos_embed": sinusoid_table(8 * 14 * 14, 16).mT}
    torch.save(given if entry is None else {entry: given}, tmp_path / "vit.pth")
    encoder = OWN.model_copy(update={"weights": tmp_path / "vit.pth"}).build()
    assert not encoder.training
    assert encoder.weights_sha256 is not None
    assert encoder.state_dict().keys() == weights.keys()
    assert all(torch.equal(encoder.state_dict()[name], one) for name, one in weights.items())
    assert encoder.logits(torch.zeros(1, 16, 8)).shape == (1, 7)


def test_adapters_that_a_file_does_not_have_are_added_and_change_nothing_at_first(tmp_path: Path) -> None:
    torch.save(in_mmaction2s_names(own().float().state_dict()), tmp_path / "vit.pth")
    plain = OWN.model_copy(update={"weights": tmp_path / "vit.pth"})
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (plain.model_copy(update=ADAPTED).build() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first.state_dict()[name], one) for name, one in second.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(first.encode(noise(3)), plain.build().encode(noise(3)))
        assert torch.equal(plain.model_copy(update=LADDER).build().encode(noise(3)), plain.build().encode(noise(3)))
    adapter = first.blocks[2].adapter
    assert isinstance(adapter, TemporalAdapter)
    assert adapter.down_proj.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert adapter.gamma.item() == 1


def test_all_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    with_adapters = own(**ADAPTED).float().state_dict()
    table = sinusoid_table(8 * 14 * 14, 16).mT.flip(1)
    changed = in_mmaction2s_names(with_adapters) | {"backbone.pos_embed": table, "neck.weight": torch.ones(3)}
    del changed["backbone.blocks.3.adapter.conv.bias"]
    torch.save(changed, tmp_path / "vit.pth")
    with pytest.raises(UserError) as raised:
        OWN.model_copy(update={**ADAPTED, "weights": tmp_path / "vit.pth"}).build()
    assert raised.value.found.count("\n") == 3
    for fault in ("pos_embed is unexpected", "neck.weight is unexpected", "blocks.3.adapter.conv.bias is missing"):
        assert fault in raised.value.found
    del changed["backbone.pos_embed"], changed["neck.weight"]
    changed["backbone.blocks.3.adapter.conv.bias"] = torch.zeros(4)
    torch.save(changed, tmp_path / "vit.pth")
    with pytest.raises(UserError, match=r"45 weights of .* do not fit"):  # 9 of each adapter
        OWN.model_copy(update={"weights": tmp_path / "vit.pth"}).build()


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ("base", r"vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400_20221013-860a3cd3\.pth"),
        ("large", r"vit-large-p16_videomae-k400-pre_16x4x1_kinetics-400_20221013-229dbb03\.pth"),
        ("giant", r"vit_g_hybrid_pt_1200e_k710_ft\.pth"),
    ],
)
def test_a_missing_file_is_reported_with_its_published_name(
    size: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=name):
        Config(size=size).build()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"crop": 200}, "crop 200 is larger than short_side 160"),
        ({"size": {"dim": 24, "blocks": 4, "heads": 5}}, "5, expected heads that divide the 24 channels"),
        ({"size": {"dim": 24, "blocks": 0, "heads": 4}}, "greater than 0"),
        ({"size": {"dim": 24, "blocks": 4, "heads": 4, "patch": 192}}, "crop: found 160, expected at least the 192"),
        (
            {"trainable": "adapters"},
            "trainable: found adapters, as features.preset=adatad sets it, but the encoder videomae has none",
        ),
        ({"size": "small", "adapters": {"blocks": [3, 12]}}, r"found \[3, 12\], expected different numbers below 12"),
        ({"size": "small", "adapters": {"blocks": [3, 3]}}, r"found \[3, 3\], expected different numbers below 12"),
        ({"size": "small", "adapters": {"blocks": {"from_block": 12}}}, "found 12, expected different numbers below"),
        ({"adapters": {"width": 0.001}}, "adapters.width: found 0.001"),
        ({"adapters": {"ladder": True}}, "trainable: found all, expected adapters or none"),
        (
            {"adapters": {"ladder": True}, "trainable": "adapters", "drop_path": 0.2},
            "drop_path: found 0.2, which has no",
        ),
    ],
)
def test_settings_that_make_no_network_are_refused(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Config.model_validate(settings)


@pytest.mark.parametrize("settings", [{}, ADAPTED, LADDER])
def test_gradients_reach_what_learns_in_bfloat16(settings: dict[str, Any]) -> None:
    encoder = own(**settings).float()
    exact = encoder.encode(noise(2))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder.encode(noise(2))
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()
    rounded.square().sum().backward()
    learning = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert {name for name, one in encoder.named_parameters() if one.grad is not None and one.grad.any()} == learning
    assert any("adapter" in name for name in learning) == bool(settings)


def test_the_later_half_of_a_network_of_two_blocks_is_the_second() -> None:
    network = Config(size={"dim": 24, "blocks": 2, "heads": 4}, short_side=32, crop=32).network()  # type: ignore[arg-type]
    assert [block for stage in network.stages() for block in stage] == [network.patch_embed, *network.blocks]
    assert [block for stage in network.stages()[2:] for block in stage] == [network.blocks[1]]
