"""`fps: native`: a video's own rate, found by each reader, and every frame of it once."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from actloc.settings.choices import ReaderName
from actloc.video.ffmpeg import extract_frames
from actloc.video.reader import read_frames
from actloc.video.readers import decord, images, pyav
from actloc.video.readers import ffmpeg as ffmpeg_reader
from actloc.video.readers.base import meant_rate, rate_of_stamps
from tests.videos import Clips, ffmpeg

pytestmark = pytest.mark.usefixtures("forked_decoders")

RATES = [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(24000, 1001), Fraction(60000, 1001)]
CONTAINERS = ["mp4", "mkv", "avi", "ts", "flv"]
READERS: list[ReaderName] = [reader for reader in get_args(ReaderName) if reader != "decord"]


def quietly() -> None:
    """Nobody waits."""


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Fraction, str], Path]:
    """Videos of two seconds and a bit by rate and container."""
    folder, made = tmp_path_factory.mktemp("rates"), {}
    for rate in RATES:
        source = folder / f"{rate.numerator}_{rate.denominator}.mp4"
        picture = ("-f", "lavfi", "-i", f"testsrc2=s=160x120:r={rate}:d=2.1")
        ffmpeg(*picture, "-c:v", "libx264", "-bf", "2", "-preset", "ultrafast", "-pix_fmt", "yuv420p", source)
        for container in CONTAINERS:
            made[rate, container] = source.with_suffix(f".{container}")
            if container != "mp4":  # without its rate, ffmpeg would count AVI's ticks as 1/600 s
                ffmpeg("-r", str(rate), "-i", source, "-c", "copy", made[rate, container])
    return made


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("rate", RATES, ids=str)
def test_a_constant_rate_is_computed_exactly(
    constant: dict[tuple[Fraction, str], Path], rate: Fraction, container: str
) -> None:
    for reader in (pyav, decord, ffmpeg_reader):
        assert reader.rate(constant[rate, container], quietly) == rate


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("rate", RATES[:4], ids=str)
def test_at_its_own_rate_every_frame_of_a_video_comes_once(
    constant: dict[tuple[Fraction, str], Path], rate: Fraction, reader: ReaderName
) -> None:
    for container in ("mp4", "mkv"):
        reading = read_frames(constant[rate, container], fps="native", reader=reader)
        frames = list(reading)
        assert len(frames) == reading.summary.frames_decoded == reading.summary.num_frames == -(-21 * rate // 10)
        assert not any(np.array_equal(*pair) for pair in pairwise(frames))
        assert reading.summary.fps == float(rate)


@pytest.mark.parametrize(
    ("name", "frames", "rate"),
    [
        ("juggling_ball", 247, 24.0),
        ("playing_with_dog", 289, 30000 / 1001),
        ("background_walking", 230, 30.0),
        ("arranging_blocks", 292, 30000 / 1001),
        ("pouring_coffee", 287, 30000 / 1001),
        ("shuffling_cups", 300, 30000 / 1001),
    ],
)
def test_real_clips_are_read_at_their_own_rates(name: str, frames: int, rate: float) -> None:
    path = Path(f"data/sample/{name}.mp4")
    reading = read_frames(path, fps="native")
    assert sum(1 for _ in reading) == reading.summary.frames_decoded == frames
    assert reading.summary.fps == rate
    assert ffmpeg_reader.rate(path, quietly) == pyav.rate(path, quietly)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["variable.mp4", "variable.mkv"])
def test_a_variable_rate_is_its_mean(clips: Clips, name: str, reader: ReaderName) -> None:
    reading = read_frames(clips[name], fps="native", reader=reader)
    count = sum(1 for _ in reading)
    assert reading.summary.fps == pytest.approx(39 / 1.9, rel=1e-3)  # 40 frames, of which the last begins at 1.9 s
    assert reading.summary.frames_decoded == 40
    assert count == reading.summary.num_frames == round(reading.summary.duration_s * reading.summary.fps)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "frames"),
    [("raw.h264", 60), ("sound.avi", 60), ("late_start.avi", 60), ("edit_list.mp4", 39), ("midway.ts", 45)],
)
def test_unusual_files_have_their_own_rate_too(clips: Clips, name: str, frames: int, reader: ReaderName) -> None:
    reading = read_frames(clips[name], fps="native", reader=reader)
    assert sum(1 for _ in reading) == reading.summary.frames_decoded == frames
    assert reading.summary.fps == pytest.approx(30, rel=1e-4)


def test_a_folder_of_frames_has_the_rate_it_was_stored_at(clips: Clips, tmp_path: Path) -> None:
    extract_frames(clips["plain.mp4"], tmp_path / "frames", fps=10, short_side=32)
    assert images.rate(tmp_path / "frames", quietly) == 10
    reading = read_frames(tmp_path / "frames", fps="native")
    assert sum(1 for _ in reading) == 20


@pytest.mark.parametrize("reader", [pyav, ffmpeg_reader], ids=["pyav", "ffmpeg"])
def test_whoever_waits_for_the_rate_hears_of_every_packet(clips: Clips, reader) -> None:  # type: ignore[no-untyped-def]
    heard: list[None] = []
    reader.rate(clips["plain.mp4"], lambda: heard.append(None))
    assert len(heard) == 60


def test_stamps_in_milliseconds_are_of_ntsc_where_the_header_says_nothing() -> None:
    stamps = [round(number * 1001 / 30) for number in range(300)]
    found = rate_of_stamps(iter(stamps), Fraction(1, 1000), Fraction(0), quietly)
    assert found == Fraction(30000, 1001)
    assert rate_of_stamps(iter(stamps[:1]), Fraction(1, 1000), Fraction(0), quietly) is None


def test_a_header_that_the_stamps_belie_is_not_believed() -> None:
    stamps = [40 * number for number in range(100)]
    assert rate_of_stamps(iter(stamps), Fraction(1, 1000), Fraction(30), quietly) == 25
    odd = [number**2 for number in range(100)]
    assert rate_of_stamps(iter(odd), Fraction(1, 1000), Fraction(30), quietly) == Fraction(99 * 1000, 99**2)


@pytest.mark.parametrize(
    ("printed", "meant"),
    [
        ("23.98", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("47.95", Fraction(48000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("25", Fraction(25)),
        ("14.5", Fraction(29, 2)),
        ("0", Fraction(0)),
    ],
)
def test_two_printed_digits_mean_a_usual_rate(printed: str, meant: Fraction) -> None:
    assert meant_rate(Fraction(printed), Fraction(5, 1000)) == meant
