"""How AdaTAD's adapters in VideoMAE mix clips, which of them learn, and what they keep."""

from typing import Any

import pytest
import torch
from torch import Tensor

from actloc.encoders.base import FromStage
from actloc.encoders.videomae import Adapters, Config, FromBlock
from actloc.encoders.videomae.network import VideoMAE
from actloc.end_to_end.memory import SavedBytes
from tests.encoders.test_videomae import ADAPTED, LADDER, noise, own
from tests.live.windows import live, rows_of, window

MB = 2**20


@pytest.mark.parametrize("settings", [ADAPTED, LADDER])
def test_clips_of_a_window_are_mixed_and_those_of_different_windows_are_not(settings: dict[str, Any]) -> None:
    encoder = own(**settings)
    windows = [
        window(3, (4, 48, 48, 3), seed=1, vectors_per_clip=2),
        window(2, (4, 48, 48, 3), seed=2, vectors_per_clip=2),
    ]
    with torch.inference_mode():
        together = rows_of(live(encoder, chunk=1), windows)
        alone = [encoder.encode(torch.from_numpy(one.held)).transpose(0, 1).flatten(1) for one in windows]
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found, expected)
        single = encoder.encode(torch.from_numpy(windows[0].held[:1]))[0]  # type: ignore[index]
    mixed = (together[0][:, :2] - single).abs().amax(0)
    assert mixed[1] > 1e-3  # the last step of the first clip sees the first of the second
    far = own(**{**settings, "adapters": settings["adapters"].model_copy(update={"blocks": (0,)})})
    with torch.inference_mode():
        whole = far.encode(torch.from_numpy(windows[0].held))
        pair = far.encode(torch.from_numpy(windows[0].held[:2]))  # type: ignore[index]
    torch.testing.assert_close(whole[0], pair[0])  # one adapter reaches one step on either side


def gradients(encoder: VideoMAE, count: int = 3) -> dict[str, Tensor]:
    encoder.zero_grad()
    torch.manual_seed(3)
    encoder.drop_branches(True)
    features = encoder.encode(noise(count))
    encoder.drop_branches(False)  # as in training, where the backward pass comes later
    features.square().sum().backward()
    return {name: one.grad.clone() for name, one in encoder.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("settings", [{}, {"drop_path": 0.5}, ADAPTED, {**ADAPTED, "drop_path": 0.5}, LADDER])
def test_checkpointed_blocks_have_the_same_gradient(settings: dict[str, Any]) -> None:
    encoder = own(**settings)
    kept = gradients(encoder)
    encoder.recompute_blocks()
    again = gradients(encoder)
    assert kept.keys() == again.keys()
    assert all(("adapter" in name) == ("adapters" in settings) for name in kept)
    for name, one in kept.items():
        torch.testing.assert_close(again[name], one, rtol=1e-9, atol=1e-12)


def test_stochastic_depth_skips_branches_of_the_blocks_that_learn_and_keeps_their_mean() -> None:
    encoder = own(**{**ADAPTED, "adapters": Adapters(blocks=FromBlock(from_block=3)), "drop_path": 0.4})
    assert encoder.rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert encoder._factors(2) == [None] * 5
    encoder.drop_branches(True)
    torch.manual_seed(0)
    factors = encoder._factors(4000)
    assert factors[:3] == [None] * 3
    for drawn, rate in zip(factors[3:], (0.3, 0.4), strict=True):
        assert drawn is not None
        assert {round(value, 6) for value in drawn.flatten().tolist()} == {0.0, round(1 / (1 - rate), 6)}
        assert drawn.mean().item() == pytest.approx(1.0, abs=0.03)
        assert not torch.equal(drawn[0], drawn[1])
    assert not any(module.training for module in encoder.modules())
    block, tokens = encoder.blocks[3], torch.randn(2, 18, 16, dtype=torch.float64)
    with torch.inference_mode():
        zero = torch.zeros(2, 2, 1, 1)
        torch.testing.assert_close(block(tokens, zero), tokens)
        torch.testing.assert_close(block(tokens, zero + 1), block(tokens))


def test_a_ladder_adds_what_the_adapters_make_of_each_block_to_the_last_one() -> None:
    encoder = own(**LADDER)
    seen: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *call: seen.append(call[2])) for block in encoder.blocks]
    pixels = torch.randn(2, 3, 4, 48, 48, dtype=torch.float64)
    found = encoder.tokens(pixels)
    for hook in hooks:
        hook.remove()
    assert not any(one.requires_grad for one in seen)
    added = [block.adapter(tokens, 2) for block, tokens in zip(encoder.blocks, seen, strict=True)]
    torch.testing.assert_close(found.flatten(1, 3), seen[-1] + torch.stack(added).sum(0))
    plain = own()
    plain.load_state_dict({name: one for name, one in encoder.state_dict().items() if "adapter" not in name})
    with torch.inference_mode():
        torch.testing.assert_close(plain.tokens(pixels).flatten(1, 3), seen[-1])


