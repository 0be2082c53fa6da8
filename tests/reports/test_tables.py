import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from actloc.evaluation.results import ClassifierRecord, Results, TrainedRun, Video
from actloc.reports import csv_table, tables


def terminal(table: tables.Table, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(tables.as_rich(table))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_one_run_has_its_numbers_a_dash_and_where_they_come_from(results: Results) -> None:
    table = tables.map_table([results])
    assert [cell.text for cell in table.rows[0]] == ["run_a", "60.00", "\u2013", "60.00"]
    assert not any(cell.is_best for cell in table.rows[0])
    caption, absent, small = table.caption
    assert absent == "run_a: mAP is over 3 of 4 classes: 1 class has no action in test (nobody does this)."
    assert small.startswith("run_a: The test set is small (3 videos with 8 actions)")
    data, source = "thumos14 test, test set 212, 3 videos", "seed 7, commit 0123456789ab; 2 cores, no GPU"
    assert caption == f"run_a: {data}; actionformer; {source}"


def test_a_commit_with_changes_says_so(make_results: Callable[..., Results]) -> None:
    for commit, shown in (("0123456789abcdef+changes", "commit 0123456789ab+changes;"), (None, "commit unknown;")):
        assert shown in tables.provenance(make_results(commit=commit), "run_a")


def test_the_best_of_several_runs_is_marked_and_equal_numbers_are_equally_good(
    make_results: Callable[..., Results],
) -> None:
    first = make_results(mean_ap=[0.60001, 0.2], average_map=0.4)
    second = make_results(name="run_b", mean_ap=[0.60002, 0.3], average_map=0.45)
    rows = tables.map_table([first, second]).rows
    assert [[cell.is_best for cell in row] for row in rows] == [[False, True, False, False], [False, True, True, True]]


def test_the_best_is_not_marked_if_data_or_protocols_differ(make_results: Callable[..., Results]) -> None:
    table = tables.map_table([make_results(), make_results(name="b", protocol="thumos toolkit")])
    assert not any(cell.is_best for row in table.rows for cell in row)
    assert "differ in data or protocol" in table.caption[2]


@pytest.mark.parametrize(
    "change", [{"variant": "test set 210"}, {"counts": {"videos": 4, "truths": 8, "predictions": 1}}]
)
def test_the_best_is_not_marked_between_variants_of_a_dataset(
    change: dict[str, Any], make_results: Callable[..., Results]
) -> None:
    table = tables.map_table([make_results(), make_results(name="b", **change)])
    assert not any(cell.is_best for row in table.rows for cell in row)
    assert "test set 212, 3 videos" in table.caption[0]


def test_runs_with_different_tious_share_one_table(make_results: Callable[..., Results]) -> None:
    other = make_results(name="b", tious=[0.1 + 0.2, 0.7], mean_ap=[0.5, 0.1])
    table = tables.map_table([make_results(), other])
    assert table.columns == ["run", "0.30", "0.50", "0.70", "average"]
    assert [cell.text for cell in table.rows[1]] == ["b", "50.00", "\u2013", "10.00", "60.00"]


def test_names_tell_the_subsets_of_one_run_apart(make_results: Callable[..., Results]) -> None:
    runs = [make_results(), make_results(subset="validation"), make_results(name="b")]
    assert tables.run_names(runs) == ["run_a, test", "run_a, validation", "b"]


def test_runs_of_one_name_are_told_apart_by_what_differs(make_results: Callable[..., Results]) -> None:
    raw = make_results(weights="raw")
    assert tables.run_names([make_results(), raw]) == ["run_a, averaged weights", "run_a, raw weights"]
    hard = make_results(changed={"suppression.method": "hard", "fusion.scores": "far/away/scores.json"})
    assert tables.run_names([make_results(), hard]) == [
        "run_a",
        "run_a, fusion.scores=scores.json, suppression.method=hard",
    ]
    assert tables.run_names([make_results(), make_results(seed=8)]) == ["run_a, seed 7", "run_a, seed 8"]
    assert tables.run_names([make_results(), make_results()]) == ["run_a, 1", "run_a, 2"]


def trained(**changes: Any) -> TrainedRun:
    return TrainedRun(**{"step": 217, "num_steps": 1500, "is_finished": True, **changes})


def best(runs: list[Results]) -> list[list[bool]]:
    return [[cell.is_best for cell in row] for row in tables.map_table(runs).rows]


def test_averages_over_different_tious_are_not_compared(make_results: Callable[..., Results]) -> None:
    one = make_results(name="b", tious=[0.5], mean_ap=[0.7], average_map=0.7, class_ap=[[0.5]] * 4)
    runs = [make_results(mean_ap=[0.8, 0.6], average_map=0.7), one]
    assert best(runs) == [[False] * 4, [False, False, True, False]]
    assert "averages are over different tIoUs" in tables.map_table(runs).caption[2]
    assert not any(cell.is_best for row in tables.class_comparison(runs).rows for cell in row)


def test_results_on_videos_of_the_training_are_never_the_best(make_results: Callable[..., Results]) -> None:
    known = make_results(name="b", mean_ap=[0.9, 0.9], average_map=0.9, trained=trained(trained_videos=["silent"]))
    other = make_results(name="c", mean_ap=[0.5, 0.4], average_map=0.45)
    assert best([make_results(), known, other])[1] == [False] * 4
    assert best([make_results(), known, other])[0] == [False, True, False, True]
    assert not any(cell for row in best([make_results(), known]) for cell in row)
    assert tables.run_names([known]) == ["b, trained on 1 video of these"]
    assert "trained on 1 of the videos scored (silent), so the results are too good" in " ".join(known.cautions())


def test_the_best_is_not_marked_if_annotations_differ(make_results: Callable[..., Results]) -> None:
    other = make_results(name="b", videos=[{"id": "silent", "duration_s": 10.0}])
    assert not any(cell for row in best([make_results(), other]) for cell in row)


def test_another_test_set_of_one_name_is_said_to_be_another(make_results: Callable[..., Results]) -> None:
    first = make_results()
    kept, changed, _ = first.videos
    new = Video(id="new", duration_s=5.0)
    annotated = changed.model_copy(update={"annotated": [[0.0, 5.0]]})
    second = make_results(name="run_b", videos=[kept, annotated, new])
    (_, line) = tables.warning([first, second])
    assert line == (
        "run_b was scored on other videos or labels of test than run_a: 1 video only there (new), "
        "1 video only in run_a (nothing to see), 1 video with other labels (silent). "
        "To compare them, score both on the same annotations: actloc eval RUN"
    )
    assert len(tables.warning([first, make_results(name="run_b", videos=[new], subset="val")])) == 1


def test_what_the_numbers_may_mean_instead_is_said(make_results: Callable[..., Results]) -> None:
    unfinished = make_results(trained=trained(is_finished=False, initial_share=0.7))
    assert unfinished.notes() == ["stopped at 217 of 1500"]
    assert unfinished.headline() == "average mAP 60.00 over 3 of 4 classes"
    cautions = " ".join(unfinished.cautions())
    assert "not finished: stopped at 217 of 1500" in cautions
    assert "still hold 70% of the initial ones after 217 steps" in cautions
    raw = make_results(weights="raw", trained=trained(initial_share=0.7))
    assert "initial" not in " ".join(raw.cautions())
    old = make_results(annotations_sha256="b" * 64, trained=trained(annotations_sha256="a" * 64, num_steps=None))
    assert "is unknown" in " ".join(old.cautions())
    same = make_results(annotations_sha256="a" * 64, trained=trained(annotations_sha256="a" * 64, changes=[]))
    assert "changed" not in " ".join(same.cautions())


def test_classes_are_sorted_best_first_and_those_not_measured_come_last(results: Results) -> None:
    rows = tables.class_table(results).rows
    assert [row[-1].text for row in rows] == ["62.50", "37.50", "0.00", "\u2013"]


def test_classes_of_several_runs_share_one_table(make_results: Callable[..., Results]) -> None:
    small = make_results(
        name="b", classes=["new"], class_ap=[[0.5, 0.5]], truth_per_class=[1], thresholds=[{"score": 0.1, "f1": 0.5}]
    )
    table = tables.class_comparison([make_results(), small])
    assert table.columns == ["class", "run_a", "b"]
    assert [cell.text for cell in table.rows[-1]] == ["new", "\u2013", "50.00"]


def test_the_terminal_shows_hostile_names_as_they_are(make_results: Callable[..., Results]) -> None:
    shown = terminal(tables.class_table(make_results(name="[red]run[/b]\x1b[31m\\")))
    assert "clap [/b] [hands] :bomb:" in shown
    assert "[red]run[/b][31m\\" in shown
    assert "\x1b" not in shown


def test_markdown_stays_a_table_of_plain_text(make_results: Callable[..., Results]) -> None:
    run = make_results(name="a | b\n<script>")
    text = tables.as_markdown(tables.map_table([run, run])) + tables.as_markdown(tables.class_table(run))
    page = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    assert page.count("<table>") == 2
    assert "<img" not in page
    assert "<script" not in page
    assert "<a " not in page
    assert page.count("<th>") + page.count("<th ") == 4 + 5


def test_csv_is_one_rectangular_table_without_formulas(make_results: Callable[..., Results]) -> None:
    rows = list(csv.reader(io.StringIO(csv_table.as_csv([make_results(), make_results(name="-b")]))))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == 1 + 2 * 5
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    assert rows[1][:6] == ["run_a", "measured", "thumos14", "test set 212", "test", "3"]
    place = rows[0].index("to published")
    assert rows[1][place - 3 : place + 1] == ["60.00", "", "60.00", ""]


def classifier(**changes: Any) -> ClassifierRecord:
    values = {"file": "windows.json", "sha256": "0" * 64, "form": "plain", "rule": "product", "top_k": 2, "top_1": 0.75}
    return ClassifierRecord(**{**values, "true_class_mean_ap": [0.9, 0.8], **changes})


def test_class_scores_of_videos_and_of_segments_are_told_apart(make_results: Callable[..., Results]) -> None:
    runs = [
        make_results(classifier=classifier()),
        make_results(classifier=classifier(per="segment", labels="keep", top_1=None)),
        make_results(classifier=classifier(per="segment", file="own", form=None, sha256=None)),
    ]
    table = tables.classifier_table(runs)
    assert [[cell.text for cell in row[1:4]] for row in table.rows] == [
        ["windows.json, product, top 2", "per video", "75.00"],
        ["true classes (upper bound)", "per video", "100.00"],
        ["windows.json, product, own classes kept", "per segment", "\u2013"],
        ["true classes (upper bound)", "per segment", "100.00"],
        ["the detector's class scores, product, top 2", "per segment", "75.00"],
        ["true classes (upper bound)", "per segment", "100.00"],
    ]
    assert [line.split(":")[0] for line in table.caption] == ["Per video", "Per segment"]
    assert tables.classifier_table(runs[1:]).caption == table.caption[1:]
    measures = [row["measure"] for row in csv.DictReader(io.StringIO(csv_table.as_csv(runs[:2])))]
    assert [one for one in measures if "true classes" in one] == [
        "mAP with true classes",
        "mAP with true classes per segment",
    ]


def test_a_table_too_wide_for_a_terminal_is_shown_whole(make_results: Callable[..., Results]) -> None:
    tious = [0.3, 0.4, 0.5, 0.6, 0.7]
    several = {"tious": tious, "mean_ap": [0.6] * 5, "class_ap": [[0.5] * 5] * 4}
    record = classifier(per="segment", true_class_mean_ap=[0.9] * 5)
    runs = [make_results(**several, name=name, classifier=record) for name in ("run_a", "a_name_of_many_letters")]
    shown = terminal(tables.classifier_table(runs), width=80)
    lines = [line.split("\u2502")[1:-1] for line in shown.splitlines() if line.startswith("\u2502")]
    assert [line[0].strip() for line in lines] == ["top-1", *map("{:.2f}".format, tious), "average"]
    assert [cell.strip() for cell in lines[0][1:]] == ["75.00", "100.00"] * 2
    assert [cell.strip() for cell in lines[1][1:]] == ["60.00", "90.00"] * 2
