import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from actloc.encoders import color, dualformer, i3d, slowfast, tanet, video_swin, videomae
from actloc.encoders.base import EncoderConfig, FromStage
from actloc.encoders.base_network import ClipEncoder
from actloc.errors import UserError
from actloc.layers.drop_path import DropPath
from actloc.recognition.recognizer import Groups, Recognizer, new_classifier, published_classifier, restored
from actloc.training import modules
from tests.encoders import test_dualformer, test_tanet

TOLERANCE = 5e-6  # of the fixtures' logits
TAM, DUALFORMER = Path("tests/golden/tam"), Path("tests/golden/dualformer")
SMALL: dict[str, EncoderConfig] = {
    "tanet": tanet.Config.small(),
    "dualformer": dualformer.Config.small(),
    "video_swin": video_swin.Config.small(),
    "videomae": videomae.Config.small(),
}


def clips(config: EncoderConfig, count: int = 2) -> Tensor:
    frames = {"tanet": 8, "dualformer": 4, "video_swin": 4, "videomae": 4}[config.name]
    side = getattr(config, "crop", None) or 32
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, frames, side, side, 3), dtype=torch.uint8, generator=generator)


def recognizer_of(config: EncoderConfig, num_classes: int = 5, **settings: Any) -> Recognizer:
    torch.manual_seed(0)
    encoder = config.network()
    return Recognizer(encoder, new_classifier(encoder, num_classes), **settings)


def official(encoder: ClipEncoder, pixels: Tensor, num_classes: int) -> Tensor:
    """What a recogniser with the encoder's own classifier makes of scaled pixels (S, F, H, W, 3)."""
    encoder.get_buffer("_mean").zero_()
    encoder.get_buffer("_std").fill_(1)
    recognizer = Recognizer(encoder, published_classifier(encoder, num_classes))
    assert not any(name.startswith(("encoder.fc.", "encoder.cls_head")) for name in recognizer.state_dict())
    with torch.inference_mode():
        return recognizer(pixels)


