from dataclasses import replace
from typing import Any

import pytest
import torch

from actloc.evaluation.postprocess import postprocess
from actloc.settings.detections import SuppressionSettings
from actloc.structures import Detections, Grid

GRID = Grid(fps=30.0, stride_frames=4, offset_frames=8)
FOUND = Detections(
    torch.tensor([[-5.0, 10.0], [20.0, 40.0], [20.0, 39.0], [60.0, 900.0]]),
    torch.tensor([0.2, 0.9, 0.8, 0.4]),
    torch.tensor([1, 0, 0, 2]),
)


def test_detections_come_out_in_seconds_inside_the_video_and_sorted() -> None:
    final = postprocess(FOUND, GRID, 30.0, SuppressionSettings(method="none"))
    assert final.scores.tolist() == pytest.approx([0.9, 0.8, 0.4, 0.2])
    assert final.labels.tolist() == [0, 0, 2, 1]
    expected = [[88 / 30, 168 / 30], [88 / 30, 164 / 30], [248 / 30, 30.0], [0.0, 48 / 30]]
    torch.testing.assert_close(final.segments, torch.tensor(expected))


def test_suppression_lowers_the_scores_of_overlapping_detections_of_a_class() -> None:
    final = postprocess(FOUND, GRID, 30.0, SuppressionSettings(max_kept=3))
    assert final.labels.tolist() == [0, 2, 1]
    assert final.scores.tolist() == pytest.approx([0.9, 0.4, 0.2])


def test_suppression_across_classes_votes() -> None:
    settings = {"multiclass": False, "max_kept": 1}
    voted, plain = (
        postprocess(FOUND, GRID, 30.0, SuppressionSettings(**settings, voting_threshold=threshold))
        for threshold in (0.9, 0)
    )
    assert plain.segments[0, 1].item() == pytest.approx(168 / 30)
    assert 164 / 30 < voted.segments[0, 1].item() < 168 / 30
    assert voted.scores.tolist() == plain.scores.tolist()


def test_votes_may_weigh_by_their_score_alone() -> None:
    settings = SuppressionSettings(multiclass=False, max_kept=1, voting_threshold=0.9, voting_weights="score")
    voted = postprocess(FOUND, GRID, 30.0, settings)
    by_overlap = postprocess(FOUND, GRID, 30.0, settings.model_copy(update={"voting_weights": "score_and_overlap"}))
    weights = 0.9, 0.8  # the second one overlaps the first by 19 / 20
    end = (weights[0] * 40 + weights[1] * 39) / sum(weights)
    assert voted.segments[0, 1].item() == pytest.approx((4 * end + 8) / 30)
    assert voted.segments[0, 1] < by_overlap.segments[0, 1]


def test_hard_suppression_keeps_scores_and_uses_its_own_threshold() -> None:
    strict, mild = (
        postprocess(FOUND, GRID, 30.0, SuppressionSettings(method="hard", tiou=tiou)) for tiou in (0.1, 0.99)
    )
    assert strict.scores.tolist() == pytest.approx([0.9, 0.4, 0.2])
    assert mild.scores.tolist() == pytest.approx([0.9, 0.8, 0.4, 0.2])


def test_hard_suppression_across_classes_votes() -> None:
    final = postprocess(FOUND, GRID, 30.0, SuppressionSettings(method="hard", multiclass=False, voting_threshold=0.9))
    assert 164 / 30 < final.segments[0, 1].item() < 168 / 30


def test_weighted_suppression_moves_the_best_detection_of_a_class_and_does_not_vote() -> None:
    settings = SuppressionSettings(method="weighted", tiou=0.5, voting_threshold=0.9)
    final = postprocess(FOUND, GRID, 30.0, settings)
    assert final.scores.tolist() == pytest.approx([0.9, 0.4, 0.2])
    weights = 0.9, 0.8 * 19 / 20
    end = (weights[0] * 40 + weights[1] * 39) / sum(weights)
    assert final.segments[0].tolist() == pytest.approx([88 / 30, (4 * end + 8) / 30])
    across = postprocess(FOUND, GRID, 30.0, settings.model_copy(update={"multiclass": False}))
    assert torch.equal(across.segments, final.segments)


