"""Clips at random places are those of extraction, bit for bit, whatever the container, the rates and the order."""

import io
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from actloc.errors import VideoError
from actloc.recognition.sampling import Sampling
from actloc.settings.choices import Align, ReaderName
from actloc.video.augmentation import Mirror
from actloc.video.channel import Channel
from actloc.video.clip_reader import ClipReader
from actloc.video.clip_worker import ClipWorker
from actloc.video.decode import Upright
from actloc.video.ffmpeg import extract_frames, reencode
from actloc.video.frame_transforms import Crop, FrameStep, OpticalFlow, Resize
from actloc.video.reader import Rate, read_frames
from actloc.video.windows import Picking, Windower, frames_of_clip
from tests.clips import clip_starts
from tests.videos import FPS, FRAMES, HEIGHT, Clips, ffmpeg, resized

pytestmark = pytest.mark.usefixtures("forked_decoders")

SOUGHT = ["plain.mp4", "index_first.mp4", "edit_list.mp4", "variable.mp4", "variable.mkv", "sound.mkv", "cover.mp4"]
SOUGHT += ["late_start.mkv", "fragments.mp4", "turned.mp4", "long_sound.mkv", "open_groups.mp4", "cut_in_group.mp4"]
SOUGHT += ["hevc.mp4", "mpeg4.mp4", "vp9.webm"]
FROM_START = ["sound.avi", "late_start.avi", "sound.ts", "midway.ts", "raw.h264", "sound.flv", "refreshed.mp4"]
RATES: list[tuple[Rate, Rate | None]] = [(30, None), (29.97, None), (7.5, None), ("native", None), (15, 30), (20, 30)]
RATES += [(12.5, "native")]
STEPS: tuple[FrameStep, ...] = resized(32, 24)
_NO_PAIRS = ["-bf", "4", "-g", "15", "-x264-params", "open-gop=1:b-adapt=0:b-pyramid=normal:scenecut=0"]
_H265 = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
MADE: dict[str, tuple[str, list[str]]] = {
    "open_groups.mp4": ("plain.mp4", ["-c:v", "libx264", "-preset", "veryfast", *_NO_PAIRS]),
    "cut_in_group.mp4": ("open_groups.mp4", ["-c", "copy"]),
    "hevc.mp4": ("plain.mp4", [*_H265, "-x265-params", "log-level=none:open-gop=1:keyint=15:min-keyint=15:bframes=4"]),
    "mpeg4.mp4": ("plain.mp4", ["-c:v", "mpeg4", "-bf", "2", "-g", "15"]),
    "vp9.webm": ("plain.mp4", ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "20"]),
    # a key frame is a picture of which a column is whole: decoding can begin there, and shows nothing for a second
    "refreshed.mp4": ("plain.mp4", ["-c:v", "libx264", "-bf", "0", "-g", "15", "-x264-params", "intra-refresh=1"]),
}
"""More videos: what each is made from, and how."""


def made(clips: Clips, name: str) -> Path:
    """A video of `clips`, or one of the table above."""
    path = clips.folder / name
    if name not in MADE or path.exists():
        return clips[name]
    source, arguments = MADE[name]
    before = ["-ss", "0.7", "-to", "1.8"] if name == "cut_in_group.mp4" else []
    ffmpeg(*before, "-i", made(clips, source), *arguments, path)
    return path


@pytest.fixture(scope="module")
def reader_of() -> Iterator[Callable[..., ClipReader]]:
    """A reader for each pair of rates, with one process."""
    readers: dict[tuple[Rate, Rate | None], ClipReader] = {}

    def found(fps: Rate = FPS, decode_fps: Rate | None = None) -> ClipReader:
        if (fps, decode_fps) not in readers:
            readers[fps, decode_fps] = ClipReader(1, fps=fps, decode_fps=decode_fps, steps=STEPS)
        return readers[fps, decode_fps]

    yield found
    for reader in readers.values():
        reader.close()