@pytest.mark.parametrize("mode", ["token", "clip"])
def test_tanets_official_scores_are_reproduced(mode: str) -> None:
    recorded = np.load(TAM / "net_r50_8f_400.npz")
    config = tanet.Config.model_validate({"mode": mode})
    weights = config.in_our_names(test_tanet.in_file(test_tanet.OFFICIAL))
    encoder = config.network_for(weights).eval()
    encoder.load_state_dict(weights)
    pixels = test_tanet.clips(int(recorded["seed"]), tuple(recorded["input_shape"].tolist())).permute(0, 1, 3, 4, 2)
    found = official(encoder, pixels, 400)
    np.testing.assert_allclose(found, recorded["logits"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("case", "mode"), [("net_mini_16x96", "token"), ("net_mini_16x96", "clip"), ("net_tiny_32f_k400", "clip")]
)
def test_dualformers_official_scores_are_reproduced(case: str, mode: str) -> None:
    recorded = dict(np.load(DUALFORMER / f"{case}.npz"))
    config = test_dualformer.MINI if case == "net_mini_16x96" else dualformer.Config()
    keys = "mini_16f_96px" if case == "net_mini_16x96" else "tiny_k400_32f"
    encoder = test_dualformer.official(config.model_copy(update={"mode": mode}), keys)
    pixels = test_dualformer.clips_of(recorded).permute(0, 2, 3, 4, 1)
    found = official(encoder, pixels, recorded["logits"].shape[1])
    np.testing.assert_allclose(found, recorded["logits"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["tanet", "dualformer", "video_swin"])
def test_weights_trained_here_are_read_as_published_ones(name: str, tmp_path: Path) -> None:
    config, given = SMALL[name], clips(SMALL[name], 1)
    ours = recognizer_of(config, num_classes=7)
    ours.write_published(tmp_path / "weights.pth")
    encoder = config.model_copy(update={"weights": tmp_path / "weights.pth"}).build()
    with torch.inference_mode():
        torch.testing.assert_close(encoder.logits(encoder.encode(given)), ours(given), atol=1e-6, rtol=1e-5)
    theirs = Recognizer(encoder, published_classifier(encoder, 7))
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    assert all(torch.equal(theirs.state_dict()[key], one) for key, one in ours.state_dict().items())
    if name == "tanet":
        written = torch.load(tmp_path / "weights.pth", weights_only=True)["state_dict"]
        listed = json.loads((TAM / "keys_r50_8f_400.json").read_text())
        assert written.keys() == {f"module.{row[0]}" for row in listed}


def test_other_encoders_have_no_published_form(tmp_path: Path) -> None:
    recognizer = recognizer_of(SMALL["videomae"])
    with pytest.raises(UserError, match="encoder videomae cannot be written"):
        recognizer.write_published(tmp_path / "weights.pth")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["video_swin", "videomae", "dualformer", "tanet"])
def test_any_encoder_learns_classes_and_a_run_restores_it(name: str) -> None:
    config = SMALL[name]
    recognizer = recognizer_of(config, dropout=0.0).train()
    given, optimizer = clips(config), torch.optim.SGD(recognizer.parameters(), lr=1e-2)
    loss = nn.functional.cross_entropy(recognizer(given), torch.tensor([3, 1]))
    loss.backward()
    learning = [one for one in recognizer.parameters() if one.requires_grad]
    assert all(one.grad is not None for one in learning)
    optimizer.step()
    trained = recognizer.trained_modules("usual")
    stored = modules.learning(trained) | modules.frozen(trained)
    again = Recognizer(*restored(config, stored))
    with torch.inference_mode():
        torch.testing.assert_close(again(given), recognizer.eval()(given))


@pytest.mark.parametrize("config", [i3d.Config.small(), slowfast.Config.small()], ids=["i3d", "slowfast"])
def test_a_classifier_of_another_form_stays_in_the_encoder_and_does_not_learn(config: EncoderConfig) -> None:
    with torch.device("meta"):
        encoder = config.network()
        recognizer = Recognizer(encoder, new_classifier(encoder, 5))
    own = {name for name, one in recognizer.named_parameters() if ("logits" in name or "head" in name)}
    frozen = {name for name, one in recognizer.named_parameters() if not one.requires_grad}
    assert own == frozen != set()
    assert recognizer.classifier.in_features == encoder.channels


@pytest.mark.parametrize(("name", "std"), [("tanet", 0.001), ("dualformer", 0.01)])
def test_a_new_classifier_starts_as_published(name: str, std: float) -> None:
    recognizer = recognizer_of(SMALL[name], num_classes=400)
    assert recognizer.dropout.p == 0.5
    assert recognizer.classifier.weight.std().item() == pytest.approx(std, rel=0.05)
    assert not recognizer.classifier.bias.any()
    assert recognizer_of(SMALL[name], dropout=0.6).dropout.p == 0.6


def test_dropout_is_of_the_frames_or_of_the_clip() -> None:
    features = torch.ones(1, 2048, 8)
    recognizer = recognizer_of(SMALL["tanet"]).train()
    torch.manual_seed(3)
    found = recognizer.classify(features)
    torch.manual_seed(3)
    dropped = nn.functional.dropout(features.mT, 0.5)  # draws follow the layout in memory
    torch.testing.assert_close(found, recognizer.classifier(dropped).mean(1))
    assert len(dropped.unique(dim=1)[0]) == 8


def test_batch_norms_learn_statistics_and_branches_are_dropped_in_training_alone() -> None:
    recognizer = recognizer_of(SMALL["dualformer"])
    norms = [one for one in recognizer.modules() if isinstance(one, _BatchNorm)]
    drops = [one for one in recognizer.modules() if isinstance(one, DropPath)]
    assert norms
    assert drops
    for is_on in (True, False):
        recognizer.train(is_on)
        assert {one.training for one in [*norms, *drops]} == {is_on}
    before = [one.running_mean.clone() for one in norms]
    recognizer.train()(clips(SMALL["dualformer"]))
    assert all(not torch.equal(one.running_mean, old) for one, old in zip(norms, before, strict=True))
    assert [int(one.num_batches_tracked) for one in norms] == [1] * len(norms)
    trained = recognizer.trained_modules("usual")
    assert {name for name in modules.learning(trained) if "running" in name} == {
        f"encoder/{name}" for name in recognizer.encoder.state_dict() if "running" in name
    }


def test_blocks_that_do_not_learn_keep_their_statistics() -> None:
    config = SMALL["tanet"].model_copy(update={"trainable": FromStage(from_stage=2)})
    recognizer = recognizer_of(config).train()
    for name, module in recognizer.encoder.named_modules():
        if isinstance(module, _BatchNorm):
            assert module.training == name.startswith(("layer3", "layer4")), name
    assert recognizer.dropout.training


def test_partial_batch_norm_leaves_one_of_53_learning() -> None:
    recognizer = recognizer_of(SMALL["tanet"], partial_batch_norm=True).train()
    flat = [one for one in recognizer.modules() if isinstance(one, nn.BatchNorm2d)]
    of_modules = [one for one in recognizer.modules() if isinstance(one, nn.BatchNorm1d)]
    assert (len(flat), len(of_modules)) == (53, 32)
    assert [one.training for one in flat] == [True] + [False] * 52
    assert [one.weight.requires_grad for one in flat] == [True] + [False] * 52
    assert flat[0] is recognizer.encoder.get_submodule("stem.bn1")
    assert all(one.training and not one.weight.requires_grad and not one.bias.requires_grad for one in of_modules)
    assert not any(one.training for one in [*recognizer.eval().modules()])
    learning = {id(one) for part in recognizer.trained_modules("published").values() for one in part_weights(part)}
    assert not learning & {id(one.weight) for one in [*flat[1:], *of_modules]}
    assert id(flat[0].weight) in learning
    with pytest.raises(UserError, match="has no 2-D batch norms"):
        recognizer_of(SMALL["dualformer"], partial_batch_norm=True)


def part_weights(part: modules.TrainedModule) -> list[nn.Parameter]:
    return [one for group in part.groups(0.1) for one in group["params"]]


@pytest.mark.parametrize("name", ["tanet", "dualformer"])
def test_recomputed_blocks_learn_statistics_once(name: str) -> None:
    config = SMALL[name]
    if name == "dualformer":
        config = config.model_copy(update={"drop_path": 0.4})
    states, gradients = [], []
    for recomputes in (False, True):
        recognizer = recognizer_of(config).double().train()
        recognizer.encoder.recompute_blocks(recomputes)
        for step in range(2):
            torch.manual_seed(step)
            loss = nn.functional.cross_entropy(recognizer(clips(config)), torch.tensor([3, 1]))
            recognizer.zero_grad()
            loss.backward()
        states.append(recognizer.state_dict())
        gradients.append({key: one.grad for key, one in recognizer.named_parameters()})
        assert {one.momentum for one in recognizer.modules() if isinstance(one, _BatchNorm)} == {0.1}
    assert any(key.endswith("num_batches_tracked") and int(one) == 2 for key, one in states[0].items())
    for found, expected in (states[::-1], gradients[::-1]):
        for key, one in expected.items():
            torch.testing.assert_close(found[key], one, msg=lambda text, key=key: f"{key}: {text}")


def factors_of(recognizer: Recognizer, groups: Groups, rate: float, decay: float) -> dict[str, tuple[float, float]]:
    """The rate and the decay of every weight by its official name."""
    prefix = f"{recognizer.encoder.classifier_name}."
    names = {id(one): key for key, one in recognizer.encoder.named_parameters()}
    names |= {id(one): prefix + key for key, one in recognizer.classifier.named_parameters()}
    found = {}
    for part in recognizer.trained_modules(groups).values():
        for group in part.groups(decay):
            for one in group["params"]:
                assert id(one) in names, "a weight in two groups"
                (name,) = recognizer.encoder.config.in_published_names({names.pop(id(one)): one})
                found[name] = (rate * group["rate_factor"], group["weight_decay"])
    assert not names
    return found


def test_tanets_groups_are_the_official_ones() -> None:
    with torch.device("meta"):
        recognizer = recognizer_of(tanet.Config(), 400)
    listed = json.loads((TAM / "optim_groups_npb.json").read_text())
    expected = {
        f"module.{key}": (0.01 * group["lr_mult"], 1e-4 * group["decay_mult"])
        for group in listed
        for key in group["keys"]
    }
    found = factors_of(recognizer, "published", 0.01, 1e-4)
    assert len(expected) == 289
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(one) for key, one in expected.items())
    assert sum(rate == pytest.approx(0.05) for rate, _ in found.values()) == 33
    continued = factors_of(recognizer, "published_continued", 0.01, 1e-4)
    changed = {key for key, one in found.items() if continued[key] != one}
    assert changed == {key for key, (rate, _) in found.items() if rate > 0.02}
    assert continued["module.new_fc.bias"] == pytest.approx((0.02, 0.0))
    assert continued["module.new_fc.weight"] == pytest.approx((0.01, 1e-4))


