from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from actloc.detectors.tridet import Config
from actloc.ops.pointwise import PointOutputs
from actloc.ops.suppression import vote
from actloc.ops.trident import TridentOutputs
from actloc.structures import Targets
from tests.golden.cases import GOLDEN, drawn, padded
from tests.golden.point_cases import (
    PointCase,
    Tolerances,
    check_candidates,
    check_drawn,
    check_losses,
    check_names,
    check_outputs,
    check_targets,
    shared_settings,
)

SLOW = pytest.mark.slow
ALLOWED = Tolerances(outputs=2e-5, levels=5e-5, scores=2e-6, segments=1e-4, losses=2e-6, gradients=1e-4)
CASES = {"tiny": ALLOWED, "tiny_plain_head": ALLOWED, "thumos_i3d": ALLOWED.times(5)}


def configured(facts: dict[str, Any]) -> Config:
    model = facts["model_args"]
    trident = {
        "num_bins": model["num_bins"],
        "border_kernel": model["boudary_kernel_size"],
        "iou_power": model["iou_weight_power"],
    }
    settings = shared_settings(facts, "n_sgp_win_size", "sgp_mlp_dim") | {
        "downsampling": {"max": "max", "avg": "average"}[model["downsample_type"]],
        "head": "trident" if model["use_trident_head"] else "plain",
    }
    return Config.model_validate(settings | (trident if model["use_trident_head"] else {}))


@pytest.fixture(params=["tiny", "tiny_plain_head", pytest.param("thumos_i3d", marks=SLOW)])
def case(request: pytest.FixtureRequest) -> PointCase:
    return PointCase("tridet", request.param, CASES[request.param], configured)


def parts(outputs: PointOutputs) -> dict[str, Tensor]:
    """What the fixtures store of each point of the one video."""
    stored = {"cls": outputs.logits[0], "off": outputs.offsets[0]}
    if not isinstance(outputs, TridentOutputs):
        return stored
    points, classes = torch.ones_like(outputs.logits[0]).nonzero(as_tuple=True)
    distances = outputs.distances(torch.zeros_like(points), points, classes)
    borders = {"start": outputs.start_logits[0], "end": outputs.end_logits[0]}
    return stored | borders | {"dist": distances.reshape(*outputs.logits[0].shape, 2)}


def test_logits_bins_borders_distances_and_levels_are_the_official_ones(case: PointCase) -> None:
    check_outputs(case, case.build(), parts)


def test_candidates_are_the_official_ones(case: PointCase) -> None:
    check_candidates(case, case.build())


def test_points_learn_what_they_learn_officially(case: PointCase) -> None:
    check_targets(case, case.build())


def test_losses_normaliser_and_gradients_are_the_official_ones(case: PointCase) -> None:
    check_losses(case, case.build())


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.95])
def test_voting_by_score_alone_is_the_official_one(size: str, threshold: float) -> None:
    with np.load(GOLDEN / "tridet" / "voting.npz") as arrays:
        segments, scores = arrays[f"{size}_all_segments"], arrays[f"{size}_all_scores"]
        voted = vote(segments[arrays[f"{size}_kept"]], segments, scores, threshold, by_overlap=False)
        np.testing.assert_allclose(voted, arrays[f"{size}_voted_{threshold}"], rtol=1e-6, atol=1e-6)
        by_overlap = vote(segments[arrays[f"{size}_kept"]], segments, scores, threshold)
        assert (np.abs(by_overlap - voted).max() > 1e-4) == (threshold < 0.9 or size == "large")


