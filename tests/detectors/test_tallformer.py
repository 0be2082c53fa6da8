import json
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from actloc.detectors.tallformer import Config
from actloc.detectors.tallformer.network import TallFormer
from actloc.errors import UserError
from actloc.ops.anchors import AnchorOutputs, AnchorTargets, select_anchors
from actloc.structures import Targets
from tests.golden.cases import GOLDEN, drawn, padded
from tests.golden.fill import fill

FOLDER = GOLDEN / "tallformer"
FACTS: dict[str, Any] = json.loads((FOLDER / "thumos_head_eval.json").read_text())
with np.load(FOLDER / "thumos_head_eval.npz") as _file:
    ARRAYS = dict(_file)
CHANNELS, CLASSES, STEPS, LEVELS = 1024, 20, 240, 5
FRAMES = 2  # of one feature step: the official unit is the frame


def ruled(name: str, shape: tuple[int, ...], scale: float = 1.0) -> NDArray[np.float32]:
    """The fixtures' random numbers of this name."""
    drawing = np.random.RandomState(zlib.crc32(name.encode()))
    return (drawing.standard_normal(shape) * scale).astype(np.float32)


def official_name(name: str) -> str:
    return name.replace(".in_proj.", ".in_proj_")


def joined(name: str, width: int) -> NDArray[Any]:
    """The official output of all levels, (B, A, width), of (B, anchors * width, T) for each."""
    levels = [ARRAYS[f"{name}{level}"].transpose(0, 2, 1) for level in range(LEVELS)]
    return np.concatenate([level.reshape(len(level), -1, width) for level in levels], axis=1)


@pytest.fixture(scope="module")
def detector() -> TallFormer:
    """The official network with the fixture's weights, in evaluation."""
    detector = Config().build(CHANNELS, CLASSES, STEPS)
    state = {
        name: torch.tensor(0) if name.endswith("tracked") else torch.from_numpy(fill(official_name(name), tensor.shape))
        for name, tensor in detector.state_dict().items()
    }
    detector.load_state_dict(state)
    return detector.eval()