def extracted(
    path: Path, fps: Rate = FPS, decode_fps: Rate | None = None, steps: Sequence[FrameStep] = STEPS
) -> tuple[list[NDArray[Any]], Picking | None, dict[str, Any]]:
    """The frames of extraction, how clips pick theirs, and what is known of the video."""
    reading = read_frames(path, fps=fps, decode_fps=decode_fps, steps=steps)
    frames = list(reading)
    known = ("num_frames", "fps", "duration_s", "width", "height", "reader")
    return frames, reading.picking, {name: getattr(reading.summary, name) for name in known}


def clips_of_extraction(
    frames: list[NDArray[Any]], picking: Picking | None, align: Align, length: int, stride: int, interval: int
) -> NDArray[Any]:
    windower = Windower(align, length, stride, lambda: picking)
    found = [clip for frame in frames for clip in windower.add(frame)]
    return np.stack([clip[::interval] for clip in [*found, *windower.end()]])


@pytest.mark.parametrize("rates", RATES, ids=str)
@pytest.mark.parametrize("name", SOUGHT + FROM_START)
def test_clips_in_any_order_are_those_of_extraction(
    clips: Clips, name: str, rates: tuple[Rate, Rate | None], reader_of: Callable[..., ClipReader]
) -> None:
    path, reader = made(clips, name), reader_of(*rates)
    frames, picking, known = extracted(path, *rates)
    times = reader.times(path)
    assert {key: getattr(times, key) for key in known} == known
    assert (times.frame_shape, times.dtype) == (frames[0].shape, frames[0].dtype.name)
    order = random.Random(f"{name} {rates}")
    for align, length, stride, interval in (("valid", 8, 3, 1), ("backpad", 7, 5, 2), ("centred", 6, 4, 3)):
        expected = clips_of_extraction(frames, picking, align, length, stride, interval)  # type: ignore[arg-type]
        starts = clip_starts(times.num_frames, align, length, stride)  # type: ignore[arg-type]
        assert len(starts) == len(expected)
        numbers = order.sample(range(len(starts)), len(starts))
        found = reader.read(path, [starts[number] for number in numbers], length, interval)
        assert np.array_equal(found, expected[numbers])
        for number in numbers[:3]:
            assert np.array_equal(reader.read(path, [starts[number]], length, interval)[0], expected[number])


@pytest.mark.parametrize("name", ["index_first.mp4", "sound.avi"])
def test_first_frames_are_any_integers(clips: Clips, name: str, reader_of: Callable[..., ClipReader]) -> None:
    frames = extracted(clips[name])[0]
    starts = [31, -3, 7, 7, -1000, 1000, 58, 30, 0]
    found = reader_of().read(clips[name], starts, 5)
    expected = [[frames[number] for number in frames_of_clip(start, 5, len(frames), None)] for start in starts]
    assert np.array_equal(found, np.array(expected))


@pytest.mark.parametrize("name", [*SOUGHT, *FROM_START, "juggling_ball.mp4"])
def test_frames_by_number_are_those_of_extraction(
    clips: Clips, name: str, reader_of: Callable[..., ClipReader]
) -> None:
    path = Path("data/sample") / name if name == "juggling_ball.mp4" else made(clips, name)
    frames = extracted(path, "native")[0]
    order = random.Random(name)
    numbers = [order.randrange(len(frames)) for _ in range(25)]
    numbers += [numbers[3], -2, len(frames) - 1, len(frames), len(frames) + 100, 0]
    expected = [frames[min(max(number, 0), len(frames) - 1)] for number in numbers]
    assert np.array_equal(reader_of("native").read_frames(path, numbers), np.array(expected))


@pytest.mark.parametrize("cut", [500, 1500])
def test_frames_that_the_header_promises_and_no_packet_has_repeat_the_last_one(
    clips: Clips, tmp_path: Path, cut: int, reader_of: Callable[..., ClipReader]
) -> None:
    whole, path = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    ffmpeg("-stream_loop", "9", "-i", clips["plain.mp4"], "-c", "copy", "-movflags", "+faststart", whole)
    path.write_bytes(whole.read_bytes()[:-cut])
    frames = extracted(path, "native")[0]
    assert 10 * FRAMES - 4 < len(frames) < 10 * FRAMES
    numbers = [10 * FRAMES - 1, 10 * FRAMES - 3, len(frames) - 1, len(frames) - 2, 10 * FRAMES + 9]
    expected = [frames[min(number, len(frames) - 1)] for number in numbers]
    assert np.array_equal(reader_of("native").read_frames(path, numbers), np.array(expected))


