"""Files of challenges, checked to the word against what their validators read."""

import json
from pathlib import Path
from typing import Any

import pytest

from actloc.commands import convert_predictions
from actloc.errors import UserError
from actloc.evaluation import prediction_files
from tests.toy import actloc

LEVELS = ("sls_pt=2", "sls_tl=3", "sls_td=4")


def claims(*rows: tuple[str, float, float, float]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score, "segment": [start, end]} for label, score, start, end in rows]


def stored(path: Path, results: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "x", "results": results, "external_data": {}}))
    return path


def converted(source: Path, form: str, *settings: str) -> Any:
    target = source.parent / f"out_of_{form}"
    assert convert_predictions.run(source, target, form, settings) == 0
    return target.read_text() if form == "thumos14" else json.loads(target.read_text())


def test_activitynet(tmp_path: Path) -> None:
    source = stored(tmp_path / "p.json", {"v_abc": claims(("Dive", 0.2, 1, 2), ("Dive", 0.9, 3, 4.5)), "def": []})
    assert converted(source, "activitynet", "external_data=Kinetics-400, ImageNet") == {
        "version": "VERSION 1.3",
        "results": {"abc": claims(("Dive", 0.9, 3, 4.5), ("Dive", 0.2, 1, 2)), "def": []},
        "external_data": {"used": True, "details": "Kinetics-400, ImageNet"},
    }
    used = converted(source, "activitynet", "external_data=null")["external_data"]
    assert used == {"used": False, "details": ""}
    with pytest.raises(UserError, match="external_data"):
        converted(source, "activitynet")


def test_thumos14_reads_back_as_it_was(tmp_path: Path) -> None:
    source = stored(
        tmp_path / "p.json", {"video_test_0000004": claims(("HighJump", 0.25, 1.5, 2), ("Diving", 1, 3, 9))}
    )
    text = converted(source, "thumos14")
    assert text == "video_test_0000004 3 9 26 1\nvideo_test_0000004 1.5 2 40 0.25\n"
    (tmp_path / "again.txt").write_text(text)
    again, was = prediction_files.read(tmp_path / "again.txt"), prediction_files.read(source)
    assert sorted(map(str, again["video_test_0000004"])) == sorted(
        str(one).replace("score=1,", "score=1.0,") for one in was["video_test_0000004"]
    )
    stored(source, {"a": claims(("Waving", 0.5, 0, 1))})
    with pytest.raises(UserError, match="'Waving' is no class of THUMOS14"):
        converted(source, "thumos14")


def test_ego4d_retrieves_the_best_200_of_the_queried_classes(tmp_path: Path) -> None:
    rows = claims(*[(f"m{number % 3}", 1 - number / 1000, number, number + 1) for number in range(900)])
    source = stored(tmp_path / "p.json", {"clip": rows, "other": claims(("m0", 0.1, 0, 1))})
    found = converted(source, "ego4d-mq")
    assert found.keys() == {"version", "challenge", "detect_results", "retrieve_results"}
    assert (found["version"], found["challenge"]) == ("1.0", "ego4d_moment_queries")
    assert found["detect_results"] == {"clip": rows, "other": claims(("m0", 0.1, 0, 1))}
    assert found["retrieve_results"]["clip"] == rows[:200]
    annotated = {"subset": "validation", "annotations": [{"segment": [0, 1], "label": "m1"}]}
    empty = {"subset": "validation", "annotations": []}
    truth = tmp_path / "annotations.json"
    truth.write_text(json.dumps({"classes": ["m0", "m1", "m2"], "database": {"clip": annotated, "other": empty}}))
    found = converted(source, "ego4d-mq", f"annotations={truth}")
    assert found["retrieve_results"] == {"clip": [row for row in rows if row["label"] == "m1"][:200], "other": []}