@pytest.fixture(scope="module")
def outputs(detector: TallFormer) -> AnchorOutputs:
    features = ruled("input:thumos_head_eval", (2, CHANNELS, STEPS))
    np.testing.assert_array_equal(features.ravel()[:16], ARRAYS["input_head"])
    lengths = torch.tensor([-(-frames // FRAMES) for frames in FACTS["tsizes"]])
    return detector(torch.from_numpy(features), torch.arange(STEPS) < lengths[:, None])


@pytest.fixture(scope="module")
def targets() -> list[Targets]:
    return [
        Targets(
            torch.from_numpy(ARRAYS[f"gt_segments{row}"]) / FRAMES,
            torch.from_numpy(ARRAYS[f"gt_labels{row}"]),
        )
        for row in range(2)
    ]


@pytest.fixture(scope="module")
def assigned(detector: TallFormer, targets: list[Targets]) -> AnchorTargets:
    return detector.criterion.assign(detector.config.anchors(STEPS), targets)


def test_weights_have_the_official_names_and_shapes(detector: TallFormer) -> None:
    listed = json.loads((FOLDER / "keys_thumos_neck_head.json").read_text())
    ours = {official_name(name): list(tensor.shape) for name, tensor in detector.state_dict().items()}
    computed = ("relative_position_index", "pe.pe")
    assert ours == {name: shape for name, shape in listed["state_dict"].items() if not name.endswith(computed)}
    assert sum(parameter.numel() for parameter in detector.parameters()) == listed["n_params"]


def test_logits_codes_and_anchors_are_the_official_ones(outputs: AnchorOutputs) -> None:
    for found, expected in (
        (outputs.logits, joined("cls", CLASSES)),
        (outputs.codes, joined("reg", 2)),
    ):
        np.testing.assert_allclose(found.detach(), expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    anchors = np.concatenate([ARRAYS[f"anchors{level}"] for level in range(LEVELS)])
    np.testing.assert_allclose(FRAMES * outputs.anchors, anchors, rtol=1e-6, atol=1e-5)
    assert outputs.level_lengths == [len(ARRAYS[f"anchors{level}"]) for level in range(LEVELS)]
    assert outputs.lengths.tolist() == [240, 198]


def test_anchors_learn_what_they_learn_officially(assigned: AnchorTargets) -> None:
    def official(name: str) -> NDArray[Any]:
        return np.concatenate([ARRAYS[f"{name}{level}"] for level in range(LEVELS)], axis=1)

    positive = assigned.is_positive.numpy()
    np.testing.assert_array_equal(assigned.is_used, official("label_weights"))
    np.testing.assert_array_equal(positive, official("seg_weights"))
    labels = np.where(positive, assigned.classes.argmax(dim=2), CLASSES)
    used = assigned.is_used.numpy()
    np.testing.assert_array_equal(labels[used], official("labels")[used])
    np.testing.assert_array_equal(FRAMES * assigned.segments, official("seg_targets"))
    assert assigned.num_samples == FACTS["num_total_samples"]
    assert positive.sum() == sum(FACTS["n_pos"])
    assert (~used).sum() == sum(FACTS["n_ignored"])


def test_losses_and_gradients_are_the_official_ones(
    detector: TallFormer, outputs: AnchorOutputs, targets: list[Targets]
) -> None:
    losses = detector.criterion(outputs, targets)
    assert losses["classification"].item() == pytest.approx(FACTS["loss_cls"], rel=1e-4)
    assert losses["regression"].item() == pytest.approx(FACTS["loss_segment"], rel=1e-4)
    (losses["classification"] + losses["regression"]).backward(retain_graph=True)
    gradients = {official_name(name): weight.grad for name, weight in detector.named_parameters()}
    detector.zero_grad()
    assert gradients.keys() == FACTS["grad_norm"].keys()
    for name, norm in FACTS["grad_norm"].items():
        assert gradients[name] is not None
        assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-3), name


def test_segments_and_scores_are_the_official_ones() -> None:
    config, lengths = Config(), [60, 30, 15, 8, 4]
    logits, codes = (
        torch.cat(
            [
                torch.from_numpy(ruled(f"thumos_post:{kind}{level}:w0", (1, 5 * width, length), scale) - shift)
                .transpose(1, 2)
                .reshape(1, -1, width)
                for level, length in enumerate(lengths)
            ],
            dim=1,
        )
        for kind, width, scale, shift in (("cls", CLASSES, 1.5, np.float32(3)), ("reg", 2, 0.7, np.float32(0)))
    )
    anchors = [5 * length for length in lengths]
    outputs = AnchorOutputs(config.anchors(STEPS), logits, codes, torch.tensor([STEPS]), anchors)
    (found,) = select_anchors(outputs, config.score_threshold, config.kept_per_level)
    with np.load(FOLDER / "thumos_post.npz") as file:
        segments, scores = file["segments"], file["scores"]
    # what is listed there is every anchor, a level's best first; each of ours is one of them
    expected_anchors, expected_labels = np.nonzero(scores > config.score_threshold)
    assert len(found) == len(expected_anchors)
    expected = np.column_stack((expected_labels, scores[expected_anchors, expected_labels], segments[expected_anchors]))
    ours = np.column_stack((found.labels, found.scores, FRAMES * found.segments))
    expected, ours = (rows[np.lexsort((rows[:, 1], rows[:, 0]))] for rows in (expected, ours))
    np.testing.assert_array_equal(ours[:, 0], expected[:, 0])
    np.testing.assert_allclose(ours[:, 1:], expected[:, 1:], atol=1e-4, rtol=1e-5)


def test_only_the_best_anchors_of_a_level_give_segments_and_none_ends_after_the_video() -> None:
    anchors = torch.tensor([[0.0, 4.0], [4.0, 8.0], [6.0, 30.0]])
    scores = torch.tensor([[0.3, 0.2], [0.6, 0.4], [0.1, 0.5]])
    outputs = AnchorOutputs(anchors, scores.logit()[None], torch.zeros(1, 3, 2), torch.tensor([10]), [2, 1])
    (found,) = select_anchors(outputs, 0.15, 1)
    assert found.labels.tolist() == [0, 1, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.6, 0.4, 0.5]))
    torch.testing.assert_close(found.segments, torch.tensor([[4.0, 8.0], [4.0, 8.0], [6.0, 10.0]]))


@pytest.mark.parametrize(("channels", "max_steps", "levels"), [(1280, 240, [60, 30, 15]), (7, 50, [13, 7, 4])])
def test_windows_and_features_may_have_any_size(channels: int, max_steps: int, levels: list[int]) -> None:
    detector = Config.small().build(channels, 3, max_steps).train()
    video = drawn(0, channels, max_steps - 5)
    batch = padded([video], detector.padded_steps(max_steps - 5))
    assert batch[0].shape[2] == max_steps
    outputs = detector(*batch)
    assert outputs.level_lengths == [3 * length for length in levels]
    assert len(outputs.anchors) == outputs.logits.shape[1] == outputs.codes.shape[1] == sum(outputs.level_lengths)
    losses = detector.criterion(outputs, [Targets(torch.tensor([[3.0, 20.0]]), torch.tensor([1]))])
    assert all(loss.isfinite() for loss in losses.values())
    assert detector.eval().detect(*batch)[0].segments.max() <= max_steps - 5


def test_a_longer_window_names_the_setting() -> None:
    detector = Config.small().build(6, 3, 64)
    assert detector.padded_steps(3) == detector.padded_steps(64) == 64
    with pytest.raises(UserError) as raised:
        detector.padded_steps(65)
    assert raised.value.found == "A video has 65 feature steps."
    assert "features.window_steps=64" in raised.value.fix


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 36}, "a multiple of consistency_heads, 16"),
        ({"dim": 16, "num_heads": 3}, "a multiple of num_heads, 3"),
        ({"windows": (7, 4)}, "windows must be odd"),
        ({"negative_tiou": 0.7}, "at most positive_tiou"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**settings)


