import math
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray

from actloc.errors import EnvironmentProblem, UserError, VideoError
from actloc.settings.choices import ReaderName
from actloc.video import reader
from actloc.video.base import VideoFacts
from actloc.video.frame_transforms import Resize
from actloc.video.reader import probe, read_frames
from tests.processes import descendants, is_at_work
from tests.videos import FPS, FRAMES, HEIGHT, SECONDS, WIDTH, Clips, ffmpeg, resized


def frames_of_ffmpeg(path: Path, fps: float) -> list[NDArray[np.uint8]]:
    """What ffmpeg's own filter gives, upright, from the first frame on."""
    width, height = (HEIGHT, WIDTH) if path.stem in ("turned", "mirrored") else (WIDTH, HEIGHT)
    command = [get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-i", str(path), "-map", "0:V:0"]
    command += ["-vf", f"setpts=PTS-STARTPTS,fps={fps}", "-fps_mode", "passthrough"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, capture_output=True).stdout
    return list(np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3))


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("fps", [30, 7.5, 29.97])
@pytest.mark.parametrize(
    "name",
    [
        *("plain.mp4", "edit_list.mp4", "late_start.mkv", "variable.mp4", "variable.mkv", "sound.avi", "sound.ts"),
        *("sound.flv", "raw.h264", "fragments.mp4", "turned.mp4", "mirrored.mp4", "cover.mp4"),
    ],
)
def test_frames_are_bit_for_bit_those_of_ffmpegs_fps_filter(clips: Clips, name: str, fps: float) -> None:
    ours = list(read_frames(clips[name], fps=fps))
    theirs = frames_of_ffmpeg(clips[name], fps)
    assert len(ours) == len(theirs)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("name", ["plain.mp4", "variable.mkv", "late_start.mkv", "turned.mp4", "cover.mp4"])
def test_the_ffmpeg_reader_gives_the_same_frames(clips: Clips, name: str) -> None:
    ours, piped = (list(read_frames(clips[name], fps=10, reader=which)) for which in ("pyav", "ffmpeg"))
    assert len(ours) == len(piped)
    assert all(np.array_equal(a, b) for a, b in zip(ours, piped, strict=True))


@pytest.mark.usefixtures("forked_decoders")
def test_the_short_side_is_resized_and_the_centre_cut_out(clips: Clips) -> None:
    whole = next(iter(read_frames(clips["plain.mp4"], fps=1, steps=resized(40))))
    assert whole.shape == (40, 60, 3)
    centre = next(iter(read_frames(clips["plain.mp4"], fps=1, steps=resized(40, 32))))
    assert np.array_equal(centre, whole[4:36, 14:46])
    turned = next(iter(read_frames(clips["turned.mp4"], fps=1, steps=resized(40))))
    assert np.array_equal(turned, np.rot90(whole))


@pytest.mark.usefixtures("forked_decoders")
def test_the_long_side_becomes_the_nearest_even_number(clips: Clips) -> None:
    assert next(iter(read_frames(clips["odd.mp4"], fps=1))).shape == (65, 97, 3)
    assert next(iter(read_frames(clips["odd.mp4"], fps=1, steps=resized(43)))).shape == (43, 64, 3)  # 64.17


