import math
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from actloc.detectors.temporalmaxer import Config
from actloc.detectors.temporalmaxer.network import TemporalMaxer
from actloc.end_to_end.memory import LiveBytes
from actloc.ops.losses import distance_iou_loss, sigmoid_focal_loss
from actloc.ops.points import Points, assign_targets, level_points
from actloc.ops.pointwise import Assignment, PointOutputs
from actloc.structures import Targets
from tests.golden.cases import drawn, padded
from tests.golden.point_cases import (
    PointCase,
    Tolerances,
    check_candidates,
    check_drawn,
    check_losses,
    check_names,
    check_outputs,
    check_targets,
)

SLOW = pytest.mark.slow
ALLOWED = Tolerances(outputs=2e-5, levels=5e-5, scores=2e-6, segments=1e-4, losses=2e-6, gradients=1e-4)
CASES = {"tiny_groupnorm": ALLOWED, "tiny_layernorm": ALLOWED, "thumos_i3d": ALLOWED.times(5)}
NORMS = {"groupnorm": "group", "layernorm": "channel", None: "none"}


def configured(facts: dict[str, Any]) -> Config:
    model = facts["model_args"]
    train, test = (facts["merged_config"][name] for name in ("train_cfg", "test_cfg"))
    num_convs, num_branches = model["backbone_arch"]
    assigner = model["assigner"]
    return Config(
        dim=model["embd_dim"],
        head_dim=model["head_dim"],
        num_embedding_convs=num_convs,
        num_branch_blocks=num_branches,
        neck_norm=NORMS[model.get("fpn_norm", "groupnorm")],
        regression_ranges=model["regression_range"],
        center_radius=assigner["center_radius"],
        class_cost=assigner["cls_weight"],
        border_cost=assigner["iou_weight"],
        kept_share=assigner["keep_percent"],
        other_weight=assigner["confuse_weight"],
        max_buffer_factor=model["max_buffer_len_factor"],
        label_smoothing=train["label_smoothing"],
        loss_weight=train["loss_weight"],
        initial_normaliser=train["init_loss_norm"],
        kept_per_level=test["pre_nms_topk"],
        shortest_steps=test["duration_thresh"],
    )


@pytest.fixture(params=["tiny_groupnorm", "tiny_layernorm", pytest.param("thumos_i3d", marks=SLOW)])
def case(request: pytest.FixtureRequest) -> PointCase:
    return PointCase("temporalmaxer", request.param, CASES[request.param], configured)


def parts(outputs: PointOutputs) -> dict[str, Tensor]:
    return {"cls": outputs.logits[0], "off": outputs.offsets[0]}


def test_logits_offsets_and_levels_are_the_official_ones(case: PointCase) -> None:
    check_outputs(case, case.build(), parts)


def test_candidates_are_the_official_ones(case: PointCase) -> None:
    check_candidates(case, case.build())


def test_points_learn_what_they_learn_officially(case: PointCase) -> None:
    assert "train0_v0_pos_weight" in case.arrays
    check_targets(case, case.build())


def test_losses_normaliser_and_gradients_are_the_official_ones(case: PointCase) -> None:
    check_losses(case, case.build())


