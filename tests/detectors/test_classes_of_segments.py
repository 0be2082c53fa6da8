"""The classifier of segments that detectors without classes have."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from actloc.detectors.base_network import ClassifyingDetector
from actloc.detectors.etad import Config
from actloc.detectors.etad.network import Etad
from actloc.ops.segment_classes import MOVED, ClassifiedOutputs
from actloc.structures import Targets

STEPS, CHANNELS, CLASSES = 16, 6, 3


def built(seed: int = 0) -> ClassifyingDetector:
    torch.manual_seed(seed)
    config = Config.small().model_copy(update={"classifier_dim": 8, "classifier_bins": 4, "classifier_dropout": 0.0})
    detector = config.build(CHANNELS, CLASSES, STEPS)
    assert isinstance(detector, ClassifyingDetector)
    return detector


def inputs(videos: int = 2) -> tuple[Tensor, Tensor]:
    features = torch.randn(videos, CHANNELS, STEPS, generator=torch.Generator().manual_seed(1))
    return features, torch.ones(videos, STEPS, dtype=torch.bool)


def test_a_dataset_of_one_class_needs_no_classifier() -> None:
    assert isinstance(Config.small().build(CHANNELS, 1, STEPS), Etad)


def test_every_segment_has_scores_of_all_classes_and_the_best_as_its_own() -> None:
    detector = built().eval()
    found = detector.detect(*inputs())
    plain = detector.detector.detect(*inputs())
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one.segments, other.segments)
        torch.testing.assert_close(one.scores, other.scores)
        assert one.class_scores is not None
        assert one.class_scores.shape == (len(one), CLASSES)
        torch.testing.assert_close(one.class_scores.sum(dim=1), torch.ones(len(one)))
        assert torch.equal(one.labels, one.class_scores.argmax(dim=1))


def test_the_features_of_a_segment_are_those_of_its_steps() -> None:
    """A segment from step 4 to step 7 covers its steps from centre to centre, four parts of three quarters each."""
    ramp = torch.arange(float(STEPS)).expand(1, 8, STEPS)
    seen = []
    classifier = built().classifier
    classifier.hidden.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    ClassifiedOutputs(None, ramp, classifier).class_logits(0, torch.tensor([[4.0, 7.0]]))
    torch.testing.assert_close(seen[0].view(4, 8)[:, 0], torch.tensor([4.375, 5.125, 5.875, 6.625]))


def test_the_loss_is_the_mean_over_the_forms_of_all_actions_and_the_detectors_stay() -> None:
    detector = built()
    features, mask = inputs()
    targets = [
        Targets(torch.tensor([[2.0, 6.0], [8.0, 13.0]]), torch.tensor([0, 2])),
        Targets(torch.tensor([[1.0, 9.0]]), torch.tensor([1])),
    ]
    outputs = detector(features, mask)
    losses = detector.criterion(outputs, targets)
    parts = []
    for video, target in enumerate(targets):
        for (start, end), label in zip(target.segments.tolist(), target.labels, strict=True):
            for of_start, of_end in MOVED:
                length = end - start
                segment = torch.tensor([[start + of_start * length, end + of_end * length]])
                parts.append(F.cross_entropy(outputs.class_logits(video, segment), label[None]))
    torch.testing.assert_close(losses["classes"], torch.stack(parts).mean())
    assert set(losses) == {"boundaries", "stage_1", "stage_2", "classes"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_a_batch_without_actions_costs_nothing_and_has_gradients() -> None:
    detector = built()
    losses = detector.losses(*inputs(1), [Targets.none()])
    assert losses["classes"].item() == 0
    losses["classes"].backward()
    assert all(not parameter.grad.any() for parameter in detector.classifier.parameters() if parameter.grad is not None)


def test_it_learns_classes_that_features_tell_apart() -> None:
    detector, generator = built(), torch.Generator().manual_seed(2)
    optimizer = torch.optim.AdamW(detector.classifier.parameters(), 1e-2)
    patterns = torch.randn(CLASSES, CHANNELS, generator=generator)

    def video() -> tuple[Tensor, Targets]:
        labels = torch.randint(CLASSES, (2,), generator=generator)
        features = torch.randn(CHANNELS, STEPS, generator=generator)
        segments = torch.tensor([[1.0, 6.0], [9.0, 14.0]])
        for (start, end), label in zip(segments.int().tolist(), labels, strict=True):
            features[:, start : end + 1] += 2 * patterns[label][:, None]
        return features[None], Targets(segments, labels)

    mask = inputs(1)[1]
    for _ in range(150):
        features, target = video()
        loss = detector.losses(features, mask, [target])["classes"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    detector.eval()
    right = 0
    for _ in range(20):
        features, target = video()
        right += int((detector(features, mask).class_logits(0, target.segments).argmax(dim=1) == target.labels).sum())
    assert right >= 36  # of 40; by chance 13


def test_what_the_detectors_losses_remember_is_kept_through_the_classifiers() -> None:
    detector = built()
    detector.losses(*inputs(), [Targets.none()] * 2)
    state = detector.criterion.training_state()
    assert state["calls"] == 1
    other = built(seed=3)
    other.criterion.load_training_state(state)
    assert other.detector.criterion.training_state() == state


def test_segments_are_scored_in_parts_and_none_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = built().eval()(*inputs())
    ends = torch.rand(50, 2, generator=torch.Generator().manual_seed(4)).cumsum(dim=1) * 8
    whole = outputs.class_logits(1, ends)
    monkeypatch.setattr("actloc.ops.segment_classes.AT_ONCE", 7)
    torch.testing.assert_close(outputs.class_logits(1, ends), whole)
    assert outputs.class_logits(1, torch.zeros(0, 2)).shape == (0, CLASSES)
    assert whole.isfinite().all()
    assert outputs.class_logits(0, torch.tensor([[-40.0, 900.0], [7.0, 3.0]])).isfinite().all()


def test_class_scores_are_float32_where_the_network_computes_in_bfloat16() -> None:
    detector = built().eval()
    with torch.autocast("cpu", torch.bfloat16):
        found = detector.detect(*inputs())
    assert {one.class_scores.dtype for one in found if one.class_scores is not None} == {torch.float32}