@pytest.mark.parametrize("which", get_args(ReaderName))
def test_any_reader_gives_the_clips_of_its_extraction(clips: Clips, which: ReaderName) -> None:
    path = clips["plain.mp4"]
    frames = list(read_frames(path, fps=10, reader=which))
    with ClipReader(1, fps=10, reader=which) as reader:
        assert reader.times(path).reader == which
        for start in (12, 3, 5):
            assert np.array_equal(reader.read(path, [start], 4)[0], np.array(frames[start : start + 4]))


def test_a_file_that_pyav_cannot_open_is_read_by_ffmpeg(
    clips: Clips, reader_of: Callable[..., ClipReader], tmp_path: Path
) -> None:
    content = bytearray(clips["sound.flv"].read_bytes())
    place, last = 13, 0
    while place < len(content):
        last = place if content[place] == 9 else last
        place += 11 + int.from_bytes(content[place + 1 : place + 4], "big") + 4
    content[last] = 18  # a stream of text begins with the last picture, as in tests/video/test_reader.py
    (tmp_path / "midway.flv").write_bytes(content)
    frames, _, known = extracted(tmp_path / "midway.flv", "native")
    assert known["reader"] == reader_of("native").times(tmp_path / "midway.flv").reader == "ffmpeg"
    assert np.array_equal(reader_of("native").read(tmp_path / "midway.flv", [20], 6)[0], np.array(frames[20:26]))


@pytest.fixture
def counted(reader_of: Callable[..., ClipReader]) -> Callable[[Callable[[ClipReader], object]], int]:
    """How many pictures are decoded for something."""

    def count(act: Callable[[ClipReader], object]) -> int:
        before = reader_of().frames_decoded
        act(reader_of())
        return reader_of().frames_decoded - before

    return count


@pytest.mark.parametrize("name", ["index_first.mp4", "open_groups.mp4", "hevc.mp4", "mpeg4.mp4"])
def test_a_clip_begins_at_the_key_frame_before_it(clips: Clips, name: str, counted: Callable[..., int]) -> None:
    path = made(clips, name)
    counted(lambda reader: reader.times(path))
    for start in random.Random(0).sample(range(FRAMES - 8), 12):
        # of an open group, the pictures shown before its key frame may be decoded as well
        assert 0 <= counted(lambda reader, start=start: reader.read(path, [start], 8)) <= 15 + 8 + 4


@pytest.mark.parametrize("name", ["plain.mp4", "sound.ts"])
def test_clips_in_order_cost_one_pass(clips: Clips, tmp_path: Path, name: str, counted: Callable[..., int]) -> None:
    path = tmp_path / name
    path.write_bytes(clips[name].read_bytes())  # which no other test has opened
    listing = counted(lambda reader: reader.times(path))
    starts = range(0, FRAMES - 7, 3)
    total = sum(counted(lambda reader, start=start: reader.read(path, [start], 8)) for start in starts)
    assert total == (starts[-1] + 8) - 1  # the first picture was decoded to know the size
    assert listing == (1 if name == "plain.mp4" else FRAMES + 1)


def test_a_clip_decodes_what_it_needs_once(clips: Clips, tmp_path: Path, counted: Callable[..., int]) -> None:
    path = tmp_path / "copy.mp4"
    path.write_bytes(clips["plain.mp4"].read_bytes())
    assert counted(lambda reader: reader.read(path, [40, 0, 20, 33], 20, 2)) == 40 + 20 - 1


@pytest.mark.parametrize("name", ["index_first.mp4", "hevc.mp4", "mpeg4.mp4"])
def test_frames_by_number_cost_what_key_frames_do_not_leave_out(
    clips: Clips, tmp_path: Path, name: str, counted: Callable[..., int]
) -> None:
    path = tmp_path / name
    path.write_bytes(made(clips, name).read_bytes())  # which no other test has opened
    assert counted(lambda reader: reader.times(path)) == 1
    # key frames are at 0, 15, 30 and 45: those of frames 1 to 3, then of 30 to 33, then of 45 to 47
    ahead = 4 if name == "hevc.mp4" else 0  # of an open group, pictures before the key frame may be decoded as well
    needed = 3 + 4 + 3
    assert needed <= counted(lambda reader: reader.read_frames(path, [47, 33, 33, 2, 3])) <= needed + 2 * ahead
    assert counted(lambda reader: reader.read_frames(path, [50, 48])) == 3  # goes on from where it was


