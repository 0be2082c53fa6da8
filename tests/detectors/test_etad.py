"""ETAD, compared with its code at full size."""

import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from actloc.annotations.model import AnnotatedVideo
from actloc.detectors.etad import Config
from actloc.detectors.etad.network import Etad, boundary_steps
from actloc.errors import UserError
from actloc.evaluation.fusion import fuse
from actloc.evaluation.postprocess import postprocess
from actloc.experiment import load
from actloc.ops.cascade import CascadeOutputs, Stage, boundary_targets, in_steps, matched_actions
from actloc.sources import folders
from actloc.sources.folders import source as folders_source
from actloc.structures import Detections, Grid, Targets
from actloc.weights.official_etad import actloc_name
from tests.golden.cases import GOLDEN, drawn, padded
from tests.golden.fill import fill

FOLDER = GOLDEN / "etad"
FACTS: dict[str, Any] = json.loads((FOLDER / "etad_detector.json").read_text())
KEYS: dict[str, list[int]] = json.loads((FOLDER / "keys_etad_detector.json").read_text())["state_dict"]
STEPS = 128
LOSSES = {"boundaries": "tem", "stage_1": "stage1", "stage_2": "stage2", "stage_3": "stage3"}


@pytest.fixture(scope="module")
def arrays() -> dict[str, NDArray[Any]]:
    with np.load(FOLDER / "etad_detector.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def detector() -> Etad:
    detector = Config(official_balance=True).build(512, 1, STEPS)
    detector.load_state_dict(
        {actloc_name(key): torch.from_numpy(fill(key, tuple(shape))) for key, shape in KEYS.items()}
    )
    return detector.eval()


@pytest.fixture(scope="module")
def features(arrays: dict[str, NDArray[Any]]) -> Tensor:
    generator = np.random.RandomState(zlib.crc32(b"input:etad_detector"))
    values = torch.from_numpy(generator.standard_normal((2, 512, STEPS)).astype(np.float32))
    np.testing.assert_array_equal(values.flatten()[:16], arrays["input_head"])
    return values.requires_grad_()


@pytest.fixture(scope="module")
def outputs(detector: Etad, features: Tensor, arrays: dict[str, NDArray[Any]]) -> CascadeOutputs:
    return detector.at_anchors(features, torch.from_numpy(arrays["anchors"]))


@pytest.fixture(scope="module")
def actions(arrays: dict[str, NDArray[Any]]) -> list[Tensor]:
    return [torch.from_numpy(arrays[f"gt{video}"]) for video in range(2)]


def targets_of(actions: list[Tensor]) -> list[Targets]:
    return [Targets(in_steps(rows, STEPS), torch.zeros(len(rows), dtype=torch.long)) for rows in actions]


def recorded_draws() -> Callable[[int], Tensor]:
    """The draws of the recording, in the order of the calls."""
    shapes = iter(enumerate(FACTS["draw_shapes"]))

    def draw(count: int) -> Tensor:
        number, shape = next(shapes)
        assert [count] == shape
        generator = np.random.RandomState(zlib.crc32(f"etad_detector:draw{number}".encode()))
        return torch.from_numpy(generator.uniform(0, 1, shape).astype(np.float32))

    return draw


def assert_close(found: Tensor, expected: NDArray[Any], tolerance: float = 1e-4) -> None:
    found = found.detach().reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max(), rtol=0)


def test_features_boundaries_and_every_stage_are_the_official_ones(
    detector: Etad, features: Tensor, outputs: CascadeOutputs, arrays: dict[str, NDArray[Any]]
) -> None:
    assert_close(detector.enhancement(features)[:, :16], arrays["feature"])
    assert_close(outputs.boundaries, arrays["tem"])
    for number, stage in enumerate(outputs.stages):
        assert_close(stage.anchors, arrays[f"stage{number}_anchors"])
        assert_close(stage.scores[..., :2], arrays[f"stage{number}_iou"])
        assert_close(torch.cat((stage.offsets, stage.scores[..., 2:]), dim=2), arrays[f"stage{number}_reg"])
    assert_close(torch.stack([stage.segments for stage in outputs.stages]).mean(dim=0), arrays["final_anchors"])


def test_targets_are_the_official_ones(actions: list[Tensor], arrays: dict[str, NDArray[Any]]) -> None:
    near = torch.stack([boundary_targets(rows, STEPS) for rows in actions])
    assert_close(near[:, 0], arrays["gt_start"])
    assert_close(near[:, 1], arrays["gt_end"])
    matched, has_action = matched_actions(torch.from_numpy(arrays["anchors"]), actions)
    np.testing.assert_array_equal(matched, arrays["gt_bbox"])
    assert has_action.all()


