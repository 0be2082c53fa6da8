"""Recordings joined into one file byte after byte: all rows, or refused with the cure, never rows lost."""

import subprocess
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from actloc.errors import VideoError
from actloc.video.readers import ffmpeg, joined, pyav
from actloc.video.readers.base import Clock, DecodingStats

CODECS = {"mp4": "libx264", "mov": "libx264", "mkv": "libx264", "flv": "libx264", "webm": "libvpx", "wmv": "wmv2"}
CLOCKED = {"ts": "libx264", "mpg": "mpeg2video"}
WHOLE = {"avi": "mpeg4", "h264": "libx264"}


def record(path: Path, seconds: int, codec: str, *more: str) -> bytes:
    source = ["-f", "lavfi", "-i", f"testsrc=s=64x48:r=25:d={seconds}", "-c:v", codec, *more]
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", *source, f"file:{path}"], check=True)
    return path.read_bytes()


def join(folder: Path, suffix: str, codec: str, *second: str) -> Path:
    parts = record(folder / f"a.{suffix}", 2, codec), record(folder / f"b.{suffix}", 4, codec, *second)
    path = folder / f"both.{suffix}"
    path.write_bytes(b"".join(parts))
    return path


def count(path: Path) -> tuple[int, float]:
    stats = DecodingStats()
    return sum(1 for _ in pyav.pictures(path, stats)), float(stats.end_s)


@pytest.mark.parametrize(("suffix", "codec"), CODECS.items())
def test_files_of_which_decoders_read_the_first_recording_are_refused(suffix: str, codec: str, tmp_path: Path) -> None:
    path = join(tmp_path, suffix, codec)
    for read in (count, pyav.facts, ffmpeg.facts, lambda path: list(ffmpeg.pictures(path, DecodingStats()))):
        with pytest.raises(VideoError, match="2 recordings were joined into one file") as caught:
            read(path)
        assert (caught.value.reason, caught.value.found) == ("unsupported", "2 recordings")
        assert "ffmpeg -f concat" in caught.value.detail
    for name in "ab":
        joined.check(tmp_path / f"{name}.{suffix}")
    assert count(tmp_path / f"b.{suffix}")[0] == 100


@pytest.mark.parametrize(("suffix", "codec"), CLOCKED.items())
def test_a_clock_that_falls_back_is_refused_with_a_cure_that_works(suffix: str, codec: str, tmp_path: Path) -> None:
    path = join(tmp_path, suffix, codec)
    for read in (count, pyav.facts):
        with pytest.raises(VideoError, match=r"the clock falls back from .* ffmpeg -i FILE -c copy NEW\.mp4"):
            read(path)
    cured = ["-i", f"file:{path}", "-c", "copy", str(tmp_path / "cured.mp4")]
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", *cured], check=True)
    frames, end_s = count(tmp_path / "cured.mp4")
    assert frames == 150
    assert end_s == pytest.approx(6.0, abs=0.1)


def test_a_clock_that_jumps_by_an_hour_is_refused(tmp_path: Path) -> None:
    path = join(tmp_path, "ts", "libx264", "-output_ts_offset", "3600")
    for read in (count, pyav.facts):
        with pytest.raises(VideoError, match=r"the clock jumps from 3\..* to 3601\..* s"):
            read(path)


@pytest.mark.parametrize(("suffix", "codec"), WHOLE.items())
def test_formats_that_decoders_read_to_the_end_give_all_rows(suffix: str, codec: str, tmp_path: Path) -> None:
    assert count(join(tmp_path, suffix, codec)) == (150, 6.0)


@pytest.mark.parametrize(
    ("suffix", "more"),
    [
        ("mp4", ("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-g", "10")),
        ("mp4", ("-movflags", "faststart")),
        ("mkv", ("-live", "1")),
        ("ts", ()),
        ("flv", ("-flvflags", "no_duration_filesize")),
    ],
)
def test_unusual_files_of_one_recording_are_read(suffix: str, more: tuple[str, ...], tmp_path: Path) -> None:
    record(tmp_path / f"v.{suffix}", 4, "libx264", *more)
    assert count(tmp_path / f"v.{suffix}")[0] == 100


def test_a_screen_recording_may_show_one_picture_for_minutes_and_pictures_may_be_a_little_out_of_order() -> None:
    clock = Clock("mov,mp4,m4a,3gp,3g2,mj2")
    for time_s in (0, 300, Fraction(2999, 10), 900):
        clock.check(Fraction(time_s))
    broadcast = Clock("mpegts")
    for time_s in (0, 9, 8, 17):
        broadcast.check(Fraction(time_s))


@pytest.mark.parametrize("content", [b"", b"FLV\x01", b"\0\0\0\0moov", b"\x1a\x45\xdf\xa3\xff", b"\0\0\0\1mdat\0\0"])
def test_short_and_odd_files_are_left_to_the_decoder(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(content)
    joined.check(tmp_path / "v")
    joined.check(tmp_path / "not there")


def outcome(reader: ModuleType, path: Path) -> int | str:
    """How many pictures are read, or why none are."""
    try:
        return sum(1 for _ in reader.pictures(path, DecodingStats()))
    except VideoError as error:
        return error.reason


@pytest.mark.parametrize("reader", [pyav, ffmpeg])
@pytest.mark.parametrize(
    ("suffix", "first", "second", "more"),
    [
        ("ts", "libx264", "mpeg2video", ()),
        ("ts", "mpeg2video", "libx264", ()),
        ("ts", "libx264", "mpeg2video", ("-mpegts_start_pid", "0x200")),
        ("ts", "libx264", "libx264", ("-mpegts_start_pid", "0x200")),
        ("mpg", "mpeg2video", "libx264", ()),
    ],
)
def test_streams_whose_codec_or_stream_changes_lose_no_rows_unnoticed(
    reader: ModuleType, suffix: str, first: str, second: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    one = record(tmp_path / f"a.{suffix}", 2, first)
    path = tmp_path / f"both.{suffix}"
    path.write_bytes(one + record(tmp_path / f"b.{suffix}", 4, second, "-output_ts_offset", "2", *more))
    assert outcome(reader, path) in ("unsupported", "damaged")
    for name in "ab":
        assert outcome(reader, tmp_path / f"{name}.{suffix}") == {"a": 50, "b": 100}[name]


@pytest.mark.parametrize("reader", [pyav, ffmpeg])
def test_streams_beside_each_other_and_broadcasts_joined_midway_are_read(reader: ModuleType, tmp_path: Path) -> None:
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=6"]
    two = [*source, *source, "-map", "0:v", "-map", "1:v", "-t", "4", "-c:v", "libx264", "-g", "25", "-bf", "0"]
    path = tmp_path / "two.ts"
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", *two, f"file:{path}"], check=True)
    assert outcome(reader, path) == 100
    whole = record(tmp_path / "whole.ts", 8, "libx264", "-g", "75", "-bf", "0", "-b:v", "400k")
    path.write_bytes(whole[188 * (len(whole) // 188 // 4) :])
    frames = outcome(reader, path)
    assert isinstance(frames, int)
    assert frames in (50, 125)  # from the second or the third keyframe on
    second = record(tmp_path / "second.ts", 4, "libx264", "-output_ts_offset", "8", "-g", "75", "-bf", "0")
    path.write_bytes(whole + second)
    assert outcome(reader, path) == 300
