"""Published figures beside measured ones."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actloc import experiment
from actloc.errors import UserError
from actloc.evaluation.results import ClassifierRecord, Results
from actloc.recognition.views import Views
from actloc.reports import csv_table, published, tables
from actloc.settings import yaml_text
from actloc.settings.published import PublishedAccuracy, PublishedMap
from tests.test_configs import LEFT_OPEN

FIGURES = PublishedMap(
    source="its authors",
    subset="test",
    variant="test set 212",
    protocol="actionformer",
    tious=(0.3, 0.5),
    map=(61.25, None),
    average=59.5,
)
CONFIGS = sorted(path for path in Path("configs").glob("*.yaml") if "\npublished:" in path.read_text())


@pytest.fixture
def run(make_results: Callable[..., Results]) -> Results:
    return make_results(mean_ap=[0.6, 0.64], average_map=0.62, published=FIGURES)


def text_of(table: tables.Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_published_figures_are_a_row_and_a_column_of_differences(run: Results) -> None:
    table = tables.map_table([run])
    assert table.columns == ["run", "0.30", "0.50", "average", "to published"]
    assert text_of(table) == [
        ["run_a", "60.00", "64.00", "62.00", "+2.50"],
        ["published: its authors", "61.25", "\u2013", "59.50", "\u2013"],
    ]
    assert "published: its authors; not measured here." in table.caption


def test_a_published_figure_is_never_bold_and_changes_nothing_that_is(
    run: Results, make_results: Callable[..., Results]
) -> None:
    high = FIGURES.model_copy(update={"map": (99.0, 99.0), "average": 99.0})
    runs = [run.model_copy(update={"published": high}), make_results(name="b", mean_ap=[0.5, 0.7], average_map=0.6)]
    assert [[cell.is_best for cell in row] for row in tables.map_table(runs).rows] == [
        [False, True, False, True, False],
        [False, False, True, False, False],
        [False] * 5,
    ]
    assert "**99" not in tables.as_markdown(tables.map_table(runs))


def test_runs_without_published_figures_have_no_column_for_them(make_results: Callable[..., Results]) -> None:
    assert tables.map_table([make_results()]).columns[-1] == "average"
    assert published.beside_published(make_results()) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subset": "validation"}, "subset test, here validation"),
        ({"variant": "test set 210"}, "variant test set 212, here test set 210"),
        ({"protocol": "activitynet"}, "protocol actionformer, here activitynet"),
        ({"tious": [0.3, 0.7]}, "the published average is over other tIoUs"),
        ({"classes": ["action"], "class_ap": [[0.5, 0.5]], "truth_per_class": [8]}, "only one class is scored"),
    ],
)
def test_what_cannot_be_compared_has_no_difference_and_says_why(
    change: dict[str, Any], reason: str, run: Results
) -> None:
    table = tables.map_table([run.model_copy(update=change)])
    assert text_of(table)[0][-1] == "\u2013"
    assert f"run_a is not compared with the published figures: {reason}." in table.caption


def test_an_upper_bound_is_not_compared(run: Results) -> None:
    truth = ClassifierRecord(
        file="truth", sha256=None, form=None, rule="multiply", top_k=1, top_1=1.0, true_class_mean_ap=[0.6, 0.6],
        is_upper_bound=True,
    )  # fmt: skip
    assert published.hindrance(run.model_copy(update={"classifier": truth})) == "the true classes were used"


def test_every_tiou_is_beside_its_published_figure(run: Results) -> None:
    table = published.beside_published(run)
    assert table is not None
    assert text_of(table) == [
        ["mAP at 0.30", "60.00", "61.25", "-1.25"],
        ["mAP at 0.50", "64.00", "\u2013", "\u2013"],
        ["average", "62.00", "59.50", "+2.50"],
    ]


def test_figures_keep_the_decimals_that_were_published() -> None:
    assert published.figure(82.0, [82.0, 78.9]) == "82.0"
    assert published.figure(77.8, [82.13, None]) == "77.80"
    assert published.figure(None) == "\u2013"


def test_the_csv_marks_published_rows(run: Results) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table.as_csv([run]))))
    measured, given = rows[:2]
    assert (measured["origin"], measured["average"], measured["to published"]) == ("measured", "62.00", "+2.50")
    assert (given["origin"], given["0.30"], given["0.50"], given["average"]) == ("published", "61.25", "", "59.50")
    assert given["checkpoint"] == given["commit"] == given["machine"] == ""
    assert "its authors" in given["note"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_configs_published_figures_are_of_its_own_settings(config: Path) -> None:
    loaded = experiment.load(str(config), list(LEFT_OPEN.get(config.stem, ())))
    figures, evaluation = loaded.section("published"), loaded.section("evaluation").model_dump()
    assert isinstance(figures, PublishedMap | PublishedAccuracy)
    assert figures.source
    assert (figures.subset, figures.variant) == (loaded.dataset.evaluation_subset, loaded.dataset.variant)
    if isinstance(figures, PublishedAccuracy):
        views = Views(*(evaluation[name] for name in ("clips", "crops", "short_side", "crop")))
        assert (figures.views, figures.top_1 is None) == (str(views), False)
        return
    assert (figures.protocol, figures.tious) == (evaluation["protocol"], evaluation["tious"])
    assert figures.average is not None
    if None not in figures.map:
        assert sum(figures.map) / len(figures.map) == pytest.approx(figures.average, abs=0.06)  # type: ignore[arg-type]


def test_many_configs_have_published_figures() -> None:
    assert len(CONFIGS) == 55


def test_published_figures_shape_nothing_and_are_in_no_runs_way(tmp_path: Path) -> None:
    text = Path("configs/thumos14_i3d_actionformer.yaml").read_text()
    block = text[text.index("published:") : text.index("dataset:\n")]
    bare = tmp_path / "thumos14_i3d_actionformer.yaml"
    bare.write_text(text.replace(block, ""))
    with_figures, without = experiment.load("configs/thumos14_i3d_actionformer.yaml"), experiment.load(str(bare))
    assert with_figures.section("published") != without.section("published")
    for result in ("results", "weights", "detections", "features"):
        assert with_figures.shaping(result) == without.shaping(result)
    assert "published" not in without.to_data()
    again = tmp_path / "again.yaml"
    again.write_text(yaml_text.dump(with_figures.to_data()))
    assert experiment.load(str(again)).section("published") == with_figures.section("published")
    assert not any(name.startswith("published.") for name in experiment.setting_names())


def test_lists_of_published_figures_must_fit(tmp_path: Path) -> None:
    text = Path("configs/thumos14_i3d_actionformer.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("map: [82.13, ", "map: ["))
    with pytest.raises(UserError, match="map: found 4 values, expected 5"):
        experiment.load(str(wrong))