EPIC = {"mlp_dim": 1024, "iou_power": 0.25, "max_buffer_factor": 4.0, "initial_normaliser": 250.0}
HACS = {
    "dim": 1024,
    "mlp_dim": 1024,
    "window_factor": 1.2,
    "head_kernel": 5,
    "border_kernel": 1,
    "position_embedding": True,
    "initial_conv_std": 0.1,
}
SEVEN_RANGES = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 128), (128, 10000))
ANET = {
    "dim": 256,
    "head_dim": 512,
    "mlp_dim": 2048,
    "windows": 15,
    "window_factor": 1.3,
    "num_bins": 12,
    "position_embedding": True,
    "initial_conv_std": 0.2,
}
OFFICIAL: dict[str, tuple[dict[str, Any], int, int]] = {  # settings, channels, classes
    "thumos_i3d": ({}, 2048, 20),
    "anet_tsp": (ANET, 512, 1),
    "epic_slowfast_verb": (EPIC | {"windows": 5, "window_factor": 2.0}, 2304, 97),
    "epic_slowfast_noun": (EPIC | {"window_factor": 4.0}, 2304, 300),
    "hacs_slowfast": (HACS | {"windows": 3, "num_bins": 14}, 2304, 200),
    "hacs_i3d": (
        HACS | {"windows": 15, "num_bins": 12, "num_branch_blocks": 6, "regression_ranges": SEVEN_RANGES},
        2048,
        200,
    ),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_weights_have_the_official_names_shapes_and_decay(name: str) -> None:
    settings, channels, num_classes = OFFICIAL[name]
    check_names("tridet", name, Config.model_validate(settings), channels, num_classes)


@pytest.mark.parametrize("name", ["thumos_i3d", "anet_tsp"])
def test_new_weights_are_drawn_as_officially(name: str) -> None:
    settings, _, num_classes = OFFICIAL[name]
    torch.manual_seed(0)
    check_drawn(
        "tridet", name, Config.model_validate(settings | {"dim": 64, "head_dim": 64}).build(32, num_classes, 64)
    )


def test_videos_are_padded_as_officially() -> None:
    detector = Config(dim=16, windows=(5, 3, 5, 3, 3, 3), window_factor=1.3).build(6, 3, 64).eval()
    assert detector.divisor == 96
    assert [detector.padded_steps(length) for length in (1, 64)] == [64, 64]
    assert [detector.padded_steps(length) for length in (65, 97)] == [96, 192]
    assert detector.train().padded_steps(10) == 64


def test_what_is_padded_changes_what_real_steps_give() -> None:
    torch.manual_seed(0)
    detector = Config.small().build(6, 3, 64).eval()
    video = drawn(0, 6, 40)
    short, official = (detector(*padded([video], steps)).logits[0, :40] for steps in (40, 64))
    assert (short - official).abs().max() > 1e-4


def test_blocks_whose_convolutions_start_at_zero_never_learn_them() -> None:
    torch.manual_seed(0)
    config = Config.model_validate(Config.small().model_dump() | {"initial_conv_std": 0.0})
    detector = config.build(6, 3, 64).train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=0.01)
    action = Targets(torch.tensor([[3.0, 20.0]]), torch.tensor([1]))
    for _ in range(2):
        optimizer.zero_grad()
        losses = detector.losses(*padded([drawn(0, 6, 40)], 64), [action])
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    block = detector.backbone.branch[0]
    assert all(conv.weight.abs().max() == 0 for conv in (block.psi, block.fc, block.convw, block.convkw))
    assert block.mlp[0].weight.grad.abs().max() > 0


def test_noise_is_added_in_training_only() -> None:
    config = Config.model_validate(Config.small().model_dump() | {"input_noise": 0.5, "drop_path": 0.0})
    detector = config.build(6, 3, 64)
    batch = padded([drawn(0, 6, 40)], 64)
    for is_training in (True, False):
        detector.train(is_training)
        first, second = (detector(*batch).logits for _ in range(2))
        assert torch.equal(first, second) != is_training


def test_settings_that_cannot_be_built_or_have_no_effect_are_refused() -> None:
    for settings, message in (
        ({"windows": 4}, "windows: found 4, expected odd numbers"),
        ({"windows": (1, 3)}, "windows has 2 numbers"),
        ({"dim": 24}, "a multiple of 16"),
        ({"border_kernel": 2}, "border_kernel: found 2"),
        ({"head": "plain", "num_bins": 8}, "num_bins: has no effect with head: plain"),
    ):
        with pytest.raises(ValidationError, match=message):
            Config.model_validate(settings)