def test_the_summary_tells_what_the_video_held(clips: Clips) -> None:
    frames = read_frames(clips["variable.mp4"], fps=15, steps=resized(32))
    count = sum(1 for _ in frames)
    summary = frames.summary
    assert count == summary.num_frames == 30
    assert summary.frames_decoded == 40
    assert (summary.width, summary.height, summary.reader) == (WIDTH, HEIGHT, "pyav")
    assert summary.duration_s == pytest.approx(SECONDS, abs=0.001)


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("only_sound.mp4", "no_video_stream"),
        ("index_last_cut.mp4", "unreadable"),
        ("index_first_cut.mp4", "truncated"),
        ("sound_cut.mkv", "truncated"),
        ("late_sound_cut.mkv", "truncated"),
        ("sound_cut.avi", "truncated"),
        ("hole.mp4", "damaged"),
    ],
)
def test_a_bad_video_is_named_by_its_reason(clips: Clips, name: str, reason: str) -> None:
    with pytest.raises(VideoError) as caught:
        list(read_frames(clips[name], fps=FPS))
    assert caught.value.reason == reason
    assert caught.value.expected
    assert caught.value.found


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("name", ["only_sound.mp4", "index_last_cut.mp4", "index_first_cut.mp4"])
def test_the_ffmpeg_reader_finds_the_same_reasons(clips: Clips, name: str) -> None:
    reasons = []
    for which in ("pyav", "ffmpeg"):
        with pytest.raises(VideoError) as caught:
            list(read_frames(clips[name], fps=FPS, reader=which))
        reasons.append(caught.value.reason)
    assert reasons[0] == reasons[1]


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("which", ["pyav", "ffmpeg"])
@pytest.mark.parametrize(("name", "frames"), [("late_start.avi", FRAMES), ("midway.ts", 45)])
def test_frames_that_the_file_never_had_are_not_missing(
    clips: Clips, name: str, frames: int, which: ReaderName
) -> None:
    assert sum(1 for _ in read_frames(clips[name], fps=FPS, reader=which)) == frames


def test_sound_that_lasts_longer_is_no_truncation(clips: Clips) -> None:
    assert sum(1 for _ in read_frames(clips["long_sound.mkv"], fps=FPS)) == FRAMES


