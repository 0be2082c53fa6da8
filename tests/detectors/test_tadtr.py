"""TadTR, compared with its code: tiny networks, and the one for THUMOS14 at full size."""

import json
from dataclasses import replace
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
from actloc.ops.queries import QueryOutputs, QueryTargets, as_parts, match
from actloc.structures import Detections, Targets
from actloc.training.optimizer import parameter_groups
from tests.golden.cases import drawn, padded, unmatched
from tests.golden.tadtr_cases import FOLDER, Case, state_entries

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
    return Config.model_validate(Config.small().model_dump() | changes).build(6, 3, 64)


def outputs_at(ends: list[list[float]], logits: Tensor, actionness: Tensor | None = None) -> QueryOutputs:
    """Outputs of one video of 64 steps, of which 40 are its own: one layer, segments (Q, 2) in steps."""
    places = (torch.tensor(ends) + 0.5) / 64
    segments = torch.stack((places.mean(dim=1), places.diff(dim=1)[:, 0]), dim=1)[None]
    return QueryOutputs([logits[None]], [segments], actionness, torch.tensor([64]), torch.tensor([40]))


def test_samples_are_interpolated_and_nothing_is_beyond_the_ends() -> None:
    values = drawn(0, 1, 9)[0].double()
    positions = torch.linspace(-2, 10, 49, dtype=torch.float64)
    shares = torch.linspace(0.1, 1, 49, dtype=torch.float64)
    weights = interpolation_weights(positions[:, None], shares[:, None], 9)
    padded_values = np.concatenate(([0, 0], values, [0, 0]))
    expected = shares * torch.from_numpy(np.interp(positions, np.arange(-2, 11), padded_values))
    torch.testing.assert_close(weights @ values, expected)
    added = interpolation_weights(positions, shares, 9)
    torch.testing.assert_close(added @ values, expected.sum())


def test_an_action_has_the_query_that_costs_least_and_of_too_many_actions_some_are_left() -> None:
    queries, numbers = match(torch.tensor([[4.0, 1.0], [2.0, 9.0], [3.0, 3.0]]))
    assert (queries.tolist(), numbers.tolist()) == ([0, 1], [1, 0])
    queries, numbers = match(torch.tensor([[4.0, 1.0, 2.0], [5.0, 0.5, 9.0]]))
    assert (queries.tolist(), numbers.tolist()) == ([0, 1], [2, 1])
    assert [one.numel() for one in match(torch.zeros(4, 0))] == [0, 0]
    assert len(match(torch.full((3, 2), float("nan")))[0]) == 2  # the loss that follows says what is wrong


def test_actions_are_cut_to_their_window_and_those_outside_it_are_left_out() -> None:
    actions = Targets(torch.tensor([[-3.5, 15.5], [60.0, 70.0], [64.0, 70.0], [8.0, 8.0]]), torch.tensor([0, 1, 2, 1]))
    parts = as_parts(actions, torch.tensor(64))
    torch.testing.assert_close(parts.segments, torch.tensor([[8.0, 16.0], [62.25, 3.5]]) / 64)
    assert parts.labels.tolist() == [0, 1]


def test_queries_in_unlabelled_time_have_no_gradient_and_all_others_keep_theirs() -> None:
    inf = float("inf")
    # of an action, reaching into a gap, beside it, beyond the annotated end, in the padding, matched inside a gap
    ends = [[2.0, 6.0], [7.0, 9.0], [6.0, 8.0], [30.0, 36.0], [41.0, 50.0], [10.0, 12.0]]
    actions = Targets(torch.tensor([[2.0, 6.0], [10.0, 12.0]]), torch.tensor([1, 2]))
    partly = replace(actions, unlabelled=torch.tensor([[-inf, 0.0], [8.0, 14.0], [35.0, inf]]))
    gradients = []
    for targets in (partly, actions):
        logits = (0.1 * drawn(0, 6, 3)).requires_grad_()
        actionness = drawn(1, 1, 6).requires_grad_()
        losses = small().criterion(outputs_at(ends, logits, actionness), [targets])
        torch.stack(list(losses.values())).sum().backward()
        assert logits.grad is not None
        assert actionness.grad is not None
        gradients.append((logits.grad.abs().sum(dim=1), actionness.grad[0].abs()))
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours > 0).tolist() == [True, False, True, False, True, True]
        assert (theirs > 0).all()
        assert torch.equal(ours[ours > 0], theirs[ours > 0])


