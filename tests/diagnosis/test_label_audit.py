"""Each kind of wrong label is the first row of the audit of predictions that are otherwise right."""

from dataclasses import replace
from typing import Any

import pytest

from actloc.annotations.model import Action, AnnotatedVideo
from actloc.commands.doctor_labels import as_csv
from actloc.diagnosis.labels.ranking import ranked
from actloc.diagnosis.labels.suspicion import Suspicion, judged
from actloc.evaluation.predictions import Prediction, Predictions

TRUE = {f"v{number:02}": (Action(2.0, 5.0, "jump"), Action(10.0, 16.0, "run")) for number in range(20)}


def predictions() -> Predictions:
    """Near every true action a sure prediction, whose boundaries vary, and an unsure one elsewhere."""
    found = {}
    for number, (name, actions) in enumerate(TRUE.items()):
        moved = 0.03 * (number % 5)
        sure = [Prediction(one.label, 0.9, one.start_s + moved, one.end_s - moved) for one in actions]
        found[name] = [*sure, Prediction("jump", 0.1, 20.0, 24.0)]
    return found


def audit(changed: dict[str, tuple[Action, ...]], found: Predictions | None = None) -> list[Suspicion]:
    videos = [AnnotatedVideo(name, "train", actions, 30.0) for name, actions in {**TRUE, **changed}.items()]
    return ranked(judged(videos, found or predictions()))


def test_labels_that_the_run_finds_are_hardly_suspicious() -> None:
    assert {row.kind for row in audit({})} == {"boundary"}
    assert max(row.suspicion for row in audit({})) < 0.9


def test_an_annotation_with_no_score_near_it() -> None:
    jump, run = TRUE["v07"]
    first = audit({"v07": (jump, run, Action(26.0, 29.0, "run"))})[0]
    assert (first.kind, first.video_id, first.action) == ("missed", "v07", Action(26.0, 29.0, "run"))
    assert first.suggested is None
    assert first.suspicion == pytest.approx(0.05 / (0.05 + 1 / 41)), "all but itself have support"


@pytest.mark.parametrize("end_s", [3.2, 7.0])
def test_a_boundary_that_is_far_from_a_sure_prediction(end_s: float) -> None:
    jump, run = TRUE["v07"]
    first = audit({"v07": (replace(jump, end_s=end_s), run)})[0]
    assert (first.kind, first.video_id) == ("boundary", "v07")
    assert first.suggested is not None
    assert first.suggested.end_s == pytest.approx(5.0, abs=0.1)
    assert 0.8 < first.suspicion < 1.0


def test_a_class_where_another_is_certain() -> None:
    jump, run = TRUE["v07"]
    first = audit({"v07": (replace(jump, label="run"), run)})[0]
    assert (first.kind, first.video_id) == ("class", "v07")
    assert first.suggested is not None
    assert first.suggested.label == "jump"


def test_an_action_with_both_classes_has_no_wrong_one() -> None:
    jump, run = TRUE["v07"]
    found = predictions()
    found["v07"].append(Prediction("run", 0.9, 2.1, 4.9))
    rows = audit({"v07": (jump, replace(jump, label="run"), run)}, found)
    assert not [row for row in rows if row.kind in ("class", "unlabelled")]


def test_an_action_that_is_not_annotated() -> None:
    jump, run = TRUE["v07"]
    rows = audit({"v07": (jump,)})
    assert (rows[0].kind, rows[0].video_id, rows[0].action) == ("unlabelled", "v07", None)
    assert rows[0].suggested is not None
    assert rows[0].suggested.label == run.label
    assert [row.kind for row in rows].count("unlabelled") == 1, "not what is less sure than annotated actions"


@pytest.mark.parametrize("known", [{"ambiguous": ((9.0, 17.0),)}, {"annotated": ((0.0, 9.0),)}])
def test_an_ambiguous_interval_and_time_that_is_not_annotated_need_no_annotation(known: dict[str, Any]) -> None:
    jump, _ = TRUE["v07"]
    videos = [AnnotatedVideo(name, "train", actions, 30.0) for name, actions in TRUE.items() if name != "v07"]
    videos.append(AnnotatedVideo("v07", "train", (jump,), 30.0, **known))
    assert not [row for row in ranked(judged(videos, predictions())) if row.kind == "unlabelled"]


def test_a_run_that_finds_little_does_not_suspect_what_it_misses() -> None:
    found = {name: listed if number < 4 else [] for number, (name, listed) in enumerate(predictions().items())}
    missed = [row.suspicion for row in audit({}, found) if row.kind == "missed"]
    assert len(missed) == 32
    assert max(missed) == pytest.approx(0.05 / (0.05 + 32 / 40)), "as likely as without looking"


def test_videos_without_predictions_are_not_judged() -> None:
    found = predictions()
    del found["v07"]
    assert not [row for row in audit({}, found) if row.video_id == "v07"]
    assert ranked(judged([], {})) == []


def test_a_name_in_the_table_is_no_formula() -> None:
    row = Suspicion("missed", "=v", Action(1.0, 2.0, "jump"), 0.5, None, "No action")
    lines = as_csv([row]).splitlines()
    assert lines[0].startswith("video,start,end,label,kind,suspicion,suggested start")
    assert lines[1] == "'=v,1.000,2.000,jump,missed,0.5000,,,,No action"
