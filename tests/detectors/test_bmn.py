"""BMN, compared with the public PyTorch code at a tiny size and at that of ActivityNet."""

import json
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from actloc.detectors.bmn import Config
from actloc.detectors.bmn.network import Bmn
from actloc.errors import UserError
from actloc.evaluation.postprocess import postprocess
from actloc.experiment import load
from actloc.ops.boundary_matching import (
    MatchingCriterion,
    MatchingOutputs,
    iou_targets,
    near_boundaries,
    samples,
)
from actloc.ops.cascade import in_steps
from actloc.ops.suppression import soft_suppression_by_length
from actloc.ops.windows import even_grid
from actloc.structures import Targets
from tests.golden.cases import GOLDEN, drawn, padded, weight

FOLDER = GOLDEN / "bmn"
NAMES = {"boundaries": "tem_loss", "iou_value": "pem_reg_loss", "iou_class": "pem_cls_loss"}
FACTORS = {"boundaries": 1, "iou_value": 10, "iou_class": 1}


class Case:
    """A recording, and the detector with its weights."""

    def __init__(self, name: str) -> None:
        self.facts: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arrays: dict[str, NDArray[Any]] = dict(arrays)
        options = self.facts["opt"]
        self.steps, self.samples, self.points, self.channels = (
            options[key] for key in ("temporal_scale", "num_sample", "num_sample_perbin", "feat_dim")
        )
        config = Config(
            num_samples=self.samples, points_per_sample=self.points, official_balance=True, reaches_end=False
        )
        detector = config.build(self.channels, 1, self.steps)
        assert isinstance(detector, Bmn)
        shapes = {key: tuple(tensor.shape) for key, tensor in detector.state_dict().items()}
        detector.load_state_dict({key: weight("plain", key, shape) for key, shape in shapes.items()})
        self.detector = detector.eval()

    @cached_property
    def features(self) -> tuple[Tensor, Tensor]:
        return padded([drawn(seed, self.channels, self.steps) for seed in self.facts["seeds"]], self.steps)

    @cached_property
    def outputs(self) -> MatchingOutputs:
        return self.detector(*self.features)

    @cached_property
    def actions(self) -> list[Tensor]:
        """Parts of the sequence, which officially is a little shorter than the video."""
        found = []
        for video in self.facts["videos"]:
            covered = video["duration_second"] * video["feature_frame"] / video["duration_frame"]
            rows = [one["segment"] for one in video["annotations"]]
            found.append((torch.tensor(rows, dtype=torch.float64) / covered).clamp(0, 1))
        return found

    @cached_property
    def losses(self) -> dict[str, Tensor]:
        """With the recorded draws."""
        generator = np.random.RandomState(self.facts["rand_seed"])

        def draw(count: int) -> Tensor:
            return torch.from_numpy(generator.rand(count).astype(np.float32))

        targets = [Targets(in_steps(rows, self.steps), torch.zeros(len(rows)).long()) for rows in self.actions]
        return self.detector.criterion.with_draws(self.outputs, targets, draw)

    @property
    def positions(self) -> Tensor:
        return torch.from_numpy(self.arrays["pos"]).long()


