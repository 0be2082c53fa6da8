import json
from pathlib import Path

import pytest

from actloc.commands import report
from actloc.errors import UserError
from actloc.evaluation.predictions import Prediction, write_predictions
from actloc.evaluation.results import Counts, Results, Threshold, TrueAction, Video
from actloc.evaluation.results_files import write_results


def make_run(folder: Path, average_map: float = 0.5, subset: str = "test", name: str = "") -> Path:
    label = "<img src=x onerror=alert(1)> [/b]"
    video = Video(id="v", duration_s=9.0, truth=[TrueAction(label=label, start_s=1.0, end_s=4.0)])
    results = Results(
        name=name or folder.name,
        dataset="toy",
        subset=subset,
        protocol="actionformer",
        seed=0,
        checkpoint="ckpt_000001",
        weights="raw",
        commit=None,
        machine="here",
        version="0.1.0",
        created="2026-01-01",
        tious=[0.5],
        mean_ap=[average_map],
        average_map=average_map,
        classes=[label],
        class_ap=[[average_map]],
        truth_per_class=[1],
        thresholds=[Threshold(score=0.3, f1=1.0)],
        counts=Counts(videos=1, truths=1, predictions=1),
        videos=[video],
    )
    write_results(folder / "eval" / subset, results)
    write_predictions(folder / "eval" / subset, {"v": [Prediction(label, 0.8, 1.0, 4.0)]})
    (folder / "config.yaml").write_text("run: {seed: 0}\n")
    (folder / "environment.json").write_text(json.dumps({"command": ["/home/me/bin/actloc", "train", "a b.yaml"]}))
    (folder / "log.jsonl").write_text('{"event": "step", "step": 1, "train/loss/total": 2.0}\n{"torn": ')
    return folder


def test_a_report_has_a_page_and_tables_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "a")
    assert report.run([run]) == 0
    assert {"report.html", "tables.md", "tables.csv"} <= {path.name for path in run.iterdir()}
    out, err = capsys.readouterr()
    assert "50.00" in out
    assert "report.html" in err.replace("\n", "")


def test_the_command_can_be_typed_again_and_names_no_home(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    report.run([run])
    page = (run / "report.html").read_text()
    assert "actloc train &#39;a b.yaml&#39;" in page
    assert "/home/me" not in page


def test_many_runs_go_side_by_side_into_the_output(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.6)]
    report.run(runs, output=tmp_path / "both")
    assert "**60.00**" in (tmp_path / "both" / "tables.md").read_text()
    assert not (runs[0] / "report.html").exists()
    again = {path.name: path.read_bytes() for path in (tmp_path / "both").iterdir()}
    report.run(runs, output=tmp_path / "both")
    assert {path.name: path.read_bytes() for path in (tmp_path / "both").iterdir()} == again


def test_every_subset_of_a_run_is_reported(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    make_run(run, 0.7, subset="validation")
    report.run([run])
    assert "a, validation" in (run / "tables.md").read_text()


def test_a_run_without_an_evaluation_names_the_command_to_run(tmp_path: Path) -> None:
    for name in ("config.yaml", "environment.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError) as caught:
        report.run([tmp_path])
    assert caught.value.fix == f"Evaluate first: actloc eval {tmp_path}"


def test_a_config_that_was_not_trained_names_the_command_to_run() -> None:
    with pytest.raises(UserError) as caught:
        report.run(["own_videos"])
    assert "there is no ckpt/own_videos" in caught.value.found
    assert caught.value.fix == "Train and evaluate first: actloc train own_videos"


def test_names_that_are_not_runs_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.6)]
    (tmp_path / "README.md").write_text("- [x\n")
    (tmp_path / "notes").mkdir()
    report.run(sorted(tmp_path.iterdir()), output=tmp_path / "both")
    assert "Skipped, not a run:" in (printed := capsys.readouterr().err)
    assert "README.md" in printed
    assert "notes" in printed
    table = (tmp_path / "both" / "tables.md").read_text()
    assert all(f"| {run.name} |" in table for run in runs), table


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    with pytest.raises(UserError) as caught:
        report.run([tmp_path])
    assert caught.value.fix == f"Name one: {tmp_path / 'a'}"


def test_predictions_that_are_gone_are_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    (run / "eval" / "test" / "predictions.json").unlink()
    with pytest.raises(UserError, match=r"predictions\.json does not exist") as caught:
        report.run([run])
    assert caught.value.fix == f"Evaluate again: actloc eval {run}"


def test_a_missing_run_gets_the_nearest_name(tmp_path: Path) -> None:
    make_run(tmp_path / "thumos14_i3d")
    with pytest.raises(UserError) as caught:
        report.run([tmp_path / "thumos14_i3b"])
    assert f"Did you mean {tmp_path / 'thumos14_i3d'}?" in caught.value.found


def test_an_output_that_is_a_file_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError):
        report.run([make_run(tmp_path / "a")], output=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("log", ["not json\n", "\xff\n"])
def test_a_damaged_log_is_named(tmp_path: Path, log: str) -> None:
    run = make_run(tmp_path / "a")
    (run / "log.jsonl").write_bytes(log.encode("latin-1"))
    with pytest.raises(UserError, match=r"log\.jsonl is not JSON lines"):
        report.run([run])


def test_several_runs_leave_their_own_reports_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.6)]
    for run in runs:
        report.run([run])
    before = [{path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} for run in runs]
    assert report.run(runs) == 0
    assert [{path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} for run in runs] == before
    folder = tmp_path / "report_of_a_and_b"
    assert {"report.html", "tables.md", "tables.csv"} <= {path.name for path in folder.iterdir()}
    assert str(folder / "report.html") in capsys.readouterr().err.replace("\n", "")
    assert report.run(runs) == 0


def test_other_runs_of_the_same_names_have_another_folder(tmp_path: Path) -> None:
    pairs = [[make_run(tmp_path / "x" / "a"), make_run(tmp_path / place / "b")] for place in ("x", "y", "z")]
    folders = {report._folder_of_several(pair) for pair in pairs}
    assert len(folders) == 3
    assert {folder.parent for folder in folders} == {tmp_path / "x"}
    one, two = make_run(tmp_path / "x" / "a_and_b"), make_run(tmp_path / "x" / "c")
    other = make_run(tmp_path / "x" / "b_and_c")
    assert report._folder_of_several([one, two]) != report._folder_of_several([pairs[0][0], other])


def test_a_run_named_twice_is_reported_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    report.run([run, tmp_path / "." / "a"])
    assert "a, 2" not in (run / "tables.md").read_text()


def test_a_table_is_printed_alone_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / "a_1"), make_run(tmp_path / "b", 0.75)]
    (tmp_path / "notes").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert report.run([*runs, tmp_path / "notes"], form="latex") == 0
    out, err = capsys.readouterr()
    assert out.startswith("% needs")
    assert out.endswith("\\end{table}\n")
    assert r"a\_1 & 50.00" in out
    assert "Skipped, not a run" in err
    assert report.run(runs, form="csv") == 0
    assert capsys.readouterr().out.startswith("run,origin,")
    assert report.run(runs, form="markdown") == 0
    assert "| b | **75.00** | **75.00** |" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_is_not_also_written_to_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--format latex and --output") as caught:
        report.run([make_run(tmp_path / "a")], form="latex", output=tmp_path / "b")
    assert "--format latex > FILE" in caught.value.fix
