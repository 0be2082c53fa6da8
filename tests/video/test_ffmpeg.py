import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from actloc.errors import EnvironmentProblem, VideoError
from actloc.video import ffmpeg
from actloc.video.base import find_ffmpeg
from actloc.video.ffmpeg import Piece, extract_frames, reencode, splice
from actloc.video.frame_transforms import Crop
from actloc.video.reader import probe, read_frames
from tests.processes import descendants, is_at_work
from tests.videos import FPS, FRAMES, SECONDS, Clips, resized
from tests.videos import ffmpeg as run_ffmpeg


def test_reencoding_gives_a_constant_rate_and_the_same_bytes_twice(clips: Clips, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        frames = reencode(clips["variable.mp4"], tmp_path / name, fps=25, short_side=33, keyframe_interval=10)
        assert frames == 25 * SECONDS
    facts = probe(tmp_path / "a.mp4")
    assert (facts.fps, facts.width, facts.height) == (25, 48, 32)  # H.264 wants even sides
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    assert key_frames(tmp_path / "a.mp4") == list(range(0, 50, 10))


def key_frames(path: Path) -> list[int]:
    import av

    with av.open(str(path)) as container:
        return [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]


def test_a_part_is_cut_out_and_sped_up(clips: Clips, tmp_path: Path) -> None:
    target = tmp_path / "part.mp4"
    frames = reencode(
        clips["plain.mp4"],
        target,
        fps=FPS,
        short_side=64,
        keyframe_interval=30,
        start_s=0.5,
        duration_s=1.0,
        speed=2.0,
    )
    assert frames == 15
    part = list(read_frames(target, fps=FPS))
    whole = list(read_frames(clips["plain.mp4"], fps=FPS))
    for number, frame in enumerate(part):  # every second frame from 0.5 s on
        difference = [np.abs(frame.astype(int) - other).mean() for other in whole]
        assert int(np.argmin(difference)) in (15 + 2 * number, 16 + 2 * number)


def test_pieces_begin_exactly_where_their_lengths_say(clips: Clips, tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        run_ffmpeg(
            "-f", "lavfi", "-i", f"color={colour}:s=40x60:r=24:d=2", "-pix_fmt", "yuv420p", tmp_path / f"{colour}.mp4"
        )
    pieces = [
        Piece(tmp_path / "red.mp4", 0.0, 1.01),
        Piece(tmp_path / "blue.mp4", 0.3, 1.5, speed=1.25),
        Piece(tmp_path / "red.mp4", 1.5, 1.0),  # half a second beyond the end
    ]
    lengths = [30, 36, 30]
    assert [piece.num_frames(FPS) for piece in pieces] == lengths
    target = tmp_path / "spliced.mp4"
    assert splice(pieces, target, fps=FPS, width=64, height=48) == sum(lengths)
    first = target.read_bytes()
    colours = ["red" if frame[24, 32, 0] > 128 else "blue" for frame in read_frames(target, fps=FPS)]
    assert colours == ["red"] * 30 + ["blue"] * 36 + ["red"] * 30
    splice(pieces, target, fps=FPS, width=64, height=48)
    assert target.read_bytes() == first


def test_a_negative_speed_shows_the_same_pictures_in_reverse_order(clips: Clips, tmp_path: Path) -> None:
    shown = {}
    for speed in (2.0, -2.0):
        pieces = [Piece(clips["plain.mp4"], 0.5, 1.0, speed), Piece(clips["plain.mp4"], 0.0, 0.2)]
        target = tmp_path / f"{speed}.mp4"
        assert splice(pieces, target, fps=FPS, width=64, height=48) == 15 + 6
        shown[speed] = np.stack(list(read_frames(target, fps=FPS))).astype(int)
    for number, frame in enumerate(shown[-2.0][:15]):
        difference = np.abs(shown[2.0][:15] - frame).mean((1, 2, 3))
        assert int(np.argmin(difference)) == 14 - number


def test_a_piece_that_begins_after_the_end_is_refused(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(VideoError):
        splice([Piece(clips["plain.mp4"], 5.0, 1.0)], tmp_path / "x.mp4", fps=FPS, width=64, height=48)
    assert not list(tmp_path.iterdir())


def test_extracted_frames_are_read_back(clips: Clips, tmp_path: Path) -> None:
    folder = tmp_path / "a %03d folder"
    assert extract_frames(clips["plain.mp4"], folder, fps=10, short_side=32) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["a %03d folder"]
    frames = read_frames(folder, fps=20, steps=(Crop(32),))
    back = list(frames)
    assert (len(back), back[0].shape, frames.summary.duration_s) == (40, (32, 32, 3), 2.0)
    assert probe(folder).duration_s == 2.0
    (folder / "000007.jpg").unlink()
    (folder / "000008.jpg").unlink()
    with pytest.raises(VideoError) as caught:
        list(read_frames(folder, fps=10))
    assert caught.value.reason in ("truncated", "damaged")


def test_extracted_frames_keep_their_colours(tmp_path: Path) -> None:
    clip = Path("data/sample/juggling_ball.mp4")
    extract_frames(clip, tmp_path / "frames", fps=2, short_side=96)
    stored, direct = (
        np.stack(list(read_frames(path, fps=2, steps=resized(96)))) for path in (tmp_path / "frames", clip)
    )
    difference = stored.astype(int) - direct
    assert np.abs(difference).mean() < 5
    assert np.abs(difference.mean((0, 1, 2))).max() < 1


def test_a_bad_source_leaves_no_files(clips: Clips, tmp_path: Path) -> None:
    listing = tmp_path / "x.mp4"
    listing.write_text(f"ffconcat version 1.0\nfile '{clips['plain.mp4']}'\n")
    for make in (
        lambda: reencode(listing, tmp_path / "out" / "y.mp4", fps=5, short_side=32, keyframe_interval=5),
        lambda: extract_frames(listing, tmp_path / "out" / "frames", fps=5, short_side=32),
    ):
        with pytest.raises(VideoError) as caught:
            make()
        assert caught.value.reason == "unreadable"
        assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("fault", ["write:1:ENOSPC", "replace:1:EIO", "fsync:1:EIO"])
def test_a_full_disk_leaves_the_old_file(
    clips: Clips, tmp_path: Path, set_fault: Callable[[str], None], fault: str
) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"old")
    set_fault(fault)
    with pytest.raises(OSError, match="ACTLOC_FAULT"):
        reencode(clips["plain.mp4"], target, fps=5, short_side=32, keyframe_interval=5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert target.read_bytes() == b"old"


def test_ffmpegs_own_full_disk_is_an_os_error() -> None:
    error = ffmpeg._failure(1, ffmpeg.deque(["av_interleaved_write_frame(): No space left on device"]))
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC


def test_an_ffmpeg_without_progress_is_ended(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError) as caught:
        ffmpeg.run(["-i", f"file:{tmp_path / 'pipe.mp4'}", "-f", "null", "-"], timeout_s=0.1)
    assert caught.value.reason == "timeout"
    assert started[0].poll() is not None


def test_ffmpeg_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom actloc.video import ffmpeg\n"
        "ffmpeg.run(['-re', '-f', 'lavfi', '-i', 'testsrc2=s=32x32', '-f', 'mpegts', sys.argv[1]], "
        "check_stop=lambda: print(end='.', flush=True))\n"
    )
    target = tmp_path / "endless.ts"
    with subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.DEVNULL) as parent:
        while not target.exists() and parent.poll() is None:
            time.sleep(0.05)
        writers = [pid for pid in descendants(parent.pid) if is_at_work(pid)]
        parent.kill()
    assert writers
    while any(map(is_at_work, writers)):  # an ffmpeg that writes on fails the test by its time limit
        time.sleep(0.05)


def test_without_any_ffmpeg_the_error_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(EnvironmentProblem, match="ffmpeg not found") as caught:
        find_ffmpeg()
    assert caught.value.status == 4
    assert "pip install imageio-ffmpeg" in caught.value.fix


def test_the_ffmpeg_on_path_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert find_ffmpeg() == "/somewhere/ffmpeg"


def test_frames_of_the_clip_are_all_there(clips: Clips, tmp_path: Path) -> None:
    assert reencode(clips["cover.mp4"], tmp_path / "a.mp4", fps=FPS, short_side=64, keyframe_interval=30) == FRAMES