def test_epic_kitchens_joins_verbs_with_the_nouns_that_overlap_them(tmp_path: Path) -> None:
    verbs = {"P01_1": claims(("id_003", 0.8, 0, 2), ("take", 0.5, 10, 12)), "P01_2": claims(("id_001", 1, 0, 1))}
    nouns = {"P01_1": claims(("id_020", 0.5, 1, 3), ("7", 0.9, 2, 11), ("id_005", 0.4, 11, 30))}
    source = stored(tmp_path / "ckpt/verb/eval/test/predictions.json", verbs).parents[2]
    other = stored(tmp_path / "nouns.json", nouns)
    (tmp_path / "verbs.csv").write_text("id,key,instances\n0,take,[]\n3,wash,[]\n")
    settings = (f"nouns={other}", *LEVELS, f"verb_classes={tmp_path / 'verbs.csv'}")
    found = converted(source, "epic-kitchens100", *settings)
    rows = found.pop("results")
    assert found == {"version": "0.2", "challenge": "action_detection", "sls_pt": 2, "sls_tl": 3, "sls_td": 4}
    assert rows == {
        "P01_1": [  # the segment 0-2 only touches 2-11
            {"verb": 0, "noun": 7, "action": "0,7", "score": pytest.approx(0.45), "segment": [10, 12]},
            {"verb": 3, "noun": 20, "action": "3,20", "score": pytest.approx(0.4), "segment": [0, 2]},
            {"verb": 0, "noun": 5, "action": "0,5", "score": pytest.approx(0.2), "segment": [10, 12]},
        ],
        "P01_2": [],
    }
    many = {"a": claims(*[("1", 0.5 + number / 1000, 0, 1) for number in range(60)])}
    source, other = stored(tmp_path / "v.json", many), stored(tmp_path / "n.json", many)
    rows = converted(source, "epic_kitchens100", f"nouns={other}", *LEVELS)["results"]["a"]
    assert len(rows) == 2000
    assert rows[0]["score"] == pytest.approx(0.559**2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (LEVELS, "nouns is missing"),
        (("nouns=NOUNS", "sls_pt=6", *LEVELS[1:]), "sls_pt: found 6"),
        (("nouns=NOUNS", *LEVELS[:2]), "sls_td is missing"),
        (("nouns=NOUNS", *LEVELS, "verb_class=3"), "verb_class is not a setting. Did you mean verb_classes?"),
        (("nouns=NOUNS", *LEVELS), "The verb 'wash' has no number"),
    ],
)
def test_what_must_be_stated_is_never_guessed(tmp_path: Path, settings: tuple[str, ...], said: str) -> None:
    source = stored(tmp_path / "p.json", {"a": claims(("wash", 0.5, 0, 1))})
    with pytest.raises(UserError) as error:
        converted(source, "epic-kitchens100", *(one.replace("NOUNS", str(source)) for one in settings))
    assert said in str(error.value)
    assert not (tmp_path / "out_of_epic-kitchens100").exists()


def test_all_that_predict_found_is_taken_also_below_its_threshold(tmp_path: Path) -> None:
    rows = claims(("HighJump", 0.9, 1, 2), ("Diving", 0.01, 3, 4))
    outcome = {"id": "a", "path": "a.mp4", "bytes": 1, "modified_ns": 1, "failure": None, "result": {"segments": rows}}
    failed = {**outcome, "id": "b", "failure": {"reason": "corrupt"}, "result": None}
    (tmp_path / "found/by_video").mkdir(parents=True)
    for one in (outcome, failed):
        (tmp_path / f"found/by_video/{one['id']}.json").write_text(json.dumps(one))
    stored(tmp_path / "found/predictions.json", {"a": rows[:1]})
    done = actloc(tmp_path, "convert-predictions", "found", "out.txt", "--form", "thumos14")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.txt").read_text() == "a 1 2 40 0.9\na 3 4 26 0.01\n"
    assert done.stdout == "Wrote out.txt: a submission of THUMOS14, from 2 predictions in 1 video\n"


def test_mistakes_name_what_is_right(tmp_path: Path) -> None:
    stored(tmp_path / "run/eval/test/predictions.json", {})
    stored(tmp_path / "run/eval/test-raw/predictions.json", {})
    for words, said in (
        (("none", "out", "--form", "thumos"), "--form thumos is no form of predictions. Did you mean thumos14?"),
        (("none", "out", "--form", "thumos14"), "none does not exist."),
        (("run", "out", "--form", "thumos14"), "run has the results of 2 subsets or settings: test, test-raw."),
        (("run/eval", "out", "--form", "thumos14"), "run/eval has no predictions."),
    ):
        done = actloc(tmp_path, "convert-predictions", *words)
        assert done.returncode == 2
        assert said in done.stderr
    (tmp_path / "out").write_text("mine")
    done = actloc(tmp_path, "convert-predictions", "run/eval/test", "out", "--form", "thumos14")
    assert (done.returncode, (tmp_path / "out").read_text()) == (2, "mine")
