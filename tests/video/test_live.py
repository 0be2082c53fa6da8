"""Sources that come as they are: what may be opened, and connections that are lost."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from actloc.errors import UserError, VideoError
from actloc.video.live import LiveSource, read_live, source_named
from tests.video.rtsp_server import serving


@contextmanager
def served(*contents: bytes) -> Iterator[str]:
    """An address that gives each of these to one connection after the other, and then nothing any more."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for content in contents:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(content)
        listening.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    thread.join()


def as_mpegts(video: Path) -> bytes:
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(video), "-c", "copy", "-f", "mpegts", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def seconds_of(source: Path | LiveSource, said: list[str]) -> tuple[int, float]:
    assert isinstance(source, LiveSource)
    given = {"decode_fps": None, "steps": (), "reader": "pyav", "timeout_s": 30.0}
    with read_live(source, fps=8.0, say=said.append, **given) as reader:
        return sum(1 for _ in reader), reader.summary.duration_s


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "grey.mp4"
    command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "color=gray:s=64x48:r=8:d=2", str(path)]
    subprocess.run(command, check=True)
    return path


def test_a_lost_connection_is_opened_again_and_time_goes_on(video: Path) -> None:
    said: list[str] = []
    with served(as_mpegts(video), as_mpegts(video)) as address:
        count, duration_s = seconds_of(source_named(address, retry_s=2.0), said)
    assert duration_s >= 4.0
    assert count == pytest.approx(duration_s * 8, abs=1)
    assert ["trying again" in line for line in said] == [True, False, True, False]
    assert "connected again" in said[1]
    assert "taken as its end" in said[3]


@pytest.mark.parametrize(("has_udp", "password"), [(True, None), (False, "me:secret")])
def test_an_rtsp_server_is_watched_by_udp_or_else_by_tcp(video: Path, has_udp: bool, password: str | None) -> None:
    said: list[str] = []
    with serving(video, has_udp=has_udp, password=password) as (port, requests):
        sender = "" if password is None else f"{password}@"
        count, _ = seconds_of(source_named(f"rtsp://{sender}127.0.0.1:{port}/camera", retry_s=0.0), said)
    assert count >= 12  # of 16; packets of UDP may get lost
    assert requests[-1] == "PLAY"
    assert requests.count("SETUP") == (1 if has_udp else 2)
    assert requests.count("DESCRIBE") == (1 if password is None else 2)
    assert "taken as its end" in said[-1]
    assert not any("secret" in line for line in said)


def test_a_connection_that_never_was_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(VideoError, match="no connection to tcp"):
        seconds_of(source_named(f"tcp://127.0.0.1:{port}", retry_s=0.0), [])


def test_a_pipe_ends_with_its_writer(video: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = as_mpegts(video)
    writing = threading.Thread(target=lambda: pipe.write_bytes(content), daemon=True)
    writing.start()
    said: list[str] = []
    assert seconds_of(source_named(str(pipe), retry_s=60.0), said) == (16, pytest.approx(2.0))
    assert said == []


def test_the_standard_input_is_refused_because_another_process_reads() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(UserError, match="mkfifo"):
            source_named(f"/dev/fd/{reading}", retry_s=1.0)
    finally:
        os.close(reading)
        os.close(writing)


def test_what_comes_is_no_list_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    lists = f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.txt\n".encode()
    with served(lists) as address, pytest.raises(VideoError, match="no connection"):
        seconds_of(source_named(address, retry_s=0.0), [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://example.org/a.mp4", "(?s)protocol http.*tcp://HOST:PORT or rtsp"),
        ("concat:a|b", "cannot be read"),
        ("tpc://127.0.0.1:1", "(?s)protocol tpc.*Did you mean tcp"),
        ("tcp://", "no address"),
        ("tcp://127.0.0.1", "no port"),
        ("tcp://127.0.0.1:99999", "no port that can be one"),
        ("127.0.0.1:9000", "Did you mean tcp://127.0.0.1:9000"),
        ("rtsp:/camera/1", "Did you mean rtsp://camera/1"),
        ("-", "mkfifo"),
        ("9", "This machine has"),
        ("nowhere.mp4", "cannot be read"),
        ("/dev/null", "no source of video"),
        (".", "is a folder"),
    ],
)
def test_other_sources_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        source_named(text, retry_s=1.0)


def test_passwords_are_not_shown(video: Path) -> None:
    source = source_named("rtsp://me:secret@camera/stream", retry_s=1.0)
    assert isinstance(source, LiveSource)
    assert source.name == "rtsp://camera/stream"
    assert source.protocols == ("rtsp", "rtp", "udp", "tcp")
    assert source_named(str(video), retry_s=1.0) == video
