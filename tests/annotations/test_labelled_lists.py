"""List files of other code: which numbers of a line are which, and what is wrong with a line."""

from pathlib import Path
from typing import Any

import pytest

from actloc.annotations.labelled_lists import ClipList, LabelledClip, read
from actloc.errors import UserError


def read_text(tmp_path: Path, text: str, columns: Any = None, **settings: Any) -> ClipList:
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    return read({"train": path}, columns, settings.pop("classes", tuple("abcdefgh")), **settings)


def clips(found: ClipList) -> list[tuple[str, tuple[str, ...], int | None, int | None]]:
    assert not found.problems
    return [(clip.path, clip.labels, clip.frames, clip.offset) for clip in found.clips]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.mp4 3\nb/c d.mp4 0\n", [("a.mp4", ("d",), None, None), ("b/c d.mp4", ("a",), None, None)]),
        (
            "a.mp4 300 3\nb/c 12 30 0\nd 30 1",
            [("a.mp4", ("d",), 300, None), ("b/c 12", ("a",), 30, None), ("d", ("b",), 30, None)],
        ),
        ("a 20 300 3\n\nb c 0 30 0\n", [("a", ("d",), 300, 20), ("b c", ("a",), 30, 0)]),
        ("\ufeffa.mp4\t300\t3\r\n", [("a.mp4", ("d",), 300, None)]),
        ('"a, b.mp4", 300, 3\n', [("a, b.mp4", ("d",), 300, None)]),
        ("/data/-x_000001_000011.mp4 1\n", [("/data/-x_000001_000011.mp4", ("b",), None, None)]),
    ],
)
def test_the_numbers_that_most_lines_end_with_are_the_columns(text: str, expected: list[Any], tmp_path: Path) -> None:
    assert clips(read_text(tmp_path, text)) == expected


def test_columns_that_are_set_leave_other_numbers_to_the_path(tmp_path: Path) -> None:
    text = "run 1 3\nrun 2 3\n"
    assert [clip.path for clip in read_text(tmp_path, text).clips] == ["run", "run"]
    assert [clip.path for clip in read_text(tmp_path, text, "path label").clips] == ["run 1", "run 2"]


def test_a_line_may_have_several_labels(tmp_path: Path) -> None:
    text = "a b 300 3\nc 20 0 2 0\n"
    expected = [("a b", ("d",), 300, None), ("c", ("a", "c"), 20, None)]
    assert clips(read_text(tmp_path, text, "path frames label", multi_label=True)) == expected
    text = "c 5 20 1 2\n"
    found = read_text(tmp_path, text, "path offset frames label", multi_label=True)
    assert clips(found) == [("c", ("b", "c"), 20, 5)]


def test_without_names_classes_are_numbered(tmp_path: Path) -> None:
    found = read_text(tmp_path, "a 30 2\nb 30 0\n", classes=None)
    assert found.classes == ("class_000", "class_001", "class_002")
    where = f"{tmp_path / 'list.txt'}:1"
    assert found.clips[0] == LabelledClip("a", ("class_002",), "train", where, frames=30)


def test_every_wrong_line_is_reported_with_its_number(tmp_path: Path) -> None:
    text = "a 30 8\nb 30 -1\nc 0 1\nd 1\n 30 1\ne\nf 30 1\n"
    found = read_text(tmp_path, text)
    assert [clip.path for clip in found.clips] == ["f"]
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in found.problems] == [
        "list.txt:1: label 8; expected 0 to 7",
        "list.txt:2: label -1; expected 0 to 7",
        "list.txt:3: 0 frames; expected at least 1",
        "list.txt:4: ends with 1 number; expected `path frames label`",
        "list.txt:5: ends with 1 number; expected `path frames label`",
        "list.txt:6: ends with 0 numbers; expected `path frames label`",
    ]
    found = read_text(tmp_path, "a -5 30 1\nb 0 30 1\n")
    assert [problem.what for problem in found.problems] == ["offset -5; expected 0 or more"]


@pytest.mark.parametrize("text", ["", "a.mp4\nb.mp4\n"])
def test_a_list_without_labels_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no line ends with a label"):
        read_text(tmp_path, text)
