"""Labels on a picture: escaped, in their places, cut where they are too long, in the colours of the pages."""

import re
from itertools import pairwise

import pytest

from actloc.annotations.rows import Segment
from actloc.reports import ass, timelines

LOOK = ass.Look(640, 360, 10.0, {"red": 0, "blue": 1}, 10)


def labels(text: str) -> list[str]:
    return [line.split(",", 4)[4] for line in text.splitlines() if re.match(r"Dialogue: 2,", line)]


def test_colours_are_those_of_the_pages() -> None:
    css = (ass.FONT.parents[1] / "page.css").read_text()
    assert tuple(re.findall(r"\.colour-\d \{ --colour: (#\w+);", css)) == ass.COLOURS
    assert len(ass.COLOURS) == timelines.NUM_COLOURS


@pytest.mark.parametrize("label", [r"{\an8}x", r"a\Nb", r"\{b\}", "a\nb", "x,y", "a\u2028Dialogue: 2,b"])
def test_no_label_is_a_command_or_a_line(label: str) -> None:
    (shown,) = labels(ass.overlay([Segment(1, 2, label, 0.5)], LOOK))
    content = shown.split("} ", 1)[1]
    assert "\\N" not in content
    assert not re.search(r"(?<!\\)[{}]", content)
    assert not re.search(r"\\[^{}\u2060]", content)


def test_labels_at_the_same_time_have_lines_of_their_own_and_keep_them() -> None:
    segments = [Segment(0, 4, "red", 0.5), Segment(1, 2, "blue", 0.4), Segment(2, 5, "red", 0.3), Segment(1, 5, "x", 1)]
    tops = [int(re.search(r"\\pos\(\d+,(\d+)\)", one)[1]) for one in labels(ass.overlay(segments, LOOK))]  # type: ignore[index]
    step = LOOK.line_px
    assert [round((top - tops[0]) / step) for top in tops] == [0, 1, 2, 1]


def test_too_many_labels_are_counted_in_the_last_line() -> None:
    number = LOOK.num_lines + 3
    shown = labels(ass.overlay([Segment(1, 2, f"class{n}", 0.5) for n in range(number)], LOOK))
    assert len(shown) == LOOK.num_lines
    assert shown[-1].endswith("+ 4 more")


@pytest.mark.parametrize(("width", "height"), [(64, 36), (64, 64), (320, 240), (1080, 1920), (3840, 2160)])
def test_everything_fits_and_long_labels_keep_their_score(width: int, height: int) -> None:
    look = ass.Look(width, height, 10.0, {}, 10)
    (shown,) = labels(ass.overlay([Segment(1, 2, "a label of many words " * 20, 0.87)], look))
    assert shown.endswith("\u2026\u200e 0.87")
    left, top, right, bottom = look.bar
    assert 0 <= left < right <= width
    assert height * 0.6 < top < bottom <= height
    assert look.margin_px + look.num_lines * look.line_px <= top or look.num_lines == 1


def test_times_are_those_of_the_slowed_clock() -> None:
    text = ass.overlay([Segment(1.2345, 3723.5, "red", 0.5)], LOOK)
    assert "Dialogue: 2,0:00:12.34,10:20:35.00,label" in text


def test_the_timeline_draws_a_class_at_once() -> None:
    segments = [Segment(n, n + 0.5, "red", 0.5) for n in range(9)]
    (drawn,) = (line for line in ass.overlay(segments, LOOK).splitlines() if line.startswith("Dialogue: 1,"))
    lefts = [int(left) for left in re.findall(r"m (\d+) ", drawn)]
    assert len(lefts) == 9
    assert all(abs((after - before) / 8 - (LOOK.bar[2] - LOOK.bar[0]) / 10) < 1 for before, after in pairwise(lefts))


def test_a_video_of_unknown_length_or_without_segments_is_drawn() -> None:
    assert "Dialogue: 3," in ass.overlay([], ass.Look(640, 360, 0.0, {}, 10))
