"""The last and the best epoch of runs that were validated on what is scored."""

import json
from pathlib import Path

from actloc.evaluation.results import TrainedRun
from actloc.reports import epochs
from actloc.reports.html import report_page
from tests.reports.scored_runs import evaluation
from tests.reports.test_html import Page, assert_harmless

ON_TEST = {"training.validation_subset": "Test"}


def write_log(run: Path) -> None:
    run.mkdir(parents=True)
    scores = [(10, 1.0, 0.5), (20, 2.0, 0.8), (30, 3.0, 0.8), (40, 4.0, 0.7)]
    rows = [
        {
            "event": "validation",
            "step": step,
            "epoch": epoch,
            "validation/average_mAP": score,
            "validation/mAP/0.30": score + 0.1,
            "validation/mAP/0.50": score - 0.1,
        }
        for step, epoch, score in scores
    ]
    other = [{"event": "step", "step": 41, "train/loss/total": 0.1}]
    (run / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, *other]) + '{"torn')


def test_both_epochs_are_shown_and_which_is_which(tmp_path: Path) -> None:
    write_log(tmp_path / "a")
    one = evaluation("a", folder=tmp_path, settings=ON_TEST)
    (table,) = epochs.tables([(one, one.results)], ["a"])
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a", "last, epoch 4", "80.00", "60.00", "70.00"],
        ["a", "best, epoch 2", "90.00", "70.00", "80.00"],  # of equal ones the first, as the trainer keeps it
    ]
    assert table.columns == ["run", "epoch", "0.30", "0.50", "average"]
    assert "chosen on test, which is scored: its numbers are optimistic" in table.caption[0]
    assert table.caption[1] == "The other tables show the last epoch of a."
    page = Page(report_page([one]))
    assert_harmless(page)
    assert "Last and best epoch, validated on test" in page.text
    both = Page(report_page([one, evaluation("b", 1, folder=tmp_path)]))
    assert "Last and best epoch, validated on test" in both.text
    (said,) = epochs.told(tmp_path / "a", "Test", one.results)
    assert "average mAP: 70.00 at epoch 4 (the last), 80.00 at epoch 2 (the best, which is optimistic" in said


def test_several_results_of_a_run_have_its_epochs_once(tmp_path: Path) -> None:
    write_log(tmp_path / "a")
    one = evaluation("a", folder=tmp_path, settings=ON_TEST)
    (table,) = epochs.tables([(one, one.results)] * 2, ["a", "a, evaluation.weights=raw"])
    assert [[cell.text for cell in row][:2] for row in table.rows] == [["a", "last, epoch 4"], ["a", "best, epoch 2"]]
    assert table.caption[1] == "The other tables show the last epoch of a, a, evaluation.weights=raw."


def test_a_run_that_was_validated_on_other_videos_or_not_at_all_has_no_such_table(tmp_path: Path) -> None:
    write_log(tmp_path / "a")
    for settings in ({}, {"training.validation_subset": None}, {"training.validation_subset": "validation"}):
        one = evaluation("a", folder=tmp_path, settings=settings)
        assert epochs.tables([(one, one.results)], ["a"]) == []
    from_a_file = evaluation("a", folder=tmp_path, settings=ON_TEST, weights=None)
    assert epochs.tables([(from_a_file, from_a_file.results)], ["a"]) == []
    unlogged = evaluation("nowhere", folder=tmp_path, settings=ON_TEST)
    assert epochs.tables([(unlogged, unlogged.results)], ["a"]) == []
    assert epochs.told(tmp_path / "nowhere", "test", unlogged.results) == []
    assert epochs.told(tmp_path / "a", "validation", unlogged.results) == []


def test_results_of_the_best_epoch_on_the_scored_videos_are_said_to_be_optimistic(tmp_path: Path) -> None:
    write_log(tmp_path / "a")
    trained = TrainedRun(step=40, is_finished=True, validated_on="test")
    best = {"evaluation.checkpoint": "best"}
    results = evaluation("a").results.model_copy(update={"trained": trained, "settings": best})
    assert "The best epoch was chosen on test, which is scored: the results are optimistic." in results.cautions()
    last = results.model_copy(update={"settings": {"evaluation.checkpoint": "last"}})
    elsewhere = results.model_copy(update={"subset": "validation"})
    assert not any("optimistic" in line for run in (last, elsewhere) for line in run.cautions())
    scored = evaluation("a", folder=tmp_path, settings=ON_TEST)
    (table,) = epochs.tables([(scored, results)], ["a"])
    assert table.caption[1] == "The other tables show the best epoch of a."
