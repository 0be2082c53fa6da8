from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from actloc.detectors.dyfadet import Config
from actloc.layers.dynamic_heads import ConstantWeight, rectified_tanh, shifted
from actloc.ops.pointwise import PointOutputs
from tests.golden.cases import weight
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
ALLOWED = Tolerances(outputs=1e-4, levels=5e-5, scores=1e-5, segments=5e-4, losses=2e-6, gradients=2e-3)
CASES = {"tiny": ALLOWED, "thumos_i3d": ALLOWED.times(5)}


def configured(facts: dict[str, Any]) -> Config:
    settings = shared_settings(facts, "n_encoder_win_size", "mlp_dim")
    return Config.model_validate(settings | {"gate_shift": facts["model_args"]["dyn_head"]["tau"]})


def rule(name: str, tensor: Tensor) -> Tensor:
    """The fixtures' weights: gates are moved open, and what shifts features is as it is."""
    if name.endswith("shift_conv.weight"):
        return tensor
    filled = weight("gain", name, tuple(tensor.shape))
    return filled + 1 if name.endswith("gate_conv.bias") else filled


@pytest.fixture(params=["tiny", pytest.param("thumos_i3d", marks=SLOW)])
def case(request: pytest.FixtureRequest) -> PointCase:
    return PointCase("dyfadet", request.param, CASES[request.param], configured)


def parts(outputs: PointOutputs) -> dict[str, Tensor]:
    return {"cls": outputs.logits[0], "off": outputs.offsets[0]}


def test_logits_offsets_and_levels_are_the_official_ones(case: PointCase) -> None:
    check_outputs(case, case.build(rule), parts)


def test_candidates_are_the_official_ones(case: PointCase) -> None:
    check_candidates(case, case.build(rule))


def test_points_learn_what_they_learn_officially(case: PointCase) -> None:
    check_targets(case, case.build(rule))


def test_losses_normaliser_and_gradients_are_the_official_ones(case: PointCase) -> None:
    check_losses(case, case.build(rule))


ANET = {
    "dim": 256,
    "head_dim": 512,
    "mlp_dim": 2048,
    "windows": 15,
    "window_factor": 1.2,
    "position_embedding": True,
    "initial_conv_std": 0.15,
}
HACS = {
    "dim": 1024,
    "mlp_dim": 1024,
    "windows": 3,
    "window_factor": 1.2,
    "head_kernel": 5,
    "position_embedding": True,
    "initial_conv_std": 0.1,
}
SEVEN_RANGES = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 128), (128, 10000))
FINEACTION = {"window_factor": 1.3, "num_branch_blocks": 6, "regression_ranges": SEVEN_RANGES}
OFFICIAL: dict[str, tuple[dict[str, Any], int, int]] = {  # settings, channels, classes
    "thumos_i3d": ({}, 2048, 20),
    "thumos_mae": ({}, 1408, 20),
    "anet_tsp": (ANET, 512, 1),
    "epic_slowfast_verb": ({"mlp_dim": 1024, "windows": 5, "window_factor": 2.0}, 2304, 97),
    "epic_slowfast_noun": ({"mlp_dim": 1024, "window_factor": 4.0}, 2304, 300),
    "hacs_slowfast": (HACS, 2304, 200),
    "hacs_mae": (HACS | {"dim": 512, "head_dim": 1024}, 1408, 200),
    "fineaction": (ANET | FINEACTION, 1408, 1),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_weights_have_the_official_names_shapes_and_decay(name: str) -> None:
    settings, channels, num_classes = OFFICIAL[name]
    unused = {
        f"{head}_head.head.{layer}.norm.{kind}"
        for head in ("cls", "reg")
        for layer in (0, 1)
        for kind in ("weight", "bias")
    }
    check_names("dyfadet", name, Config.model_validate(settings), channels, num_classes, unused=unused)


@pytest.mark.parametrize("name", ["thumos_i3d", "anet_tsp"])
def test_new_weights_are_drawn_as_officially(name: str) -> None:
    settings, _, num_classes = OFFICIAL[name]
    torch.manual_seed(0)
    narrow = Config.model_validate(settings | {"dim": 64, "head_dim": 64})
    check_drawn("dyfadet", name, narrow.build(32, num_classes, 64))


def test_shifting_is_the_convolution_that_official_files_store() -> None:
    features = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0))
    for kernel in (3, 5):
        stored = ConstantWeight(3, kernel).weight
        expected = torch.nn.functional.conv1d(features, stored, padding=kernel // 2, groups=3)
        assert torch.equal(shifted(features, kernel), expected)


def test_a_gate_is_closed_below_zero_and_approaches_one() -> None:
    gates = rectified_tanh(torch.tensor([-3.0, 0.0, 1.5, 9.0]), 1.5)
    assert gates[:2].tolist() == pytest.approx([0.0, 0.0], abs=1e-7)
    assert 0.4 < gates[2] < 0.5
    assert gates[3].item() == pytest.approx(1.0, abs=1e-5)


def test_levels_exchange_features_once_their_weight_is_not_zero() -> None:
    torch.manual_seed(0)
    head = Config.small().build(6, 3, 64).eval().reg_head.head[0]
    levels = [torch.randn(1, 16, length) for length in (16, 8, 4)]
    masks = [torch.ones(1, 1, length, dtype=torch.bool) for length in (16, 8, 4)]
    changed = [levels[0], levels[1] + 1, levels[2]]
    for weight_of_neighbours, changes in ((0.0, [False, True, False]), (0.5, [True, True, True])):
        torch.nn.init.constant_(head.scale_weight, weight_of_neighbours)
        before, after = head(levels, masks), head(changed, masks)
        assert [not torch.equal(*pair) for pair in zip(before, after, strict=True)] == changes


def test_settings_that_have_no_effect_are_refused() -> None:
    for settings, message in (
        ({"head": "plain", "gate_shift": 2.0}, "gate_shift: has no effect with head: plain"),
        ({"head_norm": False}, "the dynamic head always has norms"),
    ):
        with pytest.raises(ValidationError, match=message):
            Config.model_validate(settings)


def test_gates_can_be_open_at_first() -> None:
    gates = [weight for name, weight in Config.small().build(6, 3, 64).named_parameters() if "gate_conv.bias" in name]
    assert len(gates) == 12
    assert all((gate == 1).all() for gate in gates)


def test_a_plain_head_is_actionformers() -> None:
    detector = Config.model_validate(Config.small().model_dump() | {"head": "plain", "gate_bias": None}).build(6, 3, 64)
    assert "cls_head.norm.0.weight" in detector.state_dict()
