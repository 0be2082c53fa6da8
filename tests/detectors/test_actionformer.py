import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from actloc.detectors import base_network
from actloc.detectors.actionformer import Config
from actloc.detectors.actionformer.network import ActionFormer
from actloc.errors import UserError
from actloc.layers.precision import computing_in
from actloc.structures import Targets
from actloc.training.optimizer import parameter_groups
from tests.detectors.direct import Direct
from tests.golden.cases import drawn, padded, weight

SMALL = Config.small().model_copy(update={"dropout": 0.0})
TARGETS = Targets(torch.tensor([[2.0, 5.0], [6.5, 14.0], [1.0, 20.0]]), torch.tensor([0, 1, 2]))


def small_detector(**changes: Any) -> ActionFormer:
    """A detector of 3 classes on 6 channels, at most 64 steps, with weights that make every layer matter."""
    detector = Config.model_validate(SMALL.model_dump() | changes).build(6, 3, 64)
    detector.load_state_dict(
        {name: weight("gain", name, tuple(tensor.shape)) for name, tensor in detector.state_dict().items()}
    )
    return detector.eval()


def real_outputs(detector: ActionFormer, videos: list[Tensor], steps: int) -> list[tuple[Tensor, Tensor]]:
    """Logits and offsets on the real points of each video, levels in a row."""
    with torch.no_grad():
        outputs = detector(*padded(videos, steps))
    return [
        (logits[mask], offsets[mask])
        for logits, offsets, mask in zip(outputs.logits, outputs.offsets, outputs.mask, strict=True)
    ]


