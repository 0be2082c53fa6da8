import json
from collections.abc import Callable
from pathlib import Path

from actloc.evaluation.results import Results
from actloc.reports.cells import Table
from actloc.reports.data_tables import data_tables

CHOSEN = {"dataset.training_subset": "Train", "dataset.evaluation_subset": "other"}


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_instances_per_video_and_unused_videos(make_results: Callable[..., Results], tmp_path: Path) -> None:
    database = {
        "a": {"subset": "train", "annotations": [{}, {}]},
        "b": {"subset": "train", "annotations": []},
        "c": {"subset": "test", "annotations": [{}]},
        "d": {"subset": "spare", "annotations": [{}] * 3},
    }
    (tmp_path / "annotations.json").write_text(json.dumps({"database": database}))
    instances, subsets = data_tables(tmp_path, CHOSEN, make_results())
    assert texts(instances) == [
        ["0", "1", "33.33", "0"], ["2", "1", "33.33", "2"], ["6 to 10", "1", "33.33", "6"],
    ]  # fmt: skip
    assert texts(subsets) == [
        ["spare", "unused", "1", "0", "3"],
        ["test", "evaluation", "1", "0", "1"],
        ["train", "training", "2", "1", "2"],
    ]


def test_a_run_without_its_annotations_has_no_table_of_them(
    make_results: Callable[..., Results], tmp_path: Path
) -> None:
    for content in (None, "{}", "[]", '{"database": {"a": 3}}', "no JSON"):
        if content is not None:
            (tmp_path / "annotations.json").write_text(content)
        assert len(data_tables(tmp_path, CHOSEN, make_results(videos=[]))) == 1
