import gc
import json
import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actloc import files
from actloc.annotations import form, model
from actloc.annotations.model import Action, AnnotatedVideo, Annotations, FeatureRows
from actloc.annotations.uncollected import uncollected
from actloc.errors import UserError


def write(path: Path, **database: Any) -> Path:
    path.write_text(json.dumps({"classes": ["jump", "run"], "database": database}))
    return path


def entry(*actions: tuple[Any, Any, str], subset: str = "train", duration: Any = 10.0) -> dict[str, Any]:
    listed = [{"segment": [start, end], "label": label} for start, end, label in actions]
    return {"subset": subset, "duration": duration, "annotations": listed}


def test_writing_and_reading_gives_the_same_annotations(tmp_path: Path) -> None:
    videos = {
        "a": AnnotatedVideo("a", "train", (Action(0.5, 2.25, "run"),), 10.0, 30.0, 300, Path("videos/a.mp4")),
        "b ü": AnnotatedVideo("b ü", "test", ambiguous=((1.0, 2.5), (3.0, 4.0))),
        "clip": AnnotatedVideo("clip", "test", rows=FeatureRows("whole video", 187, 1086)),
    }
    annotations = Annotations(("jump", "run"), videos, variant="test set 212")
    form.write(tmp_path / "a.json", annotations)
    assert form.read(tmp_path / "a.json") == annotations


def test_all_problems_are_reported_together_and_listed_in_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json",
        **{
            "../x": entry((1, 2, "run")),
            "v1": entry((5, 3, "run"), (1, 40.0, "run"), (1, 10.3, "run")),
            "v2": entry((1, 2, "runn"), ("x", 2, "run")),
            "v3": entry((-1, 2, "jump"), subset=""),
            "v4": entry(duration="long"),
            "v5": {**entry(), "rows": {"video": "../x", "first": 0, "end": 3}},
            "v6": {**entry(), "rows": {"video": "x", "first": 3, "end": 3}},
        },
    )
    with pytest.raises(UserError) as caught:
        form.read(path)
    message = str(caught.value)
    for part in (
        "'../x' is empty or would leave its folder",
        "database['v1'].annotations[0]: 5-3 s of v1 ends before or at its start",
        "database['v1'].annotations[1]: 1-40 s of v1 ends 30.00 s after the video, which is 10.00 s long",
        "unknown label 'runn'. Did you mean run?",
        "expected [start, end] in seconds",
        "-1-2 s of v3 starts before the video",
        "subset: found '', expected a name",
        "duration: found 'long', expected a positive number",
        "database['v5'].rows: '../x' is empty or would leave its folder",
        "database['v6']: rows: found {'video': 'x', 'first': 3, 'end': 3}, expected a video and rows",
    ):
        assert part in message
    assert "10.3" not in message
    assert message.endswith("annotation_problems.txt) and run the command again.")
    assert len((tmp_path / "annotation_problems.txt").read_text().splitlines()) == 10


def test_an_end_slightly_after_the_video_is_clipped_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = form.read(write(tmp_path / "a.json", v1=entry((1, 10.3, "run"))))
    assert annotations.videos["v1"].actions == (Action(1.0, 10.0, "run"),)
    assert "v1: run 1-10.3 s clipped to the end of the video at 10 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ['{"database": {"a": {}, "a": {}}}', '{"database": {"a": {"duration": NaN}}}', "[", "[]"]
)
def test_repeated_keys_nan_and_other_json_are_user_errors(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError):
        form.read(tmp_path / "a.json")


def test_classes_follow_the_numbers_in_the_file(tmp_path: Path) -> None:
    listed = [{"segment": [0, 1], "label": "b", "label_id": 0}, {"segment": [1, 2], "label": "a", "label_id": 1}]
    (tmp_path / "a.json").write_text(json.dumps({"database": {"v": {"subset": "x", "annotations": listed}}}))
    assert form.read(tmp_path / "a.json").classes == ("b", "a")


def test_subsets_match_in_upper_and_lower_case() -> None:
    annotations = Annotations(("run",), {"a": AnnotatedVideo("a", "Validation")})
    assert [video.id for video in annotations.of_subset("validation")] == ["a"]


def test_repeats_are_dropped_as_the_official_code_drops_them() -> None:
    recorded = json.loads(Path("tests/golden/duplicates.json").read_text())
    actions = [Action(*item["segment"], str(item["label_id"])) for item in recorded["annotations"]]
    kept = model.without_duplicates(tuple(actions))
    assert [actions.index(action) for action in kept] == recorded["kept"]


