"""Copies of videos for people to watch: with labels burnt in, and segments cut out exactly to a frame.

Times are seconds from the first frame, as in reading. A copy has square pixels, is upright, and keeps the time of each
frame; the first sound track is kept, where it can be.
"""

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from actloc import console, files
from actloc.errors import EnvironmentProblem, VideoError
from actloc.fault_injection import inject
from actloc.video import ffmpeg
from actloc.video.base import checked_path, ffmpeg_command, find_ffmpeg, input_arguments, python_environment

SLOWED = 10
"""How many times slower the clock of burnt-in subtitles is: their form has hundredths of a second, frames have less."""
_TICKS = 90_000  # a second; every standard frame rate, and the milliseconds of Matroska, are whole numbers of them
_MS = 1e-7  # of rounding in a time that is meant as a whole millisecond
_TIMEOUT_S = 120.0
# ffmpeg counts from the start of the streams that it reads, so every call reads the sound, if only its first packet.
_SOUND_OPENED = ("-map", "0:a:0", "-c:a", "copy", "-frames:a", "1", "-f", "null", "-")
_SEEK_BEFORE_S = 10.0  # pictures right after the place where a decoder starts may be damaged
# Square pixels, because players disagree about others on top of a rotation; H.264 needs even sides.
_SQUARE = "scale=w='if(eq(sar,1),iw,2*round(iw*sar/2))':h=ih,setsar=1,pad=w='2*ceil(iw/2)':h='2*ceil(ih/2)'"
_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p", "-g", "60")
_TIMED = ("-fps_mode", "vfr", "-enc_time_base", f"1:{_TICKS}", "-video_track_timescale", str(_TICKS))
_PLAIN = ("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-sn", "-dn", "-movflags", "+faststart")
_AAC = ("-c:a", "aac", "-b:a", "160k")
_COPIED_SOUND = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")  # what MP4 holds
_INDEXED = ("mov", "matroska")  # formats in which every place can be found exactly


@dataclass(frozen=True)
class Shown:
    """How ffmpeg shows a video: the size of its upright picture in square pixels, both even."""

    width: int
    height: int
    first_ticks: int
    """The time of its first frame, in 1/90000 s from the start of the file."""
    sound: str
    """The codec of its first sound track; empty if it has none."""
    is_indexed: bool


def check_ffmpeg(*, with_labels: bool) -> None:
    """Raises EnvironmentProblem if ffmpeg cannot write H.264 or, `with_labels`, cannot draw subtitles."""
    needed = [("-encoders", "libx264", "the encoder libx264")]
    needed += [("-filters", "ass", "the filter ass (libass)")] * with_labels
    missing = [what for option, name, what in needed if not re.search(rf"(?m)^\s*\S+ {name}\s", _listed(option))]
    if missing:
        raise EnvironmentProblem(
            f"{find_ffmpeg()} does not have {' and '.join(missing)}.",
            "Expected an ffmpeg with libx264, and with libass for --video.",
            "Run: pip install imageio-ffmpeg, and remove the other ffmpeg from PATH.",
        )


def _listed(option: str) -> str:
    done = subprocess.run(
        ffmpeg_command([option]),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT_S,
        env=python_environment(),
        check=False,
    )
    return done.stdout.decode("utf-8", "replace")


def look_at(source: Path) -> Shown:
    """How a video is shown; raises VideoError if its first frame cannot be read."""
    opened = input_arguments(checked_path(source))
    header, _ = _printed(opened)
    sound = re.search(r"Stream #0:\d+.*?: Audio: (\w+)", header)
    first = ["-map", "0:V:0", "-vf", _SQUARE, "-frames:v", "1", "-enc_time_base", f"1:{_TICKS}", "-f", "framecrc"]
    complaints, table = _printed([*opened, *first, "pipe:1", *(_SOUND_OPENED if sound else ())])
    size = re.search(r"(?m)^#dimensions 0: (\d+)x(\d+)", table)
    stamps = _stamps(table)
    if size is None or not stamps:
        reason = console.first_ten(complaints.strip().splitlines()[-1:]) or "no frame"
        raise VideoError("unreadable", f"ffmpeg cannot show its first frame: {reason}", "a frame", "none")
    found = re.search(r"Input #0, (\w+)", header)
    is_indexed = found is not None and found[1] in _INDEXED
    return Shown(int(size[1]), int(size[2]), stamps[0], sound[1] if sound else "", is_indexed)