@pytest.fixture(scope="module", params=["tiny", "activitynet"])
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def dense(steps: int, num_samples: int, points: int) -> NDArray[np.float32]:
    """The official mask, [step, sample, start, end]; of few steps only."""
    found = samples(steps, num_samples, points)
    cells = np.searchsorted(found.first.numpy(), np.arange(len(found.rows)), side="right") - 1
    mask = np.zeros((steps, num_samples, steps * steps), np.float32)
    mask[found.rows % steps, found.rows // steps, cells] = found.weights
    return mask.reshape(steps, num_samples, steps, steps)


def assert_close(found: Tensor, expected: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=tolerance, rtol=0)


def test_samples_are_those_of_the_official_mask(case: Case) -> None:
    found = samples(case.steps, case.samples, case.points)
    official = case.facts["sample_mask"]
    assert len(found.rows) == official["nonzero"]
    weights = found.weights.double()
    assert [weights.sum().item(), weights.norm().item()] == pytest.approx(official["stat"], rel=1e-7)
    if "mask" in case.arrays:
        np.testing.assert_array_equal(dense(case.steps, case.samples, case.points), case.arrays["mask"])
        return
    last = torch.cat((found.first, torch.tensor([len(found.rows)])))
    for (start, end), expected in zip(case.arrays["mask_pairs"].tolist(), case.arrays["mask_at_pairs"], strict=True):
        cell = start * case.steps + end
        mine = slice(int(last[cell]), int(last[cell + 1]))
        mask = np.zeros((case.samples, case.steps), np.float32)
        mask.reshape(-1)[found.rows[mine]] = found.weights[mine]
        np.testing.assert_array_equal(mask.T, expected)


def test_features_curves_and_map_are_the_official_ones(case: Case) -> None:
    base = case.detector.x_1d_b(case.features[0])
    assert_close(base[:, ::16][..., case.positions], case.arrays["base"], 1e-5)
    assert_close(case.outputs.boundaries[:, 0], case.arrays["start"], 1e-6)
    assert_close(case.outputs.boundaries[:, 1], case.arrays["end"], 1e-6)
    ious = case.outputs.ious
    assert_close(ious[:, :, case.positions][..., case.positions], case.arrays["map"], 1e-6)
    for name, values in (("base", base), ("map", ious)):
        found = values.detach().double()
        assert [found.sum().item(), found.norm().item()] == pytest.approx(case.facts["stats"][name], rel=1e-6)
    if "map_more" in case.arrays:
        rows, columns = torch.from_numpy(case.arrays["map_more_pos"]).long().T
        assert_close(ious[:, :, rows, columns], case.arrays["map_more"], 1e-6)


def test_a_gather_of_weighted_steps_is_the_convolution_of_samples() -> None:
    """The official order: every sample of every cell first, then a convolution over the samples."""
    case = Case("tiny")
    with torch.no_grad():
        features = case.detector.x_1d_p(case.detector.x_1d_b(case.features[0]))
        mask = torch.from_numpy(dense(case.steps, case.samples, case.points))
        sampled = torch.einsum("bct,tsij->bcsij", features, mask)
        assert_close(sampled[:, ::32], case.arrays["bm"], 1e-5)
        official = case.detector.x_3d_p(sampled)[:, :, 0]
        torch.testing.assert_close(case.detector.matched(features), official, rtol=1e-5, atol=1e-5)


def test_no_dense_mask_is_made() -> None:
    """100 steps have 32 million numbers in the official mask, and as many for each channel of their samples."""
    detector = Config().build(400, 1, 100)
    held = sum(one.nbytes for one in detector.buffers())
    assert held < 6e6  # officially 128 MB
    assert "sample_mask" not in detector.state_dict()
    sizes: list[int] = []

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = function(*args, **(kwargs or {}))
            sizes.extend(one.numel() for one in (made if isinstance(made, tuple) else (made,)) if torch.is_tensor(one))
            return made

    with torch.no_grad(), Largest():
        detector(torch.zeros(1, 400, 100), torch.ones(1, 100, dtype=torch.bool))
    assert max(sizes) <= 512 * 100 * 100  # what the 3-D convolution gives; its input officially has 82 million


def test_targets_are_the_official_ones(case: Case) -> None:
    near = torch.stack([near_boundaries(rows, case.steps) for rows in case.actions]).float()
    assert_close(near[:, 0], case.arrays["gt_start"], 1e-6)
    assert_close(near[:, 1], case.arrays["gt_end"], 1e-6)
    ious = torch.stack([iou_targets(rows, case.steps) for rows in case.actions]).float()
    assert_close(ious[:, case.positions][..., case.positions], case.arrays["gt_iou"], 1e-6)
    found = ious.double()
    assert [found.sum().item(), found.norm().item()] == pytest.approx(case.facts["gt_iou_stat"], rel=1e-6)
    assert {
        "iou>0.9": int((ious > 0.9).sum()),
        "iou>0.7": int((ious > 0.7).sum()),
        "0.3<iou<=0.7": int(((ious > 0.3) & (ious <= 0.7)).sum()),
        "0<iou<=0.3": int(((ious > 0) & (ious <= 0.3)).sum()),
        "start>0.5": int((near[:, 0] > 0.5).sum()),
        "end>0.5": int((near[:, 1] > 0.5).sum()),
    } == case.facts["gt_counts"]


def test_losses_with_the_recorded_draws_and_their_gradients_are_the_official_ones(case: Case) -> None:
    losses, official = case.losses, case.facts["losses"]
    assert losses.keys() == NAMES.keys()
    for name, theirs in NAMES.items():
        assert losses[name].item() == pytest.approx(FACTORS[name] * official[theirs], rel=1e-6), name
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(official["loss"], rel=1e-6)
    case.detector.zero_grad()
    total.backward()
    norms = {key: norm for key, norm in case.facts["grad_norms"].items() if norm is not None}
    gradients = dict(case.detector.named_parameters())
    assert gradients.keys() == norms.keys()
    for key, norm in norms.items():
        assert gradients[key].grad is not None
        assert gradients[key].grad.double().norm().item() == pytest.approx(norm, rel=1e-5), key


def test_proposals_suppression_and_segments_are_the_official_ones(case: Case) -> None:
    for video, facts in enumerate(case.facts["videos"]):
        outputs = MatchingOutputs(case.outputs.boundaries[video : video + 1], case.outputs.ious[video : video + 1])
        everything = case.detector.config.model_copy(update={"proposal_sigma": None, "proposals": 10**6})
        limited, case.detector.config = case.detector.config, everything
        (found,) = case.detector.select(outputs)
        case.detector.config = limited
        assert len(found) == case.facts["proposals"][video]
        official = case.arrays[f"prop{video}"]
        assert_close((found.segments[: len(official)] + 0.5) / case.steps, official[:, :2], 1e-6)
        assert_close(found.scores[: len(official)], official[:, 2], 1e-7)
        (kept,) = case.detector.select(outputs)
        official = case.arrays[f"soft{video}"]
        assert len(kept) == len(official)
        assert_close((kept.segments + 0.5) / case.steps, official[:, :2], 1e-6)
        assert_close(kept.scores, official[:, 2], 1e-7)
        covered = facts["duration_second"] * (facts["duration_frame"] // 16 * 16) / facts["duration_frame"]
        settings = load("activitynet13_tsn_bmn").suppression
        timed = postprocess(kept, even_grid(1.0, covered, case.steps), covered, settings)
        assert_close(timed.segments, case.arrays[f"final{video}_segments"], 1e-5 * covered)


def test_a_proposal_lowers_what_overlaps_it_by_more_than_its_length_asks_for() -> None:
    parts = np.array([[0.0, 0.5], [0.0, 0.375], [0.0, 0.25], [0.5, 1.0]])
    scores = np.array([0.9, 0.8, 0.7, 0.01])
    rows, kept = soft_suppression_by_length(parts, scores, sigma=0.4, tious=(0.5, 0.9), max_kept=100)
    # the first asks for more than 0.7, and 0.75 is; the third asks for more than 0.6, and the second overlaps it by 2/3
    assert rows.tolist() == [0, 2, 1]  # the last one that is left is dropped
    np.testing.assert_allclose(kept, [0.9, 0.7, 0.8 * np.exp(-(0.75**2 + (2 / 3) ** 2) / 0.4)], rtol=1e-12)
    again, _ = soft_suppression_by_length(parts, scores, sigma=0.4, tious=(0.5, 0.9), max_kept=2)
    assert again.tolist() == [0, 2]


def small(**changes: Any) -> Bmn:
    torch.manual_seed(0)
    detector = Config.model_validate(Config.small().model_dump() | changes).build(6, 1, 20)
    assert isinstance(detector, Bmn)
    return detector


def test_segments_may_end_with_the_sequence_unless_the_official_rule_is_asked_for() -> None:
    batch = padded([drawn(0, 6, 20)], 20)
    (free,), (official,) = (
        small(reaches_end=reaches, proposal_sigma=None, proposals=1000).eval().detect(*batch)
        for reaches in (True, False)
    )
    assert len(free) == 20 * 21 // 2
    assert len(official) == 19 * 20 // 2
    assert free.segments[:, 1].max() == 19.5
    assert official.segments[:, 1].max() == 18.5
    shared = free.segments[:, 1] < 19
    torch.testing.assert_close(free.scores[shared], official.scores)


@pytest.mark.parametrize("official", [False, True])
def test_a_batch_without_actions_has_finite_losses_and_gradients(official: bool) -> None:
    detector = small(official_balance=official).train()
    losses = detector.losses(*padded([drawn(0, 6, 20)], 20), [Targets.none()])
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    assert all(one.grad is not None and one.grad.isfinite().all() for one in detector.parameters())


def test_where_there_are_too_few_to_balance_all_are_kept_and_no_pair_below_the_diagonal() -> None:
    """Of 4 x 4 cells one is the action, one is of middle and two of low overlap, and six are below the diagonal."""
    ious = torch.full((1, 2, 4, 4), 0.25)
    outputs = MatchingOutputs(torch.full((1, 2, 4), 0.5), ious)
    targets = [Targets(in_steps(torch.tensor([[0.0, 0.25], [0.75, 1.0]]), 4), torch.tensor([0, 0]))]
    wanted = torch.zeros(4, 4)
    wanted[0] = torch.tensor([1.0, 1 / 2, 1 / 3, 1 / 4])
    wanted[:, 3] = torch.tensor([1 / 4, 1 / 3, 1 / 2, 1.0])
    errors = (0.25 - wanted) ** 2
    high, middle = wanted == 1, wanted == 0.5
    middle |= (wanted - 1 / 3).abs() < 1e-6
    low = wanted == 0.25

    def loss(draw: float, *, official: bool) -> float:
        criterion = MatchingCriterion(official_balance=official)
        return criterion.with_draws(outputs, targets, lambda count: torch.full((count,), draw))["iou_value"].item()

    # two are high, four middle, one low: of the middle ones draws above a half are kept, of the low ones all
    kept = high | middle | low
    assert loss(0.75, official=False) == pytest.approx(5 * errors[kept].mean().item())
    kept = high | low
    assert loss(0.25, official=False) == pytest.approx(5 * errors[kept].mean().item())
    weights = 1 + high.float()  # officially every cell counts as a low one
    expected = 5 * (weights**2 * errors).sum() / weights.sum()
    assert loss(0.25, official=True) == pytest.approx(expected.item())


def test_settings_and_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="dim: found 6"):
        Config(dim=6)
    with pytest.raises(ValidationError, match="num_samples"):
        Config(num_samples=1, points_per_sample=1)
    with pytest.raises(UserError, match="6 channels") as odd:
        Config().build(6, 1, 20)
    assert "detector.conv_groups=2" in odd.value.fix
    with pytest.raises(UserError, match="5,308,416 pairs") as many:
        Config().build(400, 1, 2304)
    assert "features.window_steps=100" in many.value.fix
    with pytest.raises(UserError, match="21 feature steps"):
        small().padded_steps(21)