NO_NORMS = {"embedding_norm": False, "neck_norm": False, "head_norm": False}
VARIANTS = [
    *({"windows": windows} for windows in ((5, 5, -1), 19, 4, -1)),
    {"neck": "fpn"},
    {"backbone": "conv", "position_embedding": False},
    {"backbone": "conv", "position_embedding": False, "neck": "fpn", "num_stem_blocks": 2},
    {"projection": ((4, 10), (2, 6))},
    {"relative_positions": True, "windows": (5, 3, -1)},
    {"first_level": 1, "regression_ranges": ((0, 8), (8, 10000))},
    {"first_level": 2, "regression_ranges": ((0, 10000),), "neck": "fpn", "windows": 9},
    {"embedding_norm": False},
    {"neck_norm": False},
    {"neck": "fpn", "neck_norm": False, "first_level": 1, "regression_ranges": ((0, 8), (8, 10000))},
    {"head_norm": False},
    NO_NORMS | {"relative_positions": True, "windows": 7, "head_layers": 3, "projection": ((4, 10), (2, 6))},
    NO_NORMS | {"backbone": "conv", "position_embedding": False},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("length", [1, 9, 37, 60, 63, 64, 65, 75, 100, 121])
def test_dropping_needless_padding_gives_the_outputs_of_official_padding(changes: Any, length: int) -> None:
    detector = small_detector(**changes)
    video = drawn(length, 6, length)
    official = detector.official_steps(length)
    assert detector.padded_steps(length) <= official
    (trimmed,), (expected,) = (real_outputs(detector, [video], n) for n in (detector.padded_steps(length), official))
    for ours, theirs in zip(trimmed, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("length", [37, 64, 121])
def test_outputs_are_those_of_the_definition(changes: Any, length: int) -> None:
    detector = small_detector(**changes)
    video = drawn(length, 6, length)
    expected = Direct(detector.state_dict(), detector.config, 64)(video, detector.official_steps(length))
    ((logits, offsets),) = real_outputs(detector, [video], detector.padded_steps(length))
    for found, levels in zip((logits, offsets), zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(found.double(), torch.cat(levels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "official"),
    [
        ({"windows": 19}, {1: 64, 64: 64, 65: 72, 73: 144}),  # chunks of 18 steps of the coarsest level, 4 apart
        ({"windows": -1}, {65: 68, 121: 124}),
        ({"windows": (9, 5, 1)}, {65: 72}),
        # the levels in use meet the windows of the first ones: 2 x 8, though the windows of these levels are 5 and 1
        ({"windows": (9, 5, 1), "first_level": 1, "regression_ranges": ((0, 8), (8, 10000))}, {65: 80}),
        ({"windows": (7, -1, -1)}, {65: 72}),  # chunks of 6, but whole steps of the coarsest level too
    ],
    ids=str,
)
def test_official_lengths_are_whole_chunks_of_attention(changes: dict[str, Any], official: dict[int, int]) -> None:
    detector = small_detector(**changes)
    assert {length: detector.official_steps(length) for length in official} == official


def norm(name: str) -> set[str]:
    return {f"{name}.weight", f"{name}.bias"}


SCALE_2 = "reg_head.scale.2.scale"
NECK_PARTS = (("lateral", "weight"), ("lateral", "bias"), ("fpn", "weight"), ("fpn", "bias"))
CHANGED_NAMES: list[tuple[dict[str, Any], set[str], set[str]]] = [  # settings, names that come, names that go
    (
        {"relative_positions": True},
        {f"backbone.{block}.attn.rel_pe" for block in ("stem.0", "branch.0")},  # attention to the whole video has none
        set(),
    ),
    ({"first_level": 1, "regression_ranges": ((0, 8), (8, 10000))}, set(), {*norm("neck.fpn_norms.2"), SCALE_2}),
    ({"embedding_norm": False}, {"backbone.embd.0.conv.bias"}, norm("backbone.embd_norm.0")),
    ({"neck_norm": False}, set(), {name for level in range(3) for name in norm(f"neck.fpn_norms.{level}")}),
    (
        {"neck": "fpn", "neck_norm": False},
        {f"neck.{kind}_convs.{level}.conv.{part}" for kind, part in NECK_PARTS for level in range(3)},
        {name for level in range(3) for name in norm(f"neck.fpn_norms.{level}")},
    ),
    (
        {"head_norm": False},
        {f"{head}_head.head.0.conv.bias" for head in ("cls", "reg")},
        {name for head in ("cls", "reg") for name in norm(f"{head}_head.norm.0")},
    ),
]


@pytest.mark.parametrize(("changes", "come", "go"), CHANGED_NAMES, ids=[str(case[0]) for case in CHANGED_NAMES])
def test_names_of_weights_are_the_official_ones_for_settings_that_no_published_config_has(
    changes: dict[str, Any], come: set[str], go: set[str]
) -> None:
    usual, changed = small_detector(), small_detector(**changes)
    assert changed.state_dict().keys() == (usual.state_dict().keys() | come) - go
    decaying, _ = parameter_groups(changed, 0.05)
    names = {id(parameter): name for name, parameter in changed.named_parameters()}
    decayed = {names[id(parameter)] for parameter in decaying["params"]}
    assert decayed & come == {name for name in come if name.endswith("conv.weight")}


def test_relative_positions_have_an_entry_for_each_head_and_step_of_the_window() -> None:
    state = small_detector(relative_positions=True, windows=(5, 3, -1)).state_dict()
    assert state["backbone.stem.0.attn.rel_pe"].shape == (1, 1, 2, 5)
    assert state["backbone.branch.0.attn.rel_pe"].shape == (1, 1, 2, 3)


def test_a_needed_step_of_padding_matters() -> None:
    detector = small_detector()
    video = drawn(0, 6, 40)
    (bare,), (margin,) = real_outputs(detector, [video], 40), real_outputs(detector, [video], 44)
    assert (bare[0] - margin[0]).abs().max() > 1e-3


def test_a_video_in_a_batch_gives_what_it_gives_alone() -> None:
    detector = small_detector()
    videos = [drawn(0, 6, 75), drawn(1, 6, 33), drawn(2, 6, 100)]  # each with positions stretched to its own length
    together = real_outputs(detector, videos, detector.padded_steps(100))
    for video, expected in zip(videos, together, strict=True):
        (alone,) = real_outputs(detector, [video], detector.padded_steps(video.shape[1]))
        torch.testing.assert_close(alone[0], expected[0], atol=1e-5, rtol=0)


def test_training_on_trimmed_batches_gives_the_losses_and_gradients_of_official_padding() -> None:
    results = []
    for steps in (None, 64):
        detector = small_detector(drop_path=1e-9).train()
        videos = [drawn(0, 6, 21), drawn(1, 6, 37)]
        targets = [TARGETS, Targets.none()]
        losses = detector.losses(*padded(videos, steps or detector.padded_steps(37)), targets)
        torch.stack(list(losses.values())).sum().backward()
        results.append((losses, {name: parameter.grad for name, parameter in detector.named_parameters()}))
    (losses, gradients), (official_losses, official_gradients) = results
    torch.testing.assert_close(losses, official_losses, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients, official_gradients, rtol=1e-4, atol=1e-6)


def training_batch(detector: ActionFormer) -> tuple[Tensor, Tensor, list[Targets]]:
    videos = [drawn(0, 6, 21), drawn(1, 6, 37)]
    return *padded(videos, detector.train().padded_steps(37)), [TARGETS, Targets.none()]


def test_the_same_step_twice_gives_the_same_bits() -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        detector = Config.small().build(6, 3, 64)
        losses = detector.losses(*training_batch(detector))
        torch.stack(list(losses.values())).sum().backward()
        runs.append([parameter.grad for parameter in detector.parameters()])
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def test_the_normaliser_is_training_state_and_no_weight() -> None:
    detector, other = small_detector(), small_detector()
    detector.losses(*training_batch(detector))
    state = detector.criterion.training_state()
    assert state["normaliser"] < detector.config.initial_normaliser
    assert not any("normaliser" in name for name in detector.state_dict())
    other.criterion.load_training_state(state)
    assert other.criterion.training_state() == state


def test_announced_batches_move_the_normaliser_once_by_all_their_actions() -> None:
    whole, parts = small_detector(drop_path=1e-9), small_detector(drop_path=1e-9)
    features, mask, _ = training_batch(whole)
    expected = whole.losses(features, mask, [TARGETS, TARGETS])
    parts.train()
    parts.criterion.start_step(sum(parts.criterion.weight_of([length], [TARGETS]) for length in (21, 37)))
    assert parts.criterion.training_state() == whole.criterion.training_state()
    losses = [parts.losses(features[row : row + 1], mask[row : row + 1], [TARGETS]) for row in range(2)]
    assert parts.criterion.training_state() == whole.criterion.training_state()
    for name, value in expected.items():
        assert sum(part[name] for part in losses).item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_in_bfloat16_only_the_network_rounds(changes: dict[str, Any]) -> None:
    detector = small_detector(label_smoothing=0.1, **changes)
    features, mask, targets = training_batch(detector)
    detector.eval()
    with torch.no_grad():
        exact, exact_losses = detector(features, mask), detector.losses(features, mask, targets)
        with computing_in("bfloat16", features.device):
            rounded, losses = detector(features, mask), detector.losses(features, mask, targets)
    assert (exact.logits.dtype, rounded.logits.dtype) == (torch.float32, torch.bfloat16)
    # the losses of the rounded outputs, computed outside: targets and sums did not round
    assert detector.criterion(rounded, targets) == losses
    for name, value in exact_losses.items():
        assert losses[name].dtype == torch.float32
        assert losses[name].item() == pytest.approx(value.item(), rel=0.05)


def test_evaluating_a_loss_leaves_the_normaliser_alone() -> None:
    detector = small_detector()
    features, mask, targets = training_batch(detector)
    detector.eval().losses(features, mask, targets)
    assert detector.criterion.training_state() == {"normaliser": detector.config.initial_normaliser}


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_new_weights_follow_the_official_rule(changes: dict[str, Any]) -> None:
    config = Config.model_validate(Config.small().model_dump() | changes)
    state = config.build(6, 3, 64).state_dict()
    for name, tensor in state.items():
        if "drop_path" in name:
            assert (tensor == 1e-4).all(), name
        elif name == "cls_head.cls_head.conv.bias":
            torch.testing.assert_close(tensor, torch.full_like(tensor, -4.59512))
        elif name.endswith("bias"):
            assert (tensor == 0).all(), name
        elif name.endswith("rel_pe"):
            assert 0 < tensor.abs().max() <= 2, name
        elif "norm" in name or ".ln" in name or name.endswith("scale"):
            assert (tensor == 1).all(), name
        else:
            assert tensor.abs().max() <= 1 / math.sqrt(tensor[0].numel()), name


def test_classes_without_annotations_start_almost_silent() -> None:
    detector = Config.small().build(6, 4, 64)
    detector.expect_no_actions_of([])
    detector.expect_no_actions_of([1, 3])
    bias = detector.cls_head.cls_head.conv.bias
    torch.testing.assert_close(bias, torch.tensor([-4.59512, -13.81551, -4.59512, -13.81551]))
    assert bias.requires_grad


def test_every_part_of_the_features_is_projected_by_itself() -> None:
    detector = small_detector(projection=((4, 10), (2, 6)))
    seen: list[Tensor] = []
    detector.backbone.embd[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    video = drawn(0, 6, 21)
    real_outputs(detector, [video], 24)
    first, second = detector.backbone.proj
    expected = torch.cat((first.conv(video[None, :4]), second.conv(video[None, 4:])), dim=1)
    torch.testing.assert_close(seen[0][..., :21], expected)
    assert (seen[0][..., 21:] == 0).all()


def test_parts_that_do_not_add_up_to_the_features_are_refused() -> None:
    with pytest.raises(UserError, match=r"have 6 channels; the parts of detector.projection have 7"):
        small_detector(projection=((4, 10), (3, 6)))


def test_without_drop_path_the_branches_have_no_scales() -> None:
    assert not any(
        "drop_path" in name
        for name in Config.small().model_copy(update={"drop_path": 0.0}).build(6, 3, 64).state_dict()
    )


def test_a_video_too_long_to_train_on_or_to_evaluate_is_refused() -> None:
    detector = small_detector()
    with pytest.raises(UserError, match="385 feature steps"):
        detector.padded_steps(385)
    assert detector.padded_steps(384) == 384
    with pytest.raises(UserError, match="65 feature steps"):
        detector.train().padded_steps(65)


def test_steps_beyond_the_longest_training_video_need_not_divide_anything() -> None:
    detector = Config.small().build(6, 3, 61)
    assert detector.padded_steps(61) == 64
    assert len(detector.detect(*padded([drawn(0, 6, 61)], 64))[0]) > 0


def test_a_video_in_which_nothing_scores_has_no_detections() -> None:
    detector = small_detector(score_threshold=0.999999)
    found = detector.detect(*padded([drawn(0, 6, 20)], 24))[0]
    assert len(found) == 0
    assert found.segments.shape == (0, 2)


def test_detections_are_sorted_within_a_level_and_longer_than_the_shortest() -> None:
    detector = small_detector(kept_per_level=5, shortest_steps=2.0)
    found = detector.detect(*padded([drawn(0, 6, 50)], 52))[0]
    lengths = found.segments[:, 1] - found.segments[:, 0]
    assert (lengths > 2).all()
    assert len(found) <= 15
    assert found.cut_by == {"detector.kept_per_level"}
    assert not small_detector(kept_per_level=2000).detect(*padded([drawn(0, 6, 50)], 52))[0].cut_by


def test_each_max_steps_of_a_longer_video_gives_as_many_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_network, "_KEPT_PER_LEVEL", 5)
    for steps, limit in ((50, 5), (200, 20)):  # trained on 64
        padding = small_detector().padded_steps(steps)
        found, stated = (
            small_detector(kept_per_level=kept).detect(*padded([drawn(0, 6, steps)], padding))[0]
            for kept in (None, limit)
        )
        assert torch.equal(found.segments, stated.segments)
        assert limit < len(found) <= 3 * limit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "multiple of num_heads"),
        ({"windows": (3, 3)}, "windows has 2 numbers"),
        ({"regression_ranges": ((0, 4), (4, 8))}, "regression_ranges has 2 pairs"),
        ({"regression_ranges": ((0, 4), (8, 4), (8, 100))}, "beyond its farthest"),
        ({"head_kernel": 4}, "must be odd"),
        ({"projection": ((4, 8), (2, 4))}, "add up to dim, 16"),
        ({"backbone": "conv"}, "the backbone conv takes none"),
        ({"backbone": "conv", "position_embedding": False, "relative_positions": True}, "the backbone conv takes none"),
        ({"relative_positions": True, "windows": (5, 4, -1)}, "must be odd"),
        ({"first_level": 3, "regression_ranges": ((0, 9),)}, "a level of the pyramid, 0 to 2"),
        ({"first_level": 1}, "regression_ranges has 3 pairs for 2 levels"),
        ({"window": 3}, "Extra inputs"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(Config.small().model_dump() | changes)
