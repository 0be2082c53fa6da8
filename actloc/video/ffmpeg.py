"""Videos and frames written by an ffmpeg process: re-encoding, cutting, splicing, extracting frames."""

import errno
import os
import re
import select
import subprocess
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from actloc import files
from actloc.errors import EnvironmentProblem, VideoError
from actloc.fault_injection import inject
from actloc.video.base import FRAMES_FILE, checked_path, ffmpeg_command, input_arguments, python_environment

_POLL_S = 0.2
_PROGRESS = re.compile(r"^(\w+)=(.*)$")
_COMPLAINTS_KEPT = 5
# The same input gives the same bytes everywhere: one encoder thread, no dates, no version strings, no copied tags.
_REPRODUCIBLE = (
    *("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1"),
    *("-an", "-sn", "-dn"),
)
# Visually lossless; every group of pictures is closed, so that any reader can start at its keyframe.
_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p", "-sc_threshold", "0")
_FROM_FIRST_FRAME = "setpts=PTS-STARTPTS"  # time zero is the first frame's timestamp, as in reading


@dataclass(frozen=True)
class Piece:
    """Part of a video file: `duration_s` seconds of it from `start_s` on, shown `speed` times as fast.

    A negative speed shows the frames of the positive one in reverse order. Mirrored, left and right change places.
    """

    file: Path
    start_s: float
    duration_s: float
    speed: float = 1.0
    is_mirrored: bool = field(default=False, repr=False)

    def num_frames(self, fps: float) -> int:
        """Number of its frames at `fps`."""
        return round(self.duration_s / abs(self.speed) * fps)


def run(
    arguments: list[str],
    *,
    timeout_s: float = 60.0,
    folder: Path | None = None,
    check_stop: Callable[[], None] = lambda: None,
    report_time: Callable[[float], None] = lambda seconds: None,
) -> int:
    """Runs ffmpeg in `folder` and returns the number of frames it wrote.

    `report_time` is called with the second of the output that is reached, several times a second.

    Raises VideoError `unreadable` with ffmpeg's own message, `timeout` after `timeout_s` seconds without progress,
    OSError on a full disk, and what `check_stop`, called several times a second, raises. ffmpeg never outlives this
    process.
    """
    command = ffmpeg_command(["-loglevel", "error", "-nostats", "-progress", "pipe:1", "-y", *arguments])
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=python_environment(),
        start_new_session=True,  # Ctrl-C goes to this process, which decides when to stop
    ) as process:
        watched = _Watched(process)
        try:
            watched.wait(timeout_s, check_stop, report_time)
            process.wait(timeout_s)  # it has closed its output and is about to end
        finally:
            process.kill()
    if process.returncode != 0:
        raise _failure(process.returncode, watched.complaints)
    return watched.num_frames