@pytest.mark.parametrize("method", ["soft", "hard", "weighted", "none"])
@pytest.mark.parametrize("multiclass", [True, False])
def test_a_video_without_detections_gives_none(method: str, multiclass: bool) -> None:
    nothing = Detections(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    final = postprocess(nothing, GRID, 30.0, SuppressionSettings(method=method, multiclass=multiclass))
    assert len(final) == 0
    assert final.segments.shape == (0, 2)
    assert final.labels.dtype == torch.long


def test_a_single_detection_passes_unchanged() -> None:
    one = Detections(torch.tensor([[3.0, 9.0]]), torch.tensor([0.0001]), torch.tensor([7]))
    final = postprocess(one, GRID, float("inf"), SuppressionSettings())
    torch.testing.assert_close(final.segments, GRID.seconds(one.segments))
    assert final.scores.tolist() == one.scores.tolist()


@pytest.mark.parametrize("settings", [{"method": "none"}, {}, {"method": "hard"}, {"multiclass": False}])
def test_class_scores_follow_their_segments_and_those_of_the_video_stay(settings: dict[str, Any]) -> None:
    of_segments = replace(FOUND, class_scores=torch.arange(8.0).reshape(4, 2))
    kept = postprocess(of_segments, GRID, 30.0, SuppressionSettings(**settings, voting_threshold=0))
    number = {0.0: 0, 88 / 30: 1, 248 / 30: 3}  # by where the segment starts; the third one has the second's start
    starts = [number[min(number, key=lambda known: abs(known - start))] for start in kept.segments[:, 0].tolist()]
    rows = kept.class_scores[:, 0].int().tolist()
    assert len(rows) == len(kept)
    assert [2 * start for start in starts] == [2 if row == 4 else row for row in rows]
    of_video = replace(FOUND, class_scores=torch.tensor([[0.3, 0.7]]))
    kept = postprocess(of_video, GRID, 30.0, SuppressionSettings(**settings))
    assert kept.class_scores.tolist() == of_video.class_scores.tolist()
    assert postprocess(FOUND, GRID, 30.0, SuppressionSettings(**settings)).class_scores is None


def apart(number: int) -> Detections:
    """Detections that do not overlap, best first."""
    starts = 20.0 * torch.arange(number)
    scores = torch.linspace(0.9, 0.5, number)
    return Detections(torch.stack((starts, starts + 10), dim=1), scores, torch.zeros(number, dtype=torch.long))


@pytest.mark.parametrize("method", ["soft", "hard", "between_windows", "weighted"])
def test_longer_videos_keep_more_detections_and_a_limit_that_cuts_is_named(method: str) -> None:
    found, settings = apart(450), SuppressionSettings(method=method)
    whole = postprocess(found, GRID, float("inf"), settings, num_windows=3)
    assert (len(whole), whole.cut_by) == (450, frozenset())
    cut = postprocess(found, GRID, float("inf"), settings, num_windows=2)
    assert (len(cut), cut.cut_by) == (400, {"suppression.max_kept"})
    assert torch.equal(cut.segments, whole.segments[:400])
    stated = settings.model_copy(update={"max_kept": 200})
    assert len(postprocess(found, GRID, float("inf"), stated, num_windows=3)) == 200


def test_as_many_detections_as_the_limit_allows_are_not_a_cut() -> None:
    final = postprocess(apart(5), GRID, float("inf"), SuppressionSettings(max_kept=5))
    assert (len(final), final.cut_by) == (5, frozenset())


def test_limits_of_the_detector_are_passed_on() -> None:
    before = replace(FOUND, cut_by=frozenset({"detector.kept_per_level"}))
    for method in ("none", "soft"):
        final = postprocess(before, GRID, 30.0, SuppressionSettings(method=method))
        assert final.cut_by == {"detector.kept_per_level"}


def test_detections_drop_each_other_where_two_windows_meet_and_one_at_two_such_places_can_stay_twice() -> None:
    # windows share 8 to 10, and 16 to 20: a pair away from both, a pair at the first, the last at both
    segments = torch.tensor([[0.0, 5.0], [0.0, 6.0], [7.0, 9.0], [7.0, 9.5], [9.0, 17.0], [9.0, 17.5], [10.0, 16.0]])
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 0])
    found = Detections(segments, torch.linspace(0.9, 0.3, 7), labels)
    windows = [(0.0, 10.0), (8.0, 20.0), (16.0, 30.0)]
    grid = Grid(fps=1.0, stride_frames=1, offset_frames=0)
    settings = SuppressionSettings(method="between_windows", tiou=0.4, min_score=0)
    kept = postprocess(found, grid, 30.0, settings, windows=windows)
    assert kept.segments[:, 1].tolist() == [5.0, 6.0, 9.0, 17.0, 17.0, 17.5, 17.5, 16.0]
    apart_from_class = settings.model_copy(update={"multiclass": False, "voting_threshold": 0})
    across = postprocess(found, grid, 30.0, apart_from_class, windows=windows)
    assert across.segments[:, 1].tolist() == [5.0, 6.0, 9.0, 17.0, 17.0, 16.0]
    few = postprocess(found, grid, 30.0, settings.model_copy(update={"min_score": 0.75}), windows=windows)
    assert few.segments[:, 1].tolist() == [5.0, 6.0]
    assert len(postprocess(found, grid, 30.0, settings, windows=windows[:1])) == 7
    assert len(postprocess(found, grid, 30.0, settings)) == 7
