"""Rows that arrive one by one give what `predict` finds in all of them, as soon as it is settled."""

import math
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actloc.annotations.model import AnnotatedVideo
from actloc.errors import UserError
from actloc.evaluation.postprocess import postprocess
from actloc.ops.settling import Candidates, Settling
from actloc.ops.suppression import hard_suppression_per_class, soft_suppression, soft_suppression_per_class
from actloc.runs.localizer import Localizer
from actloc.runs.long_videos import watched_steps
from actloc.runs.longest_action import LengthLimit
from actloc.runs.one_video import OneVideo
from actloc.runs.watching import WatchingDetector
from actloc.settings.detections import SuppressionSettings
from actloc.sources import stored
from actloc.structures import Detections, Grid
from tests.runs.test_long_videos import ACTIONFORMER, CPU, NARROW, TEMPORALMAXER, build

GRID = Grid(1.0, 1.0, 0.0)
SOFT = SuppressionSettings(max_kept=100_000, min_score=0.01)


def many(number: int, seed: int) -> Candidates:
    """Segments of two classes in order of time, within 400 steps; some are long, and no scores are equal."""
    draw = np.random.default_rng(seed)
    starts = np.sort(draw.uniform(0, 400, number))
    lengths = draw.exponential(8, number).clip(0.5, 40)
    labels = draw.integers(0, 2, number)
    return Candidates(np.column_stack((starts, starts + lengths)), draw.permutation(number) / number + 0.001, labels)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rule", ["soft", "hard", "across"])
def test_settled_piece_by_piece_is_suppressed_at_once(seed: int, rule: str) -> None:
    every, lowest = many(500, seed), 0.05
    segments, scores = every.segments.astype(np.float32), every.scores.astype(np.float32)
    if rule == "hard":
        given: dict[str, Any] = {"tiou": 0.3, "min_score": 0.0, "max_kept": 10_000}
        places, kept = hard_suppression_per_class(segments, scores, every.labels, **given)
    elif rule == "soft":
        given = {"sigma": 0.4, "min_score": 0.001, "max_kept": 10_000}
        places, kept = soft_suppression_per_class(segments, scores, every.labels, **given)
    else:
        places, kept = soft_suppression(segments, scores, sigma=0.4, min_score=0.001, max_kept=10_000)
    shown = kept >= lowest
    expected = Candidates(every.segments[places[shown]], kept[shown].astype(np.float64), every.labels[places[shown]])
    settling = Settling(
        "hard" if rule == "hard" else "soft",
        by_class=rule != "across",
        sigma=0.4,
        tiou=0.3,
        min_score=0.0 if rule == "hard" else 0.001,
        lowest=np.full(2, lowest),
    )
    found, most, parts = Candidates.none(), 0, 0
    for start in range(0, 420, 10):
        here = (every.segments[:, 0] >= start) & (every.segments[:, 0] < start + 10)
        settling.add(every.at(here))
        done = settling.settled(start + 10)
        assert (done.segments[:, 1] <= start + 10).all()
        parts += bool(len(done))
        found, most = found.followed_by(done), max(most, len(settling))
    found = found.followed_by(settling.settled(math.inf))
    assert len(settling) == 0
    assert_close(found, expected)
    assert parts > 5
    assert most < len(every) / 2


def watched(localizer: Localizer, rows: np.ndarray, **more: Any) -> tuple[list[Candidates], WatchingDetector]:
    """What is settled after each row, in the order in which it comes."""
    detector = WatchingDetector(localizer, np.full(3, 0.01), more.pop("longest", 1e4), **more)
    parts: list[Candidates] = []
    for row in rows:
        detector.add(row[None], parts.append)
    detector.end(parts.append)
    return parts, detector


@pytest.mark.parametrize(("base", "changes"), [(ACTIONFORMER, NARROW), (TEMPORALMAXER, {})])
@pytest.mark.parametrize("num_steps", [3, 301])
@pytest.mark.parametrize("window_steps", [None, 16])
def test_rows_that_arrive_give_what_predict_finds(
    base: Any, changes: dict[str, Any], num_steps: int, window_steps: int | None
) -> None:
    detector = build(base, changes)
    localizer = Localizer(detector, CPU, "float32", SOFT, 64)
    rows = np.random.default_rng(0).normal(size=(num_steps, 6)).astype(np.float32)
    features = torch.zeros(1, 6, detector.padded_steps(num_steps))
    features[0, :, :num_steps] = torch.from_numpy(rows).T
    with torch.inference_mode():
        (whole,) = detector.detect(features, (torch.arange(features.shape[2]) < num_steps)[None])
    assert not whole.cut_by
    kept = postprocess(whole, GRID, math.inf, SOFT)
    expected = without_low(kept, 0.01)
    parts, _ = watched(localizer, rows, window_steps=window_steps)
    found = Candidates.none()
    for part in parts:
        found = found.followed_by(part)
    found = replace(found, segments=found.segments.clip(0))
    assert len(found) == len(expected) > 0
    assert_close(found, expected)


def without_low(found: Detections, lowest: float) -> Candidates:
    high = found.scores >= lowest
    columns = (found.segments[high].double(), found.scores[high].double(), found.labels[high])
    return Candidates(*(column.numpy() for column in columns))


