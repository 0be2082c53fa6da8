import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from actloc.errors import UserError
from actloc.evaluation.predictions import Predictions, read_predictions, write_predictions
from actloc.evaluation.results import Results
from actloc.evaluation.results_files import read_results, refuse_mixture, write_results


def test_results_are_read_as_they_were_written(tmp_path: Path, results: Results) -> None:
    write_results(tmp_path, results)
    assert read_results(tmp_path) == results


def test_predictions_are_read_as_they_were_written(tmp_path: Path, predictions: Predictions) -> None:
    path = write_predictions(tmp_path, predictions)
    assert read_predictions(tmp_path) == predictions
    assert set(json.loads(path.read_text())) == {"version", "results", "external_data"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "7"),
        ("weights", "best"),
        ("mean_ap", [0.5]),
        ("class_ap", [[0.5, 0.5]]),
        ("average_map", 1.5),
        ("surprise", 1),
        ("videos", [{"id": "a", "duration_s": 1.0, "truth": [{"label": "x", "start_s": "0", "end_s": 1.0}]}]),
    ],
)
def test_the_error_for_a_file_in_another_format_names_the_place_and_the_fix(
    tmp_path: Path, results: Results, key: str, value: object
) -> None:
    folder = tmp_path / "run" / "eval" / "test"
    path = write_results(folder, results)
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError) as caught:
        read_results(folder)
    assert "metrics.json" in caught.value.found
    assert caught.value.expected == "Expected a file as actloc eval writes it; 1 place differs."
    assert caught.value.fix == f"Evaluate again: actloc eval {tmp_path / 'run'}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_score_that_is_not_finite_is_refused(tmp_path: Path, number: str) -> None:
    claim = f'{{"label": "a", "score": {number}, "segment": [0, 1]}}'
    (tmp_path / "predictions.json").write_text(
        f'{{"version": "1", "results": {{"v": [{claim}]}}, "external_data": {{}}}}'
    )
    with pytest.raises(UserError):
        read_predictions(tmp_path)


def test_results_are_frozen(make_results: Callable[..., Results]) -> None:
    with pytest.raises(ValidationError):
        make_results().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "is_run", "command"),
    [
        ({}, True, "actloc eval {run} dataset.evaluation_subset=test"),
        (
            {"weights": "raw", "changed": {"evaluation.weights": "raw", "evaluation.tious": [0.5]}},
            True,
            "actloc eval {run} dataset.evaluation_subset=test evaluation.weights=raw 'evaluation.tious=[0.5]'",
        ),
        (
            {"weights": None, "checkpoint": "predictions a b.json, sha256 0123456789ab"},
            False,
            "actloc eval CONFIG --predictions 'a b.json' --name 'TURN TAP' dataset.evaluation_subset=test",
        ),
    ],
)
def test_a_mixture_names_the_command_with_the_settings_of_the_results(
    tmp_path: Path, make_results: Callable[..., Results], changes: dict[str, object], is_run: bool, command: str
) -> None:
    run = tmp_path / "TURN TAP"
    folder = run / "eval/test-more"
    write_results(folder, make_results(subset="test", **changes), write_predictions(folder, {}))
    if is_run:
        (run / "config.yaml").touch()
    (folder / "predictions.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        refuse_mixture(folder, read_results(folder))
    assert caught.value.fix == f"Evaluate again: {command.format(run=shlex.quote(str(run)))}"
