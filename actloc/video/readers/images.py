"""Reads a folder of frames such as `ffmpeg.extract_frames` writes: 000001.jpg or 000001.png ... and frames.json.

Numbers of five digits, as in TALLFormer's folders, are read as well, and names that begin with img_, as in those of TAM
and mmaction2. A folder without frames.json, which arrives here only if the reader was asked for such, has as many
frames as its highest number, and no rate of its own.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext

from actloc.errors import UserError, VideoError
from actloc.files import read_json
from actloc.video.base import FRAME_NAME, FRAMES_FILE, UNLISTED_FPS, VideoFacts
from actloc.video.readers.base import Declared, DecodingStats, Picture, check_size

_CODECS = {".jpg": ("JPEG", "mjpeg"), ".png": ("PNG", "png")}


def pictures(folder: Path, stats: DecodingStats) -> Iterator[Picture]:
    """Every frame of the folder; raises VideoError `truncated` if some are missing."""
    fps, count = listed(folder)
    for number, file in files(folder, count):
        frame = decoded(file)
        if not stats.frames:
            stats.width, stats.height = frame.width, frame.height
        stats.frames += 1
        stats.end_s = (number + 1) / fps
        yield Picture(number / fps, frame)
    stats.check(declared(fps, count))


def files(folder: Path, count: int) -> Iterator[tuple[int, Path]]:
    """The numbers from 0 to `count` of which there is a file, and the file: a JPEG, or else a PNG."""
    names = {file.name for file in folder.iterdir()}
    for number in range(count):
        of_number = (
            f"{prefix}{number + 1:0{digits}d}{suffix}"
            for prefix in ("", "img_")
            for digits in (6, 5)
            for suffix in _CODECS
        )
        name = next((name for name in of_number if name in names), None)
        if name is not None:
            yield number, folder / name


def declared(fps: Fraction, count: int) -> Declared:
    """What frames.json, or the highest number, says about the number and times of pictures."""
    return Declared(Fraction(count), count / fps, fps)


def facts(folder: Path) -> VideoFacts:
    """The rate and number of frames as `listed`, and the size of the first frame."""
    fps, count = listed(folder)
    first = next((file for _, file in files(folder, count)), folder / "000001.jpg")
    frame = decoded(first)
    return VideoFacts(float(count / fps), float(fps), frame.width, frame.height)


def rate(folder: Path, report_progress: Callable[[], None]) -> Fraction:
    """The rate as `listed`."""
    return listed(folder)[0]


def listed(folder: Path) -> tuple[Fraction, int]:
    """Frames per second and the number of frames, from frames.json or else from the names of the files."""
    if not (folder / FRAMES_FILE).exists():
        return Fraction(UNLISTED_FPS), _highest_number(folder)
    try:
        listed = read_json(folder / FRAMES_FILE)
        fps, count = Fraction(listed["fps"]).limit_denominator(1_001_000), int(listed["count"])
        if fps <= 0 or count < 0:
            raise ValueError(f"fps {fps}, count {count}")
    except (UserError, TypeError, KeyError, ValueError, OverflowError) as error:
        expected = "an object with fps and count"
        found = error.found if isinstance(error, UserError) else str(error)
        raise VideoError("unreadable", f"{FRAMES_FILE} was not written by actloc", expected, found) from error
    return fps, count


def _highest_number(folder: Path) -> int:
    matches = [match for file in folder.iterdir() if (match := FRAME_NAME.fullmatch(file.name))]
    numbers = {int(match[1]): match[0] for match in matches}
    if not numbers:
        expected = f"{FRAMES_FILE}, or files named 00001.jpg, 000001.png, img_00001.jpg ..."
        raise VideoError("empty", f"{folder.name} contains no frames", expected, "none")
    if 0 in numbers:
        raise VideoError("unsupported", "the frames are numbered from 0", "numbers from 1", numbers[0])
    return max(numbers)


def decoded(file: Path) -> av.VideoFrame:
    """The picture in a file; raises VideoError `damaged`."""
    kind, codec = _CODECS[file.suffix]
    decoder = CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext), "both are codecs of pictures"
    try:
        content = file.read_bytes()
        frames = [*decoder.decode(av.Packet(content)), *decoder.decode(None)]
    except (av.FFmpegError, OSError) as error:
        raise VideoError("damaged", f"{file.name}: {error}", f"a {kind}", "something else") from error
    if not frames or not isinstance(frames[0], av.VideoFrame):
        raise VideoError("damaged", f"{file.name} contains no picture", f"a {kind}", "nothing")
    check_size(frames[0].width, frames[0].height)
    return frames[0]
