import json
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from actloc.detectors.temporalmaxer import Config
from actloc.detectors.temporalmaxer.network import TemporalMaxer
from actloc.structures import Detections, Targets
from actloc.training.optimizer import parameter_groups
from tests.golden.cases import GOLDEN, drawn, padded, unmatched, weight

FOLDER = GOLDEN / "temporalmaxer"
SLOW = pytest.mark.slow
NAMES = ["tiny_groupnorm", "tiny_layernorm", pytest.param("thumos_i3d", marks=SLOW)]
NORMS = {"groupnorm": "group", "layernorm": "channel", None: "none"}
LOOSER = {"tiny_groupnorm": 1, "tiny_layernorm": 1, "thumos_i3d": 5}  # what the fixtures allow at full size


class Case:
    """One recorded network with its inputs and outputs."""

    def __init__(self, name: str) -> None:
        self.facts: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arrays: dict[str, NDArray[Any]] = dict(arrays)
        self.scale = LOOSER[name]

    def build(self) -> TemporalMaxer:
        """The detector with the fixture's weights, in evaluation; of a shared tensor's names the last one counts."""
        model = self.facts["model_args"]
        train, test = (self.facts["merged_config"][name] for name in ("train_cfg", "test_cfg"))
        num_convs, num_branches = model["backbone_arch"]
        assigner = model["assigner"]
        config = Config(
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
        detector = config.build(model["input_dim"], model["num_classes"], model["max_seq_len"])
        state = detector.state_dict()
        detector.load_state_dict({name: weight("gain", name, tuple(tensor.shape)) for name, tensor in state.items()})
        return detector.eval()

    def features(self, video: dict[str, Any]) -> Tensor:
        return drawn(video["seed"], self.facts["model_args"]["input_dim"], video["T"])

    def batch(self, detector: TemporalMaxer, videos: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        return padded([self.features(video) for video in videos], detector.padded_steps(max(v["T"] for v in videos)))


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def targets_of(videos: list[dict[str, Any]]) -> list[Targets]:
    return [Targets(torch.tensor(video["segments"]), torch.tensor(video["labels"])) for video in videos]


def assert_close(found: Tensor, expected: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=tolerance, rtol=0)


def test_logits_offsets_and_levels_are_the_official_ones(case: Case) -> None:
    detector, levels = case.build(), []
    detector.neck.register_forward_hook(lambda module, inputs, outputs: levels.extend(outputs))
    for number, video in enumerate(case.facts["eval"]):
        levels.clear()
        features, mask = case.batch(detector, [video])
        assert detector.official_steps(video["T"]) == video["padded"]
        assert features.shape[2] <= video["padded"]
        with torch.no_grad():
            outputs = detector(features, mask)
        of_levels = (rows[0].split(outputs.level_lengths) for rows in (outputs.logits, outputs.offsets))
        for level, (logits, offsets) in enumerate(zip(*of_levels, strict=True)):
            prefix, facts = f"eval{number}_l{level}", video["levels"][level]
            rows = case.arrays.get(f"{prefix}_pos", np.arange(facts["valid"]))
            assert_close(logits[rows], case.arrays[f"{prefix}_cls"], 2e-5 * case.scale)
            assert_close(offsets[rows], case.arrays[f"{prefix}_off"], 2e-5 * case.scale)
            positions = case.arrays[f"{prefix}_feat_pos"]
            seen = positions < levels[level].shape[2]  # the official padding may be longer
            channels = slice(None, None, levels[level].shape[1] // case.arrays[f"{prefix}_feat"].shape[1])
            expected = case.arrays[f"{prefix}_feat"][seen]
            assert_close(levels[level][0, channels, positions[seen]].T, expected, 5e-5 * case.scale)
            for what, values in (("cls", logits), ("off", offsets)):  # all valid points, stored or not
                real = values[: facts["valid"]].double()
                found = [real.sum().item(), real.norm().item()]
                assert found == pytest.approx(facts["stats"][what], rel=1e-4, abs=1e-3)


def test_candidates_are_the_official_ones(case: Case) -> None:
    detector = case.build()
    for number, video in enumerate(case.facts["eval"]):
        (found,) = detector.detect(*case.batch(detector, [video]))
        counts = [facts["candidates"] for facts in video["levels"]]
        assert len(found) == sum(counts)
        for level, rows in enumerate(torch.arange(len(found)).split(counts)):
            prefix = f"eval{number}_l{level}_cand"
            parts = (case.arrays[f"{prefix}_{part}"] for part in ("segments", "scores", "labels"))
            expected = Detections(*map(torch.from_numpy, parts))
            best = rows[: len(expected)]
            ours = Detections(found.segments[best], found.scores[best], found.labels[best])
            assert_close(ours.scores, expected.scores.numpy(), 2e-6 * case.scale)
            alone, missing = unmatched(ours, expected, seconds=1e-4 * case.scale, score=2e-6 * case.scale)
            last = expected.scores[-1] + 2e-6 * case.scale if len(expected) else 0
            # a list that is cut may end in another of equal score
            assert all(score <= last for score in [*ours.scores[alone], *expected.scores[missing]])


def test_points_learn_what_they_learn_officially(case: Case) -> None:
    detector = case.build().train()
    for number, train in enumerate(case.facts["train"]):
        videos = train["videos"]
        outputs = detector(*case.batch(detector, videos))
        assigned = detector.criterion.assign(outputs.points, targets_of(videos), outputs)
        for row in range(len(videos)):
            prefix = f"train{number}_v{row}"
            classes = assigned.classes[row] * outputs.mask[row, :, None]
            positive = classes.sum(dim=1).nonzero().flatten()
            np.testing.assert_array_equal(positive, case.arrays[f"{prefix}_pos"])
            np.testing.assert_array_equal(classes[positive].nonzero(), case.arrays[f"{prefix}_pos_cls"])
            np.testing.assert_array_equal(assigned.offsets[row, positive], case.arrays[f"{prefix}_pos_off"])
            np.testing.assert_array_equal(assigned.weights[row, positive], case.arrays[f"{prefix}_pos_weight"])


def test_losses_normaliser_and_gradients_are_the_official_ones(case: Case) -> None:
    detector = case.build().train()
    for train in case.facts["train"]:
        detector.criterion.load_training_state({"normaliser": detector.config.initial_normaliser})
        features, mask = case.batch(detector, train["videos"])
        detector.zero_grad()
        for number, expected in enumerate(train["passes"]):
            losses = detector.losses(features, mask, targets_of(train["videos"]))
            total = torch.stack(list(losses.values())).sum()
            if number == 0:
                total.backward()
            tolerance = {"rel": 2e-6 * case.scale}
            assert losses["classification"].item() == pytest.approx(expected["cls_loss"], **tolerance)
            regression = detector.config.loss_weight * expected["reg_loss"]
            assert losses["regression"].item() == pytest.approx(regression, **tolerance)
            assert total.item() == pytest.approx(expected["final_loss"], **tolerance)
            assert detector.criterion.normaliser == pytest.approx(expected["normaliser"], rel=1e-6)
        largest = max(train["grad_norms"].values())
        gradients = {name: parameter.grad for name, parameter in detector.named_parameters()}
        assert gradients.keys() == train["grad_norms"].keys()
        for name, norm in train["grad_norms"].items():
            if norm >= 1e-4 * largest:
                assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-4 * case.scale), name


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
    config, channels, num_classes = OFFICIAL[name]
    with torch.device("meta"):
        detector = config.build(channels, num_classes, 2304)
    listed = json.loads((FOLDER / "state_dicts" / f"{name}.json").read_text())
    ours = {key: list(tensor.shape) for key, tensor in detector.state_dict().items()}
    assert ours == {key: shape for key, shape, *_ in listed}
    names = {id(parameter): key for key, parameter in detector.named_parameters()}
    for group, kind in zip(parameter_groups(detector, 0.05), ("decay", "no_decay"), strict=True):
        expected = {key for key, _, listed_kind, _ in listed if listed_kind == kind}
        assert {names[id(parameter)] for parameter in group["params"]} == expected


@pytest.mark.parametrize(("norm", "expected"), [("group", 64), ("channel", 44), ("none", 44)])
def test_padding_is_as_long_as_the_numbers_need(norm: Literal["group", "channel", "none"], expected: int) -> None:
    detector = Config.small().model_copy(update={"neck_norm": norm, "num_branch_blocks": 2}).build(8, 2, 64)
    assert (detector.padded_steps(37), detector.padded_steps(60), detector.official_steps(37)) == (expected, 64, 64)


def test_new_weights_are_drawn_as_officially() -> None:
    state = Config(dim=64).build(32, 20, 2304).state_dict()
    listed = json.loads((FOLDER / "state_dicts" / "thumos_i3d.json").read_text())
    for name, _, _, (low, _, deviation) in listed:
        if deviation == 0:
            torch.testing.assert_close(state[name], torch.full_like(state[name], low), atol=1e-4, rtol=0)
        else:  # uniform within one over the root of what a number is summed over
            limit = state[name][0].numel() ** -0.5
            assert 0.9 * limit < state[name].abs().max() <= limit, name


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


def test_whether_points_count_by_their_cost_decides_whether_steps_can_be_weighed_beforehand() -> None:
    for share in (1.0, 0.9):
        config = Config.model_validate(Config.small().model_dump() | {"kept_share": share})
        assert config.build(6, 3, 64).criterion.weight_follows_from_targets == (share == 1)


def test_a_group_norm_needs_channels_in_whole_groups() -> None:
    with pytest.raises(ValidationError, match="a multiple of 4"):
        Config(dim=18)