def test_actionness_learns_the_actions_of_the_batch_or_of_its_own_video() -> None:
    segments = torch.tensor([[[0.25, 0.5]], [[0.75, 0.5]]])
    actions = [
        QueryTargets(torch.tensor([[0.75, 0.5]]), torch.tensor([0])),
        QueryTargets(torch.zeros(0, 2), torch.zeros(0)),
    ]
    assert small().criterion.highest_ious(segments, actions).tolist() == [[0], [1]]
    own = small(actionness_actions="video").criterion
    assert own.highest_ious(segments, actions).tolist() == [[0], [0]]


def test_padding_counts_unless_it_is_masked() -> None:
    videos = padded([drawn(0, 6, 40)], 64)
    features = torch.cat([videos[0], videos[0] + torch.cat((torch.zeros(1, 6, 40), torch.ones(1, 6, 24)), dim=2)])
    mask = videos[1].expand(2, -1)
    counted, masked = small().eval()(features, mask), small(padding_counts=False).eval()
    assert counted.spans.tolist() == [64, 64]
    assert masked(features, mask).spans.tolist() == [40, 40]
    memory = masked.transformer.encode(torch.cat([videos[0][:, :1].expand(1, 32, 64).transpose(1, 2)] * 2), mask)
    other = memory.clone()
    other[0, 40:] += 1  # what is masked is not looked at
    found = [
        masked.transformer.decode(masked.query_embed.weight, one, mask, masked.segment_embed) for one in (memory, other)
    ]
    assert torch.equal(found[0][0][-1], found[1][0][-1])
    everywhere = torch.ones_like(mask)
    seen = [
        masked.transformer.decode(masked.query_embed.weight, one, everywhere, masked.segment_embed)
        for one in (memory, other)
    ]
    assert not torch.equal(seen[0][0][-1][0], seen[1][0][-1][0])


def test_a_query_can_give_a_segment_of_every_class_and_the_best_are_kept() -> None:
    detector = small(kept_per_window=4)
    logits = torch.tensor([[1.0, 2.0, -5.0], [0.0, 3.0, -6.0]])
    (found,) = detector.select(outputs_at([[2.0, 6.0], [10.0, 20.0]], logits, torch.tensor([[0.0, -1.0]])))
    assert found.labels.tolist() == [1, 0, 1, 0]
    torch.testing.assert_close(found.segments, torch.tensor([[2.0, 6.0]] * 2 + [[10.0, 20.0]] * 2))
    chances = torch.tensor([2.0, 1.0, 3.0, 0.0]).sigmoid() * torch.tensor([0.0, 0.0, -1.0, -1.0]).sigmoid()
    torch.testing.assert_close(found.scores, chances)
    assert found.cut_by == {"detector.kept_per_window"}
    (whole,) = small(kept_per_window=6).select(outputs_at([[2.0, 6.0], [10.0, 20.0]], logits))
    assert (len(whole), whole.cut_by) == (6, frozenset())


def test_segments_outside_the_window_cannot_be_explained() -> None:
    detector = small().eval()
    outputs = detector(*padded([drawn(0, 6, 64)], 64))
    with pytest.raises(UserError, match="outside the 64 steps"):
        detector.segment_score(outputs, torch.tensor([70.0, 80.0]), 0)


def test_what_chooses_where_to_look_learns_at_its_own_rate() -> None:
    detector = small(sampling_rate_factor=0.25)
    rates = {name: detector.rate_factor(name) for name, _ in detector.named_parameters()}
    groups = parameter_groups(detector, 0.5, 2.0, decays_all=True, rates={k: v for k, v in rates.items() if v != 1})
    assert [(group["rate_factor"], group["weight_decay"]) for group in groups] == [(2, 0.5)] * 2 + [(0.5, 0.5)] * 2
    slow = {id(one) for group in groups[2:] for one in group["params"]}
    assert slow == {id(one) for name, one in detector.named_parameters() if "sampling" in name or "reference" in name}
    assert sum(len(group["params"]) for group in groups) == len(rates)


@pytest.mark.parametrize(
    "settings", [{"dim": 48}, {"dim": 64, "num_heads": 6}, {"actionness": False, "actionness_actions": "video"}]
)
def test_settings_that_do_not_fit_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"dim: found|actionness_actions"):
        Config.model_validate(settings)
