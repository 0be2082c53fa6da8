"""Sides of own videos: chosen once so that classes are on both, kept in subsets.csv, never moved."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest

from actloc.annotations import form, subsets
from actloc.annotations.model import Action, AnnotatedVideo, Annotations
from actloc.annotations.subsets import Member, with_subsets
from actloc.errors import UserError


def members(names: Iterable[str], *labels: str, subset: str = "") -> list[Member]:
    return [Member(f"{name}.mp4", name, labels, subset) for name in names]


def chosen(listed: list[Member], folder: Path) -> dict[str, str]:
    """As `prepare` chooses and keeps them."""
    subset_of = with_subsets(listed, folder, "train", "test")
    assert with_subsets(listed, folder, "train", "test") == subset_of
    subsets.write(folder, subset_of)
    return subset_of


def test_every_first_choice_has_test_videos_and_each_class_on_both_sides(tmp_path: Path) -> None:
    sizes = []
    for start in range(40):
        listed = [
            *members((f"a{start}_{n}" for n in range(3)), "run"),
            *members((f"b{start}_{n}" for n in range(2)), "sit"),
        ]
        sides = chosen(listed, tmp_path / str(start))
        for label in ("run", "sit"):
            assert {sides[member.name] for member in listed if label in member.labels} == {"train", "test"}
        sizes.append(list(sides.values()).count("test"))
    assert min(sizes) == 2  # the fewest moves


def test_about_one_in_five_is_for_test_and_a_split_that_is_right_is_left_as_the_hash_says(tmp_path: Path) -> None:
    listed = members((f"video {number}" for number in range(500)), "run")
    sides = chosen(listed, tmp_path)
    assert 75 <= list(sides.values()).count("test") <= 125
    assert with_subsets(listed[:100], tmp_path / "other", "train", "test").items() <= sides.items()


def test_a_data_set_that_grows_never_moves_a_video_and_new_ones_go_by_their_hash(tmp_path: Path) -> None:
    first = chosen(members((f"v{number}" for number in range(6)), "run"), tmp_path)
    by_hash = with_subsets(members((f"v{number}" for number in range(300)), "run"), tmp_path / "new", "train", "test")
    names = [f"v{number}" for number in range(60)]
    sides = chosen([*members(names, "run"), *members(["alone", "alone too"], "sit")], tmp_path)
    assert first.items() <= sides.items()
    assert {name: by_hash[name] for name in by_hash if name in sides and name not in first}.items() <= sides.items()
    assert chosen(members(names[1:4], "run"), tmp_path).items() <= sides.items()
    assert chosen(members(names, "run"), tmp_path).items() <= sides.items()  # those that were away are known


def test_a_video_is_known_in_another_folder_with_another_suffix_and_in_other_letters(tmp_path: Path) -> None:
    sides = chosen([*members(["Übung", "day/b"], "run"), *members(["c", "d"], "sit")], tmp_path)
    apart = unicodedata.normalize("NFD", "Übung")
    assert apart != "Übung"
    listed = [
        Member(subsets.name_of(tmp_path / f"{apart}.mp4", tmp_path, apart), apart, ("run",), ""),
        Member("P01/b.mkv", "b", ("run",), ""),
    ]
    found = with_subsets(listed, tmp_path, "train", "test")
    assert list(found.values()) == [sides["Übung.mp4"], sides["day/b.mp4"]]
    assert (
        with_subsets(members([apart], "run"), tmp_path / "x", "a", "b").popitem()[1]
        == with_subsets(members(["Übung"], "run"), tmp_path / "x", "a", "b").popitem()[1]
    )


def test_two_videos_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    listed = [Member(f"{label}/1.mp4", f"{label}__1", (label,), "") for label in ("run", "sit", "walk", "jump")]
    sides = chosen(listed, tmp_path)
    new = Member("dive/1.mp4", "dive__1", ("dive",), "")
    chosen(members("xy", "run"), tmp_path / "other")
    by_hash = with_subsets([new, *members("xy", "run")], tmp_path / "other", "train", "test")["dive/1.mp4"]
    grown = with_subsets([*listed, new], tmp_path, "train", "test")
    assert sides.items() <= grown.items()
    assert grown["dive/1.mp4"] == by_hash


def test_a_stated_subset_wins_and_is_kept(tmp_path: Path) -> None:
    sides = chosen([*members("ab", "run"), *members(["c"], "run", subset="test")], tmp_path)
    assert sides["c.mp4"] == "test"
    moved = chosen(members("abc", "run", subset="train"), tmp_path)
    assert set(moved.values()) == {"train"}
    assert chosen(members("abc", "run"), tmp_path) == moved  # the column is gone


def test_the_sides_of_annotations_without_a_subsets_csv_are_taken_over(tmp_path: Path) -> None:
    action = (Action(0.0, 1.0, "run"),)
    before = {f"v{n}": AnnotatedVideo(f"v{n}", "test" if n % 2 else "train", action) for n in range(10)}
    form.write(tmp_path / "annotations.json", Annotations(("run",), before))
    sides = chosen(members([*before, "new"], "run"), tmp_path)
    assert {name.removesuffix(".mp4"): side for name, side in sides.items() if name != "new.mp4"} == {
        video.id: video.subset for video in before.values()
    }


def test_annotations_that_cannot_be_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "annotations.json").write_text("{")
    chosen(members("abcde", "run"), tmp_path)
    printed = capsys.readouterr().err.replace("\n", " ")
    assert "is not valid JSON" in printed
    assert "may change sides" in printed


@pytest.mark.parametrize("line", ["a.mp4,", ",train", "a.mp4,train,more"])
def test_a_broken_line_of_subsets_csv_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "subsets.csv").write_text(f"video,subset\nb.mp4,test\n{line}\n")
    with pytest.raises(UserError, match=r"subsets.csv:3: found"):
        with_subsets(members("a", "run"), tmp_path, "train", "test")


def test_a_file_that_is_right_is_not_written_again(tmp_path: Path) -> None:
    sides = chosen(members('a"b,c', "run"), tmp_path)
    before = (tmp_path / "subsets.csv").stat().st_mtime_ns
    assert chosen(members('a"b,c', "run"), tmp_path) == sides
    assert (tmp_path / "subsets.csv").stat().st_mtime_ns == before


def test_a_single_annotated_video_is_for_training_or_refused(tmp_path: Path) -> None:
    listed = [*members("bcdef"), *members("a", "run")]
    sides = chosen(listed, tmp_path)
    assert set(sides.values()) == {"train", "test"}


def test_a_video_that_moves_leaves_no_line_behind_that_could_contradict_it(tmp_path: Path) -> None:
    sides = chosen(members(["a", "b", "c", "d"], "run"), tmp_path)
    other = {"train": "test", "test": "train"}[sides["a.mp4"]]
    rest = members(["b", "c", "d"], "run")
    chosen([Member("P01/A.MOV", "A", ("run",), other), *rest], tmp_path)  # stated, and in other letters
    assert subsets.read(tmp_path) == {**{one.name: sides[one.name] for one in rest}, "P01/A.MOV": other}
    assert chosen([Member("P02/a.mp4", "a", ("run",), ""), *rest], tmp_path)["P02/a.mp4"] == other


@pytest.mark.parametrize(("word", "subset"), [("Training", "train"), ("VAL", "validation"), ("Fold 1", "fold 1")])
def test_words_of_subsets_mean_those_of_the_settings(word: str, subset: str) -> None:
    assert subsets.meanings(["train", "fold 1", "validation"])[word.lower()] == subset


def test_a_subset_without_videos_is_reported_with_the_setting_that_names_another() -> None:
    found = [("train", True), ("validation", True)]
    (problem,) = subsets.problems_of_subsets(Path("l.csv"), found, ["train", "test", "validation"], "a column")
    assert str(problem).endswith("assign one in a column, or set dataset.evaluation_subset=validation")