@pytest.mark.usefixtures("forked_decoders")
def test_text_and_nothing_are_unreadable(tmp_path: Path) -> None:
    for content in (b"", b"I am a video, believe me\n" * 100):
        path = tmp_path / "x.mp4"
        path.write_bytes(content)
        with pytest.raises(VideoError) as caught:
            list(read_frames(path, fps=FPS))
        assert caught.value.reason == "unreadable"


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("which", ["pyav", "ffmpeg", "decord"])
def test_a_list_of_files_named_mp4_is_not_followed(clips: Clips, tmp_path: Path, which: ReaderName) -> None:
    path = tmp_path / "x.mp4"
    path.write_text(f"ffconcat version 1.0\nfile '{clips['plain.mp4']}'\n")
    with pytest.raises(VideoError) as caught:
        list(read_frames(path, fps=FPS, reader=which))
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("name", ["http://127.0.0.1/x.mp4", "concat:a|b", "-", "pipe:0", "data:,x", "x\0y"])
def test_what_is_not_a_file_is_never_opened(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(VideoError) as caught:
        read_frames(Path(name), fps=FPS)
    assert caught.value.reason == "not_a_file"


def test_pipes_folders_and_loops_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    for name in ("pipe.mp4", "folder.mp4", "loop.mp4"):
        with pytest.raises(VideoError) as caught:
            read_frames(tmp_path / name, fps=FPS)
        assert caught.value.reason == "not_a_file"


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("which", ["pyav", "ffmpeg"])
def test_any_name_is_only_a_name(clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    monkeypatch.chdir(tmp_path)
    names = (
        "a b'\"c.mp4",
        "x;$(touch pwned).mp4",
        "视频.mp4",
        "😀.mp4",
        "-v.mp4",
        "%03d.mp4",
        "a:b|c.mp4",
    )
    for name in names:
        Path(name).write_bytes(clips["plain.mp4"].read_bytes())
        assert sum(1 for _ in read_frames(Path(name), fps=5, steps=resized(16), reader=which)) == 10  # type: ignore[arg-type]
    odd = Path("x\udcff.mp4")  # which no JSON and no page could name
    odd.write_bytes(clips["plain.mp4"].read_bytes())
    with pytest.raises(VideoError, match="is not UTF-8"):
        next(iter(read_frames(odd, fps=5, reader=which)))  # type: ignore[call-overload, arg-type]
    assert not Path("pwned").exists()


def test_a_clip_with_data_streams_is_read() -> None:
    clip = Path("data/sample/playing_with_dog.mp4")
    assert sum(1 for _ in read_frames(clip, fps=5, steps=resized(64))) == 48


@pytest.mark.usefixtures("forked_decoders")
def test_a_header_is_read_without_decoding(clips: Clips) -> None:
    assert probe(clips["plain.mp4"]) == VideoFacts(float(SECONDS), float(FPS), WIDTH, HEIGHT)
    assert probe(clips["late_start.mkv"]).duration_s == pytest.approx(SECONDS, abs=0.001)
    assert probe(clips["late_start.mkv"], reader="ffmpeg").duration_s == pytest.approx(SECONDS, abs=0.01)
    assert probe(clips["raw.h264"]).duration_s == pytest.approx(SECONDS, abs=0.001)
    with pytest.raises(VideoError, match="no_video_stream"):
        probe(clips["only_sound.mp4"])


@pytest.fixture
def hanging(set_fault: Callable[[str], None]) -> None:
    """The next video hangs in its decoder."""
    set_fault("decode:1:hang")


@pytest.mark.usefixtures("hanging")
def test_a_decoder_that_hangs_is_given_up(clips: Clips, started: list[subprocess.Popen[bytes]]) -> None:
    with pytest.raises(VideoError) as caught:
        list(read_frames(clips["plain.mp4"], fps=FPS, timeout_s=0.1))
    assert caught.value.reason == "timeout"
    assert started[0].poll() is not None
    assert sum(1 for _ in read_frames(clips["plain.mp4"], fps=FPS)) == FRAMES  # the next video is read


@pytest.mark.usefixtures("hanging")
def test_a_decoder_that_crashes_makes_its_video_unreadable(
    clips: Clips, started: list[subprocess.Popen[bytes]]
) -> None:
    frames = read_frames(clips["plain.mp4"], fps=FPS)
    started[0].send_signal(signal.SIGSEGV)
    with pytest.raises(VideoError) as caught:
        list(frames)
    assert caught.value.reason == "unreadable"
    assert "SIGSEGV" in caught.value.detail


@pytest.mark.usefixtures("hanging")
def test_what_waiting_raises_ends_the_reading(clips: Clips, started: list[subprocess.Popen[bytes]]) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    frames = read_frames(clips["plain.mp4"], fps=FPS, check_stop=stop)
    with pytest.raises(KeyboardInterrupt):
        list(frames)
    assert started[0].poll() is not None


def test_a_slow_consumer_neither_times_out_nor_fills_memory(
    clips: Clips, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]]
) -> None:
    now, passed_s = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now() + passed_s)
    frames = read_frames(clips["plain.mp4"], fps=FPS, steps=resized(720))  # 60 of 2.3 MB; 32 MB are decoded ahead
    count = 0
    for _ in frames:
        count += 1
        if count <= FRAMES // 2:
            while frames.backlog < 1:  # until the decoder must wait
                time.sleep(0.01)
            assert started[0].poll() is None
            passed_s += 100.0  # longer than a decoder may be silent
    assert count == FRAMES


@pytest.mark.parametrize("which", ["pyav", "ffmpeg"])
def test_decoders_die_with_their_parent(clips: Clips, which: str) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from actloc.video.frame_transforms import Resize\nfrom actloc.video.reader import read_frames\n"
        # 60 frames of 2.3 MB, of which 32 MB are decoded ahead: the decoder cannot have ended
        "large = (Resize('swscale_bicubic', short_side=720),)\n"
        "frames = iter(read_frames(Path(sys.argv[1]), fps=30, steps=large, reader=sys.argv[2]))\n"
        "next(frames)\nprint('decoding', flush=True)\ntime.sleep(1e6)\n"
    )
    command = [sys.executable, "-c", code, str(clips["plain.mp4"]), which]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        said = parent.stdout.readline()
        decoders = [pid for pid in descendants(parent.pid) if is_at_work(pid)]
        parent.kill()
    assert said == "decoding\n"
    assert decoders
    while any(map(is_at_work, decoders)):  # a decoder that lives on fails the test by its time limit
        time.sleep(0.05)