def test_batch_norm_cannot_learn_from_a_level_of_one_position() -> None:
    config = Config.model_validate(Config.small().model_dump() | {"norm_statistics": "batch"})
    with pytest.raises(UserError, match=r"features\.max_steps is 16: the last of the 3 levels") as raised:
        config.build(6, 3, 16)
    assert raised.value.expected == "Expected more than 16 steps."
    detector = config.build(6, 3, 17).train()
    detector(*padded([drawn(0, 6, 17)], 17)).logits.sum().backward()
    Config.small().build(6, 3, 16).train()(*padded([drawn(0, 6, 16)], 16))


@pytest.mark.parametrize("statistics", ["batch", "fixed"])
def test_batch_norm_learns_its_statistics_or_keeps_them(statistics: str) -> None:
    torch.manual_seed(0)
    config = Config.model_validate(Config.small().model_dump() | {"norm_statistics": statistics})
    detector = config.build(6, 3, 64).train()
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm1d)]
    assert len(norms) == 2 * 3 + 2 * 2
    detector(*padded([drawn(0, 6, 40), drawn(1, 6, 64)], 64))
    changed = [bool((norm.running_mean != 0).any()) for norm in norms if norm.running_mean is not None]
    assert changed == [statistics == "batch"] * len(norms)


def test_new_weights_are_drawn_as_officially() -> None:
    torch.manual_seed(0)
    detector = Config(dim=64, head_dim=64).build(32, 20, 240)
    state = detector.state_dict()
    torch.testing.assert_close(state["head.retina_cls.bias"], torch.full((100,), -np.log(99.0), dtype=torch.float32))
    for name in ("head.retina_cls.weight", "head.retina_reg.weight", "head.cls_convs.2.conv.weight"):
        assert state[name].std().item() == pytest.approx(0.01, rel=0.1)
    limit = (6 / (3 * 64 + 3 * 64)) ** 0.5
    assert 0.95 * limit < state["neck.3.fpn_convs.0.conv.weight"].abs().max() <= limit
    assert state["neck.0.conv1.weight"].std().item() == pytest.approx((2 / (64 * 3)) ** 0.5, rel=0.1)
    assert not any(state[f"neck.0.conv{number}.bias"].any() for number in (1, 2))


def test_what_drops_at_random_does_so_in_training_only() -> None:
    torch.manual_seed(0)
    detector = Config.small().build(6, 3, 64)
    batch = padded([drawn(0, 6, 64)], 64)

    def logits() -> Tensor:
        with torch.no_grad():
            return detector(*batch).logits

    detector.eval()
    assert torch.equal(logits(), logits())
    detector.train()
    assert not torch.equal(logits(), logits())
