"""`errors.json` and `errors.csv`: what `eval` and `report` write about what goes wrong."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from actloc.annotations import form
from actloc.annotations.model import Annotations
from actloc.commands import evaluate, prepare, report
from actloc.errors import UserError
from actloc.experiment import load
from tests.commands.test_evaluate import LINES, VIDEOS, experiment, last_results, measured
from tests.evaluation.test_error_analysis import GOLDEN, RECORDED, differences, read

CONFIG = """\
dataset: {name: custom, folder: FOLDER, annotations: TRUTH, training_subset: testing, evaluation_subset: testing}
features: {name: stored, path: nowhere, fps: 4, clip_frames: 1, stride_frames: 1}
detector: {name: actionformer}
run: {folder: FOLDER/ckpt}
"""


def errors_of(folder: Path) -> Any:
    return json.loads((last_results(folder) / "errors.json").read_text())


def score(folder: Path, name: str, bins: str) -> Any:
    """The errors.json of the recorded predictions `name` of a dataset of one's own."""
    truth = (GOLDEN / f"{name}_truth.json").resolve()
    (folder / "toy.yaml").write_text(CONFIG.replace("FOLDER", str(folder)).replace("TRUTH", str(truth)))
    tious = read(f"{name}_expected")["tious"]
    settings = [f"evaluation.tious={tious}", f"evaluation.error_bins={bins}"]
    ours = load(str(folder / "toy.yaml"), settings)
    assert prepare.run(ours) == 0
    assert evaluate.run(ours, predictions=GOLDEN / f"{name}_predictions.json") == 0
    return errors_of(folder)


@pytest.mark.parametrize(("name", "bins"), RECORDED)
def test_eval_writes_the_numbers_of_the_papers_code_for_any_dataset(tmp_path: Path, name: str, bins: str) -> None:
    ours, expected = score(tmp_path, name, bins), read(f"{name}_expected")
    assert differences({key: ours[key] for key in expected}, expected) == []
    assert (ours["dataset"], ours["subset"], ours["bins"]) == ("custom", "testing", bins)


def test_the_error_bins_are_the_settings_and_change_nothing_else(tmp_path: Path) -> None:
    first = measured(tmp_path, LINES)
    assert (first["error_bins"], errors_of(tmp_path)["bins"]) == ("quintiles", "quintiles")
    second = measured(tmp_path, LINES, "evaluation.error_bins=thumos14")
    about = errors_of(tmp_path)
    assert about["false_negatives"]["length"]["bins"] == [0, 3, 6, 12, 18, "inf"]
    assert {**second, "created": "", "error_bins": ""} == {**first, "created": "", "error_bins": ""}
    assert about["created"] == second["created"]
    with pytest.raises(UserError, match=r"error_bins.*thumos14"):
        experiment(tmp_path, "evaluation.error_bins=thumos15")


def test_errors_of_other_annotations_do_not_stay(tmp_path: Path) -> None:
    measured(tmp_path, LINES)
    about = errors_of(tmp_path)
    without_b = {name: video for name, video in VIDEOS.items() if name != "b"}
    ours = experiment(tmp_path)
    form.write(tmp_path / "annotations.json", Annotations(("jump", "run"), without_b))
    evaluate.run(ours, predictions=tmp_path / "found.txt")
    assert errors_of(tmp_path)["mean_truths_per_class"] < about["mean_truths_per_class"]


def test_the_report_of_an_older_result_has_the_analysis_too(tmp_path: Path) -> None:
    measured(tmp_path, LINES)
    folder = last_results(tmp_path)
    (folder / "errors.json").unlink()
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["error_bins"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    report.run([tmp_path / "ckpt/toy"])
    assert "Where it fails" in (tmp_path / "ckpt/toy/report.html").read_text()


def test_the_tables_have_the_numbers_of_the_file(tmp_path: Path) -> None:
    about = score(tmp_path, "thumos", "thumos14")
    report.run([tmp_path / "ckpt/toy"])
    rows = list(csv.DictReader((tmp_path / "ckpt/toy/errors.csv").read_text().splitlines()))
    gains = {row["kind"]: row["average"] for row in rows if row["measure"] == "cost"}
    assert gains["wrong label"] == f"{100 * about['false_positives']['map_gain']['Wrong Label Err']:.2f}" == "8.86"
    missed = {row["range"]: row for row in rows if (row["measure"], row["characteristic"]) == ("missed", "length")}
    assert (missed["L"]["above"], missed["L"]["up to"], missed["L"]["actions"]) == ("12", "18", "18")
    assert missed["L"]["0.50"] == missed["L"]["average"] == "27.78"
    counts = [row for row in rows if row["measure"] == "predictions"]
    assert sum(int(row["0.50"]) for row in counts if not row["group"]) == 610
    assert sum(int(row["0.50"]) for row in counts if row["group"]) == 610
    text = (tmp_path / "ckpt/toy/tables.md").read_text()
    assert r"| wrong label | 18.84 | 18.20 | +8.86 |" in text
    assert "| length | L | 12 to 18 s | 18 | 8.70 | 27.78 | 29.39 |" in text


def test_data_with_nothing_to_train_on_can_still_be_scored(tmp_path: Path) -> None:
    truth = (GOLDEN / "thumos_truth.json").resolve()
    text = CONFIG.replace("FOLDER", str(tmp_path)).replace("TRUTH", str(truth))
    (tmp_path / "toy.yaml").write_text(text.replace("training_subset: testing, ", ""))
    with pytest.raises(UserError, match=r"only to score predictions, set dataset\.training_subset=testing"):
        prepare.run(load(str(tmp_path / "toy.yaml")))