def test_dualformers_groups_are_the_official_ones() -> None:
    with torch.device("meta"):
        recognizer = recognizer_of(dualformer.Config(), 400)
    listed = json.loads((DUALFORMER / "optim_groups_tiny.json").read_text())
    found = factors_of(recognizer, "published", 1e-3, 0.02)
    assert found.keys() == {key for key, _, _ in listed}
    assert all(found[key] == pytest.approx((rate, decay)) for key, rate, decay in listed)


def test_groups_nobody_published_are_refused_and_usual_ones_have_the_encoders_factor() -> None:
    config = SMALL["videomae"].model_copy(update={"rate_factor": 0.1, "weight_decay": 0.3})
    recognizer = recognizer_of(config)
    with pytest.raises(UserError, match=r"network\.groups is published, and the encoder is videomae"):
        recognizer.trained_modules("published")
    parts = recognizer.trained_modules("usual")
    assert {group["rate_factor"] for group in parts["encoder"].groups(0.1)} == {0.1}
    assert [group["weight_decay"] for group in parts["classifier"].groups(0.1)] == [0.1, 0.0]
    assert parts["encoder"].groups(0.1)[0]["weight_decay"] == 0.3


def test_encoders_that_do_not_see_each_clip_by_itself_are_refused() -> None:
    adapted = videomae.Config.model_validate(
        SMALL["videomae"].model_dump() | {"trainable": "adapters", "adapters": {"blocks": [1]}}
    )
    with pytest.raises(UserError, match="mixes neighbouring clips"):
        recognizer_of(adapted)
    with pytest.raises(UserError, match="have no classifier"):
        published_classifier(color.Config.small().build(), 3)
