"""TadTR, compared with its code: tiny networks, and the one for THUMOS14 at full size."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from actloc.detectors.tadtr import Config
from actloc.detectors.tadtr.network import TadTR
from actloc.errors import UserError
from actloc.layers.deformable_transformer import interpolation_weights, sine_positions
from actloc.structures import Detections, Targets
from tests.golden.cases import drawn, padded, unmatched
from tests.golden.tadtr_cases import Case, official_weights, state_entries

NAMES_OF_LOSSES = {"classification": "ce", "segments": "segments", "iou": "iou", "actionness": "actionness"}
NAMES = ["tiny", "tiny_no_refine", "thumos14_i3d2s"]


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def assert_close(found: Tensor, expected: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=tolerance, rtol=0)


def test_memory_and_every_layer_are_the_official_ones(case: Case) -> None:
    detector, arrays = case.build(), case.arrays
    for number, videos in enumerate(case.facts["eval"]):
        features, mask = case.batch(videos)
        with torch.no_grad():
            memory, outputs = detector.memory(features, mask), detector(features, mask)
        prefix = f"eval{number}"
        steps, channels = arrays[f"{prefix}_memory_pos"], memory.shape[2] // arrays[f"{prefix}_memory"].shape[2]
        assert_close(memory[:, steps, ::channels], arrays[f"{prefix}_memory"], 5e-5 * case.scale)
        positions = sine_positions(mask, memory.shape[2])
        assert_close(positions[:, steps, ::channels], arrays[f"{prefix}_position"], 1e-5)
        found = [memory.double().sum().item(), memory.double().norm().item()]
        assert found == pytest.approx(videos["memory_stat"], rel=1e-4, abs=1e-3)
        for layer, (logits, segments) in enumerate(zip(outputs.logits, outputs.segments, strict=True)):
            assert_close(logits, arrays[f"{prefix}_layer{layer}_logits"], 5e-5 * case.scale)
            assert_close(segments, arrays[f"{prefix}_layer{layer}_segments"], 1e-6 * case.scale)
        if outputs.actionness is not None:
            assert_close(outputs.actionness.sigmoid(), arrays[f"{prefix}_actionness"][..., 0], 1e-6 * case.scale)


@pytest.mark.parametrize("name", ["tiny", "thumos14_i3d2s"])
def test_the_best_segments_are_the_official_ones(name: str) -> None:
    case = Case(name)
    detector = case.build()
    for number, videos in enumerate(case.facts["eval"]):
        detected = detector.detect(*case.batch(videos))
        for video, (found, steps, seconds) in enumerate(zip(detected, videos["T"], videos["durations"], strict=True)):
            parts = (case.arrays[f"eval{number}_post{video}_{part}"] for part in ("segments", "scores", "labels"))
            expected = Detections(*map(torch.from_numpy, parts))
            ours = Detections((found.segments + 0.5) / steps * seconds, found.scores, found.labels.short())
            assert len(ours) == len(expected) == detector.config.kept_per_window
            assert found.cut_by == {"detector.kept_per_window"}
            assert_close(ours.scores, expected.scores.numpy(), 1e-5 * case.scale)
            alone, missing = unmatched(ours, expected, seconds=5e-5 * case.scale, score=1e-5 * case.scale)
            last = expected.scores[-1] + 1e-5 * case.scale  # a list that is cut may end in another of equal score
            assert all(score <= last for score in [*ours.scores[alone], *expected.scores[missing]])


def unknown_nowhere(videos: dict[str, Any]) -> list[Targets]:
    return [Targets.none() for _ in videos["T"]]


def test_queries_learn_what_they_learn_officially(case: Case) -> None:
    detector = case.build().train()
    for videos in case.facts["train"]:
        outputs = detector(*case.batch(videos))
        for layer, pairs in enumerate(videos["matching"]):
            for video, actions in enumerate(case.actions(videos)):
                found = detector.criterion.matched(
                    outputs.logits[layer][video], outputs.segments[layer][video], actions
                )
                assert [one.tolist() for one in found] == pairs[video]


def test_losses_and_gradients_are_the_official_ones(case: Case) -> None:
    detector = case.build().train()
    criterion, last = detector.criterion, detector.config.decoder_layers - 1
    for videos in case.facts["train"]:
        detector.zero_grad()
        outputs = detector(*case.batch(videos))
        losses = criterion.unweighted(outputs, case.actions(videos), unknown_nowhere(videos))
        tolerance = {"rel": 2e-6 * case.scale}
        found = {
            f"loss_{NAMES_OF_LOSSES[name]}" + ("" if layer in (last, len(values) - 1) else f"_{layer}"): value.item()
            for name, values in losses.items()
            for layer, value in enumerate(values)
        }
        recorded = {name: loss for name, loss in videos["losses"].items() if name != "class_error"}
        assert found == pytest.approx(recorded, **tolerance)
        total = torch.stack(list(criterion.weighted(losses).values())).sum()
        assert total.item() == pytest.approx(videos["total"], **tolerance)
        total.backward()
        norms = videos["grad_norms"]
        gradients = {name: one.grad for name, one in detector.named_parameters(remove_duplicate=False)}
        largest = max(norm for norm in norms.values() if norm is not None)
        for name, norm in norms.items():
            gradient = gradients[name]
            if norm is None:
                assert gradient is None, name
            elif norm >= 1e-4 * largest:
                assert gradient is not None
                assert gradient.norm().item() == pytest.approx(norm, rel=1e-4 * case.scale), name


def test_weights_have_the_official_names_shapes_and_rates(case: Case) -> None:
    detector = case.build()
    entries = state_entries(case.name)
    assert {name: list(one.shape) for name, one in detector.state_dict().items()} == {
        name: shape for name, shape, _ in entries
    }
    shared = {name: group.removeprefix("same as ") for name, _, group in entries if group.startswith("same as")}
    state = detector.state_dict()
    assert all(state[name].data_ptr() == state[other].data_ptr() for name, other in shared.items())
    assert {name for name, _, group in entries if group == "slow"} == {
        name for name, _ in detector.named_parameters() if detector.rate_factor(name) == 0.1
    }


def test_a_new_network_starts_like_the_official_one() -> None:
    torch.manual_seed(0)
    detector = Config().build(2048, 20, 128)
    assert sum(weight.numel() for weight in detector.parameters()) == 8661594
    state = detector.state_dict()
    import json

    from tests.golden.tadtr_cases import FOLDER

    for name, _, _, (low, high, std) in json.loads((FOLDER / "state_dicts" / "thumos14_i3d2s.json").read_text()):
        weight = state[name]
        if low == high or std in (0, 1) or weight.numel() < 100:  # constants, and the first biases
            if "actionness" not in name and "reference_points.weight" not in name:
                assert weight.min().item() == pytest.approx(low, abs=1e-4), name
                assert weight.max().item() == pytest.approx(high, abs=1e-4), name
        else:
            assert weight.std().item() == pytest.approx(std, rel=0.15), name
            assert weight.abs().max().item() == pytest.approx(max(-low, high), rel=0.35), name


def small(**changes: Any) -> TadTR:
    torch.manual_seed(0)
    return Config.model_validate(Config.small().model_dump() | {"dropout": 0.0} | changes).build(6, 3, 64)