def test_clips_of_one_video_are_read_in_one_pass(clips: Clips, tmp_path: Path, counted: Callable[..., int]) -> None:
    path = tmp_path / "copy.mp4"
    path.write_bytes(clips["plain.mp4"].read_bytes())
    wanted = Sampling("interval", 8, 3).test(FRAMES, 4)
    numbers = [number for clip in wanted for number in clip]
    assert len(set(numbers)) < len(numbers)  # the clips overlap
    assert counted(lambda reader: reader.read_frames(path, numbers)) == max(numbers) + 1


def test_only_the_wanted_pictures_are_converted_and_each_once(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    converted: list[int | None] = []
    convert = Upright.frame

    def noted(upright: Upright, picture: Any, first_step: FrameStep | None) -> NDArray[np.uint8]:
        converted.append(picture.pts)
        return convert(upright, picture, first_step)

    monkeypatch.setattr(Upright, "frame", noted)
    answer = io.BytesIO()
    worker = ClipWorker({"fps": "native", "decode_fps": None, "reader": "pyav"}, Channel(answer))
    request = {"task": "clips", "path": str(clips["index_first.mp4"]), "steps": []}
    wanted = [50, 7, 7, 31, 50, 80]
    worker.serve({**request, "first_frames": wanted, "clip_frames": 1, "frame_interval": 1})
    assert len(converted) == len(set(converted)) == len({min(number, FRAMES - 1) for number in wanted})


def test_a_file_that_differs_from_its_packets_is_decoded_from_the_start_ever_after(
    clips: Clips, tmp_path: Path, counted: Callable[..., int]
) -> None:
    path = tmp_path / "copy.mp4"
    path.write_bytes(made(clips, "refreshed.mp4").read_bytes())
    assert counted(lambda reader: reader.times(path)) == 1
    assert counted(lambda reader: reader.read(path, [50], 4)) > FRAMES
    assert counted(lambda reader: reader.read(path, [30], 4)) == 34
    assert counted(lambda reader: reader.read(path, [40], 4)) == 10


@pytest.mark.parametrize("interval", [1, 12])
def test_what_prepare_reencodes_is_exact_and_cheap_to_seek(
    clips: Clips, tmp_path: Path, interval: int, counted: Callable[..., int], reader_of: Callable[..., ClipReader]
) -> None:
    path = tmp_path / "reencoded.mp4"
    reencode(made(clips, "open_groups.mp4"), path, fps=FPS, short_side=HEIGHT, keyframe_interval=interval)
    frames = extracted(path)[0]
    assert len(frames) == reader_of().times(path).num_frames == FRAMES
    for start in random.Random(1).sample(range(FRAMES - 5), 15):
        assert counted(lambda reader, start=start: reader.read(path, [start], 5)) <= interval + 5
        assert np.array_equal(reader_of().read(path, [start], 5)[0], frames[start : start + 5])


def folder_of_frames(clips: Clips, folder: Path, suffix: str) -> Path:
    extract_frames(clips["plain.mp4"], folder, fps=10, short_side=32)
    if suffix == ".png":
        for file in sorted(folder.glob("*.jpg")):
            ffmpeg("-i", file, file.with_suffix(".png"))
            file.unlink()
    return folder


def test_frames_numbered_with_five_digits_are_the_same(
    clips: Clips, tmp_path: Path, reader_of: Callable[..., ClipReader]
) -> None:
    folder = folder_of_frames(clips, tmp_path / "frames", ".png")
    frames = extracted(folder)[0]
    for file in folder.glob("*.png"):
        file.rename(file.with_name(file.name[1:]))
    assert (folder / "00001.png").is_file()
    assert np.array_equal(extracted(folder)[0], frames)
    assert np.array_equal(reader_of().read(folder, [7], 4)[0], frames[7:11])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_of_a_folder_of_frames_only_those_of_the_clips_are_opened(
    clips: Clips, tmp_path: Path, suffix: str, reader_of: Callable[..., ClipReader]
) -> None:
    folder = folder_of_frames(clips, tmp_path / "frames", suffix)
    frames, _, known = extracted(folder)
    times = reader_of().times(folder)
    assert {key: getattr(times, key) for key in known} == known
    assert (times.num_frames, times.reader) == (FRAMES, "images")
    for number in (2, 9, 10, 11, 20):
        (folder / f"{number:06d}{suffix}").write_bytes(b"no picture")
    starts = [33, 9, 45]  # pictures 12 to 14, 4 to 6, 16 to 18, counted from 1
    expected = [frames[start : start + 8] for start in starts]
    assert np.array_equal(reader_of().read(folder, starts, 8), np.array(expected))
    with pytest.raises(VideoError, match=f"damaged: 000009{suffix}"):
        reader_of().read(folder, [25], 8)


def test_a_frame_that_is_missing_is_filled_as_in_extraction(
    clips: Clips, tmp_path: Path, reader_of: Callable[..., ClipReader]
) -> None:
    folder = folder_of_frames(clips, tmp_path / "frames", ".jpg")
    (folder / "000008.jpg").unlink()
    frames = extracted(folder)[0]
    assert np.array_equal(reader_of().read(folder, [15], 15)[0], np.array(frames[15:30]))
    (folder / "000009.jpg").unlink()
    with ClipReader(1, fps=FPS) as other, pytest.raises(VideoError, match="damaged: frames missing: 2"):
        other.times(folder)


def test_other_steps_can_be_given_for_a_read(clips: Clips, reader_of: Callable[..., ClipReader]) -> None:
    steps = (*resized(40), Crop(24, at=(0.9, 0.1)), Mirror(), Resize("bilinear", size=(10, 12)))
    frames = extracted(clips["plain.mp4"], steps=steps)[0]
    found = reader_of().read(clips["plain.mp4"], [7, 40], 4, steps=steps)
    assert (found.shape, found.dtype) == ((2, 4, 10, 12, 3), np.float32)
    assert np.array_equal(found, np.array([frames[7:11], frames[40:44]]))
    assert np.array_equal(reader_of().read(clips["plain.mp4"], [7], 4)[0], extracted(clips["plain.mp4"])[0][7:11])


@pytest.mark.parametrize("rates", [(6, None), (60, None), (4, 10)], ids=str)
def test_optical_flow_is_that_of_extraction(clips: Clips, rates: tuple[Rate, Rate | None]) -> None:
    path, steps = clips["variable.mp4"], (*resized(16), OpticalFlow("eight_bit"))
    frames, picking, known = extracted(path, *rates, steps=steps)
    with ClipReader(1, fps=rates[0], decode_fps=rates[1], steps=steps) as reader:
        times = reader.times(path)
        assert {key: getattr(times, key) for key in known} == known
        assert times.frame_shape == (16, 24, 5)
        starts = [times.num_frames - 3, 1, -2, 4]
        for interval in (1, 2):
            numbers = [frames_of_clip(start, 5, times.num_frames, picking)[::interval] for start in starts]
            expected = [[frames[number] for number in clip] for clip in numbers]
            assert np.array_equal(reader.read(path, starts, 5, interval), np.array(expected))


def test_several_threads_read_at_once_with_no_more_processes_than_allowed(clips: Clips, started: list[Any]) -> None:
    names = ["plain.mp4", "index_first.mp4", "variable.mkv", "sound.avi", "turned.mp4", "sound.mkv"]
    frames = {name: extracted(clips[name])[0] for name in names}
    started.clear()
    order = random.Random(2)
    tasks = [(order.choice(names), order.randrange(FRAMES)) for _ in range(60)]
    with ClipReader(2, fps=FPS, steps=STEPS) as reader, ThreadPoolExecutor(5) as threads:
        found = threads.map(lambda task: reader.read(clips[task[0]], [task[1]], 6)[0], tasks)
        for (name, start), clip in zip(tasks, found, strict=True):
            numbers = frames_of_clip(start, 6, len(frames[name]), None)
            assert np.array_equal(clip, np.array([frames[name][number] for number in numbers]))
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
