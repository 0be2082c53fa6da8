"""Whatever way the gradient takes to the encoder, it is the same: replay, chunks and checkpoints change memory only."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from actloc.encoders.base import EncoderConfig, FromStage
from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.clip_window import ClipWindow
from actloc.errors import UserError
from actloc.settings import parts
from actloc.sources import encoded
from actloc.video.frame_transforms import FrameStep
from tests.live.windows import difference, gradient, live, rows_of, small_detector, window

ENCODERS = {  # frames, height, width and channels of a clip: the smallest that pass all layers
    "dualformer": (4, 64, 64, 3),  # a clip gives two vectors
    "efficientnet_lite0": (2, 32, 32, 3),
    "huggingface": (4, 32, 32, 3),  # a tiny V-JEPA 2
    "i3d": (8, 32, 32, 5),
    "r2plus1d": (4, 16, 16, 3),
    "slowfast": (8, 32, 32, 3),
    "tanet": (8, 32, 32, 3),  # a clip gives eight vectors
    "video_swin": (4, 64, 64, 3),  # a clip gives two vectors
    "videomae": (4, 48, 48, 3),  # here too
    "videomae2": (2, 32, 32, 3),
}
WITHOUT_CHANCE = {name: {"drop_path": 0.0} for name in ("dualformer", "video_swin", "videomae")}


class Config(EncoderConfig):
    """Clips of coloured frames, in two layers with dropout between them."""

    def frame_steps(self) -> tuple[FrameStep, ...]:
        return ()

    def build(self) -> "Tiny":
        return Tiny(self)


class Tiny(ClipEncoder):
    channels = 5

    def __init__(self, config: EncoderConfig, dropout: float = 0.0) -> None:
        super().__init__(config)
        self.first, self.second, self.drop = nn.Linear(3, 8), nn.Linear(8, 5), nn.Dropout(dropout)

    def encode(self, clips: Tensor) -> Tensor:
        colours = clips.to(self.dtype).mean((1, 2, 3)) / 255
        return self.second(self.drop(self.first(colours).tanh()))[:, :, None]


def tiny(dropout: float = 0.0) -> ClipEncoder:
    torch.manual_seed(0)
    return Tiny(Config(name="tiny"), dropout)


@pytest.fixture(params=ENCODERS, scope="module")
def encoder(request: pytest.FixtureRequest) -> ClipEncoder:
    """In float64, of which all learns; its weights are float32 numbers. Drawing them takes longer than most tests."""
    torch.manual_seed(0)
    config = parts.find("encoders", request.param).Config.small()
    built = config.model_copy(update=WITHOUT_CHANCE.get(request.param, {})).network().eval()
    assert isinstance(built, ClipEncoder)
    built.set_trainable("all")
    return built.double()


def clips(encoder: ClipEncoder, count: int = 3, learning: set[int] | None = None) -> list[ClipWindow]:
    shape = ENCODERS[encoder.config.name]
    return [window(count, shape, learning=learning, vectors_per_clip=encoder.vectors_per_clip(shape[0]))]


def test_replaying_all_clips_is_full_backpropagation(encoder: ClipEncoder) -> None:
    detector = small_detector(encoder.channels, torch.float64)
    full = gradient(live(encoder, chunk=3), clips(encoder), detector)
    assert full.norm() > 0
    for chunk in (1, 2):
        replayed = gradient(live(encoder, route="replay", chunk=chunk), clips(encoder), detector)
        assert difference(replayed, full) <= 1e-10
    some = gradient(live(encoder, route="replay", chunk=2), clips(encoder, learning={0, 2}), detector)
    assert difference(some, full) > 1e-3
    detached = gradient(live(encoder, chunk=1), clips(encoder, learning={0, 2}), detector)
    assert difference(some, detached) <= 1e-10


def test_in_float32_replay_is_as_near_to_the_exact_gradient_as_full_backpropagation(encoder: ClipEncoder) -> None:
    exact = gradient(live(encoder, chunk=3), clips(encoder), small_detector(encoder.channels, torch.float64))
    detector = small_detector(encoder.channels, torch.float32)
    encoder.float()
    try:
        full = gradient(live(encoder, chunk=3), clips(encoder), detector).double()
        replayed = gradient(live(encoder, route="replay", chunk=1), clips(encoder), detector).double()
    finally:
        encoder.double()
    assert difference(replayed, exact) <= 3 * difference(full, exact)


def test_checkpointed_blocks_have_the_same_gradient(encoder: ClipEncoder) -> None:
    detector = small_detector(encoder.channels, torch.float64)
    full = gradient(live(encoder), clips(encoder, 2), detector)
    encoder.recompute_blocks()
    try:
        direct = gradient(live(encoder), clips(encoder, 2), detector)
        replayed = gradient(live(encoder, route="replay", chunk=1), clips(encoder, 2), detector)
    finally:
        for block in [block for stage in encoder.stages() for block in stage]:
            del block.forward
    assert difference(direct, full) <= 1e-10
    assert difference(replayed, full) <= 1e-10


@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("dualformer", "cls_head.fc_cls.weight"),
        ("r2plus1d", "fc.weight"),
        ("video_swin", "cls_head.fc_cls.weight"),
        ("videomae", "head.weight"),
        ("videomae2", "head.weight"),
        ("slowfast", "head.projection_verb.weight"),
    ],
)
def test_a_runs_weights_find_a_network_of_their_own_shapes(name: str, classifier: str) -> None:
    config = parts.find("encoders", name).Config.small()
    with torch.device("meta"):
        assert config.network_for({classifier: torch.empty(7, 9)}).get_parameter(classifier).shape[0] == 7
        without, usual = (one.state_dict().keys() for one in (config.network_for({}), config.network()))
        # an official file of ETAD has an encoder without classifier
        assert without == usual - ({"fc.weight", "fc.bias"} if name == "r2plus1d" else set())


def test_the_blocks_of_a_stage_learn_and_those_of_earlier_stages_do_not(encoder: ClipEncoder) -> None:
    stages = encoder.stages()
    assert len(stages) == {"efficientnet_lite0": 7}.get(encoder.config.name, 4)
    encoder.set_trainable(FromStage(from_stage=2))
    try:
        gradient(live(encoder), clips(encoder, 2), small_detector(encoder.channels, torch.float64))
        for number, stage in enumerate(stages):
            for block in stage:
                assert [one.grad is not None for one in block.parameters()] == [number >= 2] * len(
                    list(block.parameters())
                )
        with pytest.raises(UserError, match=f"has {len(stages)} stages"):
            encoder.set_trainable(FromStage(from_stage=len(stages)))
    finally:
        encoder.set_trainable("all")
        encoder.zero_grad()


def test_windows_of_a_batch_share_calls_and_keep_their_own_rows() -> None:
    encoder = tiny().double()
    shape = (2, 4, 4, 3)
    windows = [window(3, shape, seed=1), window(5, shape, seed=2, learning={0, 3})]
    alone = [rows_of(live(encoder), [one])[0] for one in windows]
    for settings in ({"chunk": 1}, {"chunk": 3}, {"chunk": 3, "route": "replay"}):
        together = rows_of(live(encoder, **settings), windows)
        assert all(torch.equal(*pair) or difference(*pair) < 1e-12 for pair in zip(together, alone, strict=True))


def test_dropout_is_repeated_in_the_replay_and_later_draws_do_not_change() -> None:
    encoder = tiny(dropout=0.5).double()
    encoding = live(encoder, route="replay", chunk=2)
    encoder.train()
    windows = [window(6, (2, 4, 4, 3))]
    torch.manual_seed(3)
    rows = rows_of(encoding, windows)[0]
    after = torch.get_rng_state()
    rows.square().sum().backward()
    encoding.backward()
    assert torch.equal(torch.get_rng_state(), after)
    replayed = [one.grad for one in encoder.parameters()]
    encoder.zero_grad()
    torch.manual_seed(3)
    direct = live(encoder, chunk=2)
    encoder.train()
    rows = rows_of(direct, windows)[0]
    rows.square().sum().backward()
    for found, one in zip(replayed, encoder.parameters(), strict=True):
        assert found is not None
        torch.testing.assert_close(found, one.grad)


@pytest.mark.parametrize("name", WITHOUT_CHANCE)
def test_branches_are_skipped_only_while_learning_and_the_same_ones_in_the_replay(name: str) -> None:
    torch.manual_seed(0)
    config = parts.find("encoders", name).Config.small().model_copy(update={"drop_path": 0.5})
    encoder = config.network().double()
    encoder.set_trainable("all")
    detector = small_detector(encoder.channels, torch.float64)

    def drawn_gradient(**settings: object) -> Tensor:
        torch.manual_seed(3)
        found = gradient(live(encoder, **settings), clips(encoder, learning={0, 2}), detector)
        assert not any(module.training for module in encoder.modules())
        return found

    direct = drawn_gradient()
    for kept in (0, 1):  # of two chunks
        replayed = drawn_gradient(route="replay", chunk=1, kept_chunks=kept)
        assert difference(replayed, drawn_gradient(chunk=1)) <= 1e-10
    assert difference(drawn_gradient(route="replay"), direct) <= 1e-10
    encoder.recompute_blocks()
    for route in ("direct", "replay"):
        assert difference(drawn_gradient(route=route), direct) <= 1e-10
    torch.manual_seed(4)
    other = gradient(live(encoder), clips(encoder, learning={0, 2}), detector)
    assert difference(other, direct) > 1e-3

    (learning,) = rows_of(live(encoder), clips(encoder, learning={0, 2}))
    with torch.inference_mode():
        (without,) = rows_of(live(encoder), clips(encoder))
        expected = encoder.encode(torch.from_numpy(clips(encoder)[0].held)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(without, expected)
    same = [difference(a, b) < 1e-12 for a, b in zip(learning.T, without.T, strict=True)]
    assert same == [False, False, True, True, False, False]  # two vectors of each clip


def test_chunks_that_are_kept_are_encoded_once_and_the_gradient_has_the_same_bits() -> None:
    encoder = tiny()
    calls: list[int] = []
    encode = encoder.encode
    encoder.encode = lambda clips: (calls.append(len(clips)), encode(clips))[1]  # type: ignore[method-assign]
    detector = small_detector(encoder.channels, torch.float32)
    windows = [window(5, (2, 4, 4, 3), seed=1, learning={0, 3, 4}), window(4, (2, 4, 4, 3), seed=2)]  # 7 learn
    found = []
    for kept, encoded_clips in ((0, 16), (1, 14), (3, 10), (9, 9)):
        calls.clear()
        found.append(gradient(live(encoder, route="replay", kept_chunks=kept), windows, detector))
        assert sum(calls) == encoded_clips
        assert max(calls) == 2
    assert all(torch.equal(one, found[0]) for one in found)


def test_gradients_of_a_scaled_loss_are_scaled() -> None:
    encoder = tiny().double()
    encoding = live(encoder, route="replay")
    found = []
    for scale in (1.0, 1024.0):
        encoder.zero_grad()
        (scale * rows_of(encoding, [window(4, (2, 4, 4, 3))])[0].square().sum()).backward()
        encoding.backward()
        found.append(torch.cat([one.grad.flatten() for one in encoder.parameters() if one.grad is not None]))
    torch.testing.assert_close(found[1], 1024 * found[0])


class MixingConfig(Config):
    @property
    def mixes_clips(self) -> bool:
        return True


def test_an_encoder_that_mixes_clips_sees_all_clips_of_a_window_in_one_call() -> None:
    encoder = Tiny(MixingConfig(name="mixing"))
    seen: list[int] = []
    encode = encoder.encode
    encoder.encode = lambda clips: (seen.append(len(clips)), encode(clips))[1]  # type: ignore[method-assign]
    live(encoder, chunk=2).vectors([window(5, (2, 4, 4, 3)), window(3, (2, 4, 4, 3))])
    assert seen == [5, 3]


@pytest.mark.parametrize(
    ("settings", "which"),
    [({"fraction": 0.5}, "fraction"), ({"route": "replay"}, "route"), ({"chunk": 8}, "chunk")],
)
def test_settings_that_divide_a_window_are_refused_for_an_encoder_that_mixes_its_clips(
    settings: dict[str, object], which: str
) -> None:
    grid = {"fps": 8.0, "clip_frames": 2, "stride_frames": 2}
    encoded.Config.model_validate({"encoder": MixingConfig(name="mixing"), **grid})
    with pytest.raises(ValidationError, match=f"{which}: found .* mixes the clips of a window"):
        encoded.Config.model_validate({"encoder": MixingConfig(name="mixing"), **grid, **settings})


def test_without_gradients_nothing_is_kept_for_a_replay() -> None:
    encoding = live(tiny(), route="replay")
    with torch.inference_mode():
        (rows,) = rows_of(encoding, [window(4, (2, 4, 4, 3))])
    assert not rows.requires_grad
    encoding.backward()


@pytest.mark.parametrize("route", ["direct", "replay"])
def test_an_encoder_of_which_nothing_learns_gives_features_without_gradient(route: str) -> None:
    encoder = tiny()
    encoder.set_trainable("none")
    encoding = live(encoder, route=route)
    assert not encoding.learns
    (rows,) = rows_of(encoding, [window(4, (2, 4, 4, 3), learning=set())])
    assert not rows.requires_grad
