"""The networks of the eleven official configurations have the official parameters."""

import json
from typing import Any

import pytest
import torch

from actloc.detectors.actionformer import Config
from actloc.detectors.actionformer.network import ActionFormer
from actloc.training.optimizer import parameter_groups
from tests.golden.cases import GOLDEN

ANET_WINDOWS = (7, 7, 7, 7, 7, -1)
EIGHT_RANGES = ((0, 4), (2, 8), (4, 16), (8, 32), (16, 64), (32, 128), (64, 256), (128, 10000))
ANET = {"dim": 256, "windows": ANET_WINDOWS, "position_embedding": True}
EPIC = {"windows": 9}
EGO4D = {
    "windows": 9,
    "num_branch_blocks": 7,
    "regression_ranges": EIGHT_RANGES,
    "position_embedding": True,
    "dropout": 0.1,
}
SIX_BLOCKS = {"num_branch_blocks": 6, "regression_ranges": (*EIGHT_RANGES[:6], (64, 10000))}
THREE_KINDS = {"dim": 1024, "num_heads": 16, "projection": ((2304, 256), (1536, 384), (256, 384))}
OFFICIAL: dict[str, tuple[dict[str, Any], int, int, int]] = {  # settings, channels, classes, steps
    "thumos_i3d": ({}, 2048, 20, 2304),
    "anet_tsp": (ANET, 512, 1, 192),
    "anet_i3d": (ANET, 2048, 1, 192),
    "epic_slowfast_verb": (EPIC, 2304, 97, 2304),
    "epic_slowfast_noun": (EPIC, 2304, 300, 2304),
    "ego4d_slowfast": (EGO4D | SIX_BLOCKS, 2304, 110, 1024),
    "ego4d_omnivore": (EGO4D, 1536, 110, 1024),
    "ego4d_egovlp": (EGO4D | {"dim": 384}, 256, 110, 1024),
    "ego4d_slowfast_egovlp": (EGO4D | {"dim": 768, "num_heads": 12}, 2560, 110, 1024),
    "ego4d_omnivore_egovlp": (EGO4D | {"dim": 768, "num_heads": 12}, 1792, 110, 1024),
    "ego4d_slowfast_omnivore_egovlp": (EGO4D | THREE_KINDS, 4096, 110, 1024),
}


@pytest.fixture(params=sorted(OFFICIAL))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def detector(name: str) -> ActionFormer:
    settings, *sizes = OFFICIAL[name]
    with torch.device("meta"):
        return Config.model_validate(settings).build(*sizes)


def test_every_list_of_official_parameters_is_checked() -> None:
    assert sorted(OFFICIAL) == sorted(path.stem for path in (GOLDEN / "state_dicts").glob("*.json"))


def test_names_and_shapes_are_the_official_ones(name: str, detector: ActionFormer) -> None:
    listed = json.loads((GOLDEN / "state_dicts" / f"{name}.json").read_text())
    ours = {f"module.{key}": list(tensor.shape) for key, tensor in detector.state_dict().items()}
    assert ours == {key: shape for key, shape, _ in listed}


def test_weight_decay_is_the_official_one(name: str, detector: ActionFormer) -> None:
    listed = json.loads((GOLDEN / "state_dicts" / f"{name}.json").read_text())
    names = {id(parameter): key for key, parameter in detector.named_parameters()}
    for group, kind in zip(parameter_groups(detector, 0.05), ("decay", "no_decay"), strict=True):
        expected = sorted(key.removeprefix("module.") for key, _, listed_kind in listed if listed_kind == kind)
        assert [names[id(parameter)] for parameter in group["params"]] == expected