def test_losses_with_recorded_draws_are_the_official_ones(
    detector: Etad, outputs: CascadeOutputs, actions: list[Tensor]
) -> None:
    losses = detector.criterion.with_draws(outputs, targets_of(actions), recorded_draws())
    assert losses.keys() == LOSSES.keys()
    for name, official in LOSSES.items():
        assert losses[name].item() == pytest.approx(FACTS["losses_with_rule_draws"][official], rel=1e-4), name


def test_losses_of_all_candidates_and_their_gradients_are_the_official_ones(
    detector: Etad, features: Tensor, actions: list[Tensor], arrays: dict[str, NDArray[Any]]
) -> None:
    detector.zero_grad()
    features.grad = None
    outputs = detector.at_anchors(features, torch.from_numpy(arrays["anchors"]))
    losses = detector.criterion.with_draws(outputs, targets_of(actions), torch.ones)
    for name, official in LOSSES.items():
        assert losses[name].item() == pytest.approx(FACTS["losses_when_all_draws_are_1"][official], rel=1e-4), name
    torch.stack(list(losses.values())).sum().backward()
    norms = {actloc_name(key): norm for key, norm in FACTS["grad_norm_ones"].items()}
    gradients = dict(detector.named_parameters())
    assert gradients.keys() == norms.keys()
    for name, norm in norms.items():
        assert gradients[name].grad.norm().item() == pytest.approx(norm, rel=1e-3), name
    assert features.grad is not None
    assert_close(features.grad[:, :4], arrays["grad_input_slice"], 1e-3)
    groups = features.grad.double().view(2, 16, 32, STEPS).transpose(0, 1).flatten(1)
    assert_close(groups.norm(dim=1), arrays["grad_input_groups16"][:, 2], 1e-3)


def test_candidates_suppression_and_classes_are_the_official_ones(detector: Etad) -> None:
    with np.load(FOLDER / "etad_post.npz") as file:
        recorded = dict(file)
    segments = torch.from_numpy(recorded["anchors"])[None]
    ious = torch.from_numpy(recorded["iou"])[None]
    boundaries = torch.from_numpy(np.stack((recorded["pred_start"], recorded["pred_end"])))[None]
    masks = boundary_steps(boundaries)[0]
    np.testing.assert_array_equal(masks[0], recorded["start_mask"] > 0)
    np.testing.assert_array_equal(masks[1], recorded["end_mask"] > 0)
    stage = Stage(segments, torch.cat((ious, torch.zeros_like(ious)), dim=2), torch.zeros(1, 80, 4), segments)
    (found,) = detector.select(CascadeOutputs(boundaries, [stage]))
    kept = recorded["kept"]
    assert_close(found.segments, in_steps(segments[0, kept], STEPS).numpy(), 1e-6)
    assert_close(found.scores, ious[0, kept].prod(dim=1).numpy(), 1e-6)

    config = load("configs/activitynet13_tsp_etad.yaml")
    duration = float(recorded["duration"])
    features = config.features
    assert isinstance(features, folders.Config)
    grid = folders_source.on_grid(torch.zeros(77, 2), AnnotatedVideo("video", "", duration_s=duration), features)[1]
    left = postprocess(found, grid, duration, config.suppression)
    assert len(left) == len(kept)  # officially the last one is dropped
    official = recorded["nms"]
    assert_close(left.segments[:-1], official[:, :2].clip(0, 1) * duration, 1e-5)
    assert_close(left.scores[:-1], official[:, 2], 1e-5)

    fusion = config.fusion
    own_scores, limits = left.scores[:-1].double().numpy(), (fusion.rule, fusion.top_k, fusion.most_detections)
    rows, labels, scores = fuse(own_scores, recorded["class_scores"], *limits)
    order = np.argsort(-scores, kind="stable")
    theirs = recorded["detections"][np.argsort(-recorded["detections"][:, 2], kind="stable")]
    np.testing.assert_array_equal(labels[order], theirs[:, 3])
    np.testing.assert_allclose(scores[order], theirs[:, 2], atol=1e-5)
    # officially a segment wholly outside the video keeps the end that is farther outside
    inside = theirs[:, :2].clip(0, duration)
    np.testing.assert_allclose(left.segments.numpy()[rows[order]], inside, atol=1e-5 * duration)


def test_a_hundred_segments_are_kept_each_with_the_two_best_classes_of_its_video() -> None:
    config = load("configs/activitynet13_tsp_etad.yaml")
    starts = torch.linspace(-3, 120, 150)
    scores = torch.linspace(0.9, 1e-6, 150)
    found = Detections(torch.stack((starts, starts + 12), dim=1), scores, torch.zeros(150, dtype=torch.long))
    grid = Grid(fps=1, stride_frames=0.5, offset_frames=0.25)
    left = postprocess(found, grid, 64, config.suppression)
    assert len(left) == 100
    assert left.scores.diff().max() <= 0
    assert (left.segments.min(), left.segments.max()) == (0, 64)
    # by definition: every score falls by exp(-IoU^2 / 0.35) with every better segment, however small the overlap
    rest, picked = list(range(150)), []
    lowered = scores.double().numpy().copy()
    for _ in range(100):
        best = max(rest, key=lambda number: lowered[number])
        rest.remove(best)
        picked.append(lowered[best])
        for other in rest:
            shared = max(12 - abs(float(starts[best] - starts[other])), 0)
            lowered[other] *= np.exp(-((shared / (24 - shared)) ** 2) / 0.35)
    np.testing.assert_allclose(left.scores, picked, rtol=1e-4)
    fusion = config.fusion
    rows, labels, _ = fuse(
        left.scores.double().numpy(), np.array([0.1, 0.5, 0.4]), fusion.rule, fusion.top_k, fusion.most_detections
    )
    assert len(rows) == 200
    assert labels.tolist() == [1] * 100 + [2] * 100


