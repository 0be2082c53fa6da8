"""The thresholds that `predict` takes from the results of a run."""

import os
from pathlib import Path

import pytest

from actloc import experiment
from actloc.errors import UserError
from actloc.runs.predictor import score_thresholds
from actloc.runs.result_folders import results_folder


def test_results_that_are_a_pipe_are_named_and_not_called_missing(tmp_path: Path) -> None:
    made = experiment.load("sample_efficientnet_actionformer", [f"run.folder={tmp_path}"])
    with pytest.raises(UserError, match="it was not scored"):
        score_thresholds(made, ("juggling",), "ckpt_000010")
    folder = results_folder(made, {})
    folder.mkdir(parents=True)
    os.mkfifo(folder / "metrics.json")
    with pytest.raises(UserError, match=r"metrics\.json"):
        score_thresholds(made, ("juggling",), "ckpt_000010")