def test_a_ladder_keeps_less_than_adapters_between_the_blocks_and_checkpoints_keep_the_blocks_inputs() -> None:
    """Of ViT-S with 160 x 160 pixels: what a clip more adds, in MB of 2^20 bytes."""

    def added_mb(recomputes: bool, **settings: Any) -> float:
        config = Config.model_validate({"size": "small", "drop_path": 0.1, "trainable": "adapters", **settings})
        with torch.device("meta"):
            network = config.network().eval()
        network.set_trainable(config.trainable)
        if recomputes:
            network.recompute_blocks()
        kept = []
        for count in (1, 3):
            clips = torch.zeros(count, 16, 160, 160, 3, dtype=torch.uint8, device="meta")
            with SavedBytes([*network.parameters(), *network.buffers()]) as saved:
                network.encode(clips).sum().backward()
            kept.append(saved.peak / MB)
        return (kept[1] - kept[0]) / 2

    tokens = 8 * 10 * 10 * 384 * 4 / MB
    between = added_mb(False, adapters={})
    checkpointed = added_mb(True, adapters={})
    ladder = added_mb(False, adapters={"ladder": True, "width": 0.125})
    assert checkpointed <= 12 * tokens + between / 11  # every block's input, and one block at a time
    assert ladder <= 12 * 1.75 * tokens  # a block's tokens and six narrow tensors of an eighth of the channels
    assert between >= 5 * ladder


@pytest.mark.parametrize(
    ("settings", "learning"),
    [
        ({**ADAPTED, "adapters": Adapters(blocks=(1, 4))}, {1, 4}),
        ({**ADAPTED, "adapters": Adapters(blocks=FromBlock(from_block=3))}, {3, 4}),
        ({"adapters": Adapters(), "trainable": "none"}, set()),
    ],
)
def test_adapters_are_in_the_blocks_that_the_settings_name(settings: dict[str, Any], learning: set[int]) -> None:
    encoder = own(**settings)
    found = {name.split(".")[1] for name, one in encoder.named_parameters() if one.requires_grad}
    assert found == {str(number) for number in learning}
    everything = own(adapters=Adapters(), trainable=FromStage(from_stage=3))
    assert {name.split(".")[1] for name, one in everything.named_parameters() if one.requires_grad} == {"3", "4"}


def test_adapters_alone_learn_unless_the_settings_say_otherwise() -> None:
    block = {"name": "videomae", "adapters": {}}
    assert Config.expanded(block)["trainable"] == "adapters"
    assert Config.expanded({**block, "trainable": "all"})["trainable"] == "all"
    assert Config.expanded({"name": "videomae", "adapters": None}) == {"name": "videomae", "adapters": None}
    assert (Config.model_validate({"adapters": {}}).mixes_clips, Config().mixes_clips) == (True, False)