def small(**changes: Any) -> Etad:
    torch.manual_seed(0)
    return Config.model_validate(Config.small().model_dump() | changes).build(6, 1, 64)


@pytest.mark.parametrize(
    ("sampling", "videos_differ", "steps_differ"), [("random", 1, 1), ("grid", 0, 0), ("block", 1, 1)]
)
def test_a_training_step_takes_some_candidates_and_detection_all(
    sampling: str, videos_differ: bool, steps_differ: bool
) -> None:
    detector = small(sampling=sampling).train()
    features = padded([drawn(0, 6, 64), drawn(1, 6, 64)], 64)
    first = detector(*features).stages[0].anchors
    detector.losses(*features, [Targets.none(), Targets.none()])
    second = detector(*features).stages[0].anchors
    assert 0.04 * 2080 < first.shape[1] <= 0.07 * 2080
    assert torch.equal(first[0], first[1]) != videos_differ
    assert torch.equal(first, second) != steps_differ
    assert detector.eval()(*features).stages[0].anchors.shape == (2, 2080, 2)


def test_the_longest_candidate_can_be_limited() -> None:
    lengths = small(longest_steps=5).candidates.diff(dim=1)
    assert lengths.max() == 5
    assert len(lengths) == 64 + 63 + 62 + 61 + 60


def test_training_that_goes_on_draws_what_it_would_have_drawn() -> None:
    first, resumed = small().train(), small().train()
    features, targets = padded([drawn(0, 6, 64)], 64), [Targets(torch.tensor([[4.0, 30.0]]), torch.tensor([0]))]
    first.losses(*features, targets)
    torch.manual_seed(9)
    resumed.criterion.load_training_state(first.criterion.training_state())
    ours, theirs = resumed.losses(*features, targets), first.losses(*features, targets)
    assert {name: loss.item() for name, loss in ours.items()} == {name: loss.item() for name, loss in theirs.items()}


def test_stages_get_no_gradient_through_the_anchors_of_the_next() -> None:
    detector = small().eval()
    outputs = detector(*padded([drawn(0, 6, 64)], 64))
    (outputs.stages[1].scores.sum() + outputs.stages[1].offsets.sum()).backward()
    assert all(weight.grad is None for weight in detector.stage_heads[0].parameters())


def test_segments_whose_ends_refinement_swaps_are_left_out() -> None:
    segments = torch.tensor([[[0.2, 0.6], [0.6, 0.2], [0.3, 0.3]]])
    stage = Stage(segments, torch.full((1, 3, 4), 0.5), torch.zeros(1, 3, 4), segments)
    (found,) = small().select(CascadeOutputs(torch.full((1, 2, 64), 0.5), [stage]))
    torch.testing.assert_close(found.segments, torch.tensor([[0.2 * 64 - 0.5, 0.6 * 64 - 0.5]]))
    assert found.labels.tolist() == [0]


def test_everything_is_padded_to_one_length_and_channels_are_grouped() -> None:
    detector = small()
    assert [detector.padded_steps(steps) for steps in (1, 64)] == [64, 64]
    with pytest.raises(UserError, match="65 feature steps") as longer:
        detector.padded_steps(65)
    assert "features.window_steps=64" in longer.value.fix
    with pytest.raises(UserError, match="6 channels") as odd:
        Config().build(6, 1, 64)
    assert "detector.conv_groups=2" in odd.value.fix


@pytest.mark.parametrize("settings", [{"dim": 20}, {"norm_groups": 5}, {"stage_tious": []}, {"stage_tious": [1.0]}])
def test_settings_that_do_not_fit_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"dim: found|stage_tious"):
        Config.model_validate({**settings})


def test_sequences_with_too_many_candidates_are_refused() -> None:
    with pytest.raises(UserError, match="has 2,655,360 segments") as caught:
        Config().build(512, 1, 2304)
    assert "features.window_steps=128" in caught.value.fix
    with torch.device("meta"):
        limited = Config(longest_steps=64).build(512, 1, 2304)
    assert isinstance(limited, Etad)
    assert len(limited.candidates) == sum(2305 - length for length in range(1, 65))
