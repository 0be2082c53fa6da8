"""Recorded networks whose points predict segments, in the form that several detectors' fixtures share."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from actloc.detectors.base import PointConfig
from actloc.detectors.base_network import PointDetector
from actloc.layers.drop_path import AffineDropPath
from actloc.ops.pointwise import PointOutputs
from actloc.structures import Detections, Targets
from actloc.training.optimizer import parameter_groups
from tests.golden.cases import GOLDEN, drawn, padded, unmatched, weight


@dataclass(frozen=True)
class Tolerances:
    """How far outputs may be from the recorded ones; the last two are relative."""

    outputs: float
    levels: float
    scores: float
    segments: float
    losses: float
    gradients: float

    def times(self, factor: float) -> "Tolerances":
        return Tolerances(**{name: factor * value for name, value in vars(self).items()})


class PointCase:
    """One recorded network with its inputs and outputs."""

    def __init__(
        self, system: str, name: str, tolerances: Tolerances, configure: Callable[[dict[str, Any]], PointConfig]
    ) -> None:
        folder = GOLDEN / system
        self.facts: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        with np.load(folder / f"{name}.npz") as arrays:
            self.arrays: dict[str, NDArray[Any]] = dict(arrays)
        self.tolerances = tolerances
        self.config = configure(self.facts)

    def build(self, rule: Callable[[str, Tensor], Tensor] | None = None) -> PointDetector:
        """The detector with the fixture's weights, in evaluation, without what draws at random."""
        model = self.facts["model_args"]
        detector = self.config.build(model["input_dim"], model["num_classes"], model["max_seq_len"])
        assert isinstance(detector, PointDetector)
        rule = rule or (lambda name, tensor: weight("gain", name, tuple(tensor.shape)))
        detector.load_state_dict({name: rule(name, tensor) for name, tensor in detector.state_dict().items()})
        for module in detector.modules():
            if isinstance(module, AffineDropPath):
                module.rate = 0.0
        return detector.eval()

    def batch(self, detector: PointDetector, videos: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        features = [drawn(video["seed"], self.facts["model_args"]["input_dim"], video["T"]) for video in videos]
        return padded(features, detector.padded_steps(max(video["T"] for video in videos)))


def shared_settings(facts: dict[str, Any], windows: str, mlp_dim: str) -> dict[str, Any]:
    """The settings of TriDet and DyFADet; `windows` and `mlp_dim` are the names of two of them in the fixture."""
    model = facts["model_args"]
    train, test = (facts["merged_config"][name] for name in ("train_cfg", "test_cfg"))
    num_convs, num_stem, num_branch = model["backbone_arch"]
    return {
        "dim": model["embd_dim"],
        "head_dim": model["head_dim"],
        "num_embedding_convs": num_convs,
        "num_stem_blocks": num_stem,
        "num_branch_blocks": num_branch,
        "windows": model[windows],
        "window_factor": model["k"],
        "mlp_dim": model[mlp_dim],
        "initial_conv_std": model["init_conv_vars"],
        "position_embedding": model["use_abs_pe"],
        "neck": model["fpn_type"],
        "head_kernel": model["head_kernel_size"],
        "head_layers": model["head_num_layers"],
        "regression_ranges": model["regression_range"],
        "max_buffer_factor": model["max_buffer_len_factor"],
        "drop_path": train["droppath"],
        "label_smoothing": train["label_smoothing"],
        "loss_weight": train["loss_weight"],
        "initial_normaliser": train["init_loss_norm"],
        "kept_per_level": test["pre_nms_topk"],
        "shortest_steps": test["duration_thresh"],
    }


def targets_of(videos: list[dict[str, Any]]) -> list[Targets]:
    return [Targets(torch.tensor(video["segments"]), torch.tensor(video["labels"])) for video in videos]


def assert_close(found: Tensor, expected: NDArray[Any], tolerance: float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=tolerance, rtol=0)


def check_outputs(case: PointCase, detector: PointDetector, parts: Callable[[PointOutputs], dict[str, Tensor]]) -> None:
    """Compares every stored output of every level; `parts` are (P, ...) by the names that the fixtures give them."""
    levels: list[Tensor] = []
    detector.neck.register_forward_hook(lambda module, inputs, outputs: levels.extend(outputs))
    for number, video in enumerate(case.facts["eval"]):
        levels.clear()
        features, mask = case.batch(detector, [video])
        assert detector.official_steps(video["T"]) == video["padded"]
        assert features.shape[2] <= video["padded"]  # shorter where the numbers need no more padding
        with torch.no_grad():
            outputs = detector(features, mask)
            found = {what: rows.split(outputs.level_lengths) for what, rows in parts(outputs).items()}
        for level, facts in enumerate(video["levels"]):
            prefix = f"eval{number}_l{level}"
            rows = case.arrays.get(f"{prefix}_pos", np.arange(facts["valid"]))
            for what, of_levels in found.items():
                values = of_levels[level]
                assert_close(values[rows], case.arrays[f"{prefix}_{what}"], case.tolerances.outputs)
                if what in facts["stats"]:  # of all valid points, stored or not
                    real = values[: facts["valid"]].double()
                    sums = [real.sum().item(), real.norm().item()]
                    assert sums == pytest.approx(facts["stats"][what], rel=2e-4, abs=1e-3 * sums[1])
            stored, places = case.arrays[f"{prefix}_feat"], case.arrays[f"{prefix}_feat_pos"]
            seen = places < levels[level].shape[2]
            channels = slice(None, None, levels[level].shape[1] // stored.shape[1])
            assert_close(levels[level][0, channels, places[seen]].T, stored[seen], case.tolerances.levels)


def check_candidates(case: PointCase, detector: PointDetector) -> None:
    for number, video in enumerate(case.facts["eval"]):
        (found,) = detector.detect(*case.batch(detector, [video]))
        counts = [facts["candidates"] for facts in video["levels"]]
        assert len(found) == sum(counts)
        for level, rows in enumerate(torch.arange(len(found)).split(counts)):
            names = (f"eval{number}_l{level}_cand_{part}" for part in ("segments", "scores", "labels"))
            expected = Detections(*(torch.from_numpy(case.arrays[name]) for name in names))
            best = rows[: len(expected)]
            ours = Detections(found.segments[best], found.scores[best], found.labels[best])
            near = case.tolerances.scores
            assert_close(ours.scores, expected.scores.numpy(), near)
            alone, missing = unmatched(ours, expected, seconds=case.tolerances.segments, score=near)
            last = expected.scores[-1] + near if len(expected) else 0
            # a list that is cut may end in another of equal score
            assert all(score <= last for score in [*ours.scores[alone], *expected.scores[missing]])


def check_targets(case: PointCase, detector: PointDetector) -> None:
    detector.train()
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
            if f"{prefix}_pos_weight" in case.arrays:
                assert isinstance(assigned.weights, Tensor)
                np.testing.assert_array_equal(assigned.weights[row, positive], case.arrays[f"{prefix}_pos_weight"])


def check_losses(case: PointCase, detector: PointDetector) -> None:
    """Losses of two passes, the normaliser after each, and the gradients of the first."""
    detector.train()
    for train in case.facts["train"]:
        detector.criterion.load_training_state({"normaliser": detector.config.initial_normaliser})
        features, mask = case.batch(detector, train["videos"])
        detector.zero_grad()
        for number, expected in enumerate(train["passes"]):
            losses = detector.losses(features, mask, targets_of(train["videos"]))
            total = torch.stack(list(losses.values())).sum()
            if number == 0:
                total.backward()  # type: ignore[no-untyped-call]
            found = [losses["classification"].item(), losses["regression"].item(), total.item()]
            weighted = detector.config.loss_weight * expected["reg_loss"]
            recorded = [expected["cls_loss"], weighted, expected["final_loss"]]
            assert found == pytest.approx(recorded, rel=case.tolerances.losses)
            assert detector.criterion.normaliser == pytest.approx(expected["normaliser"], rel=1e-6)
        norms = {name: norm for name, norm in train["grad_norms"].items() if norm is not None}
        gradients = {name: one.grad for name, one in detector.named_parameters() if one.grad is not None}
        assert gradients.keys() == norms.keys()
        for name, norm in norms.items():
            if norm >= 1e-4 * max(norms.values()):
                assert gradients[name].norm().item() == pytest.approx(norm, rel=case.tolerances.gradients), name


def check_names(
    system: str,
    name: str,
    config: PointConfig,
    channels: int,
    num_classes: int,
    unused: Collection[str] = (),
) -> None:
    """Compares names, shapes and decay of the parameters with those of an official configuration.

    `unused` are those that nothing uses there, and that do not learn here.
    """
    with torch.device("meta"):
        detector = config.build(channels, num_classes, 2304)
    listed = json.loads((GOLDEN / system / "state_dicts" / f"{name}.json").read_text())
    ours = {key: list(tensor.shape) for key, tensor in detector.state_dict().items()}
    assert ours == {key: shape for key, shape, *_ in listed}
    names = {id(parameter): key for key, parameter in detector.named_parameters()}
    for group, kind in zip(parameter_groups(detector, 0.05), ("decay", "no_decay"), strict=True):
        expected = {key for key, _, listed_kind, _ in listed if listed_kind == kind} - set(unused)
        assert {names[id(parameter)] for parameter in group["params"]} == expected


def check_drawn(system: str, name: str, detector: PointDetector) -> None:
    """Compares how the weights of a new network are spread with those of an official one of any width.

    Constants are compared as they are, what is drawn from a normal distribution by its deviation, and the rest, which
    is uniform, with one over the root of what a number is summed over.
    """
    listed = json.loads((GOLDEN / system / "state_dicts" / f"{name}.json").read_text())
    state = detector.state_dict()
    for key, _, _, (low, high, deviation) in listed:
        values = state[key]
        if key.endswith("gate.gate_conv.bias"):  # one number, drawn
            assert values.abs() <= state[key.replace("bias", "weight")][0].numel() ** -0.5
        elif deviation == 0:
            torch.testing.assert_close(values, torch.full_like(values, low), atol=1e-4, rtol=0)
        elif max(-low, high) > 2 * deviation:  # a uniform one ends at 1.73 of its deviation
            assert values.std().item() == pytest.approx(deviation, rel=0.25), key
        elif values.dim() > 1:
            limit = values[0].numel() ** -0.5
            assert 0.85 * limit < values.abs().max() <= limit, key
