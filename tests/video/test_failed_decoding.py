"""Whose fault it is when a decoding process fails: the file's, or ours."""

import io
import itertools
import json
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from actloc.errors import DecoderBugError, EnvironmentProblem, VideoError, VideoReason
from actloc.video import decode, reader
from actloc.video.base import MESSAGE
from actloc.video.channel import Channel
from actloc.video.frame_transforms import FrameStep
from actloc.video.reader import probe, read_frames
from actloc.video.readers import ffmpeg as ffmpeg_reader
from actloc.video.readers import pyav
from actloc.video.readers.base import DecodingStats, Picture
from tests.videos import FPS, Clips


def messages(stream: io.BytesIO) -> dict[bytes, bytes]:
    """The last message of each kind."""
    found, content = {}, stream.getvalue()
    while content:
        kind, _, size = MESSAGE.unpack(content[: MESSAGE.size])
        found[kind] = content[MESSAGE.size : MESSAGE.size + size]
        content = content[MESSAGE.size + size :]
    return found


def raising(error: Exception) -> Callable[[Path, DecodingStats], Iterator[Picture]]:
    """A reader's pictures, of which the first raises."""

    def pictures(path: Path, stats: DecodingStats) -> Iterator[Picture]:
        raise error
        yield

    return pictures


def serve(clips: Clips, stream: io.BytesIO | None = None, which: str = "pyav") -> None:
    """Answers a request for all frames here, without a process of its own."""
    request = {"task": "frames", "path": str(clips["plain.mp4"]), "reader": which, "fps": 5, "decode_fps": None}
    decode.serve({**request, "steps": []}, Channel(stream or io.BytesIO()))


def test_a_file_pyav_cannot_open_is_tried_with_ffmpeg(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyav, "pictures", raising(VideoError("unreadable", "made up")))
    stream = io.BytesIO()
    serve(clips, stream)
    summary = json.loads(messages(stream)[b"E"])
    assert summary["reader"] == "ffmpeg"
    assert summary["num_frames"] == 10


@pytest.mark.parametrize(
    ("second", "reason", "told"),
    [
        (VideoError("unreadable", "by ffmpeg"), "unreadable", "by pyav; ffmpeg: by ffmpeg"),
        (OSError("by ffmpeg"), "unreadable", "by pyav; ffmpeg: OSError: by ffmpeg"),
        (VideoError("truncated", "by ffmpeg"), "truncated", "by ffmpeg"),
        (EnvironmentProblem("no ffmpeg", "", ""), "unreadable", "by pyav; not tried with ffmpeg: no ffmpeg"),
    ],
)
def test_the_error_of_the_fallback_is_reported(
    clips: Clips, monkeypatch: pytest.MonkeyPatch, second: Exception, reason: VideoReason, told: str
) -> None:
    monkeypatch.setattr(pyav, "pictures", raising(VideoError("unreadable", "by pyav")))
    monkeypatch.setattr(ffmpeg_reader, "pictures", raising(second))
    with pytest.raises(VideoError) as caught:
        serve(clips)
    assert (caught.value.reason, caught.value.detail) == (reason, told)


def test_a_bug_in_the_fallback_is_a_bug(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyav, "pictures", raising(VideoError("unreadable", "by pyav")))
    monkeypatch.setattr(ffmpeg_reader, "pictures", raising(AttributeError("widht")))
    with pytest.raises(AttributeError, match="widht"):
        serve(clips)


ODD_FILES = [av.error.InvalidDataError(1, "torn"), OSError("torn"), ValueError("torn"), MemoryError("torn")]


@pytest.mark.parametrize("error", ODD_FILES, ids=lambda error: type(error).__name__)
def test_what_a_foreign_file_makes_a_library_raise_is_that_files_failure(
    clips: Clips, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(ffmpeg_reader, "pictures", raising(error))
    with pytest.raises(VideoError) as caught:
        serve(clips, which="ffmpeg")
    assert caught.value.reason == "unreadable"
    assert type(error).__name__ in caught.value.detail
    assert "torn" in caught.value.detail


def test_a_failure_after_the_first_picture_is_not_tried_with_ffmpeg(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pyav.pictures

    def torn(path: Path, stats: DecodingStats) -> Iterator[Picture]:
        yield from itertools.islice(whole(path, stats), 20)
        raise ValueError("torn")

    monkeypatch.setattr(pyav, "pictures", torn)
    monkeypatch.setattr(ffmpeg_reader, "pictures", lambda *_: pytest.fail("another reader began"))
    with pytest.raises(VideoError, match="unreadable: ValueError: torn"):
        serve(clips)


@dataclass(frozen=True)
class Unheard(FrameStep):
    """A step that the decoding process does not know: a bug of whoever sends it."""

    def apply(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return frame


def test_a_bug_in_the_decoding_process_comes_here_with_its_traceback(
    clips: Clips, started: list[subprocess.Popen[bytes]]
) -> None:
    with pytest.raises(DecoderBugError) as caught:
        list(read_frames(clips["plain.mp4"], fps=FPS, steps=(Unheard(),)))
    told = "".join(traceback.format_exception(caught.value))
    assert "in from_json" in told
    assert told.strip().endswith(f"ModuleNotFoundError: No module named {Unheard.__module__!r}")
    assert started[0].poll() is not None
    copy = pickle.loads(pickle.dumps(caught.value))  # as Ray sends it
    assert copy.__notes__ == caught.value.__notes__


def test_a_decoding_process_that_does_not_start_is_no_videos_fault(
    clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "python_command", lambda _: [sys.executable, "-c", "import no_such_module"])
    with pytest.raises(DecoderBugError) as caught:
        list(read_frames(clips["plain.mp4"], fps=FPS))
    assert caught.value.__notes__[0].endswith("ModuleNotFoundError: No module named 'no_such_module'")


def test_a_bug_met_in_a_header_is_a_bug(clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(tmp_path, "from actloc.video.readers import pyav; pyav.video_stream = None", monkeypatch)
    with pytest.raises(DecoderBugError) as caught:
        probe(clips["plain.mp4"])
    assert caught.value.__notes__[0].endswith("TypeError: 'NoneType' object is not callable")


def spoil(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs `code` in decoding processes before they begin."""
    (folder / "sitecustomize.py").write_text(f"import sys\nif 'actloc.video.decode' in sys.orig_argv:\n    {code}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_an_ffmpeg_that_says_nothing_is_a_timeout(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg_reader, "_HEADER_TIMEOUT_S", 0)
    with pytest.raises(VideoError) as caught:
        serve(clips, which="ffmpeg")
    assert caught.value.reason == "timeout"