@pytest.mark.usefixtures("forked_decoders")
def test_a_stream_that_begins_midway_is_left_to_ffmpeg(clips: Clips, tmp_path: Path) -> None:
    content = bytearray(clips["sound.flv"].read_bytes())
    place, last = 13, 0  # of a tag: its type, its size in 3 bytes, 7 bytes more, its data, and 4 bytes behind that
    while place < len(content):
        last = place if content[place] == 9 else last  # a tag of video
        place += 11 + int.from_bytes(content[place + 1 : place + 4], "big") + 4
    content[last] = 18  # of text, like a cue point
    (tmp_path / "midway.flv").write_bytes(content)
    with pytest.raises(VideoError) as caught:
        list(read_frames(tmp_path / "midway.flv", fps=FPS))
    assert caught.value.reason == "unreadable"
    assert "a stream begins midway; try machine.reader=ffmpeg" in caught.value.detail
    reading = read_frames(tmp_path / "midway.flv", fps="native")  # looks at every packet first
    assert abs(sum(1 for _ in reading) - FRAMES) <= 2
    assert reading.summary.reader == "ffmpeg"


@pytest.mark.usefixtures("forked_decoders")
@pytest.mark.parametrize("listed", ["{", '{"fps": 30}', '{"fps": NaN, "count": 3}', "[1]"])
def test_a_folder_of_frames_with_a_torn_list_is_unreadable(tmp_path: Path, listed: str) -> None:
    (tmp_path / "frames.json").write_text(listed)
    with pytest.raises(VideoError, match=r"unreadable: frames\.json was not written by actloc"):
        list(read_frames(tmp_path, fps=FPS))


def test_the_ffmpeg_reader_needs_an_ffmpeg(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise EnvironmentProblem("ffmpeg not found", "one", "install it")

    monkeypatch.setattr(reader, "find_ffmpeg", missing)
    with pytest.raises(EnvironmentProblem):
        read_frames(clips["plain.mp4"], fps=FPS, reader="ffmpeg")


def test_decord_is_an_extra(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install actloc\[decord\]"):
        read_frames(clips["plain.mp4"], fps=FPS, reader="decord")


def test_a_time_stamp_beyond_reason_is_refused(clips: Clips, tmp_path: Path) -> None:
    ffmpeg(
        "-i",
        clips["plain.mp4"],
        "-c",
        "copy",
        "-bsf:v",
        "setts=pts=if(gt(N\\,30)\\,PTS+1e10\\,PTS)",
        tmp_path / "x.mkv",
    )
    with pytest.raises(VideoError) as caught:
        list(read_frames(tmp_path / "x.mkv", fps=FPS))
    assert caught.value.reason in ("unsupported", "damaged", "truncated")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have other settings for memory")
def test_the_memory_of_a_picture_is_kept_for_the_next_one(tmp_path: Path) -> None:
    """Counts pages that the system had to clear for decoding: 1,500 for every RGB picture, if it were given back."""
    path, size = tmp_path / "large.mp4", (1920, 1080)
    source = f"testsrc2=s={size[0]}x{size[1]}:r=30:d=3"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", path)

    def faults(fps: float) -> int:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        with read_frames(path, fps=fps, steps=(Resize("bilinear", size=(48, 96)),)) as frames:
            assert sum(1 for _ in frames) == 3 * fps
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before

    pages = math.prod(size) * 3 / resource.getpagesize()
    assert faults(30.0) - faults(10.0) < 0.2 * (90 - 30) * pages