def assert_close(found: Candidates, expected: Candidates) -> None:
    """Each has its like in the other, within 1e-3 steps."""
    left = [tuple(row) for row in np.column_stack((expected.labels, expected.segments, expected.scores)).tolist()]
    for row in np.column_stack((found.labels, found.segments, found.scores)).tolist():
        best = min(left, key=lambda other: max(abs(a - b) for a, b in zip(row, other, strict=True)))
        assert max(abs(a - b) for a, b in zip(row, best, strict=True)) < 1e-3, (row, best)
        left.remove(best)


def test_what_is_too_long_is_dropped_and_counted_and_the_rest_does_not_wait_for_the_end() -> None:
    detector = build(ACTIONFORMER, NARROW)
    localizer = Localizer(detector, CPU, "float32", SOFT, 64)
    rows = np.random.default_rng(0).normal(size=(900, 6)).astype(np.float32)
    parts, watching = watched(localizer, rows, longest=6.0, window_steps=16)
    assert watching.num_too_long > 0
    lengths = [length for part in parts for length in (part.segments[:, 1] - part.segments[:, 0]).tolist()]
    assert max(lengths) <= 6.0
    assert sum(bool(len(part)) for part in parts[:-1]) > 3
    assert len(parts[-1]) < len(lengths) / 2
    assert watching.delays.most == watching.delays.window + watching.delays.margin + 6.0


def test_six_hours_after_the_start_predict_and_watch_find_what_they_find_at_the_start() -> None:
    """The same rows again and again, a second each, give the same segments, a period later each time."""
    detector = build(TEMPORALMAXER, {"max_buffer_factor": 2, "score_threshold": 0.65})
    localizer = Localizer(detector, CPU, "float32", SOFT, 64)
    longest_s, lowest = 1.5, 0.3
    period, repeats = 384, 58  # whole windows of both, which keep 64 and 96 steps
    assert watched_steps(detector) == 64
    rows = np.random.default_rng(0).normal(size=(period, 6)).astype(np.float32)
    config = stored.Config(path=Path("unused"), fps=1.0, clip_frames=1, stride_frames=1, max_steps=64)
    video = OneVideo(config, AnnotatedVideo("v", ""), torch.from_numpy(np.tile(rows.T, repeats)), GRID)
    limit = LengthLimit(lambda: longest_s, is_for_all=False)
    predicted = without_low(localizer.detect_one(video, video.evaluation_samples(0), None, limit), lowest)
    early, late = (in_period(predicted, number * period) for number in (1, repeats - 2))
    assert (repeats - 2) * period > 5.9 * 3600
    assert len(early) == len(late) > 5
    np.testing.assert_allclose(late.segments - (repeats - 3) * period, early.segments, rtol=0, atol=1e-6)
    np.testing.assert_allclose(late.scores, early.scores, rtol=1e-6)
    watching, parts = WatchingDetector(localizer, np.full(3, lowest), longest_s, limits_all=False), [Candidates.none()]
    for _ in range(repeats):
        watching.add(rows, parts.append)
    watching.end(parts.append)
    found = reduce(Candidates.followed_by, parts)
    assert len(found) == len(predicted)
    assert_close(replace(found, segments=found.segments.clip(0)), predicted)
    assert watching.num_too_long == len(limit.too_long) > 0


def in_period(found: Candidates, start: float) -> Candidates:
    """Those of 200 steps, by their starts."""
    here = np.flatnonzero((found.segments[:, 0] >= start) & (found.segments[:, 0] < start + 200))
    return found.at(here[np.argsort(found.segments[here, 0])])


@pytest.mark.parametrize("limits_all", [False, True])
def test_a_video_that_is_seen_whole_has_no_limit_of_length_unless_it_is_asked_for(limits_all: bool) -> None:
    detector = build(TEMPORALMAXER, {"max_buffer_factor": 1.2})  # 76 steps: beyond them new videos have windows
    localizer = Localizer(detector, CPU, "float32", SOFT, 64)
    assert watched_steps(detector) == 64
    features = torch.randn(6, 90, generator=torch.Generator().manual_seed(0))
    config = stored.Config(path=Path("unused"), fps=1.0, clip_frames=1, stride_frames=1, max_steps=64)
    for num_steps in (79, 80):  # with 80 the first window and its margin are full
        limit = LengthLimit(lambda: 3.0, is_for_all=limits_all)
        video = OneVideo(config, AnnotatedVideo("v", ""), features[:, :num_steps], GRID)
        kept = localizer.detect_one(video, video.evaluation_samples(0), None, limit)
        parts, watching = watched(localizer, features[:, :num_steps].T.numpy(), longest=3.0, limits_all=limits_all)
        found = reduce(Candidates.followed_by, parts)
        assert_close(replace(found, segments=found.segments.clip(0)), without_low(kept, 0.01))
        assert (len(limit.too_long) > 0) == (watching.num_too_long > 0) == (limits_all or num_steps == 80)


def test_detectors_and_suppression_that_need_the_whole_video_are_refused() -> None:
    whole = build(ACTIONFORMER, {"windows": -1})
    with pytest.raises(UserError, match="looks at the whole video at once"):
        WatchingDetector(Localizer(whole, CPU, "float32", SOFT, 64), np.full(3, 0.1), 10.0)
    other = build(ACTIONFORMER, NARROW)
    for changes, name in (
        ({"method": "weighted"}, "method is weighted"),
        ({"method": "none"}, "method is none"),
        ({"multiclass": False}, "voting_threshold"),
    ):
        settings = SuppressionSettings(**changes)
        with pytest.raises(UserError, match=name):
            WatchingDetector(Localizer(other, CPU, "float32", settings, 64), np.full(3, 0.1), 10.0)
