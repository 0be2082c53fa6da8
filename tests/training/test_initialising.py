from typing import Any

import pytest
import torch
from torch import Tensor, nn

from actloc.settings import parts
from actloc.training.initialising import StartingWeights, class_axes, initialise
from actloc.training.modules import TrainedModule


def networks(num_classes: int, dim: int = 4) -> dict[str, TrainedModule]:
    body = TrainedModule(nn.Sequential(nn.Linear(3, dim), nn.BatchNorm1d(dim)))
    return {"body": body, "head": TrainedModule(nn.Linear(dim, num_classes))}


def weights_of(modules: dict[str, TrainedModule]) -> dict[str, Tensor]:
    return {
        f"{part}/{name}": tensor.clone()
        for part, one in modules.items()
        for name, tensor in one.network.state_dict().items()
    }


AXES: dict[str, int | None] = {"head/weight": 0, "head/bias": 0}


def test_everything_is_taken_where_everything_fits() -> None:
    start, here = weights_of(networks(2)), networks(2)
    result = initialise(here, StartingWeights("a", start, None), ["run", "jump"], {})
    assert sorted(result.taken) == sorted(start)
    assert (result.partly, result.new, result.left) == ({}, {}, [])
    assert all(torch.equal(tensor, start[name]) for name, tensor in weights_of(here).items())


def test_entries_of_classes_of_the_same_name_are_taken_and_the_others_stay_new() -> None:
    start, here = weights_of(networks(3)), networks(3)
    before = weights_of(here)
    given = StartingWeights("a", start, ["jump", "run", "sit"])
    result = initialise(here, given, ["lie", "sit", "jump"], AXES)  # as many classes, so the shapes are the same
    assert result.partly == {"head/weight": ["sit", "jump"], "head/bias": ["sit", "jump"]}
    after = weights_of(here)
    for name in AXES:
        assert torch.equal(after[name][0], before[name][0])
        assert torch.equal(after[name][1:], start[name][[2, 0]])
    assert torch.equal(after["body/0.weight"], start["body/0.weight"])


@pytest.mark.parametrize("axes", [{}, {"head/weight": None, "head/bias": None}])
def test_what_does_not_fit_stays_new_and_what_has_no_place_is_left(axes: dict[str, Any]) -> None:
    start, here = weights_of(networks(2)), networks(5)
    before = weights_of(here)
    result = initialise(here, StartingWeights("a", {**start, "tail/weight": torch.ones(1)}, ["a", "b"]), "abcde", axes)
    assert result.left == ["tail/weight"]
    assert set(result.new) == {"head/weight", "head/bias"}
    assert all(torch.equal(weights_of(here)[name], before[name]) for name in result.new)
    assert "body/1.running_mean" in result.taken


def test_a_head_on_other_channels_stays_new() -> None:
    result = initialise(networks(2, dim=6), StartingWeights("a", weights_of(networks(2)), ["a", "b"]), "bc", AXES)
    assert result.new["head/weight"] == "(2, 4) in the start, (2, 6) here"
    assert result.partly == {"head/bias": ["b"]}
    missing = {"body/0.weight": torch.zeros(6, 3)}
    result = initialise(networks(2, dim=6), StartingWeights("a", missing, None), "bc", {})
    assert result.new["body/0.bias"] == "not in the start"


def detectors(name: str, *numbers: int) -> list[nn.Module]:
    config = parts.find("detectors", name).Config.small()
    return [config.build(6, number, 64) for number in numbers]


@pytest.mark.parametrize(
    ("name", "partly", "entirely_new"),
    [
        ("actionformer", {"cls_head.cls_head.conv.weight", "cls_head.cls_head.conv.bias"}, set()),
        ("temporalmaxer", {"cls_head.cls_head.conv.weight", "cls_head.cls_head.conv.bias"}, set()),
        ("dyfadet", {"cls_head.cls_head.conv.weight", "cls_head.cls_head.conv.bias"}, set()),
        ("tridet", {f"{h}_head.cls_head.conv.{w}" for h in ("cls", "start", "end") for w in ("weight", "bias")}, set()),
        ("etad", {"classifier.output.weight", "classifier.output.bias"}, set()),
        ("bmn", {"classifier.output.weight", "classifier.output.bias"}, set()),
        ("tadtr", {f"class_embed.{layer}.{part}" for layer in (0, 1) for part in ("weight", "bias")}, set()),
        ("tallformer", set(), {"head.retina_cls.weight", "head.retina_cls.bias"}),
        ("afsd", set(), {"video_classifier.weight", "video_classifier.bias"}),
    ],
)
def test_every_detector_starts_with_other_classes(name: str, partly: set[str], entirely_new: set[str]) -> None:
    trained, new, larger = detectors(name, 3, 2, 3)
    axes = {f"detector/{key}": axis for key, axis in class_axes(new.state_dict(), larger.state_dict(), 2).items()}
    tensors = {f"detector/{key}": tensor for key, tensor in trained.state_dict().items()}
    result = initialise(
        {"detector": TrainedModule(new)}, StartingWeights("a", tensors, ["jump", "run", "sit"]), ["sit", "lie"], axes
    )
    assert set(result.partly) == {f"detector/{key}" for key in partly}
    assert set(result.new) == {f"detector/{key}" for key in entirely_new}
    assert result.taken
    assert not result.left


def test_a_detector_without_classes_is_taken_into_one_that_adds_them_and_out_of_it() -> None:
    for numbers in ((1, 3), (3, 1)):
        trained, new = detectors("etad", *numbers)
        tensors = {f"detector/{key}": tensor for key, tensor in trained.state_dict().items()}
        result = initialise({"detector": TrainedModule(new)}, StartingWeights("a", tensors, None), "abc", {})
        assert len(result.taken) == min(len(trained.state_dict()), len(new.state_dict()))
        assert {"classifier" in one for one in [*result.new, *result.left]} == {True}
