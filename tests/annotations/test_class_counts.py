"""What `prepare` prints of the classes."""

import pytest

from actloc.annotations import class_counts
from actloc.annotations.model import Action, AnnotatedVideo, Annotations


def annotations(**labels_of: str) -> Annotations:
    """Videos `train_1="run jump"`: their subset, and the labels of their actions."""
    videos = {}
    for name, labels in labels_of.items():
        actions = tuple(Action(0.0, 1.0, label) for label in labels.split(",") if label)
        videos[name] = AnnotatedVideo(name, name.partition("_")[0], actions)
    return Annotations(tuple(sorted({one.label for video in videos.values() for one in video.actions})), videos)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> "type[Printed]":
    Printed.capsys = capsys
    return Printed


class Printed:
    capsys: pytest.CaptureFixture[str]

    @classmethod
    def of(cls, found: Annotations, *, has_own_labels: bool = True) -> tuple[str, list[str]]:
        """What is printed as a result, and each warning."""
        class_counts.report(found, "train", "test", has_own_labels=has_own_labels)
        out, err = cls.capsys.readouterr()
        return out, [line.strip() for line in " ".join(err.split()).split("Warning:") if line]


def test_classes_have_their_actions_of_both_subsets_and_one_sided_ones_are_named(printed: type[Printed]) -> None:
    out, warnings = printed.of(annotations(train_1="run,run,jump", test_1="run,sit,sit"))
    for row in ("jump │ 1 │ 0", "run │ 2 │ 1", "sit │ 0 │ 2"):
        assert row in " ".join(out.split())
    assert "jump: 1 action to learn from, 0 to score" in warnings
    assert "sit: 0 actions to learn from, 2 to score" in warnings
    assert "test is small: 1 video with 3 actions. Results on so few change much by chance" in warnings


def test_a_test_set_without_annotations_brings_no_warning_of_classes(printed: type[Printed]) -> None:
    assert printed.of(annotations(train_1="run,jump", test_1=""))[1] == []


def test_many_classes_are_counted(printed: type[Printed]) -> None:
    out, warnings = printed.of(annotations(train_1=",".join(f"c{n}" for n in range(30)), test_1="c1,c2,x"))
    assert out == ""
    assert "1 of 31 classes has no action to learn from in train: x" in warnings
    assert any(one.startswith("28 of 31 classes have no action to score in test: c0, c10, c11,") for one in warnings)


def test_names_that_differ_in_case_blanks_and_dashes_or_are_near_are_named(printed: type[Printed]) -> None:
    labels = "run,Run ,make-up,make up,Make_up,running,runing,cutting,putting,class_1,class_2"
    found = annotations(train_1=labels, test_1=labels)
    _, warnings = printed.of(found)
    assert [one for one in warnings if "class" in one] == [
        "'Make_up' and 'make up' and 'make-up' differ only in letter case, blanks, - or _, and are 3 classes",
        "'Run ' and 'run' differ only in letter case, blanks, - or _, and are 2 classes",
        "'runing' and 'running' are nearly the same name, and are 2 classes",
    ]
    _, warnings = printed.of(found, has_own_labels=False)
    assert not any("nearly" in one for one in warnings)


def test_names_that_differ_in_unseen_characters_are_named(printed: type[Printed]) -> None:
    labels = "sch\u00f6n,scho\u0308n,run\u00a0up,run up,make\u2013up,make-up,sit,sit\u200b"
    _, warnings = printed.of(annotations(train_1=labels, test_1=labels))
    alike = [one for one in warnings if "differ only in" in one]
    assert len(alike) == 4
    assert sum("differ only in how accents are written, and are 2 classes" in one for one in alike) == 1
