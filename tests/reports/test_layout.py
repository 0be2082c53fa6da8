"""What pages look like, measured by a browser where there is one."""

from pathlib import Path

import pytest

from actloc.commands import report
from actloc.evaluation.predictions import write_predictions
from actloc.evaluation.results import ClassifierRecord
from actloc.evaluation.results_files import write_results
from actloc.evaluation.uncertainty import Interval, Uncertainty
from tests.chromium import needs_browser
from tests.reports.browser import measured
from tests.reports.made_up_runs import TIOUS, made_up, write_run

pytestmark = [needs_browser, pytest.mark.slow]
WIDTHS = (1280, 768, 390)
OPEN_ALL = "document.querySelectorAll('details').forEach((one) => { one.open = true; });"


@pytest.fixture(scope="module", params=[1, 3])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("runs")
    names = [f"activitynet13_tsp_actionformer_seed_{seed}" for seed in range(1, 1 + request.param)]
    runs = [write_run(folder / name, seed) for seed, name in enumerate(names, start=1)]
    report.run(runs, output=folder / "report")
    return (folder / "report" / "report.html").read_text()


@pytest.mark.parametrize("has_script", [True, False])
@pytest.mark.parametrize("action", ["", OPEN_ALL], ids=["as it opens", "unfolded"])
def test_nothing_is_cut_and_no_texts_overlap(page: str, action: str, has_script: bool, tmp_path: Path) -> None:
    found = measured(page, WIDTHS, tmp_path, action, has_script=has_script)
    assert sorted(found) == sorted(WIDTHS)
    for width, one in found.items():
        assert one["texts"] > 200, width
        assert one["cut"] == [], width
        assert one["overlaps"] == [], width
        assert one["unmarked"] == [], f"{width}: tables that go on sideways without saying so"
    assert found[1280]["scrolled"] == []
    assert found[390]["scrolled"]


def test_ten_full_tious_and_their_table_by_source_of_classes_fit(tmp_path: Path) -> None:
    run = write_run(tmp_path / "activitynet13_etad_agnostic", 1, num_videos=3)
    classifier = ClassifierRecord(
        file="scores.json", sha256="0" * 64, form="actloc", per="segment", rule="product", top_k=1, top_1=1.0,
        true_class_mean_ap=[1.0] * len(TIOUS),
    )  # fmt: skip
    results, predictions = made_up(run.name, 1, num_videos=3)
    fused, written = (
        results.model_copy(update={"classifier": classifier, "mean_ap": [1.0] * len(TIOUS)}),
        run / "eval" / "validation",
    )
    write_results(written, fused, write_predictions(written, predictions))
    report.run([run], output=tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "by source of classes" in page
    found = measured(page, (*WIDTHS, 710), tmp_path)
    assert all((one["cut"], one["overlaps"], one["unmarked"]) == ([], [], []) for one in found.values())
    assert found[1280]["scrolled"] == []


def test_five_full_tious_fit_beside_a_long_interval(tmp_path: Path) -> None:
    run = write_run(tmp_path / "demo", 1, num_videos=3)
    results, predictions = made_up(run.name, 1, num_videos=3)
    sure = Interval(low=1.0, high=1.0)
    few = {
        "tious": results.tious[:5],
        "mean_ap": [1.0] * 5,
        "average_map": 1.0,
        "class_ap": [row[:5] for row in results.class_ap],
        "recall": [row[:5] for row in results.recall],
        "uncertainty": Uncertainty(level=0.95, draws=1000, seed=0, mean_ap=[sure] * 5, average_map=sure),
    }
    written = run / "eval" / "validation"
    write_results(written, results.model_copy(update=few), write_predictions(written, predictions))
    report.run([run], output=tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    found = measured(page, (1200, 1024, 900, *WIDTHS, 710), tmp_path)
    assert all((one["cut"], one["overlaps"]) == ([], []) for one in found.values())


def test_the_marks_of_curves_are_small(page: str, tmp_path: Path) -> None:
    ask = "const marks = [...document.querySelectorAll('.mark:not(svg)')].map((one) => one.getBBox().width); "
    ask += "if (!marks.length || Math.max(...marks) > 10) throw new Error(`marks of ${Math.max(...marks)} px`);"
    assert measured(page, (1280,), tmp_path, ask)[1280]["texts"] > 50


def test_the_measurement_finds_what_is_cut_and_what_overlaps(page: str, tmp_path: Path) -> None:
    spoiled = page.replace("</style>", ".hint { display: none !important; } h1 { margin-bottom: -3rem; }</style>")
    spoiled = spoiled.replace(
        "<main>", '<main><div style="width: 30rem; white-space: nowrap">' + "wide " * 40 + "</div>"
    )
    found = measured(spoiled, (390,), tmp_path)[390]
    assert found["cut"]
    assert found["overlaps"]
    assert found["unmarked"]


def test_the_filter_keeps_what_has_the_words(page: str, tmp_path: Path) -> None:
    typed = "const input = document.querySelector('#filter input'); input.value = 'BEER'; "
    typed += "input.dispatchEvent(new Event('input')); document.title = document.querySelector('output').textContent;"
    ask = "const shown = [...document.querySelectorAll('.findable')].filter((one) => !one.hidden); "
    ask += "if (!shown.every((one) => one.textContent.includes('Beer pong'))) throw new Error('others are shown'); "
    ask += "if (!shown.length || !document.title.startsWith(`${shown.length} of `)) throw new Error(document.title);"
    assert measured(page, (1280,), tmp_path, typed + ask)[1280]["texts"] > 50
