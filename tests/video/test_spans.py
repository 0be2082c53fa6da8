"""A part of a video is read as a file that holds nothing else, in extraction and at random places alike."""

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.video.base import Span
from actloc.video.clip_reader import ClipReader
from actloc.video.frames_file import NAME, write_frames
from actloc.video.png_frames import extract_png_frames
from actloc.video.reader import Rate, read_frames
from tests.videos import FPS, Clips, resized

pytestmark = pytest.mark.usefixtures("forked_decoders")

KINDS = ["plain.mp4", "variable.mp4", "late_start.mkv", "edit_list.mp4", "sound.avi", "sound.ts"]
RATES: list[tuple[Rate, Rate | None]] = [("native", None), (8, None), (29.97, None), (10, 30), (12.5, "native")]


def frames_of(path: Path, span: Span | None, fps: Rate = "native", decode_fps: Rate | None = None) -> list[NDArray]:
    with read_frames(path, fps=fps, decode_fps=decode_fps, span=span) as reading:
        return list(reading)


@pytest.mark.parametrize("name", KINDS)
def test_a_part_on_the_grid_of_the_frames_has_these_frames(clips: Clips, name: str) -> None:
    whole = frames_of(clips[name], None, FPS)
    for first, end in ((0, 12), (7, 31), (22, len(whole)), (31, 32)):
        last_s = None if end == len(whole) else end / FPS
        with read_frames(clips[name], fps=FPS, span=Span(first / FPS, last_s)) as reading:
            part = list(reading)
        assert len(part) == end - first
        assert all(np.array_equal(one, other) for one, other in zip(part, whole[first:end], strict=True))
        assert reading.summary.duration_s == pytest.approx((end - first) / FPS, abs=0.02)  # of avi's and mkv's clocks


@pytest.mark.parametrize("rates", RATES, ids=str)
def test_a_part_is_what_a_file_with_only_its_frames_is(
    clips: Clips, rates: tuple[Rate, Rate | None], tmp_path: Path
) -> None:
    whole = frames_of(clips["plain.mp4"], None)
    path = tmp_path / NAME
    for first, end in ((3, 40), (17, 59)):
        write_frames(iter(whole[first:end]), FPS, path)
        cut = frames_of(path, None, *rates)
        part = frames_of(clips["plain.mp4"], Span(first / FPS, end / FPS), *rates)
        assert len(part) == len(cut)
        assert all(np.array_equal(one, other) for one, other in zip(part, cut, strict=True))


@pytest.mark.parametrize("name", [*KINDS, "frames"])
def test_clips_of_a_part_are_those_of_extraction(clips: Clips, name: str, tmp_path: Path) -> None:
    path = clips[name] if name != "frames" else tmp_path / name
    if name == "frames":
        extract_png_frames(clips["plain.mp4"], path)
    drawn = random.Random(name)
    for fps, decode_fps in RATES:
        with ClipReader(1, fps=fps, decode_fps=decode_fps, steps=resized(32, 24)) as reader:
            for _ in range(4):
                start_s, length_s = drawn.uniform(0, 1.2), drawn.uniform(0.3, 0.9)
                span = Span(start_s, drawn.choice([None, start_s + length_s]))
                reading = read_frames(path, fps=fps, decode_fps=decode_fps, steps=resized(32, 24), span=span)
                with reading:
                    expected = list(reading)
                with reader.limited_to(span):
                    times = reader.times(path)
                    assert times.num_frames == reading.summary.num_frames
                    assert times.duration_s == pytest.approx(reading.summary.duration_s, abs=1e-9)
                    if reading.picking is None:
                        numbers = drawn.sample(range(len(expected)), min(5, len(expected)))
                        found = reader.read_frames(path, numbers)
                        assert np.array_equal(found, np.stack([expected[number] for number in numbers]))
            assert reader.times(path).duration_s > 1.2  # outside the block it is the whole video again


def test_what_comes_after_a_part_is_not_decoded(clips: Clips, tmp_path: Path) -> None:
    """So that a file that is cut short can still be used before the cut."""
    torn = tmp_path / "torn.mkv"
    content = clips["sound.mkv"].read_bytes()
    torn.write_bytes(content[: int(0.7 * len(content))])
    with pytest.raises(VideoError, match="truncated"):
        frames_of(torn, None)
    assert len(frames_of(torn, Span(0.2, 0.5))) == 9


def test_a_span_knows_its_ends() -> None:
    span = Span(1.5, 4.0)
    assert Span.from_json(span.to_json()) == span
    assert Span.from_json(None) is None
    assert span.after_start(Fraction(1)) == Fraction(-1, 2)
    assert (span.cuts(Fraction(4)), span.cuts(Fraction(39, 10))) == (True, False)
    assert span.length(Fraction(10)) == Fraction(5, 2)
    assert span.length(Fraction(1)) == 0
    assert Span(1.5).length(Fraction(10)) == Fraction(17, 2)
