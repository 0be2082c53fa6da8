"""Tiny videos of every awkward kind, made by ffmpeg when a test first asks for them."""

import subprocess
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

from actloc.video.frame_transforms import Crop, FrameStep, Resize

FPS, SECONDS, WIDTH, HEIGHT = 30, 2, 96, 64
FRAMES = FPS * SECONDS
_MOVING = ["-f", "lavfi", "-i", f"testsrc2=s={WIDTH}x{HEIGHT}:r={FPS}:d={SECONDS}"]
_SOUND = ["-f", "lavfi", "-i", f"sine=d={SECONDS}"]
_H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-pix_fmt", "yuv420p"]
# 30 frames in the first second, 10 in the second, the same scene
_VARIABLE = ["-vf", f"select='lt(n,{FPS})+not(mod(n,3))'", "-fps_mode", "vfr"]
_COPY = ["-c", "copy"]


def ffmpeg(*arguments: str | Path) -> None:
    """Runs ffmpeg; its complaints fail the test."""
    command = [get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)


def resized(short_side: int, crop: int | None = None) -> tuple[FrameStep, ...]:
    """The steps of an encoder that lets FFmpeg resize."""
    resize = Resize("swscale_bicubic", short_side=short_side)
    return (resize,) if crop is None else (resize, Crop(crop))


class Clips:
    """Files by name, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            _RECIPES[name](self, path)
        return path


def _made(*arguments: str):  # type: ignore[no-untyped-def] # a small factory of the table below
    return lambda clips, path: ffmpeg(*arguments, path)


def _from(source: str, *arguments: str, before: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    return lambda clips, path: ffmpeg(*before, "-i", clips[source], *arguments, path)


def _cut_short(source: str, share: float = 0.6):  # type: ignore[no-untyped-def]
    def make(clips: Clips, path: Path) -> None:
        content = clips[source].read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


def _with_hole(clips: Clips, path: Path) -> None:
    """A third of the pictures' bytes overwritten: the container is whole, many pictures are not."""
    content = bytearray(clips["index_first.mp4"].read_bytes())
    start, end = len(content) // 3, 2 * len(content) // 3
    content[start:end] = bytes(end - start)
    path.write_bytes(content)


def _from_midway(clips: Clips, path: Path) -> None:
    """A broadcast recorded from somewhere on: nothing can be decoded before its second group of pictures."""
    whole = path.with_name("groups.ts")
    ffmpeg(*_MOVING, *_H264, "-g", "15", whole)
    content = whole.read_bytes()
    path.write_bytes(content[len(content) // 10 :])


def _with_cover(clips: Clips, path: Path) -> None:
    cover = path.with_suffix(".png")
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", cover)
    inputs = ("-i", clips["sound.mp4"], "-i", cover)
    ffmpeg(*inputs, "-map", "1", "-map", "0", "-c", "copy", "-disposition:v:0", "attached_pic", path)


_RECIPES = {
    "plain.mp4": _made(*_MOVING, *_H264),
    "sound.mp4": _made(*_MOVING, *_SOUND, *_H264),
    "only_sound.mp4": _made(*_SOUND),
    "index_first.mp4": _made(*_MOVING, *_SOUND, *_H264, "-g", "15", "-movflags", "+faststart"),
    "index_first_cut.mp4": _cut_short("index_first.mp4"),
    "index_last_cut.mp4": _cut_short("plain.mp4"),
    "hole.mp4": _with_hole,
    "sound.mkv": _from("sound.mp4", *_COPY),
    "sound_cut.mkv": _cut_short("sound.mkv"),
    "sound.avi": _from("sound.mp4", *_COPY),
    "sound_cut.avi": _cut_short("sound.avi"),
    "sound.ts": _from("sound.mp4", *_COPY),
    "sound.flv": _from("sound.mp4", *_COPY),
    "raw.h264": _from("plain.mp4", *_COPY),
    "fragments.mp4": _made(*_MOVING, *_H264, "-movflags", "frag_keyframe+empty_moov"),
    "edit_list.mp4": _from("plain.mp4", *_COPY, before=("-ss", "0.7")),
    "late_start.mkv": _made(*_MOVING, *_H264, "-output_ts_offset", "5"),
    "late_sound.mkv": _made(*_MOVING, *_SOUND, *_H264, "-output_ts_offset", "5"),
    "late_sound_cut.mkv": _cut_short("late_sound.mkv"),
    "variable.mp4": _made(*_MOVING, *_VARIABLE, *_H264),
    "variable.mkv": _made(*_MOVING, *_VARIABLE, *_H264),
    "turned.mp4": _from("plain.mp4", *_COPY, before=("-display_rotation", "90")),
    "mirrored.mp4": _from("plain.mp4", *_COPY, before=("-display_rotation", "90", "-display_vflip")),
    "cover.mp4": _with_cover,
    "odd.mp4": _made(*_MOVING, "-vf", "format=yuv444p,scale=97:65", *_H264[:-1], "yuv444p"),
    "late_start.avi": _made(*_MOVING, *_H264, "-output_ts_offset", "1.5"),
    "midway.ts": _from_midway,
    "long_sound.mkv": _made(*_MOVING, "-f", "lavfi", "-i", f"sine=d={SECONDS + 1}", *_H264),
}