def _printed(arguments: Sequence[str]) -> tuple[str, str]:
    """What ffmpeg says about its input, and its output as text."""
    try:
        done = subprocess.run(
            ffmpeg_command(["-nostats", *arguments]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env=python_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise VideoError("timeout", "ffmpeg did not respond", f"an answer within {_TIMEOUT_S:g} s", "none") from error
    return done.stderr.decode("utf-8", "replace"), done.stdout.decode("utf-8", "replace")


def _stamps(table: str) -> list[int]:
    """The times of frames in framecrc's table `stream, dts, pts, ...`; stream 0 is the video."""
    return [int(line.split(",")[2]) for line in table.splitlines() if line.startswith("0,")]


def in_ms(time_s: float) -> int:
    """A time in whole milliseconds, not after the time: a frame at this very time belongs to what starts here."""
    return max(0, int(time_s * 1000 + _MS * 1000))


def burn_in(
    source: Path,
    target: Path,
    shown: Shown,
    subtitles: str,
    font: Path,
    report_time: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Writes `source` with `subtitles` (ASS) drawn on it as an MP4; `target` is replaced once it is complete.

    The subtitles have the size of `shown`, and times that are `SLOWED` times as large. `font` is the file of the font
    that they name. Raises VideoError.
    """
    first = f"({shown.first_ticks})"
    slow = f"settb=1/{_TICKS},setpts='{SLOWED}*(PTS-{first})+1'"  # + 1: rounding never makes a frame too early
    drawn = f"{_SQUARE},{slow},ass=filename=labels.ass:fontsdir=fonts,setpts='floor(PTS/{SLOWED})+{first}'"
    copied = ("-c:a", "copy") if shown.sound in _COPIED_SOUND else _AAC

    def arguments(with_sound: bool) -> list[str]:
        sound = ["-map", "0:a:0", *copied] if with_sound else []
        return [*input_arguments(checked_path(source)), "-map", "0:V:0", "-vf", drawn, *sound]

    def prepare(folder: Path) -> None:
        # ffmpeg runs in this folder, so that its filter is given plain names: a path would need three kinds of escapes
        (folder / "labels.ass").write_text(subtitles, encoding="utf-8")
        (folder / "fonts").mkdir()
        (folder / "fonts" / font.name).symlink_to(font)

    _write(source, target, shown, arguments, prepare, _TIMEOUT_S, report_time)


def cut_out(source: Path, target: Path, shown: Shown, start_s: float, end_s: float) -> None:
    """Writes the frames of `source` from `start_s` to before `end_s`, or the one shown at `start_s`, as an MP4.

    `target` is replaced once it is complete. Raises VideoError.
    """
    start, end = (shown.first_ticks + in_ms(time_s) * _TICKS // 1000 for time_s in (start_s, end_s))
    end = max(end, start + 1)  # the frame at its start
    before_s = max(0.0, start / _TICKS - _SEEK_BEFORE_S) if shown.is_indexed else 0.0
    opened = [*(["-ss", f"{before_s:.3f}"] if before_s else []), *input_arguments(checked_path(source))]
    skipped = round(float(f"{before_s:.3f}") * _TICKS)  # ffmpeg counts from where it starts
    start, end = start - skipped, end - skipped
    waiting_s = _TIMEOUT_S + max(0.0, start / _TICKS)  # nothing is written before the start is reached
    inside: list[int] = []

    def prepare(folder: Path) -> None:
        listed = f"settb=1/{_TICKS},trim=end_pts={end}"
        kept = [
            "-enc_time_base",
            f"1:{_TICKS}",
            "-fps_mode",
            "vfr",
            "-c:v",
            "wrapped_avframe",
            "-f",
            "framecrc",
            "times",
        ]
        ffmpeg.run(
            [*opened, "-map", "0:V:0", "-vf", listed, *kept, *(_SOUND_OPENED if shown.sound else ())],
            timeout_s=waiting_s,
            folder=folder,
        )
        stamps = _stamps(files.read_text(folder / "times"))
        if not stamps:
            raise VideoError("unreadable", f"it has no frame before {end_s:.3f} s", "frames", "none")
        inside.extend([stamp for stamp in stamps if stamp >= start] or stamps[-1:])  # it may be between two frames

    def arguments(with_sound: bool) -> list[str]:
        first, last = inside[0], inside[-1]
        video = f"settb=1/{_TICKS},trim=start_pts={first}:end_pts={last + 1},setpts=PTS-({first}),{_SQUARE}"
        length_s = max(end - first, _TICKS // 100) / _TICKS
        sound = f"asetpts='PTS-({first})/{_TICKS}/TB',atrim=start=0:end={length_s:.6f}"
        heard = ["-map", "0:a:0", "-af", sound, *_AAC] if with_sound else []
        return [*opened, "-map", "0:V:0", "-vf", video, *heard]

    _write(source, target, shown, arguments, prepare, waiting_s)


def _write(
    source: Path,
    target: Path,
    shown: Shown,
    arguments: Callable[[bool], list[str]],
    prepare: Callable[[Path], None],
    timeout_s: float,
    report_time: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Runs ffmpeg, with sound if there is some and ffmpeg can use it, in a folder beside the target."""
    files.make_folder(target.parent)
    temporary = files.temporary_path(target.absolute())
    made = temporary / "made.mp4"
    try:
        inject("write")
        prepare(files.make_folder(temporary))
        output = [*_H264, *_TIMED, *_PLAIN, "-f", "mp4", made.name]

        def run(with_sound: bool) -> int:
            whole = [*arguments(with_sound), *output]
            if shown.sound and not with_sound:
                whole += _SOUND_OPENED
            return ffmpeg.run(whole, timeout_s=timeout_s, folder=temporary, report_time=report_time)

        try:
            num_frames = run(bool(shown.sound))
        except VideoError as error:
            if not shown.sound:
                raise
            num_frames = run(False)
            console.warn(f"{source}: the copy has no sound, which ffmpeg cannot use: {error.detail}")
        if not num_frames:
            raise VideoError("empty", "there are no frames to encode", "at least one frame", "0 frames")
        ffmpeg.sync(made)
        files.replace(made, target)
    finally:
        files.remove(temporary)