class _Watched:
    """The output of a running ffmpeg: its progress and its error messages."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None, "it was asked for"
        self._pipe = process.stdout.fileno()
        self._torn = b""
        self._state: dict[str, str] = {}
        self.complaints: deque[str] = deque(maxlen=_COMPLAINTS_KEPT)

    @property
    def num_frames(self) -> int:
        return int(self._state.get("frame", 0))

    @property
    def _reached_s(self) -> float:
        text = self._state.get("out_time_us", "")
        return int(text) / 1e6 if text.lstrip("-").isdigit() else 0.0  # N/A before the first frame

    def wait(self, timeout_s: float, check_stop: Callable[[], None], report_time: Callable[[float], None]) -> None:
        """Returns when ffmpeg has closed its output."""
        last_change = time.monotonic()
        while True:
            check_stop()
            if select.select([self._pipe], [], [], _POLL_S)[0]:
                content = os.read(self._pipe, 1 << 16)
                if not content:
                    return
                if self._take(content):
                    last_change = time.monotonic()
                    report_time(self._reached_s)
            if time.monotonic() - last_change > timeout_s:
                raise VideoError("timeout", "ffmpeg made no progress", f"a frame within {timeout_s:g} s", "none")

    def _take(self, content: bytes) -> bool:
        """Parses a piece of output; returns whether it shows progress."""
        *lines, self._torn = (self._torn + content).split(b"\n")
        before = (self._state.get("frame"), self._state.get("total_size"))
        for line in lines:
            text = line.decode("utf-8", "replace").strip()
            match = _PROGRESS.match(text)
            if match:
                self._state[match[1]] = match[2]
            elif text:
                self.complaints.append(re.sub(r"(not on whitelist).*", r"\1", text))
        return before != (self._state.get("frame"), self._state.get("total_size"))


def _failure(status: int, complaints: deque[str]) -> Exception:
    message = " ".join(complaints) or f"ffmpeg exited with status {status}"
    if "No space left on device" in message:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "Unknown encoder" in message:
        return EnvironmentProblem(
            f"This ffmpeg cannot write H.264: {message}",
            "Expected an ffmpeg with libx264.",
            "Run: pip install imageio-ffmpeg, and remove the other ffmpeg from PATH.",
        )
    return VideoError("unreadable", message, "a video ffmpeg can read", f"status {status}")


def reencode(
    source: Path,
    target: Path,
    *,
    fps: float,
    short_side: int,
    keyframe_interval: int,
    size: tuple[int, int] | None = None,
    most_frames: int | None = None,
    start_s: float | None = None,
    duration_s: float | None = None,
    speed: float = 1.0,
    timeout_s: float = 60.0,
    check_stop: Callable[[], None] = lambda: None,
) -> int:
    """Writes `source`, or a part of it, as H.264 mp4 without sound at a constant rate; returns its frames.

    Short side `short_side` (made even), long side in proportion, or exactly `size` (height, width), both even; at most
    `most_frames` frames; a key frame every `keyframe_interval` frames. The same source gives the same bytes. `target`
    is replaced once it is complete. Compare the number of frames with what the source declares: ffmpeg reports success
    for a truncated one.
    """
    filters = [
        _FROM_FIRST_FRAME,
        *_cut(start_s or 0.0, duration_s, speed),
        f"fps={fps}:start_time=0",
        *_first(most_frames),
        _scale(2 * round(short_side / 2), size),
    ]
    arguments = [*input_arguments(checked_path(source)), "-map", "0:V:0", "-vf", ",".join(filters)]
    return _write_mp4(arguments, target, keyframe_interval, timeout_s, check_stop)


def splice(
    pieces: list[Piece],
    target: Path,
    *,
    fps: float,
    width: int,
    height: int,
    keyframe_interval: int = 30,
    timeout_s: float = 60.0,
    check_stop: Callable[[], None] = lambda: None,
) -> int:
    """Writes the pieces one after the other as one H.264 mp4 of even `width` x `height`; returns its frames.

    Piece i begins at frame `sum(piece.num_frames(fps))` of those before it, exactly: a piece that reaches beyond its
    file repeats the last frame. Pictures of another aspect ratio get black bars.
    """
    inputs = [text for piece in pieces for text in ("-threads", "1", *input_arguments(checked_path(piece.file)))]
    size = f"{width}:{height}"
    chains = []
    for number, piece in enumerate(pieces):
        filters = [
            _FROM_FIRST_FRAME,
            *_cut(piece.start_s, piece.duration_s, abs(piece.speed)),
            f"fps={fps}:start_time=0",
            f"scale={size}:force_original_aspect_ratio=decrease:flags=bicubic,pad={size}:(ow-iw)/2:(oh-ih)/2",
            "setsar=1,format=yuv420p",
            f"tpad=stop=-1:stop_mode=clone,trim=end_frame={piece.num_frames(fps)}",
            *(["reverse"] if piece.speed < 0 else []),
            *(["hflip"] if piece.is_mirrored else []),
        ]
        chains.append(f"[{number}:V:0]{','.join(filters)}[p{number}]")
    labels = "".join(f"[p{number}]" for number in range(len(pieces)))
    graph = ";".join([*chains, f"{labels}concat=n={len(pieces)}:v=1:a=0[out]"])
    arguments = [*inputs, "-filter_complex", graph, "-map", "[out]"]
    written = _write_mp4(arguments, target, keyframe_interval, timeout_s, check_stop)
    expected = sum(piece.num_frames(fps) for piece in pieces)
    if written != expected:
        target.unlink()
        raise VideoError(
            "too_short", "a piece starts after the end of its file", f"{expected} frames", f"{written} frames"
        )
    return written


def _scale(short_side: int, size: tuple[int, int] | None) -> str:
    to = f"w='if(lt(iw,ih),{short_side},-2)':h='if(lt(iw,ih),-2,{short_side})'"
    return f"scale={to if size is None else f'w={size[1]}:h={size[0]}'}:flags=bicubic"


def _first(most_frames: int | None) -> list[str]:
    return [] if most_frames is None else [f"trim=end_frame={most_frames}"]


def _cut(start_s: float, duration_s: float | None, speed: float) -> list[str]:
    if start_s == 0 and duration_s is None and speed == 1:
        return []
    trim = f"trim=start={start_s:.6f}" + ("" if duration_s is None else f":duration={duration_s:.6f}")
    return [trim, f"setpts=(PTS-{start_s:.6f}/TB)/{speed}"]


def _write_mp4(
    arguments: list[str], target: Path, keyframe_interval: int, timeout_s: float, check_stop: Callable[[], None]
) -> int:
    group = ["-g", str(keyframe_interval), "-keyint_min", str(keyframe_interval), "-x264-params", "open-gop=0"]
    files.make_folder(target.parent)
    temporary = files.temporary_path(target.absolute())
    output = [*_H264, *group, *_REPRODUCIBLE, "-fps_mode", "cfr", "-movflags", "+faststart", "-f", "mp4"]
    try:
        inject("write")
        num_frames = run([*arguments, *output, f"file:{temporary}"], timeout_s=timeout_s, check_stop=check_stop)
        if not num_frames:
            raise VideoError("empty", "there are no frames to encode", "at least one frame", "0 frames")
        sync(temporary)
        files.replace(temporary, target)
    finally:
        files.remove(temporary)
    return num_frames


def extract_frames(
    source: Path,
    folder: Path,
    *,
    fps: float,
    short_side: int,
    size: tuple[int, int] | None = None,
    most_frames: int | None = None,
    quality: int = 2,
    timeout_s: float = 60.0,
    check_stop: Callable[[], None] = lambda: None,
) -> int:
    """Writes the frames as 000001.jpg ... and `frames.json`, which `read_frames` reads back; returns their number.

    Short side `short_side`, long side in proportion, or exactly `size` (height, width); at most `most_frames` frames.
    `quality` is ffmpeg's scale from 2 (best) to 31; with 2, at a video's own size and rate, values differ from those of
    its frames by less than 3 of 255 on average (1.5 to 2.8 measured on four videos). `folder` appears, or is replaced,
    once it is complete.
    """
    # JPEG converts between RGB and YCbCr by BT.601 with the full range only; most videos are BT.709.
    jpeg = "out_color_matrix=bt601:out_range=full,format=yuvj420p"
    filters = [_FROM_FIRST_FRAME, f"fps={fps}:start_time=0", *_first(most_frames), f"{_scale(short_side, size)}:{jpeg}"]
    arguments = [*input_arguments(checked_path(source)), "-map", "0:V:0"]
    arguments += ["-vf", ",".join(filters), *_REPRODUCIBLE]
    arguments += ["-fps_mode", "passthrough", "-q:v", str(quality), "-f", "image2", "%06d.jpg"]
    temporary = files.temporary_path(folder.absolute())
    try:
        files.make_folder(temporary)
        inject("write")
        # ffmpeg would expand a % in the folder's name, so it runs inside the folder instead of being given its path.
        num_frames = run(arguments, timeout_s=timeout_s, folder=temporary, check_stop=check_stop)
        files.write_json(temporary / FRAMES_FILE, {"fps": fps, "count": num_frames})
        files.remove(folder)
        files.replace(temporary, folder)
    finally:
        files.remove(temporary)
    return num_frames


def sync(path: Path) -> None:
    """Returns when the file is on the disk."""
    inject("fsync")
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
