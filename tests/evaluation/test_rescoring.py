"""Intervals from the files of an evaluation: those of `eval`, and those of older versions measured again."""

from pathlib import Path

import numpy as np
import pytest

from actloc.evaluation.predictions import read_predictions, write_predictions
from actloc.evaluation.protocols import PROTOCOLS
from actloc.evaluation.rescoring import drawn_maps, hindrance, uncertainty_of
from actloc.evaluation.results_files import read_results, write_results
from tests.reports.scored_runs import evaluation


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_of_an_older_version_gets_the_intervals_that_eval_stores_now(protocol: str, tmp_path: Path) -> None:
    one = evaluation("a", protocol=protocol)
    write_results(tmp_path, one.results, write_predictions(tmp_path, one.predictions))
    stored, predictions = read_results(tmp_path), read_predictions(tmp_path)
    assert stored == one.results.model_copy(update={"beside_sha256": stored.beside_sha256})
    assert stored.uncertainty is not None
    assert stored.uncertainty.draws == 1000
    older = stored.model_copy(update={"uncertainty": None})
    assert uncertainty_of(older, predictions) == stored.uncertainty
    assert uncertainty_of(stored, {}) is stored.uncertainty


def test_every_interval_is_around_its_number_and_the_average_has_its_own() -> None:
    results = evaluation("a").results
    about = results.uncertainty
    assert about is not None
    pairs = [*zip(about.mean_ap, results.mean_ap, strict=True), (about.average_map, results.average_map)]
    for interval, value in pairs:
        assert interval is not None
        assert value is not None
        assert interval.low < value < interval.high
    assert about.average_map not in about.mean_ap


def test_the_same_videos_are_drawn_each_time() -> None:
    one = evaluation("a")
    first, second = (drawn_maps(one.results, one.predictions, [0.5]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_one_video_has_no_interval_and_says_why() -> None:
    about = evaluation("a", num_videos=1).results.uncertainty
    assert about is not None
    assert (about.mean_ap, about.average_map, about.draws) == ([None] * 3, None, 0)
    assert about.reason == "the subset has one video, and no other can be drawn"


def test_files_that_do_not_give_the_number_again_give_no_interval() -> None:
    one = evaluation("a", uncertainty=None)
    less = {video: found[1:] for video, found in one.predictions.items()}
    assert "do not give its mAP again" in hindrance(one.results, less)
    assert "do not give its mAP again" in uncertainty_of(one.results, less).reason
    unknown = one.results.model_copy(update={"protocol": "of tomorrow"})
    assert uncertainty_of(unknown, one.predictions).reason == "this version does not know the protocol of tomorrow"
    # before Ambiguous intervals were stored, such a file looked like one without them
    forgiving = evaluation("a", protocol="thumos", uncertainty=None)
    assert forgiving.results.ambiguous
    forgotten = forgiving.results.model_copy(update={"ambiguous": {}})
    assert "do not give its mAP again" in uncertainty_of(forgotten, forgiving.predictions).reason
