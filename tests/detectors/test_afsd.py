"""AFSD's heads as TALLFormer uses them, compared with its code at full size."""

import json
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from actloc.detectors.afsd import Config
from actloc.detectors.afsd.network import Afsd
from actloc.errors import UserError
from actloc.ops.coarse_to_fine import CoarseToFineOutputs, boundary_maps
from actloc.structures import Targets
from actloc.weights.official_afsd import actloc_name
from tests.golden.cases import GOLDEN, drawn, padded
from tests.golden.fill import fill

FOLDER = GOLDEN / "tallformer"
FACTS: dict[str, Any] = json.loads((FOLDER / "anet_afsd.json").read_text())
KEYS: dict[str, list[int]] = {
    name: shape
    for name, shape in json.loads((FOLDER / "keys_anet_afsd_head.json").read_text())["state_dict"].items()
    if not name.endswith("relative_position_index")
}
FRAMES = 2  # of a step: officially everything is counted in frames
LOSSES = {
    "distances": "loss_loc",
    "confidence": "loss_conf",
    "correction": "loss_prop_loc",
    "refined_confidence": "loss_prop_conf",
    "quality": "loss_center",
    "starts": "loss_start",
    "ends": "loss_end",
    "video_class": "loss_action",
}


@pytest.fixture(scope="module")
def arrays() -> dict[str, NDArray[Any]]:
    with np.load(FOLDER / "anet_afsd.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def detector() -> Afsd:
    detector = Config().build(1024, 200, 384)
    official = {actloc_name(key): torch.from_numpy(fill(key, tuple(shape))) for key, shape in KEYS.items()}
    detector.load_state_dict(official)
    return detector.eval()


@pytest.fixture(scope="module")
def outputs(detector: Afsd, arrays: dict[str, NDArray[Any]]) -> CoarseToFineOutputs:
    generator = np.random.RandomState(zlib.crc32(b"input:anet_afsd"))
    features = torch.from_numpy(generator.standard_normal((1, 1024, 384)).astype(np.float32))
    np.testing.assert_array_equal(features.flatten()[:16], arrays["input_head"])
    result: CoarseToFineOutputs = detector(features, torch.ones(1, 384, dtype=torch.bool))
    return result


@pytest.fixture(scope="module")
def target(arrays: dict[str, NDArray[Any]]) -> Targets:
    rows = arrays["target0"]  # parts of the video, and the class counted from 1
    return Targets(torch.from_numpy(rows[:, :2] * 384), torch.from_numpy(rows[:, 3]).long() - 1)


def assert_close(found: Tensor, expected: NDArray[Any]) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


def test_both_stages_and_the_class_are_the_official_ones(
    outputs: CoarseToFineOutputs, arrays: dict[str, NDArray[Any]]
) -> None:
    assert_close(FRAMES * outputs.points.centers / 768, arrays["priors"][0, :, 0])
    assert_close(FRAMES * outputs.distances, arrays["loc"])
    assert_close(outputs.logits, arrays["conf"])
    assert_close(outputs.corrections, arrays["prop_loc"])
    assert_close(outputs.refined_logits, arrays["prop_conf"])
    assert_close(outputs.quality_logits[..., None], arrays["center"])
    assert_close(outputs.class_logits, arrays["action_logits"])


@pytest.mark.parametrize(("place", "name"), list(enumerate(("", "_loc_prop", "_conf_prop"))))
def test_boundary_features_are_the_official_ones(
    outputs: CoarseToFineOutputs, arrays: dict[str, NDArray[Any]], place: int, name: str
) -> None:
    for end, half in zip(("start", "end"), outputs.boundary_features[place].chunk(2, dim=1), strict=True):
        assert_close(half.mean(dim=1), arrays[f"{end}{name}_mean"])
        assert_close(half[:, :16, :16].transpose(1, 2), arrays[f"{end}{name}_first16"])


def test_segments_scores_and_classes_are_the_official_ones(
    detector: Afsd, outputs: CoarseToFineOutputs, arrays: dict[str, NDArray[Any]]
) -> None:
    (found,) = detector.select(outputs)
    assert_close(FRAMES * found.segments, arrays["decoded"][0])
    assert_close(found.scores, arrays["score"][0])
    chances = torch.from_numpy(arrays["action_logits"]).softmax(dim=1)[:, 1:]
    assert found.class_scores is not None
    torch.testing.assert_close(found.class_scores, chances)
    assert found.labels.tolist() == [chances.argmax().item()] * 189


def test_boundaries_to_learn_are_the_official_ones(target: Targets, arrays: dict[str, NDArray[Any]]) -> None:
    maps = boundary_maps(target, 768, FRAMES)
    np.testing.assert_array_equal(maps, arrays["scores_target"][0, 1:])
    np.testing.assert_array_equal(maps[:, ::8], arrays["scores_target_8"][0, 1:])


def test_losses_and_gradients_are_the_official_ones(
    detector: Afsd, outputs: CoarseToFineOutputs, target: Targets
) -> None:
    detector.zero_grad()
    losses = detector.criterion(outputs, [target])
    assert losses.keys() == LOSSES.keys()
    for name, official in LOSSES.items():
        assert losses[name].item() == pytest.approx(FACTS[official], rel=1e-4), name
    total = torch.stack(list(losses.values())).sum()
    assert total.item() == pytest.approx(FACTS["total"], rel=1e-4)
    total.backward()
    norms = {actloc_name(key): norm for key, norm in FACTS["grad_norm"].items()}
    gradients = dict(detector.named_parameters())
    assert gradients.keys() == norms.keys()
    for name, norm in norms.items():
        assert gradients[name].grad.norm().item() == pytest.approx(norm, rel=1e-3), name


def test_the_first_action_gives_the_class_of_the_video_and_none_the_background() -> None:
    detector = Config.small().build(6, 3, 64).eval()
    features = padded([drawn(0, 6, 64)], 64)
    outputs = detector(*features)
    chances = outputs.class_logits.log_softmax(dim=1)[0]
    segments = torch.tensor([[4.0, 20.0], [30.0, 60.0]])
    for labels, place in (([2, 0], 3), ([0, 2], 1)):
        losses = detector.criterion(outputs, [Targets(segments, torch.tensor(labels))])
        assert losses["video_class"].item() == pytest.approx(-chances[place].item())
    assert detector.criterion(outputs, [Targets.none()])["video_class"].item() == pytest.approx(-chances[0].item())


def test_coarse_segments_get_no_gradient_through_the_windows_that_they_choose() -> None:
    detector = Config.small().build(6, 3, 64).eval()
    outputs = detector(*padded([drawn(0, 6, 64)], 64))
    (outputs.refined_logits.sum() + outputs.quality_logits.sum() + outputs.corrections.sum()).backward()
    assert detector.distance_head.weight.grad is None
    assert all(scale.grad is None for scale in detector.scales)
    assert detector.segment_tower[0].conv.weight.grad.abs().sum() > 0


def test_a_coarse_border_is_at_most_four_strides_away() -> None:
    detector = Config.small().build(6, 3, 64).eval()
    nn.init.constant_(detector.distance_head.bias, 9.0)
    distances = detector(*padded([drawn(0, 6, 64)], 64)).distances
    assert distances[0, :, 0].tolist() == [16.0] * 16 + [32.0] * 8 + [64.0] * 4


def test_segments_whose_ends_refinement_swaps_are_left_out() -> None:
    detector = Config.small().build(6, 3, 64).eval()
    outputs = detector(*padded([drawn(0, 6, 64)], 64))
    corrections = torch.zeros_like(outputs.corrections)
    corrections[0, :5] = -2.0  # both ends move inwards by the length of the coarse segment
    (found,) = detector.select(replace(outputs, corrections=corrections))
    assert len(found) == len(found.labels) == 28 - 5
    assert (found.segments.diff(dim=1) > 0).all()
    assert found.class_scores is not None
    assert found.class_scores.shape == (1, 3)


def test_everything_is_padded_to_one_length_which_must_be_whole_strides() -> None:
    with pytest.raises(UserError, match=r"features.max_steps is 100\.") as wrong:
        Config.small().build(6, 3, 100)  # the coarsest stride is 16
    assert "features.max_steps=112" in wrong.value.fix
    detector = Config.small().build(6, 3, 112)
    assert [detector.padded_steps(steps) for steps in (1, 112)] == [112, 112]
    with pytest.raises(UserError, match="113 feature steps") as longer:
        detector.padded_steps(113)
    assert "features.window_steps=112" in longer.value.fix


@pytest.mark.parametrize("settings", [{"dim": 24}, {"norm_groups": 5}, {"regression_ranges": [[8, 4]]}])
def test_settings_that_do_not_fit_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"dim is|nearest border"):
        Config.model_validate({**settings})
