"""Frames stored as PNG are those of the video, to the bit; frames stored as JPEG are near."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actloc.errors import VideoError
from actloc.video import png_frames
from actloc.video.augmentation import Mirror
from actloc.video.base import FRAMES_FILE
from actloc.video.clip_reader import ClipReader
from actloc.video.ffmpeg import extract_frames
from actloc.video.frame_transforms import Crop, Resize
from actloc.video.multi_scale_crop import MultiScaleCrop
from actloc.video.png_frames import extract_png_frames
from actloc.video.reader import read_frames
from tests.videos import FRAMES, Clips

pytestmark = pytest.mark.usefixtures("forked_decoders")
SAMPLE = Path("data/sample/pouring_coffee.mp4")
NEAR_OF_255 = 3.0
"""Mean difference of JPEG frames of quality 2 from those of the video; measured on four videos: 1.5 to 2.8."""


@pytest.mark.parametrize(
    "name", ["plain.mp4", "variable.mkv", "edit_list.mp4", "turned.mp4", "odd.mp4", "sound.avi", "late_start.mkv"]
)
def test_frames_are_those_of_the_video(clips: Clips, tmp_path: Path, name: str) -> None:
    reading = read_frames(clips[name], fps="native")
    expected = list(reading)
    folder = tmp_path / "100% frames"
    assert extract_png_frames(clips[name], folder) == len(expected)
    assert np.array_equal(list(read_frames(folder, fps="native")), expected)
    with ClipReader(1, fps="native") as reader:
        times = reader.times(folder)
    assert (times.num_frames, times.fps) == (len(expected), reading.summary.fps)
    assert (times.height, times.width) == expected[0].shape[:2]
    listed = sorted(path.name for path in folder.iterdir())
    assert listed == [*(f"{number:06d}.png" for number in range(1, len(expected) + 1)), FRAMES_FILE]


def test_training_samples_of_a_real_video_are_the_same_from_its_file_and_from_png(tmp_path: Path) -> None:
    extract_png_frames(SAMPLE, tmp_path / "frames")
    chains = (
        (Resize("pil_bilinear", short_side=160, rounding="floor"), Crop(112, "round")),
        (MultiScaleCrop(112, 4, 11), Mirror()),
        (Resize("rounded_bilinear", short_side=128, rounding="nearest"),),
    )
    order = random.Random(0)
    with ClipReader(1, fps="native") as reader:
        times = reader.times(SAMPLE)
        stored = reader.times(tmp_path / "frames")
        assert (stored.num_frames, stored.fps) == (times.num_frames, times.fps)
        for steps in chains:
            numbers = [order.randrange(times.num_frames + 20) for _ in range(8)]
            online = reader.read_frames(SAMPLE, numbers, steps)
            assert np.array_equal(reader.read_frames(tmp_path / "frames", numbers, steps), online)


def test_jpeg_frames_of_a_real_video_are_near(tmp_path: Path) -> None:
    with ClipReader(1, fps="native") as reader:
        times = reader.times(SAMPLE)
        extract_frames(SAMPLE, tmp_path / "frames", fps=times.fps, short_side=min(times.height, times.width))
        numbers = list(range(0, times.num_frames, 10))
        difference = reader.read_frames(SAMPLE, numbers).astype(int) - reader.read_frames(tmp_path / "frames", numbers)
    assert 0 < np.abs(difference).mean() < NEAR_OF_255


def test_no_ffmpeg_program_is_started(clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "missing"))
    assert extract_png_frames(clips["plain.mp4"], tmp_path / "frames") == FRAMES


def test_what_only_ffmpeg_opens_is_refused_and_nothing_is_left(clips: Clips, tmp_path: Path) -> None:
    content = bytearray(clips["sound.flv"].read_bytes())
    place, last = 13, 0
    while place < len(content):
        last = place if content[place] == 9 else last
        place += 11 + int.from_bytes(content[place + 1 : place + 4], "big") + 4
    content[last] = 18  # a stream of text begins with the last picture, as in tests/video/test_reader.py
    (tmp_path / "midway.flv").write_bytes(content)
    with pytest.raises(VideoError, match="unreadable: PyAV cannot open the file"):
        extract_png_frames(tmp_path / "midway.flv", tmp_path / "frames")
    assert [path.name for path in tmp_path.iterdir()] == ["midway.flv"]


def test_a_video_cut_short_and_a_full_disk_leave_nothing(
    clips: Clips, tmp_path: Path, set_fault: Callable[[str], None]
) -> None:
    with pytest.raises(VideoError, match="truncated"):
        extract_png_frames(clips["index_first_cut.mp4"], tmp_path / "frames")
    set_fault("write:1:ENOSPC")
    with pytest.raises(OSError, match="No space left"):
        extract_png_frames(clips["plain.mp4"], tmp_path / "frames")
    assert not list(tmp_path.iterdir())


def test_a_picture_shown_for_several_frames_is_compressed_once(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed = []

    class Noted:
        @staticmethod
        def fromarray(frame: np.ndarray) -> Image.Image:  # type: ignore[type-arg]
            compressed.append(frame)
            return Image.fromarray(frame)

    monkeypatch.setattr(png_frames, "Image", Noted)
    total = extract_png_frames(clips["variable.mp4"], tmp_path / "frames")
    assert len(compressed) < total
    assert json.loads((tmp_path / "frames" / FRAMES_FILE).read_text())["count"] == total
