"""Every frame of a video as a PNG, made by the reader that also reads videos online, so that both give the same."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image

from actloc import files
from actloc.errors import VideoError
from actloc.fault_injection import inject
from actloc.video.base import FRAMES_FILE
from actloc.video.reader import read_frames

_COMPRESSION = 1  # of zlib's 9: measured on 320 x 180 pixels, level 6 takes 3.5 times as long for 4 % more bytes


def extract_png_frames(
    source: Path, folder: Path, *, timeout_s: float = 60.0, check_stop: Callable[[], None] = lambda: None
) -> int:
    """Writes the frames as 000001.png ... and frames.json, at the video's own size and rate; returns their number.

    Frame k is frame k of `read_frames` and ClipReader at the native rate, upright, to the bit; so it is after any step
    but a Resize by swscale, which reads a video's pictures before they are RGB. `folder` appears, or is replaced, once
    it is complete. Raises VideoError; `unreadable` for a file that only the ffmpeg program could open, because two
    versions of it may give different frames.
    """
    temporary = files.temporary_path(folder.absolute())
    try:
        files.make_folder(temporary)
        inject("write")
        count = 0
        shown, content = None, b""
        with read_frames(source, fps="native", timeout_s=timeout_s, check_stop=check_stop) as reading:
            for frame in reading:
                if frame is not shown:  # the reader repeats the same array while a picture is shown
                    written = BytesIO()
                    Image.fromarray(frame).save(written, "PNG", compress_level=_COMPRESSION)
                    shown, content = frame, written.getvalue()
                count += 1
                (temporary / f"{count:06d}.png").write_bytes(content)
        if reading.summary.reader != "pyav":
            detail = "PyAV cannot open the file, so its frames are not stored as PNG"
            raise VideoError("unreadable", detail, "a file that PyAV opens", reading.summary.reader)
        files.write_json(temporary / FRAMES_FILE, {"fps": reading.summary.fps, "count": count})
        files.remove(folder)
        files.replace(temporary, folder)
    finally:
        files.remove(temporary)
    return count