MULTITHUMOS = Config(num_embedding_convs=3, neck_norm="channel")
EPIC = {"max_buffer_factor": 4.0, "initial_normaliser": 250.0, "kept_per_level": 5000}
OFFICIAL: dict[str, tuple[Config, int, int]] = {  # settings, channels, classes
    "thumos_i3d": (Config(), 2048, 20),
    "multithumos_i3d": (MULTITHUMOS, 1024, 65),
    "epic_slowfast_verb": (Config(neck_norm="channel", **EPIC), 2304, 97),
    "epic_slowfast_noun": (Config(**EPIC), 2304, 300),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_weights_have_the_official_names_shapes_and_decay(name: str) -> None:
    check_names("temporalmaxer", name, *OFFICIAL[name])


@pytest.mark.parametrize(("norm", "expected"), [("group", 64), ("channel", 44), ("none", 44)])
def test_padding_is_as_long_as_the_numbers_need(norm: Literal["group", "channel", "none"], expected: int) -> None:
    detector = Config.small().model_copy(update={"neck_norm": norm, "num_branch_blocks": 2}).build(8, 2, 64)
    assert (detector.padded_steps(37), detector.padded_steps(60), detector.official_steps(37)) == (expected, 64, 64)


def test_new_weights_are_drawn_as_officially() -> None:
    torch.manual_seed(0)
    check_drawn("temporalmaxer", "thumos_i3d", Config(dim=64).build(32, 20, 2304))


def test_all_levels_share_one_norm_which_is_listed_for_each() -> None:
    detector = Config.small().build(6, 3, 64)
    state = detector.state_dict()
    assert len({state[f"neck.fpn_norms.{level}.weight"].data_ptr() for level in range(3)}) == 1
    assert sum(name.startswith("neck") for name, _ in detector.named_parameters()) == 2


@pytest.mark.parametrize("kept_share", [1.0, 0.5])
def test_a_video_without_actions_among_others_is_background(kept_share: float) -> None:
    detector = Config.model_validate(Config.small().model_dump() | {"kept_share": kept_share}).build(6, 3, 64).train()
    action = Targets(torch.tensor([[3.0, 20.0]]), torch.tensor([1]))
    outputs = detector(*padded([drawn(0, 6, 40), drawn(1, 6, 64)], 64))
    assigned = detector.criterion.assign(outputs.points, [Targets.none(), action], outputs)
    assert not assigned.classes[0].any()
    assert assigned.classes[1].any()
    assert isinstance(assigned.weights, Tensor)
    assert (assigned.weights[0] == 1).all()


def official_form(outputs: PointOutputs, targets: list[Targets], config: Config) -> Assignment:
    """What points learn, with the class cost of every point, action and class at once, as the official code has it."""
    points, num_classes = outputs.points, outputs.logits.shape[2]
    classes, offsets = assign_targets(points, targets, num_classes, config.center_radius or math.inf)
    for video, one in enumerate(targets):
        starts, ends = one.segments.T
        borders = torch.stack((points.steps[:, None] - starts, ends - points.steps[:, None]), dim=2)
        borders = borders / points.strides[:, None, None]
        inside = (borders >= 0).all(dim=2) & outputs.mask[video, :, None]
        wanted = F.one_hot(one.labels, num_classes).float().expand(len(borders), -1, -1)  # (P, N, K)
        cost = sigmoid_focal_loss(outputs.logits[video, :, None].expand_as(wanted), wanted).sum(dim=2)
        cost = config.class_cost * cost + config.border_cost * distance_iou_loss(
            outputs.offsets[video, :, None], borders
        )
        cheapest = cost.masked_fill(~inside, math.inf).argmin(dim=1)
        offsets[video] = borders[torch.arange(len(borders)), cheapest]
    return Assignment(classes, offsets)


def dense_batch(
    max_steps: int, num_actions: list[int], device: str
) -> tuple[TemporalMaxer, PointOutputs, list[Targets]]:
    """A detector for 65 classes, made-up outputs, and actions that overlap as in MultiTHUMOS; meta has no values."""
    num_classes, generator = 65, torch.Generator().manual_seed(0)
    lengths = [max_steps // stride for stride in MULTITHUMOS.strides]
    points = level_points(lengths, MULTITHUMOS.strides, MULTITHUMOS.regression_ranges)
    shape = len(num_actions), sum(lengths)
    logits, offsets = (torch.randn(*shape, size, generator=generator) for size in (num_classes, 2))
    real_steps = torch.linspace(max_steps, 0.7 * max_steps, len(num_actions))
    parts = (logits - 3, offsets.exp(), points.steps < real_steps[:, None])
    on_device = Points(*(one.to(device) for one in vars(points).values()))
    outputs = PointOutputs(on_device, *(one.to(device) for one in parts), lengths)
    targets = []
    for number, longest in zip(num_actions, real_steps.tolist(), strict=True):
        starts, durations = torch.rand(2, number, generator=generator)
        starts, durations = 0.8 * longest * starts, 4 + 0.2 * longest * durations**2
        labels = torch.randint(num_classes, (number,), generator=generator)
        targets.append(Targets(torch.stack((starts, starts + durations), dim=1).to(device), labels.to(device)))
    narrow = Config.model_validate(MULTITHUMOS.model_dump() | {"dim": 16})  # the assignment sees outputs only
    return narrow.build(16, num_classes, max_steps), outputs, targets


def test_the_official_form_of_the_assignment_gives_the_same_targets() -> None:
    detector, outputs, targets = dense_batch(288, [30, 20], "cpu")
    ours = detector.criterion.assign(outputs.points, targets, outputs)
    official = official_form(outputs, targets, MULTITHUMOS)
    positive = (ours.classes.sum(dim=2) > 0) & outputs.mask
    assert positive.sum() > 100
    assert torch.equal(ours.classes, official.classes)
    assert torch.equal(ours.offsets[positive], official.offsets[positive])


def test_assigning_a_batch_of_multithumos_takes_a_tenth_of_the_official_memory() -> None:
    # windows of the published length; a training video has 92 actions on average
    detector, outputs, targets = dense_batch(2304, [120, 92], "meta")
    existing = [outputs.logits, outputs.offsets, outputs.mask, *vars(outputs.points).values()]
    peaks = []
    for assign in (
        lambda: detector.criterion.assign(outputs.points, targets, outputs),
        lambda: official_form(outputs, targets, MULTITHUMOS),
    ):
        with LiveBytes(existing) as live, torch.no_grad():
            before = live.now
            assign()
        peaks.append(live.peak - before)
    of_one_class_cost = 4 * outputs.logits.shape[1] * 120 * 65
    assert peaks[1] > of_one_class_cost
    assert peaks[0] <= 0.1 * peaks[1]


def test_whether_points_count_by_their_cost_decides_whether_steps_can_be_weighed_beforehand() -> None:
    for share in (1.0, 0.9):
        config = Config.model_validate(Config.small().model_dump() | {"kept_share": share})
        assert config.build(6, 3, 64).criterion.weight_follows_from_targets == (share == 1)


def test_a_group_norm_needs_channels_in_whole_groups() -> None:
    with pytest.raises(ValidationError, match="a multiple of 4"):
        Config(dim=18)