def test_repeats_are_those_of_comparing_every_pair_without_comparing_every_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = random.Random(0)
    starts = [draw.randrange(1200) + draw.choice((0, 0, 0.001, 0.0009, 0.0011, -0.001)) for _ in range(4000)]
    actions = [Action(start, start + draw.choice((1.0, 1.0005, 1.002)), draw.choice("ab")) for start in starts]
    expected: list[Action] = []
    for action in actions:
        if not any(model.is_repeat(action, other) for other in expected):
            expected.append(action)
    pairs, is_repeat = [], model.is_repeat
    monkeypatch.setattr(model, "is_repeat", lambda *pair: pairs.append(pair) or is_repeat(*pair))
    assert model.without_duplicates(tuple(actions)) == tuple(expected)
    assert len(expected) < len(actions)
    assert len(pairs) < 4 * len(actions)


def test_garbage_is_searched_for_again_after_annotations_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []
    read_json = files.read_json
    monkeypatch.setattr(
        files, "read_json", lambda path, **how: (searched.append(gc.isenabled()), read_json(path, **how))[1]
    )
    with pytest.raises(UserError, match="does not exist"):
        form.read(tmp_path / "none.json")
    assert (searched, gc.isenabled()) == ([False], True)
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_annotations_are_written_as_json_writes_them() -> None:
    actions = (Action(0.5, 1e-7, 'run "é\n"'), Action(1, 2.0, "no class"))  # type: ignore[arg-type]
    rows = FeatureRows("whole", 1, 5)
    whole = AnnotatedVideo(
        "b\u2028", "", actions, 4.0, 25.0, 100, Path("b.mp4"), ((0.0, 1.0), (2.0, 3.0)), ((0.0, 2.0),), rows
    )
    for videos in ({}, {"a": AnnotatedVideo("a", "x"), "b\u2028": whole}):
        text = form.to_text(Annotations(('run "é\n"',), videos, variant="212"))
        assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
    entry = json.loads(text)["database"]["b\u2028"]
    assert [one["label_id"] for one in entry["annotations"]] == [0, -1]
    assert entry["annotations"][1]["segment"] == [1, 2.0]
    assert (entry["ambiguous"], entry["annotated"]) == ([[0, 1], [2, 3]], [[0, 2]])
    assert entry["rows"] == {"video": "whole", "first": 1, "end": 5}
    with pytest.raises(ValueError, match="JSON"):
        form.to_text(Annotations((), {"a": AnnotatedVideo("a", "x", (Action(0.0, math.inf, "run"),))}))


def test_what_would_be_written_is_compared_with_what_is_there(tmp_path: Path) -> None:
    videos = {name: AnnotatedVideo(name, "train", (Action(0.5, 1.0, "run"),)) for name in ("a", "\udcff")}
    path, annotations = tmp_path / "annotations.json", Annotations(("run",), videos)
    assert not form.is_written(path, annotations)
    form.write(path, annotations)
    content = path.read_bytes()
    assert form.is_written(path, annotations)
    assert content.decode() == form.to_text(annotations).replace("\udcff", r"\udcff")
    for changed in (content[:-1], content + b" ", content.replace(b"0.5", b"0.6"), b""):
        path.write_bytes(changed)
        assert not form.is_written(path, annotations)


def test_annotations_are_written_video_by_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of a million actions takes as much memory as the actions."""
    sizes: list[int] = []
    actions = tuple(Action(float(second), second + 0.5, "run") for second in range(100))
    videos = {f"{number:03d}": AnnotatedVideo(f"{number:03d}", "train", actions) for number in range(50)}

    def write(path: Path, parts: Iterable[bytes]) -> None:
        assert isinstance(parts, Iterator), "made when they are asked for, and not all at once"
        sizes.extend(map(len, parts))

    monkeypatch.setattr(files, "write_bytes", write)
    form.write(tmp_path / "annotations.json", Annotations(("run",), videos))
    assert max(sizes) < sum(sizes) / 40


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.01, 50), st.sampled_from(["run", "jump"])), max_size=8))
def test_dropping_repeats_twice_changes_nothing(rows: list[tuple[float, float, str]]) -> None:
    actions = tuple(Action(start, start + length, label) for start, length, label in rows)
    once = model.without_duplicates(actions)
    assert model.without_duplicates(once) == once


def test_empty_classes_are_those_without_an_action_in_any_subset() -> None:
    videos = {
        name: AnnotatedVideo(name, subset, (Action(0, 1, label),))
        for name, subset, label in (("a", "train", "run"), ("b", "test", "jump"))
    }
    assert Annotations(("fall", "jump", "run", "sit"), videos).empty_classes == [0, 3]
