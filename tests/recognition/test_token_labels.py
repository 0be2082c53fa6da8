from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from actloc.encoders import color, dualformer, tanet
from actloc.errors import UserError
from actloc.layers.global_pyramid import Block
from actloc.recognition.recognizer import Recognizer, new_classifier
from actloc.recognition.token_labels import (
    Annotator,
    TokenHead,
    TokenLabelSettings,
    averaged_frames,
    soft_labels,
    student_scores,
    token_label_losses,
)

RECORDED = dict(np.load(Path("tests/golden/dualformer/token_label_loss.npz")))
TOLERANCE = 1e-6  # of numbers of about 1
SMALL = dualformer.Config.small()
CLIPS = torch.randint(0, 256, (2, 4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def recorded(name: str) -> Tensor:
    return torch.from_numpy(RECORDED[name])


def test_labels_loss_and_gradients_are_those_recorded() -> None:
    labels = soft_labels(recorded("teacher_preds"), 5)
    torch.testing.assert_close(labels, recorded("soft_label"), atol=TOLERANCE, rtol=0)
    clip_scores, token_scores = (recorded(name).requires_grad_() for name in ("cls_score", "token_preds"))
    losses = token_label_losses(clip_scores, recorded("target"), token_scores, labels, float(RECORDED["gamma"]))
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert total.item() == pytest.approx(float(RECORDED["loss"]), rel=TOLERANCE)
    for scores, name in ((clip_scores, "grad_cls_score"), (token_scores, "grad_token_preds")):
        torch.testing.assert_close(scores.grad, recorded(name), atol=TOLERANCE, rtol=0)


def test_what_ties_with_the_last_kept_score_is_kept_and_the_others_become_zero() -> None:
    labels = soft_labels(torch.tensor([[3.0, 2.0, 2.0, -5.0, 1.0]]), 2)
    torch.testing.assert_close(labels, torch.tensor([[3.0, 2.0, 2.0, 0.0, 0.0]]).softmax(1))
    few = torch.randn(4, 3)
    torch.testing.assert_close(soft_labels(few, 5), few.softmax(1))


def settings(**changes: Any) -> TokenLabelSettings:
    small = SMALL.model_dump(mode="json")
    return TokenLabelSettings.model_validate({"annotator": small | changes.pop("annotator", {}), **changes})


@pytest.mark.parametrize(("average", "expected"), [("neighbours", [0.5, 2.5, 4.5]), ("apart", [1.5, 2.5, 3.5])])
def test_frames_of_the_annotator_are_averaged(average: Literal["neighbours", "apart"], expected: list[float]) -> None:
    scores = torch.arange(6.0).reshape(1, 6, 1, 1, 1).expand(2, 6, 2, 2, 7)
    found = averaged_frames(scores, torch.Size((3, 2, 2)), settings(average_frames=average))
    assert found.shape == (2, 3, 2, 2, 7)
    assert found[1, :, 0, 1, 6].tolist() == expected
    same = averaged_frames(scores, torch.Size((6, 2, 2)), settings(average_frames=average))
    assert torch.equal(same, scores)


@pytest.mark.parametrize("grid", [(4, 2, 2), (12, 2, 2), (3, 2, 1)])
def test_grids_that_do_not_fit_are_refused(grid: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="makes 6 x 2 x 2 tokens of a clip") as raised:
        averaged_frames(torch.zeros(1, 6, 2, 2, 7), torch.Size(grid), settings())
    assert " x ".join(map(str, grid)) in raised.value.found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A trained recogniser of 7 classes, as its authors would publish it."""
    torch.manual_seed(0)
    encoder = SMALL.network()
    Recognizer(encoder, new_classifier(encoder, 7)).write_published(tmp_path / "teacher.pth")
    return tmp_path / "teacher.pth"


def student() -> Recognizer:
    encoder = SMALL.network()
    return Recognizer(encoder, new_classifier(encoder, 7))


def test_a_student_learns_from_an_annotator_that_stays_as_it_is(weights: Path) -> None:
    chosen = settings(annotator={"weights": str(weights)})
    annotator = Annotator(chosen, 7, torch.device("cpu"))
    assert annotator.weights_sha256
    before = {name: one.clone() for name, one in annotator.recognizer.state_dict().items()}
    recognizer, head = student().train(), TokenHead(32, 7)
    clip_scores, token_scores = student_scores(recognizer, head, CLIPS)
    labels = annotator.labels(CLIPS, token_scores.shape[1:4])
    assert clip_scores.shape == (2, 7)
    assert token_scores.shape == labels.shape == (2, 2, 2, 2, 7)
    torch.testing.assert_close(labels.sum(-1), torch.ones(2, 2, 2, 2))
    with torch.no_grad():
        scores = annotator.recognizer.classifier(annotator.recognizer.encoder.feature_map(CLIPS).movedim(1, -1))
        torch.testing.assert_close(labels, soft_labels(scores, 5))
        torch.testing.assert_close(scores.mean((1, 2, 3)), annotator.recognizer(CLIPS))
    losses = token_label_losses(clip_scores, torch.tensor([1, 4]), token_scores, labels, chosen.weight)
    torch.stack(list(losses.values())).sum().backward()
    learning = [*recognizer.parameters(), *head.parameters()]
    assert all(one.grad is not None for one in learning)
    assert all(one.grad is None and not one.requires_grad for one in annotator.recognizer.parameters())
    assert not any(module.training for module in annotator.recognizer.modules())
    after = annotator.recognizer.state_dict()
    assert all(torch.equal(one, after[name]) for name, one in before.items())
    torch.testing.assert_close(recognizer.eval()(CLIPS), student_scores(recognizer, head.eval(), CLIPS)[0])


def test_the_official_mode_of_the_annotator_is_a_setting(weights: Path) -> None:
    annotator = Annotator(
        settings(annotator={"weights": str(weights)}, annotator_in_training_mode=True), 7, torch.device("cpu")
    )
    assert annotator.recognizer.dropout.training
    blocks = [one for one in annotator.recognizer.modules() if isinstance(one, Block)]
    assert all(one.drop_path.training for one in blocks)
    norms = [one for one in annotator.recognizer.modules() if isinstance(one, torch.nn.BatchNorm3d)]
    assert norms
    assert all(one.training for one in norms)
    grid = torch.Size((2, 2, 2))
    assert not torch.equal(annotator.labels(CLIPS, grid), annotator.labels(CLIPS, grid))
    assert not any(one.requires_grad for one in annotator.recognizer.parameters())


def test_an_annotator_of_other_classes_or_without_a_classifier_is_refused(weights: Path) -> None:
    with pytest.raises(UserError, match="have a classifier of 7 classes"):
        Annotator(settings(annotator={"weights": str(weights)}), 8, torch.device("cpu"))
    with pytest.raises(UserError, match="have no classifier"):
        Annotator(settings(), 7, torch.device("cpu"))


def test_an_encoder_without_tokens_has_no_student_scores() -> None:
    encoder = color.Config.small().build()
    recognizer = Recognizer(encoder, new_classifier(encoder, 7))
    with pytest.raises(UserError, match="has no map of features"):
        student_scores(recognizer, TokenHead(encoder.channels, 7), CLIPS)


def test_the_students_head_is_the_published_one() -> None:
    head = TokenHead(16, 7)
    assert [tuple(one.shape) for one in head.parameters()] == [(32, 16), (32,), (64, 32), (64,), (7, 64), (7,)]
    assert [one.p for one in head.modules() if isinstance(one, torch.nn.Dropout)] == [0.5, 0.5]
    assert [len(group["params"]) for group in head.trained("usual").groups(0.02)] == [3, 3]
    (group,) = head.trained("published").groups(0.02)
    assert (len(group["params"]), group["weight_decay"], group["rate_factor"]) == (6, 0.02, 1.0)


def test_tokens_of_tanet_are_its_frames() -> None:
    encoder = tanet.Config.small().network()
    recognizer = Recognizer(encoder, new_classifier(encoder, 7)).eval()
    clips = torch.randint(0, 256, (1, 8, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        clip_scores, token_scores = student_scores(recognizer, TokenHead(2048, 7).eval(), clips)
        torch.testing.assert_close(clip_scores, recognizer(clips))
    assert token_scores.shape == (1, 8, 1, 1, 7)


def test_settings_without_an_effect_or_out_of_bounds_are_refused() -> None:
    for changes in ({"weight": 1.5}, {"top_k": 0}, {"average_frames": "all"}):
        with pytest.raises(ValidationError):
            settings(**changes)
