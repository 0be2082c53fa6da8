"""`actloc.evaluate`: one answer for every form of the same truth and predictions, and none for what is wrong."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import actloc
from actloc.annotations.model import Action
from actloc.errors import UserError
from actloc.evaluation.predictions import Prediction

TRUTH = {"a": [("run", 1.0, 3.0), ("jump", 4.0, 5.0)], "b": [("run", 0.0, 2.0)], "c": []}
FOUND = {
    "a": [("run", 1.1, 3.0, 0.9), ("jump", 4.0, 4.6, 0.8), ("run", 6.0, 7.0, 0.7)],
    "b": [("run", 0.0, 1.0, 0.6), ("jump", 0.0, 2.0, 0.5)],
}


def database(subset: str | None = None) -> dict[str, Any]:
    named = {} if subset is None else {"subset": subset}
    return {
        "database": {
            name: {"duration": 9.0, **named, "annotations": [{"label": one[0], "segment": one[1:]} for one in listed]}
            for name, listed in TRUTH.items()
        }
    }


def results() -> dict[str, Any]:
    return {
        "results": {
            name: [{"label": one[0], "segment": list(one[1:3]), "score": one[3]} for one in listed]
            for name, listed in FOUND.items()
        }
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [f"{name}.mp4,{start},{end},{label}" for name, listed in TRUTH.items() for label, start, end in listed]
    Path("labels.csv").write_text("\n".join(["video,start,end,label", *rows]) + "\n")
    Path("truth.json").write_text(json.dumps(database("test")))
    Path("found.json").write_text(json.dumps(results()))
    lines = [f"{name} {one[1]} {one[2]} {one[0]} {one[3]}" for name, listed in FOUND.items() for one in listed]
    Path("found.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_numbers_are_right() -> None:
    """At 0.5: run has a hit, a wrong one, and a hit at exactly 0.5 of 2; jump a hit of 1."""
    scored = actloc.evaluate(TRUTH, FOUND, tious=[0.5, 0.7])
    assert scored.classes == ["jump", "run"]
    assert scored.class_ap == [[1.0, 0.0], [pytest.approx((1 + 2 / 3) / 2), 0.5]]
    assert scored.mean_ap == [pytest.approx((1 + 5 / 6) / 2), 0.25]
    assert scored.average_map == pytest.approx((scored.mean_ap[0] + 0.25) / 2)
    assert scored.counts.videos == 3
    assert scored.truth_per_class == [1, 2]
    assert scored.settings["evaluation.tious"] == [0.5, 0.7]


@pytest.mark.parametrize(
    "truth",
    [
        "labels.csv",
        Path("truth.json"),
        database(),
        database("test"),
        {name: [Action(start, end, label) for label, start, end in listed] for name, listed in TRUTH.items()},
        {name: [{"label": one[0], "segment": one[1:]} for one in listed] for name, listed in TRUTH.items()},
        {name: listed or np.zeros((0, 3)) for name, listed in TRUTH.items()},
    ],
    ids=["csv", "json", "dict", "dict with subsets", "actions", "segments", "empty array"],
)
def test_every_form_of_the_truth_gives_the_same(truth: Any, folder: Path) -> None:
    expected = actloc.evaluate(TRUTH, FOUND)
    scored = actloc.evaluate(truth, FOUND)
    assert scored.class_ap == expected.class_ap
    assert scored.thresholds == expected.thresholds


def test_names_may_be_numbers() -> None:
    truth, found = ({number: of[name] for number, name in enumerate("ab")} for of in (TRUTH, FOUND))
    assert actloc.evaluate(truth, found).class_ap == actloc.evaluate(TRUTH, FOUND).class_ap


@pytest.mark.parametrize(
    "found",
    [
        "found.json",
        Path("found.txt"),
        results(),
        {f"videos/{name}.mp4": listed for name, listed in FOUND.items()},
        {Path(f"{name}.mp4"): listed for name, listed in FOUND.items()},
        {name: [Prediction(one[0], one[3], one[1], one[2]) for one in listed] for name, listed in FOUND.items()},
        {
            name: [
                SimpleNamespace(label=one[0], score=np.float32(one[3]), start_s=one[1], end_s=one[2]) for one in listed
            ]
            for name, listed in FOUND.items()
        },
        {name: ((one[0], *map(np.float64, one[1:])) for one in listed) for name, listed in FOUND.items()},
    ],
    ids=["json", "text", "dict", "paths", "path objects", "predictions", "objects", "generators"],
)
def test_every_form_of_the_predictions_gives_the_same(found: Any, folder: Path) -> None:
    assert actloc.evaluate(TRUTH, found).class_ap == actloc.evaluate(TRUTH, FOUND).class_ap


def test_settings_change_what_is_measured(folder: Path) -> None:
    assert actloc.evaluate(TRUTH, FOUND).tious == [0.3, 0.4, 0.5, 0.6, 0.7]
    strict = actloc.evaluate(TRUTH, FOUND, tious=[0.5], protocol="thumos")  # equality is not enough
    assert strict.class_ap[1] == [0.5]
    recalled = actloc.evaluate(TRUTH, FOUND, tious=(0.5, 0.7), recall_at=[1, 5], average_recall_at=[100])
    assert recalled.recall == [[1.0, 0.25], [1.0, 0.25]]
    assert recalled.proposals is not None
    both = {"database": {**database("test")["database"], "d": {"subset": "train", "annotations": []}}}
    assert actloc.evaluate(both, FOUND, subset="test").class_ap == actloc.evaluate(TRUTH, FOUND).class_ap
    frames = "video,start,end,label\na,25,74,run\na,100,124,jump\nb,0,49,run\n"
    Path("frames.csv").write_text(frames)
    read = actloc.evaluate("frames.csv", FOUND, reading={"unit": "frames", "annotations_fps": 25})
    assert read.class_ap == actloc.evaluate(TRUTH, FOUND).class_ap


def test_nothing_is_written_and_torch_is_not_imported(folder: Path) -> None:
    before = sorted(folder.iterdir())
    code = (
        "import sys, actloc\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "print(actloc.evaluate('labels.csv', 'found.json').average_map)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == actloc.evaluate(TRUTH, FOUND).average_map
    with pytest.raises(UserError):
        actloc.evaluate({"a": [("run", 3, 1)]}, FOUND)
    assert sorted(folder.iterdir()) == before


_OTHER = {"database": {"a": {"subset": "test", "annotations": []}, "b": {"subset": "train", "annotations": []}}}
_WITH_END = {"database": {"a": {"duration": 2.0, "annotations": [{"label": "run", "segment": [1, 7]}]}}}


@pytest.mark.parametrize(
    ("truth", "found", "settings", "message"),
    [
        (3, FOUND, {}, "The truth is a int"),
        ([("a", 1, 2)], FOUND, {}, "The truth is a list"),
        ("missing.csv", FOUND, {}, "missing.csv does not exist"),
        ({"a": [("run", 3, 1)]}, FOUND, {}, "3-1 s of a ends before or at its start"),
        ({"a": [("run", 1)]}, FOUND, {}, r"number 0, is \('run', 1\)"),
        ({"a": [(1.0, 2.0, "run")]}, FOUND, {}, "number 0, is"),
        ({"a": "run"}, FOUND, {}, "What is given of the video 'a' is a str"),
        ({"a": []}, FOUND, {}, "There is no true action"),
        ({}, FOUND, {}, "There is no true action"),
        (_WITH_END, FOUND, {}, "ends 5.00 s after the video"),
        ({"database": {"a": 3}}, FOUND, {}, "expected an object"),
        (_OTHER, FOUND, {}, "The truth has the subsets train, test"),
        (_OTHER, FOUND, {"subset": "validation"}, "The truth has no video in 'validation'"),
        (TRUTH, [], {}, "The predictions are a list"),
        (TRUTH, "missing.json", {}, "missing.json is not a file"),
        (TRUTH, {"a": [("run", 1, 2)]}, {}, "The predictions of 'a', number 0"),
        (TRUTH, {"a": [("run", 1, 2, float("nan"))]}, {}, "The predictions of 'a', number 0"),
        (TRUTH, {"a": [], "a.mp4": []}, {}, "a and a.mp4 are both the video a"),
        (TRUTH, {"results": {"a": [{"label": "run"}]}}, {}, "cannot be read as predictions"),
        (TRUTH, FOUND, {"tious": [0.5, 1.5]}, r"tious is \[0.5, 1.5\]"),
        (TRUTH, FOUND, {"tious": []}, r"tious is \[\]"),
        (TRUTH, FOUND, {"tious": 0.5}, "tious is 0.5"),
        (TRUTH, FOUND, {"protocol": "mine"}, "protocol is 'mine'"),
        (TRUTH, FOUND, {"recall_at": [0]}, "recall_at is"),
        ("labels.csv", FOUND, {"reading": {"unit": "hours"}}, "unit is 'hours'"),
        ("labels.csv", FOUND, {"reading": {"units": "seconds"}}, "units"),
    ],
)
def test_what_is_wrong_is_said_in_three_parts(
    truth: Any, found: Any, settings: dict[str, Any], message: str, folder: Path
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        actloc.evaluate(truth, found, **settings)
    assert refused.value.expected
    assert refused.value.fix
